"""Figures of the study on public real MRI: agreement, experiments, learning curve, lesions and change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.joint.figures import joints_over_volume
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice
from axspa_lib.study.volume import Volume

_MARKERS = "osD^vPX"


def agreement(table: pd.DataFrame, aim: tuple[float, float]) -> Figure:
    """Draw agreement (MCC) by pair with intervals; a grey band is the readers' interval, which the model should reach.

    Args:
        table: `pair, value, low, high`.
        aim: lower and upper end of the band.
    """
    figure, axes = new_figure(height=0.9 + 0.32 * len(table))
    axes[0, 0].axvspan(*aim, color="#DDDDDD", zorder=0)
    _forest(axes[0, 0], list(table["pair"]), table[["value", "low", "high"]])
    axes[0, 0].set_xlabel("Matthews correlation coefficient on half-slices (95 % interval by subject)")
    mark(figure, "real")
    return figure


def experiments(table: pd.DataFrame) -> Figure:
    """Draw the agreement of every experiment with the consensus, and its paired difference to the first row.

    Args:
        table: of `tables.experiments.experiment_table`.
    """
    figure, axes = new_figure(1, 2, height=1.0 + 0.3 * len(table), sharey=True)
    names = [f"{label} (k={k})" for label, k in zip(table["label"], table["k"], strict=True)]
    panels = (
        (["value", "low", "high"], table["value"].iloc[0], "MCC with the consensus"),
        (["difference", "difference_low", "difference_high"], 0, "paired difference to the first row"),
    )
    for axis, (columns, level, label) in zip(axes[0], panels, strict=True):
        _forest(axis, names, table[columns])
        axis.axvline(level, color="#999999", lw=0.8, ls=":")
        axis.set_xlabel(label)
    mark(figure, "real")
    return figure


def learning_curve(table: pd.DataFrame, aim: tuple[float, float]) -> Figure:
    """Draw agreement with the consensus by the number of subjects learnt from; the grey band as in `agreement`."""
    figure, axes = new_figure(width=4.6, height=2.8)
    axis = axes[0, 0]
    axis.axhspan(*aim, color="#DDDDDD", zorder=0, label="two readers")
    errors = np.abs(table[["low", "high"]].to_numpy().T - table["value"].to_numpy())
    style: dict[str, Any] = {"fmt": "o-", "color": COLOURS["model"], "capsize": 3, "label": "ensemble"}
    axis.errorbar(table["subjects"], table["value"], errors, **style)
    axis.set(xlabel="subjects learnt from in each fold", ylabel="MCC with the consensus")
    axis.set_xticks(sorted(set(table["subjects"])))
    axis.legend(fontsize=7)
    mark(figure, "real")
    return figure


def probabilities(scored: pd.DataFrame) -> Figure:
    """Draw the ensemble's probability of inflammation of every half-slice, by examination and consensus.

    Args:
        scored: `patient, inflammation, p_inflamed`; examinations stand by their share of inflamed half-slices.
    """
    shares = scored.groupby("patient")["inflammation"].mean().sort_values(kind="stable")
    figure, axes = new_figure(height=2.9)
    axis = axes[0, 0]
    for index, patient in enumerate(shares.index):
        for label, name, marker, shift in ((0, "healthy", "o", -0.17), (1, "inflamed", "s", 0.17)):
            chosen = (scored["patient"] == patient) & (scored["inflammation"] == label)
            values = np.sort(scored.loc[chosen, "p_inflamed"].to_numpy(float))
            spread = (np.arange(len(values)) % 5 - 2) * 0.045
            look: dict[str, Any] = {
                "color": COLOURS[name],
                "mfc": COLOURS[name] if label else "none",
                "ms": 3.5,
                "alpha": 0.8,
            }
            text = f"{name} for the consensus" if index == 0 else None
            axis.plot(index + shift + spread, values, marker, label=text, **look)
            if len(values):
                axis.hlines(np.median(values), index + shift - 0.15, index + shift + 0.15, color="black", lw=1.5)
    axis.set_xticks(range(len(shares)), [f"{patient}\n{share:.0%} inflamed" for patient, share in shares.items()])
    axis.tick_params(axis="x", labelsize=7)
    axis.set(ylim=(-0.03, 1.03), ylabel="probability of inflammation")
    figure.legend(*axis.get_legend_handles_labels(), fontsize=7, ncols=2, loc="outside upper center")
    mark(figure, "real")
    return figure


def overlaps(table: pd.DataFrame) -> Figure:
    """Draw the Dice of inflamed voxels of every examination and pair, by kind of pair; bars are means.

    Args:
        table: `patient, kind, dice`.
    """
    kinds, patients = list(dict.fromkeys(table["kind"])), sorted(set(table["patient"]))
    figure, axes = new_figure(height=2.9)
    axis = axes[0, 0]
    for index, kind in enumerate(kinds):
        part = table[table["kind"] == kind]
        axis.hlines(part["dice"].mean(), index - 0.35, index + 0.35, color="black", lw=2)
        for number, patient in enumerate(patients):
            values = part.loc[part["patient"] == patient, "dice"]
            x = index + (number - (len(patients) - 1) / 2) * 0.1
            look: dict[str, Any] = {
                "mfc": "none",
                "ms": 5,
                "color": "#333333",
                "label": patient if index == 0 else None,
            }
            axis.plot([x] * len(values), values, _MARKERS[number % len(_MARKERS)], **look)
    axis.set_xticks(range(len(kinds)), kinds)
    axis.set(ylim=(0, 1.02), ylabel="Dice of inflamed voxels")
    axis.legend(fontsize=7, ncols=3, loc="lower left")
    mark(figure, "real")
    return figure


def volumes(table: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw volumes of inflammation against each other on logarithmic axes, one panel for each pair of readings.

    Args:
        table: `patient, reading, mm3`.
        pairs: readings to compare, x and y.
    """
    wide = table.pivot(index="patient", columns="reading", values="mm3")
    figure, axes = new_figure(1, len(pairs), width=2.4 * len(pairs), height=2.6)
    values = wide.to_numpy()
    ends = (max(values[values > 0].min() / 2, 1), values.max() * 2)
    for axis, (x, y) in zip(axes[0], pairs, strict=True):
        axis.plot(ends, ends, color="#999999", lw=0.8)
        axis.plot(wide[x].clip(lower=ends[0]), wide[y].clip(lower=ends[0]), "o", mfc="none", color=COLOURS["inflamed"])
        axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
        axis.set(xlabel=f"{x}, mm³", ylabel=f"{y}, mm³")
    mark(figure, "real")
    return figure


