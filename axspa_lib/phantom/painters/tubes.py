"""Tubes about a line: the stretches of a vessel, nerve or canal that a slice shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import offset_line
from axspa_lib.phantom.person.anatomy import Points


def stretches(seen: NDArray[np.bool_]) -> list[slice]:
    """Runs of at least three true values."""
    if not seen.any():
        return []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 3]


def tube(line: Points, width: NDArray[np.floating]) -> Points:
    """Outline of a tube of varying half width about a line, with rounded ends."""
    ends = np.concatenate([line[:1] + (line[:1] - line[1:2]), line, line[-1:] + (line[-1:] - line[-2:-1])])
    half = np.concatenate([[0.5 * width[0]], width, [0.5 * width[-1]]])[:, None]
    return np.vstack([offset_line(ends, half), offset_line(ends, -half)[::-1]])


def rounded(points: Points) -> Points:
    """Return a closed outline without its corners: a moving average over nine of its points."""
    around = np.concatenate([points[-4:], points, points[:4]])
    return np.asarray(cv2.blur(around, (1, 9))[4:-4], np.float32)


def smooth(points: Points) -> Points:
    """Return a polyline with its corners rounded."""
    t = np.linspace(0, len(points) - 1, 6 * len(points))
    dense = np.stack([np.interp(t, np.arange(len(points)), points[:, k]) for k in (0, 1)], axis=1)
    padded = np.pad(dense, ((4, 4), (0, 0)), mode="edge")
    kernel = np.ones(9) / 9
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)], axis=1).astype(np.float32)
