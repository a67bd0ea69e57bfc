"""Vary the kind of vote, the decision rule, the score threshold and the share of patients answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from axspa_lib.diagnosis.rules import Members, asas_consecutive, half_slice_results, patient_results
from axspa_lib.diagnosis.votes import checked_members, consensus_of, ensemble_vote
from axspa_lib.stats.counts import (
    COUNTS,
    Floats,
    accuracy,
    cohen_kappa,
    confusion,
    mcc_counts,
    precision,
    sensitivity,
    specificity,
)
from axspa_lib.stats.resampling import Statistic, bootstrap_by_patient, interval_row

#: Decision rules compared: positive ROIs needed, or the consecutive-slices rule of ASAS.
RULES = (1, 2, 3, "ASAS")

RATES: dict[str, Statistic] = {
    "MCC": mcc_counts,
    "sensitivity": sensitivity,
    "specificity": specificity,
    "precision": precision,
    "accuracy": accuracy,
    "Cohen's kappa": cohen_kappa,
}

#: Kinds of vote, in the order of the table.
SINGLE, PATIENTS, HALF_SLICES, SCORES = (
    "single members, mean",
    "majority of patient diagnoses (the paper)",
    "majority on each half-slice, then the rule",
    "mean score of the members",
)


def rates(counts: Floats, patients: ArrayLike, n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return every rate of counts `(cases, 4 k)`, mean over the k: `rate, value, low, high, n, patients`.

    Args:
        counts: from `confusion`.
        patients: the patient of each case.
        n: bootstrap resamples, by patient.
        seed: of the bootstrap.
    """

    def mean_of(statistic: Statistic) -> Statistic:
        def mean(sums: Floats) -> Floats:
            blocks = np.asarray(sums, float).reshape(*np.shape(sums)[:-1], -1, len(COUNTS))
            return np.asarray(statistic(blocks)).mean(axis=-1)

        return mean

    return pd.DataFrame(
        [interval_row(bootstrap_by_patient(mean_of(statistic), counts, patients, n, seed, "jeffreys"), rate=name)
         for name, statistic in RATES.items()]
    )  # fmt: skip


def vote_kinds(
    half_slices: Members,
    opinions: pd.DataFrame,
    min_positive: int = 2,
    vote_tie: int = 0,
    consensus_tie: int = 1,
    n: int = 2000,
) -> pd.DataFrame:
    """Compare every way to combine the members on the same patients: `vote, rate, value, low, high, n, patients`.

    Args:
        half_slices: `half_slice_results` by seed.
        opinions: `patient, reader, asas_positive`; the consensus is the reference.
        min_positive: positive ROIs that make a patient positive.
        vote_tie: of the members, as in `ensemble_vote`.
        consensus_tie: of the readers, as in `consensus_opinion`.
        n: bootstrap resamples, the same for every row.
    """
    members = patient_results(checked_members(half_slices), min_positive)
    vote = ensemble_vote(members, tie=vote_tie)
    halves = ensemble_vote(half_slices, "half_slice", vote_tie)
    answers = {
        SINGLE: list(members.values()),
        PATIENTS: [vote],
        HALF_SLICES: [patient_results(halves, min_positive)],
        SCORES: [vote.assign(positive=(vote["score"] >= 0.5).astype(int))],
    }
    truth = consensus_of(vote["patient"], opinions, consensus_tie)
    parts = []
    for kind, results in answers.items():
        said = [table.set_index(table["patient"].astype(str))["positive"].loc[truth.index] for table in results]
        counts = np.concatenate([confusion(truth, answer) for answer in said], axis=1)
        parts.append(rates(counts, truth.index, n).assign(vote=kind))
    return pd.concat(parts, ignore_index=True)[["vote", "rate", "value", "low", "high", "n", "patients"]]


