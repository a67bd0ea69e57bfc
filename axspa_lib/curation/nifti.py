"""NIfTI, Analyze pairs and NRRD to canonical volumes; masks; sidecars.

Of a header only shape, data type, scaling and geometry are used: its free-text fields are never read.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from axspa_lib.curation import deidentify
from axspa_lib.curation.geometry import grid_distance, to_canonical
from axspa_lib.curation.tolerance import SAME_GRID_MM, SAME_SIZE, fill_background
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.volume import Volume

SUFFIX = re.compile(r"\.(nii(\.gz)?|nrrd|nhdr|mha|mhd|hdr|img)$", re.IGNORECASE)


def read_nifti(path: Path) -> Volume:
    """Read an image in canonical orientation; integer where the file stores unscaled integers, else float32."""
    return _read(path)[0]


def read_image(path: Path) -> Volume:
    """`read_nifti` with padding made background, refusing stacks with constant slices."""
    return read_image_with_notes(path)[0]


def read_image_with_notes(path: Path) -> tuple[Volume, list[str]]:
    """`read_image`, and what was decided about geometry and padding."""
    volume, notes = _read(path)
    try:
        array, filled = fill_background(volume.array)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    if filled:
        notes = [*notes, f"{filled} voxels of padding made background"]
    blank = [index for index, image in enumerate(array) if image.min() == image.max()]
    if blank:
        raise DataError(
            f"{path.name}: {len(blank)} of {len(array)} slices are constant (no image in them); export it again"
        )
    return volume.like(array), notes


def _read(path: Path) -> tuple[Volume, list[str]]:
    try:
        array, affine, notes = _loaded(path)
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path.name}: vanished while it was read; curate again") from None
    except Exception as error:
        raise DataError(f"{path.name}: cannot be read as NIfTI ({type(error).__name__}); export it again") from None
    if array.ndim > 3 and set(array.shape[3:]) == {1}:
        array = array.reshape(array.shape[:3])
    if array.ndim != 3:
        raise DataError(f"{path.name}: has {array.ndim} dimensions where 3 are needed; export one volume per file")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{path.name}: holds colours or complex numbers; export grey values")
    if min(array.shape) == 0:
        raise DataError(f"{path.name}: holds no voxel; export it again")
    array = array.astype(np.float32) if array.dtype.kind == "f" else array
    try:
        return to_canonical(array, affine), notes
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from None


def _loaded(path: Path) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Values, affine (RAS) and notes of a file of any format, told by its content where names mislead."""
    if path.suffix.lower() in (".nrrd", ".nhdr", ".mha", ".mhd"):
        import SimpleITK as sitk

        read = sitk.ReadImage(str(path))
        axes = np.reshape(read.GetDirection(), (read.GetDimension(),) * 2) * read.GetSpacing()
        if read.GetDimension() != 3 or np.array_equal(np.c_[axes, read.GetOrigin()], np.eye(3, 4)):
            raise DataError("states no geometry (voxels of 1 mm along the body's axes); export it with its geometry")
        affine = np.eye(4)
        affine[:3] = np.diag([-1.0, -1.0, 1.0]) @ np.c_[axes, read.GetOrigin()]
        return sitk.GetArrayFromImage(read).transpose(2, 1, 0), affine, []
    image: Any
    if path.suffix.lower() in (".hdr", ".img"):
        image = nib.load(path)
    else:
        content = path.read_bytes()
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        second = int.from_bytes(content[:4], "little") == 540 or int.from_bytes(content[:4], "big") == 540
        image = (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(content)
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError("states no orientation (Analyze has none); export it as NIfTI with its geometry")
    affine, notes = _placed(image)
    return np.asanyarray(image.dataobj), affine, notes


def _placed(image: Any) -> tuple[NDArray[Any], list[str]]:
    """Return the affine of the form that agrees with the voxel sizes; note one that does not."""
    sizes = np.array(image.header.get_zooms()[:3], dtype=float)
    coded, good = [], {}
    for name, form in (("sform", image.header.get_sform), ("qform", image.header.get_qform)):
        try:
            matrix, code = form(coded=True)
        except Exception:  # a quaternion that is none
            matrix, code = None, 1
        coded += [name] * bool(code)
        if code and matrix is not None:
            lengths = np.linalg.norm(matrix[:3, :3], axis=0)
            if np.isfinite(matrix).all() and (np.abs(lengths - sizes) <= SAME_SIZE * sizes).all():
                good[name] = (int(code), matrix)
    if not coded:
        raise DataError("states no orientation (sform and qform codes are 0); export it with its geometry")
    if not good:
        raise DataError(f"its {' and '.join(coded)} contradict its voxel sizes; export it again with its geometry")
    name = next(iter(good))
    if len(good) == 2:
        empty = np.empty(image.shape[:3], np.bool_)
        apart = grid_distance(Volume(empty, good["sform"][1]), Volume(empty, good["qform"][1]))
        if apart <= SAME_GRID_MM:
            return good[name][1], []
        scanner = [name for name, (code, _) in good.items() if code == 1]
        if len(scanner) != 1:
            raise DataError(f"its sform and qform lie {apart:.1f} mm apart; export it again with one geometry")
        note = f"sform and qform lie {apart:.1f} mm apart, the {scanner[0]} is the scanner's and was used"
        return good[scanner[0]][1], [note]
    other = [form for form in coded if form not in good]
    return good[name][1], [f"the {other[0]} contradicts the voxel sizes, the {name} was used"] if other else []


def read_mask(path: Path, image: Volume) -> Volume:
    """Return a label mask on the grid of `image`, uint8 or int32."""
    mask = read_nifti(path)
    if mask.array.shape != image.array.shape or grid_distance(mask, image) > SAME_GRID_MM:
        raise DataError(
            f"{path.name}: lies on another grid than the T1 (shapes {mask.array.shape} and {image.array.shape}, "
            f"corners {grid_distance(mask, image):.1f} mm apart); draw or resample it on the T1"
        )
    if not np.isfinite(mask.array).all():
        raise DataError(f"{path.name}: holds values that are no labels; save a mask of whole numbers")
    whole = mask.array.dtype.kind in "iu"
    labels = mask.array if whole else np.rint(mask.array)
    highest = labels.max()
    if labels.min() < 0 or highest > 65535 or not (whole or np.allclose(labels, mask.array, rtol=0, atol=1e-3)):
        raise DataError(f"{path.name}: holds values that are no labels; save a mask of whole numbers")
    return image.like(labels.astype(np.uint8 if highest < 256 else np.int32))


def read_masks(files: Mapping[Path, str], t1: Volume) -> tuple[Volume | None, dict[str, Volume], list[str]]:
    """Read the bone mask and the other masks by name; notes on refused ones."""
    bones: Volume | None = None
    others: dict[str, Volume] = {}
    notes: list[str] = []
    for path, name in files.items():
        try:
            mask = read_mask(path, t1)
            if name == "bones" and mask.array.max(initial=0) > max(Bone):
                raise DataError(f"{path.name}: holds values above {max(Bone)}; use 1 for sacrum and 2 for iliac")
        except DataError as error:
            notes.append(f"reference refused: {str(error).replace(path.name, f'the mask {name}')}")
            continue
        if name == "bones":
            bones = mask
        else:
            others[name] = mask
    return bones, others, notes


def read_sidecar(image: Path) -> dict[str, Any]:
    """Return the allow-listed fields of the JSON beside an image; empty when there is none or it is not usable."""
    path = image.with_name(SUFFIX.sub("", image.name) + ".json")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return deidentify.clean_sidecar(fields) if isinstance(fields, dict) else {}
