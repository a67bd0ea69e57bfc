"""Figures of the study on public real MRI: agreement, experiments, learning curve, lesions and change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.study.plotting import COLOURS, mark, new_figure, outline, show_slice

_MARKERS = "osD^vPX"


def agreement(table: pd.DataFrame, aim: tuple[float, float] | None = None) -> Figure:
    """Agreement (MCC) by pair with intervals; a grey band is the readers' interval, which the model should reach.

    Args:
        table: `pair, value, low, high`.
        aim: lower and upper end of the band.
    """
    figure, axes = new_figure(height=0.9 + 0.32 * len(table))
    axis = axes[0, 0]
    if aim is not None:
        axis.axvspan(*aim, color="#DDDDDD", zorder=0)
    _forest(axis, list(table["pair"]), table["value"], table["low"], table["high"])
    axis.set_xlabel("Matthews correlation coefficient on half-slices (95 % interval by subject)")
    mark(figure, "real")
    return figure


def experiments(table: pd.DataFrame) -> Figure:
    """Left, the agreement of every experiment with the consensus; right, its paired difference to the first row.

    Args:
        table: of `tables.real.experiment_table`.
    """
    figure, axes = new_figure(1, 2, height=1.0 + 0.3 * len(table), sharey=True)
    left, right = axes[0]
    names = [f"{label} (k={k})" for label, k in zip(table["label"], table["k"], strict=True)]
    _forest(left, names, table["value"], table["low"], table["high"])
    left.axvline(table["value"].iloc[0], color="#999999", lw=0.8, ls=":")
    left.set_xlabel("MCC with the consensus")
    _forest(right, names, table["difference"], table["difference_low"], table["difference_high"])
    right.axvline(0, color="#999999", lw=0.8, ls=":")
    right.set_xlabel("paired difference to the first row")
    mark(figure, "real")
    return figure


def learning_curve(table: pd.DataFrame, aim: tuple[float, float] | None = None) -> Figure:
    """Agreement with the consensus by the number of subjects learnt from; the grey band as in `agreement`."""
    figure, axes = new_figure(width=4.6, height=2.8)
    axis = axes[0, 0]
    if aim is not None:
        axis.axhspan(*aim, color="#DDDDDD", zorder=0, label="two readers")
    errors = np.abs(table[["low", "high"]].to_numpy().T - table["value"].to_numpy())
    axis.errorbar(
        table["subjects"], table["value"], errors, fmt="o-", color=COLOURS["model"], capsize=3, label="ensemble"
    )
    axis.set_xlabel("subjects learnt from in each fold")
    axis.set_ylabel("MCC with the consensus")
    axis.set_xticks(sorted(set(table["subjects"])))
    axis.legend(fontsize=7)
    mark(figure, "real")
    return figure


def probabilities(judged: pd.DataFrame) -> Figure:
    """The ensemble's probability of inflammation of every half-slice, by examination and by what most readings say.

    Args:
        judged: `patient, inflammation, p_inflamed`; examinations stand by their share of inflamed half-slices.
    """
    shares = judged.groupby("patient")["inflammation"].mean().sort_values(kind="stable")
    figure, axes = new_figure(height=2.9)
    axis = axes[0, 0]
    for place, patient in enumerate(shares.index):
        for label, name, marker, face, shift in ((0, "healthy", "o", "none", -0.17), (1, "inflamed", "s", None, 0.17)):
            chosen = (judged["patient"] == patient) & (judged["inflammation"] == label)
            values = np.sort(judged.loc[chosen, "p_inflamed"].to_numpy(float))
            spread = (np.arange(len(values)) % 5 - 2) * 0.045
            axis.plot(place + shift + spread, values, marker, ms=3.5, mfc=face, mec=COLOURS[name], color=COLOURS[name],
                      alpha=0.8, label=f"{name} for the consensus" if place == 0 else None)  # fmt: skip
            if len(values):
                axis.hlines(np.median(values), place + shift - 0.15, place + shift + 0.15, color="black", lw=1.5)
    axis.set_xticks(range(len(shares)), [f"{patient}\n{share:.0%} inflamed" for patient, share in shares.items()])
    axis.tick_params(axis="x", labelsize=7)
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("probability of inflammation")
    figure.legend(*axis.get_legend_handles_labels(), fontsize=7, ncols=2, loc="outside upper center")
    mark(figure, "real")
    return figure


def overlaps(table: pd.DataFrame, value: str, label: str) -> Figure:
    """A measure of overlap for every examination and pair, by kind of pair; the bar is the mean of the kind.

    Args:
        table: `patient, kind` and the column `value`.
        value: `dice` or `similarity`.
        label: of the axis.
    """
    kinds = list(dict.fromkeys(table["kind"]))
    patients = sorted(set(table["patient"]))
    figure, axes = new_figure(height=2.9)
    axis = axes[0, 0]
    for place, kind in enumerate(kinds):
        part = table[table["kind"] == kind]
        axis.hlines(part[value].mean(), place - 0.35, place + 0.35, color="black", lw=2)
        for number, patient in enumerate(patients):
            mine = part.loc[part["patient"] == patient, value]
            x = place + (number - (len(patients) - 1) / 2) * 0.1
            axis.plot([x] * len(mine), mine, _MARKERS[number % len(_MARKERS)], mfc="none", ms=5, color="#333333",
                      label=patient if place == 0 else None)  # fmt: skip
    axis.set_xticks(range(len(kinds)), kinds)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel(label)
    axis.legend(fontsize=7, ncols=3, loc="lower left")
    mark(figure, "real")
    return figure


def volumes(wide: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Volumes of inflammation against each other on logarithmic axes, one panel for each pair of columns.

    Args:
        wide: examinations by reading, mm³.
        pairs: columns to compare, x and y.
    """
    figure, axes = new_figure(1, len(pairs), width=2.4 * len(pairs), height=2.6)
    ends = np.array([max(wide.to_numpy()[wide.to_numpy() > 0].min() / 2, 1), wide.to_numpy().max() * 2])
    for axis, (x, y) in zip(axes[0], pairs, strict=True):
        axis.plot(ends, ends, color="#999999", lw=0.8)
        axis.plot(wide[x].clip(lower=ends[0]), wide[y].clip(lower=ends[0]), "o", mfc="none", color=COLOURS["inflamed"])
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(ends)
        axis.set_ylim(ends)
        axis.set_xlabel(f"{x}, mm³")
        axis.set_ylabel(f"{y}, mm³")
        axis.set_aspect("equal")
    mark(figure, "real")
    return figure


