"""The phantom's figures draw what they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd

from axspa_lib.realism import figures as phantom
from axspa_lib.realism.contrast import compare
from axspa_lib.realism.results import ScoredSlice
from axspa_lib.study.labels import MARKS


def stack(slices: int) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    rng = np.random.default_rng(0)
    return rng.random((slices, 12, 12)), rng.random((slices, 12, 12)), (4.0, 1.0, 1.0)


def test_beside_real_shows_both_sequences_of_both_from_front_to_back() -> None:
    figure = phantom.beside_real(stack(9), stack(15), columns=4)
    assert len(figure.axes) == 16
    assert [axis.get_title() for axis in figure.axes[::4]] == [
        "T1, PHANTOM",
        "T1, REAL MRI",
        "STIR, PHANTOM",
        "STIR, REAL MRI",
    ]
    assert figure.texts[0].get_text() == MARKS["both"]


def test_phantom_and_real_are_shown_in_one_field_and_one_window() -> None:
    wide = (*(np.ones((5, 130, 130)),) * 2, (4.0, 2.0, 2.0))  # 260 mm
    near = (*(np.full((5, 160, 160), 0.1),) * 2, (4.0, 1.0, 1.0))  # 160 mm, of which there is no more
    axes = phantom.beside_real(wide, near, columns=2).axes
    assert [axes[row * 2].images[0].get_array().shape for row in range(4)] == [(100, 100), (160, 160)] * 2
    limits = [axes[row * 2].images[0].get_clim() for row in range(4)]
    assert limits[0] == limits[1] and limits[2] == limits[3] and limits[0][0] == 0


def test_a_person_at_two_times_is_shown_in_one_window_with_the_inflammation_outlined() -> None:
    stir = np.ones((2, 60, 60)) * np.arange(1, 61)
    active = np.zeros((2, 60, 60), bool)
    active[0, 20:30, 20:30] = True
    images = {"stir": stir * np.array([1, 3])[:, None, None], "active": active, "spacing": np.full(2, 2.0)}
    axes = phantom.follow_up(images).axes
    assert len({axis.images[0].get_clim() for axis in axes}) == 1
    assert [len(axis.collections) for axis in axes] == [0, 0, 1, 0]


def test_contrast_and_readers_draw_one_mark_per_figure_and_pair() -> None:
    ours = pd.DataFrame({"T1_fat": [2.0, 2.2], "STIR_fat": [1.2, 1.4], "T1_edge": [0.2, 0.3]})
    figure = phantom.contrast(compare(ours, ours * 1.1))
    assert [len(axis.lines) for axis in figure.axes] == [6, 3]
    table = pd.DataFrame({"first": ["1"], "second": ["2"], "patient": [0.8], "published_patient": [0.9]})
    assert len(phantom.readers(table).axes) == 1


def test_history_has_a_point_for_every_change_and_a_line_for_every_aim() -> None:
    table = pd.DataFrame({"sacrum": [0.2, 0.4, 0.5], "iliac": [0.3, 0.6, 0.7]})
    axis = phantom.dice_history(table, {"sacrum": 0.5, "iliac": 0.6}).axes[0]
    assert [list(line.get_ydata()) for line in axis.lines[::2]] == [[0.2, 0.4, 0.5], [0.3, 0.6, 0.7]]
    assert [line.get_ydata()[0] for line in axis.lines[1::2]] == [0.5, 0.6]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "2", "this run"]


def test_every_patient_is_a_point_and_every_group_a_bar() -> None:
    scores = pd.DataFrame({"sequence": ["T1"] * 3 + ["STIR"] * 2, "patient": list("abcab"),
                           "score": [0.1, 0.2, 0.9, 0.5, 0.5], "real": [False, False, True, False, True]})  # fmt: skip
    groups = pd.DataFrame({"sequence": ["T1", "T1", "STIR"], "looks_at": ["texture", "symmetry", "texture"],
                           "auc": [0.9, 0.5, 0.8]})  # fmt: skip
    figure = phantom.classifier_scores(scores, groups)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [2, 1]
    assert [len(axis.patches) for axis in figure.axes[1::2]] == [2, 1]


def test_mistaken_slices_tell_their_kind_and_score() -> None:
    cases = [ScoredSlice(0.3, np.random.default_rng(0).random((9, 9)), (1.0, 1.0)) for real in (False, True)]
    figure = phantom.mistaken(cases[:1], cases[1:])
    assert [axis.get_title() for axis in figure.axes] == ["PHANTOM, 0.30", "REAL MRI, 0.30"]


def test_a_figure_without_images_names_the_command_that_makes_them() -> None:
    for figure in (phantom.beside_real(stack(9), None), phantom.follow_up(None), phantom.mistaken([], [])):
        assert "make book PROFILE=public" in figure.axes[0].texts[0].get_text()
