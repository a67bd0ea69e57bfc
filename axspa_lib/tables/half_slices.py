"""Table 1: agreement on half-slices between readers, their consensus and the models (section 4.2)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from axspa_lib.agreement import confusion
from axspa_lib.cohort import consensus
from axspa_lib.diagnosis import KEY, Members, checked_members, ensemble_vote
from axspa_lib.errors import DataError
from axspa_lib.tables.cells import CONSENSUS, ENSEMBLE, MODEL, assemble, cell, layout


def table1_cells(
    half_slices: pd.DataFrame,
    members: Members | None = None,
    *,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    readers: Collection[str] | None = None,
    n: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Cells of Table 1: every pair of readers, consensus against readers, and all of them against the models.

    A half-slice on which a model does not find exactly one box counts as wrong, whoever it is compared with (4.2).
    The ensemble's column is not in the paper.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed; without them the columns of the model are absent.
        patients: the evaluation patients; all who were read when None.
        only: `patient, slice, side` that contain a joint; the paper leaves the others out.
        readers: in the order wanted; all who read when None.
        n: bootstrap resamples.
        seed: of the bootstrap.
        compare: put the published figures beside (DESIR's readers are meant then).

    Raises:
        DataError: a reader without annotations, or members without some of the half-slices that were read.
    """
    wide, names = readings_wide(half_slices, patients, only, readers)
    cells: list[dict[str, object]] = []
    columns: dict[str, list[pd.DataFrame]] = {}
    if members is not None:
        tables = checked_members(members, patients)
        columns = {MODEL: list(tables.values()), ENSEMBLE: [ensemble_vote(tables, "half_slice")]}
    for row in [*names, CONSENSUS]:
        partners = names if row == CONSENSUS else names[names.index(row) + 1 :]
        for column in partners:
            both = wide.dropna(subset=[row, column])
            group = CONSENSUS if row == CONSENSUS else "readers"
            counts = confusion(both[row], both[column])
            cells.append(cell(1, row, column, group, counts, both["patient"], n=n, seed=seed))
        for column, results in columns.items():
            compared = [reference_and_answer(wide, row, table) for table in results]
            stacked = np.concatenate([confusion(truth, answer) for truth, answer, _, _ in compared], axis=1)
            failures = float(np.mean([failed.mean() if len(failed) else np.nan for *_, failed in compared]))
            cells.append(cell(1, row, column, column, stacked, compared[0][2], n=n, seed=seed, failures=failures))
    return assemble(1, cells, compare)


def table1(half_slices: pd.DataFrame, members: Members | None = None, **options: object) -> pd.DataFrame:
    """Table 1 in the paper's arrangement; arguments as `table1_cells`."""
    return layout(table1_cells(half_slices, members, **options))  # type: ignore[arg-type]


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
