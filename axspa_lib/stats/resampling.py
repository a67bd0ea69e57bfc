"""Intervals and tests that respect the patient: bootstrap, paired differences, permutation tests, Holm's correction.

Half-slices of one patient are not independent, so patients are resampled, never half-slices. A statistic is a function
of column sums `(..., columns)`; a resample is then a vector of weights, and all resamples are one matrix product.

Few patients make a percentile interval of a correlation too narrow: with 53 patients and an MCC of 0.9 it holds the
truth in 88 of 100 studies, with 24 in 69. For counts there is therefore `jeffreys`: weights of a Bayesian bootstrap
(Rubin 1981, https://doi.org/10.1214/aos/1176345338) and half a case added to each of the four counts, which for one
case per patient is the posterior of the four probabilities under Jeffreys' prior. In simulations it holds the truth in
92 to 96 of 100 (tests marked slow).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from axspa_lib.study.errors import DataError

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; `n` cases of `patients` patients."""

    value: float
    low: float
    high: float
    n: int
    patients: int


@dataclass(frozen=True)
class Difference(Interval):
    """A paired difference `first - second` with its interval and two-sided permutation p value."""

    p_value: float


def bootstrap_by_patient(
    statistic: Statistic,
    table: ArrayLike,
    patients: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    method: Literal["percentile", "jeffreys"] = "percentile",
    level: float = 0.95,
) -> Interval:
    """Return a statistic with its interval by resampling patients with all their cases.

    Args:
        statistic: maps column sums `(..., columns)` to values `(...)`, e.g. `mcc_counts`.
        table: `(cases, columns)`, e.g. from `confusion`.
        patients: the patient of each case.
        n: resamples; those in which the statistic is not a number are left out.
        seed: of the resamples.
        method: percentile, or `jeffreys` for counts `(cases, 4 k)`, which keeps its coverage with few patients.
        level: of the interval.
    """
    sums, cases = by_patient(table, patients)
    value, samples = resampled(statistic, sums, n, seed, prior=method == "jeffreys")
    return interval_of(value, samples, cases, len(sums), level)


def resampled(statistic: Statistic, sums: Floats, n: int, seed: int, prior: bool = False) -> tuple[float, Floats]:
    """Return a statistic of column sums by patient, and its values in `n` resamples; empty without patients.

    The same number of patients and seed give the same resamples, so differences of two statistics of the same patients
    (in the same order) are paired; different seeds make them independent.
    With a prior, for counts `(patients, 4 k)`, it is a Bayesian bootstrap with half a case added to each count.
    """
    if not len(sums):
        return float("nan"), np.zeros(0)
    value = float(statistic(sums.sum(axis=0)))
    return value, np.asarray(statistic(_draw(sums, n, seed, prior)))


def interval_of(value: float, samples: Floats, cases: int, patients: int, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap samples, widened to the estimate, without undefined samples."""
    finite = samples[np.isfinite(samples)]
    tail = (1 - level) / 2
    if not finite.size or not np.isfinite(value):
        return Interval(value, float("nan"), float("nan"), cases, patients)
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(value, min(float(low), value), max(float(high), value), cases, patients)


def interval_row(found: Interval, **labels: Any) -> dict[str, Any]:
    """Return an interval as a row of a table: the labels, then `value, low, high, n, patients`."""
    return labels | vars(found)


def paired_difference(
    statistic: Statistic,
    first: ArrayLike,
    second: ArrayLike,
    patients: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    prior: bool = False,
) -> Difference:
    """Compare a statistic of two answers to the same cases: interval and permutation test over patients.

    Under the hypothesis of no difference the two answers of a patient may be exchanged; `n` random exchanges give the
    p value, with the observed one counted among them, so it is never 0.
    `first` and `second` are `(cases, columns)` of the same cases in the same order; other arguments as `resampled`.
    """
    if np.shape(first) != np.shape(second):
        raise DataError("a paired difference needs the same cases twice: restrict both to the cases they share")
    (left, _), (right, _) = by_patient(first, patients), by_patient(second, patients)
    if not len(left):
        return Difference(np.nan, np.nan, np.nan, 0, 0, np.nan)
    columns = left.shape[1]

    def difference(sums: Floats) -> Floats:
        return np.asarray(statistic(sums[..., :columns]) - statistic(sums[..., columns:]))

    value, samples = resampled(difference, np.concatenate([left, right], axis=1), n, seed, prior)
    found = interval_of(value, samples, len(left), len(left))
    swap = np.random.default_rng([seed, 1]).integers(0, 2, (n, len(left))).astype(float)
    exchanged = statistic(swap @ right + (1 - swap) @ left) - statistic(swap @ left + (1 - swap) @ right)
    extreme = np.abs(exchanged) >= abs(value) - 1e-12
    return Difference(**vars(found), p_value=float((1 + extreme.sum()) / (1 + n)))


def by_patient(table: ArrayLike, patients: ArrayLike) -> tuple[Floats, int]:
    """Return column sums of every patient `(patients, columns)`, in sorted order, and the number of cases."""
    rows, owner = np.asarray(table, float), np.asarray(patients)
    if len(rows) != len(owner):
        raise DataError(f"{len(rows)} cases come with the patients of {len(owner)}")
    if rows.ndim == 1:
        rows = rows[:, None]
    names, index = np.unique(owner.astype(str), return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, index, rows)
    return sums, len(rows)


def weights(patients: int, n: int, seed: int) -> Floats:
    """Draw how often each of `patients` stands in each of `n` resamples: `(n, patients)`, rows sum to `patients`."""
    if not patients:
        return np.zeros((n, 0))
    rng = np.random.default_rng(seed)
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=n).astype(float)


def holm(p_values: ArrayLike) -> Floats:
    """Correct several p values by Holm's step-down method (1979); undefined ones are left out of the count."""
    given = np.asarray(p_values, float)
    adjusted = np.full(given.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    scaled = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1) if len(order) else scaled
    return adjusted


def _draw(sums: Floats, n: int, seed: int, prior: bool) -> Floats:
    """Return column sums of `n` resamples; half of a prior's half case is shared by all blocks of four counts."""
    if not prior:
        return weights(len(sums), n, seed) @ sums
    blocks, rest = divmod(sums.shape[1], 4)
    if rest:
        raise DataError(f"half a case can be added to counts (tp, tn, fp, fn) only, not to {sums.shape[1]} columns")
    rng = np.random.default_rng(seed)
    drawn = rng.standard_exponential((n, len(sums))) @ sums
    shared = rng.gamma(0.25, size=(n, 1, 4))
    return drawn + (shared + rng.gamma(0.25, size=(n, blocks, 4))).reshape(n, -1)
