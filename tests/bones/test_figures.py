"""Figures of the bone networks carry what they are given, with units and the mark of simulated or real data."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from axspa_lib.bones.dice import dice_by_patient, dice_by_slice, dice_summary
from axspa_lib.bones.figures import (
    Case,
    annotation_curve,
    dice_by_bone,
    dice_by_position,
    dice_differences,
    gallery,
    learning_curves,
)
from axspa_lib.study.errors import DataError


def texts(figure: Figure) -> str:
    figure.savefig(BytesIO(), format="png", dpi=50)
    found = [text.get_text() for text in figure.findobj(Text)]
    return " | ".join(found)


def masks(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    reference = np.zeros((12, 32, 32), np.uint8)
    reference[:, 5:28, 2:10] = reference[:, 5:28, 22:30] = 2
    reference[4:, 8:24, 12:20] = 1
    noise = random.random(reference.shape) < 0.1
    return np.where(noise, 0, reference).astype(np.uint8), reference


@pytest.fixture(scope="module")
def slices() -> pd.DataFrame:
    return pd.concat([dice_by_slice(f"P{seed}", *masks(seed)) for seed in range(4)])


def history(epochs: int = 5) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame(
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 1.1 / epoch, "validation_dice": 1 - 0.5 / epoch}
    )


def test_learning_curves_show_every_network_and_ring_the_kept_epoch() -> None:
    figure = learning_curves({"sacrum": history(), "iliac": history(3)}, "phantom")
    shown = texts(figure)
    assert all(word in shown for word in ("epoch", "weighted cross entropy", "validation Dice", "iliac", "PHANTOM"))
    rings = [line.get_xdata()[0] for line in figure.axes[1].lines if line.get_markersize() == 10]
    assert rings == [5, 3]


def test_dice_by_bone_names_experiments_patients_and_the_published_values(slices: pd.DataFrame) -> None:
    summary = dice_summary(slices, n=50)
    figure = dice_by_bone(
        {"two networks": summary, "one network": summary},
        "real",
        patients={"two networks": dice_by_patient(slices), "one network": dice_by_patient(slices)},
        published={"sacrum": 0.67, "iliac": 0.84},
    )
    shown = texts(figure)
    assert all(word in shown for word in ("two networks", "one network", "published (DESIR)", "95 %", "REAL"))
    assert f"{summary.set_index('bone').dice['iliac']:.2f}" in shown
    with pytest.raises(DataError, match="no bone"):
        dice_by_bone({"nothing": summary.iloc[:0]}, "real")


def test_dice_by_position_counts_the_slices_that_show_each_bone(slices: pd.DataFrame) -> None:
    figure = dice_by_position(slices, "phantom", bins=4)
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert sum(heights[:4]) == 4 * 8 and sum(heights[4:]) == 4 * 12
    assert "0 anterior to 1 posterior" in texts(figure)


def test_annotation_curve_draws_both_bones(slices: pd.DataFrame) -> None:
    summary = dice_summary(slices, n=50)
    table = pd.concat([summary.assign(patients=n) for n in (4, 8, 12)])
    shown = texts(annotation_curve(table, "phantom", published={"sacrum": 0.67, "iliac": 0.84}))
    assert "annotated patients in training" in shown and "published" in shown and "all bone" not in shown


def test_gallery_shows_titles_and_legend_with_and_without_reference() -> None:
    predicted, reference = masks(0)
    image = np.random.default_rng(0).random((32, 32))
    cases = [
        Case("P0 slice 5, Dice 0.41", image, predicted[5], reference[5], (0.5, 1.0)),
        Case("P0 slice 0", image, np.zeros((32, 32), np.uint8)),
    ]
    shown = texts(gallery(cases, "real", columns=2))
    assert "P0 slice 5, Dice 0.41" in shown and "reference" in shown and "sacrum, predicted" in shown
    assert "reference" not in texts(gallery(cases[1:], "real"))
    assert "make book PROFILE" in texts(gallery([], "real"))


def test_differences_are_drawn_for_every_variant_but_the_one_compared_with() -> None:
    columns = ["networks", "bone", "difference", "difference_low", "difference_high"]
    rows = [("own", "iliac", np.nan, np.nan, np.nan), ("own", "sacrum", np.nan, np.nan, np.nan)]
    rows += [("few", "iliac", -0.1, -0.2, -0.05), ("few", "sacrum", 0.02, -0.01, 0.05)]
    axis = dice_differences(pd.DataFrame(rows, columns=columns), "phantom", "own").axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["few"]
    drawn = [line for line in axis.lines if line.get_marker() in ("o", "s")]
    assert sorted(float(line.get_xdata()[0]) for line in drawn) == [-0.1, 0.02]
