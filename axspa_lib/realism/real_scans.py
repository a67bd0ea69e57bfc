"""Real scans as `contrast.Pair`, measured by the same code as the phantom."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.dicom import read_stack
from axspa_lib.realism.contrast import Pair
from axspa_lib.study.errors import DataError

#: A voxel is definite oedema when at least this many of the collection's four readings mark it.
DEFINITE = 3


def pair_of_vhi(folder: Path, patient: str) -> Pair:
    """Return a public scan that has T1W and STIR, with its normal-marrow mask and its readers' oedema.

    Args:
        folder: the collection (`images_study/`, `segmentations/`).
        patient: its number, e.g. "1007".

    Raises:
        DataError: a file of this patient is missing.
    """
    stir, spacing = _canonical(_only(folder / "images_study" / "STIR", f"{patient}_STIR.nii.gz", patient))
    t1, _ = _canonical(_only(folder / "images_study" / "T1W", f"{patient}_T1W.nii.gz", patient))
    masks = folder / "segmentations"
    marrow, _ = _canonical(_only(masks, f"{patient}_normal_marrow.nii.gz", patient))
    bones, _ = _canonical(_only(masks, f"{patient}_disease_region.nii.gz", patient))
    readings = [_canonical(path)[0] > 0 for path in sorted(masks.rglob(f"{patient}_inflammation_*.nii.gz"))]
    oedema = (np.sum(readings, axis=0) >= DEFINITE) & (bones > 0) if readings else None
    return Pair(t1, stir, spacing, marrow > 0, oedema, bones > 0)


def pair_of_dicom(folder: Path) -> Pair:
    """Return a patient given as DICOM in `T1/` and `STIR/`, without masks."""
    (t1, headers), (stir, _) = read_stack(folder / "T1"), read_stack(folder / "STIR")
    first = headers[0]
    rows, columns = (float(v) for v in first.PixelSpacing)
    return Pair(t1, stir, (float(first.SpacingBetweenSlices), rows, columns))


def patients_of_vhi(folder: Path) -> list[str]:
    """Examinations of the public collection that `measure` can judge: with T1W, STIR and a mask of normal marrow."""
    marked = {path.name.split("_")[0] for path in (folder / "segmentations").rglob("*_normal_marrow.nii.gz")}
    images = folder / "images_study"
    both = [{path.name.split("_")[0] for path in (images / name).rglob(f"*_{name}.nii.gz")} for name in ("T1W", "STIR")]
    return sorted(marked.intersection(*both))


def _only(folder: Path, name: str, patient: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        raise DataError(f"{folder}: no {name} of patient {patient}; download the collection again")
    return found[0]


def _canonical(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Array with slices from the front, rows from the head, columns from patient right; spacing in the same order."""
    image = nib.Nifti1Image.from_filename(path)
    directions = np.asarray(image.affine)[:3, :3]
    lengths = np.linalg.norm(directions, axis=0)
    column = int(np.argmax(np.abs(directions[0] / lengths)))
    slice_axis = int(np.argmax(np.where(np.arange(3) == column, 0, lengths)))
    row = 3 - column - slice_axis
    array = np.asanyarray(image.dataobj).astype(np.float32).transpose(slice_axis, row, column)
    # RAS: posterior, caudal and left are the negative directions.
    for axis, (source, component) in enumerate(((slice_axis, 1), (row, 2), (column, 0))):
        if directions[component, source] > 0:
            array = np.flip(array, axis)
    spacing = (float(lengths[slice_axis]), float(lengths[row]), float(lengths[column]))
    return np.ascontiguousarray(array), spacing
