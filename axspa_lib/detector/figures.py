"""Figures of the detector: what it is fed, its losses, its detections beside the truth, its calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice

#: Colour and line of each class, so that the figures read in grey.
_CLASS = {0: ("healthy", "--"), 1: ("inflamed", "-")}
_CALIBRATED = {"inflamed": ("probability", "inflamed")}
_NAMES = {
    "loss_cls": "class",
    "loss_box_reg": "box",
    "loss_mask": "mask",
    "loss_rpn_cls": "proposal: joint or not",
    "loss_rpn_loc": "proposal: place",
}


@dataclass(frozen=True)
class Roi:
    """One joint on a slice: class (0 healthy, 1 inflamed), mask `(row, column)`, box and score of a detection."""

    label: int
    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float] | None = None
    score: float | None = None


@dataclass(frozen=True)
class DetectionCase:
    """One slice to show: T1 and STIR as the network sees them `(row, column)`, the truth and what was found."""

    title: str
    t1: NDArray[Any]
    stir: NDArray[Any]
    truth: Sequence[Roi] = field(default_factory=tuple)
    found: Sequence[Roi] = field(default_factory=tuple)


@dataclass(frozen=True)
class TrainingView:
    """One training view: `image` `(3, rows, columns)` 0 to 255, and its instances."""

    slice_name: str
    title: str
    image: NDArray[Any]
    rois: Sequence[Roi]


def network_input(views: Sequence[TrainingView], channels: str, kind: str) -> Figure:
    """Draw the channels of the first view, then every view with its instances; solid inflamed, dashed healthy.

    Args:
        views: from `results.training_views`; a notice without any.
        channels: names of the three channels, with commas.
        kind: "phantom" or "real".
    """
    if not views:
        return figure_without_images()
    figure, axes = new_figure(2, max(len(views), 4), width=7.2, height=4.2)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, (axis, plane, name) in enumerate(zip(axes[0], views[0].image, channels.split(","), strict=False)):
        show_slice(axis, plane, title=f"channel {place + 1}: {name}")
    axes[0, 3].imshow(np.moveaxis(views[0].image, 0, -1).clip(0, 255).astype(np.uint8))
    axes[0, 3].set_title("all three, as colours")
    for axis, view in zip(axes[1], views, strict=False):
        show_slice(axis, view.image[channels.split(",").index("STIR")], title=view.title)
        for roi in view.rois:
            _draw(axis, roi)
    axes[0, 0].text(0.02, 0.02, views[0].slice_name, transform=axes[0, 0].transAxes, color="white", fontsize=7)
    mark(figure, kind)
    return figure


def calibration(panels: Mapping[str, NDArray[np.float64]], kind: str) -> Figure:
    """Draw reliability diagrams: share of right answers in each interval of the score, with its 95 % interval.

    Args:
        panels: title (`inflamed` has labels of its own), and the rows of `agreement.curves.calibration`: mean score,
            share, low, high, cases.
        kind: "phantom" or "real".
    """
    figure, axes = new_figure(1, len(panels), width=3.6 * len(panels), height=3.5)
    for axis, (title, rows) in zip(axes[0], panels.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=COLOURS["neutral"], linewidth=0.8, linestyle="--", label="perfect")
        errors = np.abs(rows[:, 2:4] - rows[:, 1:2]).T
        axis.errorbar(rows[:, 0], rows[:, 1], errors, fmt="o", color=COLOURS["model"], markersize=4, lw=1.2)
        for mean, share, *_, cases in rows:
            axis.annotate(f"{cases:.0f}", (mean, share), (4, 4), textcoords="offset points", fontsize=6)
        what, share = _CALIBRATED.get(title, ("score", "right"))
        axis.set(title=title, xlabel=f"mean {what} of the interval", ylabel=f"share that is {share} (95 % interval)")
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axis.legend(fontsize=7, loc="upper left", frameon=False)
    mark(figure, kind)
    return figure


def learning(histories: Mapping[str, pd.DataFrame], kind: str, window: int = 25) -> Figure:
    """Draw training loss (running median) and validation loss of each member; the parts of the loss of the first one.

    Args:
        histories: `history.parquet` by name of the member.
        kind: "phantom" or "real".
        window: iterations of the running median.
    """
    figure, axes = new_figure(1, 2, height=3.0)
    total, parts = axes[0]
    palette = ["healthy", "inflamed", "joint", "reader", "sacrum", "iliac"]
    for place, (name, history) in enumerate(histories.items()):
        colour = COLOURS[palette[place % len(palette)]]
        smooth = history["total"].rolling(window, min_periods=1).median()
        total.plot(np.arange(1, len(history) + 1), smooth, color=colour, alpha=0.7, label=f"{name}, training")
        if "validation_total" in history:
            checked = history["validation_total"].dropna()
            total.plot(checked.index + 1, checked, "o:", color=colour, markersize=4, label=f"{name}, validation")
    first = next(iter(histories.values()))
    for (column, name), style in zip(_NAMES.items(), ("-", "--", ":", "-.", (0, (1, 3))), strict=True):
        parts.plot(first[column].rolling(window, min_periods=1).median(), ls=style, label=name, color="#333333")
    for axis, title in ((total, "loss"), (parts, "its parts, first member")):
        axis.set(title=title, xlabel="iteration", ylim=(0, None))
        axis.legend(fontsize=7)
    mark(figure, kind)
    return figure


def detections(cases: Sequence[DetectionCase], kind: str) -> Figure:
    """Draw slices in rows: T1, STIR, truth and detections on STIR; solid and red inflamed, dashed and blue healthy.

    Args:
        cases: what to show; a notice without any, as after a short training or without the images.
        kind: "phantom" or "real".
    """
    if not cases:
        return figure_without_images("slices of this kind")
    figure, axes = new_figure(len(cases), 4, width=7.2, height=1.9 * len(cases) + 0.3)
    for place, (row, case) in enumerate(zip(axes, cases, strict=True)):
        titles = ("T1", "STIR", "readers and Algorithm 1", "detected") if place == 0 else ("",) * 4
        for axis, image, title in zip(row, (case.t1, case.stir, case.stir, case.stir), titles, strict=True):
            show_slice(axis, image, title=title)
        row[0].text(0.02, 0.02, case.title, transform=row[0].transAxes, color="white", fontsize=7, va="bottom")
        for roi in case.truth:
            _draw(row[2], roi)
        for roi in case.found:
            _draw(row[3], roi)
    mark(figure, kind)
    return figure


def _draw(axis: Axes, roi: Roi) -> None:
    name, style = _CLASS[roi.label]
    outline(axis, roi.mask, name, line=style)
    if roi.box is not None:
        x0, y0, x1, y1 = roi.box
        axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=COLOURS[name], ls=style, lw=1.0))
    if roi.box is not None and roi.score is not None:
        box = {"facecolor": "black", "alpha": 0.6, "pad": 0.8, "linewidth": 0}
        axis.text(roi.box[0], roi.box[1] - 3, f"{roi.score:.2f}", color="white", fontsize=6, bbox=box, clip_on=True)
