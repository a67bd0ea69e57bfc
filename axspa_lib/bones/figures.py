"""Figures of the bone networks: learning, Dice by bone, by slice position, by annotated patients, and segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice

#: Marker and line of each bone beside its colour, so that the figures read in grey.
_MARKER = {"sacrum": "s", "iliac": "o", "any": "D", "both": "D"}
_LINE = {"sacrum": "-", "iliac": "--", "any": ":", "both": ":"}
_NAME = {"sacrum": "sacrum", "iliac": "iliac", "any": "all bone", "both": "both in one"}


def learning_curves(histories: Mapping[str, pd.DataFrame], kind: str) -> Figure:
    """Loss and validation Dice over the epochs of each network; a ring marks the epoch that was kept.

    Args:
        histories: `history.parquet` by network (`sacrum`, `iliac`, `both`).
        kind: "phantom" or "real".
    """
    figure, axes = new_figure(1, 2, height=2.8)
    loss, overlap = axes[0]
    for network, history in histories.items():
        colour = _colour(network)
        loss.plot(history["epoch"], history["train_loss"], color=colour, ls="-", label=f"{_NAME[network]}, training")
        loss.plot(
            history["epoch"], history["validation_loss"], color=colour, ls=":", label=f"{_NAME[network]}, validation"
        )
        overlap.plot(
            history["epoch"], history["validation_dice"],
            color=colour, ls=_LINE[network], marker=_MARKER[network], ms=3, label=_NAME[network],
        )  # fmt: skip
        best = history.iloc[int(history["validation_dice"].argmax())]
        overlap.plot(best["epoch"], best["validation_dice"], "o", ms=10, mfc="none", mec="black")
    loss.set(xlabel="epoch", ylabel="weighted cross entropy", yscale="log")
    overlap.set(xlabel="epoch", ylabel="validation Dice", ylim=(0, 1))
    loss.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    overlap.legend(loc="lower right")
    mark(figure, kind)
    return figure


def dice_by_bone(
    summaries: Mapping[str, pd.DataFrame],
    kind: str,
    patients: Mapping[str, pd.DataFrame] | None = None,
    published: Mapping[str, float] | None = None,
) -> Figure:
    """Draw the mean Dice of the patients with its interval, by bone and by what was compared; a dot per patient.

    Args:
        summaries: `axspa_lib.bones.dice.dice_summary` by name of the experiment.
        kind: "phantom" or "real".
        patients: `axspa_lib.bones.dice.dice_by_patient` of the same experiments.
        published: the paper's Dice by bone (section 4.1), drawn as a black line and labelled.
    """
    bones = [bone for bone in _NAME if any((table["bone"] == bone).any() for table in summaries.values())]
    if not bones:
        raise DataError("no Dice to draw: the summaries hold no bone")
    figure, axes = new_figure(1, 1, width=1.6 + 1.8 * len(bones), height=3.2)
    axis, random = axes[0, 0], np.random.default_rng(0)
    width = 0.7 / len(summaries)
    shades = np.linspace(0, 0.55, len(summaries))
    for index, (name, table) in enumerate(summaries.items()):
        for x, bone in enumerate(bones):
            centre = x + (index - (len(summaries) - 1) / 2) * width
            if patients is not None:
                values = patients[name].query("bone == @bone")["dice"].dropna()
                jitter = random.uniform(-0.25, 0.25, len(values)) * width
                axis.plot(centre + jitter, values, ".", color=_colour(bone), ms=4, alpha=0.5)
            for value, low, high in table.loc[table["bone"] == bone, ["dice", "low", "high"]].to_numpy(float):
                grey = str(shades[index])
                axis.errorbar(
                    centre, value, [[value - low], [high - value]],
                    fmt=list("osD^v")[index % 5], color=grey, capsize=3, ms=5, label=name if x == 0 else None,
                )  # fmt: skip
                axis.annotate(f"{value:.2f}", (centre, value), (6, 0), textcoords="offset points", fontsize=7)
    for x, bone in enumerate(bones):
        if published and bone in published:
            axis.hlines(published[bone], x - 0.42, x + 0.42, color=COLOURS["published"], ls="--", lw=1)
    handles, labels = axis.get_legend_handles_labels()
    if published:
        handles.append(Line2D([], [], color=COLOURS["published"], ls="--", lw=1))
        labels.append("published (DESIR)")
    axis.legend(handles, labels, loc="lower left", fontsize=7)
    axis.set_xticks(range(len(bones)), [_NAME[bone] for bone in bones])
    axis.set(ylabel="Dice, mean of patients (95 % interval)", ylim=(min(0.4, axis.get_ylim()[0]), 1.0))
    mark(figure, kind)
    return figure


def dice_by_position(slices: pd.DataFrame, kind: str, bins: int = 10) -> Figure:
    """Draw Dice over slice position, anterior to posterior, with the number of slices that show the bone.

    A slice that does not show a bone has no Dice here: a single pixel predicted would make it zero.

    Args:
        slices: rows of `axspa_lib.bones.dice.dice_by_slice`.
        kind: "phantom" or "real".
        bins: equal parts of the stack.
    """
    last = slices.groupby("patient")["slice"].transform("max").clip(lower=1)
    table = slices.assign(part=np.minimum((slices["slice"] / last * bins).astype(int), bins - 1))
    middle = (np.arange(bins) + 0.5) / bins
    figure, axes = new_figure(2, 1, height=3.6, sharex=True, height_ratios=(3, 1))
    for bone in ("sacrum", "iliac"):
        showing = table[(table["bone"] == bone) & (table["tp"] + table["fn"] > 0)]
        groups = showing.groupby("part")["dice"]
        spread = groups.quantile(np.array([0.25, 0.5, 0.75])).unstack().reindex(range(bins))
        axes[0, 0].plot(middle, spread[0.5], color=_colour(bone), ls=_LINE[bone], marker=_MARKER[bone], label=bone)
        axes[0, 0].fill_between(middle, spread[0.25], spread[0.75], color=_colour(bone), alpha=0.25, lw=0)
        offset = -0.2 if bone == "sacrum" else 0.2
        shown = groups.size()
        axes[1, 0].bar(
            middle + offset / bins, shown.reindex(range(bins), fill_value=0), 0.38 / bins,
            color=_colour(bone), hatch="" if bone == "sacrum" else "///", edgecolor="white",
        )  # fmt: skip
    axes[0, 0].set(ylabel="Dice of a slice\n(median, quartiles)", ylim=(0, 1))
    axes[0, 0].legend(loc="lower center", ncols=2)
    axes[1, 0].set(
        ylabel="slices that\nshow it", xlabel="position of the slice, 0 anterior to 1 posterior", xlim=(0, 1)
    )
    mark(figure, kind)
    return figure


def annotation_curve(table: pd.DataFrame, kind: str, published: Mapping[str, float] | None = None) -> Figure:
    """Dice over the number of annotated patients the networks learned from.

    Args:
        table: `patients, bone, dice, low, high`, e.g. `dice_summary` of each size of the training set.
        kind: "phantom" or "real".
        published: the paper's Dice by bone at its 31 training patients.
    """
    figure, axes = new_figure(1, 1, width=4.8)
    axis = axes[0, 0]
    for bone, rows in table.sort_values("patients").groupby("bone"):
        if bone not in ("sacrum", "iliac"):
            continue
        axis.errorbar(
            rows["patients"], rows["dice"], [rows["dice"] - rows["low"], rows["high"] - rows["dice"]],
            color=_colour(str(bone)), ls=_LINE[str(bone)], marker=_MARKER[str(bone)], capsize=3, label=str(bone),
        )  # fmt: skip
        if published and bone in published:
            axis.plot(31, published[str(bone)], _MARKER[str(bone)], mfc="none", mec=COLOURS["published"], ms=8)
            axis.annotate("published", (31, published[str(bone)]), (6, -3), textcoords="offset points", fontsize=7)
    low, high = axis.get_ylim()
    axis.set(xlabel="annotated patients in training", ylabel="Dice (95 % interval)", ylim=(low - 0.05, min(1, high)))
    axis.set_xlim(0, axis.get_xlim()[1] * 1.12)
    axis.legend(loc="lower left")
    mark(figure, kind)
    return figure


def dice_differences(table: pd.DataFrame, kind: str, against: str) -> Figure:
    """Paired differences of Dice with their intervals, one line per row and bone; zero is no difference.

    Args:
        table: from `axspa_lib.bones.results.comparison`; rows without a difference are those compared with.
        kind: "phantom" or "real".
        against: what they are compared with, for the axis.
    """
    rows = table.dropna(subset="difference")
    names = list(dict.fromkeys(rows["networks"]))
    figure, axes = new_figure(1, 1, width=6.8, height=1.2 + 0.5 * len(names))
    axis = axes[0, 0]
    for bone, offset in (("iliac", -0.17), ("sacrum", 0.17)):
        part = rows[rows["bone"] == bone]
        apart = part["difference"].to_numpy()
        reach = [apart - part["difference_low"], part["difference_high"] - apart]
        axis.errorbar(
            apart, [names.index(name) + offset for name in part["networks"]], xerr=reach,
            fmt=_MARKER[bone], color=_colour(bone), mec="black", ecolor="black", elinewidth=0.9, capsize=3, label=bone,
        )  # fmt: skip
    axis.axvline(0, color=COLOURS["neutral"], lw=0.8)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel=f"Dice minus that of {against} (95 % interval)", ylim=(len(names) - 0.4, -0.6))
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    mark(figure, kind)
    return figure


@dataclass(frozen=True)
class Case:
    """One slice to show: `image`, `predicted` and, where there is one, `reference` `(row, column)`."""

    title: str
    image: NDArray[Any]
    predicted: NDArray[np.uint8]
    reference: NDArray[np.uint8] | None = None
    spacing: tuple[float, float] = (1.0, 1.0)


def gallery(cases: Sequence[Case], kind: str, columns: int = 4) -> Figure:
    """Segmentations: prediction filled, reference outlined in black on white; titles say which slice and its Dice.

    Args:
        cases: what to show, e.g. the worst slices first.
        kind: "phantom" or "real".
        columns: cases per row.
    """
    if not cases:
        return figure_without_images()
    rows = -(-len(cases) // columns)
    figure, axes = new_figure(rows, columns, width=7.2, height=(7.2 / columns + 0.2) * rows + 0.3)
    for axis in axes.ravel():
        axis.set_axis_off()
    for axis, case in zip(axes.ravel(), cases, strict=False):
        show_slice(axis, case.image, case.spacing)
        axis.set_title(case.title, fontsize=7)
        _fill(axis, case.predicted)
        if case.reference is not None:
            for bone in (Bone.SACRUM, Bone.ILIAC):
                outline(axis, case.reference == bone, "white", 1.6)
                outline(axis, case.reference == bone, "black", 0.7)
    entries = [Line2D([], [], color=_colour(bone), lw=6, alpha=0.6) for bone in ("sacrum", "iliac")]
    names = ["sacrum, predicted", "iliac, predicted"]
    if any(case.reference is not None for case in cases):
        entries.append(Line2D([], [], color="black", lw=1))
        names.append("reference")
    figure.legend(entries, names, loc="outside lower left", ncols=3, fontsize=7)
    mark(figure, kind)
    return figure


def _fill(axis: Axes, mask: NDArray[np.uint8]) -> None:
    for bone, hatch in ((Bone.SACRUM, ""), (Bone.ILIAC, "////")):
        if (mask == bone).any():
            colour = _colour(bone.name.lower())
            filled = (mask == bone).astype(float)
            axis.contourf(filled, levels=[0.5, 1.5], colors=[colour], alpha=0.35)
            axis.contourf(filled, levels=[0.5, 1.5], colors="none", hatches=[hatch]).set_edgecolor(colour)
            outline(axis, mask == bone, colour, 1.0)


def _colour(bone: str) -> str:
    return COLOURS.get(bone, COLOURS["neutral"])
