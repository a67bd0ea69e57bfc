"""Members to an ensemble, and readers to a consensus: both by majority (section 4.2)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Literal

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.rules import KEY, Members, need
from axspa_lib.study.errors import DataError


def ensemble_vote(members: Members, level: Literal["patient", "half_slice"] = "patient", tie: int = 0) -> pd.DataFrame:
    """Combine the members of an ensemble by majority vote (section 4.2).

    A count of the ensemble is the median of its members' counts, of an even number the lower one, so a half-slice is
    positive, has exactly one box, and a patient is positive, only when more than half of the members say so.

    Args:
        members: results by seed, as `half_slice_results` or `patient_results` returns them, of one cohort.
        level: which of the two they are.
        tie: 0 makes a tie negative (lower median), 1 positive (upper median).

    Returns:
        A table like a member's, with `votes` (share of members positive), `tie`, and the mean `p_inflamed` or `score`.

    Raises:
        DataError: as `checked_members`, or the members are of different half-slices.
    """
    tables = checked_members(members)
    key = ["patient"] if level == "patient" else KEY
    counts = ["positive_rois", "positive"] if level == "patient" else ["boxes", "inflamed", "positive"]
    soft = "score" if level == "patient" else "p_inflamed"
    for seed, table in tables.items():
        need(table, (*key, *counts, soft), f"the {level.replace('_', '-')} results of seed {seed}")
    first = next(iter(tables.values()))
    stacked = np.stack([_aligned(table, first, key)[[*counts, soft]].to_numpy(float) for table in tables.values()])
    voted = first[key].reset_index(drop=True)
    middle = np.sort(stacked, axis=0)[(len(tables) - 1 + tie) // 2]
    voted[counts] = middle[:, : len(counts)].astype(int)
    if level == "half_slice":
        voted["correct_count"] = voted["boxes"] == 1
    voted[soft] = stacked[..., -1].mean(axis=0)
    voted["votes"] = stacked[..., len(counts) - 1].mean(axis=0)
    voted["tie"] = voted["votes"] == 0.5
    return voted


def checked_members(members: Members, patients: Collection[str] | None = None) -> dict[int, pd.DataFrame]:
    """Return members by seed, refused when they cannot be one ensemble.

    Two members are the same when all their cells are, unless neither holds a detection.

    Args:
        members: tables by seed.
        patients: the cohort's patients, where they are known.

    Raises:
        DataError: no member, the same predictions under two seeds, or members of different cohorts.
    """
    tables = dict(members)
    if not tables:
        raise DataError("the ensemble has no member: train at least one seed of this experiment first")
    seen: dict[str, int] = {}
    expected = set(map(str, next(iter(tables.values()))["patient"] if patients is None else patients))
    for seed, table in tables.items():
        mark = _fingerprint(table)
        if mark in seen:
            raise DataError(
                f"seeds {seen[mark]} and {seed} hold the same predictions: one of the files is a copy, predict again"
            )
        seen |= {mark: seed} if mark else {}
        different = sorted(set(table["patient"].astype(str)) ^ expected)
        if different:
            raise DataError(
                f"the predictions of seed {seed} are not of the same cohort as the others (patient {different[0]} is "
                "in one but not in the other): give members of one cohort and subset"
            )
    return tables


def consensus_opinion(opinions: pd.DataFrame, tie: int = 1) -> pd.DataFrame:
    """Return the majority of the readers' opinions on every patient: `patient, asas_positive, readers`.

    A tie is positive unless `tie` is 0: with six readers Table 3 admits one division of its patients only, and in it
    three readers against three count as positive (`axspa_lib.tables.audit`). One reader is no consensus.

    Raises:
        DataError: a column is missing, or a reader has two opinions on a patient.
    """
    need(opinions, ("patient", "reader", "asas_positive"), "the opinions")
    repeated = opinions.duplicated(["patient", "reader"])
    if repeated.any():
        row = opinions[repeated].iloc[0]
        raise DataError(f"reader {row['reader']} has two opinions on patient {row['patient']}: keep one")
    votes = opinions.astype({"patient": str}).groupby("patient")["asas_positive"].agg(["sum", "count"])
    votes = votes[votes["count"] >= 2].reset_index()
    positive = (2 * votes["sum"] + tie > votes["count"]).astype(int)
    return pd.DataFrame({"patient": votes["patient"], "asas_positive": positive, "readers": votes["count"]})


def consensus_of(patients: pd.Series | pd.Index, opinions: pd.DataFrame, tie: int = 1) -> pd.Series:
    """Return the readers' consensus (0/1) on the patients given, indexed by and in the order of them.

    Raises:
        DataError: a patient has no consensus.
    """
    reference = consensus_opinion(opinions, tie).set_index("patient")["asas_positive"]
    names = pd.Index(patients).astype(str)
    unread = sorted(set(names) - set(reference.index))
    if unread:
        raise DataError(f"patient {unread[0]} was predicted but has no consensus of readers: give their opinions")
    return reference.loc[names]


def _aligned(table: pd.DataFrame, first: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return the rows of `table` in the order of `first`."""
    wanted, present = (pd.MultiIndex.from_frame(rows[key]) for rows in (first, table))
    if wanted.equals(present):
        return table
    if len(table) == len(first) and present.is_unique and (index := present.get_indexer(wanted)).min(initial=0) >= 0:
        return table.iloc[index]
    raise DataError("the members were not evaluated on the same half-slices: recompute them with one table")


def _fingerprint(table: pd.DataFrame) -> str:
    """Return the SHA-256 of the cells, or nothing where the table holds no detection."""
    measure = next((name for name in ("p_inflamed", "score") if name in table.columns), None)
    if measure is None or not table[measure].to_numpy(float).any():
        return ""
    ordered = table.reindex(sorted(table.columns), axis=1).drop(columns="member", errors="ignore")
    return hashlib.sha256(np.sort(pd.util.hash_pandas_object(ordered, index=False).to_numpy()).tobytes()).hexdigest()
