"""Rates, kappas and groups: what stands beside the paper's tables, from compared cases.

Cases are tables of `patient, reference, prediction` (0/1): the readers' consensus and the ensemble, as
`diagnosis.readings.half_slice_cases` and `patient_cases` return them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations, pairwise

import numpy as np
import pandas as pd

from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.readings import HALF, PATIENT, readings_wide
from axspa_lib.diagnosis.results import CohortResults
from axspa_lib.diagnosis.rules import KEY
from axspa_lib.stats.counts import cohen_kappa, confusion, fleiss_kappa, fleiss_terms, mcc_counts, sensitivity
from axspa_lib.stats.resampling import bootstrap_by_patient, interval_row
from axspa_lib.study.errors import DataError
from axspa_lib.study.formatting import heading, with_interval

#: Lesions of the simulator that count as inflammation, and the group of half-slices without one.
ACTIVE, NONE = ("oedema",), "none"
THIRDS = ("anterior third", "middle third", "posterior third")


def rates(cases: Mapping[str, Mapping[str, pd.DataFrame]], n: int = 2000) -> pd.DataFrame:
    """Return every rate of the ensemble by cohort and level: `rate, value, low, high, n, patients, of`."""
    parts = []
    for cohort, levels in cases.items():
        for level, table in levels.items():
            found = sweeps.rates(confusion(table["reference"], table["prediction"]), table["patient"], n)
            parts.append(found.assign(of=f"{heading(cohort)}, {level} (n = {len(table)})"))
    return pd.concat(parts, ignore_index=True)


def format_rates(table: pd.DataFrame, rows: str) -> pd.DataFrame:
    """Return figures with intervals as text, a row per value of the column `rows`, a column per rate."""
    texts = [
        with_interval(*figure) if pd.notna(figure[0]) else "no such case"
        for figure in table[["value", "low", "high"]].itertuples(index=False)
    ]
    wide = table.assign(text=texts).pivot(index=rows, columns="rate", values="text")
    wide = wide.loc[table[rows].unique(), table["rate"].unique()]
    return wide.rename_axis(columns=None).reset_index().rename(columns={rows: ""})


def agreement(readings: pd.DataFrame, n: int = 2000) -> pd.DataFrame:
    """Return MCC and Cohen's kappa of every pair of readers and Fleiss' kappa of all, with intervals.

    Args:
        readings: `patient, slice, side, reader, inflammation`.
        n: bootstrap resamples, by patient.
    """
    wide, names = readings_wide(readings)
    rows = []
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        counts = confusion(both[first], both[second])
        for measure, statistic in (("MCC", mcc_counts), ("Cohen's kappa", cohen_kappa)):
            found = bootstrap_by_patient(statistic, counts, both["patient"], n, 0, "jeffreys")
            rows.append(interval_row(found, readers=f"{first} vs {second}", measure=measure))
    terms = fleiss_terms(wide[names].sum(axis=1), wide[names].notna().sum(axis=1))
    found = bootstrap_by_patient(fleiss_kappa, terms, wide["patient"], n)
    return pd.DataFrame([*rows, interval_row(found, readers="all", measure="Fleiss' kappa")])


def kappas(
    cohorts: Collection[CohortResults], cases: Mapping[str, Mapping[str, pd.DataFrame]], n: int = 2000
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return chance-corrected agreement of the readers, and of the ensemble with their consensus.

    Returns:
        One row per cohort and level as text (pairs of readers from least to most agreeing, Fleiss' kappa of all,
        Cohen's kappa of the ensemble), and every pair: `readers, measure, value, low, high, n, patients, of`.
    """
    rows, parts = [], []
    for cohort in cohorts:
        opinions = cohort.opinions.assign(slice=0, side="R").rename(columns={"asas_positive": "inflammation"})
        readings = {HALF: cohort.half_slices.merge(cohort.with_joint, on=KEY), PATIENT: opinions}
        for level, table in cases[cohort.name].items():
            of = f"{heading(cohort.name)}, {level}"
            pairs = agreement(readings[level], n)
            parts.append(pairs.assign(of=of))
            cohen = pairs[pairs["measure"] == "Cohen's kappa"]["value"]
            fleiss = pairs.iloc[-1]
            counts = confusion(table["reference"], table["prediction"])
            own = bootstrap_by_patient(cohen_kappa, counts, table["patient"], n, 0, "jeffreys")
            rows.append(
                {
                    "": of,
                    "read": int(fleiss["n"]),
                    "pairs of readers: Cohen's kappa": f"{cohen.min():.2f} to {cohen.max():.2f}",
                    "all readers: Fleiss' kappa": with_interval(*fleiss[["value", "low", "high"]]),
                    "ensemble and consensus: Cohen's kappa": with_interval(own.value, own.low, own.high),
                }
            )
    return pd.DataFrame(rows), pd.concat(parts, ignore_index=True)


