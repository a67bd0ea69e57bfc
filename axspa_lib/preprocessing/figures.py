"""Figure 2 of the paper and what the preprocessing does to the differences between scanners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.preprocessing.scanner_distance import ScannerSlice
from axspa_lib.preprocessing.steps import Trace
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, show_slice

#: Few colours, so that they stay what they are in a picture of 256.
_APART = mpl.colormaps["PuOr"].resampled(15)

#: One slice preprocessed in several ways, by what each is; the first is what the others are compared with.
Versions = Mapping[str, NDArray[np.uint8]]


def preprocessing_steps(slices: Sequence[ScannerSlice], traces: Sequence[Trace], kind: str) -> Figure:
    """Draw Figure 2: every step of the preprocessing (columns) on several slices (rows), with histograms.

    Args:
        slices: as they were stored.
        traces: of each, the images after each step (`trace_slice`); the steps of the first are drawn.
        kind: `phantom` or `real`, written below.
    """
    if not slices:
        return figure_without_images()
    steps = list(traces[0])
    figure, axes = new_figure(2 * len(slices), len(steps), width=1.75 * len(steps), height=2.3 * len(slices),
                              height_ratios=[4, 1] * len(slices))  # fmt: skip
    for row, (slice_, trace) in enumerate(zip(slices, traces, strict=True)):
        height, width = (size * mm for size, mm in zip(slice_.image.shape, slice_.spacing, strict=True))
        for column, step in enumerate(steps):
            picture, histogram = axes[2 * row : 2 * row + 2, column]
            if step not in trace:
                picture.set_axis_off()
                histogram.set_axis_off()
                continue
            image = np.asarray(trace[step], float)
            show_slice(picture, image, (height / image.shape[0], width / image.shape[1]), step if row == 0 else "")
            _histogram(histogram, image[image != 0], grey_levels=trace[step].dtype == np.uint8)
        axes[2 * row, 0].text(-0.06, 0.5, f"{slice_.name}\n{height:.0f} × {width:.0f} mm", rotation=90, ha="right",
                              va="center", transform=axes[2 * row, 0].transAxes, fontsize=8)  # fmt: skip
        axes[2 * row + 1, 0].set_ylabel("pixels", fontsize=7)
    figure.supxlabel(
        "intensity (arbitrary units up to the last step, then grey levels 0–255; zeros left out)", fontsize=8
    )
    mark(figure, kind)
    return figure


def _histogram(axis: Axes, values: NDArray[np.floating], grey_levels: bool) -> None:
    if len(values):
        low, high = np.percentile(values, [0.5, 99.5])
        levels = [*np.arange(-0.5, 256, 4)] if grey_levels else 64
        reach = (low, max(high, low + 1e-6))
        counts, *_ = axis.hist(values, bins=levels, range=reach, color=COLOURS["neutral"])
        axis.set_ylim(0, 1.1 * max(np.sort(counts)[-2], 1))  # one level of air may stand out of the rest
    axis.set_yticks([])
    axis.tick_params(labelsize=6)


def version_differences(slices: Sequence[Versions], kind: str) -> Figure:
    """Draw several versions of slices, and below how each differs from the first.

    Args:
        slices: each in its versions by name (as from `without_each_step`), on one grid.
        kind: `phantom` or `real`, written below.
    """
    if not slices:
        return figure_without_images()
    columns = max(map(len, slices))
    figure, axes = new_figure(2 * len(slices), columns, width=2.2 * columns, height=4.6 * len(slices))
    for row, versions in enumerate(slices):
        (name, whole), *others = versions.items()
        above, below = axes[2 * row : 2 * row + 2]
        show_slice(above[0], whole, title=name)
        below[0].hist(whole.ravel(), bins=np.arange(257)[::8], color=COLOURS["neutral"])
        below[0].set(xlabel="grey level", ylabel="pixels", title=name, yticks=[])
        apart = [whole.astype(int) - image for _, image in others]
        limit = max([1, *(int(np.percentile(np.abs(values), 99)) for values in apart)])
        for column, ((name, image), difference) in enumerate(zip(others, apart, strict=True), start=1):
            show_slice(above[column], image, title=name)
            drawn = below[column].imshow(difference, cmap=_APART, vmin=-limit, vmax=limit)
            below[column].set_axis_off()
            title = f"difference, {np.abs(difference).mean():.0f} levels on average"
            below[column].set_title(title, fontsize=8)
            if column == len(others):
                figure.colorbar(drawn, ax=[above[column], below[column]], label="difference, grey levels", shrink=0.6)
    mark(figure, kind)
    return figure


def scanner_distances(distances: pd.DataFrame, kind: str) -> Figure:
    """Draw the distance between scanners in the intensity of one tissue, after each step of the preprocessing.

    Args:
        distances: `step, first, second, distance`, one row per pair of scanners, as from `tissue_distances`.
        kind: `phantom` or `real`, written below.
    """
    if distances.empty:
        return figure_without_images("images of two scanners")
    order = list(dict.fromkeys(distances["step"]))
    figure, axes = new_figure(1, 1, width=6.4, height=3.0)
    axis = axes[0, 0]
    wide = distances.pivot_table(index=["first", "second"], columns="step", values="distance")[order]
    axis.plot(range(len(order)), wide.to_numpy().T, color=COLOURS["neutral"], alpha=0.35, linewidth=0.8, marker=".")
    median = wide.median()
    axis.plot(range(len(order)), median, color=COLOURS["model"], marker="o", label="median of the pairs")
    for index, value in enumerate(median):
        axis.annotate(f"{value:.3f}", (index, value), textcoords="offset points", xytext=(4, 5), fontsize=8)
    axis.set_xticks(range(len(order)), order)
    axis.set(ylabel="same tissue between scanners:\nWasserstein distance,\nshare of the slice's range", ylim=(0, None))
    axis.legend(frameon=False)
    mark(figure, kind)
    return figure
