"""Figures of the public collection draw what their inputs say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from axspa_lib.curation.vhi.bone_split import BoneSplit
from axspa_lib.curation.vhi.figures import draw_agreement_by_area, draw_split, draw_splits
from axspa_lib.curation.vhi.report import agreement_by_area
from axspa_lib.curation.vhi.source import READERS
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import SIDES
from axspa_lib.study.plotting import new_figure
from axspa_lib.study.runs import REPOSITORY
from axspa_lib.study.volume import Volume


def test_a_contact_sheet_shows_every_slice_with_bone_and_says_what_is_not_trusted() -> None:
    grid = np.diag([4.0, 1.0, 1.0, 1.0])
    bones = np.zeros((5, 40, 60), np.uint8)
    bones[1:4, 10:30, 20:40] = 1
    bones[1:4, 10:30, 5:19] = 2
    joint = np.zeros_like(bones)
    joint[1:4, 10:30, 19] = 1
    trusted = pd.DataFrame({"slice": [1, 2, 3], "side": ["R", "R", "R"], "trusted": [True, False, True]})
    split = BoneSplit(Volume(bones, grid), Volume(joint, grid), trusted)
    figure, axes = new_figure(2, 2)
    draw_split(axes.ravel(), Volume(np.random.default_rng(0).random(bones.shape), grid), split)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["1", "2: R not trusted", "3"]
    points = [line for axis in figure.axes for line in axis.lines if len(line.get_xdata())]
    assert len(points) == 3 and set(points[0].get_xdata()) == {19}


def test_a_cohort_without_images_says_so() -> None:
    figure = draw_splits(Cohort(REPOSITORY / "book" / "stored" / "public" / "cohorts" / "vhi"))
    assert "the images of vhi do not come with the repository" in figure.axes[0].texts[0].get_text()


def test_agreement_is_drawn_with_its_intervals() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (f"p{i}", reader, z, side, "iliac_upper", float(area * rng.lognormal(0, 0.5)))
        for i in range(5)
        for z in range(8)
        for side in SIDES
        for area in [rng.gamma(0.5, 60)]
        for reader in READERS
    ]
    areas = pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "area_mm2"])
    table = agreement_by_area(areas, minima=(0, 10, 50), samples=100)
    figure = draw_agreement_by_area(table)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_xticklabels()] == ["0", "10", "50"] and "mm²" in left.get_xlabel()
    drawn = left.containers[0].lines[0].get_ydata()
    assert drawn == pytest.approx(table[table["pair"] == "R1-R2"]["mcc"].to_numpy())
    bars = left.containers[0].lines[2][0].get_segments()
    expected = table[table["pair"] == "R1-R2"][["low", "high"]].to_numpy()
    assert np.allclose([[bar[0][1], bar[1][1]] for bar in bars], expected, atol=1e-9)
    assert len(right.containers) == 4  # each trial of reader 1 with each of reader 2, intervals too
    pair = table[table["pair"] == right.containers[0].get_label()]
    bars = right.containers[0].lines[2][0].get_segments()
    assert np.allclose([[bar[0][1], bar[1][1]] for bar in bars], pair[["low", "high"]].to_numpy(), atol=1e-9)
