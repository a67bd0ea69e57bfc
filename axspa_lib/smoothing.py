"""Two filters of the preprocessing chain, exact and quick: the wide Gaussian and the 4-connected median."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

#: Where the Gaussian is cut off, in standard deviations (SciPy's default).
_TRUNCATE = 4.0
#: Rows treated at once.
_BLOCK = 24


def row_blocks(rows: int) -> list[slice]:
    """The rows of an image in short runs, so that intermediate results stay in the processor's cache."""
    return [slice(first, min(first + _BLOCK, rows)) for first in range(0, rows, _BLOCK)]


def gaussian(image: NDArray[np.floating], sigma: tuple[float, float]) -> NDArray[np.floating]:
    """Gaussian smoothing with mirrored borders, as `scipy.ndimage.gaussian_filter`, whatever sigma at the same cost.

    With mirrored borders a symmetric kernel multiplies each cosine of the discrete cosine transform (type II) by its
    frequency response, so that the result is SciPy's up to rounding. In double precision only: where the image is
    nearly black, the smoothing is smaller than the rounding of single precision.

    Args:
        image: `(row, column)`.
        sigma: standard deviation in pixels along rows and columns.

    Returns:
        The smoothed image, float64.
    """
    spectrum = dctn(image.astype(np.float64, copy=False), norm="ortho")
    spectrum *= _response(image.shape[0], float(sigma[0]))[:, None]
    spectrum *= _response(image.shape[1], float(sigma[1]))[None, :]
    return np.asarray(idctn(spectrum, norm="ortho", overwrite_x=True))


def cross_median(image: NDArray[np.floating], out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
    """Median over each pixel and its four neighbours, the border repeated, as a network of minima and maxima.

    The result goes to `out` when given, which may be `image` itself.
    """
    rows, columns = image.shape
    result = np.empty_like(image) if out is None else out
    padded = np.empty((_BLOCK + 2, columns + 2), image.dtype)
    scratch = np.empty((4, _BLOCK, columns), image.dtype)
    above = image[0].copy()
    for part in row_blocks(rows):
        block = padded[: part.stop - part.start + 2]
        block[0, 1:-1], block[1:-1, 1:-1], block[-1, 1:-1] = above, image[part], image[min(part.stop, rows - 1)]
        block[:, 0], block[:, -1] = block[:, 1], block[:, -2]
        above = block[-2, 1:-1].copy()
        up, centre, down = block[:-2, 1:-1], block[1:-1, 1:-1], block[2:, 1:-1]
        left, right = block[1:-1, :-2], block[1:-1, 2:]
        a, b, low, high = scratch[:, : part.stop - part.start]
        cv2.max(cv2.min(up, down, dst=a), cv2.min(left, right, dst=b), dst=low)
        cv2.min(cv2.max(up, down, dst=a), cv2.max(left, right, dst=b), dst=high)
        cv2.min(cv2.max(low, high, dst=a), centre, dst=a)
        result[part] = cv2.max(cv2.min(low, high, dst=b), a, dst=b)
    return result


@lru_cache(maxsize=32)
def _response(size: int, sigma: float) -> NDArray[np.float64]:
    """Factor by which the cut-off Gaussian multiplies each of the `size` cosines of an axis."""
    radius = int(_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * offsets**2)
    weights /= weights.sum()
    response = np.cos(np.pi / size * np.outer(np.arange(size), offsets)) @ weights
    response.flags.writeable = False
    return response
