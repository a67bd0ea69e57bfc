"""Stored measures of real scans, and the examinations that the chapters on real MRI show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.bones import results as bones_results
from axspa_lib.detector import results as detector_results
from axspa_lib.detector.results import roi_boxes
from axspa_lib.joint import results as joint_results
from axspa_lib.preprocessing.scanner_distance import tissue_distances
from axspa_lib.real_mri.error_analysis import KEY, best_box_results
from axspa_lib.real_mri.figures import AreaCase, JointCase
from axspa_lib.real_mri.lesions import majority
from axspa_lib.study.config import Preprocessing
from axspa_lib.study.config import experiments as rows_of_table_4
from axspa_lib.study.labels import STIR, T1, Bone
from axspa_lib.study.results import Run, patients_from
from axspa_lib.study.runs import record_input
from axspa_lib.study.volume import read_volume

#: What a page says where no ROI is at hand.
NO_ROIS = (
    "Not computed: the regions of interest lie with the preprocessed slices, which do not come with the repository. "
    "`make book` with this profile makes them."
)


def measured(run: Run, name: str) -> pd.DataFrame:
    """Return a table of the measuring stage: `lesions`, `volumes`, `multiples`, `change` or `failures`."""
    path = record_input(run.finished(run.layout.measures) / f"{name}.csv")
    return pd.read_csv(path, dtype={"patient": str, "subject": str})


def roi_tables(run: Run, experiments: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return `roi_boxes` by experiment of those whose instances are at hand (with the preprocessed slices)."""
    cohort, fold = run.study.training_cohort, run.first_fold(None)
    folders = {name: run.layout.slices(run.variant(name).data_id(), cohort, fold) for name in experiments}
    return {name: roi_boxes(run, name) for name, folder in folders.items() if (folder / "instances.json").is_file()}


def protocol_methods(run: Run, cases: pd.DataFrame, experiments: Iterable[str]) -> dict[str, pd.DataFrame]:
    """Return the columns by which the protocol judges slice position and the detectors of experiments.

    Args:
        run: the results.
        cases: from `protocol.labelled`.
        experiments: rows of the experiment table; each scores a half-slice by its best box, mean over its members.
    """
    methods = {"slice position": pd.DataFrame({"position": cases["position"], "squared": cases["position"] ** 2})}
    for name in experiments:
        best = best_box_results(detector_results.predictions(run, experiment=name), cases)
        scores = pd.concat(best.values()).groupby(KEY)["p_inflamed"].mean()
        methods[str(rows_of_table_4()[name]["label"])] = pd.DataFrame(
            {"score": cases[KEY].join(scores, on=KEY)["p_inflamed"]}
        )
    return methods


def folds_table(run: Run) -> pd.DataFrame:
    """Return what each fold holds: `fold, subjects, examinations, with_bones, with_stir, read`."""
    cohort = run.cohort()
    folds = cohort.splits.merge(cohort.participants[["patient", "has_stir", "has_bones"]])
    folds = folds.assign(read=folds["patient"].isin(cohort.half_slices["patient"]))
    counted = folds.groupby("fold").agg(
        subjects=("subject", "nunique"),
        examinations=("patient", "size"),
        with_bones=("has_bones", "sum"),
        with_stir=("has_stir", "sum"),
        read=("read", "sum"),
    )
    return counted.reset_index()


def cohort_distances(run: Run, preprocessing: Preprocessing, most_patients: int = 4) -> pd.DataFrame:
    """Measure how differently the cohorts of a profile show iliac marrow on T1 after each step (`tissue_distances`).

    Args:
        run: the results, whose predicted bones say where the marrow is.
        preprocessing: the steps.
        most_patients: of each cohort, spread evenly over the examinations whose images are at hand.

    Returns:
        `tissue_distances`; no row where fewer than two cohorts have images.
    """
    slices = []
    for name in run.study.cohorts:
        cohort = run.cohort(name)
        patients = cohort.with_images
        for patient in patients[:: max(1, len(patients) // most_patients)][:most_patients]:
            volume, marrow = cohort.volume(patient, T1), bones_results.bones(run, patient, name).array == Bone.ILIAC
            index = int(marrow.sum(axis=(1, 2)).argmax())
            slices.append((name, volume.array[index], volume.spacing[1:], marrow[index]))
    return tissue_distances(slices, preprocessing)


def joint_case(run: Run, patients: Sequence[str], position: int = 0, cohort: str | None = None) -> JointCase | None:
    """Return the examination at a position among those whose images are at hand; None where there are none.

    Args:
        run: the results.
        patients: examinations to choose from.
        position: among those of them with images.
        cohort: the training cohort when None.
    """
    data = run.cohort(cohort)
    shown = [patient for patient in patients if data.has_images(patient)]
    if not shown:
        return None
    patient = patients_from(shown, position)[0]
    masks = joint_results.joint(run, patient, cohort), bones_results.bones(run, patient, cohort)
    return JointCase(patient, data.volume(patient, T1), *masks)


def area_cases(run: Run, count: int = 5) -> list[AreaCase]:
    """Return, for up to `count` examinations with drawings and images, the slice on which most was drawn (or found)."""
    cohort, cases = run.cohort(), []
    readers = sorted(set(cohort.half_slices["reader"]))
    drawn_on = measured(run, "lesions")["patient"].drop_duplicates()
    for patient in drawn_on[drawn_on.map(cohort.has_images)].head(count):
        masks = {reader: cohort.truth(patient, f"inflammation_{reader}") for reader in readers}
        drawn = majority({reader: mask.array > 0 for reader, mask in masks.items() if mask is not None})
        stir = cohort.volume(patient, STIR)
        found = read_volume(run.finished(run.layout.measures) / f"{patient}_desc-inflamed_dseg.nii.gz").array > 0
        marked = drawn if drawn.any() else found
        index = int(marked.sum(axis=(1, 2)).argmax())
        here = (index, *window(marked, stir.spacing[1:]))
        cases.append(
            AreaCase(f"{patient}, slice {index}", stir.array[here], found[here], drawn[here], stir.spacing[1:])
        )
    return cases


def window(mask: NDArray[np.bool_], spacing: tuple[float, float], margin_mm: float = 30.0) -> tuple[slice, slice]:
    """Return rows and columns that hold a mask `(slice, row, column)` with a margin; all for an empty mask."""
    found = []
    for axis, mm in zip((1, 2), spacing, strict=True):
        held = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        room = round(margin_mm / mm)
        ends = (held[0] - room, held[-1] + room + 1) if len(held) else (0, mask.shape[axis])
        found.append(slice(max(0, int(ends[0])), min(mask.shape[axis], int(ends[1]))))
    return found[0], found[1]
