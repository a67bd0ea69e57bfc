"""Readings of half-slices as wide tables: readers, members, ensemble, consensus."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.rules import KEY, Members, checked_members
from axspa_lib.study.cohort import consensus
from axspa_lib.study.errors import DataError

MODEL, ENSEMBLE, CONSENSUS = "M-RCNN", "ensembling", "Consensus"


def wrong_counts(members: Members) -> pd.DataFrame:
    """Share of half-slices on which each member does not find exactly one box (the paper: around 10 %)."""
    tables = checked_members(members)
    return pd.DataFrame(
        [
            {
                "seed": seed,
                "n": len(table),
                "none": (table["boxes"] == 0).mean(),
                "several": (table["boxes"] > 1).mean(),
                "wrong": (~table["correct_count"].astype(bool)).mean(),
            }
            for seed, table in tables.items()
        ]
    )


def reader_names(present: pd.Series, wanted: Collection[str] | None) -> list[str]:
    """Readers to compare, sorted as given or by name.

    Raises:
        DataError: a reader wanted has no annotation, or fewer than two readers are left.
    """
    known = sorted(present.astype(str).unique(), key=lambda name: (len(name), name))
    names = known if wanted is None else [str(name) for name in wanted]
    silent = [name for name in names if name not in known]
    if silent:
        raise DataError(
            f"reader {silent[0]} has no annotation in this cohort: leave the reader out or add the readings"
        )
    if len(names) < 2:
        raise DataError(f"agreement needs two readers, this cohort has {len(names)}: use the columns of the model only")
    return names


def _readings(half_slices: pd.DataFrame, patients: Collection[str] | None, only: pd.DataFrame | None) -> pd.DataFrame:
    read = half_slices[[*KEY, "reader", "inflammation"]].astype({"patient": str, "reader": str, "slice": int})
    repeated = read.duplicated([*KEY, "reader"])
    if repeated.any():
        row = read[repeated].iloc[0]
        raise DataError(
            f"reader {row['reader']} has two readings of a half-slice of patient {row['patient']}: keep one"
        )
    if patients is not None:
        unread = sorted(set(map(str, patients)) - set(read["patient"]))
        if unread:
            raise DataError(f"patient {unread[0]} of the evaluation set was read by nobody: exclude the patient")
        read = read[read["patient"].isin(set(map(str, patients)))]
    if only is not None:
        with_joint = only[KEY].astype({"patient": str, "slice": int}).drop_duplicates()
        read = read.merge(with_joint, on=KEY)
    return read


def readings_wide(
    half_slices: pd.DataFrame,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    readers: Collection[str] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Readings with a column per reader and for the consensus (not a number where unread), and the readers' names.

    Arguments as `table1_cells`.
    """
    read = _readings(half_slices, patients, only)
    names = reader_names(read["reader"], readers)
    read = read[read["reader"].isin(names)]
    read = pd.concat([read, consensus(read).assign(reader=CONSENSUS)])
    return read.pivot(index=KEY, columns="reader", values="inflammation").reset_index(), names


def reference_and_answer(
    wide: pd.DataFrame, row: str, results: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A model's answer to a reference, a wrong number of boxes being the opposite of the reference (section 4.2).

    Args:
        wide: from `readings_wide`.
        row: the reader, or the consensus.
        results: `half_slice_results` of a model.

    Returns:
        Reference, answer, patient and whether the model failed, of every half-slice that `row` has.

    Raises:
        DataError: a half-slice that was read is not among the results.
    """
    read = wide.dropna(subset=[row])
    keyed = results.assign(patient=results["patient"].astype(str), slice=results["slice"].astype(int))
    found = read[KEY].merge(keyed, on=KEY, how="left", validate="one_to_one")
    if found["positive"].isna().any():
        first = found[found["positive"].isna()].iloc[0]
        raise DataError(
            f"half-slice {first['slice']}{first['side']} of patient {first['patient']} was read but not predicted: "
            "evaluate the members on the readers' half-slices"
        )
    failed = ~found["correct_count"].to_numpy(bool)
    truth = read[row].to_numpy(float)
    return truth, np.where(failed, 1 - truth, found["positive"].to_numpy(float)), read["patient"].to_numpy(), failed
