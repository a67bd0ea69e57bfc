"""The ways to combine members beside the paper's: half-slices or patients voted on, counts or scores averaged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.rules import (
    Members,
    checked_members,
    consensus_opinion,
    ensemble_vote,
    patient_results,
    soft_vote,
)
from axspa_lib.diagnosis.sweeps import RATES
from axspa_lib.stats import COUNTS, Floats, bootstrap_by_patient, confusion
from axspa_lib.stats.resampling import Statistic
from axspa_lib.study.errors import DataError

#: Ways to decide on a patient, in the order of the table.
SINGLE, PATIENTS, HALF_SLICES, SCORES = (
    "single members, mean",
    "majority of patient diagnoses (the paper)",
    "majority on each half-slice, then the rule",
    "mean score of the members",
)


def vote_kinds(halves: Members, opinions: pd.DataFrame, rule: int = 2, n: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Every way to combine the members, on the same patients: `vote, rate, value, low, high, n, patients`.

    Args:
        halves: `half_slice_results` by seed.
        opinions: `patient, reader, asas_positive`; the consensus is the reference.
        rule: positive ROIs that make a patient positive.
        n: bootstrap resamples, the same for every row.
        seed: of the bootstrap.
    """
    tables = checked_members(halves)
    decided = {member: patient_results(table, rule) for member, table in tables.items()}
    answers: Mapping[str, list[pd.DataFrame]] = {
        SINGLE: list(decided.values()),
        PATIENTS: [ensemble_vote(decided)],
        HALF_SLICES: [patient_results(ensemble_vote(tables, "half_slice"), rule)],
        SCORES: [soft_vote(decided)],
    }
    reference = consensus_opinion(opinions).set_index("patient")["asas_positive"]
    patients = pd.Index(next(iter(decided.values()))["patient"].astype(str))
    unread = sorted(set(patients) - set(reference.index))
    if unread:
        raise DataError(f"patient {unread[0]} was predicted but has no consensus of readers: give their opinions")
    truth, rows = reference.loc[patients], []
    for vote, results in answers.items():
        given = [table.set_index(table["patient"].astype(str))["positive"].loc[patients] for table in results]
        counts = np.concatenate([confusion(truth, answer) for answer in given], axis=1)
        for rate, statistic in RATES.items():
            found = bootstrap_by_patient(_mean_of(statistic), counts, patients, n, seed, "jeffreys")
            rows.append((vote, rate, found.value, found.low, found.high, found.n, found.patients))
    return pd.DataFrame(rows, columns=["vote", "rate", "value", "low", "high", "n", "patients"])


def _mean_of(statistic: Statistic) -> Statistic:
    """A statistic of four counts, averaged over blocks of four."""

    def mean(counts: Floats) -> Floats:
        blocks = np.asarray(counts, float).reshape(*np.shape(counts)[:-1], -1, len(COUNTS))
        return np.asarray(statistic(blocks)).mean(axis=-1)

    return mean
