"""Binary morphology with disks, as scikit-image with the footprint `disk(radius)`, and connected pieces of a mask.

scikit-image's own `isotropic_*` functions take fifty times as long on these masks, and need a guard where a mask is all
true or all false (no pixel to measure a distance from).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import disk

Mask = NDArray[np.bool_]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Piece:
    """One region of an image: `mask` lies in `box` of it; `centroid` `(row, column)` counts from the image's corner."""

    box: Box
    mask: Mask
    centroid: tuple[float, float]


def pieces(mask: Mask) -> list[Piece]:
    """Return the 8-connected pieces of a mask `(row, column)`, each in its bounding box, in no particular order."""
    _, labels, stats, centres = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask).view(np.uint8))
    found = []
    for label, ((left, top, width, height, _), (column, row)) in enumerate(zip(stats, centres, strict=True)):
        if label:
            box = slice(int(top), int(top + height)), slice(int(left), int(left + width))
            found.append(Piece(box, labels[box] == label, (float(row), float(column))))
    return found


def painted(parts: list[Piece], shape: tuple[int, ...]) -> Mask:
    """Return the union of pieces in an image of `shape`."""
    image = np.zeros(shape, bool)
    for part in parts:
        image[part.box] |= part.mask
    return image


def bounding_box(mask: Mask) -> Box:
    """Return the rows and columns that a mask spans; empty slices for an empty one."""
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def distance(mask: Mask) -> NDArray[np.float32]:
    """Return the Euclidean distance of each pixel of `mask` to the nearest one outside it; infinite without outside."""
    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def dilate(mask: Mask, radius: int) -> Mask:
    """Dilate with a disk."""
    return cv2.dilate(mask.view(np.uint8), _disk(radius)).view(bool)


def close(mask: Mask, radius: int) -> Mask:
    """Close with a disk."""
    return cv2.morphologyEx(mask.view(np.uint8), cv2.MORPH_CLOSE, _disk(radius)).view(bool)


def open_by_distance(inscribed: NDArray[np.float32], radius: int) -> Mask:
    """Open the mask whose `distance` is given with a disk, at a cost that does not grow with the radius."""
    limit = np.float32(np.sqrt(radius * radius + 0.5))  # half a squared pixel absorbs the rounding of the root
    return distance(inscribed <= limit) <= limit


@lru_cache(maxsize=64)
def _disk(radius: int) -> NDArray[np.uint8]:
    return disk(radius)


def fill_holes(mask: Mask) -> Mask:
    """Fill the background that is not 4-connected to the edge of the image."""
    outside = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    return outside[1:-1, 1:-1] != 2


def largest(mask: Mask) -> Mask:
    """Return the largest 8-connected piece; of equally large ones the one that begins last in reading order."""

    def rank(piece: Piece) -> tuple[int, int, int]:
        rows, columns = piece.box
        return int(np.count_nonzero(piece.mask)), rows.start, columns.start + int(np.argmax(piece.mask[0]))

    found = sorted(pieces(mask), key=rank)
    return painted(found[-1:], mask.shape)
