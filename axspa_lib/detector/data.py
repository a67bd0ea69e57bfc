"""Slices and instances of the detector in memory: uint8 slices, run-length masks (sections 3.1.3 and 3.2.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from axspa_lib.detector.instances import decode_rle, read_instances
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, Inflammation
from axspa_lib.study.volume import read_volume

#: `(patient, slice, image)`: image `(2, rows, columns)` uint8, T1 then STIR.
Image = tuple[str, int, Tensor]


@dataclass(frozen=True)
class Instance:
    """One joint ROI: patient's side, class, and its mask as a COCO run-length code."""

    side: str
    label: Inflammation
    rle: dict[str, Any]

    def mask(self) -> NDArray[np.bool_]:
        """Return the mask `(row, column)`."""
        return decode_rle(self.rle)


@dataclass(frozen=True)
class Slice:
    """One slice with its instances; `image` is `(2, rows, columns)` uint8, T1 then STIR."""

    patient: str
    index: int
    image: Tensor
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class DetectionData:
    """All slices of some patients, in memory, and how much was left out, by reason."""

    slices: tuple[Slice, ...]
    channels: str
    skipped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Image]:
        """Yield each slice as `(patient, slice, image)`, what `inference.predict` takes."""
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
            instances: COCO JSON written from `instances.coco`.
            channels: order of the network's three channels, a value of `Detector.channels`.
            patients: patients wanted; those without any entry are counted as skipped.

        Raises:
            DataError: the JSON or a slice cannot be used, or nobody is left; names the file or the patient.
        """
        dataset = read_instances(instances)
        by_image: dict[int, list[Instance]] = {entry["id"]: [] for entry in dataset["images"]}
        for entry in dataset["annotations"]:
            made = Instance(entry["side"], Inflammation(entry["category_id"]), entry["segmentation"])
            by_image[entry["image_id"]].append(made)
        known = {entry["patient"] for entry in dataset["images"]}
        wanted = known if patients is None else known & set(patients)
        missing = 0 if patients is None else len(set(patients) - known)
        images = {patient: _pair(slices_folder, patient) for patient in sorted(wanted)}
        slices = [
            _slice(entry, images[entry["patient"]], tuple(by_image[entry["id"]]))
            for entry in sorted(dataset["images"], key=lambda entry: (entry["patient"], entry["slice"]))
            if entry["patient"] in wanted
        ]
        if not slices:
            raise DataError(f"{instances}: no slice of the wanted patients; run the joint extraction again")
        return cls(tuple(slices), channels, {"patient without instances": missing} if missing else {})


def three_channels(image: Tensor, channels: str) -> Tensor:
    """Return the network's input `(3, rows, columns)` from T1 and STIR `(2, rows, columns)`, in configured order."""
    return image[[SEQUENCES.index(name) for name in channels.split(",")]]


def _pair(folder: Path, patient: str) -> Tensor:
    """Read the slices of a patient, `(slices, 2, rows, columns)` uint8."""
    t1, stir = (read_volume(folder / f"{patient}_{sequence}.nii.gz").array for sequence in SEQUENCES)
    if t1.shape != stir.shape or {t1.dtype, stir.dtype} != {np.dtype(np.uint8)}:
        raise DataError(
            f"patient {patient}: T1 {t1.shape} {t1.dtype} and STIR {stir.shape} {stir.dtype} are not uint8 of "
            "one shape; run the preprocessing again"
        )
    return torch.from_numpy(np.stack([t1, stir], axis=1))


def _slice(entry: dict[str, Any], images: Tensor, instances: tuple[Instance, ...]) -> Slice:
    index, shape = int(entry["slice"]), (entry["height"], entry["width"])
    if not 0 <= index < len(images) or tuple(images.shape[-2:]) != shape:
        raise DataError(
            f"patient {entry['patient']}, slice {index}: its instances are of {shape} pixels, its volume is of "
            f"{tuple(images.shape[-2:])} and {len(images)} slices; run the preprocessing again"
        )
    return Slice(entry["patient"], index, images[index], instances)
