"""ROC, precision-recall and calibration of scores, with intervals by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import precision_recall_curve, roc_curve

from axspa_lib.stats.counts import Floats
from axspa_lib.stats.resampling import Interval, interval_of, weights
from axspa_lib.study.errors import DataError


@dataclass(frozen=True)
class Curve:
    """A curve of operating points: `x`, `y`, the score `threshold` of each, and the area with its interval."""

    x: Floats
    y: Floats
    threshold: Floats
    area: Interval


def roc(reference: ArrayLike, score: ArrayLike, patients: ArrayLike, n: int = 2000, seed: int = 0) -> Curve:
    """ROC: `x` 1 - specificity, `y` sensitivity, area under the curve (share of pairs in the right order).

    Args:
        reference: 0 or 1 of each case.
        score: higher means more likely inflamed.
        patients: the patient of each case; patients are resampled.
        n: bootstrap resamples; those without both classes are left out.
        seed: of the bootstrap.

    Raises:
        DataError: only one class is present.
    """
    truth, values, owner, drawn = _prepared(reference, score, patients, n, seed)
    x, y, threshold = roc_curve(truth, values)
    positive, negative = values[truth == 1], values[truth == 0]
    order = np.sign(positive[:, None] - negative[None, :]) / 2 + 0.5
    left, right = drawn[:, owner[truth == 1]], drawn[:, owner[truth == 0]]
    pairs = left.sum(axis=1) * right.sum(axis=1)
    areas = np.divide(((left @ order) * right).sum(axis=1), pairs, out=np.full(n, np.nan), where=pairs > 0)
    return Curve(x, y, threshold, interval_of(float(order.mean()), areas, len(truth), drawn.shape[1]))


def precision_recall(
    reference: ArrayLike, score: ArrayLike, patients: ArrayLike, n: int = 2000, seed: int = 0
) -> Curve:
    """Precision-recall: `x` recall, `y` precision, average precision as the area; arguments as `roc`."""
    truth, values, owner, drawn = _prepared(reference, score, patients, n, seed)
    y, x, threshold = precision_recall_curve(truth, values)
    each = drawn[:, owner]
    areas = _average_precision(truth, values, each)
    value = float(_average_precision(truth, values, np.ones((1, len(truth))))[0])
    return Curve(x, y, threshold, interval_of(value, areas, len(truth), drawn.shape[1]))


def calibration(reference: ArrayLike, score: ArrayLike, patients: ArrayLike, bins: int = 10, n: int = 2000) -> Floats:
    """Reliability by equal intervals of the score in [0, 1]: columns mean score, share positive, low, high, cases.

    The interval of the share is by patient; bins without a case are left out.
    """
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    drawn = weights(len(names), n, 0)
    place = np.clip((values * bins).astype(int), 0, bins - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        each = drawn[:, owner[inside]]
        total = each.sum(axis=1)
        shares = np.divide(each @ truth[inside], total, out=np.full(n, np.nan), where=total > 0)
        found = interval_of(float(truth[inside].mean()), shares, int(inside.sum()), len(names))
        rows.append([values[inside].mean(), found.value, found.low, found.high, found.n])
    return np.array(rows).reshape(-1, 5)


def calibration_errors(reference: ArrayLike, score: ArrayLike, bins: int = 10) -> pd.Series:
    """Brier score (mean squared error) and expected calibration error (mean distance from the diagonal over cases)."""
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    rows = calibration(truth, values, np.arange(len(truth)), bins, n=1)
    gap = np.abs(rows[:, 0] - rows[:, 1]) @ rows[:, 4] / max(len(truth), 1)
    return pd.Series({"brier": float(np.mean((values - truth) ** 2)), "expected_calibration_error": float(gap)})


def _prepared(
    reference: ArrayLike, score: ArrayLike, patients: ArrayLike, n: int, seed: int
) -> tuple[Floats, Floats, np.ndarray, Floats]:
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    if not len(truth) == len(values) == len(np.asarray(patients)):
        raise DataError("reference, score and patients of a curve must be of the same cases")
    if set(np.unique(truth)) != {0.0, 1.0}:
        raise DataError("a curve needs inflamed and healthy cases: this subset has one class only")
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    return truth, values, owner, weights(len(names), n, seed)


def _average_precision(truth: Floats, values: Floats, each: Floats) -> Floats:
    """Average precision of each row of case weights; equal scores are one operating point."""
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    hits = np.add.reduceat(each[:, order] * truth[order], starts, axis=1)
    called = np.cumsum(np.add.reduceat(each[:, order], starts, axis=1), axis=1)
    right = np.cumsum(hits, axis=1)
    total = right[:, -1]
    precision = np.divide(right, called, out=np.zeros_like(right), where=called > 0)
    return np.divide((precision * hits).sum(axis=1), total, out=np.full(len(each), np.nan), where=total > 0)
