"""Minimal paths along the sacro-iliac joint: the dark ridge of T1 between sacrum and ilium (`skimage.graph`)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.filters import sato
from skimage.graph import MCP_Geometric

from axspa_lib.study.labels import RIGHT

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]
#: Rows and columns of a path, `(n, 2)`.
Path2D = NDArray[np.intp]
#: Rows a path starts above and ends below the region.
_MARGIN = 6
#: Cost of the first and the last row of a search, along which a path finds its own column.
_FREE = 1e-3


#: Lengths in mm; costs per pixel of path, relative to marrow.
LEVEL_MM = 12.0  # neighbourhood that defines the level of marrow
EXPONENT = 3.0  # how much darker pixels are preferred: cost = (T1 / level) ** exponent
RIDGE_DISCOUNT = 0.7  # share of the cost that a full ridge takes off
OUTSIDE = 1.0  # outside the region: as much as marrow, so that a path does not go around a bone
CLEFT = 0.15  # between two pieces of the region closer than CLEFT_MM
CLEFT_MM = 14.0  # widest cleft that is bridged
CLEFT_FROM_MM = 30.0  # clefts nearer to the midline are foramina
EDGE_MM = 4.0  # lateral cortex of the ilium, which costs as much as marrow although it is dark
NEIGHBOUR = 0.06  # added per mm of distance from the path of the neighbouring slice, up to NEIGHBOUR_CAP
NEIGHBOUR_CAP = 1.0
START_MM = 52.0  # distance of the joint from the midline on the first slice; START is the cost per mm off it
START = 0.03
SWEEPS = 3  # largest number of rounds over all slices
LATERAL_MM = 25.0  # a side without region farther than this from the midline has no path


def joint_costs(t1: NDArray[np.number], pelvis: Mask, middle: float, mm: float) -> tuple[Image, Image]:
    """Return each pixel's path cost, and T1 relative to the marrow around it (1 outside the region)."""
    cost = np.full(t1.shape, OUTSIDE, np.float32)
    shade = np.ones(t1.shape, np.float32)
    lateral = abs(np.arange(t1.shape[2]) - middle) * mm
    for z, plane in enumerate(pelvis):
        if not plane.any():
            continue
        weight = ndi.gaussian_filter(plane.astype(np.float32), LEVEL_MM / mm)
        level = ndi.gaussian_filter(np.where(plane, t1[z], 0).astype(np.float32), LEVEL_MM / mm)
        relative = np.where(plane, t1[z] * weight / np.maximum(level, 1e-6), 1).astype(np.float32)
        shade[z] = np.clip(ndi.gaussian_filter(relative, 0.6 / mm), 0, 1.3)
        ridge = sato(relative, sigmas=[0.9 / mm, 1.5 / mm], black_ridges=True)
        depth = ndi.distance_transform_edt(_closed(plane, CLEFT_MM / 2 / mm)) * mm
        ridge = np.clip(ridge / 0.25, 0, 1) * np.clip((depth - 1) / 1.5, 0, 1)
        cost[z][plane] = (0.03 + shade[z] ** EXPONENT * (1 - RIDGE_DISCOUNT * ridge))[plane]
        cost[z][(depth > 0) & ~plane & (lateral > CLEFT_FROM_MM)] = CLEFT
        cost[z][_outer_edge(plane, middle, EDGE_MM / mm)] = OUTSIDE
    return cost, shade


def _closed(mask: Mask, radius: float) -> Mask:
    """Close a mask by a disk, by distance transforms; the frame keeps the border of the image from closing."""
    pad = int(np.ceil(radius)) + 1
    grown = ndi.distance_transform_edt(~np.pad(mask, pad)) <= radius
    return (ndi.distance_transform_edt(grown) > radius)[pad:-pad, pad:-pad] | mask


def _outer_edge(mask: Mask, middle: float, width: float) -> Mask:
    """Return the lateral cortex: pixels within `width` columns of the region's lateral end on their row and side."""
    columns = np.arange(mask.shape[1])
    first, last = mask.argmax(axis=1)[:, None], mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)[:, None]
    right, left = (columns < middle) & (columns <= first + width), (columns > middle) & (columns >= last - width)
    return mask & (right | left)


def joint_paths(costs: Image, pelvis: Mask, seed: int, middle: float, side: str, mm: float) -> dict[int, Path2D]:
    """Find the path of each slice that holds lateral region on a side.

    From the seed slice outwards, each drawn to the path before it; then again, drawn to both neighbours, until no path
    changes.

    Args:
        costs: of `joint_costs`, `(slice, row, column)`.
        pelvis: the region.
        seed: slice to start from.
        middle: column of the midline.
        side: patient's side.
        mm: pixel size.

    Returns:
        Slice -> path from just above to just below the region on this side.
    """
    half = half_columns(costs.shape[2], middle, side)
    columns = slice(int(np.flatnonzero(half)[0]), int(np.flatnonzero(half)[-1]) + 1)
    lateral = abs(np.arange(costs.shape[2])[columns] - middle) * mm
    start = START * abs(lateral - START_MM)
    paths: dict[int, Path2D] = {}
    used: dict[int, tuple[bytes, ...]] = {}
    for _ in range(SWEEPS):
        for z in [*range(seed, len(costs)), *range(seed - 1, -1, -1)]:
            own = pelvis[z][:, columns]
            rows = np.flatnonzero(own[:, lateral > LATERAL_MM].any(axis=1))
            near = [paths[n] for n in (z - 1, z + 1) if n in paths]
            key = tuple(path.tobytes() for path in near)
            if not len(rows) or (z in paths and used[z] == key):
                continue
            window = slice(max(rows[0] - _MARGIN, 0), rows[-1] + _MARGIN + 1)
            cost = costs[z][window, columns]
            origin = np.array([window.start, columns.start])
            if near:
                far = [np.minimum(NEIGHBOUR * mm * distance_to(n - origin, cost.shape), NEIGHBOUR_CAP) for n in near]
                cost = cost + np.mean(far, axis=0)
            else:
                cost = cost + start
            paths[z], used[z] = _path(cost) + origin, key
    return paths


def distance_to(path: Path2D, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the distance, pixels, of each pixel of a window from the path inside it, or from its nearest end."""
    drawn = np.ones(shape, bool)
    inside = ((path >= 0) & (path < np.array(shape))).all(axis=1)
    if not inside.any():
        path, inside = np.clip(path, 0, np.array(shape) - 1), np.ones(len(path), bool)
    drawn[path[inside, 0], path[inside, 1]] = False
    return ndi.distance_transform_edt(drawn)


def _path(cost: NDArray[np.floating]) -> Path2D:
    """Return the cheapest path from the first row to the last; these two rows themselves are nearly free."""
    cost = cost.astype(np.float64)
    cost[[0, -1]] = _FREE
    search = MCP_Geometric(cost)
    end = (len(cost) - 1, 0)
    search.find_costs([(0, 0)], [end])
    path = np.array(search.traceback(end))
    inner = np.flatnonzero((path[:, 0] > 0) & (path[:, 0] < len(cost) - 1))
    return path[inner[0] - 1 : inner[-1] + 2]


def half_columns(columns: int, middle: float, side: str) -> Mask:
    """Return which columns lie on a patient's side of the midline."""
    return np.arange(columns) < middle if side == RIGHT else np.arange(columns) > middle
