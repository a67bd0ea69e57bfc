"""Slices and settings that chapter 2 shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.preprocessing.scanner_distance import tissue_distances
from axspa_lib.preprocessing.steps import Trace, preprocess_slice
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Preprocessing, load_study
from axspa_lib.study.labels import Bone
from axspa_lib.study.results import patients_from


def preprocessing_of(profile: str, **values: Any) -> Preprocessing:
    """The detector's preprocessing of a profile with a page's parameters in place of the profile's.

    Raises:
        ConfigError: an unknown profile, step or impossible value; names the field.
    """
    overrides = {f"detector__preprocessing__{name}": value for name, value in values.items()}
    return load_study(profile, **overrides).detector.preprocessing


def preprocessing_traces(
    cohort: Cohort, preprocessing: Preprocessing, sequence: str = "T1", first: int = 0, scanners: int = 3
) -> tuple[dict[str, Trace], dict[str, tuple[float, float]]]:
    """Every step on the middle slice of patients from different scanners.

    Args:
        cohort: whose patients.
        preprocessing: the steps.
        sequence: T1 or STIR.
        first: position of the first patient.
        scanners: how many different ones.

    Returns:
        By name of the slice, the images after each step, and the pixel size `(row, column)` in mm.

    Raises:
        ConfigError: there is nobody at `first`.
    """
    names = patients_from(cohort.patients, first, len(cohort.patients))
    known = cohort.participants[cohort.participants["patient"].isin(names)]
    rows = known.drop_duplicates(["manufacturer", "model"]).head(scanners)
    traces: dict[str, Trace] = {}
    spacings: dict[str, tuple[float, float]] = {}
    for row in rows.to_dict("records"):
        volume = cohort.volume(row["patient"], sequence)
        name = ", ".join(part for part in (row["patient"], f"{row['manufacturer']} {row['model']}".strip()) if part)
        traces[name], spacings[name] = {}, volume.spacing[1:]
        preprocess_slice(volume.array[len(volume.array) // 2], spacings[name], preprocessing, traces[name])
    return traces, spacings


def marrow_distances(
    cohort: Cohort, preprocessing: Preprocessing, sequence: str = "T1", most_patients: int = 30
) -> pd.DataFrame:
    """How differently scanners show the marrow of the iliac bones, after each step (`tissue_distances`).

    Args:
        cohort: of which patients with reference bones count, the same number of each manufacturer.
        preprocessing: the steps.
        sequence: T1 or STIR.
        most_patients: patients at most, so that the page stays quick.
    """
    known = cohort.participants.query("has_bones")
    each = max(1, most_patients // max(known["manufacturer"].nunique(), 1))
    slices = []
    for row in known.groupby("manufacturer").head(each).to_dict("records"):
        volume, bones = cohort.volume(row["patient"], sequence), cohort.reference_bones(row["patient"])
        if bones is not None:
            marrow = bones.array == Bone.ILIAC
            place = int(marrow.sum(axis=(1, 2)).argmax())
            slices.append((row["manufacturer"], volume.array[place], volume.spacing[1:], marrow[place]))
    return tissue_distances(slices, preprocessing)


def without_each_step(
    image: NDArray[np.generic], spacing: tuple[float, float], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]:
    """A slice preprocessed, and the same without each of the steps that are switched on, by name (Table 4).

    Args:
        image: `(row, column)`.
        spacing: pixel size `(row, column)` in mm.
        preprocessing: the steps.
    """
    steps = {"remove_bias": "no bias removal", "local_median": "no local median", "clahe": "no CLAHE"}
    without = {
        label: preprocess_slice(image, spacing, preprocessing.model_copy(update={name: False}))
        for name, label in steps.items()
        if getattr(preprocessing, name)
    }
    return preprocess_slice(image, spacing, preprocessing), without
