"""Contrast-limited adaptive histogram equalisation (section 3.1.1), with the arithmetic of scikit-image.

Method: K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994. The grey levels are
those of `skimage.exposure.equalize_adapthist` (tiles of an eighth of the image, 256 bins over 14 bits), level for
level, in a fraction of its time: grey levels go through tables, all tiles are clipped at once, and the four mappings
around a pixel are read with one look-up. OpenCV's CLAHE hands out the clipped excess otherwise: another image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Grey levels of the method, and bins of a tile's histogram.
LEVELS, BINS = 2**14, 256


def equalise(image: NDArray[np.floating], clip_limit: float = 0.01) -> NDArray[np.uint16]:
    """Equalise a slice.

    Args:
        image: `(row, column)`, values in [0, 1].
        clip_limit: highest share of a tile's pixels in one bin; 0 does not clip.

    Returns:
        `(row, column)`, grey levels in [0, `LEVELS`). A constant image gives zeros.
    """
    bins = _bins(image)
    if bins is None:
        return np.zeros(image.shape, np.uint16)
    rows, columns = image.shape
    tile = max(rows // 8, 1), max(columns // 8, 1)
    maps = _mappings(bins, tile, clip_limit)
    row_tile, row_part = _position(rows, tile[0])
    column_tile, column_part = _position(columns, tile[1])
    # The mappings of the four tiles around a pixel, packed side by side, so that one look-up reads all four.
    padded = np.pad(maps, [(1, 1), (1, 1), (0, 0)], mode="edge").astype(np.uint16)
    corners = np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]], axis=-1)
    packed = corners.reshape(-1, 4).view(np.uint64).ravel()
    offset = row_tile[:, None] * ((padded.shape[1] - 1) * BINS) + column_tile[None, :] * BINS
    values = packed[offset + bins].view(np.uint16).reshape(rows, columns, 4)
    result = np.zeros((rows, columns), np.float32)
    for corner, (row_weight, column_weight) in enumerate(
        [(a, b) for a in (1 - row_part, row_part) for b in (1 - column_part, column_part)]
    ):
        result += (values[..., corner] * (row_weight[:, None] * column_weight[None, :])).astype(np.float32)
    return result.astype(np.uint16)


def _bins(image: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """Histogram bin of every pixel, by way of 16 and then 14 bits as scikit-image rounds; None for a constant image."""
    sixteen = np.rint(image * image.dtype.type(65535)).astype(np.uint16)
    low, high = int(sixteen.min()), int(sixteen.max())
    if low == high:
        return None
    table = np.round((np.arange(low, high + 1) - float(low)) / float(high - low) * (LEVELS - 1.0)).astype(np.uint16)
    return (table // (1 + LEVELS // BINS)).astype(np.uint8)[sixteen - np.uint16(low)]


def _position(size: int, tile: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For every pixel of an axis: the number of the half-shifted tile it lies in and where in it, in [0, 1)."""
    shifted = np.arange(size) + tile // 2
    return shifted // tile, (shifted % tile) / tile


def _mappings(bins: NDArray[np.uint8], tile: tuple[int, int], clip_limit: float) -> NDArray[np.int64]:
    """Grey-level mapping of every tile, `(tile row, tile column, bin)`; the border tiles are filled by reflection."""
    whole = [-(-size // side) * side for size, side in zip(bins.shape, tile, strict=True)]
    filled = np.pad(bins, [(0, full - size) for full, size in zip(whole, bins.shape, strict=True)], mode="reflect")
    grid = whole[0] // tile[0], whole[1] // tile[1]
    number = (np.arange(whole[0]) // tile[0])[:, None] * grid[1] + (np.arange(whole[1]) // tile[1])[None, :]
    counts = np.bincount((number * BINS + filled).ravel(), minlength=grid[0] * grid[1] * BINS).reshape(-1, BINS)
    pixels = tile[0] * tile[1]
    limit = max(int(clip_limit * pixels), 1) if clip_limit > 0 else pixels
    cumulated = np.cumsum(_clip(counts, limit), axis=-1).astype(float) * ((LEVELS - 1) / pixels)
    return np.minimum(cumulated, LEVELS - 1).astype(np.int64).reshape(*grid, BINS)


def _clip(counts: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Clip histograms `(tile, bin)` at `limit` and hand the excess out to the bins below it, all tiles at once."""
    excess = np.maximum(counts - limit, 0).sum(axis=1)
    counts = np.minimum(counts, limit)
    # Every bin gets an equal share; one that comes within a share of the limit is filled up to it.
    share = (excess // BINS)[:, None]
    lifted = np.where(counts < limit - share, counts + share, limit)
    lifted = np.where(lifted >= limit - share, limit, lifted)
    excess -= (lifted - counts).sum(axis=1)
    counts = lifted
    # What is left goes out one by one, at even steps over the bins that are still below the limit.
    position = np.arange(BINS)
    active = excess > 0
    while active.any():
        before = excess.copy()
        for first in range(BINS):
            tiles = np.flatnonzero(active)
            left = excess[tiles]
            below = counts[tiles] < limit
            step = np.maximum(1, below.sum(axis=1) // left)
            chosen = below & (position >= first) & ((position - first) % step[:, None] == 0)
            counts[tiles] += chosen
            excess[tiles] = left - chosen.sum(axis=1)
            active = active & (excess > 0)
            if not active.any():
                break
        active &= excess < before
    return counts
