"""Figures of the results: agreement against the published tables, curves, decision rules, abstention, ablations."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.diagnosis.figures import _bars, _finished
from axspa_lib.diagnosis.readings import ENSEMBLE, MODEL
from axspa_lib.study.plotting import COLOURS, new_figure

_KINDS = {"readers": ("reader", "s"), "Consensus": ("reader", "D"), MODEL: ("model", "o"), ENSEMBLE: ("model", "^")}


def forest(cells: pd.DataFrame, title: str = "", kind: str | None = None) -> Figure:
    """MCC of every cell of a table with its 95 % interval, the published figure (± deviation) as a black bar.

    Args:
        cells: of one table, as `tables.table1_cells` and its siblings return them.
        title: above the figure.
        kind: `phantom` or `real`, written on the figure.
    """
    shown = cells.dropna(subset=["value"]).reset_index(drop=True)
    figure, axes = new_figure(1, 1, width=7.2, height=max(1.6, 0.24 * len(shown) + 0.9))
    axis = axes[0, 0]
    for place, cell in shown.iterrows():
        y = len(shown) - 1 - int(str(place))
        colour, marker = _KINDS.get(str(cell["group"]).split(" ")[0], ("model", "o"))
        axis.plot([cell["low"], cell["high"]], [y, y], color=COLOURS[colour], linewidth=1.5)
        axis.plot(cell["value"], y, marker=marker, color=COLOURS[colour], markersize=5)
        if np.isfinite(cell["published"]):
            spread = cell["published_sd"] if np.isfinite(cell["published_sd"]) else 0.0
            axis.plot([cell["published"] - spread, cell["published"] + spread], [y, y], color="black", linewidth=0.8)
            axis.plot(cell["published"], y, marker="|", color=COLOURS["published"], markersize=11, markeredgewidth=1.8)
    names = [f"{c['row']} – {c['column']} (n = {int(c['n'])})" for _, c in shown.iterrows()]
    axis.set_yticks(range(len(shown)), names[::-1], fontsize=7.5)
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.set_xlabel("MCC × 100 (95 % interval by patient)")
    axis.axvline(0, color=COLOURS["neutral"], linewidth=0.6)
    entries = [("reader", "s", "readers"), ("reader", "D", "consensus"), ("model", "o", "models, mean")]
    for colour, marker, label in [*entries, ("model", "^", "ensemble"), ("published", "|", "published")]:
        axis.plot([], [], color=COLOURS[colour], marker=marker, linestyle="", label=label, markeredgewidth=1.5)
    figure.legend(loc="outside upper center", ncols=5, fontsize=7, handletextpad=0.3, columnspacing=1, frameon=False)
    axis.set_title(title, loc="left")
    return _finished(figure, "", kind)


def ablations(cells: pd.DataFrame, kind: str | None = None) -> Figure:
    """Table 4: loss against "all included" by cohort with paired 95 % intervals; the published loss as a black bar."""
    cohorts = list(dict.fromkeys(cells["column"]))
    rows = [name for name in dict.fromkeys(cells["row"]) if name != "All included"]
    figure, axes = new_figure(1, max(len(cohorts), 1), width=7.2, height=0.32 * len(rows) + 1.4, sharey=True)
    for axis, cohort in zip(axes[0], cohorts, strict=True):
        part = cells[cells["column"] == cohort].set_index("row")
        base = part["published"].get("All included", np.nan)
        for place, name in enumerate(rows[::-1]):
            if name not in part.index or not np.isfinite(part.loc[name].get("difference", np.nan)):
                continue
            cell = part.loc[name]
            axis.plot([cell["difference_low"], cell["difference_high"]], [place, place], color=COLOURS["model"])
            filled = cell["p_holm"] < 0.05
            face = COLOURS["model"] if filled else "white"
            axis.plot(cell["difference"], place, "o", color=COLOURS["model"], markerfacecolor=face)
            axis.plot(cell["published"] - base, place, "|", color="black", markersize=11, markeredgewidth=1.8)
        axis.axvline(0, color=COLOURS["neutral"], linewidth=0.6)
        axis.set_title(cohort)
        axis.set_xlabel("difference in MCC × 100")
    axes[0, 0].set_yticks(range(len(rows)), rows[::-1])
    axes[0, 0].set_ylim(-0.6, len(rows) - 0.4)
    return _finished(figure, "filled: p < 0.05 after Holm's correction; black bar: published", kind)


def learning_curve(table: pd.DataFrame, unit: str, rate: str = "MCC × 100", kind: str | None = None) -> Figure:
    """A rate over the number of annotated patients: columns `patients`, `value`, `low`, `high`, optionally `series`."""
    figure, axes = new_figure(1, 1, width=5.0, height=2.8)
    axis = axes[0, 0]
    series = table.groupby("series", sort=False) if "series" in table else [("", table)]
    colours = [COLOURS[name] for name in ("model", "inflamed", "joint", "reader")]
    for place, (name, part) in enumerate(series):
        colour = colours[place % len(colours)]
        ordered = part.sort_values("patients")
        axis.fill_between(ordered["patients"], ordered["low"], ordered["high"], color=colour, alpha=0.15, linewidth=0)
        axis.plot(ordered["patients"], ordered["value"], color=colour, marker="os^D"[place % 4], label=str(name))
    axis.set_xlabel(unit)
    axis.set_ylabel(f"{rate} (95 % interval)")
    if "series" in table:
        axis.legend(frameon=False)
    return _finished(figure, "", kind)


def groups(tables: Mapping[str, pd.DataFrame], rate: str = "MCC", kind: str | None = None) -> Figure:
    """A rate by group with intervals (`tables.beyond.by_group`), a panel for each grouping by its label."""
    widths = [max(len(table), 2) for table in tables.values()]
    figure, axes = new_figure(1, len(tables), height=2.7, sharey=True, gridspec_kw={"width_ratios": widths})
    for axis, (label, table) in zip(axes[0], tables.items(), strict=True):
        _bars(axis, np.arange(len(table)), table, COLOURS["model"], "o", rate)
        ticks = [f"{name}\nn = {n}\n{p} patients" for name, n, p in zip(table["group"], table["n"], table["patients"],
                                                                     strict=True)]  # fmt: skip
        axis.set_xticks(range(len(table)), ticks, fontsize=7)
        axis.set_xlim(-0.6, len(table) - 0.4)
        axis.axhline(0, color=COLOURS["neutral"], linewidth=0.6)
        axis.set_xlabel(label)
    axes[0, 0].set_ylabel(rate)
    return _finished(figure, "", kind)


def marked_by_size(table: pd.DataFrame | None, kind: str | None = None) -> Figure:
    """Share of half-slices marked as inflamed by size of the lesion there (`tables.lesion_size.marked_by_size`).

    Without a table, an empty frame that says that the true lesions are not known.
    """
    figure, axes = new_figure(1, 1, width=6.2, height=3.0)
    axis = axes[0, 0]
    if table is None:
        axis.text(0.5, 0.5, "The true lesions of these scans are not known.", ha="center", va="center")
        axis.set_axis_off()
        return _finished(figure, "", kind)
    names = list(dict.fromkeys(table["group"]))
    styles = (("reader", "D", -0.12), ("model", "^", 0.12), ("joint", "s", 0.3))
    for (series, part), (colour, marker, shift) in zip(table.groupby("series", sort=False), styles, strict=False):
        part = part.set_index("group").loc[names]
        _bars(axis, np.arange(len(names)) + shift, part, COLOURS[colour], marker, str(series))
    counts = table.drop_duplicates("group").set_index("group")["n"]
    axis.set_xticks(range(len(names)), [f"{name}\nn = {counts[name]}" for name in names], fontsize=8)
    axis.axvline(0.5, color=COLOURS["neutral"], linewidth=0.6, linestyle=":")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("volume of the largest oedema that crosses the half-slice, mm³")
    axis.set_ylabel("half-slices marked inflamed\n(share, 95 % interval)")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    return _finished(figure, "", kind)
