"""Tolerances of curation, grouping by tolerance, and values that were not measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from axspa_lib.study.errors import DataError

#: Slices nearer than this, in mm, are the same slice.
SAME_POSITION_MM = 0.05

#: Direction cosines, and spacings in mm, that differ by less are one orientation and one spacing.
SAME_GRID = 5e-3

#: Echo times that differ by less are one echo, ms.
SAME_ECHO_MS = 1.0

#: Corners of two grids nearer than this, in mm, are one grid: no resampling, and a mask lies on its image.
SAME_GRID_MM = 0.5

#: Share by which a form of a NIfTI header may differ from its voxel sizes.
SAME_SIZE = 0.02

#: Tolerance of the distance between slices, as a share of the median distance.
UNEVEN = 0.1

#: Stacks whose slices lie on one lattice within this share of the slice distance differ by whole slices.
WHOLE_SLICE = 0.1

#: Stacks whose slice normals differ by more, in degrees, show different planes.
MAX_PLANE_ANGLE = 10.0

#: Share of the T1 slices that STIR must cover for a pair.
MIN_COVERED = 0.75

#: A rigid registration that moves a corner further, in mm, has failed.
MAX_REFINE_MM = 30.0


def cluster(vectors: Sequence[Sequence[float]], tolerance: float) -> list[list[int]]:
    """Group vectors that lie within a tolerance of the first of their group in every component.

    Args:
        vectors: equally long.
        tolerance: largest difference of a component; the order of the vectors does not matter.

    Returns:
        Indices by group.
    """
    groups: list[list[int]] = []
    for index in sorted(range(len(vectors)), key=lambda i: tuple(vectors[i])):
        for group in groups:
            if all(abs(a - b) <= tolerance for a, b in zip(vectors[index], vectors[group[0]], strict=True)):
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def fill_background(array: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Turn padding into background: NaN that reaches the edge, and one extreme value far from all others.

    Returns:
        The array with 0 (or its lowest measured value, if that is below) in these voxels, and their number.
    """
    bad = ~np.isfinite(array) if array.dtype.kind == "f" else np.zeros(1, bool)
    if bad.any():
        edge = np.ones(array.shape, bool)
        edge[tuple(slice(1, -1) for _ in array.shape)] = False
        if bad.all() or (bad & ~ndi.binary_propagation(edge & bad, mask=bad)).any():
            raise DataError(f"{int(bad.sum())} voxels are NaN or infinite; export the original intensities")
    values = array[~bad] if bad.any() else array
    for side in (-1, 1):
        low, high = float(values.min()), float(values.max())
        extreme, middle = (low, high)[side > 0], (low + high) / 2
        number = int(np.count_nonzero(values == extreme))
        alone = number == np.count_nonzero(values < middle if side < 0 else values > middle)
        negative = side < 0 and low < 0 and number == np.count_nonzero(values < 0)  # no measured value is
        if number < 2 or not (alone or negative):
            continue
        others = values[values != extreme]
        span = float(others.max()) - float(others.min()) if others.size else 0.0
        apart = high - low - span
        typical = extreme in (-32768.0, 32767.0, 65535.0) or abs(extreme) >= 1e9
        if span > 0 and apart > (0.1 if negative else 1 if typical else 10) * span:
            bad, values = bad | (array == extreme), others
    if not bad.any():
        return array, 0
    return np.where(bad, min(values.min(), 0), array).astype(array.dtype), int(bad.sum())
