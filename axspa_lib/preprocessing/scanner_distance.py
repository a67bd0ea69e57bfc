"""Measure how differently scanners show one tissue, after each preprocessing step."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from axspa_lib.preprocessing.steps import Trace, preprocess_slice
from axspa_lib.study.config import Preprocessing
from axspa_lib.study.errors import DataError


def tissue_distances(
    slices: Iterable[tuple[str, NDArray[np.generic], tuple[float, float], NDArray[np.bool_]]], p: Preprocessing
) -> pd.DataFrame:
    """How differently scanners show one tissue, after each step of the preprocessing.

    After every step the intensities of the tissue are expressed as parts of the slice's own range (1st to 99th
    percentile of its pixels that are not 0), pooled by scanner, and compared by the Wasserstein distance.

    Args:
        slices: scanner, slice `(row, column)`, spacing `(row, column)` in mm, mask of the tissue on the slice's grid.
        p: the steps and their parameters.

    Returns:
        `step, first, second, distance`: one row for each step and pair of scanners.

    Raises:
        DataError: a mask is not on the grid of its slice.
    """
    pooled: dict[str, dict[str, list[NDArray[np.float64]]]] = {}
    for scanner, image, spacing, mask in slices:
        if np.shape(mask) != np.shape(image):
            raise DataError(
                f"scanner {scanner}: a mask of {np.shape(mask)} does not lie on its slice of {np.shape(image)}"
            )
        trace: Trace = {}
        preprocess_slice(image, spacing, p, trace)
        for step, shown in trace.items():
            inside = cv2.resize(mask.astype(np.uint8), shown.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
            counted = np.asarray(shown, np.float64)
            low, high = np.percentile(counted[counted != 0], [1, 99]) if counted.any() else (0.0, 0.0)
            values = (counted[inside] - low) / (high - low) if high > low else counted[inside]
            pooled.setdefault(step, {}).setdefault(scanner, []).append(values)
    rows = [
        (step, first, second, float(wasserstein_distance(np.concatenate(by[first]), np.concatenate(by[second]))))
        for step, by in pooled.items()
        for first, second in combinations(sorted(name for name, parts in by.items() if any(map(len, parts))), 2)
    ]
    return pd.DataFrame(rows, columns=["step", "first", "second", "distance"])
