"""Two filters of the preprocessing chain, exact and quick: the wide Gaussian and the 4-connected median."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_TRUNCATE = 4.0


def gaussian(image: NDArray[np.floating], sigma: tuple[float, float]) -> NDArray[np.floating]:
    """Gaussian smoothing with mirrored borders, as `scipy.ndimage.gaussian_filter`, as two matrix products.

    Args:
        image: `(row, column)`, float64 or float32.
        sigma: standard deviation in pixels along rows and columns.

    Returns:
        The smoothed image, of the image's type; in float64 equal to SciPy's up to the order of summation.
    """
    down = _matrix(image.shape[0], sigma[0], image.dtype.str)
    across = _matrix(image.shape[1], sigma[1], image.dtype.str)
    return down @ image @ across.T


def cross_median(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median over each pixel and its four neighbours, the border repeated, as a network of minima and maxima."""
    padded = np.pad(image, 1, mode="edge")
    up, down = padded[:-2, 1:-1], padded[2:, 1:-1]
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    low = np.maximum(np.minimum(up, down), np.minimum(left, right))
    high = np.minimum(np.maximum(up, down), np.maximum(left, right))
    low, high = np.minimum(low, high), np.maximum(low, high)
    return np.maximum(low, np.minimum(high, image))


def _kernel(sigma: float) -> NDArray[np.float64]:
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return weights / weights.sum()


@lru_cache(maxsize=16)
def _matrix(size: int, sigma: float, dtype: str) -> NDArray[np.floating]:
    """Smoothing of one axis as a matrix `(size, size)`: the kernel around each pixel, folded back at the borders."""
    weights = _kernel(sigma)
    radius = len(weights) // 2
    source = np.arange(size)[:, None] + np.arange(-radius, radius + 1)[None, :]
    source %= 2 * size
    source = np.where(source < size, source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], source), weights[None, :])
    matrix = matrix.astype(dtype)
    matrix.flags.writeable = False
    return matrix
