"""Table 1: agreement on half-slices between readers, their consensus and the models (section 4.2)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members, checked_members, ensemble_vote
from axspa_lib.stats import confusion
from axspa_lib.tables.cells import assemble, cell, layout


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
