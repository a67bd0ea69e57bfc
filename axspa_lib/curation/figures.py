"""Figures of curation: flow of patients, contact sheets, scanners, reader agreement, prevalence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from axspa_lib.curation import report
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import SEQUENCES, Bone
from axspa_lib.study.plotting import COLOURS, figure_without_images, mark, new_figure, outline, show_slice

_LABELS: dict[report.Measure, str] = {"mcc": "Matthews correlation", "kappa": "Cohen's kappa"}
#: Columns of the flow diagram, inches from the left.
_LEFT, _RIGHT = 1.75, 5.2


def draw_flow(cohort: Cohort) -> Figure:
    """Draw the flow of patients in the manner of STARD: assessed, left out and why, included, subsets of the splits."""
    table = report.flow(cohort)
    number = {step: int(part["patients"].iloc[0]) for step, part in table.groupby("step")}
    left_out = table[table["step"] == "excluded"].set_index("what")["patients"]
    texts = [
        "\n".join([f"{left_out[what]} left out: {what}", *report.flow_reasons(cohort, stage)])
        for stage, what in report.STAGES.items()
        if what in left_out
    ]
    heights = [0.3 + 0.2 * (text.count("\n") + 1) for text in texts]
    subsets = table[table["step"] == "subset"]
    blocks = list(subsets.groupby(subsets["what"].str.split(":").str[0], sort=False))
    down = 0.8 + sum(heights) + 0.15 * len(heights) + 0.1  # inches from the top to the box of those included
    height = down + 0.7 + (0.95 if blocks else 0)
    figure, axes = new_figure(1, 1, width=7.2, height=height)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set(xlim=(0, 7.2), ylim=(-height, 0))
    subjects = cohort.everyone["subject"].nunique()
    people = "" if subjects == number["assessed"] else f"\nof {subjects} people"
    _box(axis, _LEFT, -0.35, f"{number['assessed']} examinations in the source{people}")
    _arrow(axis, (_LEFT, -0.65), (_LEFT, -down))
    y = -0.8
    for text, tall in zip(texts, heights, strict=True):
        _box(axis, _RIGHT, y - tall / 2, text, COLOURS["inflamed"])
        _arrow(axis, (_LEFT, y - tall / 2), (3.2, y - tall / 2))
        y -= tall + 0.15
    alone = f"\n({number['alone']} T1 without STIR: bones only)" if "alone" in number else ""
    _box(axis, _LEFT, -down - 0.3, f"{number['included']} included{alone}", COLOURS["joint"])
    for x, (name, part) in zip((_LEFT, _RIGHT), blocks, strict=False):
        counts = part["what"].str.split(": ").str[1] + " " + part["patients"].astype(str)
        axis.plot([_LEFT, x], [-down - 0.75] * 2, color="#444444", lw=1)
        _box(axis, x, -down - 1.25, f"{name}\n" + ", ".join(counts), COLOURS["healthy"])
        _arrow(axis, (x, -down - (0.6 if x == _LEFT else 0.75)), (x, -down - 1.0))
    return _marked(figure, cohort)


def contact_sheet(cohort: Cohort, patients: Sequence[str], slices: int = 6) -> Figure:
    """Draw slices of several patients from anterior to posterior, T1 above STIR, the reference bones outlined.

    Args:
        cohort: the cohort.
        patients: those whose images are at hand are drawn; without any, the figure says which command makes them.
        slices: slices per patient, evenly spaced over the stack.
    """
    shown = [patient for patient in patients if cohort.has_images(patient)]
    if not shown:
        return figure_without_images(f"the images of {cohort.name}")
    has_stir = cohort.participants.set_index("patient")["has_stir"]
    rows = [(name, sequence) for name in shown for sequence in SEQUENCES if sequence == "T1" or has_stir[name]]
    figure, axes = new_figure(len(rows), slices, width=7.2, height=7.2 / slices * len(rows))
    for axis in axes.flat:
        axis.set_axis_off()
    box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
    for line, (patient, sequence) in zip(axes, rows, strict=True):
        volume, mask = cohort.volume(patient, sequence), cohort.reference_bones(patient)
        indices = np.unique(np.linspace(0, len(volume.array) - 1, slices).round().astype(int))
        for axis, index in zip(line, indices, strict=False):
            show_slice(axis, volume.array[index], volume.spacing[1:])
            if mask is not None:
                outline(axis, mask.array[index] == Bone.SACRUM, "sacrum", 0.7)
                outline(axis, mask.array[index] == Bone.ILIAC, "iliac", 0.7)
            caption = f"{patient} {sequence}  {index}" if axis is line[0] else str(index)
            axis.text(0.02, 0.97, caption, transform=axis.transAxes, color="white", fontsize=6, va="top", bbox=box)
    return _marked(figure, cohort)


def draw_agreement(cohort: Cohort, level: report.Level = "half_slice") -> Figure:
    """Draw matrices of reader agreement, MCC and kappa, with the number of cases under each value."""
    size = len(report.agreement(cohort, level)[0])
    figure, axes = new_figure(1, len(_LABELS), width=7.2, height=1.3 + 2.6 * min(1.0, (max(size, 2) + 1) / 6))
    for axis, (measure, label) in zip(axes[0], _LABELS.items(), strict=True):
        values, cases = report.agreement(cohort, level, measure)
        if values.empty:
            axis.set_axis_off()
            axis.text(0.5, 0.5, f"nobody read {level.replace('_', '-')}s", ha="center", va="center")
            continue
        lower = np.where(np.tri(size, k=-1, dtype=bool), values.to_numpy(float), np.nan)
        axis.imshow(lower, cmap="cividis", vmin=0, vmax=1)
        for row, column in zip(*np.tril_indices(size, -1), strict=True):
            value = lower[row, column]
            text, colour = (
                (f"{value:.2f}", "white" if value <= 0.6 else "black") if np.isfinite(value) else ("–", "black")
            )
            axis.text(column, row, text, ha="center", va="bottom", color=colour, fontsize=9)
            axis.text(
                column, row, f"n = {cases.to_numpy()[row, column]}", ha="center", va="top", color=colour, fontsize=6
            )
        axis.set_xticks(range(size), list(values.index))
        axis.set_yticks(range(size), list(values.index))
        axis.set(aspect="auto", xlim=(-0.5, size - 1.5), ylim=(size - 0.5, 0.5), xlabel="reader", ylabel="reader")
        axis.set_title(f"{label}, {level.replace('_', '-')}s")
    return _marked(figure, cohort)


def draw_prevalence(cohort: Cohort) -> Figure:
    """Draw the share of inflamed half-slices and positive patients per reader, with 95 % Wilson intervals."""
    from scipy.stats import binomtest

    table = report.prevalence(cohort)
    levels = [("half_slice", "inflamed half-slices"), ("patient", "positive patients")]
    figure, axes = new_figure(1, 2, width=7.2, height=2.6, sharey=True)
    for axis, (level, title) in zip(axes[0], levels, strict=True):
        part = table[table["level"] == level].reset_index(drop=True)
        axis.set(title=title, ylim=(0, 1))
        if part.empty:
            axis.text(0.5, 0.5, "none read", ha="center", va="center", transform=axis.transAxes)
            continue
        counts = part[["positive", "n"]].astype(int).to_numpy()
        ends = [binomtest(int(k), int(n)).proportion_ci(method="wilson") for k, n in counts]
        merged = part["reader"].isin(["consensus", "included"])
        axis.bar(part.index, part["share"], color=np.where(merged, COLOURS["neutral"], COLOURS["reader"]), width=0.6)
        error = np.abs([[share - end.low, end.high - share] for share, end in zip(part["share"], ends, strict=True)]).T
        axis.errorbar(part.index, part["share"], yerr=error, fmt="none", ecolor="black", capsize=3, lw=1)
        axis.set_xticks(part.index, [f"{reader}\nn = {n}" for reader, n in zip(part["reader"], part["n"], strict=True)])
        axis.set_xlabel("reader")
    axes[0, 0].set_ylabel("share (95 % interval)")
    return _marked(figure, cohort)


def draw_scanners(cohort: Cohort) -> Figure:
    """Draw pixel size against slice distance, and contrast against shading of T1, one marker per manufacturer."""
    table = cohort.participants
    figure, axes = new_figure(1, 2, width=7.2, height=3.4)
    colours = [COLOURS[name] for name in ("healthy", "inflamed", "joint", "reader", "sacrum", "iliac", "neutral")]
    for index, (name, part) in enumerate(table.groupby(table["manufacturer"].replace("", "unknown"))):
        look = {"marker": "osD^vP*X<>"[index % 10], "color": colours[index % 7], "s": 22, "alpha": 0.75, "label": name}
        axes[0, 0].scatter(part["spacing_row_mm"], part["spacing_slice_mm"], **look)
        axes[0, 1].scatter(part["shading_t1"], part["contrast_t1"], **look)
    axes[0, 0].set(xlabel="pixel size (mm)", ylabel="distance of slices (mm)")
    axes[0, 1].set_xlabel("shading of T1 (95th / 5th centile, 25 mm)")
    axes[0, 1].set_ylabel("contrast of T1 (95th / 25th centile)")
    axes[0, 0].legend(fontsize=7)
    return _marked(figure, cohort)


def kind(cohort: Cohort) -> str:
    """Return `phantom` or `real`, as the curation recorded."""
    return "phantom" if cohort.curation["simulated"] else "real"


def _marked(figure: Figure, cohort: Cohort) -> Figure:
    mark(figure, kind(cohort))
    return figure


def _box(axis: Axes, x: float, y: float, text: str, colour: str = "#444444") -> None:
    """Write a text in a frame, centred at a place in inches of the figure."""
    frame = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": colour}
    axis.text(x, y, text, ha="center", va="center", fontsize=8, bbox=frame)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate(
        "", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1, "shrinkA": 0, "shrinkB": 0}
    )
