"""The success criterion of section 4.1 at its limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from axspa_lib.joint.increment import COLUMNS, accept, missed_half_slices, widest_window
from axspa_lib.study.config import Increment
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


def joints(*without: tuple[int, str], slices: int = 8) -> Volume:
    """A joint of three pixels on either side of every slice but for the half-slices given."""
    array = np.zeros((slices, 10, 20), np.uint8)
    array[:, 4:7, 3], array[:, 4:7, 15] = 1, 2
    for index, side in without:
        array[index][array[index] == {"R": 1, "L": 2}[side]] = 0
    return Volume(array, np.diag([5.0, 0.9, 0.9, 1.0]))


def chosen(patient: str = "a", slices: range = range(1, 7), readers: str = "12") -> pd.DataFrame:
    """Six consecutive slices, both sides, by every reader."""
    rows = [(patient, index, side, reader, 0) for index in slices for side in "RL" for reader in readers]
    return pd.DataFrame(rows, columns=["patient", "slice", "side", "reader", "inflammation"])


def test_a_half_slice_chosen_by_several_readers_counts_once() -> None:
    assert missed_half_slices(joints((2, "R")), chosen(readers="123")) == 1
    assert missed_half_slices(joints((2, "R"), (2, "L"), (6, "L")), chosen()) == 3


def test_only_what_the_readers_chose_counts() -> None:
    assert missed_half_slices(joints((0, "R"), (0, "L"), (7, "L")), chosen()) == 0


def test_sides_are_the_patients() -> None:
    right = chosen().query("side == 'R'")
    assert missed_half_slices(joints((3, "R")), right) == 1
    assert missed_half_slices(joints((3, "L")), right) == 0


def test_one_missed_is_accepted_and_two_are_not() -> None:
    volumes = {"none": joints(), "one": joints((1, "L")), "two": joints((1, "L"), (4, "R"))}
    table = accept(volumes, pd.concat([chosen(name) for name in volumes]), set(), Increment())
    assert list(table.columns) == COLUMNS
    assert table["patient"].tolist() == list(volumes)
    assert table["missed"].tolist() == [0, 1, 2]
    assert table["half_slices"].tolist() == [12, 12, 12]
    assert table["accepted"].tolist() == [True, True, False]
    assert set(table["source"]) == {"predicted"}
    strict = accept(volumes, pd.concat([chosen(name) for name in volumes]), set(), Increment(max_missed=0))
    assert strict["accepted"].tolist() == [True, False, False]


def test_manual_patients_are_in_whatever_the_criterion_says() -> None:
    bad = joints(*[(index, side) for index in range(8) for side in "RL"])
    table = accept(iter([("a", bad), ("b", bad)]), pd.concat([chosen("a"), chosen("b")]), {"a"}, Increment())
    assert table["source"].tolist() == ["manual", "predicted"]
    assert table["accepted"].tolist() == [True, False]
    assert table["missed"].tolist() == [12, 12]


def test_a_patient_nobody_read_cannot_be_judged() -> None:
    table = accept({"a": joints(), "m": joints()}, chosen("other"), {"m"}, Increment())
    assert table["half_slices"].tolist() == [0, 0]
    assert table["accepted"].tolist() == [False, True]


def test_names_that_look_like_numbers_are_names() -> None:
    table = accept({"1007": joints()}, chosen("x").assign(patient=1007), set(), Increment())
    assert table["accepted"].tolist() == [True]
    assert table["patient"].tolist() == ["1007"]


def test_no_patients() -> None:
    table = accept({}, chosen(), set(), Increment())
    assert list(table.columns) == COLUMNS
    assert table.empty
    assert int(table.accepted.sum()) == 0


@pytest.mark.parametrize(("index", "side"), [(8, "R"), (-1, "L"), (2, "left")])
def test_half_slices_that_do_not_exist_name_the_patient(index: int, side: str) -> None:
    table = chosen().iloc[:1].assign(slice=index, side=side)
    with pytest.raises(DataError, match=rf"patient a: half-slice {index} {side}"):
        accept({"a": joints()}, table, set(), Increment())


def test_the_window_lies_where_the_joint_is_largest() -> None:
    volume = joints(*[(index, side) for index in (0, 1, 8, 9, 10) for side in "RL"], (4, "L"), slices=11)
    window = widest_window("a", volume)
    assert sorted(set(window["slice"])) == [2, 3, 4, 5, 6, 7]
    assert missed_half_slices(volume, window) == 1
    thin = Volume(volume.array, np.diag([3.3, 0.6, 0.6, 1.0]))
    assert widest_window("a", thin)["slice"].nunique() == 9
    shallow = Volume(volume.array[:3], volume.affine)
    assert widest_window("a", shallow)["slice"].tolist() == [0, 0, 1, 1, 2, 2]