@dataclass(frozen=True)
class AreaCase:
    """A STIR slice with the area found, the ROIs it was looked for in, and what most readings drew."""

    title: str
    stir: NDArray[Any]
    found: NDArray[Any]
    drawn: NDArray[Any]
    spacing: tuple[float, float] = (1.0, 1.0)


def areas(cases: Sequence[AreaCase]) -> Figure:
    """STIR slices in columns: plain above, below with the readers' drawing (dashed) and the area found (solid)."""
    figure, axes = new_figure(2, max(len(cases), 1), width=1.9 * max(len(cases), 2), height=4.0)
    for column, case in zip(axes.T, cases, strict=False):
        show_slice(column[0], case.stir, case.spacing, case.title)
        show_slice(column[1], case.stir, case.spacing)
        outline(column[1], case.found, "inflamed", 1.4)
        if case.drawn.any():
            column[1].contour(case.drawn.astype(float), [0.5], colors="white", linewidths=1.0, linestyles="dashed")
    if not cases:
        for axis in axes.ravel():
            axis.set_axis_off()
    mark(figure, "real")
    return figure


def change(paired: pd.DataFrame, units: Mapping[str, str]) -> Figure:
    """Measurements before and after treatment of each subject, one panel for each measure; the diagonal is no change.

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
        axis.set_xlabel("before")
        axis.set_ylabel("after")
        axis.tick_params(labelsize=6)
    mark(figure, "real")
    return figure


def _forest(axis: Any, names: Sequence[str], value: pd.Series, low: pd.Series, high: pd.Series) -> None:
    places = np.arange(len(names))[::-1]
    known = np.isfinite(value.to_numpy(float))
    middle = value.to_numpy(float)[known]
    errors = np.stack([middle - low.to_numpy(float)[known], high.to_numpy(float)[known] - middle])
    axis.errorbar(middle, places[known], xerr=errors, fmt="s", ms=4, color="#222222", capsize=3, lw=1.2)
    axis.set_yticks(places, names, fontsize=8)
    axis.set_ylim(-0.6, len(names) - 0.4)
