"""Binary morphology with disks by distance transforms: the cost does not depend on the radius.

Every function gives the mask that scikit-image gives with the footprint `disk(radius)` and its default borders (the
image mirrored beyond its edge). Mirrored pixels are never nearer than the pixels they mirror, so a distance transform
of the image alone decides every pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


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
    return within(distance(~mask), radius) if mask.any() else mask.copy()


def erode(mask: Mask, radius: int) -> Mask:
    """Erosion with a disk."""
    return ~within(distance(mask), radius)


def close(mask: Mask, radius: int) -> Mask:
    """Closing with a disk."""
    return erode(dilate(mask, radius), radius)


def fill_holes(mask: Mask) -> Mask:
    """Fill the background that is not 4-connected to the edge of the image."""
    outside = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2, flags=4)
    return outside[1:-1, 1:-1] != 2


def box(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns that `mask` (not empty) spans, with a margin, inside the image."""
    limits = []
    for axis in (1, 0):
        at = np.flatnonzero(mask.any(axis=axis))
        limits.append(slice(max(int(at[0]) - margin, 0), min(int(at[-1]) + 1 + margin, mask.shape[1 - axis])))
    return limits[0], limits[1]


def components(mask: Mask) -> tuple[NDArray[np.int32], list[tuple[slice, slice]], NDArray[np.float64]]:
    """8-connected components: labels (0 outside, 1 and up), their boxes, and their centroids `(row, column)`."""
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    boxes = [(slice(int(y), int(y + h)), slice(int(x), int(x + w))) for x, y, w, h, _ in stats[1:]]
    return np.asarray(labels, np.int32), boxes, np.asarray(centroids[1:, ::-1], np.float64)


def largest(mask: Mask) -> Mask:
    """The largest 8-connected component; of equally large ones the one that begins last in reading order."""
    labels, boxes, _ = components(mask)
    if len(boxes) < 2:
        return mask.copy()
    sizes = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    ties = np.flatnonzero(sizes == sizes.max()) + 1
    last = max(ties, key=lambda label: int(np.argmax(labels.ravel() == label)))
    return labels == last
