"""Tables of what curation did: flow of patients, scanners, what is missing or left out, reader agreement."""

from __future__ import annotations

import csv
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from axspa_lib.study.cohort import Cohort
from axspa_lib.study.labels import SUBSETS
from axspa_lib.study.volume import Volume

Level = Literal["half_slice", "patient"]
Measure = Literal["mcc", "kappa"]

#: Stages in the order in which a patient passes them, and how the flow names those who stop there.
STAGES = {
    "opinions": "readers disagree, or no usable opinion",
    "readings": "readings not usable",
    "images": "T1 or STIR not usable",
    "pairing": "no registered pair of T1 and STIR",
}

#: Columns of `scanners` that are medians.
MEDIANS = (
    "slices", "spacing_slice_mm", "spacing_row_mm", "tilt_deg", "tr_t1_s", "te_t1_s", "tr_stir_s", "te_stir_s",
    "ti_stir_s", "contrast_t1", "contrast_stir", "shading_t1", "shading_stir",
)  # fmt: skip

#: Scale of coil shading, mm (docs of the phantom, section 2).
_SHADING_MM = 25.0


def flow(cohort: Cohort) -> pd.DataFrame:
    """Count patients in, out and why, in the manner of STARD.

    Returns:
        `step` (`assessed`, `excluded`, `included`, `alone`, `subset`), `what`, `patients`, in the order of a flow
        diagram; the exclusions sum to assessed minus included, each patient counted at the first stage that stopped
        it. `alone` are included examinations of a T1 without STIR, which no detection can use.
    """
    stopped = first_exclusions(cohort)["stage"].value_counts()
    alone = int((~cohort.participants["has_stir"]).sum())
    rows: list[tuple[str, str, int]] = [("assessed", "examinations in the source", len(cohort.everyone))]
    rows += [("excluded", what, int(stopped[stage])) for stage, what in STAGES.items() if stage in stopped]
    rows.append(("included", "included", len(cohort.participants)))
    if alone:
        rows.append(("alone", "of these T1 without STIR (bones only)", alone))
    for column, what in (("bones", "bone networks"), ("detection", "detection")):
        counts = cohort.splits[column].value_counts()
        rows += [("subset", f"{what}: {subset}", int(counts[subset])) for subset in SUBSETS if subset in counts]
    return pd.DataFrame(rows, columns=["step", "what", "patients"])


def first_exclusions(cohort: Cohort) -> pd.DataFrame:
    """Return one row of `exclusions` per excluded patient: the first stage that stopped it."""
    table = cohort.exclusions
    table = table[table["excludes"].astype(bool) & table["patient"].isin(cohort.everyone["patient"])]
    order = table["stage"].map({stage: index for index, stage in enumerate(STAGES)})
    return table.assign(order=order).sort_values(["patient", "order"], kind="stable").drop_duplicates("patient")


def flow_reasons(cohort: Cohort, stage: str, most: int = 3) -> list[str]:
    """Return the commonest reasons of a stage in a few words, with numbers of patients, for a flow diagram."""
    first = first_exclusions(cohort)
    counts = first.loc[first["stage"] == stage, "reason"].map(_shorten).value_counts().sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    named = counts if len(counts) <= most else counts.iloc[: most - 1]
    other = int(counts.sum() - named.sum())
    return [f"{number} {reason}" for reason, number in named.items()] + ([f"{other} other"] if other else [])


def _shorten(reason: str) -> str:
    """Return a reason without its figures and particulars."""
    reason = re.sub(r"^(T1|STIR): (.*: )?", r"\1: ", re.sub(r" \([^)]*\)", "", reason))
    reason = re.sub(r"\b\d+(\.\d+)?%? ", "", reason.split(", so ")[0])
    return reason.replace("covers only of", "covers too few of")


