"""Detections to half-slices, half-slices to patients, members to an ensemble (sections 3.2.2 and 4.2).

Every input and output is a plain table, so that all of it can be recomputed from prediction files without an image:

- detections: one row per box, `patient, slice, side, score, label, p_healthy, p_inflamed`, ...
- half-slice results: `patient, slice, side, boxes, inflamed, positive, correct_count, p_inflamed`
- patient results: `patient, positive_rois, positive, score`
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import numpy as np
import pandas as pd

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SIDES

Members = Mapping[int, pd.DataFrame] | Iterable[tuple[int, pd.DataFrame]]

KEY = ["patient", "slice", "side"]
DETECTION_COLUMNS = (*KEY, "score", "label", "p_healthy", "p_inflamed")
HALF_SLICE_COLUMNS = (*KEY, "boxes", "inflamed", "positive", "correct_count", "p_inflamed")
PATIENT_COLUMNS = ("patient", "positive_rois", "positive", "score")


def half_slice_results(detections: pd.DataFrame, evaluated: pd.DataFrame, score_threshold: float = 0.7) -> pd.DataFrame:
    """Count the boxes of every half-slice (section 3.2.2).

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
    _need(detections, DETECTION_COLUMNS, "the detections")
    _need(evaluated, KEY, "the half-slices to evaluate")
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
    counts = boxes.groupby(KEY, sort=False).agg(
        boxes=("boxes", "sum"), inflamed=("inflamed", "sum"), p_inflamed=("p_inflamed", "max")
    )
    half = wanted.merge(counts.reset_index(), on=KEY, how="left")
    half[["boxes", "inflamed"]] = half[["boxes", "inflamed"]].fillna(0).astype(int)
    half["p_inflamed"] = half["p_inflamed"].fillna(0.0).astype(float)
    half["positive"] = (half["inflamed"] > 0).astype(int)
    half["correct_count"] = half["boxes"] == 1
    return half[list(HALF_SLICE_COLUMNS)]


def patient_results(half: pd.DataFrame, rule: int = 2, only: pd.DataFrame | None = None) -> pd.DataFrame:
    """Decide every patient: positive when the inflamed boxes of all half-slices sum to `rule` or more (3.2.2).

    Args:
        half: half-slice results of all slices predicted.
        rule: the number of positive ROIs that makes a patient positive.
        only: `patient, slice, side` of the half-slices that count, e.g. those the readers chose; all when None.

    Returns:
        `patient, positive_rois, positive` (0/1) and `score`, the `rule`-th largest `p_inflamed` of the patient's ROIs:
        for a score threshold of 0.5 or more, `score >= 0.5` is the same decision, so a sweep over it is the ROC of
        the rule. A patient of `half` without a half-slice in `only` is negative.
    """
    _need(half, HALF_SLICE_COLUMNS, "the half-slice results")
    if rule < 1:
        raise DataError(f"a decision rule of {rule} positive ROIs makes every patient positive: give 1 or more")
    patients = pd.DataFrame({"patient": half["patient"].astype(str).unique()})
    counted = half.assign(patient=half["patient"].astype(str))
    if only is not None:
        counted = counted.merge(_keys(only).drop_duplicates(), on=KEY)
    rois = counted.groupby("patient")["inflamed"].sum()
    repeated = counted.loc[counted.index.repeat(counted["inflamed"].clip(lower=1)), ["patient", "p_inflamed"]]
    ranked = repeated.sort_values("p_inflamed", ascending=False, kind="stable").groupby("patient", sort=False)
    score = ranked.nth(rule - 1).set_index("patient")["p_inflamed"]
    patients["positive_rois"] = patients["patient"].map(rois).fillna(0).astype(int)
    patients["positive"] = (patients["positive_rois"] >= rule).astype(int)
    patients["score"] = patients["patient"].map(score).fillna(0.0).astype(float)
    return patients


