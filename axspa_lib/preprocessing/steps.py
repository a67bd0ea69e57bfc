"""Slice preprocessing (section 3.1.1, figure 2): constant pixel, min-max, bias removal, median, CLAHE, 8 bits.

Every slice has a defined result: values that are not finite count as 0, and a slice without contrast becomes zeros.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.preprocessing.filters import cross_median, equalise, gaussian
from axspa_lib.study.config import Preprocessing
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume

#: Added to the smoothed slice before the division (demo of the authors).
_AVOID_ZERO = 1e-6
#: A field of view this little short of a whole pixel (in pixels) still counts as whole: headers round their spacing.
_HEADER_TOLERANCE = 0.01
#: From this factor on, shrinking averages over each new pixel instead of interpolating (the paper never gets there).
_AREA_FACTOR = 1.5

Trace = dict[str, NDArray[np.generic]]


def preprocess_slice(image: NDArray[np.generic], spacing: tuple[float, float], p: Preprocessing) -> NDArray[np.uint8]:
    """Preprocess one slice.

    Args:
        image: `(row, column)`, any real type; values that are not finite count as 0.
        spacing: pixel size `(row, column)` in mm.
        p: the steps and their parameters.

    Returns:
        `(row, column)` uint8, on the grid of `resampled_shape` when `p.constant_pixel`, else on the slice's own.

    Raises:
        DataError: the array is not a two-dimensional array of real numbers, or the spacing is not positive.
    """
    return np.asarray(list(trace_slice(image, spacing, p).values())[-1], np.uint8)


def trace_slice(image: NDArray[np.generic], spacing: tuple[float, float], p: Preprocessing) -> Trace:
    """Preprocess one slice and keep the image after every step, by name, in order; arguments as `preprocess_slice`."""
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise DataError(f"a spacing of {spacing} mm cannot be used: expected two positive lengths (row, column)")
    current: NDArray[np.floating] = _as_float(image)
    trace: Trace = {"input": current}
    if p.constant_pixel:
        trace["constant pixel"] = current = resample_slice(current, spacing, p.pixel_mm)
    trace["min-max"] = current = minmax(current, p.nonzero_minmax)
    if p.remove_bias:
        current = remove_bias(current, p.bias_sigma)
    trace["bias removed"] = current = minmax(current, p.nonzero_minmax)
    if p.local_median:
        trace["median"] = current = local_median(current, p.nonzero_minmax)
    if p.clahe:
        return trace | {"CLAHE": equalise(current, p.clahe_clip_limit)}
    return trace | {"8 bits": (minmax(current, nonzero=False) * 255).astype(np.uint8)}


def without_each_step(
    image: NDArray[np.generic], spacing: tuple[float, float], p: Preprocessing
) -> dict[str, NDArray[np.uint8]]:
    """Preprocess a slice with all steps, and without each of those switched on, by name (Table 4)."""
    steps = {"remove_bias": "no bias removal", "local_median": "no local median", "clahe": "no CLAHE"}
    fewer = {label: p.model_copy(update={name: False}) for name, label in steps.items() if getattr(p, name)}
    return {label: preprocess_slice(image, spacing, q) for label, q in ({"all steps": p} | fewer).items()}


def preprocess_volume(volume: Volume, p: Preprocessing) -> Volume:
    """Preprocess every slice of a volume.

    Args:
        volume: `(slice, row, column)`.
        p: the steps and their parameters.

    Returns:
        uint8 volume; when `p.constant_pixel`, on a grid resampled in the plane of the slices, with its affine: the
        corners of the field of view stay where they are, the centre of the first pixel moves.

    Raises:
        DataError: the volume is not three-dimensional or not of real numbers.
    """
    if volume.array.ndim != 3:
        raise DataError(
            f"a volume of {volume.array.ndim} dimensions cannot be preprocessed: expected (slice, row, column)"
        )
    _, row_mm, column_mm = volume.spacing
    slices = [preprocess_slice(image, (row_mm, column_mm), p) for image in volume.array]
    rows, columns = volume.array.shape[1:]
    shape = resampled_shape((rows, columns), (row_mm, column_mm), p.pixel_mm) if p.constant_pixel else (rows, columns)
    array = np.stack(slices) if slices else np.zeros((0, *shape), np.uint8)
    return Volume(array, rescaled_affine(volume.affine, (rows, columns), shape))


def resampled_shape(shape: tuple[int, int], spacing: tuple[float, float], pixel_mm: float) -> tuple[int, int]:
    """Return rows and columns after resampling to `pixel_mm`: whole pixels that fit the field of view, at least 1.

    A header that rounds its spacing does not change the result:

    >>> resampled_shape((256, 256), (0.9765625, 0.976562), 0.5)
    (500, 500)
    """
    rows, columns = (
        max(1, int(size * mm / pixel_mm + _HEADER_TOLERANCE)) for size, mm in zip(shape, spacing, strict=True)
    )
    return rows, columns


def rescaled_affine(
    affine: NDArray[np.float64], shape: tuple[int, int], new_shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Affine of a grid of `new_shape` over the same field of view in the plane as `affine`'s of `shape`."""
    scale = np.eye(4)
    for axis, (size, new_size) in enumerate(zip(shape, new_shape, strict=True), start=1):
        scale[axis, axis] = size / new_size
        scale[axis, 3] = (size / new_size - 1) / 2
    return np.asarray(affine @ scale, dtype=np.float64)


