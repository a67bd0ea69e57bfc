"""The phantom's figures draw what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd

from axspa_lib.figures import phantom
from axspa_lib.phantom.measure import compare


def stack(slices: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    rng = np.random.default_rng(0)
    return rng.random((slices, 12, 12)), rng.random((slices, 12, 12)), (4.0, 1.0, 1.0)


def test_beside_real_shows_both_sequences_of_both_from_front_to_back() -> None:
    figure = phantom.beside_real(stack(9), stack(15), columns=4)
    assert len(figure.axes) == 16
    assert [axis.get_title() for axis in figure.axes[::4]] == ["T1, phantom", "T1, real", "STIR, phantom", "STIR, real"]
    assert "PHANTOM" in figure.texts[0].get_text()


def test_truth_outlines_bones_joint_and_lesions() -> None:
    labels = np.zeros((5, 12, 12), np.uint8)
    labels[2, 3:6, 3:6], labels[2, 3:6, 7:10] = 1, 2
    figure = phantom.truth(*stack(5)[:2], labels, labels == 1, labels == 2, slices=[1, 2])
    assert len(figure.axes[1].collections) == 3 and len(figure.axes[3].collections) == 1
    assert not figure.axes[0].collections


def test_contrast_and_readers_draw_one_mark_per_figure_and_pair() -> None:
    ours = pd.DataFrame({"T1_fat": [2.0, 2.2], "STIR_fat": [1.2, 1.4], "T1_edge": [0.2, 0.3]})
    figure = phantom.contrast(compare(ours, ours * 1.1))
    assert [len(axis.lines) for axis in figure.axes] == [6, 3]
    table = pd.DataFrame({"first": ["1"], "second": ["2"], "patient": [0.8], "published_patient": [0.9]})
    assert len(phantom.readers(table).axes) == 1
