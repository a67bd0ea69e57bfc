"""Protocol for detection on real MRI: the same four measures for every method, by subject, with chance by permutation.

A method gives every half-slice a score, out of fold. Inflammation is more frequent on some slices than on others, so a
method that knows the slice number alone reaches a fair agreement. Two measures see through that: the right side on
slices where exactly one side is inflamed, and the gain in likelihood over a model of position.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from axspa_lib.stats import bootstrap_by_patient, confusion, mcc_counts
from axspa_lib.study.cohort import consensus
from axspa_lib.study.errors import DataError
from axspa_lib.study.formatting import with_interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]
KEY = ["patient", "slice", "side"]
MCC, WITHIN, SIDE, GAIN = (
    "MCC, threshold from the other subjects",
    "area under the ROC within a subject",
    "right side on one-sided slices",
    "gain over position (nats per half-slice)",
)
#: Permutations of the labels behind each figure of chance.
PERMUTATIONS = 200


def labelled(
    areas: pd.DataFrame, evaluated: pd.DataFrame, participants: pd.DataFrame, limit_mm2: float
) -> pd.DataFrame:
    """Return the half-slices that count, labelled by the readers' majority at a limit of the drawn area.

    Args:
        areas: drawn area of each quadrant, `patient, reader, slice, side, quadrant, area_mm2`.
        evaluated: `patient, slice, side, joint` of the half-slices that detectors were tested on.
        participants: `patient, subject, slices`.
        limit_mm2: a reading calls a half-slice inflamed when a quadrant has more than this.

    Returns:
        `patient, slice, side, subject, position` (0 anterior, 1 posterior) and `inflammation` (0 or 1).
    """
    drawn = areas.groupby([*KEY, "reader"], as_index=False)["area_mm2"].max()
    readings = drawn.assign(inflammation=(drawn["area_mm2"] > limit_mm2).astype(int)).drop(columns="area_mm2")
    cases = evaluated.loc[evaluated["joint"], KEY].merge(consensus(readings).drop(columns="readers"), on=KEY)
    cases = cases.merge(participants[["patient", "subject", "slices"]], on="patient")
    cases["position"] = cases["slice"] / (cases["slices"] - 1)
    return cases.drop(columns="slices")


def protocol(
    cases: pd.DataFrame,
    methods: Mapping[str, pd.DataFrame],
    n: int = 2000,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure every method by the protocol.

    Args:
        cases: from `labelled`.
        methods: method → its columns for each half-slice, index as `cases`. One column is a score of its own, out of
            fold, higher meaning inflamed; several are features of a logistic model fitted on the other subjects.
        n: bootstrap resamples, by subject.
        permutations: of the labels within each subject, for the value expected by chance.
        seed: of both.

    Returns:
        `method, measure, value, low, high, chance, n, subjects`.

    Raises:
        DataError: a column is missing or not finite, or fewer than three subjects are left.
    """
    subjects = cases["subject"].to_numpy()
    if len(np.unique(subjects)) < 3:
        raise DataError("the protocol leaves one subject out: it needs three subjects or more")
    truth, rows = cases["inflammation"].to_numpy(int), []
    rng = np.random.default_rng(seed)
    shuffled = [_permuted(truth, subjects, rng) for _ in range(permutations)]
    for method, table in methods.items():
        columns = table.reindex(cases.index).to_numpy(float)
        if not np.isfinite(columns).all():
            raise DataError(
                f"method {method!r}: {int((~np.isfinite(columns)).any(axis=1).sum())} half-slices lack a value"
            )
        counts = _counts(cases, truth, columns)
        by_chance = [
            {name: float(MEASURES[name](part.sum(axis=0))) for name, part in _counts(cases, other, columns).items()}
            for other in shuffled
        ]
        for measure, statistic in MEASURES.items():
            kind: Literal["jeffreys", "percentile"] = "jeffreys" if measure == MCC else "percentile"
            found = bootstrap_by_patient(statistic, counts[measure], subjects, n, seed, kind)
            chance = float(np.nanmean([values[measure] for values in by_chance])) if by_chance else np.nan
            rows.append((method, measure, found.value, found.low, found.high, chance, len(truth), found.patients))
    return pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high", "chance", "n", "subjects"])


def format_protocol(table: pd.DataFrame) -> pd.DataFrame:
    """Return the protocol as text: a row per method, a column per measure, each with its interval and chance."""
    figures = table[["value", "low", "high", "chance"]].round(2).to_numpy(float) + 0.0  # no minus before a zero
    texts = [f"{with_interval(*row[:3])}; chance {row[3]:.2f}" for row in figures]
    wide = table.assign(text=texts).pivot(index="method", columns="measure", values="text")
    return wide.loc[table["method"].unique(), list(MEASURES)].rename_axis(index=None, columns=None)


