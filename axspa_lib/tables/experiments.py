"""Compare rows of the experiment table on half-slices, with intervals by subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members
from axspa_lib.diagnosis.votes import ensemble_vote
from axspa_lib.stats.counts import Floats, confusion, mcc_counts
from axspa_lib.stats.resampling import bootstrap_by_patient, holm, interval_row
from axspa_lib.study.config import BASE, Detector, experiments
from axspa_lib.study.errors import DataError
from axspa_lib.study.formatting import dotted
from axspa_lib.study.results import Run
from axspa_lib.tables.table4 import difference_row, same_seeds

#: Rows of the experiment table that leave out one step of the preprocessing.
PREPROCESSING = ("no_constant_pixel", "fixed_matrix", "no_remove_gaussian_bias", "no_local_median", "no_clahe")


def experiment_table(
    half_slices: pd.DataFrame,
    variants: Mapping[str, Members],
    only: pd.DataFrame | None = None,
    n: int = 2000,
    vote_tie: int = 0,
    count_failures: bool = True,
) -> pd.DataFrame:
    """Compare every experiment with the consensus, and with `all_included` on the same half-slices and seeds.

    Args:
        half_slices: readings.
        variants: `half_slice_results` by seed, by experiment.
        only: `patient, slice, side` that contain a joint.
        n: bootstrap resamples and permutations, by subject.
        vote_tie: of the members, as in `ensemble_vote`.
        count_failures: as in `reference_and_answer`.

    Returns:
        `experiment, label, k, value, low, high, n, patients, wrong_counts, difference, difference_low,
        difference_high, p_value, p_holm`; MCC from -1 to 1; a positive difference means that the row does better.

    Raises:
        DataError: `all_included` is missing.
    """
    if BASE not in variants:
        raise DataError(f"no member of {BASE} has finished: every row is compared with it")
    wide, _ = readings_wide(half_slices, only=only)
    wide = wide.dropna(subset=[CONSENSUS])

    def counted(members: Members) -> Floats:
        vote = ensemble_vote(members, "half_slice", vote_tie)
        return confusion(*reference_and_answer(wide, CONSENSUS, vote, count_failures)[:2])

    rows = []
    for name, members in variants.items():
        found = bootstrap_by_patient(mcc_counts, counted(members), wide["patient"], n, 0, "jeffreys")
        row = interval_row(found, experiment=name, label=experiments()[name]["label"], k=len(members))
        row["wrong_counts"] = float(
            np.mean([reference_and_answer(wide, CONSENSUS, table)[3].mean() for table in members.values()])
        )
        if name != BASE:
            ours, theirs = same_seeds(members, variants[BASE])
            row |= difference_row(counted(ours), counted(theirs), wide["patient"], n, 0)
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p_value"])) if "p_value" in table else table


def format_experiments(table: pd.DataFrame) -> pd.DataFrame:
    """Return `experiment_table` as text fit for a page."""
    interval = [f"[{low:.2f}, {high:.2f}]" for low, high in zip(table["low"], table["high"], strict=True)]
    differences = [
        "–" if np.isnan(d) else f"{d:+.2f} [{low:+.2f}, {high:+.2f}]"
        for d, low, high in table[["difference", "difference_low", "difference_high"]].itertuples(index=False)
    ]
    return pd.DataFrame(
        {
            "experiment": table["label"],
            "models per fold": table["k"],
            "MCC": table["value"].map("{:.2f}".format),
            "95 % interval": interval,
            "not exactly one box": table["wrong_counts"].map("{:.0%}".format),
            "difference": differences,
            "p": ["–" if np.isnan(p) else f"{p:.2f}" for p in table["p_value"]],
            "p (Holm)": ["–" if np.isnan(p) else f"{p:.2f}" for p in table["p_holm"]],
        }
    )


def label(table: pd.DataFrame, name: str) -> str:
    """Return the label of a row of `experiment_table`, as in a sentence."""
    return str(table.set_index("experiment").loc[name, "label"])


def format_gain(table: pd.DataFrame, name: str) -> str:
    """Format what the first row of `experiment_table` gains over another, positive if the first is better."""
    row: pd.Series = table.set_index("experiment").loc[name]  # type: ignore[assignment]
    value, low, high = (-float(row[column]) for column in ("difference", "difference_high", "difference_low"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def interpret_differences(table: pd.DataFrame, names: Sequence[str]) -> str:
    """State which rows of `experiment_table` differ from the first by more than chance explains.

    A row counts when the 95 % interval of its paired difference does not hold zero; nothing is corrected for the number
    of rows.
    """
    rows = table[table["experiment"].isin(names)]
    worse, better = rows[rows["difference_high"] < 0], rows[rows["difference_low"] > 0]
    parts = [
        f"{len(part)} ({', '.join(part['label'])}) {verb}"
        for part, verb in ((worse, "agree less with the consensus"), (better, "agree more"))
        if len(part)
    ]
    rest = len(rows) - len(worse) - len(better)
    return f"of {len(rows)} rows without a step, " + "; ".join([*parts, f"{rest} cannot be told from the first row"])


def format_network(detector: Detector) -> str:
    """Describe the detector's network, width and pixel size, and the paper's where they differ."""
    paper = Detector()
    name = f"{detector.backbone.replace('resnet', 'ResNet-')} with {detector.width} channels in its first stage"
    return (
        f"Mask R-CNN with a {name} (paper: {paper.backbone.replace('resnet', 'ResNet-')}, {paper.width}), "
        f"on pixels of {detector.preprocessing.pixel_mm:g} mm (paper: {paper.preprocessing.pixel_mm:g} mm)"
    )


def learning_curve(table: pd.DataFrame, sizes: Sequence[tuple[str, float]], unit: str = "subjects") -> pd.DataFrame:
    """Return rows of `experiment_table` by number of training subjects: that number as `unit`, `value, low, high`.

    Args:
        table: of the experiments.
        sizes: experiment and its training subjects (mean over folds).
        unit: name of the first column.
    """
    known = table.set_index("experiment")
    rows = [(size, *known.loc[name, ["value", "low", "high"]]) for name, size in sizes if name in known.index]
    return pd.DataFrame(rows, columns=[unit, "value", "low", "high"]).sort_values(unit, ignore_index=True)


def common_members(variants: Mapping[str, Members], names: Sequence[str]) -> dict[str, Members]:
    """Return the experiments named, each with the members of the seeds that all of them have."""
    named = {name: variants[name] for name in names if name in variants}
    shared = set.intersection(*(set(members) for members in named.values()))
    return {name: {seed: members[seed] for seed in sorted(shared)} for name, members in named.items()}


#: Overrides of the experiment table as text; any other reads as its parameter's name and value.
_WORDS: dict[tuple[str, object], str] = {
    ("manual_only", True): "only patients outlined by hand",
    ("constant_pixel", False): "slices keep their own pixel size",
    ("remove_bias", False): "shading is not removed",
    ("local_median", False): "no median filter",
    ("clahe", False): "contrast is not equalised (CLAHE)",
    ("flip", False): "no mirroring",
    ("rotation_deg", 0): "no rotation",
}


def experiment_rows(run: Run) -> list[tuple[str, str, str, int, int]]:
    """Return the rows of the experiment table that were trained: label, difference, parameters, patients, members."""
    trained = [name for name in experiments() if name in run.study.experiments and detector_results.seeds(run, name)]
    rows = []
    for name, patients in detector_results.training_sizes(run, trained):
        overrides = experiments()[name].get("overrides", {})
        text = (str(experiments()[name]["label"]), _format_overrides(overrides), dotted(overrides))
        rows.append((*text, round(patients), len(detector_results.seeds(run, name))))
    return rows


def _format_overrides(overrides: dict[str, object]) -> str:
    parts = [
        _format_overrides(value) if isinstance(value, dict)
        else _WORDS.get((name, value), f"{name.replace('_', ' ')} {value}")
        for name, value in overrides.items()
    ]  # fmt: skip
    return ", ".join(parts) or "–"
