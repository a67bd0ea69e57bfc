"""Figure 2 of the paper and what the preprocessing does to the differences between scanners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.study.plotting import COLOURS, mark, new_figure, show_slice

#: Few colours, so that they stay what they are in a picture of 256.
_APART = mpl.colormaps["PuOr"].resampled(15)

Images = Mapping[str, NDArray[np.generic]]


def preprocessing_steps(
    traces: Mapping[str, Images],
    spacings: Mapping[str, tuple[float, float]],
    steps: Sequence[str] | None = None,
    kind: str | None = None,
) -> Figure:
    """Figure 2: every step of the preprocessing (columns) on several slices (rows), with each image's histogram.

    Args:
        traces: by name of the slice, the images after each step, as `preprocess_slice` leaves them in its `trace`.
        spacings: by name of the slice, its original pixel size `(row, column)` in mm.
        steps: the steps to draw, all of the first trace when not given.
        kind: `phantom` or `real`, written below.
    """
    names = list(steps or next(iter(traces.values())))
    figure, axes = new_figure(2 * len(traces), len(names), width=1.75 * len(names), height=2.3 * len(traces),
                              height_ratios=[4, 1] * len(traces))  # fmt: skip
    for row, (slice_name, trace) in enumerate(traces.items()):
        rows, columns = trace["input"].shape[:2]
        height, width = rows * spacings[slice_name][0], columns * spacings[slice_name][1]
        for column, step in enumerate(names):
            picture, histogram = axes[2 * row, column], axes[2 * row + 1, column]
            if step not in trace:
                picture.set_axis_off()
                histogram.set_axis_off()
                continue
            image = np.asarray(trace[step], float)
            show_slice(picture, image, (height / image.shape[0], width / image.shape[1]), step if row == 0 else "")
            shown = image[image != 0]
            if len(shown):
                low, high = np.percentile(shown, [0.5, 99.5])
                levels = np.arange(-0.5, 256, 4) if trace[step].dtype == np.uint8 else 64
                reach = (low, max(high, low + 1e-6))
                counts, *_ = histogram.hist(shown, bins=levels, range=reach, color=COLOURS["neutral"])
                histogram.set_ylim(0, 1.1 * max(np.sort(counts)[-2], 1))  # one level of air may stand out of the rest
            histogram.set_yticks([])
            histogram.tick_params(labelsize=6)
        label = f"{slice_name}\n{height:.0f} × {width:.0f} mm"
        axes[2 * row, 0].text(
            -0.06, 0.5, label, rotation=90, ha="right", va="center", transform=axes[2 * row, 0].transAxes, fontsize=8
        )
        axes[2 * row + 1, 0].set_ylabel("pixels", fontsize=7)
    figure.supxlabel(
        "intensity (arbitrary units up to the last step, then grey levels 0–255; zeros left out)", fontsize=8
    )
    if kind is not None:
        mark(figure, kind)
    return figure


def preprocessing_difference(
    first: NDArray[np.uint8], second: NDArray[np.uint8], names: tuple[str, str], kind: str | None = None
) -> Figure:
    """Two preprocessed versions of one slice and where they differ, in grey levels.

    Args:
        first: `(row, column)` uint8.
        second: the same slice preprocessed otherwise.
        names: what each is.
        kind: `phantom` or `real`, written below.
    """
    difference = second.astype(int) - first
    figure, axes = new_figure(1, 4, width=9.0, height=2.6, width_ratios=[1, 1, 1.15, 1])
    show_slice(axes[0, 0], first, title=names[0])
    show_slice(axes[0, 1], second, title=names[1])
    limit = max(int(np.percentile(np.abs(difference), 99.5)), 1)
    drawn = axes[0, 2].imshow(difference, cmap=_APART, vmin=-limit, vmax=limit)
    axes[0, 2].set_axis_off()
    axes[0, 2].set_title("difference")
    figure.colorbar(drawn, ax=axes[0, 2], label="grey levels", shrink=0.85)
    histogram = axes[0, 3]
    sizes = np.arange(np.abs(difference).max() + 1)
    share = np.bincount(np.abs(difference).ravel(), minlength=len(sizes)) / difference.size
    histogram.bar(sizes, np.maximum(share, 1e-7) * 100, color=COLOURS["model"], width=0.9)
    histogram.set(yscale="log", xlabel="|difference|, grey levels", ylabel="pixels, %", title=f"equal: {share[0]:.2%}")
    if kind is not None:
        mark(figure, kind)
    return figure


def step_effects(whole: NDArray[np.uint8], without: Mapping[str, NDArray[np.uint8]], kind: str | None = None) -> Figure:
    """What each step does to the result: the slice with all steps and without each of them, and their differences.

    Args:
        whole: `(row, column)` uint8, with all steps.
        without: the same slice without one step, by what it lacks, on the same grid.
        kind: `phantom` or `real`, written below.
    """
    apart = {name: whole.astype(int) - image for name, image in without.items()}
    limit = max([1, *(int(np.percentile(np.abs(values), 99)) for values in apart.values())])
    figure, axes = new_figure(2, 1 + len(without), width=2.2 * (1 + len(without)), height=4.6)
    show_slice(axes[0, 0], whole, title="all steps")
    levels = np.arange(257)
    axes[1, 0].hist(whole.ravel(), bins=levels[::8], color=COLOURS["neutral"])
    axes[1, 0].set(xlabel="grey level", ylabel="pixels", title="all steps", yticks=[])
    for column, (name, image) in enumerate(without.items(), start=1):
        show_slice(axes[0, column], image, title=name)
        drawn = axes[1, column].imshow(apart[name], cmap=_APART, vmin=-limit, vmax=limit)
        axes[1, column].set_axis_off()
        axes[1, column].set_title(f"difference, {np.abs(apart[name]).mean():.0f} levels on average", fontsize=8)
        if column == len(without):
            figure.colorbar(drawn, ax=list(axes[:, column]), label="difference, grey levels", shrink=0.6)
    if kind is not None:
        mark(figure, kind)
    return figure


def scanner_distances(distances: pd.DataFrame, steps: Sequence[str] | None = None, kind: str | None = None) -> Figure:
    """Distance between scanners in the intensity of one tissue, after each step of the preprocessing.

    Args:
        distances: `step, first, second, distance`, one row per pair of scanners, as from `tissue_distances`.
        steps: order of the steps, as they first appear when not given.
        kind: `phantom` or `real`, written below.
    """
    order = list(steps or dict.fromkeys(distances["step"]))
    figure, axes = new_figure(1, 1, width=6.4, height=3.0)
    axis = axes[0, 0]
    wide = distances.pivot_table(index=["first", "second"], columns="step", values="distance")[order]
    for values in wide.to_numpy():
        axis.plot(range(len(order)), values, color=COLOURS["neutral"], alpha=0.35, linewidth=0.8, marker=".")
    median = wide.median()
    axis.plot(range(len(order)), median, color=COLOURS["model"], marker="o", label="median of the pairs")
    for place, value in enumerate(median):
        axis.annotate(f"{value:.3f}", (place, value), textcoords="offset points", xytext=(4, 5), fontsize=8)
    axis.set_xticks(range(len(order)), order)
    axis.set(ylabel="same tissue between scanners:\nWasserstein distance,\nshare of the slice's range", ylim=(0, None))
    axis.legend(frameon=False)
    if kind is not None:
        mark(figure, kind)
    return figure
