"""Figures of the public collection `vhi`: every split of a region mask, and how well its readers agree."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.curation.bone_split import BoneSplit
from axspa_lib.figures.style import COLOURS, mark, new_figure, outline, show_slice
from axspa_lib.labels import Bone
from axspa_lib.volume import Volume

#: Pairs drawn beside the mean over the readers: colour, line style and marker, so that grey suffices.
_LINES = {
    "R1-R2": ("two readers (mean of four pairs)", "inflamed", "-", "o"),
    "R11-R12": ("reader 1, two trials", "healthy", "--", "s"),
    "R21-R22": ("reader 2, two trials", "joint", ":", "^"),
}


def draw_split(t1: Volume, split: BoneSplit, title: str = "", columns: int = 5) -> Figure:
    """Contact sheet of a split: sacrum, ilium and the joint line on every slice that holds bone, ventral to dorsal.

    A slice with a side that is not trusted is framed and says which; it is left out of training.

    Args:
        t1: canonical T1.
        split: of its region mask.
        title: written above the sheet.
        columns: slices in a row.
    """
    bones, joint = split.bones.array, split.joint.array
    shown = np.flatnonzero(bones.any(axis=(1, 2)))
    rows = -(-max(len(shown), 1) // columns)
    figure, axes = new_figure(rows, columns, width=9.0, height=0.35 + 9.0 / columns * 0.8 * rows)
    inside = np.flatnonzero(bones.any(axis=(0, 2)))
    top, bottom = (max(inside[0] - 15, 0), inside[-1] + 15) if len(inside) else (0, bones.shape[1])
    doubtful = split.trusted[~split.trusted["trusted"]].groupby("slice")["side"].agg(" ".join)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, z in zip(axes.flat, shown, strict=False):
        show_slice(axis, t1.array[z, top:bottom], t1.spacing[1:], f"slice {z}")
        outline(axis, bones[z, top:bottom] == Bone.SACRUM, "sacrum", 0.9)
        outline(axis, bones[z, top:bottom] == Bone.ILIAC, "iliac", 0.9)
        row, column = np.nonzero(joint[z, top:bottom])
        axis.plot(column, row, linestyle="none", marker=".", markersize=1.2, color=COLOURS["joint"])
        if z in doubtful.index:
            axis.set_title(f"slice {z}: {doubtful[z]} not trusted", color=COLOURS["inflamed"], fontsize=8)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color=COLOURS["inflamed"], linewidth=2, linestyle="--")
    legend = "orange: sacrum, blue: ilium, green: joint line; patient right on the left"
    figure.suptitle(f"{title}: {legend}" if title else legend, fontsize=9)
    mark(figure, "real")
    return figure


def draw_agreement_by_area(table: pd.DataFrame) -> Figure:
    """Agreement of readers and of trials on half-slices against the minimum drawn area, with bootstrap intervals.

    Args:
        table: of `axspa_lib.curation.vhi.agreement_by_area`.
    """
    figure, axes = new_figure(1, 2, width=8.2, height=3.4, sharey=True)
    minima = sorted(table["min_area_mm2"].unique())
    place = {minimum: number for number, minimum in enumerate(minima)}
    for number, (pair, (name, colour, style, marker)) in enumerate(_LINES.items()):
        rows = table[table["pair"] == pair].sort_values("min_area_mm2")
        x = rows["min_area_mm2"].map(place) + 0.12 * (number - 1)
        spread = np.clip([rows["mcc"] - rows["low"], rows["high"] - rows["mcc"]], 0, None)
        look = {"color": COLOURS[colour], "linestyle": style, "marker": marker, "markersize": 4}
        axes[0, 0].errorbar(x, rows["mcc"], yerr=spread, label=name, capsize=2, **look)
    crossed = table[(table["kind"] == "readers") & (table["pair"] != "R1-R2")].sort_values("min_area_mm2")
    greys = ("0.1", "0.35", "0.5", "0.65")
    for pair, symbol, grey in zip(sorted(crossed["pair"].unique()), "osD^", greys, strict=False):
        rows = crossed[crossed["pair"] == pair]
        x = rows["min_area_mm2"].map(place)
        axes[0, 1].plot(x, rows["mcc"], marker=symbol, markersize=4, color=grey, label=pair)
    cases = table[["half_slices", "patients"]].max()
    axes[0, 0].set_ylabel("Matthews correlation")
    for axis, title in zip(axes.flat, ("95 % intervals, resampled by patient", "each pair of trials"), strict=True):
        axis.set_xticks(range(len(minima)), [f"{minimum:g}" for minimum in minima])
        axis.set(
            xlabel="drawn area that counts, more than (mm²)", ylim=(min(0.0, float(table["low"].min())), 1), title=title
        )
        axis.legend(loc="lower left", fontsize=8)
    figure.suptitle(f"{cases['half_slices']} half-slices of {cases['patients']} examinations", fontsize=9)
    mark(figure, "real")
    return figure