@dataclass(frozen=True)
class AreaCase:
    """A STIR slice with the area found by the model and what most readings drew."""

    title: str
    stir: NDArray[Any]
    found: NDArray[Any]
    drawn: NDArray[Any]
    spacing: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class JointCase:
    """An examination with its joint ROIs and predicted bones, on one grid."""

    patient: str
    t1: Volume
    joint: Volume
    bones: Volume


def joints(case: JointCase | None) -> Figure:
    """Draw joint ROIs and predicted bones over every slice of an examination; without one, say how to get images."""
    if case is None:
        return figure_without_images("the images of these examinations")
    return joints_over_volume(case.t1, case.joint, case.bones, title=case.patient, kind="real")


def areas(cases: Sequence[AreaCase]) -> Figure:
    """Draw STIR slices in columns: plain above, below with the readers' drawing (dashed) and the area found (solid)."""
    if not cases:
        return figure_without_images("the images of these examinations")
    figure, axes = new_figure(2, len(cases), width=1.9 * max(len(cases), 2), height=4.0)
    for (above, below), case in zip(axes.T, cases, strict=True):
        show_slice(above, case.stir, case.spacing, case.title)
        show_slice(below, case.stir, case.spacing)
        outline(below, case.found, "inflamed", 1.4)
        outline(below, case.drawn, "white", 1.0, "dashed")
    mark(figure, "real")
    return figure


def change(paired: pd.DataFrame, units: Mapping[str, str]) -> Figure:
    """Draw measurements before and after treatment, one panel for each measure; the diagonal is no change.

    Args:
        paired: `subject, measure, pre, post`.
        units: by measure.
    """
    figure, axes = new_figure(1, len(units), width=1.75 * len(units), height=2.2)
    for axis, (name, unit) in zip(axes[0], units.items(), strict=True):
        part = paired[paired["measure"] == name]
        values = part[["pre", "post"]].to_numpy()
        if values.size:
            room = max(np.ptp(values) * 0.15, abs(values).max() * 0.02)
            ends = [values.min() - room, values.max() + room]
            axis.plot(ends, ends, color="#999999", lw=0.8)
            axis.plot(part["pre"], part["post"], "o", mfc="none", color=COLOURS["model"])
        axis.set_title(f"{name.replace('_', ' ')}, {unit}", fontsize=8)
        axis.set(xlabel="before", ylabel="after")
        axis.tick_params(labelsize=6)
    mark(figure, "real")
    return figure


def _forest(axis: Axes, names: Sequence[str], intervals: pd.DataFrame) -> None:
    """Draw one interval per name from the top down; columns are value, lower and upper end, missing rows stay empty."""
    height = np.arange(len(names))[::-1]
    value, low, high = intervals.to_numpy(float).T
    axis.errorbar(value, height, xerr=[value - low, high - value], fmt="s", ms=4, color="#222222", capsize=3, lw=1.2)
    axis.set_yticks(height, names, fontsize=8)
    axis.set_ylim(-0.6, len(names) - 0.4)
