"""Two filters of the preprocessing chain, exact and quick: the wide Gaussian and the 4-connected median."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

#: Where the Gaussian is cut off, in standard deviations (SciPy's default).
_TRUNCATE = 4.0
#: Rows treated at once.
_BLOCK = 16


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


def cross_median(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median over each pixel and its four neighbours, the border repeated, as a network of minima and maxima."""
    padded = np.pad(image, 1, mode="edge")
    result = np.empty_like(image)
    for rows in row_blocks(len(image)):
        block = padded[rows.start : rows.stop + 2]
        up, centre, down = block[:-2, 1:-1], block[1:-1, 1:-1], block[2:, 1:-1]
        left, right = block[1:-1, :-2], block[1:-1, 2:]
        low = np.maximum(np.minimum(up, down), np.minimum(left, right))
        high = np.minimum(np.maximum(up, down), np.maximum(left, right))
        np.maximum(np.minimum(low, high), np.minimum(np.maximum(low, high), centre), out=result[rows])
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
