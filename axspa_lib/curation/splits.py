"""Splits by subject, stratified by label and centre, seeded; and the checks that refuse a leaking one.

The paper draws 51 patients for manual segmentation, evenly over the centres and with the cohort's share of
positives (section 4.1), split 31/6/14, and splits the 256 segmented patients 178/25/53 for detection (section 4.2).
The bone networks only make training masks for the detector, so a patient may be in any subset of one and of the other
split; those to be outlined are dealt evenly to the detection subsets, since the row 'Only manually' of Table 4 learns
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
TASKS = ("bones", "detection")


def make_splits(
    participants: pd.DataFrame,
    bones: tuple[int, int, int] | None,
    detection: tuple[int, int, int] | None,
    seed: int,
    folds: int = 1,
) -> pd.DataFrame:
    """Split a cohort by subject, whatever the order of its rows.

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
    """
    table = _checked(participants)
    result = table[["patient", "subject"]].assign(bones=NONE, detection=NONE)
    if bones is not None:
        subjects = _subjects(table[table["has_bones"]])
        counts = _scaled(bones, int(subjects["size"].sum()), at_most=True)
        labels = _subjects(table)["label"]
        known = labels[labels != "unknown"]
        share = float((known == "positive").mean()) if len(known) else 0.0
        drawn = _draw(subjects, sum(counts), share, np.random.default_rng([seed, 1]))
        assigned = _deal(drawn, counts, np.random.default_rng([seed, 2]))
        result["bones"] = result["subject"].map(assigned).astype(object).where(table["has_bones"]).fillna(NONE)
    if detection is not None:
        usable = table["positive"].notna() & table["eligible"]
        subjects = _subjects(table[usable])
        subjects["outlined"] = subjects["subject"].isin(result.loc[result["bones"] != NONE, "subject"])
        assigned = _deal(subjects, _scaled(detection, int(subjects["size"].sum())), np.random.default_rng([seed, 3]))
        result["detection"] = result["subject"].map(assigned).astype(object).where(usable).fillna(NONE)
    if folds > 1:
        result["fold"] = subject_folds(participants, folds, seed)["fold"]
    check_splits(result, table)
    return result


def subject_folds(participants: pd.DataFrame, k: int, seed: int) -> pd.DataFrame:
    """Divide a cohort into folds for grouped cross-validation: each subject's examinations in one fold.

    Subjects who were read (and are `eligible`), with and without a reference bone mask, and those with a mask only are
    dealt first, so that the folds hold as many of each kind, give or take one; within a kind labels and centres spread.

    Args:
        participants: as in `make_splits`.
        k: number of folds.
        seed: decides the draw.

    Returns:
        `patient, subject, fold` with fold 0 to k - 1, sorted by patient.
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
        wanted = [held[:, column] for column in range(2) if counted[column]]
        chosen = int(np.lexsort((np.arange(k), held[:, 2], *reversed(wanted)))[0])
        held[chosen] += counted
        fold[row["subject"]] = chosen
    return table[["patient", "subject"]].assign(fold=table["subject"].map(fold).astype(int))


def check_splits(splits: pd.DataFrame, participants: pd.DataFrame) -> None:
    """Refuse a split that leaks or does not fit its cohort.

    Args:
        splits: `patient, subject, bones, detection` (missing values count as ''), and `fold` if there are folds.
        participants: `patient, subject` of the cohort.
    """
    remedy = "correct splits.csv or delete it and curate again"
    for column in ("patient", "subject", *TASKS):
        if column not in splits:
            raise DataError(f"splits have no column {column!r}: {remedy}")
    given = splits.fillna(dict.fromkeys(TASKS, NONE)).astype({"patient": str, "subject": str})
    subjects = participants[["patient", "subject"]].astype(str).set_index("patient")["subject"]
    given["known"] = given["patient"].map(subjects)

    def refuse(faulty: pd.Series, sentence: str) -> None:
        """Raise an error about the first faulty row, if any; the sentence names its columns in braces."""
        if faulty.any():
            raise DataError(f"{sentence.format(**given[faulty].iloc[0])}: {remedy}")

    refuse(given["patient"].duplicated(), "splits list patient {patient!r} more than once")
    refuse(given["known"].isna(), "splits name patient {patient!r}, whom the cohort does not have")
    other = given["subject"] != given["known"]
    refuse(other, "splits give patient {patient!r} to subject {subject!r}, the cohort to {known!r}")
    missing = sorted(set(subjects.index) - set(given["patient"]))
    if missing:
        raise DataError(f"splits lack patient {missing[0]!r} of the cohort: {remedy}")
    for task in TASKS:
        unknown = ~given[task].isin([*SUBSETS, NONE])
        refuse(unknown, f"patient {{patient!r}} is in an unknown subset {{{task}!r}} of {task!r}")
        torn = given[task].where(given[task] != NONE).groupby(given["subject"]).transform("nunique") > 1
        refuse(torn, f"subject {{subject!r}} lies in several subsets of {task!r}")
    if "fold" in given:
        given["fold"] = pd.to_numeric(given["fold"], errors="coerce")
        refuse(~(given["fold"] >= 0) | (given["fold"] % 1 != 0), "splits give patient {patient!r} no fold")
        torn = given.groupby("subject")["fold"].transform("nunique") > 1
        refuse(torn, "subject {subject!r} lies in several folds")


