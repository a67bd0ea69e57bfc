"""Figures of real MRI draw every half-slice and every examination that they are given."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from axspa_lib.real_mri import figures as real
from axspa_lib.real_mri.results import window
from axspa_lib.study.labels import MARKS


def test_every_half_slice_is_a_marker_and_examinations_stand_by_their_share() -> None:
    rows = [("b", 1, 0.9), ("b", 1, 0.7), ("b", 0, 0.1), ("a", 0, 0.2), ("a", 0, 0.4), ("a", 1, 0.3)]
    judged = pd.DataFrame(rows, columns=["patient", "inflammation", "p_inflamed"])
    figure = real.probabilities(judged)
    figure.savefig(io.BytesIO(), format="png")
    axis = figure.axes[0]
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    assert sorted(drawn) == sorted(judged["p_inflamed"])
    names = [text.get_text() for text in axis.get_xticklabels()]
    assert [name.split("\n")[0] for name in names] == ["a", "b"] and "33%" in names[0] and "67%" in names[1]
    assert any(text.get_text() == MARKS["real"] for text in figure.findobj(lambda item: hasattr(item, "get_text")))


def test_the_window_holds_the_mask_and_its_margin_within_the_image() -> None:
    mask = np.zeros((3, 40, 50), bool)
    mask[1, 10:12, 45] = True
    rows, columns = window(mask, (1.0, 0.5), margin_mm=4.0)
    assert (rows.start, rows.stop) == (6, 16) and (columns.start, columns.stop) == (37, 50)
    assert window(np.zeros_like(mask), (1.0, 1.0)) == (slice(0, 40), slice(0, 50))
