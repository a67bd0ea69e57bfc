"""Figures of curation: flow of patients, contact sheets, scanners, reader agreement, prevalence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from axspa_lib.curation import report
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, Bone
from axspa_lib.study.plotting import COLOURS, mark, new_figure, outline, show_slice

_LABELS = {"mcc": "Matthews correlation", "kappa": "Cohen's kappa"}


def draw_flow(cohort: Cohort) -> Figure:
    """Flow of patients in the manner of STARD: assessed, left out and why, included, subsets of the splits."""
    table = report.flow(cohort)
    number = {step: int(part["patients"].iloc[0]) for step, part in table.groupby("step")}
    stages = {stage: what for stage, what in report.STAGES.items() if what in set(table["what"])}
    left = table[table["step"] == "excluded"].set_index("what")["patients"]
    texts = [
        f"{left[what]} left out: {what}\n" + "\n".join(map(_phrase, report.flow_reasons(cohort, stage)))
        for stage, what in stages.items()
    ]
    heights = [0.3 + 0.2 * (text.count("\n") + 1) for text in texts]
    subsets = table[table["step"] == "subset"]
    blocks = [(name, part) for name, part in subsets.groupby(subsets["what"].str.split(":").str[0], sort=False)]
    down = 0.8 + sum(heights) + 0.15 * len(heights) + 0.1  # inches from the top to the box of those included
    height = down + 0.7 + (0.95 if blocks else 0)
    figure, axes = new_figure(1, 1, width=7.2, height=height)
    axis = axes[0, 0]
    axis.set_axis_off()
    axis.set(xlim=(0, 7.2), ylim=(-height, 0))
    subjects = cohort.everyone["subject"].nunique()
    people = "" if subjects == number["assessed"] else f"\nof {subjects} people"
    _box(axis, 1.75, -0.35, f"{number['assessed']} examinations in the source{people}")
    _arrow(axis, (1.75, -0.65), (1.75, -down))
    y = -0.8
    for text, tall in zip(texts, heights, strict=True):
        _box(axis, 5.2, y - tall / 2, text, COLOURS["inflamed"], width=3.9, height=tall)
        _arrow(axis, (1.75, y - tall / 2), (3.25, y - tall / 2))
        y -= tall + 0.15
    alone = f"\n({number['alone']} T1 without STIR: bones only)" if "alone" in number else ""
    _box(axis, 1.75, -down - 0.3, f"{number['included']} included{alone}", COLOURS["joint"])
    for place, (name, part) in enumerate(blocks):
        x = (1.75, 5.2)[place] if len(blocks) > 1 else 1.75
        lines = [f"{row['what'].split(': ')[1]} {row['patients']}" for _, row in part.iterrows()]
        _box(axis, x, -down - 1.25, f"{name}\n" + ", ".join(lines), COLOURS["healthy"])
        if place == 0:
            _arrow(axis, (x, -down - 0.6), (x, -down - 0.95))
        else:
            axis.plot([3.3, x], [-down - 0.3] * 2, color="#444444", lw=1)
            _arrow(axis, (x, -down - 0.3), (x, -down - 0.95))
    return _marked(figure, cohort)


def _phrase(reason: str) -> str:
    """A reason that lost its figures (`report.flow_reasons`), so that it reads as one: `covers only 69 % of`."""
    return reason.replace("covers only of", "covers too few of")


def contact_sheet(
    cohort: Cohort, patients: Sequence[str] | None = None, slices: int = 6, bones: bool = True, most: int = 6
) -> Figure:
    """Slices of several patients from anterior to posterior, T1 above STIR, with the reference bones outlined.

    Args:
        cohort: the cohort.
        patients: which; by default the first included ones.
        slices: slices per patient, evenly spaced over the stack.
        bones: outline the reference bones where there are some.
        most: number of patients at most.
    """
    chosen = list(patients if patients is not None else cohort.patients)[:most]
    if not chosen:
        raise DataError(f"{cohort.name}: no patients to show; see exclusions.csv for the reasons")
    has_stir = cohort.participants.set_index("patient")["has_stir"]
    rows = [
        (patient, sequence) for patient in chosen for sequence in SEQUENCES if sequence == "T1" or has_stir[patient]
    ]
    figure, axes = new_figure(len(rows), slices, width=7.2, height=7.2 / slices * len(rows))
    for line, (patient, sequence) in zip(axes, rows, strict=True):
        volume = cohort.volume(patient, sequence)
        mask = cohort.reference_bones(patient) if bones else None
        index = np.unique(np.linspace(0, len(volume.array) - 1, slices).round().astype(int))
        for place, axis in enumerate(line):
            axis.set_axis_off()
            if place >= len(index):
                continue
            number = int(index[place])
            show_slice(axis, volume.array[number], volume.spacing[1:])
            if mask is not None:
                outline(axis, mask.array[number] == Bone.SACRUM, "sacrum", 0.7)
                outline(axis, mask.array[number] == Bone.ILIAC, "iliac", 0.7)
            caption = f"{patient} {sequence}  {number}" if place == 0 else str(number)
            box = {"facecolor": "black", "alpha": 0.6, "pad": 1, "linewidth": 0}
            axis.text(0.02, 0.97, caption, transform=axis.transAxes, color="white", fontsize=6, va="top", bbox=box)
    return _marked(figure, cohort)


def draw_agreement(
    cohort: Cohort,
    level: report.Level = "half_slice",
    measures: Sequence[report.Measure] = ("mcc", "kappa"),
    patients: list[str] | None = None,
) -> Figure:
    """Matrices of agreement of the readers, one per measure, with the number of cases under each value."""
    matrices = [report.agreement(cohort, level, measure, patients) for measure in measures]
    size = max(len(matrices[0][0]), 2)
    figure, axes = new_figure(1, len(measures), width=7.2, height=1.3 + 2.6 * min(1.0, (size + 1) / 6))
    for axis, measure, (values, cases) in zip(axes[0], measures, matrices, strict=True):
        if values.empty:
            axis.set_axis_off()
            axis.text(0.5, 0.5, f"nobody read {level.replace('_', '-')}s", ha="center", va="center")
            continue
        shown = values.to_numpy(float)
        lower = np.tril(np.ones(shown.shape, dtype=bool), -1)
        axis.imshow(np.where(lower, shown, np.nan), cmap="cividis", vmin=0, vmax=1)
        for row, column in zip(*np.nonzero(lower), strict=True):
            value = shown[row, column]
            text = f"{value:.2f}" if np.isfinite(value) else "–"
            colour = "black" if np.isfinite(value) and value > 0.6 else "white" if np.isfinite(value) else "black"
            axis.text(column, row, text, ha="center", va="bottom", color=colour, fontsize=9)
            axis.text(column, row, f"n = {cases.iloc[row, column]}", ha="center", va="top", color=colour, fontsize=6)
        names = [str(name) for name in values.index]
        axis.set_xticks(range(len(names)), names)
        axis.set_yticks(range(len(names)), names)
        axis.set_aspect("auto")
        axis.set_xlim(-0.5, len(names) - 1.5)
        axis.set_ylim(len(names) - 0.5, 0.5)
        axis.set_xlabel("reader")
        axis.set_ylabel("reader")
        axis.set_title(f"{_LABELS[measure]}, {level.replace('_', '-')}s")
    return _marked(figure, cohort)


def draw_prevalence(cohort: Cohort) -> Figure:
    """Share of inflamed half-slices and positive patients per reader, with 95 % Wilson intervals."""
    table = report.prevalence(cohort)
    levels = [("half_slice", "inflamed half-slices"), ("patient", "positive patients")]
    figure, axes = new_figure(1, 2, width=7.2, height=2.6, sharey=True)
    for axis, (level, title) in zip(axes[0], levels, strict=True):
        part = table[table["level"] == level].reset_index(drop=True)
        axis.set_title(title)
        axis.set_ylim(0, 1)
        if part.empty:
            axis.text(0.5, 0.5, "none read", ha="center", va="center", transform=axis.transAxes)
            continue
        low, high = _wilson(part["positive"].to_numpy(float), part["n"].to_numpy(float))
        merged = part["reader"].isin(["consensus", "included"])
        colours = np.where(merged, COLOURS["neutral"], COLOURS["reader"])
        axis.bar(part.index, part["share"], color=colours, width=0.6)
        error = np.abs(np.stack([part["share"] - low, high - part["share"]]))
        axis.errorbar(part.index, part["share"], yerr=error, fmt="none", ecolor="black", capsize=3, lw=1)
        axis.set_xticks(part.index, [f"{r.reader}\nn = {r.n}" for r in part.itertuples()])
        axis.set_xlabel("reader")
    axes[0, 0].set_ylabel("share (95 % interval)")
    return _marked(figure, cohort)


def draw_scanners(cohort: Cohort) -> Figure:
    """Pixel size against slice distance, and contrast against shading of T1, one marker per manufacturer."""
    table = cohort.participants.copy()
    names = table["manufacturer"].replace("", "unknown")
    figure, axes = new_figure(1, 2, width=7.2, height=3.4)
    markers = dict(zip(sorted(names.unique()), "osD^vP*X<>", strict=False))
    palette = [COLOURS[name] for name in ("healthy", "inflamed", "joint", "reader", "sacrum", "iliac", "neutral")]
    for place, (name, shape) in enumerate(markers.items()):
        part = table[names == name]
        style = {"marker": shape, "color": palette[place % len(palette)], "s": 22, "alpha": 0.75, "label": name}
        axes[0, 0].scatter(part["spacing_row_mm"], part["spacing_slice_mm"], **style)
        axes[0, 1].scatter(part["shading_t1"], part["contrast_t1"], **style)
    axes[0, 0].set_xlabel("pixel size (mm)")
    axes[0, 0].set_ylabel("distance of slices (mm)")
    axes[0, 1].set_xlabel("shading of T1 (95th / 5th centile, 25 mm)")
    axes[0, 1].set_ylabel("contrast of T1 (95th / 25th centile)")
    if markers:
        axes[0, 0].legend(fontsize=7)
    return _marked(figure, cohort)


def draw_absent_images(cohort: str, kind: str) -> Figure:
    """Say in words that the images of a cohort are not at hand and which command fetches them.

    Args:
        cohort: its name.
        kind: `phantom` or `real`, written below.
    """
    if kind == "phantom":
        text = f"The images of {cohort} do not come with the repository.\n`make book` with this profile simulates them."
    else:
        text = (
            f"The images of {cohort} do not come with the repository: others hold the rights.\n"
            f"`axspa download {cohort} FOLDER` fetches them, `make book PROFILE=public` curates and shows them."
        )
    figure, axes = new_figure(width=7.2, height=1.0)
    axes[0, 0].set_axis_off()
    axes[0, 0].text(0.5, 0.5, text, ha="center", va="center", fontsize=9)
    mark(figure, kind)
    return figure


def kind(cohort: Cohort) -> Literal["phantom", "real"]:
    """Whether the cohort is simulated, as its curation recorded."""
    return "phantom" if cohort.curation["simulated"] else "real"


def _marked(figure: Figure, cohort: Cohort) -> Figure:
    """Say what the figure shows, below the axes."""
    engine = figure.get_layout_engine()
    if engine is not None:
        margin = 0.16 / figure.get_figheight()
        engine.set(rect=(0, margin, 1, 1 - margin))  # type: ignore[call-arg]
    mark(figure, kind(cohort))
    return figure


def _wilson(positive: np.ndarray, n: np.ndarray) -> tuple[pd.Series, pd.Series]:
    """95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    centre = (positive + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(positive * (n - positive) / n + z**2 / 4)
    return pd.Series(centre - half), pd.Series(centre + half)


def _box(
    axis: Axes, x: float, y: float, text: str, colour: str = "#444444", width: float = 3.1, height: float = 0.6
) -> None:
    """A box around a text; centre and size in inches of the figure."""
    shape = "round,pad=0,rounding_size=0.06"
    axis.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=shape, fc="white", ec=colour)
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color="#444444", lw=1))
