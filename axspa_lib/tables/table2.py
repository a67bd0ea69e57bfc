"""Tables 2 and 3: agreement on patients between readers, their consensus, the models and their ensemble."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL, reader_names
from axspa_lib.diagnosis.rules import Members, checked_members, consensus_opinion, ensemble_vote
from axspa_lib.stats import confusion
from axspa_lib.study.errors import DataError
from axspa_lib.tables.cells import assemble, cell, layout


def table2_cells(
    opinions: pd.DataFrame,
    members: Members | None = None,
    *,
    readers: Collection[str] | None = None,
    n: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Cells of Table 2: pairs of readers on all patients, models and ensemble on the evaluation patients.

    The models are compared with the readers' consensus, which in the paper is every reader's opinion, since only
    patients on whom all agree are evaluated.

    Args:
        opinions: `patient, reader, asas_positive` of all patients; the readers' own or by `opinions_by_rule`.
        members: `patient_results` by seed of the evaluation patients.
        readers: in the order wanted.
        n: bootstrap resamples.
        seed: of the bootstrap.
        compare: put the published figures beside.
    """
    wide, names = _wide(opinions, readers)
    cells = []
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        counts = confusion(both[first], both[second])
        cells.append(cell(2, "mcc", f"{first} vs {second}", "readers", counts, both.index, n=n, seed=seed))
    for column, predictions in _predictions(members, wide).items():
        cells.append(_against(2, "mcc", column, wide[CONSENSUS], predictions, n, seed))
    return assemble(2, cells, compare)


def table2(opinions: pd.DataFrame, members: Members | None = None, **options: object) -> pd.DataFrame:
    """Table 2 in the paper's arrangement; arguments as `table2_cells`."""
    return layout(table2_cells(opinions, members, **options))  # type: ignore[arg-type]


def _wide(opinions: pd.DataFrame, readers: Collection[str] | None) -> tuple[pd.DataFrame, list[str]]:
    """Opinions as `patient` × reader, with the consensus of the readers wanted as a further column."""
    given = opinions[["patient", "reader", "asas_positive"]].astype({"patient": str, "reader": str})
    names = reader_names(given["reader"], readers)
    given = given[given["reader"].isin(names)]
    agreed = consensus_opinion(given).set_index("patient")["asas_positive"]
    wide = given.pivot(index="patient", columns="reader", values="asas_positive")
    return wide.assign(**{CONSENSUS: agreed}), names


def _predictions(members: Members | None, wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """For each column of the model, `patient` × member with 0 or 1."""
    if members is None:
        return {}
    tables = checked_members(members)
    columns = {MODEL: tables, ENSEMBLE: {0: ensemble_vote(tables, "patient")}}
    predictions = {}
    for name, results in columns.items():
        predictions[name] = pd.DataFrame(
            {seed: table.set_index(table["patient"].astype(str))["positive"] for seed, table in results.items()}
        )
    unknown = sorted(set(predictions[MODEL].index) - set(wide.index))
    if unknown:
        raise DataError(
            f"patient {unknown[0]} was predicted but has no opinion of any reader: predict the cohort whose opinions "
            "these are, or exclude the patient"
        )
    return predictions


def _against(
    table: int, row: str, column: str, reference: pd.Series, predictions: pd.DataFrame, n: int, seed: int
) -> dict[str, object]:
    known = reference.reindex(predictions.index).dropna()
    counts = [confusion(known, predictions.loc[known.index, member]) for member in predictions.columns]
    return cell(table, row, column, column, np.concatenate(counts, axis=1), known.index, n=n, seed=seed)
