"""Measurements of one examination and their repeatability, against figures by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from axspa_lib.real_mri import change
from axspa_lib.study.volume import Volume


def test_measurements_by_hand() -> None:
    bones, joint = np.zeros((3, 10, 10), np.uint8), np.zeros((3, 10, 10), np.uint8)
    bones[:, :, :4], bones[:, :, 6:] = 1, 2
    joint[:2, 2:7, 3:7] = 1  # two of three slices show a joint
    image = np.where(bones == 1, 100.0, 200.0)
    image[joint > 0] = 300.0
    t1 = Volume(image.astype(np.float32), np.diag([4.0, 0.5, 2.0, 1.0]))
    found = change.measure(t1, t1.like(bones), t1.like(joint))
    voxel = 4 * 0.5 * 2 / 1000
    assert found["sacrum"] == pytest.approx(2 * 40 * voxel) and found["iliac"] == pytest.approx(2 * 40 * voxel)
    assert found["joint"] == pytest.approx(2 * 20 * voxel) and found["joint_slices"] == 2
    # far from the joint: 35 sacral pixels of 100 and 35 iliac ones of 200 a slice; their median lies between
    assert found["joint_signal"] == pytest.approx(300 / 150)


def test_nothing_found_is_not_a_number_instead_of_a_fault() -> None:
    empty = Volume(np.zeros((2, 8, 8), np.uint8), np.eye(4))
    found = change.measure(empty, empty, empty)
    assert found["joint"] == 0 and np.isnan(found["joint_signal"])


def test_only_subjects_with_both_scans_are_pairs_and_their_error_is_by_hand() -> None:
    rows = [("1pre", "1", "pre", 10.0), ("2post", "1", "post", 12.0), ("3pre", "3", "pre", 20.0),
            ("4post", "3", "post", 20.0), ("5pre", "5", "pre", 99.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["patient", "subject", "session", "sacrum"])
    for name in change.MEASURES:
        table[name] = table["sacrum"]
    paired = change.pairs(table)
    assert sorted(set(paired["subject"])) == ["1", "3"] and len(paired) == 2 * len(change.MEASURES)
    repeat = change.repeatability(paired).set_index("measure").loc["sacrum"]
    within = np.sqrt((2**2 + 0) / 2 / 2)
    assert (repeat["subjects"], repeat["bias"], repeat["mean"]) == (2, 1.0, 15.5)
    assert repeat["within"] == pytest.approx(within)
    assert repeat["coefficient"] == pytest.approx(2.77 * within, rel=1e-3)
    assert repeat["cv"] == pytest.approx(100 * within / 15.5)
    assert repeat["between"] == pytest.approx(np.std([11, 20], ddof=1))
    assert change.repeatability(paired.iloc[:0]).empty