def _checked(participants: pd.DataFrame) -> pd.DataFrame:
    for column in ("patient", "subject", "centre", "positive", "has_bones"):
        if column not in participants:
            raise DataError(f"the participants table has no column {column!r}, which splits need")
    table = participants.astype({"patient": str, "subject": str, "positive": "boolean"})
    table["centre"] = table["centre"].fillna("").astype(str)
    table["has_bones"] = table["has_bones"].fillna(False).astype(bool)
    table["eligible"] = table["eligible"].fillna(False).astype(bool) if "eligible" in table else True
    table = table.sort_values("patient", ignore_index=True)
    twice = table.loc[table["patient"].duplicated(), "patient"]
    if len(twice):
        raise DataError(f"the participants table lists patient {twice.iloc[0]!r} more than once: keep one row")
    return table


def _subjects(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject, sorted: `subject, label, centre, size`; positive if any examination is."""
    grouped = table.groupby("subject", sort=True)
    subjects = grouped.agg(label=("positive", "max"), centre=("centre", "first"), size=("patient", "size"))
    names = {True: "positive", False: "negative"}
    subjects["label"] = subjects["label"].astype(object).map(names).fillna("unknown")
    return subjects.reset_index()


def _scaled(parts: Sequence[int], available: int, at_most: bool = False) -> list[int]:
    """Return whole numbers in the proportions of `parts` that sum to `available` (at most to the sum of `parts`)."""
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


def _draw(subjects: pd.DataFrame, patients: int, share: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw subjects holding `patients` examinations: evenly over the centres, `share` of the labelled ones positive."""
    pool = subjects.iloc[rng.permutation(len(subjects))]
    labelled = int(pool.loc[pool["label"] != "unknown", "size"].sum())
    wanted = round(share * min(patients, labelled))  # positive ones
    chosen: list[int] = []
    per_centre: dict[str, int] = {}
    positives = others = 0
    while (total := positives + others) < patients:
        fits = pool[~pool.index.isin(chosen) & (pool["size"] <= patients - total)]
        if fits.empty:
            break
        positive = fits["label"] == "positive"
        due = positives * (patients - wanted) <= others * wanted
        want = positive if due and positives < wanted else ~positive
        candidates = fits[want] if want.any() else fits
        load = candidates["centre"].map(lambda centre: per_centre.get(centre, 0))
        pick = candidates.index[int(np.argmin(load.to_numpy()))]
        label, centre, size = pool.loc[pick, ["label", "centre", "size"]]
        chosen.append(pick)
        positives, others = (positives + size, others) if label == "positive" else (positives, others + size)
        per_centre[centre] = per_centre.get(centre, 0) + size
    return subjects.loc[sorted(chosen)]


def _deal(subjects: pd.DataFrame, counts: Sequence[int], rng: np.random.Generator) -> dict[str, str]:
    """Deal subjects, strata one after another, each to the subset furthest behind its share: subject -> subset.

    Strata are the label and the centre, and before them the column `outlined` where there is one, True first.
    """
    if not sum(counts):
        return {}
    shuffled = subjects.iloc[rng.permutation(len(subjects))]
    strata = [name for name in ("outlined", "label", "centre") if name in subjects]
    ordered = shuffled.sort_values(strata, ascending=[name != "outlined" for name in strata], kind="stable")
    total = int(ordered["size"].sum())
    given = [0] * len(counts)
    parts: dict[str, str] = {}
    dealt = 0
    for subject, size in zip(ordered["subject"], ordered["size"], strict=True):
        dealt += int(size)
        behind = [Fraction(count * dealt, total) - held for count, held in zip(counts, given, strict=True)]
        wanted = [i for i, count in enumerate(counts) if count]
        open_parts = [i for i in wanted if given[i] + size <= counts[i]] or wanted
        part = max(open_parts, key=lambda i: (behind[i], -i))
        given[part] += int(size)
        parts[subject] = SUBSETS[part]
    return parts
