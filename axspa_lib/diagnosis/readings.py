"""Readings of half-slices, and a model's answers to them: a wrong number of boxes is a wrong answer (section 4.2)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.rules import KEY, Members
from axspa_lib.diagnosis.votes import checked_members, consensus_of, ensemble_vote
from axspa_lib.study.cohort import consensus
from axspa_lib.study.errors import DataError

MODEL, ENSEMBLE, CONSENSUS = "M-RCNN", "ensembling", "Consensus"
#: Levels at which answers are compared.
HALF, PATIENT = "half-slices", "patients"


def wrong_counts(members: Members) -> pd.DataFrame:
    """Return the share of half-slices on which each member does not find exactly one box (the paper: around 10 %)."""
    rows = [
        (seed, len(table), (table["boxes"] == 0).mean(), (table["boxes"] > 1).mean(), (table["boxes"] != 1).mean())
        for seed, table in checked_members(members).items()
    ]
    return pd.DataFrame(rows, columns=["seed", "n", "none", "several", "wrong"])


def reader_names(present: pd.Series, wanted: Collection[str] | None = None) -> list[str]:
    """Return the readers to compare, in the order given or by name.

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


def readings_wide(
    half_slices: pd.DataFrame,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    readers: Collection[str] | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return readings with a column per reader and for the consensus (not a number where unread), and the readers.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        patients: who counts; all who were read when None.
        only: `patient, slice, side` that count, e.g. those with a joint; all when None.
        readers: in the order wanted; all who read when None.

    Raises:
        DataError: a half-slice was read twice by one reader, or a patient by nobody; as `reader_names`.
    """
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
        read = read.merge(only[KEY].astype({"patient": str, "slice": int}).drop_duplicates(), on=KEY)
    names = reader_names(read["reader"], readers)
    read = read[read["reader"].isin(names)]
    read = pd.concat([read, consensus(read).assign(reader=CONSENSUS)])
    return read.pivot(index=KEY, columns="reader", values="inflammation").reset_index(), names


def reference_and_answer(
    wide: pd.DataFrame, row: str, results: pd.DataFrame, count_failures: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compare a model with a reader or the consensus on every half-slice that `row` has.

    Args:
        wide: from `readings_wide`.
        row: the reader, or the consensus.
        results: `half_slice_results` of a model.
        count_failures: a wrong number of boxes is the opposite of the reference (4.2); else inflamed if any box is.

    Returns:
        Reference, answer, patient and whether the model failed (a wrong number of boxes).

    Raises:
        DataError: a half-slice that was read is not among the results.
    """
    read = wide.dropna(subset=[row])
    keyed = results.astype({"patient": str, "slice": int})
    found = read[KEY].merge(keyed, on=KEY, how="left", validate="one_to_one")
    if found["positive"].isna().any():
        first = found[found["positive"].isna()].iloc[0]
        raise DataError(
            f"half-slice {first['slice']}{first['side']} of patient {first['patient']} was read but not predicted: "
            "evaluate the members on the readers' half-slices"
        )
    failed = ~found["correct_count"].to_numpy(bool)
    truth, said = read[row].to_numpy(float), found["positive"].to_numpy(float)
    return truth, np.where(failed & count_failures, 1 - truth, said), read["patient"].to_numpy(), failed


def half_slice_cases(
    half_slices: pd.DataFrame,
    members: Members,
    only: pd.DataFrame | None = None,
    tie: int = 0,
    count_failures: bool = True,
) -> pd.DataFrame:
    """Compare the ensemble with the readers' consensus on every half-slice of the patients predicted.

    Args:
        half_slices: readings, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed.
        only: `patient, slice, side` with a joint.
        tie: of the vote, as in `ensemble_vote`.
        count_failures: as in `reference_and_answer`.

    Returns:
        `patient, slice, side, reference, prediction, failed, marked, score, position`; `marked` is what the ensemble
        said whatever its number of boxes, `score` its mean `p_inflamed`; `position` runs from 0 (first slice read of
        the patient, anterior) to 1 (last).
    """
    wide, _ = readings_wide(half_slices, only=only)
    vote = ensemble_vote(members, "half_slice", tie).astype({"patient": str, "slice": int})
    wide = wide[wide["patient"].isin(set(vote["patient"]))].dropna(subset=[CONSENSUS])
    truth, answer, _, failed = reference_and_answer(wide, CONSENSUS, vote, count_failures)
    cases = wide[KEY].merge(vote[[*KEY, "positive", "p_inflamed"]], on=KEY, how="left", validate="one_to_one")
    cases = cases.rename(columns={"positive": "marked", "p_inflamed": "score"})
    slices = cases.groupby("patient")["slice"]
    first, last = slices.transform("min"), slices.transform("max")
    position = (cases["slice"] - first) / (last - first).clip(lower=1)
    return cases.assign(reference=truth, prediction=answer, failed=failed, position=position)


def patient_cases(vote: pd.DataFrame, opinions: pd.DataFrame, tie: int = 1) -> pd.DataFrame:
    """Return `patient, reference, prediction, score` of the patients of an `ensemble_vote`; `tie` of the consensus."""
    reference = consensus_of(vote["patient"], opinions, tie).to_numpy()
    return pd.DataFrame(
        {"patient": vote["patient"], "reference": reference, "prediction": vote["positive"], "score": vote["score"]}
    )
