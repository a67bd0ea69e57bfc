"""Contrast-limited adaptive histogram equalisation (section 3.1.1), with the arithmetic of scikit-image.

Method: K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994. The grey levels are
those of `skimage.exposure.equalize_adapthist` (tiles of an eighth of the image, 256 bins over 14 bits), level for
level, in a fraction of its time: grey levels go through tables, all tiles are clipped at once, and the four mappings
around a pixel are read with one look-up. OpenCV's CLAHE hands out the clipped excess otherwise: another image.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.preprocessing.filters import row_blocks

#: Grey levels of the method, and bins of a tile's histogram.
LEVELS, BINS = 2**14, 256


def equalise(image: NDArray[np.floating], clip_limit: float = 0.01) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Equalise a slice.

    Args:
        image: `(row, column)`, values in [0, 1]; in float32 the mappings are blended in single precision.
        clip_limit: highest share of a tile's pixels in one bin; 0 does not clip.

    Returns:
        `(row, column)`, grey levels in [0, `LEVELS`), in float32 with their fraction. A constant image gives zeros.
    """
    result = np.zeros(image.shape, np.uint16)
    bins = _bins(image)
    if bins is None:
        return result
    tile = max(image.shape[0] // 8, 1), max(image.shape[1] // 8, 1)
    maps = np.pad(_mappings(bins, tile, clip_limit), [(1, 1), (1, 1), (0, 0)], mode="edge").astype(np.uint16)
    if image.dtype == np.float32:
        # The grids of mappings side by side, one for each bin; OpenCV (from 5.0) blends in float.
        across, down = _coordinates(image.shape, tile)
        grids = maps.transpose(0, 2, 1).reshape(len(maps), -1).astype(np.float32)
        along = cv2.scaleAdd(bins.astype(np.float32), maps.shape[1], across)
        return np.asarray(cv2.remap(grids, along, down, cv2.INTER_LINEAR), np.float32)
    # The mappings of the four tiles around a pixel, packed side by side, so that one look-up reads all four.
    corners = np.stack([maps[:-1, :-1], maps[:-1, 1:], maps[1:, :-1], maps[1:, 1:]], axis=-1)
    packed = corners.reshape(len(corners), -1, 4).view(np.uint64)[..., 0]
    row_tile, column_tile = (
        (np.arange(size) + side // 2) // side for size, side in zip(image.shape, tile, strict=True)
    )
    weights = _weights(tile, image.shape[1])
    for number in range(row_tile[-1] + 1):
        rows = slice(*np.searchsorted(row_tile, [number, number + 1]))
        first = (rows.start + tile[0] // 2) % tile[0]
        values = packed[number].take(column_tile * BINS + bins[rows]).view(np.uint16).reshape(*bins[rows].shape, 4)
        blended = np.zeros(bins[rows].shape, np.float32)
        for corner, weight in enumerate(weights):
            part = values[..., corner] * weight[first : first + len(blended)]
            blended += part.astype(np.float32, copy=False)
        result[rows] = blended
    return result


@lru_cache(maxsize=4)
def _weights(tile: tuple[int, int], columns: int) -> list[NDArray[np.float64]]:
    """Bilinear weight of each of the four mappings around the pixels of one row of tiles, `(row in tile, column)`."""
    down = np.arange(tile[0]) / tile[0]
    across = (np.arange(columns) + tile[1] // 2) % tile[1] / tile[1]
    return [np.outer(a, b) for a in (1 - down, down) for b in (1 - across, across)]


@lru_cache(maxsize=4)
def _numbers(grid: tuple[int, int], tile: tuple[int, int]) -> NDArray[np.uint8]:
    """The number of its tile in every pixel."""
    numbers = np.arange(grid[0] * grid[1], dtype=np.uint8).reshape(grid)
    return numbers.repeat(tile[0], axis=0).repeat(tile[1], axis=1)


@lru_cache(maxsize=4)
def _coordinates(shape: tuple[int, ...], tile: tuple[int, int]) -> list[NDArray[np.float32]]:
    """Column and row of every pixel in tiles, from the middle of the tile before the first."""
    places = np.indices(shape, np.float32)
    return [(places[axis] + tile[axis] // 2) / np.float32(tile[axis]) for axis in (1, 0)]


def _bins(image: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """Histogram bin of every pixel, by way of 16 and then 14 bits as scikit-image rounds; None for a constant image."""
    sixteen = np.asarray(cv2.multiply(image, 65535, dtype=cv2.CV_16U), np.uint16)  # type: ignore[call-overload]
    low, high = (int(value) for value in cv2.minMaxLoc(sixteen)[:2])
    if low == high:
        return None
    if image.dtype == np.float32:
        scale = (LEVELS - 1) / (high - low) / (1 + LEVELS // BINS)
        return np.asarray(cv2.convertScaleAbs(sixteen, alpha=scale, beta=-low * scale - 32 / 65))
    table = np.round((np.arange(low, high + 1) - float(low)) / float(high - low) * (LEVELS - 1.0)).astype(np.uint16)
    return look_up((table // (1 + LEVELS // BINS)).astype(np.uint8), sixteen - np.uint16(low))


def look_up(table: NDArray[np.uint8], levels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """`table[levels]`, a few rows at a time."""
    result = np.empty(levels.shape, np.uint8)
    for rows in row_blocks(len(levels)):
        table.take(levels[rows], out=result[rows], mode="clip")
    return result


def _mappings(bins: NDArray[np.uint8], tile: tuple[int, int], clip_limit: float) -> NDArray[np.int64]:
    """Grey-level mapping of every tile, `(tile row, tile column, bin)`; the border tiles are filled by reflection."""
    whole = [-(-size // side) * side for size, side in zip(bins.shape, tile, strict=True)]
    filled = np.pad(bins, [(0, full - size) for full, size in zip(whole, bins.shape, strict=True)], mode="reflect")
    grid = whole[0] // tile[0], whole[1] // tile[1]
    tiles = grid[0] * grid[1]
    histograms = cv2.calcHist([_numbers(grid, tile), filled], [0, 1], None, [tiles, BINS], [0, tiles, 0, BINS])
    counts = histograms.astype(np.int32)
    pixels = tile[0] * tile[1]
    limit = max(int(clip_limit * pixels), 1) if clip_limit > 0 else pixels
    cumulated = np.cumsum(_clip(counts, limit), axis=-1).astype(float) * ((LEVELS - 1) / pixels)
    return np.minimum(cumulated, LEVELS - 1).astype(np.int64).reshape(*grid, BINS)


def _clip(counts: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
    """Clip histograms `(tile, bin)` at `limit` and hand the excess out to the bins below it, all tiles at once."""
    excess = np.maximum(counts - limit, 0).sum(axis=1, dtype=np.int32)
    counts = np.minimum(counts, limit)
    # Every bin gets an equal share; one that comes within a share of the limit is filled up to it.
    share = (excess // BINS)[:, None]
    lifted = np.where(counts < limit - share, counts + share, limit)
    lifted = np.where(lifted >= limit - share, limit, lifted)
    excess -= (lifted - counts).sum(axis=1, dtype=np.int32)
    counts = lifted
    # What is left goes out one by one, at even steps over the bins that are still below the limit.
    position = np.arange(BINS, dtype=np.int32)
    active = excess > 0
    while active.any():
        before = excess.copy()
        for first in range(BINS):
            tiles = np.flatnonzero(active)
            left = excess[tiles]
            below = counts[tiles] < limit
            step = np.maximum(1, below.sum(axis=1, dtype=np.int32) // left)
            chosen = below & (position >= first) & ((position - first) % step[:, None] == 0)
            counts[tiles] += chosen
            excess[tiles] = left - chosen.sum(axis=1, dtype=np.int32)
            active = active & (excess > 0)
            if not active.any():
                break
        active &= excess < before
    return counts
