"""Table 3: agreement on patients of the second cohort."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE
from axspa_lib.diagnosis.rules import Members
from axspa_lib.stats import confusion
from axspa_lib.tables.cells import assemble, cell, layout
from axspa_lib.tables.table2 import _against, _predictions, _wide


def table3_cells(
    opinions: pd.DataFrame,
    members: Members | None = None,
    *,
    readers: Collection[str] | None = None,
    n: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Cells of Table 3: all pairs of readers, each reader and the consensus against models and ensemble.

    Arguments as `table2_cells`; everything is computed on the members' patients where there are members.
    """
    wide, names = _wide(opinions, readers)
    predictions = _predictions(members, wide)
    if predictions:
        wide = wide.loc[predictions[ENSEMBLE].index]
    cells = []
    for row in [*names, CONSENSUS]:
        for column in names if row == CONSENSUS else names[names.index(row) + 1 :]:
            both = wide.dropna(subset=[row, column])
            group = CONSENSUS if row == CONSENSUS else "readers"
            cells.append(cell(3, row, column, group, confusion(both[row], both[column]), both.index, n=n, seed=seed))
        for column, answers in predictions.items():
            cells.append(_against(3, row, column, wide[row], answers, n, seed))
    return assemble(3, cells, compare)


def table3(opinions: pd.DataFrame, members: Members | None = None, **options: object) -> pd.DataFrame:
    """Table 3 in the paper's arrangement; arguments as `table3_cells`."""
    return layout(table3_cells(opinions, members, **options))  # type: ignore[arg-type]
