"""Figures of chapter 6, each drawn by the function that bears the name of its label (`fig-rules`: `rules`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.stats.counts import Floats
from axspa_lib.stats.curves import Curve
from axspa_lib.study.plotting import COLOURS, draw_intervals, mark, new_figure

_ABOVE = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}


def rules(table: pd.DataFrame, kind: str) -> Figure:
    """Draw MCC, sensitivity and specificity of the ensemble under each decision rule (`sweeps.rule_sensitivity`)."""
    figure, axes = new_figure(1, 1, width=5.5, height=2.8)
    axis = axes[0, 0]
    names = list(dict.fromkeys(table["rule"]))
    styles = (("MCC", "published", "o", -0.18), ("sensitivity", "inflamed", "^", 0.0),
              ("specificity", "healthy", "s", 0.18))  # fmt: skip
    for rate, colour, marker, shift in styles:
        part = table[table["rate"] == rate].set_index("rule").loc[names]
        draw_intervals(axis, np.arange(len(names)) + shift, part, colour, marker, rate)
    ticks = [f"{str(name).replace('>= ', '≥ ')}\n{part['positives'].iloc[0]} positive"
             for name, part in table.groupby("rule", sort=False)]  # fmt: skip
    axis.set_xticks(range(len(names)), ticks)
    axis.set_xlabel("decision rule: positive half-slices, or consecutive slices (ASAS)")
    axis.set_ylabel("rate (95 % interval)")
    axis.legend(ncols=3, **_ABOVE)
    mark(figure, kind)
    return figure


def thresholds(sweep: pd.DataFrame, used: float, kind: str) -> Figure:
    """Draw MCC on patients and share of wrong box counts over the score threshold (`sweeps.threshold_sweep`)."""
    figure, axes = new_figure(1, 1, width=5.5, height=2.8)
    axis = axes[0, 0]
    axis.fill_between(sweep["threshold"], sweep["low"], sweep["high"], color=COLOURS["model"], alpha=0.2, linewidth=0)
    axis.plot(sweep["threshold"], sweep["value"], color=COLOURS["model"], marker="o", label="MCC on patients")
    label = "half-slices with a wrong number of boxes"
    axis.plot(sweep["threshold"], sweep["wrong_counts"], color=COLOURS["inflamed"], linestyle="--", label=label)
    axis.axvline(used, color=COLOURS["published"], linewidth=0.8, linestyle=":", label=f"used: {used:g}")
    axis.set_xlabel("score threshold")
    axis.set_ylabel("MCC, share")
    axis.legend(ncols=3, fontsize=7.5, **_ABOVE)
    mark(figure, kind)
    return figure


def roc(
    roc: Mapping[str, Curve],
    precision_recall: Mapping[str, Curve],
    bands: tuple[Mapping[str, Floats], Mapping[str, Floats]],
    prevalence: Mapping[str, float],
    kind: str,
) -> Figure:
    """Draw ROC and precision-recall curves by name, the area in the legend, pointwise bands as shadows.

    Args:
        roc: by name.
        precision_recall: by name.
        bands: of both, rows `x, low, high` (`stats.curves.band`).
        prevalence: share of inflamed cases by name, which a score without knowledge has as precision.
        kind: `phantom` or `real`, written on the figure.
    """
    figure, axes = new_figure(1, 2, width=7.2, height=3.9)
    left, right = axes[0]
    for axis, found, shadows in zip((left, right), (roc, precision_recall), bands, strict=True):
        for index, (name, curve) in enumerate(found.items()):
            ends = f"[{curve.area.low:.2f}, {curve.area.high:.2f}]"
            if curve.area.low == curve.area.high:  # a perfect order stays perfect in every resample
                ends = "(no interval: no pair in wrong order)" if curve.area.value == 1 else "(no interval)"
            colour, style = (
                COLOURS[("model", "inflamed", "joint", "reader")[index % 4]],
                ("-", "--", ":", "-.")[index % 4],
            )
            label = f"{name}: {curve.area.value:.2f} {ends}"
            axis.step(curve.x, curve.y, where="post", color=colour, linestyle=style, label=label)
            x, low, high = shadows[name].T
            axis.fill_between(x, low, high, step="post", color=colour, alpha=0.12 + 0.06 * index, linewidth=0)
            if axis is right:
                axis.axhline(prevalence[name], color=colour, linestyle=style, linewidth=0.6)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    left.plot([0, 1], [0, 1], color=COLOURS["neutral"], linewidth=0.6)
    left.set(xlabel="1 – specificity", ylabel="sensitivity")
    right.set(xlabel="recall (sensitivity)", ylabel="precision")
    for axis, title in ((left, "area under the ROC"), (right, "average precision (thin: prevalence)")):
        axis.legend(fontsize=7, title=title, title_fontsize=7.5, alignment="left", **_ABOVE)
    mark(figure, kind)
    return figure


def reliability(rows: Floats, brier: float, kind: str) -> Figure:
    """Draw the share of inflamed half-slices over the mean score (`stats.curves.calibration`), size by cases."""
    figure, axes = new_figure(1, 1, width=3.6, height=3.4)
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=COLOURS["neutral"], linewidth=0.6)
    axis.vlines(rows[:, 0], rows[:, 2], rows[:, 3], color=COLOURS["model"])
    sizes = 12 + 120 * rows[:, 4] / max(rows[:, 4].max(initial=1), 1)
    axis.scatter(rows[:, 0], rows[:, 1], s=sizes, color=COLOURS["model"])
    axis.set_xlabel("mean score of the bin")
    axis.set_ylabel("share inflamed (95 % interval)")
    axis.set_title(f"Brier score {brier:.3f}")
    axis.set_aspect("equal")
    mark(figure, kind)
    return figure


def abstention(table: pd.DataFrame, kind: str) -> Figure:
    """Draw accuracy and MCC over the share of patients answered (`sweeps.abstention`)."""
    figure, axes = new_figure(1, 2, width=7.2, height=2.7, sharex=True)
    names = (("accuracy", "accuracy_low", "accuracy_high", "accuracy"), ("value", "low", "high", "MCC"))
    for axis, (value, low, high, label) in zip(axes[0], names, strict=True):
        axis.fill_between(table["answered"], table[low], table[high], color=COLOURS["model"], alpha=0.2, linewidth=0)
        axis.plot(table["answered"], table[value], color=COLOURS["model"], marker="o", markersize=3)
        axis.set_xlabel("share of patients answered, most certain first")
        axis.set_ylabel(f"{label} (95 % interval)")
    axes[0, 0].invert_xaxis()
    mark(figure, kind)
    return figure
