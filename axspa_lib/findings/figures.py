"""Figure of chapter 12, drawn by the function that bears the name of its label (`fig-findings`: `findings`)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.study.plotting import COLOURS, draw_intervals, mark, new_figure


def findings(table: pd.DataFrame) -> Figure:
    """Draw the claims' figures on phantom and public real MRI with intervals, published as a bar, limits dotted."""
    table = table.iloc[::-1].reset_index(drop=True)
    figure, axes = new_figure(1, 1, width=7.2, height=0.42 * len(table) + 1.0)
    axis = axes[0, 0]
    sources = (("phantom", "phantom", "model", "o", 0.15), ("public", "public real MRI", "inflamed", "s", -0.15))
    for source, label, colour, marker, shift in sources:
        names = {source: "value", f"{source}_low": "low", f"{source}_high": "high"}
        part = table[list(names)].rename(columns=names)
        draw_intervals(axis, np.arange(len(part)) + shift, part, colour, marker, label, across=True, markersize=5)
    bar = {"marker": "|", "linestyle": "", "color": "black", "markersize": 12, "markeredgewidth": 1.8}
    axis.plot(table["published"], table.index, label="published", **bar)
    limits = table["rule"].str.extract(r"above (\S+),")[0].astype(float)
    style = {"color": COLOURS["neutral"], "linestyle": ":", "linewidth": 1.2}
    axis.vlines(limits, table.index - 0.35, table.index + 0.35, label="limit of the rule", **style)
    axis.set_yticks(table.index, table["claim"], fontsize=7)
    figure.legend(loc="outside upper center", ncols=4, fontsize=7, frameon=False)
    axis.set_xlabel("points × 100, or % (95 % interval)")
    mark(figure, "both")
    return figure
