"""Slice preprocessing (section 3.1.1, figure 2): constant pixel, min-max, bias removal, median, CLAHE, 8 bits.

Two arithmetics. `exact` gives the 8-bit slices of the scikit-image and SciPy chain of the authors' demo, level for
level; `fast` works in single precision from the first min-max on, with a Gaussian whose error is a share of its result.

Every slice has a defined result: values that are not finite count as 0, and a slice without contrast becomes zeros.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.preprocessing.clahe import LEVELS, equalise, look_up
from axspa_lib.preprocessing.filters import cross_median, gaussian
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


def preprocess_slice(
    image: NDArray[np.generic], spacing: tuple[float, float], p: Preprocessing, trace: Trace | None = None
) -> NDArray[np.uint8]:
    """Preprocess one slice.

    Args:
        image: `(row, column)`, any real type; values that are not finite count as 0.
        spacing: pixel size `(row, column)` in mm.
        p: the steps and their parameters.
        trace: when given, receives the image after every step that ran, by name, in order.

    Returns:
        `(row, column)` uint8, on the grid of `resampled_shape` when `p.constant_pixel`, else on the slice's own.

    Raises:
        DataError: the array is not a two-dimensional array of real numbers, or the spacing is not positive.
    """

    def keep(name: str, step: NDArray[np.generic]) -> None:
        if trace is not None:
            trace[name] = step.copy()

    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise DataError(f"a spacing of {spacing} mm cannot be used: two positive lengths are meant, row and column")
    current: NDArray[np.floating] = _as_float(image)
    keep("input", current)
    if p.constant_pixel:
        current = resample_slice(current, spacing, p.pixel_mm)
        keep("constant pixel", current)
    working = current if p.arithmetic == "exact" else np.empty(current.shape, np.float32)
    current = minmax(current, p.nonzero_minmax, out=working)
    keep("min-max", current)
    if p.remove_bias:
        current = remove_bias(current, p.bias_sigma)
    current = minmax(current, p.nonzero_minmax, out=current)
    keep("bias removed", current)
    if p.local_median:
        current = local_median(current, p.nonzero_minmax, out=current)
        keep("median", current)
    result = equalised_to_uint8(equalise(current, p.clahe_clip_limit)) if p.clahe else to_uint8(current)
    keep("CLAHE" if p.clahe else "8 bits", result)
    return result


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
            f"a volume of {volume.array.ndim} dimensions cannot be preprocessed: (slice, row, column) is meant"
        )
    _, row_mm, column_mm = volume.spacing
    slices = [preprocess_slice(image, (row_mm, column_mm), p) for image in volume.array]
    rows, columns = volume.array.shape[1:]
    shape = resampled_shape((rows, columns), (row_mm, column_mm), p.pixel_mm) if p.constant_pixel else (rows, columns)
    array = np.stack(slices) if slices else np.zeros((0, *shape), np.uint8)
    return Volume(array, rescaled_affine(volume.affine, (rows, columns), shape))


def resampled_shape(shape: tuple[int, int], spacing: tuple[float, float], pixel_mm: float) -> tuple[int, int]:
    """Rows and columns after resampling to `pixel_mm`: whole pixels that fit the field of view, at least one.

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


def minmax(image: NDArray[np.floating], nonzero: bool, out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
    """Stretch to [0, 1]; with `nonzero`, only the pixels that are not 0. Without contrast: zeros.

    The result goes to `out` when given, which may be `image` itself or of single precision.
    """
    result = np.empty_like(image) if out is None else out
    counted = image != 0 if nonzero else None
    low, high = cv2.minMaxLoc(image, None if counted is None else counted.view(np.uint8))[:2]
    if not high > low:
        result[...] = 0
        return result
    np.subtract(image, low, out=result, casting="same_kind")
    result /= high - low
    if counted is not None:
        result *= counted
    return result


def remove_bias(image: NDArray[np.floating], sigma_fraction: float) -> NDArray[np.floating]:
    """Divide by a Gaussian smoothing with sigma = `sigma_fraction` of the rows and of the columns."""
    smooth = gaussian(image, (sigma_fraction * image.shape[0], sigma_fraction * image.shape[1]))
    smooth += _AVOID_ZERO
    return np.divide(image, smooth, out=smooth)


def local_median(
    image: NDArray[np.floating], keep_zero: bool, out: NDArray[np.floating] | None = None
) -> NDArray[np.floating]:
    """Median over the 4-connected neighbourhood, divided by its maximum; with `keep_zero`, pixels at 0 stay 0.

    The result goes to `out` when given, which may be `image` itself.
    """
    counted = image != 0 if keep_zero else None
    median = cross_median(image, out)
    highest = median.max()
    if highest > 0:
        median /= highest
    if counted is not None:
        median *= counted
    return median


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Stretch to 0 ... 255 and cut off the fraction."""
    return (minmax(image, nonzero=False) * 255).astype(np.uint8)


def equalised_to_uint8(levels: NDArray[np.uint16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """`to_uint8` of equalised grey levels, through a table; fractions of a level are cut off on average."""
    low, high = (int(value) for value in cv2.minMaxLoc(levels)[:2])
    if levels.dtype == np.float32:
        scale = 255 / max(high - low, 1)
        return np.asarray(cv2.convertScaleAbs(levels, alpha=scale, beta=-(low + 0.5) * scale - 0.5))
    table = np.clip((np.arange(LEVELS) - float(low)) / max(high - low, 1), 0, 1) * 255
    return look_up(table.astype(np.uint8), levels.astype(np.uint16, copy=False))


def resample_mask(mask: Volume, like: Volume) -> Volume:
    """Bring a mask to another grid of the same stack of slices, by nearest neighbour.

    Args:
        mask: labels on one in-plane grid.
        like: any volume on the grid that is wanted (its array is not read); what lies outside the mask's field is 0.

    Returns:
        The mask on the grid of `like`, of the mask's type.

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
    result = mask.array
    for axis in (1, 2):
        # Half a pixel decides; the small offset keeps that decision from depending on the rounding of a header.
        index = np.floor(to_mask[axis, axis] * np.arange(like.array.shape[axis]) + to_mask[axis, 3] + 0.5 + 1e-4)
        inside = (index >= 0) & (index < mask.array.shape[axis])
        result = np.take(result, np.clip(index, 0, mask.array.shape[axis] - 1).astype(np.intp), axis=axis)
        result = result * np.expand_dims(inside, tuple(a for a in (0, 1, 2) if a != axis)).astype(result.dtype)
    return Volume(result, like.affine)


def _as_float(image: NDArray[np.generic]) -> NDArray[np.float64]:
    array = np.asarray(image)
    if array.ndim != 2 or array.size == 0:
        raise DataError(f"an array of shape {array.shape} is not a slice: (row, column) is meant")
    if array.dtype.kind not in "buif":
        raise DataError(f"a slice of type {array.dtype} cannot be preprocessed: real numbers are meant")
    converted = array.astype(np.float64)
    if array.dtype.kind == "f":
        converted[~np.isfinite(converted)] = 0
    return converted
