"""Binary morphology with disks; large ones by distance transforms, so that the cost does not grow with the radius.

Every function gives the mask that scikit-image gives with the footprint `disk(radius)` and its default borders (the
image mirrored beyond its edge). Mirrored pixels are never nearer than the pixels they mirror, so that what lies beyond
the edge never decides and can be left out.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

#: Up to this radius, moving the disk over the image is quicker than a distance transform.
_SMALL = 12


def distance(mask: Mask) -> NDArray[np.float32]:
    """Euclidean distance of every pixel of `mask` to the nearest pixel outside it; 0 outside, infinite without outside.

    Args:
        mask: `(row, column)`; what lies beyond the array counts neither as inside nor as outside.
    """
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def within(distances: NDArray[np.float32], radius: int) -> Mask:
    """Where a distance of two pixels is at most `radius` (half a squared pixel absorbs the rounding of the root)."""
    return distances <= np.float32(np.sqrt(radius * radius + 0.5))


def dilate(mask: Mask, radius: int) -> Mask:
    """Dilation with a disk."""
    if radius <= _SMALL:
        return cv2.dilate(mask.view(np.uint8), _disk(radius)).view(bool)
    return within(distance(~mask), radius) if mask.any() else mask.copy()


def erode(mask: Mask, radius: int) -> Mask:
    """Erosion with a disk."""
    if radius <= _SMALL:
        return cv2.erode(mask.view(np.uint8), _disk(radius)).view(bool)
    return ~within(distance(mask), radius)


def close(mask: Mask, radius: int) -> Mask:
    """Closing with a disk."""
    return erode(dilate(mask, radius), radius)


@lru_cache(maxsize=_SMALL + 1)
def _disk(radius: int) -> NDArray[np.uint8]:
    offsets = np.arange(-radius, radius + 1)
    return (offsets[:, None] ** 2 + offsets[None, :] ** 2 <= radius * radius).astype(np.uint8)


def fill_holes(mask: Mask) -> Mask:
    """Fill the background that is not 4-connected to the edge of the image."""
    outside = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    return outside[1:-1, 1:-1] != 2


def box(mask: Mask, margin: int = 0) -> Box:
    """Rows and columns that `mask` (not empty) spans, with a margin, inside the image."""
    limits = []
    for axis in (1, 0):
        at = np.flatnonzero(mask.any(axis=axis))
        limits.append(slice(max(int(at[0]) - margin, 0), min(int(at[-1]) + 1 + margin, mask.shape[1 - axis])))
    return limits[0], limits[1]


def components(mask: Mask) -> list[tuple[Box, Mask]]:
    """The 8-connected components of a mask, in no particular order: each box, and the component in it."""
    if not mask.any():
        return []
    rows, columns = box(mask)
    _, labels = cv2.connectedComponents(np.ascontiguousarray(mask[rows, columns]).view(np.uint8), connectivity=8)
    found = []
    for label, (down, across) in enumerate(find_objects(labels), start=1):
        place = (
            slice(rows.start + down.start, rows.start + down.stop),
            slice(columns.start + across.start, columns.start + across.stop),
        )
        found.append((place, labels[down, across] == label))
    return found


def centroid(place: Box, component: Mask) -> tuple[float, float]:
    """Mean row and column, in the image, of a component in its box."""
    area = np.count_nonzero(component)
    row, column = (
        part.start + int(np.count_nonzero(component, axis=1 - axis) @ np.arange(component.shape[axis])) / area
        for axis, part in enumerate(place)
    )
    return row, column


def largest(mask: Mask) -> Mask:
    """The largest 8-connected component; of equally large ones the one that begins last in reading order."""
    result = np.zeros_like(mask)
    found = components(mask)
    if found:
        place, component = max(found, key=lambda one: (np.count_nonzero(one[1]), _first_pixel(*one)))
        result[place] = component
    return result


def _first_pixel(place: Box, component: Mask) -> tuple[int, int]:
    return place[0].start, place[1].start + int(np.argmax(component[0]))
