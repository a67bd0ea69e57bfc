"""What the book says of the public collection `vhi`: how well its readers agree, how its region masks were split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from axspa_lib.curation.vhi.bone_split import BoneSplit
from axspa_lib.curation.vhi.source import READERS
from axspa_lib.stats import bootstrap_by_patient, cohen_kappa, confusion, mcc_counts
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError

#: Minimum areas whose effect on the agreement is shown, mm^2.
MINIMA_MM2 = (0, 5, 10, 20, 50, 100, 200)
#: What the pairs of readings are, for tables.
PAIR_NAMES = {
    "R1-R2": "readers 1 and 2, mean of four pairs",
    "R11-R12": "reader 1, trials 1 and 2",
    "R21-R22": "reader 2, trials 1 and 2",
} | {f"R1{a}-R2{b}": f"reader 1 trial {a}, reader 2 trial {b}" for a in (1, 2) for b in (1, 2)}


def agreement_by_area(
    areas: pd.DataFrame, minima: Sequence[float] = MINIMA_MM2, samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Agreement on half-slices between readers and between trials, by the minimum area that counts.

    Args:
        areas: of `drawn_areas`; a half-slice is inflamed when its drawn area is larger than the minimum.
        minima: mm^2.
        samples: bootstrap samples, by patient.
        seed: of the bootstrap.

    Returns:
        `min_area_mm2, pair, kind ("readers" or "trials"), mcc, low, high, kappa, half_slices, patients`, with 95 %
        intervals; the pair `R1-R2` is the mean over the four pairs of trials.
    """
    wide = areas.pivot_table(index=["patient", "slice", "side"], columns="reader", values="area_mm2", aggfunc="sum")
    wide = wide.dropna()
    patients = wide.index.get_level_values("patient")
    crossed = [(first, second) for first in READERS[:2] for second in READERS[2:]]
    pairs = {"R1-R2": crossed} | {f"{a}-{b}": [(a, b)] for a, b in [*crossed, READERS[:2], READERS[2:]]}
    rows = []
    for minimum in minima:
        marked = (wide > minimum).astype(int)
        for name, members in pairs.items():
            counts = np.concatenate([confusion(marked[a], marked[b]) for a, b in members], axis=1)
            found = bootstrap_by_patient(mcc_counts, counts, patients, samples, seed)
            kappa = cohen_kappa(counts.sum(axis=0).reshape(len(members), -1)).mean()
            kind = "trials" if len({reader[:2] for pair in members for reader in pair}) == 1 else "readers"
            rows.append((minimum, name, kind, found.value, found.low, found.high, kappa, found.n, found.patients))
    columns = ["min_area_mm2", "pair", "kind", "mcc", "low", "high", "kappa", "half_slices", "patients"]
    return pd.DataFrame(rows, columns=columns)


def agreement_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """`agreement_by_area` for reading: a row per pair, a column per minimum area, `MCC [95 % interval] (kappa)`."""
    words = [f"{r.mcc:.2f} [{r.low:.2f}, {r.high:.2f}] ({r.kappa:.2f})" for r in table.itertuples()]
    wide = table.assign(words=words).pivot(index="pair", columns="min_area_mm2", values="words")
    wide.columns = [f"> {minimum:g} mm²" for minimum in wide.columns]
    return wide.loc[list(dict.fromkeys(table["pair"]))].rename(index=PAIR_NAMES).rename_axis("pair").reset_index()


def marked_by_area(areas: pd.DataFrame, minima: Sequence[float] = MINIMA_MM2) -> pd.DataFrame:
    """Half-slices that each reading marks, by the minimum area: `reading`, then a column per minimum."""
    halves = areas.groupby(["reader", "patient", "slice", "side"])["area_mm2"].sum()
    columns = {f"> {minimum:g} mm²": (halves > minimum).groupby("reader").sum() for minimum in minima}
    return pd.DataFrame(columns).rename_axis("reading").reset_index()


def trust_by_examination(splits: pd.DataFrame) -> pd.DataFrame:
    """Per examination: sides of slices with a joint line, how many of them are trusted, and why the others are not."""
    joints = splits[splits["joint_mm"] > 0].assign(trusted=lambda table: table["trusted"].astype(bool))
    dark = joints["reason"].str.contains("darker")
    counts = joints.assign(not_dark=dark, jumps=~joints["trusted"] & ~dark).groupby("patient")
    table = counts.agg(
        sides=("trusted", "size"), trusted=("trusted", "sum"), not_dark=("not_dark", "sum"), jumps=("jumps", "sum")
    )
    names = {"sides": "sides with a joint", "not_dark": "line not dark", "jumps": "far from neighbours"}
    return table.reset_index().rename(columns=names)


def split_of(cohort: Cohort, patient: str) -> BoneSplit:
    """The split of an examination as its curated cohort keeps it, untrusted slices included.

    Raises:
        DataError: the examination has no region mask.
        MissingResultError: the cohort was curated before splits were kept.
    """
    bones, joint = cohort.truth(patient, "split"), cohort.truth(patient, "joint")
    if bones is None or joint is None:
        raise DataError(f"{cohort.name}: patient {patient!r} has no split of a region mask; choose one that has bones")
    trust = cohort.table("bone_splits")
    return BoneSplit(bones, joint, trust[trust["patient"] == patient].drop(columns="patient"))
