"""Calibration of the simulated readers: their agreement over many patients, without rendering an image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Outcome:
    """A panel's agreement on a batch.

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
