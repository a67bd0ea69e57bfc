"""One plotting style for the whole book: legible in grey, colour-blind safe (Okabe-Ito), the same overlay colours."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from axspa_lib.study.labels import MARKS

#: Okabe-Ito colours by what they stand for.
COLOURS = {
    "sacrum": "#E69F00",
    "iliac": "#56B4E9",
    "joint": "#009E73",
    "inflamed": "#D55E00",
    "healthy": "#0072B2",
    "published": "#000000",
    "reader": "#CC79A7",
    "model": "#0072B2",
    "neutral": "#777777",
}


_STYLE: dict[Any, Any] = {
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "lines.linewidth": 1.5,
}


class PageFigure(Figure):
    """A figure that a notebook shows as PNG without pyplot, the same bytes at every run.

    The picture keeps 256 colours, a third of the size on the page and in the repository: those that cover the most, so
    that a colour bar beside many greys stays true.
    """

    def _repr_png_(self) -> bytes:
        drawn, small = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png")
        Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(
            small, format="png", optimize=True
        )
        return small.getvalue()


def new_figure(rows: int = 1, columns: int = 1, width: float = 7.2, height: float = 3.0, **kwargs: Any) -> tuple[
    Figure, NDArray[Any]
]:  # fmt: skip
    """Return a figure in the book's style and its `(rows, columns)` array of axes; width and height in inches."""
    with mpl.rc_context(_STYLE):
        figure = PageFigure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, axes


def draw_intervals(
    axis: Axes,
    positions: Any,
    table: Any,
    colour: str,
    marker: str = "o",
    label: str = "",
    across: bool = False,
    **style: Any,
) -> None:
    """Draw `value` with the interval from `low` to `high` of every row of a table, upright or `across` the axis."""
    lines, x, y = (axis.hlines, table["value"], positions) if across else (axis.vlines, positions, table["value"])
    lines(positions, table["low"], table["high"], color=COLOURS[colour])
    axis.plot(x, y, **({"linestyle": "", "marker": marker, "color": COLOURS[colour], "label": label} | style))


def figure_without_images(what: str = "the images shown here") -> Figure:
    """Return a figure that says in words which images are not at hand, and which command makes them."""
    figure, axes = new_figure(height=1.0)
    text = f"Not drawn: {what} do not come with the repository.\nMake them with `make book PROFILE=<this profile>`."
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, text, ha="center", va="center", fontsize=10)
    return figure


def mark(figure: Figure, kind: str) -> None:
    """Write below the figure whether it shows phantom or real data (`kind` is a key of `MARKS`)."""
    room = 0.2 / figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, room, 1, 1 - 1.4 * room))  # type: ignore[call-arg]
    figure.text(0.995, 0.003, MARKS[kind], ha="right", va="bottom", fontsize=7, color="#444444", style="italic")


def show_slice(axis: Axes, image: NDArray[Any], spacing: tuple[float, float] = (1.0, 1.0), title: str = "") -> None:
    """Draw a slice `(row, column)` in true proportion (spacing in mm as `(row, column)`), patient right on the left."""
    low, high = np.percentile(image, [0.5, 99.5])
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=spacing[0] / spacing[1])
    axis.set_axis_off()
    if title:
        axis.set_title(title)


def outline(axis: Axes, mask: NDArray[Any], colour: str, width: float = 1.2, line: str = "-") -> None:
    """Draw the outline of a binary mask `(row, column)`; nothing for an empty one."""
    if mask.any():
        colours = [COLOURS.get(colour, colour)]
        axis.contour(mask.astype(float), levels=[0.5], colors=colours, linewidths=width, linestyles=line)
