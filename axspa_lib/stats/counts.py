"""Agreement of two or more binary readings, from counts; every function works on whole arrays of counts at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from axspa_lib.study.errors import DataError

#: Order of the four counts wherever they are columns of an array.
COUNTS = ("tp", "tn", "fp", "fn")

Floats = NDArray[np.float64]


def confusion(reference: ArrayLike, prediction: ArrayLike) -> Floats:
    """Return the indicator of `(tp, tn, fp, fn)` of every case: `(cases, 4)`; its sum is the confusion matrix.

    Raises:
        DataError: different lengths, or a value that is neither 0 nor 1.
    """
    truth, answer = np.asarray(reference, float).ravel(), np.asarray(prediction, float).ravel()
    if truth.shape != answer.shape:
        raise DataError(f"{truth.size} references cannot be compared with {answer.size} predictions")
    if not np.isin(np.concatenate([truth, answer]), (0.0, 1.0)).all():
        raise DataError("only 0 (not inflamed) and 1 (inflamed) can be compared; an unread case must be left out")
    return np.stack([truth * answer, (1 - truth) * (1 - answer), (1 - truth) * answer, truth * (1 - answer)], axis=-1)


def mcc(tp: ArrayLike, tn: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Floats:
    """Return the Matthews correlation coefficient of arrays of counts, in [-1, 1].

    It is 0 where one of the four margins is empty, as in scikit-learn's `matthews_corrcoef`.
    """
    tp, tn, fp, fn = (np.asarray(count, float) for count in (tp, tn, fp, fn))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return np.divide(tp * tn - fp * fn, np.sqrt(product), out=np.zeros_like(product), where=product > 0)


def mcc_by_block(counts: ArrayLike) -> Floats:
    """Return `mcc` of every block of four counts in the order of `COUNTS`: `(..., 4 k)` to `(..., k)`."""
    counts = np.asarray(counts, float)
    return mcc(*np.moveaxis(counts.reshape(*counts.shape[:-1], -1, len(COUNTS)), -1, 0))


def mcc_counts(counts: ArrayLike) -> Floats:
    """Return the mean `mcc` over the k blocks of counts `(..., 4 k)`."""
    return mcc_by_block(counts).mean(axis=-1)


def cohen_kappa(counts: ArrayLike) -> Floats:
    """Return Cohen's kappa of counts `(..., 4)`; 1 when both readings are of one class throughout, 0 if empty."""
    tp, tn, fp, fn = np.moveaxis(np.asarray(counts, float), -1, 0)
    total = tp + tn + fp + fn
    n = np.where(total > 0, total, 1)
    return _kappa((tp + tn) / n, ((tp + fp) * (tp + fn) + (tn + fp) * (tn + fn)) / n**2, total)


def fleiss_kappa(sums: ArrayLike) -> Floats:
    """Return Fleiss' kappa of `fleiss_terms` summed over cases, `(..., 4)`; 1 when every reading is of one class."""
    cases, agreement, positive, readings = np.moveaxis(np.asarray(sums, float), -1, 0)
    share = positive / np.where(readings > 0, readings, 1)
    return _kappa(agreement / np.where(cases > 0, cases, 1), share**2 + (1 - share) ** 2, cases)


def fleiss_terms(positive: ArrayLike, readers: ArrayLike) -> Floats:
    """Return the terms of Fleiss' kappa of every case: `(cases, 4)` with case, agreeing pairs, positives, readings.

    The number of readers may differ between cases; a case with fewer than two counts for nothing.
    """
    yes, n = np.asarray(positive, float), np.asarray(readers, float)
    agreeing = (yes * (yes - 1) + (n - yes) * (n - yes - 1)) / np.where(n > 1, n * (n - 1), 1)
    return np.stack([np.ones_like(n), agreeing, yes, n], axis=-1) * (n > 1)[..., None]


def sensitivity(counts: ArrayLike) -> Floats:
    """Return tp / (tp + fn) of counts `(..., 4)`; not a number without a positive case."""
    tp, _, _, fn = np.moveaxis(np.asarray(counts, float), -1, 0)
    return ratio(tp, tp + fn)


def specificity(counts: ArrayLike) -> Floats:
    """Return tn / (tn + fp) of counts `(..., 4)`; not a number without a negative case."""
    _, tn, fp, _ = np.moveaxis(np.asarray(counts, float), -1, 0)
    return ratio(tn, tn + fp)


def precision(counts: ArrayLike) -> Floats:
    """Return tp / (tp + fp) of counts `(..., 4)`; not a number without a positive prediction."""
    tp, _, fp, _ = np.moveaxis(np.asarray(counts, float), -1, 0)
    return ratio(tp, tp + fp)


def accuracy(counts: ArrayLike) -> Floats:
    """Return (tp + tn) / n of counts `(..., 4)`; not a number without a case."""
    counts = np.asarray(counts, float)
    return ratio(counts[..., 0] + counts[..., 1], counts.sum(axis=-1))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divide arrays; not a number where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)


def _kappa(observed: Floats, expected: Floats, cases: Floats) -> Floats:
    sure = np.isclose(expected, 1)
    kappa = np.where(sure, 1.0, (observed - expected) / np.where(sure, 1, 1 - expected))
    return np.where(cases > 0, kappa, 0.0)