def rule_sensitivity(
    half_slices: Members, opinions: pd.DataFrame, vote_tie: int = 0, consensus_tie: int = 1, n: int = 2000
) -> pd.DataFrame:
    """Return the ensemble's rates under each of `RULES`: `rule, rate, value, low, high, n, patients, positives`.

    Arguments as `vote_kinds`.
    """
    tables, parts = checked_members(half_slices), []
    for rule in RULES:
        decided = {seed: asas_consecutive(table) if isinstance(rule, str) else patient_results(table, rule)
                   for seed, table in tables.items()}  # fmt: skip
        vote = ensemble_vote(decided, tie=vote_tie)
        counts = confusion(consensus_of(vote["patient"], opinions, consensus_tie), vote["positive"])
        name = rule if isinstance(rule, str) else f">= {rule}"
        parts.append(rates(counts, vote["patient"], n).assign(rule=name, positives=int(vote["positive"].sum())))
    return pd.concat(parts, ignore_index=True)


def threshold_sweep(
    predictions: Members,
    evaluated: pd.DataFrame,
    opinions: pd.DataFrame,
    thresholds: Sequence[float] = tuple(np.arange(0.1, 1.0, 0.1).round(2)),
    min_positive: int = 2,
    vote_tie: int = 0,
    consensus_tie: int = 1,
    n: int = 2000,
) -> pd.DataFrame:
    """Return the ensemble's MCC on patients by score threshold, and the share of wrong numbers of boxes.

    Args:
        predictions: stored detections by seed, below the smallest threshold.
        evaluated: `patient, slice, side` of all half-slices predicted.
        opinions: `patient, reader, asas_positive`.
        thresholds: of the score; the paper's demo has 0.7.
        min_positive: positive ROIs that make a patient positive.
        vote_tie: of the members, as in `ensemble_vote`.
        consensus_tie: of the readers, as in `consensus_opinion`.
        n: bootstrap resamples.

    Returns:
        `threshold, wrong_counts, value, low, high, n, patients`.
    """
    rows = []
    for threshold in thresholds:
        halves = half_slice_results(predictions, evaluated, threshold)
        vote = ensemble_vote(patient_results(halves, min_positive), tie=vote_tie)
        counts = confusion(consensus_of(vote["patient"], opinions, consensus_tie), vote["positive"])
        wrong = float(np.mean([1 - table["correct_count"].mean() for table in halves.values()]))
        found = bootstrap_by_patient(mcc_counts, counts, vote["patient"], n, 0, "jeffreys")
        rows.append(interval_row(found, threshold=float(threshold), wrong_counts=wrong))
    return pd.DataFrame(rows)


def abstention(
    vote: pd.DataFrame, opinions: pd.DataFrame, consensus_tie: int = 1, n: int = 2000, fewest: int = 5
) -> pd.DataFrame:
    """Return accuracy and MCC when the least certain patients are not answered.

    Certainty is the majority's share of the votes, among equals the distance of the mean score from one half. Patients
    of equal certainty are left out together.

    Args:
        vote: from `ensemble_vote`, of patients.
        opinions: `patient, reader, asas_positive`.
        consensus_tie: of the readers, as in `consensus_opinion`.
        n: bootstrap resamples.
        fewest: patients below which nothing but the first row is computed.

    Returns:
        `answered` (share), `certainty` (least), `accuracy`, `accuracy_low`, `accuracy_high`, `value` (MCC), `low`,
        `high`, `n`, `patients`; the first row answers all.
    """
    counts = confusion(consensus_of(vote["patient"], opinions, consensus_tie), vote["positive"])
    certainty = pd.DataFrame({"votes": (vote["votes"] - 0.5).abs(), "score": (vote["score"] - 0.5).abs()}).round(9)
    rank = certainty.groupby(["votes", "score"], sort=True).ngroup().to_numpy()
    rows: list[dict[str, object]] = []
    for level in np.unique(rank):
        kept = rank >= level
        if kept.sum() < fewest and rows:
            break
        right, found = (
            bootstrap_by_patient(statistic, counts[kept], vote["patient"][kept], n, 0, "jeffreys")
            for statistic in (accuracy, mcc_counts)
        )
        least = float(0.5 + certainty["votes"].to_numpy()[kept].min())
        shares = {"accuracy": right.value, "accuracy_low": right.low, "accuracy_high": right.high}
        rows.append(interval_row(found, answered=float(kept.mean()), certainty=least, **shares))
    return pd.DataFrame(rows)
