"""Textures inside tissues: smooth three-dimensional noise of a stated grain, and streaks along fibres."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel grid of a slice: `size` x `size` pixels of `pixel` mm, first pixel's centre at (`x0`, `y0`) mm."""

    size: int
    pixel: float
    x0: float
    y0: float

    def to_pixels(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return points `(n, 2)` in mm as (column, row)."""
        return ((points - np.array([self.x0, self.y0])) / self.pixel).astype(np.float32)

    def part(self, rows: slice, columns: slice) -> Grid:
        """Return a square grid that begins where these pixels do and holds all of them."""
        size = max(rows.stop - rows.start, columns.stop - columns.start)
        return Grid(size, self.pixel, self.x0 + columns.start * self.pixel, self.y0 + rows.start * self.pixel)

    @cached_property
    def x(self) -> NDArray[np.float64]:
        """x of the columns, mm."""
        return self.x0 + self.pixel * np.arange(self.size, dtype=np.float64)

    @cached_property
    def y(self) -> NDArray[np.float64]:
        """y of the rows, mm."""
        return self.y0 + self.pixel * np.arange(self.size, dtype=np.float64)


class Noise:
    """Stationary noise, about standard normal, fixed in space.

    A lattice of `grain` mm in the plane and `grain_z` mm across, interpolated; `stretch` lengthens the grain along x of
    its own frame, which `plane` can rotate; `smooth` blurs the lattice in the plane (standard deviation in its cells),
    for threads so thin that the kinks between cells would show.
    """

    _EXTENT, _DEPTH = 460.0, 140.0

    def __init__(
        self, rng: np.random.Generator, grain: float, grain_z: float, stretch: float = 1.0, smooth: float = 0.0
    ) -> None:
        self.grain = (grain * stretch, grain)
        self.grain_z = grain_z
        extent = self._EXTENT if grain * stretch > 2 else self._EXTENT / 2  # fine noise may repeat
        shape = (int(self._DEPTH / grain_z) + 2, int(extent / self.grain[1]) + 2, int(extent / self.grain[0]) + 2)
        self._lattice = rng.standard_normal(shape, dtype=np.float32)
        if smooth:
            for layer in self._lattice:
                cv2.GaussianBlur(layer, (0, 0), smooth, dst=layer, borderType=cv2.BORDER_REFLECT)
            self._lattice /= self._lattice.std()

    def plane(self, z: float, grid: Grid, angle: float = 0.0, warp: tuple[Field, Field] | None = None) -> Field:
        """Return noise on a grid at depth z (mm); `angle` (rad) turns its x axis, `warp` displaces it by (x, y) mm."""
        place = np.clip((z + 55) / self.grain_z, 0, self._lattice.shape[0] - 1.001)
        below = int(place)
        w = place - below
        near, far = np.array([1 - w, w], np.float32) * np.float32(1.25 / np.hypot(1 - w, w))
        layer = near * self._lattice[below] + far * self._lattice[below + 1]
        c, s = np.cos(angle), np.sin(angle)
        if warp is None:
            p, half, flags = grid.pixel, self._EXTENT / 2, cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
            rows = (c * p, s * p, c * grid.x0 + s * grid.y0 + half), (-s * p, c * p, -s * grid.x0 + c * grid.y0 + half)
            matrix = np.array(rows) / np.array([self.grain]).T
            return cv2.warpAffine(layer, matrix, (grid.size, grid.size), flags=flags, borderMode=cv2.BORDER_WRAP)
        x, y = (grid.x[None, :] + warp[0]).astype(np.float32), (grid.y[:, None] + warp[1]).astype(np.float32)
        u = ((c * x + s * y + self._EXTENT / 2) / self.grain[0]).astype(np.float32)
        v = ((-s * x + c * y + self._EXTENT / 2) / self.grain[1]).astype(np.float32)
        return cv2.remap(layer, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def cloud(rng: np.random.Generator, grid: Grid, sigma: float) -> Field:
    """Draw standard normal noise of one slice, smoothed by a Gaussian of `sigma` mm."""
    step = max(1, int(sigma / (1.2 * grid.pixel)))
    count, cells = -(-grid.size // step) + 1, sigma / (step * grid.pixel)
    white = rng.standard_normal((count, count), np.float32) * np.float32(2 * np.sqrt(np.pi) * cells)
    smooth = cv2.GaussianBlur(white, (0, 0), cells, borderType=cv2.BORDER_REFLECT)
    whole = cv2.resize(smooth, (count * step, count * step), interpolation=cv2.INTER_CUBIC)
    return np.asarray(whole[: grid.size, : grid.size], np.float32)


def ridges(noise: Field, width: float) -> Field:
    """Return thin lines where the noise crosses zero: 1 on the line, falling over `width` standard deviations."""
    return np.exp(-((noise / width) ** 2), dtype=np.float32)


def smoothstep(value: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
