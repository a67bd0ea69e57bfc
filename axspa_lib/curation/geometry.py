"""Canonical orientation by direction cosines, and whether a T1 and a STIR stack lie on one grid.

Canonical (conventions of the study): slices anterior to posterior, rows cranial to caudal, columns patient right to
patient left. Only axes are permuted and flipped: no voxel value changes, and the affine says where each voxel is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.curation.tolerance import MAX_PLANE_ANGLE, MAX_REFINE_MM, MIN_COVERED, SAME_GRID_MM, WHOLE_SLICE
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume

#: Tilt of the slice normal from posterior towards cranial, degrees, that counts as (semi)coronal. The published scans
#: lie between 25 and 51; oblique axial stacks (perpendicular to the sacrum) lie near -50, axial ones near 90.
TILT_RANGE = (-30.0, 70.0)


def to_canonical(array: NDArray[Any], affine: NDArray[Any], slice_axis: int | None = None) -> Volume:
    """Permute and flip axes so that an array of any order becomes a canonical `Volume`.

    The column axis is the one nearest to left-right. Of the other two, `slice_axis` is the slice axis; without it, the
    one with the larger spacing, so a plane tilted by more than 45 degrees is not turned over (as a permutation to the
    closest anatomical axes would do).

    Args:
        array: three dimensions in any order.
        affine: 4 x 4, maps indices of `array` to RAS mm.
        slice_axis: the axis of `array` along which slices were acquired.
    """
    affine = np.asarray(affine, dtype=np.float64)
    if array.ndim != 3:
        raise DataError(f"has {array.ndim} dimensions where 3 are needed; export one volume per file")
    axes = affine[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    if not np.isfinite(affine).all() or (spacing < 1e-3).any() or abs(np.linalg.det(axes)) < 1e-6:
        raise DataError("its orientation is not usable (singular or not finite); export it again with its geometry")
    cosines = axes / spacing
    if np.abs(cosines.T @ cosines - np.eye(3)).max() > 0.02:
        raise DataError("its axes are not perpendicular (sheared stack); export the original slices")
    column = int(np.abs(cosines[0]).argmax())
    if slice_axis is None:
        rest = [axis for axis in range(3) if axis != column]
        if np.ptp(spacing[rest]) > 0.05 * spacing[rest].mean():
            slice_axis = max(rest, key=lambda axis: float(spacing[axis]))
        else:  # isotropic: no direction is privileged, so the plane nearest to coronal
            slice_axis = max(rest, key=lambda axis: abs(float(cosines[1, axis])))
    if slice_axis == column:
        raise DataError("its slices are sagittal where (semi)coronal ones are needed; choose the other series")
    row = 3 - column - slice_axis
    order = (slice_axis, row, column)
    volume = Volume(array.transpose(order), affine[:, [*order, 3]])
    for axis, component in enumerate((cosines[1, slice_axis], cosines[2, row], cosines[0, column])):
        if component > 0:  # in RAS, posterior, caudal and patient left are the negative directions
            volume = _flip(volume, axis)
    tilt = tilt_degrees(volume)
    if not TILT_RANGE[0] <= tilt <= TILT_RANGE[1]:
        raise DataError(
            f"its slices are axial or oblique axial (tilted {tilt:.0f} degrees from coronal) where (semi)coronal ones "
            "are needed; choose the other series"
        )
    return Volume(np.ascontiguousarray(volume.array), volume.affine)


def tilt_degrees(volume: Volume) -> float:
    """Return the angle of the slice direction from posterior towards cranial, degrees; 0 is coronal, 90 axial."""
    direction = volume.affine[:3, 0]
    return float(np.degrees(np.arctan2(direction[2], -direction[1])))


def grid_distance(first: Volume, second: Volume) -> float:
    """Return the largest distance of corresponding corner voxels, mm; infinite when the shapes differ."""
    if first.array.shape != second.array.shape:
        return float("inf")
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in first.array.shape])).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    gap = (first.affine - second.affine) @ homogeneous
    return float(np.linalg.norm(gap[:3], axis=0).max())


@dataclass(frozen=True)
class Pairing:
    """A STIR stack on the grid of its T1.

    Attributes:
        stir: on the T1 grid.
        resampled: whether voxels were interpolated.
        note: what was done, for the report; empty when the stacks already shared a grid.
        distance_mm: largest distance of corresponding corners before; infinite when the shapes differed.
        covered: share of the T1 slices that STIR covers.
    """

    stir: Volume
    resampled: bool
    note: str
    distance_mm: float
    covered: float


def pair(t1: Volume, stir: Volume, shared_frame: bool = True, first_known: bool = False) -> Pairing:
    """Check that T1 and STIR are registered; resample STIR onto T1 where only their grids differ.

    Args:
        t1: canonical.
        stir: canonical.
        shared_frame: both were acquired in one frame of reference, so their positions can be compared.
        first_known: the most anterior slice of T1 is known to be the first acquired.
    """
    distance = grid_distance(t1, stir)
    if distance <= SAME_GRID_MM:
        return Pairing(t1.like(stir.array), False, "", distance, 1.0)
    if not shared_frame:
        raise DataError(
            f"T1 and STIR differ ({_difference(t1, stir)}) and do not share a frame of reference, so their positions "
            "cannot be compared; look for the STIR of the same examination"
        )
    before, behind = _surplus(t1, stir)
    if before > 0 and behind < before and len(t1.array) < len(stir.array) and not first_known:
        what = f"T1 begins {before} slice{'s' * (before > 1)} behind the STIR and has fewer"
        raise DataError(f"{what}, so slices of it may be missing and labels would move; export the whole T1 again")
    angle = _plane_angle(t1, stir)
    if angle > MAX_PLANE_ANGLE:
        raise DataError(
            f"T1 and STIR show different planes ({angle:.0f} degrees apart); look for the STIR in the plane of the T1"
        )
    moved, inside = resample(stir, t1)
    covered = float((inside.reshape(len(inside), -1).mean(axis=1) >= 0.5).mean())
    if covered < MIN_COVERED:
        raise DataError(
            f"STIR covers only {covered:.0%} of the T1 slices ({_difference(t1, stir)}); "
            "export the STIR of the same examination"
        )
    note = f"STIR resampled onto T1 ({_difference(t1, stir)}; {covered:.0%} of the slices covered)"
    return Pairing(moved, True, note, distance, covered)


def _surplus(t1: Volume, stir: Volume) -> tuple[int, int]:
    """Whole slices that STIR has before and behind T1; zeros where the slices do not lie on one lattice."""
    gap = t1.spacing[0]
    if abs(stir.spacing[0] - gap) > WHOLE_SLICE * gap / len(t1.array) or _plane_angle(t1, stir) > 1.0:
        return 0, 0
    along = t1.affine[:3, 0] / gap**2
    before = float((t1.affine[:3, 3] - stir.affine[:3, 3]) @ along)
    behind = len(stir.array) - len(t1.array) - before
    return (round(before), round(behind)) if abs(before - round(before)) < WHOLE_SLICE else (0, 0)


def refine(t1: Volume, pairing: Pairing) -> Pairing:
    """Move STIR onto T1 by a rigid registration (mutual information), where that improves their match.

    The figure of merit is Mattes' mutual information (nats) before and after, with the largest displacement of a corner
    in mm; all three are in the note. Deterministic: every voxel of a fixed grid is sampled, on one thread.

    Args:
        t1: canonical.
        pairing: STIR on the grid of `t1`.

    Returns:
        The pairing, moved where mutual information rose by more than 1 % and the displacement is plausible (< 30 mm).
    """
    import SimpleITK as sitk

    fixed = to_sitk(t1.like(t1.array.astype(np.float32)))
    moving = to_sitk(pairing.stir.like(pairing.stir.array.astype(np.float32)))
    method = sitk.ImageRegistrationMethod()
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.2, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.01, 100, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2])
    method.SetSmoothingSigmasPerLevel([2.0, 1.0])
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetInitialTransform(start, inPlace=False)
    before = -method.MetricEvaluate(fixed, moving)
    try:
        transform = method.Execute(fixed, moving)
    except RuntimeError:
        return replace(pairing, note=_joined(pairing.note, "rigid registration found no overlap; not moved"))
    method.SetInitialTransform(transform, inPlace=False)
    after = -method.MetricEvaluate(fixed, moving)
    shift = _displacement(t1, transform)
    merit = f"mutual information {before:.3f} to {after:.3f}, largest shift {shift:.1f} mm"
    if after <= 1.01 * before or shift > MAX_REFINE_MM:
        return replace(pairing, note=_joined(pairing.note, f"rigid registration not applied ({merit})"))
    moved, inside = resample(pairing.stir, t1, transform)
    covered = float((inside.reshape(len(inside), -1).mean(axis=1) >= 0.5).mean())
    note = _joined(pairing.note, f"STIR moved onto T1 by rigid registration ({merit})")
    return replace(pairing, stir=moved, resampled=True, note=note, covered=min(covered, pairing.covered))


def resample(moving: Volume, grid: Volume, transform: Any = None, nearest: bool = False) -> tuple[Volume, NDArray[Any]]:
    """Interpolate `moving` on `grid` (SimpleITK, linear or nearest); zero outside.

    Returns:
        The volume on `grid`, and a bool array that says which of its voxels lie inside `moving`.
    """
    import SimpleITK as sitk

    reference = to_sitk(grid.like(np.zeros(grid.array.shape, np.uint8)))
    transform = transform if transform is not None else sitk.Transform(3, sitk.sitkIdentity)
    method = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    dtype = moving.array.dtype if nearest else np.float32
    image = sitk.Resample(to_sitk(Volume(moving.array.astype(dtype), moving.affine)), reference, transform, method, 0.0)
    ones = to_sitk(Volume(np.ones(moving.array.shape, np.uint8), moving.affine))
    inside = sitk.Resample(ones, reference, transform, sitk.sitkNearestNeighbor, 0)
    return grid.like(sitk.GetArrayFromImage(image)), sitk.GetArrayFromImage(inside).astype(bool)


def to_sitk(volume: Volume) -> Any:
    """Return the same image for SimpleITK (LPS millimetres)."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.array))
    lps = np.diag([-1.0, -1.0, 1.0]) @ volume.affine[:3]
    spacing = np.linalg.norm(lps[:, [2, 1, 0]], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:, [2, 1, 0]] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def _flip(volume: Volume, axis: int) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, axis] * (volume.array.shape[axis] - 1)
    affine[:3, axis] *= -1
    return Volume(np.flip(volume.array, axis), affine)


