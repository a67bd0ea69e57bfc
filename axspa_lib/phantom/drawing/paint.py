"""A canvas of water and fat on which tissues are painted one over the other."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.texture import Field, Grid
from axspa_lib.phantom.physics import tissues

#: Fractional bits of the coordinates given to OpenCV.
SHIFT = 4
Region = tuple[slice, slice]


def fill(points: NDArray[np.floating], grid: Grid, margin: int = 1) -> tuple[NDArray[np.uint8], Region] | None:
    """Rasterise a closed outline `(n, 2)` in mm: coverage 0 to 255 on its own region of the grid, or None outside.

    Of several outlines `(k, n, 2)` it is the mean coverage. `margin` is how many empty pixels surround it.
    """
    pixels = grid.to_pixels(points)
    low = np.floor(pixels.reshape(-1, 2).min(0)).astype(int) - margin
    high = np.ceil(pixels.reshape(-1, 2).max(0)).astype(int) + 1 + margin
    c0, r0 = np.maximum(low, 0)
    c1, r1 = np.minimum(high, grid.size)
    if c1 <= c0 or r1 <= r0:
        return None
    local = np.rint((pixels - np.array([c0, r0])) * (1 << SHIFT)).astype(np.int32).reshape(-1, *pixels.shape[-2:])
    masks = np.zeros((len(local), r1 - r0, c1 - c0), np.uint8)
    for mask, outline in zip(masks, local, strict=True):
        cv2.fillPoly(mask, [outline], 255, lineType=cv2.LINE_AA, shift=SHIFT)
    mean = masks[0] if len(masks) == 1 else masks.mean(0, dtype=np.float32).astype(np.uint8)
    return mean, (slice(int(r0), int(r1)), slice(int(c0), int(c1)))


def offset(points: NDArray[np.floating], distance: float | NDArray[np.floating]) -> NDArray[np.float32]:
    """Move a closed outline inward by `distance` mm, or `(n, 1)`, along its normals (outward when negative)."""
    x, y = points[:, 0], points[:, 1]
    area = float(x[:-1] @ y[1:] - x[1:] @ y[:-1]) + float(x[-1] * y[0] - x[0] * y[-1])
    normal = _normal(points, points[1] - points[-1], points[0] - points[-2])
    return (points + normal * (-distance if area > 0 else distance)).astype(np.float32, copy=False)


def offset_line(points: NDArray[np.floating], distance: float | NDArray[np.floating]) -> NDArray[np.float32]:
    """Move an open line `(n, 2)` sideways by `distance` mm, towards +x for a line that runs caudally."""
    normal = _normal(points, points[1] - points[0], points[-1] - points[-2])
    return (points + normal * distance).astype(np.float32, copy=False)


def _normal(points: NDArray[np.floating], first: NDArray[np.floating], last: NDArray[np.floating]) -> Any:
    """Return unit normals `(n, 2)`, towards +x where a line runs caudally; `first` and `last` are its end tangents."""
    tangent = np.empty_like(points)
    np.subtract(points[2:], points[:-2], out=tangent[1:-1])
    tangent[0], tangent[-1] = first, last
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)[:, None]
    return tangent[:, ::-1] * np.array([1, -1], tangent.dtype)


class Canvas:
    """Signed water signal of T1 and of STIR, and the amount of fat: `(3, row, column)`."""

    def __init__(self, grid: Grid, t1: tissues.Sequence, stir: tissues.Sequence) -> None:
        self.grid = grid
        self.planes: NDArray[np.float32] = np.zeros((3, grid.size, grid.size), np.float32)
        self._water = {
            name: (tissues.water(t1, tissue), tissues.water(stir, tissue)) for name, tissue in tissues.tissues().items()
        }
        self._even: dict[tuple[str, float | None, float], NDArray[np.float32]] = {}

    def value(self, tissue: str, ff: float | Field | None = None, pd: float | Field = 1.0) -> NDArray[np.float32]:
        """Return a tissue on the three planes; `ff` replaces its fat fraction, `pd` scales its proton density."""
        if isinstance(ff, np.ndarray) or isinstance(pd, np.ndarray):
            return self._value(tissue, ff, pd)
        key = tissue, ff, float(pd)
        if key not in self._even:
            self._even[key] = self._value(tissue, ff, pd)
        return self._even[key]

    def _value(self, tissue: str, ff: float | Field | None, pd: float | Field) -> NDArray[np.float32]:
        known = tissues.tissues()[tissue]
        fraction = np.asarray(known.ff if ff is None else ff, np.float32)
        wet, lipid = np.atleast_2d(known.pd * pd * (1 - fraction)), np.atleast_2d(known.pd * pd * fraction)
        out = np.empty((3, *wet.shape), np.float32)
        for plane, pool, signal in zip(out, (wet, wet, lipid), (*self._water[tissue], 1), strict=True):
            np.multiply(pool, np.float32(signal), out=plane, casting="same_kind")
        return out

    def cover(self, opacity: Field, region: Region, value: NDArray[np.float32]) -> None:
        """Blend a value over a region with opacity 0 to 1."""
        part = self.planes[:, region[0], region[1]]
        part += opacity * (value - part)

    def dab(self, mask: NDArray[np.uint8], tissue: str, opacity: float, pd: Field | float = 1.0) -> None:
        """Paint a tissue through a mostly empty mask of the whole grid: coverage 0 to 255; `pd` as in `value`."""
        where = np.flatnonzero(mask)
        cover = mask.ravel()[where] * np.float32(opacity / 255)
        value = self.value(tissue, None, pd.ravel()[where] if isinstance(pd, np.ndarray) else pd).reshape(3, -1)
        flat = self.planes.reshape(3, -1)
        flat[:, where] += cover * (value - flat[:, where])

    def outline(
        self, points: NDArray[np.floating], tissue: str, ff: Field | float | None = None, pd: Field | float = 1.0,
        opacity: float = 1.0, soft_mm: float | tuple[float, float] = 0.0,
    ) -> tuple[NDArray[np.uint8], Region] | None:  # fmt: skip
        """Paint a closed outline and return its coverage, or None outside the grid.

        Args:
            points: `(n, 2)` or several `(k, n, 2)` in mm.
            tissue: its name; `ff` and `pd` as in `value`, whole-grid fields being cut to the outline's region.
            opacity: of the whole outline, 0 to 1; `soft_mm` blurs its border, by as much along x and y or by a pair.
        """
        soft = soft_mm if isinstance(soft_mm, tuple) else (soft_mm, soft_mm)
        filled = fill(points, self.grid, 1 + int(2 * max(soft) / self.grid.pixel))
        if filled is None:
            return None
        mask, region = filled
        cut_ff = ff[region] if isinstance(ff, np.ndarray) else ff
        cut_pd = pd[region] if isinstance(pd, np.ndarray) else pd
        cover: Field = mask.astype(np.float32) * np.float32(opacity / 255)
        if max(soft):
            across, along = soft[0] / self.grid.pixel, soft[1] / self.grid.pixel
            cover = cv2.GaussianBlur(cover, (0, 0), across, sigmaY=along).astype(np.float32)
        self.cover(cover, region, self.value(tissue, cut_ff, cut_pd))
        return filled

    def wash(
        self, points: NDArray[np.floating], tissue: str, ff: Field | float | None, pd: Field | float, soft_mm: float
    ) -> None:
        """Paint a large closed outline (mm) whose border fades over some `soft_mm`, as in `outline`, but coarsely."""
        step, whole_size = 8, self.grid.size
        size = -(-whole_size // step)
        coarse = Grid(size, step * self.grid.pixel, self.grid.x0, self.grid.y0)
        filled = fill(points, coarse)
        if filled is None:
            return
        whole: Field = np.zeros((size, size), np.float32)
        whole[filled[1]] = filled[0]
        cv2.GaussianBlur(whole, (0, 0), soft_mm / coarse.pixel, dst=whole, borderType=cv2.BORDER_REPLICATE)
        matrix, flags = np.array([[1 / step, 0, 0], [0, 1 / step, 0]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cover = cv2.warpAffine(whole, matrix, (whole_size,) * 2, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        everywhere = slice(None), slice(None)
        self.cover((cover / np.float32(255)).astype(np.float32), everywhere, self.value(tissue, ff, pd))