def asas_consecutive(half: pd.DataFrame) -> pd.DataFrame:
    """Decide every patient by the shape of the ASAS rule: one lesion on two consecutive slices, or two on one slice.

    In half-slices: both sides positive on one slice, or one side positive on two neighbouring slices (ASAS 2009
    definition of a positive MRI; https://doi.org/10.1136/ard.2009.110767). Columns as `patient_results` without score.
    """
    _need(half, (*KEY, "positive"), "the half-slice results")
    positive = half.loc[half["positive"] == 1, KEY].assign(patient=lambda table: table["patient"].astype(str))
    both = positive.groupby(["patient", "slice"])["side"].nunique().eq(len(SIDES)).groupby("patient").any()
    following = positive.assign(slice=positive["slice"] + 1).merge(positive, on=KEY)["patient"].unique()
    patients = pd.DataFrame({"patient": half["patient"].astype(str).unique()})
    patients["positive_rois"] = patients["patient"].map(positive.groupby("patient").size()).fillna(0).astype(int)
    two_sides = patients["patient"].map(both).eq(True)
    patients["positive"] = (two_sides | patients["patient"].isin(following)).astype(int)
    return patients


def ensemble_vote(
    members: Members, level: Literal["patient", "half_slice"] = "patient", patients: Collection[str] | None = None
) -> pd.DataFrame:
    """Combine the members of an ensemble by majority vote (section 4.2).

    A count of the ensemble is the lower median of its members' counts, so a half-slice is positive, has exactly one
    box, and a patient is positive, only when more than half of the members say so: **a tie is negative**.

    Args:
        members: results by seed, as `half_slice_results` or `patient_results` returns them, of one cohort.
        level: which of the two they are.
        patients: the cohort's patients, when known: a member with another one is refused.

    Returns:
        A table like a member's, with `votes` (share of members positive), `tie`, and the mean `p_inflamed` or `score`.

    Raises:
        DataError: no member, a seed twice, two members with the same predictions, or members of different cohorts.
    """
    tables = checked_members(members, patients)
    key = ["patient"] if level == "patient" else KEY
    counts = ["positive_rois", "positive"] if level == "patient" else ["boxes", "inflamed", "positive"]
    soft = "score" if level == "patient" else "p_inflamed"
    for seed, table in tables.items():
        _need(table, (*key, *counts, soft), f"the {level.replace('_', '-')} results of seed {seed}")
    first = next(iter(tables.values()))
    stacked = np.stack([_aligned(table, first, key)[[*counts, soft]].to_numpy(float) for table in tables.values()])
    voted = first[key].reset_index(drop=True)
    middle = np.sort(stacked, axis=0)[(len(tables) - 1) // 2]
    voted[counts] = middle[:, : len(counts)].astype(int)
    if level == "half_slice":
        voted["correct_count"] = voted["boxes"] == 1
    voted[soft] = stacked[..., -1].mean(axis=0)
    voted["votes"] = stacked[..., len(counts) - 1].mean(axis=0)
    voted["tie"] = voted["votes"] == 0.5
    return voted


def soft_vote(members: Members, level: Literal["patient", "half_slice"] = "patient") -> pd.DataFrame:
    """Combine members by the mean of their scores: positive at 0.5 or more; other columns as `ensemble_vote`."""
    voted = ensemble_vote(members, level)
    soft = "score" if level == "patient" else "p_inflamed"
    return voted.assign(positive=(voted[soft] >= 0.5).astype(int), tie=False)


def checked_members(members: Members, patients: Collection[str] | None = None) -> dict[int, pd.DataFrame]:
    """Members by seed, refused when they cannot be one ensemble.

    Two members are the same when all their cells are, unless neither holds a detection (then nothing tells them apart).

    Raises:
        DataError: no member, a seed twice, the same predictions under two seeds, or members of different cohorts.
    """
    pairs = list(members.items()) if isinstance(members, Mapping) else list(members)
    if not pairs:
        raise DataError("the ensemble has no member: train at least one seed of this experiment first")
    seen: dict[str, int] = {}
    tables: dict[int, pd.DataFrame] = {}
    for seed, table in pairs:
        if seed in tables:
            raise DataError(f"seed {seed} stands twice in the ensemble: give every member its own seed")
        mark = _fingerprint(table)
        if mark in seen:
            raise DataError(
                f"seeds {seen[mark]} and {seed} hold the same predictions: one of the files is a copy, predict again"
            )
        seen |= {mark: seed} if mark else {}
        tables[seed] = table
    expected = set(map(str, patients)) if patients is not None else set(pairs[0][1]["patient"].astype(str))
    for seed, table in tables.items():
        different = sorted(set(table["patient"].astype(str)) ^ expected)
        if different:
            raise DataError(
                f"the predictions of seed {seed} are not of the same cohort as the others (patient {different[0]} is "
                "in one but not in the other): give members of one cohort and subset"
            )
    return tables


def consensus_opinion(opinions: pd.DataFrame, tie: int = 1) -> pd.DataFrame:
    """Majority of the readers' opinions on every patient: `patient, asas_positive, readers`.

    A tie is positive unless `tie` is 0: with six readers Table 3 admits one division of its patients only, and in it
    three readers against three count as positive (`axspa_lib.audit`). A patient with one reader has no consensus.
    """
    _need(opinions, ("patient", "reader", "asas_positive"), "the opinions")
    repeated = opinions.duplicated(["patient", "reader"])
    if repeated.any():
        row = opinions[repeated].iloc[0]
        raise DataError(f"reader {row['reader']} has two opinions on patient {row['patient']}: keep one")
    votes = opinions.groupby("patient", as_index=False).agg(
        positive=("asas_positive", "sum"), readers=("asas_positive", "count")
    )
    votes = votes.loc[votes["readers"] >= 2].reset_index(drop=True)
    lead = 2 * votes["positive"] - votes["readers"]
    return pd.DataFrame(
        {
            "patient": votes["patient"].astype(str),
            "asas_positive": ((lead > 0) | ((lead == 0) & (tie == 1))).astype(int),
            "readers": votes["readers"],
        }
    )


def opinions_by_rule(half_slices: pd.DataFrame, rule: int = 2) -> pd.DataFrame:
    """Readers' diagnoses by the decision rule of Tables 2 and 3: positive half-slices >= `rule`.

    Returns:
        `patient, reader, asas_positive`, an alternative to the readers' own opinions of the same layout.
    """
    _need(half_slices, (*KEY, "reader", "inflammation"), "the readings")
    sums = half_slices.groupby(["patient", "reader"], as_index=False).agg(asas_positive=("inflammation", "sum"))
    return sums.assign(asas_positive=(sums["asas_positive"] >= rule).astype(int))


def every_half_slice(participants: pd.DataFrame) -> pd.DataFrame:
    """All half-slices, `patient, slice, side`, of participants with their `slices` (a number)."""
    _need(participants, ("patient", "slices"), "the participants")
    rows = participants.loc[participants.index.repeat(participants["slices"].astype(int) * len(SIDES)), ["patient"]]
    position = rows.groupby("patient", sort=False).cumcount()
    return pd.DataFrame(
        {
            "patient": rows["patient"].astype(str).to_numpy(),
            "slice": (position // len(SIDES)).to_numpy(),
            "side": np.asarray(SIDES)[(position % len(SIDES)).to_numpy()],
        }
    )


def _need(table: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{what} lack the column {missing[0]!r}: write them again with this version")


def _keys(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"patient": table["patient"].astype(str), "slice": table["slice"].astype(int), "side": table["side"]}
    )


def _aligned(table: pd.DataFrame, first: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """The rows of `table` in the order of `first`."""
    if len(table) == len(first):
        if all(np.array_equal(table[name].to_numpy(), first[name].to_numpy()) for name in key):
            return table
        wanted, present = (pd.MultiIndex.from_frame(rows[key]) for rows in (first, table))
        if present.is_unique and (places := present.get_indexer(wanted)).min(initial=0) >= 0:
            return table.iloc[places]
    raise DataError("the members were not evaluated on the same half-slices: recompute them with one table")


def _fingerprint(table: pd.DataFrame) -> str:
    """SHA-256 of the cells, or nothing where the table holds no detection."""
    measure = next((name for name in ("p_inflamed", "score") if name in table.columns), None)
    if measure is None or not table[measure].to_numpy(float).any():
        return ""
    ordered = table.reindex(sorted(table.columns), axis=1).drop(columns="member", errors="ignore")
    hashes = pd.util.hash_pandas_object(ordered, index=False).to_numpy()
    return hashlib.sha256(np.sort(hashes).tobytes()).hexdigest()
