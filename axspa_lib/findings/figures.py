"""Figure of the claims, on phantom and on real MRI."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.diagnosis.figures import _finished
from axspa_lib.study.plotting import COLOURS, new_figure


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
