"""Figures of the results: agreement against the published tables, curves, decision rules, abstention, ablations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.agreement import Curve, Floats
from axspa_lib.figures.style import COLOURS, mark, new_figure
from axspa_lib.tables.cells import ENSEMBLE, MODEL

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


def decision_rules(rules: pd.DataFrame, kind: str | None = None) -> Figure:
    """MCC, sensitivity and specificity of the ensemble under each decision rule (`tables.beyond.rule_sensitivity`)."""
    figure, axes = new_figure(1, 1, width=5.5, height=2.8)
    axis = axes[0, 0]
    names = list(dict.fromkeys(rules["rule"]))
    styles = (
        ("MCC", "published", "o", -0.18),
        ("sensitivity", "inflamed", "^", 0.0),
        ("specificity", "healthy", "s", 0.18),
    )
    for rate, colour, marker, shift in styles:
        part = rules[rules["rate"] == rate].set_index("rule").loc[names]
        _bars(axis, np.arange(len(names)) + shift, part, COLOURS[colour], marker, rate)
    positives = rules.drop_duplicates("rule").set_index("rule").loc[names, "positives"]
    ticks = [f"{str(name).replace('>= ', '≥ ')}\n{positives[name]} positive" for name in names]
    axis.set_xticks(range(len(names)), ticks)
    axis.set_xlabel("decision rule: positive half-slices, or consecutive slices (ASAS)")
    axis.set_ylabel("rate (95 % interval)")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return _finished(figure, "", kind)


def thresholds(sweep: pd.DataFrame, used: float, kind: str | None = None) -> Figure:
    """MCC on patients and share of wrong box counts over the score threshold (`tables.beyond.threshold_sweep`)."""
    figure, axes = new_figure(1, 1, width=5.5, height=2.8)
    axis = axes[0, 0]
    axis.fill_between(sweep["threshold"], sweep["low"], sweep["high"], color=COLOURS["model"], alpha=0.2, linewidth=0)
    axis.plot(sweep["threshold"], sweep["value"], color=COLOURS["model"], marker="o", label="MCC on patients")
    label = "half-slices with a wrong number of boxes"
    axis.plot(sweep["threshold"], sweep["wrong_counts"], color=COLOURS["inflamed"], linestyle="--", label=label)
    axis.axvline(used, color=COLOURS["published"], linewidth=0.8, linestyle=":", label=f"used: {used:g}")
    axis.set_xlabel("score threshold")
    axis.set_ylabel("MCC, share")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=7.5, frameon=False)
    return _finished(figure, "", kind)


def curves(
    roc: Mapping[str, Curve],
    precision_recall: Mapping[str, Curve],
    prevalence: Mapping[str, float],
    kind: str | None = None,
    bands: tuple[Mapping[str, Floats], Mapping[str, Floats]] = ({}, {}),
) -> Figure:
    """ROC and precision-recall curves by name, the area with its interval in the legend, pointwise bands as shadows.

    Args:
        roc: by name.
        precision_recall: by name.
        prevalence: share of inflamed cases by name, which a score without knowledge has as precision.
        kind: `phantom` or `real`, written on the figure.
        bands: of both, rows `x, low, high` (`tables.bands.band`).
    """
    figure, axes = new_figure(1, 2, width=7.2, height=3.9)
    styles = ("-", "--", ":", "-.")
    palette = ("model", "inflamed", "joint", "reader")
    left, right = axes[0]
    for axis, found, shadows in zip((left, right), (roc, precision_recall), bands, strict=True):
        for place, (name, curve) in enumerate(found.items()):
            ends = f"[{curve.area.low:.2f}, {curve.area.high:.2f}]"
            if curve.area.low == curve.area.high:  # a perfect order stays perfect in every resample
                ends = "(no interval: no pair in wrong order)" if curve.area.value == 1 else "(no interval)"
            area = f"{name}: {curve.area.value:.2f} {ends}"
            colour, style = COLOURS[palette[place % len(palette)]], styles[place % len(styles)]
            axis.step(curve.x, curve.y, where="post", color=colour, linestyle=style, label=area)
            if name in shadows:
                x, low, high = shadows[name].T
                axis.fill_between(x, low, high, step="post", color=colour, alpha=0.12 + 0.06 * place, linewidth=0)
            if axis is right:
                axis.axhline(prevalence[name], color=colour, linestyle=style, linewidth=0.6)
        axis.set_xlim(-0.02, 1.02)
        axis.set_ylim(-0.02, 1.02)
        axis.set_aspect("equal")
    left.plot([0, 1], [0, 1], color=COLOURS["neutral"], linewidth=0.6)
    left.set_xlabel("1 – specificity")
    left.set_ylabel("sensitivity")
    right.set_xlabel("recall (sensitivity)")
    right.set_ylabel("precision")
    for axis, title in ((left, "area under the ROC"), (right, "average precision (thin: prevalence)")):
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=7, title=title, title_fontsize=7.5,
                    alignment="left", frameon=False)  # fmt: skip
    return _finished(figure, "", kind)


def reliability(rows: Floats, brier: float, kind: str | None = None) -> Figure:
    """Share of inflamed half-slices against the mean score (`agreement.calibration`), size by number of cases."""
    figure, axes = new_figure(1, 1, width=3.6, height=3.4)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=COLOURS["neutral"], linewidth=0.6)
    axis.vlines(rows[:, 0], rows[:, 2], rows[:, 3], color=COLOURS["model"])
    axis.scatter(
        rows[:, 0], rows[:, 1], s=12 + 120 * rows[:, 4] / max(rows[:, 4].max(initial=1), 1), color=COLOURS["model"]
    )
    axis.set_xlabel("mean score of the bin")
    axis.set_ylabel("share inflamed (95 % interval)")
    axis.set_title(f"Brier score {brier:.3f}")
    axis.set_aspect("equal")
    return _finished(figure, "", kind)


def abstention(table: pd.DataFrame, kind: str | None = None) -> Figure:
    """Accuracy and MCC over the share of patients answered (`tables.beyond.abstention`)."""
    figure, axes = new_figure(1, 2, width=7.2, height=2.7, sharex=True)
    names = (("accuracy", "accuracy_low", "accuracy_high", "accuracy"), ("value", "low", "high", "MCC"))
    for axis, (value, low, high, label) in zip(axes[0], names, strict=True):
        axis.fill_between(table["answered"], table[low], table[high], color=COLOURS["model"], alpha=0.2, linewidth=0)
        axis.plot(table["answered"], table[value], color=COLOURS["model"], marker="o", markersize=3)
        axis.set_xlabel("share of patients answered, most certain first")
        axis.set_ylabel(f"{label} (95 % interval)")
    axes[0, 0].invert_xaxis()
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


def findings(table: pd.DataFrame) -> Figure:
    """The claims' figures on phantom and public real MRI with intervals, published as a bar, limits dotted."""
    figure, axes = new_figure(1, 1, width=7.2, height=0.42 * len(table) + 1.0)
    axis = axes[0, 0]
    for place, (_, row) in enumerate(table.iloc[::-1].iterrows()):
        limit = float(str(row["rule"]).split("above ")[1].split(",")[0])
        axis.plot([limit, limit], [place - 0.35, place + 0.35], color=COLOURS["neutral"], linestyle=":", linewidth=1.2)
        for source, colour, marker, shift in (("phantom", "model", "o", 0.15), ("public", "inflamed", "s", -0.15)):
            if np.isfinite(row[source]):
                ends = [row[f"{source}_low"], row[f"{source}_high"]]
                axis.plot(ends, [place + shift] * 2, color=COLOURS[colour])
                axis.plot(row[source], place + shift, marker, color=COLOURS[colour], markersize=5)
        axis.plot(row["published"], place, "|", color="black", markersize=12, markeredgewidth=1.8)
    axis.set_yticks(range(len(table)), table["claim"].iloc[::-1], fontsize=7)
    for source, colour, marker in (("phantom", "model", "o"), ("public real MRI", "inflamed", "s")):
        axis.plot([], [], marker, color=COLOURS[colour], label=source)
    axis.plot([], [], "|", color="black", label="published", markersize=12, markeredgewidth=1.8)
    axis.plot([], [], ":", color=COLOURS["neutral"], label="limit of the rule")
    figure.legend(loc="outside upper center", ncols=4, fontsize=7, frameon=False)
    axis.set_xlabel("points × 100, or % (95 % interval)")
    return _finished(figure, "", "both")


def _bars(axis: Axes, x: NDArray[Any], table: pd.DataFrame, colour: str, marker: str, label: str) -> None:
    axis.vlines(x, table["low"], table["high"], color=colour)
    axis.plot(x, table["value"], marker=marker, linestyle="", color=colour, label=label)


def _finished(figure: Figure, title: str, kind: str | None) -> Figure:
    if title:
        figure.suptitle(title, fontsize=8)
    if kind is not None:
        engine, strip = figure.get_layout_engine(), 0.16 / figure.get_size_inches()[1]
        if engine is not None:
            engine.set(rect=(0, strip, 1, 1 - strip))  # type: ignore[call-arg]
        mark(figure, kind)
    return figure