def reasons(cohort: Cohort) -> pd.DataFrame:
    """Count everything left out by reason (numbers within a reason do not divide it).

    Returns:
        `stage, reason, remedy, patients, excluded` (how many of these patients left the cohort), most frequent first.
    """
    table = cohort.exclusions.copy()
    table["reason"] = table["reason"].str.replace(r"\bI?\d+(\.\d+)?%?", "#", regex=True)
    table["reason"] = table["reason"].str.replace(r"^(T1|STIR): [^:]+: ", r"\1: ", regex=True)
    grouped = table.groupby(["stage", "reason", "remedy"], as_index=False).agg(
        patients=("patient", "nunique"), excluded=("excludes", "sum")
    )
    return grouped.sort_values(["patients", "stage", "reason"], ascending=[False, True, True], ignore_index=True)


def missing_fields(cohort: Cohort) -> list[str]:
    """Name the fields of participants.csv that are unknown for some included examination, most often missing first."""
    table = cohort.participants.drop(columns=["notes", "session", "bones_file", "stir_file"], errors="ignore")
    empty = (table.isna() | (table.astype(str) == "")).sum()
    return list(empty[empty > 0].sort_values(ascending=False, kind="stable").index)


def scanners(cohort: Cohort) -> pd.DataFrame:
    """Summarise geometry, timing and contrast by scanner.

    Returns:
        One row per manufacturer, model and field strength of the included examinations, most frequent first, with the
        number of `examinations` and the medians of `MEDIANS`.
    """
    table = cohort.participants.copy()
    keys = ["manufacturer", "model", "field_t"]
    table[keys] = table[keys].astype(object).where(table[keys].notna() & (table[keys].astype(str) != ""), "unknown")
    columns = [name for name in MEDIANS if name in table]
    table[columns] = table[columns].apply(pd.to_numeric).astype(float)
    grouped = table.groupby(keys, sort=True)
    medians = grouped[columns].median().reindex(columns=MEDIANS)
    medians.insert(0, "examinations", grouped.size())
    return medians.reset_index().sort_values("examinations", ascending=False, kind="stable", ignore_index=True)


def intensity(volume: Volume) -> dict[str, float]:
    """Measure contrast and shading of a stack, without segmentation.

    Returns:
        `contrast`: 95th over 25th percentile of the body; `shading`: 95th over 5th percentile of the body's low-pass
        image (Gaussian of 25 mm, normalised by the body), which is coil shading mixed with anatomy.
    """
    from scipy import ndimage as ndi
    from skimage.filters import threshold_otsu

    step = [max(1, round(4.0 / spacing)) for spacing in volume.spacing]
    small = np.asarray(volume.array[:: step[0], :: step[1], :: step[2]], dtype=np.float32)
    body = small > 0.5 * threshold_otsu(np.minimum(small, np.percentile(small, 99)).ravel())
    if not body.any() or small[body].min() <= 0:
        return {"contrast": float("nan"), "shading": float("nan")}
    sigma = [_SHADING_MM / (spacing * by) for spacing, by in zip(volume.spacing, step, strict=True)]
    low = ndi.gaussian_filter(small * body, sigma, truncate=2) / np.maximum(
        ndi.gaussian_filter(body.astype(np.float32), sigma, truncate=2), 1e-3
    )
    high, base = np.percentile(small[body], [95, 25])
    bright, dark = np.percentile(low[body], [95, 5])
    return {"contrast": float(high / base), "shading": float(bright / dark)}


