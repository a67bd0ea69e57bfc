"""Figures of the public collection `vhi`: every split of a region mask, and how well its readers agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.curation.vhi.bone_split import BoneSplit
from axspa_lib.curation.vhi.report import split_of
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import T1, Bone
from axspa_lib.study.plotting import COLOURS, mark, new_figure, outline, show_slice
from axspa_lib.study.volume import Volume

_LEGEND = "orange: sacrum, blue: ilium, green: joint line; patient right on the left"

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
    shown = np.flatnonzero(split.bones.array.any(axis=(1, 2)))
    rows = -(-max(len(shown), 1) // columns)
    figure, axes = new_figure(rows, columns, width=9.0, height=0.35 + 9.0 / columns * 0.8 * rows)
    _sheet(axes.ravel(), t1, split, "slice {}", 8)
    figure.suptitle(f"{title}: {_LEGEND}" if title else _LEGEND, fontsize=9)
    mark(figure, "real")
    return figure


def draw_every_split(cohort: Cohort, columns: int = 9) -> Figure:
    """Every split of a cohort in one contact sheet: a block of slices per examination, untrusted ones framed.

    Args:
        cohort: curated from `vhi`.
        columns: slices in a row.
    """
    patients = list(cohort.participants.query("has_bones")["patient"])
    splits = {patient: split_of(cohort, patient) for patient in patients}
    lines = {p: -(-int(splits[p].bones.array.any(axis=(1, 2)).sum()) // columns) for p in patients}
    rows = max(sum(lines.values()), 1)
    figure, axes = new_figure(rows, columns, width=9.0, height=0.35 + 0.86 * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    top = 0
    for patient in patients:
        _sheet(axes[top : top + lines[patient]].ravel(), cohort.volume(patient, T1), splits[patient], "{}", 6)
        axes[top, 0].set_title(f"{patient}: {axes[top, 0].get_title()}", fontsize=6, fontweight="bold", loc="left")
        axes[top, 0].set_title("")
        top += lines[patient]
    figure.suptitle(_LEGEND, fontsize=9)
    mark(figure, "real")
    return figure


def _sheet(axes: NDArray[Any], t1: Volume, split: BoneSplit, caption: str, size: float) -> None:
    """Draw each slice with bone on an axis of its own, cropped to the bones and a margin around them."""
    bones, joint = split.bones.array, split.joint.array
    doubtful = split.trusted[~split.trusted["trusted"].astype(bool)].groupby("slice")["side"].agg(" ".join)
    rows, columns = (np.flatnonzero(bones.any(axis=axes_)) for axes_ in ((0, 2), (0, 1)))
    if len(rows):
        high, wide = (slice(max(line[0] - 15, 0), line[-1] + 16) for line in (rows, columns))
    for axis in axes:
        axis.set_axis_off()
    for axis, z in zip(axes, np.flatnonzero(bones.any(axis=(1, 2))), strict=False):
        show_slice(axis, t1.array[z, high, wide], t1.spacing[1:])
        axis.set_title(caption.format(z), fontsize=size)
        outline(axis, bones[z, high, wide] == Bone.SACRUM, "sacrum", 0.9)
        outline(axis, bones[z, high, wide] == Bone.ILIAC, "iliac", 0.9)
        row, column = np.nonzero(joint[z, high, wide])
        axis.plot(column, row, linestyle="none", marker=".", markersize=1.2, color=COLOURS["joint"])
        if z in doubtful.index:
            axis.set_title(f"{caption.format(z)}: {doubtful[z]} not trusted", color=COLOURS["inflamed"], fontsize=size)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color=COLOURS["inflamed"], linewidth=2, linestyle="--")


def draw_agreement_by_area(table: pd.DataFrame) -> Figure:
    """Agreement of readers and of trials on half-slices against the minimum drawn area, with bootstrap intervals.

    Args:
        table: of `axspa_lib.curation.vhi.report.agreement_by_area`.
    """
    figure, axes = new_figure(2, 1, width=7.2, height=5.6, sharey=True)
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
    for number, (pair, symbol, grey) in enumerate(zip(sorted(crossed["pair"].unique()), "osD^", greys, strict=False)):
        rows = crossed[crossed["pair"] == pair]
        x = rows["min_area_mm2"].map(place) + 0.16 * (number - 1.5)
        spread = np.clip([rows["mcc"] - rows["low"], rows["high"] - rows["mcc"]], 0, None)
        look = {"marker": symbol, "markersize": 3.5, "color": grey, "linewidth": 1, "elinewidth": 0.7}
        axes[1, 0].errorbar(x, rows["mcc"], yerr=spread, label=pair, **look)
    cases = table[["half_slices", "patients"]].max()
    titles = ("readers and trials (95 % intervals by patient)", "each trial of reader 1 with each of reader 2")
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_ylabel("Matthews correlation")
        axis.set_xticks(range(len(minima)), [f"{minimum:g}" for minimum in minima])
        axis.set(
            xlabel="drawn area that counts, more than (mm²)", ylim=(min(0.0, float(table["low"].min())), 1), title=title
        )
        axis.legend(loc="lower left", fontsize=8)
    figure.suptitle(f"{cases['half_slices']} half-slices of {cases['patients']} examinations", fontsize=9)
    mark(figure, "real")
    return figure
