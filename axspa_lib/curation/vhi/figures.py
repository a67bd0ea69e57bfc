"""Figures of the public collection `vhi`: every split of a region mask, and how well its readers agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.curation.vhi.bone_split import BoneSplit
from axspa_lib.curation.vhi.report import split_of
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import T1, Bone
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice
from axspa_lib.study.volume import Volume

_LEGEND = "orange: sacrum, blue: ilium, green: joint line; patient right on the left"

#: Look of each pair: label, colour, line and marker, so that grey suffices.
_READERS = {
    "R1-R2": ("two readers (mean of four pairs)", COLOURS["inflamed"], "-", "o"),
    "R11-R12": ("reader 1, two trials", COLOURS["healthy"], "--", "s"),
    "R21-R22": ("reader 2, two trials", COLOURS["joint"], ":", "^"),
}
_CROSSED = {
    f"{a}-{b}": (f"{a}-{b}", grey, "-", marker)
    for (a, b), grey, marker in zip(
        [("R11", "R21"), ("R11", "R22"), ("R12", "R21"), ("R12", "R22")],
        ("0.1", "0.35", "0.5", "0.65"),
        "osD^",
        strict=True,
    )
}


def draw_splits(cohort: Cohort, columns: int = 9) -> Figure:
    """Draw every split of a cohort whose images are at hand: a block of slices per examination, untrusted ones framed.

    Args:
        cohort: curated from `vhi`; without images the figure says which command makes them.
        columns: slices in a row.
    """
    known = cohort.participants.query("has_bones")["patient"]
    splits = {patient: split_of(cohort, patient) for patient in known if cohort.has_images(patient)}
    if not splits:
        return figure_without_images(f"the images of {cohort.name}")
    lines = {p: -(-int(split.bones.array.any(axis=(1, 2)).sum()) // columns) for p, split in splits.items()}
    rows = sum(lines.values())
    figure, axes = new_figure(rows, columns, width=9.0, height=0.35 + 0.86 * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    top = 0
    for patient, split in splits.items():
        draw_split(axes[top : top + lines[patient]].ravel(), cohort.volume(patient, T1), split)
        axes[top, 0].set_title(f"{patient}: {axes[top, 0].get_title()}", fontsize=6, fontweight="bold", loc="left")
        axes[top, 0].set_title("")
        top += lines[patient]
    figure.suptitle(_LEGEND, fontsize=9)
    mark(figure, "real")
    return figure


def draw_split(axes: NDArray[Any], t1: Volume, split: BoneSplit) -> None:
    """Draw each slice with bone on its own axis, ventral to dorsal, cropped to the bones."""
    bones, joint = split.bones.array, split.joint.array
    doubtful = split.trusted[~split.trusted["trusted"].astype(bool)].groupby("slice")["side"].agg(" ".join)
    rows, columns = (np.flatnonzero(bones.any(axis=other)) for other in ((0, 2), (0, 1)))
    shown = np.flatnonzero(bones.any(axis=(1, 2)))
    for axis, index in zip(axes, shown, strict=False):
        here = (index, slice(max(rows[0] - 15, 0), rows[-1] + 16), slice(max(columns[0] - 15, 0), columns[-1] + 16))
        show_slice(axis, t1.array[here], t1.spacing[1:])
        axis.set_title(str(index), fontsize=6)
        outline(axis, bones[here] == Bone.SACRUM, "sacrum", 0.9)
        outline(axis, bones[here] == Bone.ILIAC, "iliac", 0.9)
        row, column = np.nonzero(joint[here])
        axis.plot(column, row, linestyle="none", marker=".", markersize=1.2, color=COLOURS["joint"])
        if index in doubtful.index:
            axis.set_title(f"{index}: {doubtful[index]} not trusted", color=COLOURS["inflamed"], fontsize=6)
            axis.set_axis_on()
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(visible=True, color=COLOURS["inflamed"], linewidth=2, linestyle="--")


def draw_agreement_by_area(table: pd.DataFrame) -> Figure:
    """Draw agreement of readers and trials on half-slices by the drawn area that counts, with bootstrap intervals.

    Args:
        table: of `curation.vhi.report.agreement_by_area`.
    """
    figure, axes = new_figure(2, 1, width=7.2, height=5.6, sharey=True)
    _draw_pairs(axes[0, 0], table, _READERS, "readers and trials (95 % intervals by patient)")
    _draw_pairs(axes[1, 0], table, _CROSSED, "each trial of reader 1 with each of reader 2")
    cases = table[["half_slices", "patients"]].max()
    figure.suptitle(f"{cases['half_slices']} half-slices of {cases['patients']} examinations", fontsize=9)
    mark(figure, "real")
    return figure


def _draw_pairs(axis: Axes, table: pd.DataFrame, looks: dict[str, tuple[str, str, str, str]], title: str) -> None:
    minima = sorted(table["min_area_mm2"].unique())
    for number, (pair, (label, colour, line, marker)) in enumerate(looks.items()):
        rows = table[table["pair"] == pair].sort_values("min_area_mm2")
        x = np.arange(len(rows)) + 0.14 * (number - (len(looks) - 1) / 2)
        spread = np.clip([rows["mcc"] - rows["low"], rows["high"] - rows["mcc"]], 0, None)
        look: dict[str, Any] = {"color": colour, "linestyle": line, "marker": marker, "markersize": 4, "linewidth": 1}
        axis.errorbar(x, rows["mcc"], yerr=spread, label=label, capsize=2, **look)
    axis.set_xticks(range(len(minima)), [f"{minimum:g}" for minimum in minima])
    axis.set(xlabel="drawn area that counts, more than (mm²)", ylabel="Matthews correlation", title=title)
    axis.set_ylim(min(0.0, float(table["low"].min())), 1)
    axis.legend(loc="lower left", fontsize=8)
