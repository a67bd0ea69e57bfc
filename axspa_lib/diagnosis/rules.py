"""Detections to half-slices, half-slices to patients (section 3.2.2).

Every input and output is a plain table, so that all of it can be recomputed from prediction files without an image:

- detections: one row per box, `patient, slice, side, score, label, p_healthy, p_inflamed`, ...
- half-slice results: `patient, slice, side, boxes, inflamed, positive, correct_count, p_inflamed`
- patient results: `patient, positive_rois, positive, score`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import overload

import pandas as pd

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SIDES

#: One table per trained network, by seed.
Members = Mapping[int, pd.DataFrame]

KEY = ["patient", "slice", "side"]
DETECTION_COLUMNS = (*KEY, "score", "label", "p_healthy", "p_inflamed")
HALF_SLICE_COLUMNS = (*KEY, "boxes", "inflamed", "positive", "correct_count", "p_inflamed")


@overload
def half_slice_results(
    detections: pd.DataFrame, evaluated: pd.DataFrame, score_threshold: float = 0.7
) -> pd.DataFrame: ...
@overload
def half_slice_results(
    detections: Members, evaluated: pd.DataFrame, score_threshold: float = 0.7
) -> dict[int, pd.DataFrame]: ...
def half_slice_results(
    detections: pd.DataFrame | Members, evaluated: pd.DataFrame, score_threshold: float = 0.7
) -> pd.DataFrame | dict[int, pd.DataFrame]:
    """Count the boxes of every half-slice, for one member or for each by seed (section 3.2.2).

    Args:
        detections: one row per stored box with `DETECTION_COLUMNS`; `side` is that of the box centre.
        evaluated: `patient, slice, side` of every half-slice that counts; one without a box gets a row of zeros.
        score_threshold: boxes scoring this or less are dropped, as in Detectron2 (the demo: 0.7).

    Returns:
        One row per row of `evaluated`, in its order: `boxes`, `inflamed` (boxes labelled so), `positive` (0/1, any of
        them), `correct_count` (exactly one box) and `p_inflamed`, the largest
        `p_inflamed / (p_healthy + p_inflamed)` of the boxes (0 without a box).

    Raises:
        DataError: a column is missing, a half-slice stands twice in `evaluated`, or `detections` has a patient that
            `evaluated` has not.
    """
    if isinstance(detections, Mapping):
        return {seed: half_slice_results(table, evaluated, score_threshold) for seed, table in detections.items()}
    need(detections, DETECTION_COLUMNS, "the detections")
    need(evaluated, KEY, "the half-slices to evaluate")
    wanted = _keys(evaluated)
    if wanted.duplicated().any():
        twice = wanted[wanted.duplicated()].iloc[0]
        raise DataError(f"half-slice {twice['slice']}{twice['side']} of patient {twice['patient']} is listed twice")
    strangers = sorted(set(detections["patient"].astype(str)) - set(wanted["patient"]))
    if strangers:
        raise DataError(
            f"patient {strangers[0]} has predictions but is not in the cohort evaluated ({len(strangers)} such "
            "patients): take the predictions of the same cohort and subset"
        )
    kept = detections[detections["score"] > score_threshold]
    probability = kept["p_inflamed"] / (kept["p_healthy"] + kept["p_inflamed"])
    boxes = _keys(kept).assign(inflamed=(kept["label"] == 1).astype(int), p_inflamed=probability, boxes=1)
    counts = boxes.groupby(KEY, sort=False).agg({"boxes": "sum", "inflamed": "sum", "p_inflamed": "max"})
    half = wanted.merge(counts.reset_index(), on=KEY, how="left").fillna({"boxes": 0, "inflamed": 0, "p_inflamed": 0.0})
    half = half.astype({"boxes": int, "inflamed": int, "p_inflamed": float})
    half = half.assign(positive=(half["inflamed"] > 0).astype(int), correct_count=half["boxes"] == 1)
    return half[list(HALF_SLICE_COLUMNS)]


@overload
def patient_results(half_slices: pd.DataFrame, min_positive: int = 2) -> pd.DataFrame: ...
@overload
def patient_results(half_slices: Members, min_positive: int = 2) -> dict[int, pd.DataFrame]: ...
def patient_results(
    half_slices: pd.DataFrame | Members, min_positive: int = 2
) -> pd.DataFrame | dict[int, pd.DataFrame]:
    """Decide every patient: positive when the inflamed boxes of all half-slices sum to `min_positive` (3.2.2).

    Args:
        half_slices: results of all slices predicted, of one member or of each by seed.
        min_positive: the number of positive ROIs that makes a patient positive.

    Returns:
        `patient, positive_rois, positive` (0/1) and `score`, the `min_positive`-th largest `p_inflamed` of the
        patient's ROIs: for a score threshold of 0.5 or more, `score >= 0.5` is the same decision, so a sweep over it is
        the ROC of the rule.

    Raises:
        DataError: a column is missing, or `min_positive` is less than 1.
    """
    if isinstance(half_slices, Mapping):
        return {seed: patient_results(table, min_positive) for seed, table in half_slices.items()}
    need(half_slices, HALF_SLICE_COLUMNS, "the half-slice results")
    if min_positive < 1:
        raise DataError(f"a rule of {min_positive} positive ROIs makes every patient positive: give 1 or more")
    counted = half_slices.assign(patient=half_slices["patient"].astype(str))
    patients = counted[["patient"]].drop_duplicates(ignore_index=True)
    rois = counted.groupby("patient")["inflamed"].sum()
    repeated = counted.loc[counted.index.repeat(counted["inflamed"].clip(lower=1)), ["patient", "p_inflamed"]]
    ranked = repeated.sort_values("p_inflamed", ascending=False, kind="stable").groupby("patient", sort=False)
    score = ranked.nth(min_positive - 1).set_index("patient")["p_inflamed"]
    patients["positive_rois"] = patients["patient"].map(rois).astype(int)
    patients["positive"] = (patients["positive_rois"] >= min_positive).astype(int)
    patients["score"] = patients["patient"].map(score).fillna(0.0).astype(float)
    return patients


def asas_consecutive(half_slices: pd.DataFrame) -> pd.DataFrame:
    """Decide every patient by the shape of the ASAS rule: one lesion on two consecutive slices, or two on one slice.

    In half-slices: both sides positive on one slice, or one side positive on two neighbouring slices (ASAS 2009
    definition of a positive MRI; https://doi.org/10.1136/ard.2009.110767). Columns as `patient_results`, score 0.
    """
    need(half_slices, (*KEY, "positive"), "the half-slice results")
    positive = _keys(half_slices[half_slices["positive"] == 1])
    both = positive.groupby(["patient", "slice"])["side"].nunique().eq(len(SIDES)).groupby("patient").any()
    following = positive.assign(slice=positive["slice"] + 1).merge(positive, on=KEY)["patient"].unique()
    patients = pd.DataFrame({"patient": half_slices["patient"].astype(str).unique()})
    patients["positive_rois"] = patients["patient"].map(positive.groupby("patient").size()).fillna(0).astype(int)
    two_sides = patients["patient"].map(both).eq(True)
    patients["positive"] = (two_sides | patients["patient"].isin(following)).astype(int)
    return patients.assign(score=0.0)


def need(table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Refuse a table without one of the columns.

    Raises:
        DataError: names the table and the column.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{what} lack the column {missing[0]!r}: write them again with this version")


def _keys(table: pd.DataFrame) -> pd.DataFrame:
    return table[KEY].astype({"patient": str, "slice": int})