def resample_slice(image: NDArray[np.floating], spacing: tuple[float, float], pixel_mm: float) -> NDArray[np.floating]:
    """Resample a slice to (nearly) `pixel_mm`, bilinearly; the corners of the field of view stay where they are."""
    rows, columns = resampled_shape((image.shape[0], image.shape[1]), spacing, pixel_mm)
    if (rows, columns) == image.shape:
        return image
    shrinks = min(image.shape[0] / rows, image.shape[1] / columns) >= _AREA_FACTOR
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (columns, rows), interpolation=method), image.dtype)


def minmax(image: NDArray[np.floating], nonzero: bool) -> NDArray[np.float32]:
    """Stretch to [0, 1] (float32), with `nonzero` only the pixels that are not 0. Without contrast: zeros."""
    counted = image != 0 if nonzero else None
    low, high = cv2.minMaxLoc(image, None if counted is None else counted.view(np.uint8))[:2]
    if not high > low:
        return np.zeros(image.shape, np.float32)
    result = (image - low).astype(np.float32)
    result /= high - low
    return result if counted is None else result * counted


def remove_bias(image: NDArray[np.float32], sigma_fraction: float) -> NDArray[np.float32]:
    """Divide by a Gaussian smoothing with sigma = `sigma_fraction` of the rows and of the columns."""
    smooth = gaussian(image, (sigma_fraction * image.shape[0], sigma_fraction * image.shape[1]))
    return image / (smooth + np.float32(_AVOID_ZERO))


def local_median(image: NDArray[np.floating], keep_zero: bool) -> NDArray[np.floating]:
    """Return the 4-neighbour median divided by its maximum; with `keep_zero`, pixels at 0 stay 0."""
    median = cross_median(image)
    highest = median.max()
    if highest > 0:
        median = median / highest
    return median * (image != 0) if keep_zero else median


def resample_mask(mask: Volume, like: Volume) -> Volume:
    """Resample a mask to the grid of `like`, of the same stack of slices, by nearest neighbour; 0 outside its field.

    Raises:
        DataError: the two grids do not have the same slices in the same orientation.
    """
    to_mask = np.linalg.inv(mask.affine) @ like.affine
    slices = mask.array.shape[0]
    axes = to_mask[:3, :3]
    apart = np.abs(axes - np.diag(np.diag(axes))) * np.array(like.array.shape)
    if (
        like.array.shape[0] != slices
        or abs(to_mask[0, 0] - 1) * slices > 0.25
        or abs(to_mask[0, 3]) > 0.25
        or apart.max() > 0.5
        or min(axes[1, 1], axes[2, 2]) <= 0
    ):
        raise DataError(
            f"a mask of {mask.array.shape} and a grid of {like.array.shape} do not have the same slices in the same "
            "orientation: a mask can only be brought to a grid of its own stack"
        )
    result = np.zeros(like.array.shape, mask.array.dtype)
    # Half a pixel decides; the small offset keeps that decision from depending on the rounding of a header.
    rows, columns = (
        np.floor(to_mask[axis, axis] * np.arange(like.array.shape[axis]) + to_mask[axis, 3] + 0.5 + 1e-4).astype(int)
        for axis in (1, 2)
    )
    inside = [(index >= 0) & (index < size) for index, size in zip((rows, columns), mask.array.shape[1:], strict=True)]
    result[:, *np.ix_(*inside)] = mask.array[:, *np.ix_(rows[inside[0]], columns[inside[1]])]
    return Volume(result, like.affine)


def _as_float(image: NDArray[np.generic]) -> NDArray[np.float64]:
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"an array of shape {array.shape} is not a slice: expected (row, column)")
    if array.dtype.kind not in "buif":
        raise DataError(f"a slice of type {array.dtype} cannot be preprocessed: expected real numbers")
    converted = array.astype(np.float64)
    if array.dtype.kind == "f":
        converted[~np.isfinite(converted)] = 0
    return converted
