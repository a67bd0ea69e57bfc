"""Splits by subject, stratified by label and centre, seeded; and the checks that refuse a leaking one.

The paper draws 51 patients for manual segmentation, evenly over the centres and with the cohort's share of
positives (section 4.1), split 31/6/14, and splits the 256 segmented patients 178/25/53 for detection (section 4.2).
The bone networks only make training masks for the detector, so a patient may be in any subset of one and of the other
split; those to be outlined are dealt evenly to the detection subsets, for the row 'Only manually' of Table 4 learns
from them alone and needs some to validate on.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SUBSETS

NONE = ""
_REQUIRED = ("patient", "subject", "centre", "positive", "has_bones")


def make_splits(
    participants: pd.DataFrame,
    bones: tuple[int, int, int] | None,
    detection: tuple[int, int, int] | None,
    seed: int,
    folds: int = 1,
) -> pd.DataFrame:
    """Split a cohort by subject; the same for any row order.

    Args:
        participants: one row per examination: `patient`, `subject`, `centre` (text, '' where unknown), `positive`
            (bool, or missing where nobody read it), `has_bones` (bool: a reference bone mask exists). An optional
            boolean column `eligible` narrows the detection split (the paper's inclusion criterion, section 2).
        bones: numbers of patients for training, validation and test of the bone networks, drawn evenly over the
            centres and with the share of positives of all patients, from those with `has_bones` (section 4.1).
            Where fewer exist they are scaled down, every non-empty part keeping at least one. `None`: no bone split.
        detection: proportions of the three subsets over the examinations with a label (and `eligible`), and as nearly
            as whole subjects allow over those of them in the bone split. `None`: no detection split.
        seed: decides every draw.
        folds: more than 1 adds the column `fold` of `subject_folds`, over all examinations.

    Returns:
        `patient, subject, bones, detection`, sorted by patient; '' where an examination is in no subset. A cohort
        with fewer usable subjects than non-empty parts stays unsplit. Numbers of patients are met exactly when
        every subject has one examination, and as nearly as whole subjects allow otherwise.

    Raises:
        DataError: a column is missing, a patient is listed twice, or the numbers are not non-negative with a sum.
    """
    table = _checked(participants)
    result = table[["patient", "subject"]].copy()
    result["bones"] = NONE
    result["detection"] = NONE
    if bones is not None:
        subjects = _subjects(table[table["has_bones"]])
        counts = _scaled(bones, int(subjects["size"].sum()), at_most=True)
        drawn = _draw(subjects, sum(counts), _positive_share(table), np.random.default_rng([seed, 1]))
        assigned = _deal(drawn, counts, np.random.default_rng([seed, 2]))
        result.loc[table["has_bones"], "bones"] = _named(result.loc[table["has_bones"], "subject"], assigned)
    if detection is not None:
        usable = table["positive"].notna() & table["eligible"]
        subjects = _subjects(table[usable])
        subjects["outlined"] = subjects["subject"].isin(result.loc[result["bones"] != NONE, "subject"])
        assigned = _deal(subjects, _scaled(detection, int(subjects["size"].sum())), np.random.default_rng([seed, 3]))
        result.loc[usable, "detection"] = _named(result.loc[usable, "subject"], assigned)
    if folds > 1:
        result["fold"] = subject_folds(participants, folds, seed)["fold"]
    check_splits(result, table)
    return result


def subject_folds(participants: pd.DataFrame, k: int, seed: int) -> pd.DataFrame:
    """Folds for grouped cross-validation: each subject's examinations in one fold.

    Subjects who were read (and are `eligible`), with and without a reference bone mask, and those with a mask only are
    dealt first, so that the folds hold as many of each kind, give or take one; within a kind labels and centres spread.

    Args:
        participants: as in `make_splits`.
        k: number of folds.
        seed: decides the draw.

    Returns:
        `patient, subject, fold` with fold 0 to k - 1, sorted by patient.

    Raises:
        DataError: fewer subjects than folds, or `k` below 2.
    """
    table = _checked(participants)
    subjects = _subjects(table)
    if k < 2 or len(subjects) < k:
        raise DataError(f"{len(subjects)} subjects cannot be divided into {k} folds: choose k from 2 to that number")
    read = table["positive"].notna() & table["eligible"]
    for kind, which in {"read": read, "bones": table["has_bones"]}.items():
        subjects[kind] = subjects["subject"].isin(table.loc[which, "subject"])
    shuffled = subjects.iloc[np.random.default_rng([seed, 4]).permutation(len(subjects))]
    ordered = shuffled.sort_values(
        ["read", "bones", "label", "centre"], ascending=[False, False, True, True], kind="stable"
    )
    fold: dict[str, int] = {}
    held = np.zeros((k, 3), int)  # read, bones, examinations
    for row in ordered.to_dict("records"):
        counted = np.array([row["read"], row["bones"], row["size"]], int)
        wanted = [held[:, place] for place in range(2) if counted[place]]
        chosen = int(np.lexsort((np.arange(k), held[:, 2], *reversed(wanted)))[0])
        held[chosen] += counted
        fold[row["subject"]] = chosen
    return table[["patient", "subject"]].assign(fold=table["subject"].map(fold).astype(int))


def check_splits(splits: pd.DataFrame, participants: pd.DataFrame) -> None:
    """Refuse a split that leaks or does not fit its cohort.

    Args:
        splits: `patient, subject, bones, detection` (missing values count as ''), and `fold` if there are folds.
        participants: `patient, subject` of the cohort.

    Raises:
        DataError: names the first patient or subject at fault: listed twice, unknown, missing, given to another
            subject, in a subset of unknown name, without a fold, or a subject whose examinations lie
            in two subsets or two folds.
    """
    remedy = "correct splits.csv or delete it and curate again"
    for column in ("patient", "subject", "bones", "detection"):
        if column not in splits:
            raise DataError(f"splits have no column {column!r}: {remedy}")
    given = splits[["patient", "subject", "bones", "detection"]].fillna(NONE).astype({"patient": str, "subject": str})
    twice = given.loc[given["patient"].duplicated(), "patient"]
    if len(twice):
        raise DataError(f"splits list patient {twice.iloc[0]!r} more than once: {remedy}")
    subject_of = dict(zip(participants["patient"].astype(str), participants["subject"].astype(str), strict=True))
    for patient, subject in zip(given["patient"], given["subject"], strict=True):
        if patient not in subject_of:
            raise DataError(f"splits name patient {patient!r}, whom the cohort does not have: {remedy}")
        if subject_of[patient] != subject:
            raise DataError(
                f"splits give patient {patient!r} to subject {subject!r}, "
                f"the cohort to {subject_of[patient]!r}: {remedy}"
            )
    missing = sorted(set(subject_of) - set(given["patient"]))
    if missing:
        raise DataError(f"splits lack patient {missing[0]!r} of the cohort: {remedy}")
    for column in ("bones", "detection"):
        unknown = given.loc[~given[column].isin([*SUBSETS, NONE]), ["patient", column]]
        if len(unknown):
            patient, name = unknown.iloc[0]
            raise DataError(f"patient {patient!r} is in an unknown subset {name!r} of {column!r}: {remedy}")
        held = given[given[column] != NONE].groupby("subject")[column].unique()
        for subject, subsets in held.items():
            if len(subsets) > 1:
                raise DataError(f"subject {subject!r} is in both {' and '.join(subsets)} of {column!r}: {remedy}")
    if "fold" in splits:
        number = pd.to_numeric(splits["fold"], errors="coerce")
        without = given.loc[~(number >= 0) | (number % 1 != 0), "patient"]
        if len(without):
            raise DataError(f"splits give patient {without.iloc[0]!r} no fold: {remedy}")
        spread = number.groupby(given["subject"]).nunique()
        if (spread > 1).any():
            raise DataError(f"subject {spread.idxmax()!r} lies in several folds: {remedy}")


def _checked(participants: pd.DataFrame) -> pd.DataFrame:
    absent = [column for column in _REQUIRED if column not in participants]
    if absent:
        raise DataError(f"the participants table has no column {absent[0]!r}, which splits need")
    table = participants.copy()
    for column in ("patient", "subject"):
        table[column] = table[column].astype(str)
    table["centre"] = table["centre"].fillna("").astype(str)
    table["has_bones"] = table["has_bones"].fillna(False).astype(bool)
    table["positive"] = table["positive"].astype("boolean")
    table["eligible"] = table["eligible"].fillna(False).astype(bool) if "eligible" in table else True
    table = table.sort_values("patient", ignore_index=True)
    twice = table.loc[table["patient"].duplicated(), "patient"]
    if len(twice):
        raise DataError(f"the participants table lists patient {twice.iloc[0]!r} more than once: keep one row")
    return table


def _subjects(table: pd.DataFrame) -> pd.DataFrame:
    """One row per subject, sorted: `subject, label, centre, size`; a subject is positive if any examination is."""
    grouped = table.groupby("subject", sort=True)
    label = grouped["positive"].max().astype("object")
    return pd.DataFrame(
        {
            "subject": label.index,
            "label": np.where(label.isna(), "unknown", np.where(label.eq(True), "positive", "negative")),
            "centre": grouped["centre"].first().to_numpy(),
            "size": grouped.size().to_numpy(),
        }
    )


def _scaled(parts: Sequence[int], available: int, at_most: bool = False) -> list[int]:
    """Whole numbers in the proportions of `parts` that sum to `available` (or to the sum of `parts` if `at_most`)."""
    if any(part < 0 for part in parts) or not sum(parts):
        raise DataError(f"a split of {tuple(parts)} patients is impossible: give three numbers that are not negative")
    if at_most and available >= sum(parts):
        return list(parts)
    if available < sum(part > 0 for part in parts):
        return [0] * len(parts)
    shares = [Fraction(part * available, sum(parts)) for part in parts]
    counts = [max(int(share), int(part > 0)) for share, part in zip(shares, parts, strict=True)]
    while sum(counts) != available:
        step = 1 if sum(counts) < available else -1
        free = [i for i, part in enumerate(parts) if part and (step > 0 or counts[i] > 1)]
        chosen = max(free, key=lambda i: step * (shares[i] - counts[i]))
        counts[chosen] += step
    return counts


def _positive_share(table: pd.DataFrame) -> float:
    known = _subjects(table)["label"]
    known = known[known != "unknown"]
    return float((known == "positive").mean()) if len(known) else 0.0


def _draw(subjects: pd.DataFrame, patients: int, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw subjects holding `patients` examinations: evenly over the centres, `share` of the labelled ones positive."""
    pool = subjects.iloc[rng.permutation(len(subjects))]
    labelled = int(pool.loc[pool["label"] != "unknown", "size"].sum())
    wanted = {"positive": round(share * min(patients, labelled))}
    chosen: list[int] = []
    per_centre: dict[str, int] = {}
    held = {"positive": 0, "other": 0}
    while (total := sum(held.values())) < patients:
        fits = pool[~pool.index.isin(chosen) & (pool["size"] <= patients - total)]
        if fits.empty:
            break
        positive = fits["label"] == "positive"
        due = held["positive"] * (patients - wanted["positive"]) <= held["other"] * wanted["positive"]
        want = positive if due and held["positive"] < wanted["positive"] else ~positive
        candidates = fits[want] if want.any() else fits
        load = candidates["centre"].map(lambda centre: per_centre.get(centre, 0))
        pick = candidates.index[int(np.argmin(load.to_numpy()))]
        row = pool.loc[pick]
        chosen.append(pick)
        held["positive" if row["label"] == "positive" else "other"] += int(row["size"])
        per_centre[row["centre"]] = per_centre.get(row["centre"], 0) + int(row["size"])
    return subjects.loc[sorted(chosen)]


def _deal(subjects: pd.DataFrame, counts: Sequence[int], rng: np.random.Generator) -> dict[str, int]:
    """Deal subjects, strata one after another, each to the part furthest behind its share: subject -> part index.

    Strata are the label and the centre, and before them the column `outlined` where there is one, True first.
    """
    if not sum(counts):
        return {}
    shuffled = subjects.iloc[rng.permutation(len(subjects))]
    strata = [name for name in ("outlined", "label", "centre") if name in subjects]
    ordered = shuffled.sort_values(strata, ascending=[name != "outlined" for name in strata], kind="stable")
    total = int(ordered["size"].sum())
    given = [0] * len(counts)
    parts: dict[str, int] = {}
    dealt = 0
    for subject, size in zip(ordered["subject"], ordered["size"], strict=True):
        dealt += int(size)
        behind = [Fraction(count * dealt, total) - held for count, held in zip(counts, given, strict=True)]
        open_parts = [i for i, count in enumerate(counts) if given[i] + size <= count] or [
            i for i, count in enumerate(counts) if count
        ]
        part = max(open_parts, key=lambda i: (behind[i], -i))
        given[part] += int(size)
        parts[subject] = part
    return parts


def _named(subjects: pd.Series, assigned: dict[str, int]) -> pd.Series:
    return subjects.map(lambda subject: SUBSETS[assigned[subject]] if subject in assigned else NONE)
