"""Agreement on half-slices of public real MRI between readers, trials of one reader, and models."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members
from axspa_lib.diagnosis.votes import checked_members, ensemble_vote
from axspa_lib.stats import bootstrap_by_patient, confusion, mcc_counts

#: Rows of `agreement_table`, in its order.
TRIALS, READERS, MODEL_READERS, MODEL_CONSENSUS, MEMBERS_CONSENSUS = (
    "two trials of one reader",
    "two readers",
    "ensemble and each reading",
    "ensemble and consensus",
    "single models and consensus",
)


def agreement_table(
    half_slices: pd.DataFrame, members: Members, only: pd.DataFrame | None = None, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Return the MCC between readings and with the model on the same half-slices, by kind of pair.

    A reading is a reader and a trial (`R11`, `R12`, ...). A row is the mean over its pairs, with an interval by
    resampling examinations.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed, out of fold.
        only: `patient, slice, side` that contain a joint.
        n: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        `pair, value, low, high, n, patients`.
    """
    wide, names = readings_wide(half_slices, only=only)
    wide = wide.dropna(subset=[*names, CONSENSUS])
    tables = checked_members(members)
    vote = ensemble_vote(tables, "half_slice")
    answers = {
        MODEL_READERS: [(name, vote) for name in names],
        MODEL_CONSENSUS: [(CONSENSUS, vote)],
        MEMBERS_CONSENSUS: [(CONSENSUS, table) for table in tables.values()],
    }
    counts: dict[str, list[np.ndarray]] = {TRIALS: [], READERS: []}
    for a, b in combinations(names, 2):
        counts[TRIALS if a[:2] == b[:2] else READERS].append(confusion(wide[a], wide[b]))
    for pair, compared in answers.items():
        counts[pair] = [confusion(*reference_and_answer(wide, row, results)[:2]) for row, results in compared]
    rows = []
    for pair, parts in counts.items():
        if parts:
            stacked = np.concatenate(parts, axis=1)
            found = bootstrap_by_patient(mcc_counts, stacked, wide["patient"], n, seed, "jeffreys")
            rows.append((pair, found.value, found.low, found.high, found.n, found.patients))
    return pd.DataFrame(rows, columns=["pair", "value", "low", "high", "n", "patients"])


def reaches_readers(table: pd.DataFrame) -> bool:
    """Tell whether the ensemble's agreement with the consensus reaches the lower end of the readers' interval."""
    rows = table.set_index("pair")
    return bool(rows["value"][MODEL_CONSENSUS] >= rows["low"][READERS])
