"""Tables of the public collection `vhi`: how well its readers agree, how its region masks were split."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from axspa_lib.curation.vhi.bone_split import BoneSplit
from axspa_lib.curation.vhi.source import READERS
from axspa_lib.stats import bootstrap_by_patient, cohen_kappa, confusion, mcc_counts
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.formatting import with_interval

#: Minimum areas whose effect on the agreement is shown, mm^2.
MINIMA_MM2 = (0, 5, 10, 20, 50, 100, 200)
_CROSSED = list(product(READERS[:2], READERS[2:]))
#: Pairs of readings: name, readings compared (their mean), and label.
PAIRS = {
    "R1-R2": (_CROSSED, "readers 1 and 2, mean of four pairs"),
    **{f"{a}-{b}": ([(a, b)], f"reader 1 trial {a[-1]}, reader 2 trial {b[-1]}") for a, b in _CROSSED},
    "R11-R12": ([("R11", "R12")], "reader 1, trials 1 and 2"),
    "R21-R22": ([("R21", "R22")], "reader 2, trials 1 and 2"),
}


def agreement_by_area(areas: pd.DataFrame, minima: Sequence[float] = MINIMA_MM2, samples: int = 2000) -> pd.DataFrame:
    """Return agreement on half-slices between readers and between trials, by the minimum area that counts.

    Args:
        areas: of `source.drawn_areas`; a half-slice is inflamed when its drawn area is larger than the minimum.
        minima: mm^2.
        samples: bootstrap samples, by patient.

    Returns:
        `min_area_mm2, pair` (a key of `PAIRS`), `mcc, low, high, kappa, half_slices, patients`, with 95 % intervals.
    """
    wide = areas.pivot_table(index=["patient", "slice", "side"], columns="reader", values="area_mm2", aggfunc="sum")
    wide = wide.dropna()
    patients = wide.index.get_level_values("patient")
    rows = []
    for minimum in minima:
        marked = (wide > minimum).astype(int)
        for pair, (compared, _) in PAIRS.items():
            counts = np.concatenate([confusion(marked[a], marked[b]) for a, b in compared], axis=1)
            found = bootstrap_by_patient(mcc_counts, counts, patients, samples)
            kappa = cohen_kappa(counts.sum(axis=0).reshape(len(compared), -1)).mean()
            rows.append((minimum, pair, found.value, found.low, found.high, kappa, found.n, found.patients))
    columns = ["min_area_mm2", "pair", "mcc", "low", "high", "kappa", "half_slices", "patients"]
    return pd.DataFrame(rows, columns=columns)


def format_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Return `agreement_by_area` as text: a row per pair, a column per minimum area, `MCC [95 % interval] (kappa)`."""
    figures = table[["mcc", "low", "high", "kappa"]].to_numpy(float)
    texts = [f"{with_interval(*interval)} ({kappa:.2f})" for *interval, kappa in figures]
    wide = table.assign(texts=texts).pivot(index="pair", columns="min_area_mm2", values="texts")
    wide.columns = [f"> {minimum:g} mm²" for minimum in wide.columns]
    return wide.loc[list(PAIRS)].rename(index={pair: label for pair, (_, label) in PAIRS.items()}).reset_index()


def marked_by_area(areas: pd.DataFrame, minima: Sequence[float] = MINIMA_MM2) -> pd.DataFrame:
    """Count the half-slices that each reading marks, by the minimum area: `reading`, then a column per minimum."""
    halves = areas.groupby(["reader", "patient", "slice", "side"])["area_mm2"].sum()
    columns = {f"> {minimum:g} mm²": (halves > minimum).groupby("reader").sum() for minimum in minima}
    return pd.DataFrame(columns).rename_axis("reading").reset_index()


def trust_by_examination(splits: pd.DataFrame) -> pd.DataFrame:
    """Count sides of slices with a joint line per examination: all, trusted, and why the others are not."""
    joints = splits[splits["joint_mm"] > 0].assign(trusted=lambda table: table["trusted"].astype(bool))
    dark = joints["reason"].str.contains("darker")
    flags = {
        "sides with a joint": True,
        "trusted": joints["trusted"],
        "line not dark": dark,
        "far from neighbours": ~joints["trusted"] & ~dark,
    }
    return pd.DataFrame(flags, index=joints.index).groupby(joints["patient"]).sum().reset_index()


def split_of(cohort: Cohort, patient: str) -> BoneSplit:
    """Return the split of an examination as its curated cohort keeps it, untrusted slices included."""
    bones, joint = cohort.truth(patient, "split"), cohort.truth(patient, "joint")
    if bones is None or joint is None:
        raise DataError(f"{cohort.name}: patient {patient!r} has no split of a region mask; choose one that has bones")
    trust = cohort.table("bone_splits")
    return BoneSplit(bones, joint, trust[trust["patient"] == patient].drop(columns="patient"))
