"""Two filters of the preprocessing chain, exact and quick: the wide Gaussian and the 4-connected median."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

#: Where the Gaussian is cut off, in standard deviations (SciPy's default).
_TRUNCATE = 4.0
#: Rows treated at once.
_BLOCK = 64


def row_blocks(rows: int) -> list[slice]:
    """The rows of an image in short runs, so that intermediate results stay in the processor's cache."""
    return [slice(first, min(first + _BLOCK, rows)) for first in range(0, rows, _BLOCK)]


def gaussian(image: NDArray[np.floating], sigma: tuple[float, float]) -> NDArray[np.floating]:
    """Gaussian smoothing with mirrored borders, as `scipy.ndimage.gaussian_filter`, whatever sigma at the same cost.

    With mirrored borders a symmetric kernel multiplies each cosine of the discrete cosine transform (type II) by its
    frequency response: the result is SciPy's up to rounding, a share of the brightest pixel. Where the image is nearly
    black, that is too much in single precision, which smooths twice by way of few nodes instead (see `_nodes`): all
    terms of the uncut Gaussian are positive, so that its error is a share of the result. What lies beyond the cut-off
    is taken off along one axis at a time; along both it is less than 1e-8.

    Args:
        image: `(row, column)`, float64, or float32 for the second way.
        sigma: standard deviation in pixels along rows and columns.

    Returns:
        The smoothed image, of the type of `image`.
    """
    if image.dtype == np.float32:
        (down, beyond, _), (across, _, kept) = (_nodes(n, float(w)) for n, w in zip(image.shape, sigma, strict=True))
        left = np.concatenate([down.T, -beyond @ (image @ across.T)], axis=1)
        return np.asarray(left @ np.concatenate([(down @ image) @ kept, across]))
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


@lru_cache(maxsize=8)
def _nodes(size: int, sigma: float) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Matrices `A`, `(node, pixel)`, `B` and `C`, `(pixel, pixel)`, that smooth an axis with mirrored borders.

    `A.T @ A` is the uncut Gaussian, `B` its part beyond SciPy's cut-off and `C` the rest.

    A Gaussian is the integral of the product of two that are narrower by the root of 2, and a sum over nodes half a
    sigma apart gives that integral to 1e-8.
    """
    weights = _kernel(sigma)
    count, turns = math.ceil(2 * size / sigma), math.ceil(5 * sigma / size) + 1
    pixels, images = np.arange(size), 2 * size * np.arange(-turns, turns + 1)[:, None]
    mirrored = np.concatenate([pixels + images, -1 - pixels - images])
    nodes = (np.arange(count) + 0.5) * size / count - 0.5
    narrow = np.exp(-(((nodes[:, None, None] - mirrored) / sigma) ** 2)).sum(axis=1)
    narrow *= np.sqrt(weights.max() * 2 / math.sqrt(math.pi) * size / count / sigma / math.sqrt(2))
    apart = np.abs(pixels[:, None, None] - mirrored)
    kept = np.where(apart <= len(weights) // 2, weights.max() * np.exp(-0.5 * (apart / sigma) ** 2), 0).sum(axis=1)
    whole = (weights.max() * np.exp(-0.5 * (apart / sigma) ** 2)).sum(axis=1)
    return narrow.astype(np.float32), (whole - kept).astype(np.float32), kept.astype(np.float32)


def _kernel(sigma: float) -> NDArray[np.float64]:
    """SciPy's cut-off Gaussian."""
    radius = int(_TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=32)
def _response(size: int, sigma: float) -> NDArray[np.float64]:
    """Factor by which the cut-off Gaussian multiplies each of the `size` cosines of an axis."""
    weights = _kernel(sigma)
    offsets = np.arange(len(weights)) - len(weights) // 2
    response = np.cos(np.pi / size * np.outer(np.arange(size), offsets)) @ weights
    response.flags.writeable = False
    return response