def interpret_protocol(table: pd.DataFrame) -> str:
    """State which methods pick the inflamed side, and which add to position, beyond their intervals."""
    parts = []
    for measure, floor, what in (
        (SIDE, 0.5, "picks the inflamed side more often than chance"),
        (GAIN, 0.0, "adds to position"),
    ):
        rows = table[(table["measure"] == measure) & (table["low"] > floor)]
        parts.append(f"{', '.join(rows['method']) or 'no method'} {what}")
    return f"By their 95 % intervals, {' and '.join(parts)}."


def best_threshold(truth: Ints, score: Floats) -> float:
    """Return the threshold with the highest MCC of `score >= threshold`, midway between two scores."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(score) - 1)
    positive, called = np.cumsum(truth[order])[last], last + 1
    negative = called - positive
    counts = np.column_stack([positive, (truth == 0).sum() - negative, negative, truth.sum() - positive])
    best = int(last[int(np.nanargmax(mcc_counts(counts)))])
    return float(falling[best : best + 2].mean())


def _counts(cases: pd.DataFrame, truth: Ints, columns: Floats) -> dict[str, Floats]:
    """Return the counts of each measure for each case, with one subject left out at a time."""
    subjects = cases["subject"].to_numpy()
    position = cases["position"].to_numpy(float)
    where = np.column_stack([position, position**2])
    answer, score = np.zeros(len(cases), int), np.zeros(len(cases))
    alone, both = np.zeros(len(cases)), np.zeros(len(cases))
    for subject in np.unique(subjects):
        test = subjects == subject
        mine = columns[:, 0] if columns.shape[1] == 1 else _probability(columns, truth, test)
        answer[test] = mine[test] >= best_threshold(truth[~test], mine[~test])
        score[test] = mine[test]
        alone[test] = _probability(where, truth, test)[test]
        both[test] = _probability(np.column_stack([where, columns]), truth, test)[test]
    gain = np.where(truth == 1, np.log(both / alone), np.log((1 - both) / (1 - alone)))
    return {
        MCC: np.asarray(confusion(truth, answer)),
        WITHIN: _within(subjects, truth, score),
        SIDE: _right_side(cases, truth, score),
        GAIN: np.column_stack([gain, np.ones(len(gain))]),
    }


def _probability(features: Floats, truth: Ints, test: NDArray[np.bool_]) -> Floats:
    """Fit a logistic model on the cases outside `test` and return the probability of every case."""
    known = truth[~test]
    if len(np.unique(known)) < 2:
        return np.full(len(truth), known.mean()).clip(1e-6, 1 - 1e-6)
    scaled = (features - features[~test].mean(axis=0)) / features[~test].std(axis=0).clip(1e-9)
    model = LogisticRegression(solver="newton-cholesky").fit(scaled[~test], known)
    return np.asarray(expit(model.decision_function(scaled))).clip(1e-6, 1 - 1e-6)


def _within(subjects: NDArray[np.object_], truth: Ints, score: Floats) -> Floats:
    """Count for each inflamed case its pairs with healthy ones of the subject: in right order (ties half), and all."""
    counts = np.zeros((len(truth), 2))
    for case in np.flatnonzero(truth):
        healthy = score[(subjects == subjects[case]) & (truth == 0)]
        counts[case] = np.heaviside(score[case] - healthy, 0.5).sum(), len(healthy)
    return counts


def _right_side(cases: pd.DataFrame, truth: Ints, score: Floats) -> Floats:
    """Count on each slice with one inflamed side whether that side scores higher (ties half)."""
    counts = np.zeros((len(truth), 2))
    for pair in cases.groupby(["patient", "slice"]).indices.values():
        if len(pair) == 2 and truth[pair].sum() == 1:
            healthy, inflamed = np.asarray(pair)[np.argsort(truth[pair])]
            counts[inflamed] = np.heaviside(score[inflamed] - score[healthy], 0.5), 1
    return counts


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.nan))


def _permuted(truth: Ints, subjects: NDArray[np.object_], rng: np.random.Generator) -> Ints:
    found = truth.copy()
    for subject in np.unique(subjects):
        found[subjects == subject] = rng.permutation(truth[subjects == subject])
    return found


#: Measure → the statistic of its summed counts.
MEASURES: dict[str, Callable[[Floats], Floats]] = {MCC: mcc_counts, WITHIN: _ratio, SIDE: _ratio, GAIN: _ratio}
