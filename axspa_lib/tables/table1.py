"""Table 1: agreement on half-slices between readers, their consensus and the models (section 4.2)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import ENSEMBLE, MODEL, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members
from axspa_lib.diagnosis.votes import checked_members, ensemble_vote
from axspa_lib.stats.counts import confusion
from axspa_lib.tables.cells import Answer, agreement_cells, assemble


def table1(
    half_slices: pd.DataFrame,
    members: Members | None = None,
    *,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    readers: Collection[str] | None = None,
    vote_tie: int = 0,
    count_failures: bool = True,
    n_boot: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Return the cells of Table 1; the ensemble's column is not in the paper.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed; without them the columns of the model are absent.
        patients: the evaluation patients; all who were read when None.
        only: `patient, slice, side` that contain a joint; the paper leaves the others out.
        readers: in the order wanted; all who read when None.
        vote_tie: of the members, as in `ensemble_vote`.
        count_failures: a wrong number of boxes is wrong in every comparison (4.2); else it is forgiven.
        n_boot: bootstrap resamples.
        seed: of the bootstrap.
        compare: put the published figures beside (of DESIR's readers).

    Raises:
        DataError: a reader without annotations, or members without some of the half-slices that were read.
    """
    wide, names = readings_wide(half_slices, patients, only, readers)
    columns: dict[str, list[pd.DataFrame]] = {}
    if members is not None:
        tables = checked_members(members, patients)
        columns = {MODEL: list(tables.values()), ENSEMBLE: [ensemble_vote(tables, "half_slice", vote_tie)]}

    def answers(row: str) -> Iterator[Answer]:
        for column, results in columns.items():
            compared = [reference_and_answer(wide, row, table, count_failures) for table in results]
            counts = np.concatenate([confusion(truth, answer) for truth, answer, _, _ in compared], axis=1)
            failures = float(np.mean([failed.mean() if len(failed) else np.nan for *_, failed in compared]))
            yield column, counts, compared[0][2], failures

    return assemble(1, agreement_cells(1, wide, names, answers, n_boot, seed), compare)
