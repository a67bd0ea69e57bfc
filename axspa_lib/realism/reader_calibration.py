"""Calibration of the simulated readers: their agreement over many patients, without rendering an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import differential_evolution, minimize

from axspa_lib.phantom.examination import COHORTS, READING, draw_examination
from axspa_lib.phantom.readers import (
    WINDOW,
    Draws,
    Panel,
    decide,
    draw,
    joint_middle,
    panel,
    perceived,
    reconcile,
    window,
)
from axspa_lib.study.config import PhantomCohort

#: Agreement of the readers as published (MCC): Table 2 (patients) and Table 1 (half-slices of unanimous patients).
PUBLISHED_DESIR = {
    "patient": {("1", "2"): 0.8906, ("1", "3"): 0.7428, ("2", "3"): 0.7448},
    "half_slice": {("1", "2"): 0.7634, ("1", "3"): 0.6340, ("2", "3"): 0.6696},
}
#: Table 3, patients of the second cohort.
PUBLISHED_ASAS = {
    ("1", "2"): 0.74, ("1", "4"): 0.65, ("1", "5"): 0.74, ("1", "6"): 0.65, ("1", "7"): 0.81, ("2", "4"): 0.65,
    ("2", "5"): 0.80, ("2", "6"): 0.89, ("2", "7"): 0.74, ("4", "5"): 0.58, ("4", "6"): 0.55, ("4", "7"): 0.65,
    ("5", "6"): 0.71, ("5", "7"): 0.91, ("6", "7"): 0.65,
}  # fmt: skip


@dataclass(frozen=True)
class Batch:
    """Evidence and random numbers of many patients, padded to the longest stack.

    `seen` is `(patient, reader, slice, side, quadrant)`; `present` `(patient, slice, side)`; `draws` likewise.
    """

    seen: NDArray[np.float64]
    present: NDArray[np.bool_]
    slices: NDArray[np.int64]
    middle: NDArray[np.float64]
    draws: Draws
    groups: NDArray[np.str_]


def simulate_batch(cohort: str, spec: PhantomCohort, seed: int, patients: int) -> Batch:
    """Draw the parameters of many patients, with the same generators as the cohort itself."""
    readers = panel(cohort)
    exams = [draw_examination(cohort, spec, seed, number) for number in range(1, patients + 1)]
    slices = np.array([e.present.shape[0] for e in exams])
    longest = int(slices.max())
    count = len(readers.names)
    seen = np.zeros((patients, count, longest, 2, 4))
    present = np.zeros((patients, longest, 2), dtype=bool)
    parts: dict[str, NDArray[np.float64]] = {
        "patient": np.zeros((patients, count)), "image": np.zeros((patients, longest, 2)),
        "slice": np.zeros((patients, count, longest, 2)), "lapse": np.ones((patients, count, longest, 2)),
        "window": np.zeros((patients, count)), "quadrant": np.zeros((patients, count, longest, 2)),
        "lesion": np.zeros((patients, count, 0)),
    }  # fmt: skip
    for i, exam in enumerate(exams):
        n = slices[i]
        rng = np.random.default_rng([seed, COHORTS[cohort][0], i + 1, READING])
        draws = draw(rng, count, n, exam.evidence.shape[0])
        seen[i, :, :n] = perceived(exam.evidence, draws, readers.sigma_lesion)
        present[i, :n] = exam.present
        for name in ("patient", "window"):
            parts[name][i] = getattr(draws, name)
        parts["image"][i, :n] = draws.image
        for name in ("slice", "lapse", "quadrant"):
            parts[name][i, :, :n] = getattr(draws, name)
    middle = np.array([joint_middle(e.present) for e in exams])
    return Batch(seen, present, slices, middle, Draws(**parts), np.array([e.group for e in exams]))


def pool(batches: Sequence[Batch]) -> Batch:
    """Several batches as one, so that no single draw of patients decides a calibration."""
    longest = max(batch.present.shape[1] for batch in batches)

    def join(arrays: Sequence[NDArray[Any]], slices: int | None = None, fill: float = 0) -> NDArray[Any]:
        """One array after the other, the axis `slices` filled up to the longest stack."""
        if slices is not None:
            arrays = [
                np.pad(
                    a,
                    [(0, longest - size if axis == slices else 0) for axis, size in enumerate(a.shape)],
                    constant_values=fill,
                )
                for a in arrays
            ]
        return np.concatenate(arrays)

    slices_at = {"patient": None, "image": 1, "slice": 2, "lapse": 2, "lesion": None, "window": None, "quadrant": 2}
    draws = {
        name: join([getattr(batch.draws, name) for batch in batches], axis, 1.0 if name == "lapse" else 0.0)
        for name, axis in slices_at.items()
    }
    return Batch(
        join([batch.seen for batch in batches], 2),
        join([batch.present for batch in batches], 1),
        join([batch.slices for batch in batches]),
        join([batch.middle for batch in batches]),
        Draws(**draws),
        join([batch.groups for batch in batches]),
    )


@dataclass(frozen=True)
class Outcome:
    """What a panel did with a batch.

    `half` and `read` are `(patient, reader, slice, side)`, `positive` `(patient, reader)`.
    """

    half: NDArray[np.bool_]
    read: NDArray[np.bool_]
    positive: NDArray[np.bool_]


def read_batch(batch: Batch, readers: Panel) -> Outcome:
    """Let a panel read a batch; equals `readers.read_patient` patient by patient."""
    start = window(batch.draws.window, readers, batch.middle[:, None], batch.slices[:, None])
    index = np.arange(batch.present.shape[1])
    inside = (index >= start[..., None]) & (index < start[..., None] + WINDOW)
    read = inside[..., None] & batch.present[:, None]
    marks = reconcile(decide(batch.seen, batch.draws, readers) & read[..., None], batch.seen, read, readers)
    half: NDArray[np.bool_] = np.any(marks, axis=-1)
    return Outcome(half, read, half.sum((2, 3)) >= readers.min_positive)


def agreement(outcome: Outcome, names: tuple[str, ...]) -> pd.DataFrame:
    """Agreement of every pair of readers.

    Returns:
        Columns `first`, `second`, `patient` (MCC over all patients) and `half_slice` (MCC over the half-slices both
        read, in patients on whom all readers agree: the inclusion filter of section 2).
    """
    unanimous = outcome.positive.all(1) | ~outcome.positive.any(1)
    rows = []
    for a, b in combinations(range(len(names)), 2):
        both = (outcome.read[:, a] & outcome.read[:, b])[unanimous]
        first, second = outcome.half[unanimous, a][both], outcome.half[unanimous, b][both]
        rows.append((names[a], names[b], _mcc(outcome.positive[:, a], outcome.positive[:, b]),
                     _mcc(first, second)))  # fmt: skip
    return pd.DataFrame(rows, columns=["first", "second", "patient", "half_slice"])


def _mcc(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Matthews correlation of two binary vectors: their Pearson correlation; 0 where one is constant."""
    if first.all() or second.all() or not (first.any() and second.any()):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def beside_published(cohort: str, table: pd.DataFrame) -> pd.DataFrame:
    """Add the published coefficients to a table of `agreement`."""
    keys = list(zip(table["first"], table["second"], strict=True))
    if cohort == "phantom-asas":
        return table.assign(published_patient=[PUBLISHED_ASAS[key] for key in keys])
    return table.assign(
        published_patient=[PUBLISHED_DESIR["patient"][key] for key in keys],
        published_half_slice=[PUBLISHED_DESIR["half_slice"][key] for key in keys],
    )


