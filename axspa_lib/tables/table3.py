"""Table 3: agreement on patients of the second cohort, on which nothing was trained."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from axspa_lib.diagnosis.readings import MODEL
from axspa_lib.diagnosis.rules import Members
from axspa_lib.tables.cells import agreement_cells, assemble
from axspa_lib.tables.table2 import model_answers, model_columns, opinions_wide


def table3(
    opinions: pd.DataFrame,
    members: Members | None = None,
    *,
    readers: Collection[str] | None = None,
    vote_tie: int = 0,
    consensus_tie: int = 1,
    n_boot: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Return the cells of Table 3: pairs of readers, and readers and consensus against models and ensemble.

    Arguments as `table2`; everything is computed on the members' patients where there are members.
    """
    wide, names = opinions_wide(opinions, readers, consensus_tie)
    predictions = model_columns(wide, members, vote_tie)
    if predictions:
        wide = wide.set_index("patient").loc[predictions[MODEL].index].rename_axis("patient").reset_index()
    cells = agreement_cells(3, wide, names, lambda row: model_answers(wide, row, predictions), n_boot, seed)
    return assemble(3, cells, compare)
