"""Figures of chapters 7 and 8, each drawn by the function that bears the name of its label (`fig-table1`: `table1`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL
from axspa_lib.study.plotting import COLOURS, draw_intervals, mark, new_figure

_GROUPS = (("readers", "reader", "s", "readers"), (CONSENSUS, "reader", "D", "consensus"),
           (MODEL, "model", "o", "models, mean"), (ENSEMBLE, "model", "^", "ensemble"))  # fmt: skip
_BAR = {"marker": "|", "linestyle": "", "color": "black", "markersize": 11, "markeredgewidth": 1.8}


def table1(cells: pd.DataFrame, kind: str) -> Figure:
    """Draw every cell of a table with its 95 % interval, the published figure (± deviation) as a black bar.

    Args:
        cells: of one table, as `table1`, `table2` and `table3` return them.
        kind: `phantom` or `real`, written on the figure.
    """
    known = cells.dropna(subset=["value"]).iloc[::-1].reset_index(drop=True)
    figure, axes = new_figure(1, 1, width=7.2, height=max(1.6, 0.24 * len(known) + 0.9))
    axis = axes[0, 0]
    for group, colour, marker, label in _GROUPS:
        part = known[known["group"] == group]
        draw_intervals(axis, part.index, part, colour, marker, label, across=True, markersize=5)
    paper = known.dropna(subset=["published"])
    spread = paper["published_sd"].fillna(0.0)
    axis.hlines(paper.index, paper["published"] - spread, paper["published"] + spread, color="black", linewidth=0.8)
    axis.plot(paper["published"], paper.index, label="published", **_BAR)
    axis.set_yticks(known.index, [f"{c.row} – {c.column} (n = {c.n})" for c in known.itertuples()], fontsize=7.5)
    axis.set_ylim(-0.7, len(known) - 0.3)
    axis.set_xlabel("MCC × 100 (95 % interval by patient)")
    axis.axvline(0, color=COLOURS["neutral"], linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=5, fontsize=7, handletextpad=0.3, columnspacing=1, frameon=False)
    mark(figure, kind)
    return figure


def ablations(cells: pd.DataFrame, kind: str) -> Figure:
    """Draw the loss against "all included" by cohort with paired 95 % intervals; the published loss as a black bar."""
    cohorts = list(dict.fromkeys(cells["column"]))
    rows = [name for name in dict.fromkeys(cells["row"]) if name != "All included"][::-1]
    figure, axes = new_figure(1, len(cohorts), width=7.2, height=0.32 * len(rows) + 1.4, sharey=True)
    for axis, cohort in zip(axes[0], cohorts, strict=True):
        part = cells[cells["column"] == cohort].set_index("row")
        base = part["published"].get("All included", np.nan)
        part = part.dropna(subset=["difference"])
        part = part.assign(value=part["difference"], low=part["difference_low"], high=part["difference_high"])
        for sure, face in ((True, COLOURS["model"]), (False, "white")):
            some = part[(part["p_holm"] < 0.05) == sure]
            index = [rows.index(name) for name in some.index]
            draw_intervals(axis, index, some, "model", across=True, markerfacecolor=face)
        axis.plot(part["published"] - base, [rows.index(name) for name in part.index], **_BAR)
        axis.axvline(0, color=COLOURS["neutral"], linewidth=0.6)
        axis.set_title(cohort)
        axis.set_xlabel("difference in MCC × 100")
    axes[0, 0].set_yticks(range(len(rows)), rows)
    axes[0, 0].set_ylim(-0.6, len(rows) - 0.4)
    figure.suptitle("filled: p < 0.05 after Holm's correction; black bar: published", fontsize=8)
    mark(figure, kind)
    return figure


def learning(table: pd.DataFrame, unit: str, rate: str, kind: str) -> Figure:
    """Draw a rate over the number of annotated patients: columns `patients`, `value`, `low`, `high`, `series`."""
    figure, axes = new_figure(1, 1, width=5.0, height=2.8)
    axis = axes[0, 0]
    for index, (name, part) in enumerate(table.groupby("series", sort=False)):
        colour, marker = COLOURS[("model", "inflamed", "joint", "reader")[index % 4]], "os^D"[index % 4]
        ordered = part.sort_values("patients")
        axis.fill_between(ordered["patients"], ordered["low"], ordered["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(ordered["patients"], ordered["value"], color=colour, marker=marker, label=str(name))
    axis.set_xlabel(unit)
    axis.set_ylabel(f"{rate} (95 % interval)")
    axis.legend(frameon=False)
    mark(figure, kind)
    return figure


def groups(tables: Mapping[str, pd.DataFrame], kind: str) -> Figure:
    """Draw MCC by group with intervals (`rates.by_group`), a panel for each grouping by its label."""
    widths = [max(len(table), 2) for table in tables.values()]
    figure, axes = new_figure(1, len(tables), height=2.7, sharey=True, gridspec_kw={"width_ratios": widths})
    for axis, (label, table) in zip(axes[0], tables.items(), strict=True):
        draw_intervals(axis, np.arange(len(table)), table, "model")
        ticks = [f"{part.group}\nn = {part.n}\n{part.patients} patients" for part in table.itertuples()]
        axis.set_xticks(range(len(table)), ticks, fontsize=7)
        axis.set_xlim(-0.6, len(table) - 0.4)
        axis.axhline(0, color=COLOURS["neutral"], linewidth=0.6)
        axis.set_xlabel(label)
    axes[0, 0].set_ylabel("MCC")
    mark(figure, kind)
    return figure


def lesion_size(table: pd.DataFrame | None, kind: str) -> Figure:
    """Draw the share of half-slices marked as inflamed by size of the lesion there (`rates.lesion_size`).

    Without a table, an empty frame says that the true lesions are not known.
    """
    figure, axes = new_figure(1, 1, width=6.2, height=3.0)
    axis = axes[0, 0]
    mark(figure, kind)
    if table is None:
        axis.text(0.5, 0.5, "The true lesions of these scans are not known.", ha="center", va="center")
        axis.set_axis_off()
        return figure
    names = list(dict.fromkeys(table["group"]))
    styles = (("reader", "D", -0.12), ("model", "^", 0.12))
    for (series, part), (colour, marker, shift) in zip(table.groupby("series", sort=False), styles, strict=True):
        positions = np.arange(len(names)) + shift
        draw_intervals(axis, positions, part.set_index("group").loc[names], colour, marker, str(series))
    counts = table.drop_duplicates("group")["n"]
    axis.set_xticks(range(len(names)), [f"{name}\nn = {n}" for name, n in zip(names, counts, strict=True)], fontsize=8)
    axis.axvline(0.5, color=COLOURS["neutral"], linewidth=0.6, linestyle=":")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("volume of the largest oedema that crosses the half-slice, mm³")
    axis.set_ylabel("half-slices marked inflamed\n(share, 95 % interval)")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return figure
