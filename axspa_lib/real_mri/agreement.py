"""Half-slices on public real MRI: readers, trials and models side by side, and what helps with few annotations."""

from __future__ import annotations

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
    """MCC between readings and with the model on the same half-slices: `pair, value, low, high, n, patients`.

    A reading is a reader and a trial (`R11`, `R12`, ...): readings that share the reader are trials of one another. The
    value of a row is the mean over its pairs, its interval by resampling examinations.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed, out of fold.
        only: `patient, slice, side` that contain a joint.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    wide, names = readings_wide(half_slices, only=only)
    wide = wide.dropna(subset=[*names, CONSENSUS])
    pairs = [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    tables = checked_members(members)
    vote = ensemble_vote(tables, "half_slice")
    stacks = {
        TRIALS: [confusion(wide[a], wide[b]) for a, b in pairs if a[:2] == b[:2]],
        READERS: [confusion(wide[a], wide[b]) for a, b in pairs if a[:2] != b[:2]],
        MODEL_READERS: [confusion(*reference_and_answer(wide, name, vote)[:2]) for name in names],
        MODEL_CONSENSUS: [confusion(*reference_and_answer(wide, CONSENSUS, vote)[:2])],
        MEMBERS_CONSENSUS: [confusion(*reference_and_answer(wide, CONSENSUS, t)[:2]) for t in tables.values()],
    }
    rows = []
    for name, counts in stacks.items():
        if counts:
            stacked = np.concatenate(counts, axis=1)
            found = bootstrap_by_patient(mcc_counts, stacked, wide["patient"], n, seed, "jeffreys")
            rows.append((name, found.value, found.low, found.high, found.n, found.patients))
    return pd.DataFrame(rows, columns=["pair", "value", "low", "high", "n", "patients"])


def reaches_readers(table: pd.DataFrame) -> bool:
    """Whether the ensemble's agreement with the consensus reaches the lower end of the readers' interval."""
    rows = {row["pair"]: row for row in table.to_dict("records")}
    return bool(rows[MODEL_CONSENSUS]["value"] >= rows[READERS]["low"])
