"""Table 2: agreement on patients between readers, and of the models and their ensemble with the consensus."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL, reader_names
from axspa_lib.diagnosis.rules import Members
from axspa_lib.diagnosis.votes import checked_members, consensus_opinion, ensemble_vote
from axspa_lib.stats.counts import confusion
from axspa_lib.study.errors import DataError
from axspa_lib.tables.cells import Answer, assemble, cell


def table2(
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
    """Return the cells of Table 2: pairs of readers on all patients, models on the evaluation patients.

    The models are compared with the readers' consensus, which in the paper is every reader's opinion, since only
    patients on whom all agree are evaluated.

    Args:
        opinions: `patient, reader, asas_positive` of all patients.
        members: `patient_results` by seed of the evaluation patients.
        readers: in the order wanted.
        vote_tie: of the members, as in `ensemble_vote`: the column *ensembling*.
        consensus_tie: of the readers, as in `consensus_opinion`.
        n_boot: bootstrap resamples.
        seed: of the bootstrap.
        compare: put the published figures beside.

    Raises:
        DataError: fewer than two readers, or no reader's opinion on a predicted patient.
    """
    wide, names = opinions_wide(opinions, readers, consensus_tie)
    cells = []
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        counts = confusion(both[first], both[second])
        cells.append(cell(2, "mcc", f"{first} vs {second}", "readers", counts, both["patient"], n=n_boot, seed=seed))
    for column, counts, patients, _ in model_answers(wide, CONSENSUS, model_columns(wide, members, vote_tie)):
        cells.append(cell(2, "mcc", column, column, counts, patients, n=n_boot, seed=seed))
    return assemble(2, cells, compare)


def opinions_wide(opinions: pd.DataFrame, readers: Collection[str] | None, tie: int) -> tuple[pd.DataFrame, list[str]]:
    """Return opinions with `patient`, a column per reader wanted and for their consensus, and the readers."""
    given = opinions[["patient", "reader", "asas_positive"]].astype({"patient": str, "reader": str})
    names = reader_names(given["reader"], readers)
    given = given[given["reader"].isin(names)]
    agreed = consensus_opinion(given, tie).set_index("patient")["asas_positive"]
    wide = given.pivot(index="patient", columns="reader", values="asas_positive")
    return wide.assign(**{CONSENSUS: agreed}).reset_index(), names


def model_columns(wide: pd.DataFrame, members: Members | None, tie: int) -> dict[str, pd.DataFrame]:
    """Return 0 or 1 by patient and member, of the single models and of their ensemble."""
    if members is None:
        return {}
    tables = checked_members(members)
    columns: dict[str, Members] = {MODEL: tables, ENSEMBLE: {0: ensemble_vote(tables, tie=tie)}}
    predictions = {
        name: pd.DataFrame({seed: t.set_index(t["patient"].astype(str))["positive"] for seed, t in results.items()})
        for name, results in columns.items()
    }
    unknown = sorted(set(predictions[MODEL].index) - set(wide["patient"]))
    if unknown:
        raise DataError(
            f"patient {unknown[0]} was predicted but has no opinion of any reader: predict the cohort whose opinions "
            "these are, or exclude the patient"
        )
    return predictions


def model_answers(wide: pd.DataFrame, row: str, predictions: dict[str, pd.DataFrame]) -> Iterator[Answer]:
    """Compare the columns of the model with a reader or the consensus on the patients that both have."""
    for column, answers in predictions.items():
        known = wide.set_index("patient")[row].reindex(answers.index).dropna()
        counts = [confusion(known, answers.loc[known.index, member]) for member in answers.columns]
        yield column, np.concatenate(counts, axis=1), known.index, np.nan
