"""What the paper leaves open: other decision rules and thresholds, rates, abstention, and performance by group."""

from __future__ import annotations

from collections.abc import Collection
from itertools import combinations

import pandas as pd

from axspa_lib.diagnosis.readings import readings_wide
from axspa_lib.diagnosis.sweeps import RATES, _entry
from axspa_lib.stats import bootstrap_by_patient, cohen_kappa, confusion, fleiss_kappa, fleiss_terms, mcc_counts
from axspa_lib.study.errors import DataError


def agreement(
    half_slices: pd.DataFrame, readers: Collection[str] | None = None, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """MCC and Cohen's kappa of every pair of readers and Fleiss' kappa of all, on half-slices, with intervals."""
    wide, names = readings_wide(half_slices, readers=readers)
    rows = []
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        counts = confusion(both[first], both[second])
        for name, statistic in (("MCC", mcc_counts), ("Cohen's kappa", cohen_kappa)):
            found = bootstrap_by_patient(statistic, counts, both["patient"], n, seed, "jeffreys")
            rows.append(_entry(found, readers=f"{first} vs {second}", measure=name))
    read = wide[names]
    terms = fleiss_terms(read.sum(axis=1), read.notna().sum(axis=1))
    found = bootstrap_by_patient(fleiss_kappa, terms, wide["patient"], n, seed)
    return pd.DataFrame([*rows, _entry(found, readers="all", measure="Fleiss' kappa")])


def by_group(
    cases: pd.DataFrame,
    group: str,
    rate: str = "MCC",
    bins: int | None = None,
    n: int = 2000,
    seed: int = 0,
    simultaneous: bool = False,
) -> pd.DataFrame:
    """A rate by scanner, slice position or any other column: `group, value, low, high, n, patients`.

    Args:
        cases: `patient, reference, prediction` (0/1) and the column `group`.
        group: its name; cases without a value are left out.
        rate: a key of `RATES`.
        bins: quantile bins of a numerical column; its values as they are when None.
        n: bootstrap resamples.
        seed: of the bootstrap.
        simultaneous: intervals that hold all together in 95 of 100 studies (Bonferroni), for whoever compares groups.
    """
    if rate not in RATES:
        raise DataError(f"unknown rate {rate!r}: choose one of {', '.join(RATES)}")
    known = cases.dropna(subset=[group])
    values = known[group] if bins is None else pd.qcut(known[group], bins, duplicates="drop")
    parts = known.groupby(values, observed=True)
    level = 1 - 0.05 / max(parts.ngroups, 1) if simultaneous else 0.95
    rows = []
    for name, part in parts:
        counts = confusion(part["reference"], part["prediction"])
        found = bootstrap_by_patient(RATES[rate], counts, part["patient"], n, seed, "jeffreys", level)
        rows.append(_entry(found, group=str(name)))
    return pd.DataFrame(rows)