def calibration_table(cohort: str, spec: PhantomCohort, seed: int, patients: int = 600) -> pd.DataFrame:
    """Agreement of the cohort's readers over many simulated patients beside the published one."""
    readers = panel(cohort)
    outcome = read_batch(simulate_batch(cohort, spec, seed, patients), readers)
    return beside_published(cohort, agreement(outcome, readers.names))


#: Bounds of what is fitted: threshold of each reader, noisiness of all but the first, the spreads, the second look.
_THRESHOLD, _NOISINESS = (1.0, 6.0), (0.5, 3.0)
_SPREADS = {
    "sigma_slice": (0.2, 1.8),
    "sigma_image": (0.0, 1.2),
    "sigma_patient": (0.0, 0.8),
    "sigma_window": (0.0, 0.8),
    "gestalt": (-1.0, 3.0),
}
#: Share of patients that each reader finds positive, within which no reader is penalised (published prevalences).
PREVALENCE = {"phantom-desir": (0.20, 0.36), "phantom-asas": (0.12, 0.30)}


def fit(
    cohort: str, batch: Batch, start: Panel, seed: int = 0, generations: int = 40, population: int = 6
) -> tuple[Panel, float]:
    """Fit a cohort's readers to the published agreement; returns the panel and the loss.

    Differential evolution from the readers given (left out where `generations` is 0), then a simplex search. One draw
    of 3000 patients moves a coefficient by 0.02 to 0.04: fit on several of them (`pool`).

    The loss is the sum of squared differences of the coefficients (patients, and half-slices where published; of a
    panel of more than three the extreme pairs weigh double), with a weak preference for readers whose share of positive
    patients is that of the published cohorts.
    """
    count = len(start.names)
    fitted = {k: v for k, v in _SPREADS.items() if getattr(start, k) is not None}
    bounds = [_THRESHOLD] * count + [_NOISINESS] * (count - 1) + list(fitted.values())

    def build(x: NDArray[np.float64]) -> Panel:
        """The panel of a point of the search."""
        spread = dict(zip(fitted, map(float, x[2 * count - 1 :]), strict=True))
        noisiness = np.concatenate([[1.0], x[count : 2 * count - 1]])
        return replace(
            start,
            threshold=np.asarray(x[:count]),
            noisiness=noisiness,
            sigma_slice=spread["sigma_slice"],
            sigma_image=spread["sigma_image"],
            sigma_patient=spread["sigma_patient"],
            sigma_window=spread["sigma_window"],
            gestalt=spread.get("gestalt"),
        )

    def loss(x: NDArray[np.float64]) -> float:
        """How far the panel's agreement lies from the published one."""
        readers = build(x)
        outcome = read_batch(batch, readers)
        table = beside_published(cohort, agreement(outcome, readers.names))
        apart = table["patient"] - table["published_patient"]
        if len(table) > 3:  # a larger panel: its range matters too, so its extreme pairs weigh double
            ends = table["published_patient"].agg(["min", "max"])
            apart = apart * (1 + table["published_patient"].isin(ends))
        total = float((apart**2).sum())
        if "published_half_slice" in table:
            total += float(((table["half_slice"] - table["published_half_slice"]) ** 2).sum())
        low, high = PREVALENCE[cohort]
        share = outcome.positive.mean(0)
        return total + float((np.maximum(low - share, 0) ** 2 + np.maximum(share - high, 0) ** 2).sum())

    spreads = [float(getattr(start, name)) for name in fitted]
    guess = np.concatenate([start.threshold, start.noisiness[1:] / start.noisiness[0], spreads])
    low, high = np.array(bounds).T
    first = np.clip(guess, low, high)
    if generations:
        first = differential_evolution(
            loss, bounds, seed=seed, maxiter=generations, popsize=population, tol=1e-4, polish=False, init="sobol",
            x0=first,
        ).x  # fmt: skip
    best = minimize(loss, first, method="Nelder-Mead", bounds=bounds, options={"maxfev": 40 * len(bounds)})
    return build(best.x), float(best.fun)