def groups(cases: pd.DataFrame, participants: pd.DataFrame, n: int = 2000) -> dict[str, pd.DataFrame]:
    """Return MCC on half-slices by scanner and by position among the slices read (`by_group`), by title.

    Args:
        cases: from `half_slice_cases`.
        participants: `patient, manufacturer`.
        n: bootstrap resamples, by patient.
    """
    scanner = cases["patient"].map(participants.set_index("patient")["manufacturer"])
    third = pd.cut(cases["position"], [-0.01, 1 / 3, 2 / 3, 1.01], labels=list(THIRDS))
    return {"scanner": by_group(cases, scanner, n), "position among the slices read": by_group(cases, third, n)}


def by_group(cases: pd.DataFrame, group: pd.Series, n: int = 2000) -> pd.DataFrame:
    """Return MCC by group with simultaneous 95 % intervals (Bonferroni): `group, value, low, high, n, patients`."""
    parts = cases.groupby(group, observed=True)
    rows = []
    for name, part in parts:
        counts = confusion(part["reference"], part["prediction"])
        level = 1 - 0.05 / parts.ngroups
        found = bootstrap_by_patient(mcc_counts, counts, part["patient"], n, 0, "jeffreys", level)
        rows.append(interval_row(found, group=str(name)))
    return pd.DataFrame(rows)


def largest_lesion(cases: pd.DataFrame, lesions: pd.DataFrame) -> pd.Series:
    """Return the volume (mm³) of the largest oedema that crosses each half-slice, 0 where none does.

    Args:
        cases: `patient, slice, side`.
        lesions: the simulator's, `patient, type, side, volume_mm3, first_slice, last_slice` (-1: not in any slice).
    """
    seen = lesions[lesions["type"].isin(ACTIVE) & (lesions["first_slice"] >= 0)]
    columns = ["patient", "side", "volume_mm3", "first_slice", "last_slice"]
    both = cases[KEY].reset_index().merge(seen[columns], on=["patient", "side"])
    crossed = both[both["slice"].between(both["first_slice"], both["last_slice"])]
    return crossed.groupby("index")["volume_mm3"].max().reindex(cases.index).fillna(0.0).rename("lesion_mm3")


def lesion_size(
    cases: pd.DataFrame, answers: Mapping[str, str], lesions: pd.DataFrame | None, bins: int = 4, n: int = 2000
) -> pd.DataFrame | None:
    """Return the share of half-slices marked as inflamed, by the size of the largest lesion there.

    Args:
        cases: `patient, slice, side` and a column of 0 and 1 for each of `answers`.
        answers: who marks → column.
        lesions: as in `largest_lesion`; None where the truth is not known, then nothing is returned.
        bins: groups of equal numbers of half-slices with a lesion.
        n: bootstrap resamples, by patient.

    Returns:
        `group, series, value, low, high, n, patients`: half-slices without a lesion first, where a mark is false; sizes
        in mm³. A group in which all or none are marked has the interval of half a case more and less (Jeffreys).

    Raises:
        DataError: no half-slice shows a lesion.
    """
    if lesions is None:
        return None
    cases = cases.reset_index(drop=True)
    size = largest_lesion(cases, lesions)
    if not size.any():
        raise DataError("no half-slice evaluated shows a lesion: there is nothing to group by size")
    edges = np.unique(np.quantile(size[size > 0], np.linspace(0, 1, bins + 1)))
    inner = [f"{edge:.0f}" for edge in edges[1:-1]]
    names = ["any"]
    if inner:
        names = [f"up to {inner[0]}", *(f"{low} to {high}" for low, high in pairwise(inner)), f"above {inner[-1]}"]
    index = np.clip(np.searchsorted(edges, size, side="left") - 1, 0, len(names) - 1)
    group = np.where(size > 0, np.asarray(names)[index], NONE)
    rows = []
    for name in [NONE, *names]:
        part = cases[group == name]
        for series, column in answers.items():
            counts = confusion(np.ones(len(part)), part[column])  # the share marked is the sensitivity
            found = bootstrap_by_patient(sensitivity, counts, part["patient"], n, 0, "jeffreys")
            rows.append(interval_row(found, group=name, series=series))
    return pd.DataFrame(rows)
