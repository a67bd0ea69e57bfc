"""Figures of curation: flow of patients, contact sheets, scanners, reader agreement, prevalence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from axspa_lib.cohort import Cohort
from axspa_lib.curation import report
from axspa_lib.errors import DataError
from axspa_lib.figures.style import COLOURS, mark, new_figure, outline, show_slice
from axspa_lib.labels import SEQUENCES, Bone

_LABELS = {"mcc": "Matthews correlation", "kappa": "Cohen's kappa"}


def draw_flow(cohort: Cohort) -> Figure:
    """Flow of patients in the manner of STARD: assessed, left out and why, included, subsets of the splits."""
    table = report.flow(cohort)
    excluded = table[table["step"] == "excluded"]
    subsets = table[table["step"] == "subset"]
    blocks = [(name, part) for name, part in subsets.groupby(subsets["what"].str.split(":").str[0], sort=False)]
    figure, axes = new_figure(1, 1, width=7.2, height=2.6 + 0.75 * max(len(excluded), 1) + (1.2 if len(blocks) else 0))
    axis = axes[0, 0]
    axis.set_axis_off()
    height = 1.2 + 1.0 * len(excluded) + (2.6 if blocks else 1.2)
    axis.set_xlim(0, 10)
    axis.set_ylim(-height, 1.0)
    assessed = int(table.loc[table["step"] == "assessed", "patients"].iloc[0])
    included = int(table.loc[table["step"] == "included", "patients"].iloc[0])
    _box(axis, 2.9, 0.3, f"{assessed} examinations\nin the source")
    bottom = -1.0 - 1.0 * len(excluded) - 0.2
    _arrow(axis, (2.9, -0.15), (2.9, bottom + 0.45))
    for place, (_, row) in enumerate(excluded.iterrows()):
        y = -0.9 - 1.0 * place
        _box(axis, 7.4, y, f"{row['patients']} left out:\n{row['what']}", COLOURS["inflamed"])
        _arrow(axis, (2.9, y), (5.35, y))
    _box(axis, 2.9, bottom, f"{included} included", COLOURS["joint"])
    for place, (name, part) in enumerate(blocks):
        x = 2.9 + 4.5 * place if len(blocks) > 1 else 2.9
        lines = [f"{row['what'].split(': ')[1]} {row['patients']}" for _, row in part.iterrows()]
        _box(axis, x, bottom - 1.7, f"{name}\n" + ", ".join(lines), COLOURS["healthy"])
        if place == 0:
            _arrow(axis, (x, bottom - 0.45), (x, bottom - 1.25))
        else:
            axis.plot([4.98, x], [bottom, bottom], color="#444444", lw=1)
            _arrow(axis, (x, bottom), (x, bottom - 1.25))
    return _marked(figure, cohort)


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
            axis.text(0.02, 0.97, caption, transform=axis.transAxes, color="white", fontsize=6, va="top")
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


def _box(axis: Axes, x: float, y: float, text: str, colour: str = "#444444") -> None:
    width = 4.1
    axis.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - 0.42), width, 0.84, boxstyle="round,pad=0.02,rounding_size=0.08", fc="white", ec=colour
        )
    )
    axis.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=10, color="#444444", lw=1))
