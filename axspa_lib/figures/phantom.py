"""Figures of the phantom: beside real scans, its truth, its contrast and its readers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.figures.style import COLOURS, mark, new_figure, outline, show_slice

Array = NDArray[np.floating]
Stack = tuple[Array, Array, tuple[float, float, float]]

_NAMES = {
    "muscle": "other muscle / muscle", "fat": "deep fat / muscle", "csf": "CSF / muscle", "marrow": "marrow / muscle",
    "oedema": "oedema / marrow", "noise": "noise / muscle", "bias": "shading p95 / p5", "edge": "edge width (mm)",
}  # fmt: skip


def spread(count: int, columns: int, low: float = 0.08, high: float = 0.92) -> list[int]:
    """`columns` slice indices from ventral to dorsal.

    >>> spread(20, 3)
    [2, 10, 17]
    """
    return [round(v * (count - 1)) for v in np.linspace(low, high, columns)]


def beside_real(phantom: Stack, real: Stack, columns: int = 6) -> Figure:
    """Phantom and real slices from ventral to dorsal, both sequences.

    Args:
        phantom, real: T1, STIR `(slice, row, column)` and spacing in mm.
        columns: slices shown of each.
    """
    figure, axes = new_figure(4, columns, width=1.55 * columns, height=6.6)
    for row, (stack, name) in enumerate(((phantom, "phantom"), (real, "real"))):
        for column, k in enumerate(spread(stack[0].shape[0], columns)):
            for place, volume in enumerate(stack[:2]):
                title = f"{('T1', 'STIR')[place]}, {name}" if column == 0 else f"slice {k}"
                show_slice(axes[row + 2 * place, column], _window(volume, k), stack[2][1:], title)
    mark(figure, "phantom")
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


def contrast(table: pd.DataFrame) -> Figure:
    """The phantom's medians within the range of the real scans.

    Args:
        table: of `axspa_lib.phantom.measure.compare`.
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
    axes[0, 1].legend(loc="lower right", fontsize=7)
    mark(figure, "phantom")
    return figure


def readers(table: pd.DataFrame) -> Figure:
    """Agreement of the simulated pairs of readers beside the published one.

    Args:
        table: of `axspa_lib.phantom.calibration.calibration_table`.
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


def _window(volume: Array, k: int) -> Array:
    """A slice clipped at the 99.5th percentile of its volume, so that slices of one volume are comparable."""
    return np.minimum(volume[k], np.percentile(volume, 99.5))
