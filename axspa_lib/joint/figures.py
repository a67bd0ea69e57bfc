"""Algorithm 1 step by step (figure 3 of the paper), and joints drawn over the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from axspa_lib.joint.algorithm1 import PATIENT_LEFT, PATIENT_RIGHT, JointTrace
from axspa_lib.study.labels import Bone
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice
from axspa_lib.study.volume import Volume

#: A step that is drawn: title, and masks with their colours, filled from the first to the last.
_Step = tuple[str, Sequence[tuple[NDArray[np.bool_], str]]]


def algorithm_steps(
    image: NDArray[np.generic], trace: JointTrace, spacing: tuple[float, float] = (1.0, 1.0), kind: str | None = None
) -> Figure:
    """Figure 3: each line of Algorithm 1 over a slice.

    Args:
        image: the slice `(row, column)` on the grid of the masks.
        trace: as from `trace_joint`.
        spacing: pixel size `(row, column)` in mm.
        kind: `phantom` or `real`, written below.
    """
    t = trace
    bones = [(t.sacrum, "sacrum"), (t.iliac, "iliac")]
    wings = t.contact & ~t.trimmed
    steps: list[_Step] = [
        ("Sac and Il", bones),
        ("sacrum next to it", [(t.sacrum, "sacrum"), (t.iliac & ~t.contact, "neutral"), (t.contact, "iliac")]),
        ("wings deleted", [(t.sacrum, "sacrum"), (wings, "inflamed"), (t.trimmed, "iliac")]),
        ("D(Il)", [(t.sacrum, "sacrum"), (t.dilated & ~t.trimmed, "joint"), (t.trimmed, "iliac")]),
        ("D_H(Il) ∩ Sac", [(t.extended, "neutral"), (t.sacrum, "sacrum"), (t.extended & t.sacrum, "joint")]),
        ("J = D(Il) ∪ (D_H(Il) ∩ Sac)", [(t.union, "joint")]),
        ("closing, holes filled", [(t.filled & ~t.union, "inflamed"), (t.union, "joint")]),
        ("largest of each side", [(t.joint == PATIENT_RIGHT, "joint"), (t.joint == PATIENT_LEFT, "reader")]),
    ]
    rows, columns = _window(t.iliac | t.sacrum | (t.joint > 0))
    height = 0.3 + 4.4 * (rows.stop - rows.start) * spacing[0] / ((columns.stop - columns.start) * spacing[1])
    figure, axes = new_figure(2, 4, width=8.8, height=min(max(height, 3.0), 8.0))
    for number, (axis, (title, masks)) in enumerate(zip(axes.flat, steps, strict=True), start=1):
        show_slice(axis, np.asarray(image, float)[rows, columns], spacing, f"{number}. {title}")
        for mask, colour in masks:
            _fill(axis, mask[rows, columns], colour)
    axes[0, 0].text(0.01, 0.99, "R", transform=axes[0, 0].transAxes, color="white", va="top", fontweight="bold")
    if kind is not None:
        mark(figure, kind)
    return figure


def joints_over_volume(
    volume: Volume,
    joints: Volume,
    bones: Volume | None = None,
    slices: Sequence[int] | None = None,
    columns: int = 6,
    title: str = "",
    kind: str | None = None,
    width: float = 1.55,
) -> Figure:
    """Contact sheet: the joints (and bones) outlined over the slices of a volume.

    Args:
        volume: `(slice, row, column)`, the image.
        joints: joint mask on its grid.
        bones: bone mask on its grid, when it is to be drawn too.
        slices: which slices, all when not given.
        columns: slices in a row of the sheet.
        title: of the whole sheet.
        kind: `phantom` or `real`, written below.
        width: of a slice, inches.
    """
    shown = list(range(len(volume.array)) if slices is None else slices)
    count = -(-len(shown) // columns)
    _, row_mm, column_mm = volume.spacing
    proportion = volume.array.shape[1] * row_mm / (volume.array.shape[2] * column_mm)
    height = (width * proportion + 0.22) * count + (0.35 if kind or title else 0)
    figure, axes = new_figure(count, columns, width=width * columns, height=height)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, index in zip(axes.flat, shown, strict=False):
        show_slice(axis, np.asarray(volume.array[index], float), (row_mm, column_mm), f"slice {index}")
        axis.title.set_fontsize(7)
        if bones is not None:
            outline(axis, bones.array[index] == Bone.SACRUM, "sacrum", 0.7)
            outline(axis, bones.array[index] == Bone.ILIAC, "iliac", 0.7)
        _fill(axis, joints.array[index] > 0, "joint", 0.22)
        outline(axis, joints.array[index] > 0, "joint", 1.1)
        missing = [s for s, v in (("R", PATIENT_RIGHT), ("L", PATIENT_LEFT)) if not (joints.array[index] == v).any()]
        if missing:
            axis.text(0.5, 0.02, f"no {' or '.join(missing)}", color="white", fontsize=6, ha="center",
                      transform=axis.transAxes)  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10)
    if kind is not None:
        mark(figure, kind)
    return figure


def quality_by_position(table: pd.DataFrame, kind: str, bins: int = 10) -> Figure:
    """Over the position of the slice: regions found where one is expected, their overlap, and the true joint inside.

    Args:
        table: `position, expected, found, dice, covered`, by half-slice (`axspa_lib.joint.results.joint_quality`).
        kind: "phantom" or "real".
        bins: equal parts of the stack.
    """
    if table.empty:
        return figure_without_images()
    table = table.assign(part=np.minimum((table["position"] * bins).astype(int), bins - 1))
    middle = (np.arange(bins) + 0.5) / bins
    expected = table[table["expected"]].groupby("part")
    figure, axes = new_figure(2, 1, height=3.8, sharex=True, height_ratios=(3, 1))
    lines = [("found, of those expected", "found", COLOURS["neutral"], ":^")]
    lines.append(("Dice with the region of the reference bones", "dice", COLOURS["joint"], "-o"))
    if table["covered"].notna().any():
        lines.append(("share of the true joint space inside", "covered", COLOURS["healthy"], "--s"))
    for name, column, colour, line in lines:
        values = expected[column].mean().reindex(range(bins))
        axes[0, 0].plot(middle, values, line, color=colour, label=name, ms=4)
    axes[0, 0].set(ylabel="mean of the half-slices", ylim=(0, 1.02))
    axes[0, 0].legend(loc="lower center", fontsize=7)
    for name, rows, offset, hatch in (
        ("expected", expected, -0.2, ""),
        ("found, not expected", table[table["found"] & ~table["expected"]].groupby("part"), 0.2, "///"),
    ):
        counts = rows.size().reindex(range(bins), fill_value=0)
        colour = COLOURS["joint" if not hatch else "inflamed"]
        axes[1, 0].bar(
            middle + offset / bins, counts, 0.38 / bins, color=colour, hatch=hatch, edgecolor="white", label=name
        )
    axes[1, 0].legend(fontsize=7, loc="upper left", ncols=2)
    axes[1, 0].set_ylim(0, 1.6 * axes[1, 0].get_ylim()[1])
    axes[1, 0].set(ylabel="half-slices", xlabel="position of the slice, 0 anterior to 1 posterior", xlim=(0, 1))
    mark(figure, kind)
    return figure


def sensitivities(table: pd.DataFrame, usual: dict[str, float], kind: str) -> Figure:
    """Draw the effect of each parameter: region area above, joint space covered and regions lost below.

    Args:
        table: `parameter, value, area_mm2, covered, lost` (`axspa_lib.joint.results.sensitivity`).
        usual: the value of each parameter in this study, drawn as a vertical line.
        kind: "phantom" or "real".
    """
    if table["lost"].isna().all():
        return figure_without_images()
    names = list(dict.fromkeys(table["parameter"]))
    figure, axes = new_figure(2, len(names), width=1.9 * len(names), height=3.8, sharex="col", sharey="row")
    for column, name in enumerate(names):
        rows = table[table["parameter"] == name]
        top, bottom = axes[:, column]
        top.plot(rows["value"], rows["area_mm2"] / 100, "-o", color=COLOURS["joint"], ms=4)
        bottom.plot(rows["value"], rows["covered"], "--s", color=COLOURS["healthy"], ms=4, label="joint space inside")
        bottom.plot(rows["value"], rows["lost"], ":^", color=COLOURS["inflamed"], ms=4, label="regions lost")
        for axis in (top, bottom):
            axis.axvline(usual[name], color=COLOURS["neutral"], lw=0.8)
        bottom.set_xlabel(name.replace("_", "\n"))
    axes[0, 0].set(ylabel="area of a region, cm²", ylim=(0, None))
    axes[1, 0].set(ylabel="share", ylim=(-0.03, 1.03))
    axes[1, 0].legend(fontsize=6, loc="center left")
    mark(figure, kind)
    return figure


@dataclass(frozen=True)
class Examined:
    """One examination that the increment judged, by a slice `(row, column)`; `missed` half-slices lack a joint."""

    patient: str
    accepted: bool
    missed: int
    image: NDArray[np.generic]
    joint: NDArray[np.uint8]
    bones: NDArray[np.uint8]
    spacing: tuple[float, float]


def judged_sheet(cases: Sequence[Examined], kind: str, columns: int = 8) -> Figure:
    """Contact sheet of the examinations that the increment judged; the frame of a refused one is drawn and dashed.

    Args:
        cases: one slice each, in the order shown.
        kind: "phantom" or "real".
        columns: slices in a row.
    """
    if not cases:
        return figure_without_images()
    rows = -(-len(cases) // columns)
    figure, axes = new_figure(rows, columns, width=1.25 * columns, height=1.4 * rows + 0.3)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, case in zip(axes.flat, cases, strict=False):
        title = f"{case.patient}, " + ("accepted" if case.accepted else f"refused ({case.missed} missed)")
        show_slice(axis, np.asarray(case.image, float), case.spacing, title)
        axis.title.set_fontsize(6.5)
        for bone in (Bone.SACRUM, Bone.ILIAC):
            outline(axis, case.bones == bone, bone.name.lower(), 0.6)
        _fill(axis, case.joint > 0, "joint", 0.25)
        outline(axis, case.joint > 0, "joint", 0.9)
        if not case.accepted:
            height, width = case.image.shape
            axis.add_patch(Rectangle((0, 0), width - 1, height - 1, fill=False, ls="--", lw=2, ec=COLOURS["inflamed"]))
    mark(figure, kind)
    return figure


def _window(mask: NDArray[np.bool_], margin: int = 12) -> tuple[slice, slice]:
    """Rows and columns of `mask` with a margin; the whole image for an empty one."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    rows, columns = np.nonzero(mask)
    return (
        slice(max(rows.min() - margin, 0), min(rows.max() + margin + 1, mask.shape[0])),
        slice(max(columns.min() - margin, 0), min(columns.max() + margin + 1, mask.shape[1])),
    )


def _fill(axis: Axes, mask: NDArray[np.bool_], colour: str, alpha: float = 0.5) -> None:
    """Lay a transparent colour over a mask, in the pixels of the slice drawn before."""
    layer = np.zeros((*mask.shape, 4))
    layer[..., :3] = to_rgb(COLOURS[colour])
    layer[..., 3] = np.asarray(mask, bool) * alpha
    aspect = axis.get_aspect()
    axis.imshow(layer, aspect="equal" if aspect == "auto" else aspect)