def _displacement(volume: Volume, transform: Any) -> float:
    """Largest displacement of a corner of the grid under a transform, mm."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.array.shape])).reshape(3, -1)
    points = (np.diag([-1.0, -1.0, 1.0]) @ (volume.affine @ np.vstack([corners, np.ones(corners.shape[1])]))[:3]).T
    return max(float(np.linalg.norm(np.subtract(transform.TransformPoint(p.tolist()), p))) for p in points)


def _joined(*notes: str) -> str:
    return ", ".join(note for note in notes if note)


def _plane_angle(first: Volume, second: Volume) -> float:
    """Angle of the slice planes, degrees."""
    normals = [np.cross(v.affine[:3, 1], v.affine[:3, 2]) for v in (first, second)]
    cosine = normals[0] @ normals[1] / np.prod([np.linalg.norm(n) for n in normals])
    return float(np.degrees(np.arccos(np.clip(abs(cosine), 0.0, 1.0))))


def _difference(t1: Volume, stir: Volume) -> str:
    """Describe a difference in words and millimetres, without header fields."""
    parts = []
    if len(t1.array) != len(stir.array):
        parts.append(f"{len(t1.array)} and {len(stir.array)} slices")
    if t1.array.shape[1:] != stir.array.shape[1:]:
        parts.append("matrix {}x{} and {}x{}".format(*t1.array.shape[1:], *stir.array.shape[1:]))
    if not np.allclose(t1.spacing, stir.spacing, atol=0.01):
        parts.append("spacing {:.2f}/{:.2f}/{:.2f} and {:.2f}/{:.2f}/{:.2f} mm".format(*t1.spacing, *stir.spacing))
    angle = _plane_angle(t1, stir)
    if angle > 0.1:
        parts.append(f"planes {angle:.1f} degrees apart")
    if not parts:
        parts.append(f"positions {grid_distance(t1, stir):.1f} mm apart")
    return ", ".join(parts)
