"""Figure of the run itself: what each job took."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from axspa_lib.study.plotting import COLOURS, new_figure


def durations(jobs: pd.DataFrame) -> Figure:
    """Draw every job's time by kind, on a logarithmic axis, with each kind's share.

    Args:
        jobs: `kind`, `seconds`; kinds in the order of their first row.
    """
    kinds = list(dict.fromkeys(jobs["kind"]))
    whole = max(float(jobs["seconds"].sum()), 1e-9)
    figure, axes = new_figure(1, 1, width=7.2, height=0.36 * len(kinds) + 0.9)
    axis = axes[0, 0]
    for place, kind in enumerate(reversed(kinds)):
        seconds = np.sort(jobs.loc[jobs["kind"] == kind, "seconds"].to_numpy(float)).clip(min=0.1)
        shift = 0.5 * ((np.arange(len(seconds)) * 0.618) % 1 - 0.5) if len(seconds) > 1 else np.zeros(1)
        axis.plot(seconds, place + shift, "o", color=COLOURS["model"], markersize=4, alpha=0.6, markeredgewidth=0)
        axis.plot(np.median(seconds), place, "|", color="black", markersize=14, markeredgewidth=1.8)
    shares = [jobs.loc[jobs["kind"] == kind, "seconds"].sum() / whole for kind in kinds]
    names = [f"{kind} ({share:.0%} of the time)" for kind, share in zip(kinds, shares, strict=True)]
    axis.set_yticks(range(len(kinds)), names[::-1], fontsize=7.5)
    axis.set_ylim(-0.6, len(kinds) - 0.4)
    axis.set_xscale("log")
    axis.set_xlabel("seconds of one job (each a point; black: median)")
    return figure
