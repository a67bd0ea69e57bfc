"""Algorithm 1 step by step (figure 3 of the paper), and joints drawn over the slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from axspa_lib.figures.style import COLOURS, mark, new_figure, outline, show_slice
from axspa_lib.joint import PATIENT_LEFT, PATIENT_RIGHT, JointTrace
from axspa_lib.labels import Bone
from axspa_lib.volume import Volume

#: A step that is drawn: title, and masks with their colours, filled from the first to the last.
_Step = tuple[str, Sequence[tuple[NDArray[np.bool_], str]]]


def algorithm_steps(
    image: NDArray[np.generic], trace: JointTrace, spacing: tuple[float, float] = (1.0, 1.0), kind: str | None = None
) -> Figure:
    """Figure 3: each line of Algorithm 1 over a slice.

    Args:
        image: the slice `(row, column)` on the grid of the masks.
        trace: as from `trace_joint`.
        spacing: pixel size `(row, column)` in mm.
        kind: `phantom` or `real`, written below.
    """
    t = trace
    bones = [(t.sacrum, "sacrum"), (t.iliac, "iliac")]
    wings = t.contact & ~t.trimmed
    steps: list[_Step] = [
        ("Sac and Il", bones),
        ("sacrum next to it", [(t.sacrum, "sacrum"), (t.iliac & ~t.contact, "neutral"), (t.contact, "iliac")]),
        ("wings deleted", [(t.sacrum, "sacrum"), (wings, "inflamed"), (t.trimmed, "iliac")]),
        ("D(Il)", [(t.sacrum, "sacrum"), (t.dilated & ~t.trimmed, "joint"), (t.trimmed, "iliac")]),
        ("D_H(Il) ∩ Sac", [(t.extended, "neutral"), (t.sacrum, "sacrum"), (t.extended & t.sacrum, "joint")]),
        ("J = D(Il) ∪ (D_H(Il) ∩ Sac)", [(t.union, "joint")]),
        ("closing, holes filled", [(t.filled & ~t.union, "inflamed"), (t.union, "joint")]),
        ("largest of each side", [(t.joint == PATIENT_RIGHT, "joint"), (t.joint == PATIENT_LEFT, "reader")]),
    ]
    rows, columns = _window(t.iliac | t.sacrum | (t.joint > 0))
    height = 0.3 + 4.4 * (rows.stop - rows.start) * spacing[0] / ((columns.stop - columns.start) * spacing[1])
    figure, axes = new_figure(2, 4, width=8.8, height=min(max(height, 3.0), 8.0))
    for number, (axis, (title, masks)) in enumerate(zip(axes.flat, steps, strict=True), start=1):
        show_slice(axis, np.asarray(image, float)[rows, columns], spacing, f"{number}. {title}")
        for mask, colour in masks:
            _fill(axis, mask[rows, columns], colour)
    axes[0, 0].text(0.01, 0.99, "R", transform=axes[0, 0].transAxes, color="white", va="top", fontweight="bold")
    if kind is not None:
        mark(figure, kind)
    return figure


def joints_over_volume(
    volume: Volume,
    joints: Volume,
    bones: Volume | None = None,
    slices: Sequence[int] | None = None,
    columns: int = 6,
    title: str = "",
    kind: str | None = None,
) -> Figure:
    """Contact sheet: the joints (and bones) outlined over the slices of a volume.

    Args:
        volume: `(slice, row, column)`, the image.
        joints: joint mask on its grid.
        bones: bone mask on its grid, when it is to be drawn too.
        slices: which slices, all when not given.
        columns: slices in a row of the sheet.
        title: of the whole sheet.
        kind: `phantom` or `real`, written below.
    """
    shown = list(range(len(volume.array)) if slices is None else slices)
    count = -(-len(shown) // columns)
    _, row_mm, column_mm = volume.spacing
    proportion = volume.array.shape[1] * row_mm / (volume.array.shape[2] * column_mm)
    width = 1.55 * columns
    figure, axes = new_figure(count, columns, width=width, height=(1.55 * proportion + 0.22) * count + 0.35)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, index in zip(axes.flat, shown, strict=False):
        show_slice(axis, np.asarray(volume.array[index], float), (row_mm, column_mm), f"slice {index}")
        axis.title.set_fontsize(7)
        if bones is not None:
            outline(axis, bones.array[index] == Bone.SACRUM, "sacrum", 0.7)
            outline(axis, bones.array[index] == Bone.ILIAC, "iliac", 0.7)
        _fill(axis, joints.array[index] > 0, "joint", 0.22)
        outline(axis, joints.array[index] > 0, "joint", 1.1)
        missing = [s for s, v in (("R", PATIENT_RIGHT), ("L", PATIENT_LEFT)) if not (joints.array[index] == v).any()]
        if missing:
            axis.text(0.5, 0.02, f"no {' or '.join(missing)}", color="white", fontsize=6, ha="center",
                      transform=axis.transAxes)  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=10)
    if kind is not None:
        mark(figure, kind)
    return figure


def _window(mask: NDArray[np.bool_], margin: int = 12) -> tuple[slice, slice]:
    """Rows and columns of `mask` with a margin; the whole image for an empty one."""
    if not mask.any():
        return slice(0, mask.shape[0]), slice(0, mask.shape[1])
    rows, columns = np.nonzero(mask)
    return (
        slice(max(rows.min() - margin, 0), min(rows.max() + margin + 1, mask.shape[0])),
        slice(max(columns.min() - margin, 0), min(columns.max() + margin + 1, mask.shape[1])),
    )


def _fill(axis: Axes, mask: NDArray[np.bool_], colour: str, alpha: float = 0.5) -> None:
    """Lay a transparent colour over a mask, in the pixels of the slice drawn before."""
    layer = np.zeros((*mask.shape, 4))
    layer[..., :3] = to_rgb(COLOURS[colour])
    layer[..., 3] = np.asarray(mask, bool) * alpha
    aspect = axis.get_aspect()
    axis.imshow(layer, aspect="equal" if aspect == "auto" else aspect)
