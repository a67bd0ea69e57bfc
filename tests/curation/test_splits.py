"""Splits: numbers, strata, subjects, determinism, and the refusal of leaking ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.curation.splits import check_splits, make_splits, subject_folds
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SUBSETS


def cohort(n: int, seed: int = 0, per_subject: int = 1, centres: int = 25, bones: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    subjects = [f"s{i // per_subject:04}" for i in range(n)]
    return pd.DataFrame(
        {
            "patient": [f"p{i:04}" for i in range(n)],
            "subject": subjects,
            "centre": rng.integers(0, centres, n).astype(str),
            "positive": rng.random(n) < 0.3,
            "has_bones": rng.random(n) < bones,
        }
    )


def test_the_paper_s_numbers_are_met_exactly() -> None:
    patients = cohort(288)
    splits = make_splits(patients, (31, 6, 14), (178, 25, 53), seed=2022)
    assert splits["bones"].value_counts()[list(SUBSETS)].tolist() == [31, 6, 14]
    assert splits["detection"].value_counts()[list(SUBSETS)].tolist() == [200, 28, 60]
    exact = make_splits(cohort(256), None, (178, 25, 53), seed=2022)
    assert exact["detection"].value_counts()[list(SUBSETS)].tolist() == [178, 25, 53]
    assert (exact["bones"] == "").all()


def test_drawn_patients_come_evenly_from_the_centres_with_the_share_of_positives() -> None:
    patients = cohort(400)
    patients.loc[:99, "centre"] = "0"  # a large centre must not dominate the drawn set
    drawn = patients.merge(make_splits(patients, (31, 6, 14), None, seed=1)[["patient", "bones"]])
    drawn = drawn[drawn["bones"] != ""]
    per_centre = drawn["centre"].value_counts()
    assert len(per_centre) == patients["centre"].nunique()
    assert per_centre.max() - per_centre.min() <= 2
    assert abs(drawn["positive"].mean() - patients["positive"].mean()) <= 1 / 51


def test_detection_is_stratified_by_label_and_centre() -> None:
    patients = cohort(600, centres=4)
    split = patients.merge(make_splits(patients, None, (6, 2, 2), seed=3)[["patient", "detection"]])
    counts = pd.crosstab([split["positive"], split["centre"]], split["detection"])
    expected = np.outer(counts.sum(axis=1), [0.2, 0.6, 0.2])  # columns: test, train, validation
    assert np.abs(counts[["test", "train", "validation"]].to_numpy() - expected).max() <= 2


@given(n=st.integers(60, 200), seed=st.integers(0, 10**6), bones=st.sampled_from([0.4, 1.0]))
@settings(max_examples=30, deadline=None)
def test_patients_outlined_by_hand_are_in_every_subset_of_detection(n: int, seed: int, bones: float) -> None:
    """The row 'Only manually' of Table 4 trains and validates on them alone; `quick` has 24 of them."""
    splits = make_splits(cohort(n, seed, bones=bones), (12, 3, 9), (62, 8, 30), seed)
    outlined = splits.loc[splits["bones"] != "", "detection"].value_counts()
    assert np.abs(outlined[list(SUBSETS)].to_numpy() - outlined.sum() * np.array([0.62, 0.08, 0.30])).max() <= 1.5


@given(
    n=st.integers(0, 60),
    per_subject=st.integers(1, 3),
    seed=st.integers(0, 1000),
    bones=st.tuples(st.integers(0, 31), st.integers(0, 6), st.integers(1, 14)),
)
@settings(max_examples=20, deadline=None)
def test_no_subject_is_divided_and_row_order_does_not_matter(
    n: int, per_subject: int, seed: int, bones: tuple[int, int, int]
) -> None:
    patients = cohort(n, seed, per_subject, centres=3, bones=0.7)
    splits = make_splits(patients, bones, (178, 25, 53), seed)
    shuffled = make_splits(patients.sample(frac=1, random_state=seed), bones, (178, 25, 53), seed)
    pd.testing.assert_frame_equal(splits, shuffled)
    for column in ("bones", "detection"):
        held = splits[splits[column] != ""]
        assert (held.groupby("subject")[column].nunique() <= 1).all()
    with_bones = patients.sort_values("patient")["has_bones"].to_numpy()
    assert (splits["bones"] == "").to_numpy()[~with_bones].all()


@pytest.mark.parametrize("n", range(0, 52, 3))
def test_a_small_cohort_keeps_every_part(n: int) -> None:
    counts = make_splits(cohort(n), (31, 6, 14), None, seed=5)["bones"].value_counts()
    given = [int(counts.get(subset, 0)) for subset in SUBSETS]
    if n < 3:
        assert given == [0, 0, 0]
    else:
        assert sum(given) == n and min(given) >= 1
        assert np.abs(np.array(given) - np.array([31, 6, 14]) * n / 51).max() < 1.5


def test_another_seed_is_another_split() -> None:
    patients = cohort(100)
    first, second = (make_splits(patients, (31, 6, 14), (7, 1, 2), seed) for seed in (1, 2))
    assert not first.equals(second)


def test_examinations_without_label_or_not_eligible_are_not_in_detection() -> None:
    patients = cohort(40)
    patients["positive"] = patients["positive"].astype("boolean")
    patients.loc[:9, "positive"] = pd.NA
    patients["eligible"] = np.arange(40) < 30
    detection = make_splits(patients, None, (6, 2, 2), seed=0)["detection"]
    assert (detection[:10] == "").all() and (detection[30:] == "").all() and (detection[10:30] != "").all()


def test_folds_keep_subjects_and_labels_together() -> None:
    patients = cohort(90, per_subject=2, centres=2)
    folds = subject_folds(patients, 5, seed=1)
    assert (folds.groupby("subject")["fold"].nunique() == 1).all()
    assert folds["fold"].value_counts().sort_index().tolist() == [18] * 5
    positives = patients.assign(fold=folds["fold"].to_numpy()).groupby("fold")["positive"].mean()
    assert positives.max() - positives.min() < 0.25
    with pytest.raises(DataError, match="cannot be divided"):
        subject_folds(patients.head(4), 5, seed=1)


@given(
    n=st.integers(6, 60),
    k=st.integers(2, 6),
    per_subject=st.integers(1, 3),
    seed=st.integers(0, 99),
    read=st.floats(0, 1),
    bones=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_folds_hold_as_many_subjects_of_each_kind_and_no_subject_twice(n, k, per_subject, seed, read, bones) -> None:
    patients = cohort(n * per_subject, seed, per_subject, bones=bones)
    patients["positive"] = patients["positive"].astype("boolean")
    unread = np.random.default_rng(seed).random(len(patients)) >= read
    patients.loc[unread, "positive"] = pd.NA
    splits = make_splits(patients, (6, 2, 2), (6, 2, 2), seed, folds=k)
    assert (splits.groupby("subject")["fold"].nunique() == 1).all()
    assert set(splits["fold"]) == set(range(k)), "every examination has a fold, and no fold is empty"
    annotated = (
        patients.assign(fold=splits["fold"], read=~unread)
        .groupby("subject")
        .agg({"fold": "first", "read": "any", "has_bones": "any"})
    )
    counted = annotated[annotated["read"]]["fold"].value_counts().reindex(range(k), fill_value=0)
    assert counted.max() - counted.min() <= 1
    with_bones = (
        annotated[annotated["has_bones"] & annotated["read"]]["fold"].value_counts().reindex(range(k), fill_value=0)
    )
    assert with_bones.max() - with_bones.min() <= 1


def test_a_split_without_folds_has_no_such_column() -> None:
    assert list(make_splits(cohort(20), (5, 2, 2), (6, 2, 2), seed=0)) == ["patient", "subject", "bones", "detection"]


def test_a_subject_in_two_folds_and_an_examination_in_none_are_refused() -> None:
    patients = cohort(20, per_subject=2)
    splits = make_splits(patients, (5, 2, 2), (6, 2, 2), seed=0, folds=3)
    check_splits(splits, patients)
    torn = splits.assign(fold=splits["fold"].where(splits.index != 1, (splits["fold"] + 1) % 3))
    with pytest.raises(DataError, match="'s0000' lies in several folds"):
        check_splits(torn, patients)
    with pytest.raises(DataError, match="'p0001' no fold"):
        check_splits(splits.assign(fold=splits["fold"].where(splits.index != 1)), patients)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient": {0: "stranger"}}, "does not have"),
        ({"patient": {1: "p0000"}}, "more than once"),
        ({"subject": {0: "s0001"}}, "to subject"),
        ({"bones": {0: "holdout"}}, "unknown subset"),
        ({"detection": {0: "train", 1: "test"}}, "lies in several subsets"),
    ],
)
def test_a_leaking_split_is_refused(change: dict[str, dict[int, str]], message: str) -> None:
    patients = cohort(20, per_subject=2)
    splits = make_splits(patients, (5, 2, 2), (6, 2, 2), seed=0)
    check_splits(splits, patients)
    for column, values in change.items():
        for row, value in values.items():
            splits.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        check_splits(splits, patients)


def test_a_split_that_lacks_a_patient_or_a_column_is_refused() -> None:
    patients = cohort(20)
    splits = make_splits(patients, (5, 2, 2), (6, 2, 2), seed=0)
    with pytest.raises(DataError, match="lack patient 'p0019'"):
        check_splits(splits.head(19), patients)
    with pytest.raises(DataError, match="no column 'bones'"):
        check_splits(splits.drop(columns="bones"), patients)
    with pytest.raises(DataError, match="no column 'centre'"):
        make_splits(patients.drop(columns="centre"), (5, 2, 2), None, seed=0)
    with pytest.raises(DataError, match="impossible"):
        make_splits(patients, (0, 0, 0), None, seed=0)
