"""Slices and instances of the detector in memory: uint8 slices, run-length masks (sections 3.1.3 and 3.2.1)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, SIDES, STIR, T1, Inflammation
from axspa_lib.study.runs import found
from axspa_lib.study.volume import Volume, read_volume

#: An instance with fewer pixels teaches nothing and is left out.
MIN_PIXELS = 4

#: `(patient, slice, image)`: image `(2, rows, columns)` uint8, T1 then STIR.
Image = tuple[str, int, Tensor]


@dataclass(frozen=True)
class Instance:
    """One joint ROI: patient's side, class, and its mask as a COCO run-length code."""

    side: str
    label: Inflammation
    rle: dict[str, Any]

    def mask(self) -> NDArray[np.bool_]:
        """The mask `(row, column)`."""
        return coco_mask.decode(self.rle).astype(bool)


@dataclass(frozen=True)
class Slice:
    """One slice with its instances; `image` is `(2, rows, columns)` uint8, T1 then STIR; spacing `(row, column)` mm."""

    patient: str
    index: int
    image: Tensor
    spacing: tuple[float, float]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class DetectionData:
    """All slices of some patients, in memory, and what was left out and why."""

    slices: tuple[Slice, ...]
    channels: str
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Image]:
        """Each slice as `(patient, slice, image)`, what `inference.predict` takes."""
        return ((s.patient, s.index, s.image) for s in self.slices)

    @property
    def patients(self) -> list[str]:
        """Patients with at least one slice, sorted."""
        return sorted({s.patient for s in self.slices})

    @classmethod
    def load(
        cls, slices_folder: Path, instances: Path, channels: str, patients: Sequence[str] | None = None
    ) -> DetectionData:
        """Read the slices that have an entry in `instances`, of the given patients or of all.

        Args:
            slices_folder: holds `{patient}_T1.nii.gz` and `{patient}_STIR.nii.gz`, uint8, `(slice, row, column)`.
            instances: COCO JSON; `images` with `patient`, `slice` and `spacing_mm`, `annotations` with `side`.
            channels: order of the network's three channels, a value of `Detector.channels`.
            patients: patients wanted; those without any entry are counted as skipped.

        Raises:
            DataError: the JSON cannot be read or no slice is usable; a slice or an instance that cannot be used is
                left out and counted in `skipped`.
        """
        content = _read_coco(instances)
        wanted = None if patients is None else {str(p) for p in patients}
        by_image: dict[int, list[dict[str, Any]]] = {}
        for annotation in content["annotations"]:
            by_image.setdefault(annotation["image_id"], []).append(annotation)
        entries: dict[str, list[dict[str, Any]]] = {}
        for entry in content["images"]:
            if wanted is None or str(entry["patient"]) in wanted:
                entries.setdefault(str(entry["patient"]), []).append(entry)
        skipped: Counter[str] = Counter()
        if wanted:
            skipped["patient without instances"] += len(wanted - entries.keys())
        slices: list[Slice] = []
        for patient in sorted(entries):
            try:
                images = _read_pair(slices_folder, patient)
            except DataError as error:
                skipped[f"unreadable slices: {error}"] += len(entries[patient])
                continue
            for entry in sorted(entries[patient], key=lambda e: int(e["slice"])):
                made = _slice(entry, by_image.get(entry["id"], []), images, skipped)
                if made is not None:
                    slices.append(made)
        if not slices:
            reasons = "; ".join(f"{n} × {r}" for r, n in skipped.items() if n) or "no entry for the wanted patients"
            raise DataError(f"{instances}: no usable slice ({reasons}); run the joint extraction again")
        return cls(tuple(slices), channels, {r: n for r, n in sorted(skipped.items()) if n})


def images_of(t1: Volume, stir: Volume, patient: str = "") -> list[Image]:
    """Every slice of a pair of preprocessed uint8 volumes on one grid, for `inference.predict`.

    Raises:
        DataError: the volumes differ in shape or are not uint8.
    """
    images = _stack(t1, stir, patient)
    return [(patient, index, image) for index, image in enumerate(images)]


def three_channels(image: Tensor, channels: str) -> Tensor:
    """The network's input `(3, rows, columns)` from T1 and STIR `(2, rows, columns)`, in the configured order."""
    order = [SEQUENCES.index(name) for name in channels.split(",")]
    return image[order]


def _read_coco(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(found(path).read_text(encoding="utf-8"))
        _ = content["images"], content["annotations"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a COCO instances file ({type(error).__name__}); run the joint extraction again"
        ) from None
    return content


def _read_pair(folder: Path, patient: str) -> Tensor:
    t1, stir = (read_volume(folder / f"{patient}_{sequence}.nii.gz") for sequence in (T1, STIR))
    return _stack(t1, stir, patient)


def _stack(t1: Volume, stir: Volume, patient: str) -> Tensor:
    """`(slices, 2, rows, columns)` uint8."""
    if t1.array.shape != stir.array.shape:
        raise DataError(
            f"patient {patient or 'unnamed'}: T1 {t1.array.shape} and STIR {stir.array.shape} differ in shape; "
            "run the preprocessing again"
        )
    for volume in (t1, stir):
        if volume.array.dtype != np.uint8:
            raise DataError(
                f"patient {patient or 'unnamed'}: slices are {volume.array.dtype} where the detector takes uint8; "
                "run the preprocessing again"
            )
    return torch.from_numpy(np.stack([t1.array, stir.array], axis=1))


def _slice(
    entry: dict[str, Any], annotations: list[dict[str, Any]], images: Tensor, skipped: Counter[str]
) -> Slice | None:
    """One slice, or None (counted) when it cannot teach anything right."""
    index, shape = int(entry["slice"]), (int(entry["height"]), int(entry["width"]))
    if not 0 <= index < len(images):
        skipped["slice outside the volume"] += 1
        return None
    if tuple(images.shape[-2:]) != shape:
        skipped["slice of another size than its instances"] += 1
        return None
    instances = []
    for annotation in annotations:
        if annotation.get("iscrowd", 0):
            skipped["instance marked as crowd"] += 1
            continue
        if annotation.get("category_id") not in tuple(Inflammation) or annotation.get("side") not in SIDES:
            skipped["slice with an instance without class or side"] += 1
            return None
        rle = _compressed(annotation.get("segmentation"), shape)
        if rle is None:
            skipped["instance whose mask does not fit the slice"] += 1
        elif int(coco_mask.area(rle)) < MIN_PIXELS:
            skipped[f"instance of fewer than {MIN_PIXELS} pixels"] += 1
        else:
            instances.append(Instance(annotation["side"], Inflammation(annotation["category_id"]), rle))
    spacing = entry.get("spacing_mm", (1.0, 1.0))
    spacing = tuple(float(v) for v in spacing) if isinstance(spacing, (list, tuple)) else (float(spacing),) * 2
    return Slice(str(entry["patient"]), index, images[index], spacing[-2:], tuple(instances))


def _compressed(segmentation: Any, shape: tuple[int, int]) -> dict[str, Any] | None:
    """Compressed run-length code of an annotation's mask, or None when it is not one of the slice's shape."""
    try:
        if tuple(segmentation["size"]) != shape:
            return None
        if isinstance(segmentation["counts"], list):
            return coco_mask.frPyObjects(segmentation, *shape)
        counts = segmentation["counts"]
        rle = {"size": list(shape), "counts": counts.encode() if isinstance(counts, str) else counts}
        return rle if coco_mask.decode(rle).shape == shape else None
    except (KeyError, TypeError, ValueError, IndexError):
        return None
