"""Figures of the phantom: beside real scans, its truth, its contrast and its readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.study.plotting import COLOURS, mark, new_figure, outline, show_slice

Array = NDArray[np.floating]
Stack = tuple[Array, Array, tuple[float, float, float]]


class Judged(Protocol):
    """A slice and the classifier's score of it (`likeness_results.Judged`)."""

    @property
    def score(self) -> float:
        """1 is surely real."""
        ...

    @property
    def image(self) -> Array:
        """`(row, column)`."""
        ...

    @property
    def spacing(self) -> tuple[float, float]:
        """mm."""
        ...


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


def beside_real(phantom: Stack, real: Stack, columns: int = 7) -> Figure:
    """Phantom and real slices from ventral to dorsal, both sequences: the same field in the same window.

    Args:
        phantom, real: T1, STIR `(slice, row, column)` over the signal of muscle, and spacing in mm.
        columns: slices shown of each.
    """
    figure, axes = new_figure(4, columns, width=1.55 * columns, height=6.9)
    for row, (stack, name) in enumerate(((phantom, "PHANTOM"), (real, "REAL MRI"))):
        for column, k in enumerate(spread(stack[0].shape[0], columns)):
            for place, volume in enumerate(stack[:2]):
                title = f"{('T1', 'STIR')[place]}, {name}" if column == 0 else f"slice {k}"
                axis, spacing = axes[row + 2 * place, column], stack[2][1:]
                show_slice(axis, _middle(volume[k], spacing), spacing, title)
                axis.images[0].set_clim(0, WHITE[place])
    mark(figure, "both")
    return figure


def truth(t1: Array, stir: Array, bones: Array, joint: Array, lesions: Array, slices: Sequence[int],
          spacing: tuple[float, float] = (1.0, 1.0)) -> Figure:  # fmt: skip
    """Slices with the outlines of bones and joint (T1) and of the lesions (STIR).

    Args:
        t1, stir, bones, joint, lesions: `(slice, row, column)` on one grid.
        slices: which slices; `spacing` of a pixel in mm.
    """
    figure, axes = new_figure(2, len(slices), width=1.9 * len(slices), height=4.2)
    for column, k in enumerate(slices):
        show_slice(axes[0, column], _window(t1, k), spacing, f"slice {k}")
        outline(axes[0, column], bones[k] == 1, "sacrum")
        outline(axes[0, column], bones[k] == 2, "iliac")
        outline(axes[0, column], joint[k] > 0, "joint")
        show_slice(axes[1, column], _window(stir, k), spacing)
        outline(axes[1, column], lesions[k] > 0, "inflamed")
    mark(figure, "phantom")
    return figure


def follow_up(stir: Array, active: Array, spacing: tuple[float, float]) -> Figure:
    """STIR of one person at two times in one window, below with the true outlines of the inflammation.

    Args:
        stir: `(time, row, column)`; `active` the true inflammation on it.
        spacing: of a pixel in mm.
    """
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
    """The phantom's medians within the range of the real scans.

    Args:
        table: of `axspa_lib.realism.contrast.compare`.
    """
    names = [name for name in _NAMES if name in set(table["figure"])]
    figure, axes = new_figure(1, 2, width=7.6, height=0.34 * len(names) + 1.0, sharey=True)
    for axis, sequence in zip(axes[0], ("T1", "STIR"), strict=True):
        rows = table[table["sequence"] == sequence].set_index("figure")
        for place, name in enumerate(names):
            if name not in rows.index:
                continue
            row = rows.loc[name]
            axis.plot([row["real_low"], row["real_high"]], [place] * 2, color=COLOURS["neutral"], linewidth=5,
                      alpha=0.5, solid_capstyle="butt", label="real, range" if place == 0 else None)  # fmt: skip
            axis.plot(row["real"], place, "|", color=COLOURS["published"], markersize=11, markeredgewidth=2,
                      label="real, median" if place == 0 else None)  # fmt: skip
            axis.plot(row["phantom"], place, "o", color=COLOURS["model"], markersize=6,
                      label="phantom, median" if place == 0 else None)  # fmt: skip
        axis.set_xscale("log")
        axis.set_title(sequence)
        axis.set_xlabel("value (ratio, or mm for edges)")
        axis.set_yticks(range(len(names)), [_NAMES[name] for name in names])
    axes[0, 0].invert_yaxis()
    axes[0, 1].legend(loc="upper left", fontsize=7)
    mark(figure, "both")
    return figure


def readers(table: pd.DataFrame) -> Figure:
    """Agreement of the simulated pairs of readers beside the published one.

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
    """Dice on real scans of networks that saw only the phantom, change by change; dotted, what they have to reach.

    Args:
        table: `sacrum, iliac` by change of the phantom, in order; the last row is this run's.
        aims: by bone.
    """
    figure, axes = new_figure(width=5.2, height=2.8)
    axis = axes[0, 0]
    places = [*(str(number) for number in range(1, len(table))), "this run"]
    for (bone, aim), marker, style in zip(aims.items(), "so", ("-", "--"), strict=True):
        axis.plot(places, table[bone], marker=marker, linestyle=style, color=COLOURS[bone], label=bone)
        axis.axhline(aim, color=COLOURS[bone], linestyle=":", linewidth=1)
    axis.set_ylim(0, 1)
    axis.set_xlabel("change of the phantom (table above)")
    axis.set_ylabel("Dice on real T1 scans")
    axis.legend(loc="lower right")
    mark(figure, "real")
    return figure


def told_apart(scores: pd.DataFrame, looks_at: pd.DataFrame) -> Figure:
    """Left, the classifier's mean score of every patient; right, how well each group of features does alone.

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


def mistaken(phantom: Sequence[Judged], real: Sequence[Judged]) -> Figure:
    """Above, phantom slices that the classifier took most for real ones; below, the other way round.

    Args:
        phantom, real: slices with their scores, as many of either kind.
    """
    columns = max(len(phantom), len(real))
    figure, axes = new_figure(2, columns, width=1.9 * columns, height=4.4)
    for row, (cases, name) in enumerate(((phantom, "PHANTOM"), (real, "REAL MRI"))):
        for axis in axes[row]:
            axis.set_axis_off()
        for axis, case in zip(axes[row], cases, strict=False):
            show_slice(axis, case.image, case.spacing, f"{name}, {case.score:.2f}")
    mark(figure, "both")
    return figure


def _middle(image: Array, spacing: tuple[float, float]) -> Array:
    """The middle `FIELD_MM` of a slice, or what there is of it."""
    rows, columns = (min(n, round(FIELD_MM / mm)) for n, mm in zip(image.shape, spacing, strict=True))
    top, left = (image.shape[0] - rows) // 2, (image.shape[1] - columns) // 2
    return image[top : top + rows, left : left + columns]


def _window(volume: Array, k: int) -> Array:
    """A slice clipped at the 99.5th percentile of its volume, so that slices of one volume are comparable."""
    return np.minimum(volume[k], np.percentile(volume, 99.5))
