"""Figures of the phantom: beside real scans, its truth, its contrast and its readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.realism.results import ScoredSlice, Stack
from axspa_lib.study.plotting import COLOURS, mark, new_figure, outline, show_slice

Array = NDArray[np.floating]


_NAMES = {
    "muscle": "other muscle / muscle", "fat": "deep fat / muscle", "csf": "CSF / muscle", "marrow": "marrow / muscle",
    "oedema": "oedema / marrow", "noise": "noise / muscle", "bias": "shading p95 / p5", "edge": "edge width (mm)",
}  # fmt: skip

#: What is shown white beside real scans, in signals of muscle, on T1 and on STIR: what one sees depends on it.
WHITE = (3.2, 4.2)
#: Side of the field shown beside real scans, mm: that of the public collection.
FIELD_MM = 200.0


def spread(count: int, columns: int, low: float = 0.08, high: float = 0.92) -> list[int]:
    """`columns` slice indices from ventral to dorsal.

    >>> spread(20, 3)
    [2, 10, 17]
    """
    return [round(v * (count - 1)) for v in np.linspace(low, high, columns)]


def beside_real(phantom: Stack | None, real: Stack | None, columns: int = 7) -> Figure:
    """Draw phantom and real slices from ventral to dorsal, both sequences, in the same field and window.

    Args:
        phantom, real: T1, STIR `(slice, row, column)` over the signal of muscle, and spacing in mm; or None.
        columns: slices shown of each.
    """
    if phantom is None or real is None:
        return _no_images()
    figure, axes = new_figure(4, columns, width=1.55 * columns, height=6.9)
    for row, (stack, name) in enumerate(((phantom, "PHANTOM"), (real, "REAL MRI"))):
        for column, k in enumerate(spread(stack[0].shape[0], columns)):
            for index, volume in enumerate(stack[:2]):
                title = f"{('T1', 'STIR')[index]}, {name}" if column == 0 else f"slice {k}"
                axis, spacing = axes[row + 2 * index, column], stack[2][1:]
                show_slice(axis, _middle(volume[k], spacing), spacing, title)
                axis.images[0].set_clim(0, WHITE[index])
    mark(figure, "both")
    return figure


def follow_up(images: Mapping[str, Array] | None) -> Figure:
    """Draw STIR of one person at two times in one window, below with outlines of the true inflammation.

    Args:
        images: `stir` and `active` `(time, row, column)`, `spacing` of a pixel in mm; or None.
    """
    if images is None:
        return _no_images()
    stir, active, (row_mm, column_mm) = images["stir"], images["active"], images["spacing"]
    spacing = (float(row_mm), float(column_mm))
    figure, axes = new_figure(2, 2, width=7.6, height=8.0)
    white = np.percentile(stir[0], 99.7)
    for time, when in enumerate(("first time", "second time")):
        for row, title in enumerate((f"STIR, {when}", "with the true inflammation")):
            show_slice(axes[row, time], _middle(stir[time], spacing), spacing, title)
            axes[row, time].images[0].set_clim(0, white)
        outline(axes[1, time], _middle(active[time], spacing), "inflamed")
    mark(figure, "phantom")
    return figure


def contrast(table: pd.DataFrame) -> Figure:
    """Draw the phantom's medians within the range of the real scans.

    Args:
        table: of `axspa_lib.realism.contrast.compare`.
    """
    names = [name for name in _NAMES if name in set(table["figure"])]
    figure, axes = new_figure(1, 2, width=7.6, height=0.34 * len(names) + 1.0, sharey=True)
    for axis, sequence in zip(axes[0], ("T1", "STIR"), strict=True):
        rows = table[table["sequence"] == sequence].set_index("figure")
        for index, name in enumerate(names):
            if name not in rows.index:
                continue
            row = rows.loc[name]
            axis.plot([row["real_low"], row["real_high"]], [index] * 2, color=COLOURS["neutral"], linewidth=5,
                      alpha=0.5, solid_capstyle="butt", label="real, range" if index == 0 else None)  # fmt: skip
            axis.plot(row["real"], index, "|", color=COLOURS["published"], markersize=11, markeredgewidth=2,
                      label="real, median" if index == 0 else None)  # fmt: skip
            axis.plot(row["phantom"], index, "o", color=COLOURS["model"], markersize=6,
                      label="phantom, median" if index == 0 else None)  # fmt: skip
        axis.set_xscale("log")
        axis.set_title(sequence)
        axis.set_xlabel("value (ratio, or mm for edges)")
        axis.set_yticks(range(len(names)), [_NAMES[name] for name in names])
    axes[0, 0].invert_yaxis()
    axes[0, 1].legend(loc="upper left", fontsize=7)
    mark(figure, "both")
    return figure


def readers(table: pd.DataFrame) -> Figure:
    """Draw the agreement of simulated pairs of readers next to the published one.

    Args:
        table: of `axspa_lib.realism.reader_calibration.calibration_table`.
    """
    kinds = [kind for kind in ("patient", "half_slice") if f"published_{kind}" in table]
    figure, axes = new_figure(1, len(kinds), width=3.8 * len(kinds), height=2.8, sharey=True)
    labels = [f"{a}–{b}" for a, b in zip(table["first"], table["second"], strict=True)]
    for axis, kind in zip(axes[0], kinds, strict=True):
        axis.plot(labels, table[f"published_{kind}"], "D", color=COLOURS["published"], label="published", markersize=5)
        axis.plot(labels, table[kind], "o", color=COLOURS["reader"], label="phantom", markersize=7, fillstyle="none",
                  markeredgewidth=2)  # fmt: skip
        axis.set_title({"patient": "patients", "half_slice": "half-slices, unanimous patients"}[kind])
        axis.set_xlabel("pair of readers")
        axis.set_ylim(0, 1)
    axes[0, 0].set_ylabel("MCC")
    axes[0, 0].legend(loc="lower left")
    mark(figure, "phantom")
    return figure


def dice_history(table: pd.DataFrame, aims: Mapping[str, float]) -> Figure:
    """Draw Dice on real scans of phantom-only networks by change of the phantom, with the aims dotted.

    Args:
        table: `sacrum, iliac` by change of the phantom, in order; the last row is this run's.
        aims: by bone.
    """
    figure, axes = new_figure(width=5.2, height=2.8)
    axis = axes[0, 0]
    positions = [*(str(number) for number in range(1, len(table))), "this run"]
    for (bone, aim), marker, style in zip(aims.items(), "so", ("-", "--"), strict=True):
        axis.plot(positions, table[bone], marker=marker, linestyle=style, color=COLOURS[bone], label=bone)
        axis.axhline(aim, color=COLOURS[bone], linestyle=":", linewidth=1)
    axis.set_ylim(0, 1)
    axis.set_xlabel("change of the phantom (table above)")
    axis.set_ylabel("Dice on real T1 scans")
    axis.legend(loc="lower right")
    mark(figure, "real")
    return figure


def classifier_scores(scores: pd.DataFrame, looks_at: pd.DataFrame) -> Figure:
    """Draw the classifier's mean score of every patient (left) and the result of each feature group alone (right).

    Args:
        scores: `sequence, patient, real, score` by patient; 1 is surely real.
        looks_at: `sequence, looks_at, auc`.
    """
    figure, axes = new_figure(2, 2, width=7.6, height=4.6)
    for row, sequence in enumerate(("T1", "STIR")):
        points, bars = axes[row]
        mine = scores[scores["sequence"] == sequence]
        for height, (real, marker, colour) in enumerate(((False, "o", "model"), (True, "D", "published"))):
            shown = mine.loc[mine["real"] == real, "score"].sort_values().to_numpy()
            spreaded = height + np.resize([-0.18, -0.06, 0.06, 0.18], len(shown))
            points.plot(shown, spreaded, marker, color=COLOURS[colour], markersize=4, alpha=0.7)
        points.set_yticks([0, 1], ["phantom", "real"])
        points.set_xlim(-0.02, 1.02)
        points.set_ylim(-0.5, 1.5)
        points.set_title(sequence)
        groups = looks_at[looks_at["sequence"] == sequence].sort_values("auc")
        bars.barh(groups["looks_at"], groups["auc"], color=COLOURS["neutral"])
        bars.axvline(0.5, color="black", linestyle=":", linewidth=1)
        bars.set_xlim(0, 1)
        bars.set_title(f"{sequence}, one group of features")
    axes[1, 0].set_xlabel("mean score of a patient (1: surely real)")
    axes[1, 1].set_xlabel("area under the curve (0.5: cannot tell)")
    mark(figure, "both")
    return figure


def mistaken(phantom: Sequence[ScoredSlice], real: Sequence[ScoredSlice]) -> Figure:
    """Draw phantom slices that the classifier took for real (above) and real slices taken for phantom (below).

    Args:
        phantom, real: slices with their scores.
    """
    if not phantom or not real:
        return _no_images()
    columns = max(len(phantom), len(real))
    figure, axes = new_figure(2, columns, width=1.9 * columns, height=4.4)
    for row, (cases, name) in enumerate(((phantom, "PHANTOM"), (real, "REAL MRI"))):
        for axis in axes[row]:
            axis.set_axis_off()
        for axis, case in zip(axes[row], cases, strict=False):
            show_slice(axis, case.image, case.spacing, f"{name}, {case.score:.2f}")
    mark(figure, "both")
    return figure


def _no_images() -> Figure:
    """Say that the images are not part of the repository, and which command makes them."""
    figure, axes = new_figure(width=7.2, height=1.2)
    axes[0, 0].set_axis_off()
    words = "These images do not come with the repository.\n`make book PROFILE=public` makes them."
    axes[0, 0].text(0.5, 0.5, words, ha="center", va="center")
    return figure


def _middle(image: Array, spacing: tuple[float, float]) -> Array:
    """The middle `FIELD_MM` of a slice, or what there is of it."""
    rows, columns = (min(n, round(FIELD_MM / mm)) for n, mm in zip(image.shape, spacing, strict=True))
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return image[top : top + rows, left : left + columns]
