"""Examinations that the chapters on real MRI show."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.bones import results as bones_results
from axspa_lib.preprocessing.scanner_distance import tissue_distances
from axspa_lib.real_mri import results as real_mri_results
from axspa_lib.real_mri.figures import AreaCase
from axspa_lib.real_mri.lesions import majority
from axspa_lib.study.config import Preprocessing
from axspa_lib.study.labels import Bone
from axspa_lib.study.results import Run


def cohort_distances(run: Run, preprocessing: Preprocessing, most_patients: int = 4) -> pd.DataFrame:
    """How differently the cohorts of a profile show iliac marrow on T1, after each step (`tissue_distances`).

    Args:
        run: the results, whose predicted bones say where the marrow is.
        preprocessing: the steps.
        most_patients: of each cohort, those spread evenly over its list.
    """
    slices = []
    for name in run.study.cohorts:
        cohort = run.cohort(name)
        for patient in cohort.patients[:: max(1, len(cohort.patients) // most_patients)][:most_patients]:
            volume, marrow = (cohort.volume(patient, "T1"), bones_results.bones(run, patient, name).array == Bone.ILIAC)
            place = int(marrow.sum(axis=(1, 2)).argmax())
            slices.append((name, volume.array[place], volume.spacing[1:], marrow[place]))
    return tissue_distances(slices, preprocessing)


def area_cases(run: Run, count: int = 5) -> list[AreaCase]:
    """For each examination with drawings, the STIR slice on which most readings drew most (or most was found)."""
    cohort, cases = run.cohort(), []
    readers = sorted(set(cohort.half_slices["reader"]))
    for patient in real_mri_results.measured(run, "lesions")["patient"].drop_duplicates().head(count):
        masks = {reader: cohort.truth(patient, f"inflammation_{reader}") for reader in readers}
        drawn = majority({reader: mask.array > 0 for reader, mask in masks.items() if mask is not None})
        stir, found = cohort.volume(patient, "STIR"), real_mri_results.found_area(run, patient).array > 0
        place = int((drawn if drawn.any() else found).sum(axis=(1, 2)).argmax())
        title = f"{patient}, slice {place}"
        rows, columns = window(drawn if drawn.any() else found, stir.spacing[1:])
        shown, area, drawing = (array[place, rows, columns] for array in (stir.array, found, drawn))
        cases.append(AreaCase(title, shown, area, drawing, stir.spacing[1:]))
    return cases


def window(mask: NDArray[np.bool_], spacing: tuple[float, float], margin_mm: float = 30.0) -> tuple[slice, slice]:
    """Rows and columns that hold a mask `(slice, row, column)` on any slice, with a margin; all if it is empty."""
    found = []
    for axis, mm in zip((1, 2), spacing, strict=True):
        places = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        room = round(margin_mm / mm)
        ends = (places[0] - room, places[-1] + room + 1) if len(places) else (0, mask.shape[axis])
        found.append(slice(max(0, int(ends[0])), min(mask.shape[axis], int(ends[1]))))
    return found[0], found[1]
