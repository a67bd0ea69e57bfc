"""NIfTI to canonical volumes: pairs `{patient}_{T1,STIR}.nii.gz`, `{patient}/{T1,STIR}.nii.gz` or a BIDS tree; masks.

Of a NIfTI header only shape, data type, scaling and the affine are used: its free-text fields are never read.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation import deidentify
from axspa_lib.curation.geometry import grid_distance, to_canonical
from axspa_lib.curation.source import PERMISSIONS, Examination, files_below
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, STIR, T1, Bone
from axspa_lib.study.volume import Volume

#: A mask lies on the grid of its image when their corners are nearer than this, mm (masks may lack the last digits).
MASK_MM = 0.5

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_NAME = {
    T1: re.compile(r"(?:^|[_\-])T1(?:W|w)?$", re.IGNORECASE),
    STIR: re.compile(r"(?:^|[_\-])(?:acq-corSTIR_T2w|STIR|T2STIR|TIRM)$", re.IGNORECASE),
}


def read_nifti(path: Path, slice_axis: int | None = None) -> Volume:
    """Read an image in canonical orientation; integer where the file stores unscaled integers, else float32.

    Raises:
        DataError: unreadable, not three-dimensional, not finite, constant, or without orientation.
    """
    try:
        image: Any = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except FileNotFoundError:
        raise DataError(f"{path.name}: vanished while it was read; curate again") from None
    except Exception as error:
        raise DataError(f"{path.name}: cannot be read as NIfTI ({type(error).__name__}); export it again") from None
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise DataError(f"{path.name}: has {array.ndim} dimensions where 3 are needed; export one volume per file")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path.name}: holds colours or complex numbers; export grey values")
    if min(array.shape) == 0:
        raise DataError(f"{path.name}: holds no voxel; export it again")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            number = int((~np.isfinite(array)).sum())
            raise DataError(f"{path.name}: {number} voxels are NaN or infinite; export the original intensities")
        array = array.astype(np.float32)
    header: Any = image.header
    if isinstance(image, nib.Nifti1Image) and not (header["sform_code"] or header["qform_code"]):
        raise DataError(
            f"{path.name}: states no orientation (sform and qform codes are 0); export it with its geometry"
        )
    try:
        return to_canonical(array, image.affine, slice_axis)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None


def read_image(path: Path) -> Volume:
    """`read_nifti`, refusing stacks with constant slices.

    Raises:
        DataError: as `read_nifti`, or slices hold no image.
    """
    volume = read_nifti(path)
    blank = [index for index, image in enumerate(volume.array) if image.min() == image.max()]
    if blank:
        raise DataError(
            f"{path.name}: {len(blank)} of {len(volume.array)} slices are constant (no image in them); export it again"
        )
    return volume


def read_mask(path: Path, image: Volume) -> Volume:
    """A label mask on the grid of `image`, uint8 or int32.

    Raises:
        DataError: on another grid, or with values that are no labels.
    """
    mask = read_nifti(path)
    if mask.array.shape != image.array.shape or grid_distance(mask, image) > MASK_MM:
        raise DataError(
            f"{path.name}: lies on another grid than the T1 (shapes {mask.array.shape} and {image.array.shape}, "
            f"corners {grid_distance(mask, image):.1f} mm apart); draw or resample it on the T1"
        )
    whole = mask.array.dtype.kind in "iu"
    labels = mask.array if whole else np.rint(mask.array)
    highest = labels.max()
    if labels.min() < 0 or highest > 65535 or not (whole or np.allclose(labels, mask.array, rtol=0, atol=1e-3)):
        raise DataError(f"{path.name}: holds values that are no labels; save a mask of whole numbers")
    return image.like(labels.astype(np.uint8 if highest < 256 else np.int32))


def read_masks(folder: Path, patient: str, t1: Volume) -> tuple[Volume | None, dict[str, Volume], list[str]]:
    """`{patient}_{name}.nii[.gz]` of a folder: the bone mask, the other masks by name, and notes on refused ones."""
    bones: Volume | None = None
    others: dict[str, Volume] = {}
    notes: list[str] = []
    if not folder.is_dir():
        return None, {}, []
    for path in sorted(folder.iterdir()):
        if not (path.name.startswith(f"{patient}_") and _SUFFIX.search(path.name)):
            continue
        name = _SUFFIX.sub("", path.name).removeprefix(f"{patient}_")
        if not re.fullmatch(r"[a-z]+", name):
            continue  # a mask of another patient whose name begins alike
        try:
            mask = read_mask(path, t1)
            if name == "bones" and mask.array.max(initial=0) > max(Bone):
                raise DataError(f"{path.name}: holds values above {max(Bone)}; use 1 for sacrum and 2 for iliac")
        except DataError as error:
            notes.append(f"reference refused: {error}")
            continue
        if name == "bones":
            bones = mask
        else:
            others[name] = mask
    return bones, others, notes


class NiftiSource:
    """Pairs of NIfTI files, beside them optionally `patients.csv`, `readings.csv`, `opinions.csv` and `truth/`."""

    def __init__(self, path: Path) -> None:
        """List the files.

        Raises:
            DataError: a table beside them is not usable.
        """
        self.path = path
        self.name = path.name
        self._people = reader_tables.people(reader_tables.read_table(path / "patients.csv", reader_tables.PATIENTS))
        self._files = _pairs(path)

    def patients(self) -> list[str]:
        """Keys of the examinations, sorted."""
        return sorted(self._files)

    def describe(self, patient: str) -> Examination:
        """Who it is, without images."""
        parts = re.fullmatch(r"sub-([A-Za-z0-9]+)_ses-([A-Za-z0-9]+)", patient)
        default = (parts[1], parts[2], "") if parts else (patient.removeprefix("sub-"), "", "")
        subject, session, centre = self._people.get(patient, default)
        return Examination(patient, subject, session, centre)

    def load(self, patient: str) -> Examination:
        """Read T1, STIR and masks of one patient.

        Raises:
            DataError: they cannot be used; says why.
        """
        files = self._files[patient]
        if not files:
            raise DataError(f"its folder cannot be read; {PERMISSIONS}")
        volumes: dict[str, Volume] = {}
        for sequence in SEQUENCES:
            if len(files.get(sequence, [])) != 1:
                found = len(files.get(sequence, []))
                raise DataError(f"{sequence}: {found} files where one is needed; keep one volume per sequence")
            try:
                volumes[sequence] = read_image(files[sequence][0])
            except DataError as error:
                raise DataError(f"{sequence}: {error}") from None
        bones, truth, notes = read_masks(self.path / "truth", patient, volumes[T1])
        return replace(
            self.describe(patient),
            t1=volumes[T1],
            stir=volumes[STIR],
            sidecar={name: read_sidecar(files[name][0]) for name in SEQUENCES},
            notes=notes,
            reference_bones=bones,
            truth=truth,
        )

    def readings(self) -> pd.DataFrame | None:
        """`readings.csv`, or none."""
        return reader_tables.read_table(self.path / "readings.csv", reader_tables.READINGS)

    def opinions(self) -> pd.DataFrame | None:
        """`opinions.csv`, or none."""
        return reader_tables.read_table(self.path / "opinions.csv", reader_tables.OPINIONS)


def read_sidecar(image: Path) -> dict[str, Any]:
    """The allow-listed fields of the JSON beside an image; empty when there is none or it is not usable."""
    path = image.with_name(_SUFFIX.sub("", image.name) + ".json")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return deidentify.clean_sidecar(fields) if isinstance(fields, dict) else {}


def _pairs(path: Path) -> dict[str, dict[str, list[Path]]]:
    """Files by patient and sequence, from names alone."""
    found: dict[str, dict[str, list[Path]]] = {}

    def unreadable(error: OSError) -> None:
        found.setdefault(Path(error.filename).name, {})  # `load` refuses it: it has no files

    for file in files_below(path, unreadable):
        parts = file.relative_to(path).parts
        if not _SUFFIX.search(file.name) or parts[0] in ("truth", "derivatives"):
            continue
        stem = _SUFFIX.sub("", file.name)
        for sequence, pattern in _NAME.items():
            match = pattern.search(stem)
            if match:
                patient = re.sub(r"_acq-[A-Za-z0-9]+$", "", stem[: match.start()]) or file.parent.name
                found.setdefault(patient, {}).setdefault(sequence, []).append(file)
    return found