def agreement(
    cohort: Cohort, level: Level = "half_slice", measure: Measure = "mcc"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the agreement of each pair of readers on what both read (Tables 1 and 2 of the paper).

    Args:
        cohort: the cohort.
        level: half-slices of the included patients, or opinions on all patients (readers agree on the included ones).
        measure: Matthews correlation coefficient or Cohen's kappa (scikit-learn).

    Returns:
        Symmetric matrices reader by reader: the measure (NaN where undefined: fewer than two cases, or a reader who
        gave one answer only), and the number of cases.
    """
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    if level == "patient":
        wide = cohort.opinions.pivot(index="patient", columns="reader", values="asas_positive")
    else:
        read = cohort.half_slices[cohort.half_slices["patient"].isin(cohort.patients)]
        wide = read.pivot(index=["patient", "slice", "side"], columns="reader", values="inflammation")
    compare = matthews_corrcoef if measure == "mcc" else cohen_kappa_score
    readers = list(wide.columns)
    values = pd.DataFrame(np.eye(len(readers)), readers, readers).replace(0, np.nan)
    cases = pd.DataFrame(np.diag(wide.notna().sum()), readers, readers)
    for one, two in combinations(readers, 2):
        both = wide[[one, two]].dropna().astype(int)
        cases.loc[one, two] = cases.loc[two, one] = len(both)
        if len(both) > 1 and (both.nunique() > 1).all():
            values.loc[one, two] = values.loc[two, one] = float(compare(both[one], both[two]))
    return values, cases


def prevalence(cohort: Cohort) -> pd.DataFrame:
    """Return the share of inflamed half-slices and of positive patients, per reader and for the consensus.

    Returns:
        `level` (`half_slice`, `patient`), `reader` (or `consensus`, or `included`), `positive`, `n`, `share`;
        half-slices of the included examinations, opinions on all.
    """
    halves = cohort.half_slices[cohort.half_slices["patient"].isin(cohort.patients)]
    diagnoses = cohort.participants["positive"].dropna()
    groups = [("half_slice", name, part["inflammation"]) for name, part in halves.groupby("reader")]
    groups.append(("half_slice", "consensus", cohort.consensus()["inflammation"]))
    groups += [("patient", name, part["asas_positive"]) for name, part in cohort.opinions.groupby("reader")]
    groups.append(("patient", "included", diagnoses))
    rows = [(level, str(name), int(part.sum()), len(part)) for level, name, part in groups if len(part)]
    table = pd.DataFrame(rows, columns=["level", "reader", "positive", "n"])
    return table.assign(share=table["positive"] / table["n"])


def split_balance(cohort: Cohort) -> pd.DataFrame:
    """Count patients, positives and centres of each subset: `split, subset, patients, positive, share, centres`."""
    table = cohort.splits.merge(cohort.participants[["patient", "positive", "centre"]], on="patient")
    rows = []
    for split in ("bones", "detection"):
        for subset in SUBSETS:
            part = table[table[split] == subset]
            known = part["positive"].dropna()
            share = float(known.mean()) if len(known) else float("nan")
            rows.append((split, subset, len(part), int(known.sum()), share, part["centre"].nunique()))
    table = pd.DataFrame(rows, columns=["split", "subset", "patients", "positive", "share", "centres"])
    return table[table["patients"] > 0].reset_index(drop=True)


def format_counts(out: Path) -> str:
    """Return the counts of a finished curation, and the address of its report."""
    counts = json.loads((out / "curation.json").read_text(encoding="utf-8"))["counts"]
    lines = [f"{counts['included']} of {counts['patients']} patients included in {out}"]
    lines += [f"  {number} left out: {STAGES[stage]}" for stage, number in counts["excluded"].items()]
    if counts["rows or masks left out"]:
        lines.append(f"  {counts['rows or masks left out']} findings on rows or masks that cost no patient")
    with (out / "exclusions.csv").open(encoding="utf-8", newline="") as file:
        people = sum(row["stage"] == "people" for row in csv.DictReader(file))
    if people:
        lines.append(f"  {people} examinations may share a person with another: see `people` in exclusions.csv")
    lines += [f"  note: {note}" for note in json.loads((out / "curation.json").read_text(encoding="utf-8"))["notes"]]
    for table, without in (
        ("readings", "no half-slice has a label"),
        ("opinions", "nobody is left out for disagreement"),
    ):
        if len((out / f"{table}.csv").read_text(encoding="utf-8").splitlines()) < 2:
            lines.append(f"  no {table} were found: {without}")
    lines.append(f"series taken and left out, with reasons: {out / 'series.csv'}")
    return "\n".join([*lines, f"every reason with its remedy: {out / 'exclusions.csv'}"])
