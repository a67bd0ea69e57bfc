"""Choose slices of different scanners and measure how differently they show one tissue, after each step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from axspa_lib.preprocessing.steps import trace_slice
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Preprocessing
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.results import patients_from

#: Scanner, slice `(row, column)`, spacing `(row, column)` in mm, mask of one tissue on the slice's grid.
TissueSlice = tuple[str, NDArray[np.generic], tuple[float, float], NDArray[np.bool_]]


@dataclass(frozen=True)
class ScannerSlice:
    """One slice `(row, column)` to show, named after its patient and scanner; spacing `(row, column)` in mm."""

    name: str
    image: NDArray[np.generic]
    spacing: tuple[float, float]


def scanner_slices(cohort: Cohort, sequence: str = "T1", first: int = 0, scanners: int = 3) -> list[ScannerSlice]:
    """Return the middle slice of patients from different scanners, of those whose images are at hand.

    Args:
        cohort: of which patients.
        sequence: T1 or STIR.
        first: position of the first patient.
        scanners: how many different ones.

    Raises:
        ConfigError: there is no patient at `first`.
    """
    names = patients_from(cohort.with_images, first, len(cohort.patients)) if cohort.with_images else []
    known = cohort.participants[cohort.participants["patient"].isin(names)]
    found = []
    for row in known.drop_duplicates(["manufacturer", "model"]).head(scanners).to_dict("records"):
        volume = cohort.volume(row["patient"], sequence)
        scanner = f"{row['manufacturer']} {row['model']}".strip()
        name = ", ".join(part for part in (row["patient"], scanner) if part)
        found.append(ScannerSlice(name, volume.array[len(volume.array) // 2], volume.spacing[1:]))
    return found


def marrow_slices(cohort: Cohort, sequence: str = "T1", most_patients: int = 30) -> list[TissueSlice]:
    """Return the slice with most iliac marrow of each patient with reference bones and images at hand.

    Each manufacturer has the same number of patients, `most_patients` in all, so that the page stays quick.
    """
    known = cohort.participants[cohort.participants["patient"].isin(cohort.with_images)].query("has_bones")
    each = max(1, most_patients // max(known["manufacturer"].nunique(), 1))
    found = []
    for row in known.groupby("manufacturer").head(each).to_dict("records"):
        volume, bones = cohort.volume(row["patient"], sequence), cohort.reference_bones(row["patient"])
        if bones is not None:
            marrow = bones.array == Bone.ILIAC
            index = int(marrow.sum(axis=(1, 2)).argmax())
            found.append((row["manufacturer"], volume.array[index], volume.spacing[1:], marrow[index]))
    return found


def tissue_distances(slices: Iterable[TissueSlice], p: Preprocessing) -> pd.DataFrame:
    """Measure how differently scanners show one tissue, after each step of the preprocessing.

    After every step the intensities of the tissue are expressed as parts of the slice's own range (1st to 99th
    percentile of its pixels that are not 0), pooled by scanner, and compared by the Wasserstein distance.

    Args:
        slices: of any number of scanners.
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
        for step, after in trace_slice(image, spacing, p).items():
            inside = cv2.resize(mask.astype(np.uint8), after.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)
            counted = np.asarray(after, np.float64)
            low, high = np.percentile(counted[counted != 0], [1, 99]) if counted.any() else (0.0, 0.0)
            values = (counted[inside] - low) / (high - low) if high > low else counted[inside]
            pooled.setdefault(step, {}).setdefault(scanner, []).append(values)
    rows = [
        (step, first, second, float(wasserstein_distance(np.concatenate(by[first]), np.concatenate(by[second]))))
        for step, by in pooled.items()
        for first, second in combinations(sorted(name for name, parts in by.items() if any(map(len, parts))), 2)
    ]
    return pd.DataFrame(rows, columns=["step", "first", "second", "distance"])


def format_median_distances(distances: pd.DataFrame) -> tuple[str, str]:
    """Format the median distance over pairs of scanners before the first and after the last step."""
    if distances.empty:
        return "not measured", "not measured"
    median = distances.groupby("step", sort=False)["distance"].median()
    return f"{median.iloc[0]:.3f}", f"{median.iloc[-1]:.3f}"
