"""Compare rows of the experiment table on real MRI, with intervals by subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members, checked_members, ensemble_vote
from axspa_lib.stats import Floats, bootstrap_by_patient, confusion, holm, mcc_counts, paired_difference
from axspa_lib.study.config import BASE, Detector, experiments
from axspa_lib.study.errors import DataError

#: Rows of the experiment table that leave out one step of the preprocessing.
PREPROCESSING = ("no_constant_pixel", "fixed_matrix", "no_remove_gaussian_bias", "no_local_median", "no_clahe")


def experiment_table(
    half_slices: pd.DataFrame,
    variants: Mapping[str, Members],
    only: pd.DataFrame | None = None,
    n: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """What helps: every experiment against the consensus, and its paired difference to `all_included`.

    Differences are of the ensembles of the seeds that both have, on the same half-slices, by subject.

    Args:
        half_slices: readings.
        variants: `half_slice_results` by seed, by experiment.
        only: `patient, slice, side` that contain a joint.
        n: bootstrap resamples and permutations.
        seed: of both.

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
    base = checked_members(variants[BASE])
    rows = []
    for name, members in variants.items():
        tables = checked_members(members)
        vote = ensemble_vote(tables, "half_slice")
        counts = _counts(wide, CONSENSUS, vote)
        found = bootstrap_by_patient(mcc_counts, counts, wide["patient"], n, seed, "jeffreys")
        wrong = float(np.mean([_wrong(wide, table) for table in tables.values()]))
        row: dict[str, object] = {
            "experiment": name,
            "label": experiments()[name]["label"],
            "k": len(tables),
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "patients": found.patients,
            "wrong_counts": wrong,
        }
        if name != BASE:
            row |= _difference(wide, tables, base, n, seed)
        rows.append(row)
    table = pd.DataFrame(rows)
    if "p_value" not in table:
        return table
    return table.assign(p_holm=holm(table["p_value"].to_numpy(float)))


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """`experiment_table` as text fit for a page."""
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
    """Label of a row of `experiment_table`, as in a sentence."""
    return str(table.set_index("experiment").loc[name, "label"])


def gain_over(table: pd.DataFrame, name: str) -> str:
    """What the first row of `experiment_table` gains over another: paired, with interval, positive if it is better."""
    row: pd.Series = table.set_index("experiment").loc[name]  # type: ignore[assignment]
    value, low, high = (-float(row[column]) for column in ("difference", "difference_high", "difference_low"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def told_apart(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Which of some rows of `experiment_table` differ from the first by more than chance explains, in words.

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


def network(detector: Detector) -> str:
    """The detector's size in words: network, width, pixel size, and the paper's where it differs."""
    paper = Detector()
    name = f"{detector.backbone.replace('resnet', 'ResNet-')} with {detector.width} channels in its first stage"
    return (
        f"Mask R-CNN with a {name} (paper: {paper.backbone.replace('resnet', 'ResNet-')}, {paper.width}), "
        f"on pixels of {detector.preprocessing.pixel_mm:g} mm (paper: {paper.preprocessing.pixel_mm:g} mm)"
    )


def learning_curve(table: pd.DataFrame, sizes: Sequence[tuple[str, float]]) -> pd.DataFrame:
    """Rows of `experiment_table` by number of training subjects: `subjects, value, low, high`.

    Args:
        table: of the experiments.
        sizes: experiment and its training subjects (mean over folds).
    """
    known = table.set_index("experiment")
    rows = [(size, *known.loc[name, ["value", "low", "high"]]) for name, size in sizes if name in known.index]
    return pd.DataFrame(rows, columns=["subjects", "value", "low", "high"]).sort_values("subjects", ignore_index=True)


def _counts(wide: pd.DataFrame, row: str, results: pd.DataFrame) -> Floats:
    truth, answer, _, _ = reference_and_answer(wide, row, results)
    return confusion(truth, answer)


def _wrong(wide: pd.DataFrame, results: pd.DataFrame) -> float:
    return float(reference_and_answer(wide, CONSENSUS, results)[3].mean())


def _difference(
    wide: pd.DataFrame, members: dict[int, pd.DataFrame], base: dict[int, pd.DataFrame], n: int, seed: int
) -> dict[str, object]:
    shared = [name for name in members if name in base]
    first, second = (
        _counts(wide, CONSENSUS, ensemble_vote({name: side[name] for name in shared}, "half_slice"))
        for side in (members, base)
    )
    found = paired_difference(mcc_counts, first, second, wide["patient"], n, seed, prior=True)
    return {
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "p_value": found.p_value,
    }
