"""Vary the decision rule, the threshold and the share of patients answered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import (
    KEY,
    Members,
    asas_consecutive,
    checked_members,
    consensus_opinion,
    ensemble_vote,
    half_slice_results,
    patient_results,
)
from axspa_lib.stats import (
    Interval,
    accuracy,
    bootstrap_by_patient,
    cohen_kappa,
    confusion,
    mcc_counts,
    precision,
    sensitivity,
    specificity,
)
from axspa_lib.stats.resampling import Statistic
from axspa_lib.study.errors import DataError

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


def rates(
    reference: Sequence[float], prediction: Sequence[float], patients: Sequence[str], n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Every rate of two vectors of 0 and 1 with its interval by patient: `rate, value, low, high, n, patients`."""
    counts = confusion(reference, prediction)
    return pd.DataFrame(
        [
            _entry(bootstrap_by_patient(statistic, counts, patients, n, seed, "jeffreys"), rate=name)
            for name, statistic in RATES.items()
        ]
    )


def rule_sensitivity(
    members: Members,
    opinions: pd.DataFrame,
    rules: Sequence[int | str] = RULES,
    only: pd.DataFrame | None = None,
    n: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Ensemble under several decision rules: `rule, rate, value, low, high, n, patients, positives`.

    Args:
        members: `half_slice_results` by seed.
        opinions: `patient, reader, asas_positive`; the consensus is the reference.
        rules: numbers of positive ROIs, or `ASAS` for the consecutive-slices rule.
        only: half-slices that count; all when None.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    tables = checked_members(members)
    reference = consensus_opinion(opinions).set_index("patient")["asas_positive"]
    rows = []
    for rule in rules:
        if rule == "ASAS":
            decided = {seed: asas_consecutive(table).assign(score=0.0) for seed, table in tables.items()}
        else:
            decided = {seed: patient_results(table, int(rule), only) for seed, table in tables.items()}
        vote = ensemble_vote(decided).set_index("patient")["positive"]
        found = rates(_of(reference, vote.index).tolist(), vote.tolist(), vote.index.tolist(), n, seed)
        label = rule if rule == "ASAS" else f">= {rule}"
        rows.append(found.assign(rule=label, positives=int(vote.sum())))
    return pd.concat(rows, ignore_index=True)


def threshold_sweep(
    detections: Members,
    evaluated: pd.DataFrame,
    opinions: pd.DataFrame,
    thresholds: Sequence[float] = tuple(np.arange(0.1, 1.0, 0.1).round(2)),
    rule: int = 2,
    n: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Ensemble on patients for several score thresholds: `threshold, value, low, high, n, patients, wrong_counts`.

    Args:
        detections: stored detections by seed, below the smallest threshold.
        evaluated: `patient, slice, side` of all half-slices predicted.
        opinions: `patient, reader, asas_positive`.
        thresholds: of the score; the paper's demo has 0.7.
        rule: positive ROIs that make a patient positive.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    members = dict(detections)
    reference = consensus_opinion(opinions).set_index("patient")["asas_positive"]
    rows = []
    for threshold in thresholds:
        halves = {member: half_slice_results(table, evaluated, threshold) for member, table in members.items()}
        decided = ensemble_vote({member: patient_results(table, rule) for member, table in halves.items()})
        vote = decided.set_index("patient")["positive"]
        counts = confusion(_of(reference, vote.index), vote)
        wrong = float(np.mean([1 - table["correct_count"].mean() for table in halves.values()]))
        found = bootstrap_by_patient(mcc_counts, counts, vote.index, n, seed, "jeffreys")
        rows.append(_entry(found, threshold=float(threshold), wrong_counts=wrong))
    return pd.DataFrame(rows)


def abstention(
    vote: pd.DataFrame, opinions: pd.DataFrame, n: int = 2000, seed: int = 0, fewest: int = 5
) -> pd.DataFrame:
    """What is gained by not answering the least certain patients.

    Certainty is the majority's share of the votes, among equals the distance of the mean score from one half. Patients
    of equal certainty are left out together.

    Args:
        vote: from `ensemble_vote(..., level="patient")`.
        opinions: `patient, reader, asas_positive`.
        n: bootstrap resamples.
        seed: of the bootstrap.
        fewest: patients below which nothing but the first row is computed.

    Returns:
        `answered` (share), `certainty` (least), `accuracy`, `accuracy_low`, `accuracy_high`, `value` (MCC), `low`,
        `high`, `n`, `patients`; the first row answers all.
    """
    reference = consensus_opinion(opinions).set_index("patient")["asas_positive"]
    truth = _of(reference, pd.Index(vote["patient"]))
    counts = confusion(truth, vote["positive"])
    certainty = pd.DataFrame({"votes": (vote["votes"] - 0.5).abs(), "score": (vote["score"] - 0.5).abs()}).round(9)
    rank = certainty.groupby(["votes", "score"], sort=True).ngroup().to_numpy()
    rows: list[dict[str, object]] = []
    for level in np.unique(rank):
        kept = rank >= level
        if kept.sum() < fewest and rows:
            break
        owner = vote["patient"].to_numpy()[kept]
        right = bootstrap_by_patient(accuracy, counts[kept], owner, n, seed, "jeffreys")
        found = bootstrap_by_patient(mcc_counts, counts[kept], owner, n, seed, "jeffreys")
        row = _entry(found, answered=float(kept.mean()))
        row |= {"certainty": float(0.5 + certainty["votes"].to_numpy()[kept].min())}
        rows.append(row | {"accuracy": right.value, "accuracy_low": right.low, "accuracy_high": right.high})
    return pd.DataFrame(rows)


def half_slice_cases(
    half_slices: pd.DataFrame, members: Members, only: pd.DataFrame | None = None, reference: str = CONSENSUS
) -> pd.DataFrame:
    """Half-slices with reference and the ensemble's answer, to be joined with scanner, position or lesion size.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed.
        only: `patient, slice, side` with a joint.
        reference: a reader, or the consensus.

    Returns:
        `patient, slice, side, reference, prediction, failed, marked, score, position`; a wrong number of boxes is a
        wrong `prediction`, while `marked` is what the ensemble said and `score` its mean `p_inflamed`; `position` runs
        from 0 (first slice read of the patient, anterior) to 1 (last).
    """
    wide, _ = readings_wide(half_slices, only=only)
    wide = wide[wide["patient"].isin(set(next(iter(checked_members(members).values()))["patient"].astype(str)))]
    vote = ensemble_vote(members, "half_slice")
    truth, answer, _, failed = reference_and_answer(wide, reference, vote)
    cases = wide.dropna(subset=[reference])[KEY].reset_index(drop=True)
    said = cases.merge(vote.astype({"patient": str, "slice": int}), on=KEY, how="left", validate="one_to_one")
    cases = cases.assign(marked=said["positive"], score=said["p_inflamed"])
    place = cases.groupby("patient")["slice"]
    first, last = place.transform("min"), place.transform("max")
    position = (cases["slice"] - first) / (last - first).clip(lower=1)
    return cases.assign(reference=truth, prediction=answer, failed=failed, position=position)


def _entry(found: Interval, **labels: object) -> dict[str, object]:
    return labels | {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "patients": found.patients,
    }


def _of(reference: pd.Series, patients: pd.Index) -> pd.Series:
    unknown = sorted(set(patients.astype(str)) - set(reference.index))
    if unknown:
        raise DataError(f"patient {unknown[0]} was predicted but has no consensus of readers: give their opinions")
    return reference.loc[patients.astype(str)]
