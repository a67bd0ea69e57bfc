"""Dice by slice and by patient against hand counts and scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from axspa_lib.bones.dice import check_bones, dice, dice_by_patient, dice_by_slice, dice_difference, dice_summary
from axspa_lib.study.errors import DataError

REFERENCE = np.array([[[1, 1, 0], [0, 2, 2], [0, 0, 0]]], np.uint8)
PREDICTED = np.array([[[1, 2, 0], [1, 2, 0], [0, 0, 0]]], np.uint8)


def row(table: pd.DataFrame, bone: str) -> pd.Series:
    return table[table.bone == bone].iloc[0]


def test_hand_counted_slice() -> None:
    table = dice_by_slice("P1", PREDICTED, REFERENCE)
    assert list(table.columns) == ["patient", "slice", "bone", "tp", "fp", "fn", "dice"]
    assert row(table, "sacrum")[["tp", "fp", "fn"]].tolist() == [1, 1, 1]
    assert row(table, "iliac")[["tp", "fp", "fn"]].tolist() == [1, 1, 1]
    assert row(table, "any")[["tp", "fp", "fn"]].tolist() == [3, 1, 1]
    assert row(table, "sacrum").dice == 0.5
    assert row(table, "any").dice == 0.75


def test_bone_absent_and_not_predicted_is_undefined_and_not_counted() -> None:
    iliac_only = np.where(REFERENCE == 2, REFERENCE, 0)
    table = dice_by_slice("P1", np.concatenate([PREDICTED, iliac_only]), np.concatenate([REFERENCE, iliac_only]))
    assert table[(table.slice == 1) & (table.bone == "sacrum")].dice.isna().all()
    assert table[table.bone == "sacrum"].dice.mean() == 0.5
    missed = dice_by_slice("P1", np.zeros_like(REFERENCE), REFERENCE)
    assert (missed.dice == 0).all()
    invented = dice_by_slice("P1", REFERENCE, iliac_only)
    assert row(invented, "sacrum").dice == 0


def test_slice_without_any_bone_is_not_annotated_and_has_no_rows() -> None:
    empty = np.zeros_like(REFERENCE)
    table = dice_by_slice("P1", np.concatenate([PREDICTED, PREDICTED]), np.concatenate([empty, REFERENCE]))
    assert table.slice.unique().tolist() == [1]


def test_patient_dice_comes_from_summed_counts() -> None:
    tables = [dice_by_slice(p, np.concatenate([PREDICTED, REFERENCE]), np.concatenate([REFERENCE] * 2)) for p in "AB"]
    patients = dice_by_patient(pd.concat(tables))
    assert len(patients) == 6
    sacrum = patients[(patients.patient == "A") & (patients.bone == "sacrum")].iloc[0]
    assert (sacrum.tp, sacrum.fp, sacrum.fn, sacrum.slices) == (3, 1, 1, 2)
    assert sacrum.dice == dice(3, 1, 1) == 0.75


masks = arrays(np.uint8, (3, 4, 5), elements=st.integers(0, 2))


@settings(deadline=None)
@given(masks, masks)
def test_equals_scikit_learn_and_is_symmetric(predicted: np.ndarray, reference: np.ndarray) -> None:
    table, swapped = dice_by_slice("P", predicted, reference), dice_by_slice("P", reference, predicted)
    both = table.merge(swapped, on=["slice", "bone"])
    np.testing.assert_array_equal(both.dice_x, both.dice_y)
    for value, bone in ((1, "sacrum"), (2, "iliac")):
        for index, found in table[table.bone == bone].set_index("slice").dice.items():
            truth, guess = (mask[index].ravel() == value for mask in (reference, predicted))
            expected = f1_score(truth, guess, zero_division=np.nan)
            assert found == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((2, 2), np.uint8), "3 dimensions"),
        (np.zeros((0, 2, 2), np.uint8), "empty"),
        (np.zeros((1, 2, 2), np.int64), "int64"),
        (np.full((1, 2, 2), 3, np.uint8), "holds 3"),
    ],
)
def test_what_is_not_a_bone_mask_is_refused_in_one_sentence(mask: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words) as refusal:
        check_bones(mask, "bone mask of patient P7")
    assert "P7" in str(refusal.value) and "\n" not in str(refusal.value)


def test_two_dimensions_where_a_slice_is_meant() -> None:
    check_bones(REFERENCE[0], "slice", dimensions=2)
    with pytest.raises(DataError, match="2 dimensions"):
        check_bones(REFERENCE, "slice", dimensions=2)


def test_other_grids_are_refused_and_name_the_patient() -> None:
    with pytest.raises(DataError, match=r"patient P9.*different grids"):
        dice_by_slice("P9", PREDICTED, np.zeros((1, 4, 3), np.uint8))


def counts(patients: dict[str, tuple[int, int, int]], bone: str = "iliac") -> pd.DataFrame:
    rows = [(patient, 0, bone, *numbers, dice(*numbers)) for patient, numbers in patients.items()]
    return pd.DataFrame(rows, columns=["patient", "slice", "bone", "tp", "fp", "fn", "dice"])


def test_summary_is_the_mean_of_patients_with_an_interval_around_it() -> None:
    table = counts({"A": (8, 2, 2), "B": (6, 4, 4), "C": (7, 3, 3), "D": (0, 0, 0)})
    summary = dice_summary(table).iloc[0]
    assert summary["dice"] == pytest.approx(0.7) and summary["patients"] == 3
    assert 0.6 - 1e-9 <= summary["low"] < 0.7 < summary["high"] <= 0.8 + 1e-9
    pd.testing.assert_frame_equal(dice_summary(table), dice_summary(table))


def test_difference_pairs_the_patients_and_leaves_out_those_of_one_side_only() -> None:
    first = counts({"A": (8, 2, 2), "B": (6, 4, 4), "C": (7, 3, 3)})
    second = counts({"C": (6, 4, 4), "A": (7, 3, 3), "X": (9, 1, 1)})
    found = dice_difference(first, second).iloc[0]
    assert found["patients"] == 2 and found["difference"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.1)
    assert 0 < found["p_value"] <= 1
