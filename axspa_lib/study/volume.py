"""A volume and its NIfTI file: canonical array order `(slice, row, column)`, the only place affines are written.

Canonical orientation (conventions of the study): slices run anterior to posterior, rows cranial to caudal,
columns patient right to patient left; image left is patient right.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.runs import record_input, stored_root


@dataclass(frozen=True)
class Volume:
    """An image or mask with its geometry.

    Attributes:
        array: `(slice, row, column)`.
        affine: 4 x 4, maps `(slice, row, column, 1)` indices to patient RAS millimetres (NIfTI's world).
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels in mm as `(slice, row, column)`."""
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    def like(self, array: NDArray[Any]) -> Volume:
        """Return another array on the same grid."""
        if array.shape != self.array.shape:
            raise DataError(f"an array of shape {array.shape} does not lie on a grid of shape {self.array.shape}")
        return Volume(array, self.affine)


def write_volume(path: Path, volume: Volume, sidecar: dict[str, Any] | None = None) -> None:
    """Write `volume` as NIfTI (atomically), and `sidecar` as JSON next to it.

    The file's axes are `(column, row, slice)`, as viewers expect of a stack of slices; no free text is written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = volume.affine[:, [2, 1, 0, 3]]
    image = nib.Nifti1Image(np.ascontiguousarray(volume.array.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    part = path.with_name(f".{name}.part-{os.getpid()}.nii" + (".gz" if path.name.endswith(".gz") else ""))
    try:
        nib.save(image, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    if sidecar is not None:
        path.with_name(name + ".json").write_text(json.dumps(sidecar, indent=1, sort_keys=True) + "\n")


def read_volume(path: Path) -> Volume:
    """Read a NIfTI file written by `write_volume`.

    Raises:
        MissingResultError: stored results come without it, and the sample of images lacks it.
        DataError: the file is missing, unreadable or not three-dimensional.
    """
    path = record_input(path)
    if path.is_relative_to(stored_root()) and not path.exists():
        raise MissingResultError(
            f"{path.name} is not in the sample of images that comes with the repository: choose a patient who is "
            f"(`Cohort.with_images`), or run `make book PROFILE={path.relative_to(stored_root()).parts[0]}`"
        )
    try:
        image: Any = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:
        raise DataError(f"{path}: cannot be read as NIfTI ({type(error).__name__}); run its stage again") from None
    if array.ndim != 3:
        raise DataError(f"{path}: has {array.ndim} dimensions where 3 are needed")
    return Volume(array.transpose(2, 1, 0), np.asarray(image.affine)[:, [2, 1, 0, 3]])
