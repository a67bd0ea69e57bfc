"""Figures of the ensemble: decision rules, thresholds, curves, abstention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.stats import Curve, Floats
from axspa_lib.study.plotting import COLOURS, mark, new_figure


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
