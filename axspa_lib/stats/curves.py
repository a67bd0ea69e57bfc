"""ROC, precision-recall and calibration of scores, with intervals and pointwise bands by patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_curve, roc_curve

from axspa_lib.stats.counts import Floats, ratio
from axspa_lib.stats.resampling import Interval, interval_of, weights
from axspa_lib.study.errors import DataError


@dataclass(frozen=True)
class Curve:
    """Operating points `x`, `y` of a curve, the score `threshold` of each, and the area with its interval."""

    x: Floats
    y: Floats
    threshold: Floats
    area: Interval


def roc(reference: ArrayLike, score: ArrayLike, patients: ArrayLike, n: int = 2000, seed: int = 0) -> Curve:
    """Return the ROC: `x` 1 - specificity, `y` sensitivity, area the share of pairs in the right order.

    Args:
        reference: 0 or 1 of each case.
        score: higher means more likely inflamed.
        patients: the patient of each case; patients are resampled.
        n: bootstrap resamples; those without both classes are left out.
        seed: of the bootstrap.

    Raises:
        DataError: only one class is present.
    """
    truth, values, owner, people = _prepared(reference, score, patients)
    positive, negative = values[truth == 1], values[truth == 0]
    order = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    drawn = weights(people, n, seed)
    left, right = drawn[:, owner[truth == 1]], drawn[:, owner[truth == 0]]
    areas = ratio(((left @ order) * right).sum(axis=1), left.sum(axis=1) * right.sum(axis=1))
    x, y, threshold = roc_curve(truth, values)
    return Curve(x, y, threshold, interval_of(float(order.mean()), areas, len(truth), people))


def precision_recall(
    reference: ArrayLike, score: ArrayLike, patients: ArrayLike, n: int = 2000, seed: int = 0
) -> Curve:
    """Return precision-recall: `x` recall, `y` precision, area the average precision; arguments as `roc`."""
    truth, values, owner, people = _prepared(reference, score, patients)
    y, x, threshold = precision_recall_curve(truth, values)
    areas = _average_precision(truth, values, weights(people, n, seed)[:, owner])
    value = float(_average_precision(truth, values, np.ones((1, len(truth))))[0])
    return Curve(x, y, threshold, interval_of(value, areas, len(truth), people))


def band(
    reference: ArrayLike,
    score: ArrayLike,
    patients: ArrayLike,
    kind: Literal["roc", "precision_recall"] = "roc",
    n: int = 1000,
    seed: int = 0,
    points: int = 51,
) -> Floats:
    """Return the pointwise 95 % band of a curve at `points` abscissae from 0 to 1: rows `x, low, high`.

    The curve is drawn in each resample of the patients; resamples of one class are left out. Arguments as `roc`.
    """
    truth, values, owner, people = _prepared(reference, score, patients)
    hits, called = _cumulative(truth, values, weights(people, n, seed)[:, owner])
    both = (hits[:, -1] > 0) & (called[:, -1] > hits[:, -1])
    hits, false = hits[both], (called - hits)[both]
    grid = np.linspace(0, 1, points)
    recall, fallout = hits / hits[:, -1:], false / false[:, -1:]
    if kind == "roc":  # the last point not right of each abscissa, from (0, 0) on
        drawn = [np.r_[0.0, y][np.searchsorted(x, grid + 1e-12, side="right")]
                 for x, y in zip(fallout, recall, strict=True)]  # fmt: skip
    else:  # the first point not left of it
        precision = np.divide(hits, hits + false, out=np.ones_like(hits), where=hits + false > 0)
        drawn = [y[np.minimum(np.searchsorted(x, grid - 1e-12, side="left"), len(y) - 1)]
                 for x, y in zip(recall, precision, strict=True)]  # fmt: skip
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    return np.stack([grid, low, high], axis=1)


def calibration(reference: ArrayLike, score: ArrayLike, patients: ArrayLike, bins: int = 10, n: int = 2000) -> Floats:
    """Return reliability by equal intervals of the score: columns mean score, share positive, low, high, cases.

    The interval of the share is by patient; bins without a case are left out.
    """
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    drawn = weights(len(names), n, 0)
    index = np.clip((values * bins).astype(int), 0, bins - 1)
    rows = []
    for number in np.unique(index):
        inside = index == number
        each = drawn[:, owner[inside]]
        shares = ratio(each @ truth[inside], each.sum(axis=1))
        found = interval_of(float(truth[inside].mean()), shares, int(inside.sum()), len(names))
        rows.append([values[inside].mean(), found.value, found.low, found.high, found.n])
    return np.array(rows).reshape(-1, 5)


def calibration_errors(reference: ArrayLike, score: ArrayLike, bins: int = 10) -> pd.Series:
    """Return the Brier score and the expected calibration error (mean distance from the diagonal over cases)."""
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    rows = calibration(truth, values, np.arange(len(truth)), bins, n=1)
    gap = np.abs(rows[:, 0] - rows[:, 1]) @ rows[:, 4] / max(len(truth), 1)
    brier = float(np.mean((values - truth) ** 2)) if len(truth) else float("nan")
    return pd.Series({"brier": brier, "expected_calibration_error": float(gap)})


def _prepared(reference: ArrayLike, score: ArrayLike, patients: ArrayLike) -> tuple[Floats, Floats, np.ndarray, int]:
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    if not len(truth) == len(values) == len(np.asarray(patients)):
        raise DataError("reference, score and patients of a curve must be of the same cases")
    if set(np.unique(truth)) != {0.0, 1.0}:
        raise DataError("a curve needs inflamed and healthy cases: this subset has one class only")
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    return truth, values, owner, len(names)


def _cumulative(truth: Floats, values: Floats, each: Floats) -> tuple[Floats, Floats]:
    """Return inflamed and all cases at or above each distinct score, `(rows of case weights, scores)`."""
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    hits, called = (np.cumsum(np.add.reduceat(part[:, order], starts, axis=1), axis=1) for part in (each * truth, each))
    return hits, called


def _average_precision(truth: Floats, values: Floats, each: Floats) -> Floats:
    """Return the average precision of each row of case weights; equal scores are one operating point."""
    hits, called = _cumulative(truth, values, each)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return ratio((precision * np.diff(hits, axis=1, prepend=0)).sum(axis=1), hits[:, -1])
