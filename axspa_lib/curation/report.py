"""What curation did, as tables: the flow of patients, scanners, what is missing or left out, reader agreement."""

from __future__ import annotations

import csv
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SUBSETS
from axspa_lib.study.volume import Volume

Level = Literal["quadrant", "half_slice", "patient"]
Measure = Literal["mcc", "kappa"]

#: Stages in the order in which a patient passes them, and how the flow names those who stop there.
STAGES = {
    "opinions": "readers disagree, or no usable opinion",
    "readings": "readings not usable",
    "images": "T1 or STIR not usable",
    "pairing": "no registered pair of T1 and STIR",
}

#: Scale of coil shading, mm (PHANTOM.md, section 2).
_SHADING_MM = 25.0


def flow(cohort: Cohort) -> pd.DataFrame:
    """Patients in, out and why, in the manner of STARD.

    Returns:
        `step` (`assessed`, `excluded`, `included`, `alone`, `subset`), `what`, `patients`, in the order of a flow
        diagram; the exclusions sum to assessed minus included, each patient counted at the first stage that stopped
        it. `alone` are included examinations of a T1 without STIR, which no detection can use.
    """
    everyone = cohort.everyone
    rows: list[tuple[str, str, int]] = [("assessed", "examinations in the source", len(everyone))]
    first = first_exclusions(cohort)
    for stage, what in STAGES.items():
        number = int((first["stage"] == stage).sum())
        if number:
            rows.append(("excluded", what, number))
    rows.append(("included", "included", len(cohort.participants)))
    alone = int((~cohort.participants["has_stir"]).sum())
    if alone:
        rows.append(("alone", "of these T1 without STIR (bones only)", alone))
    for column, what in (("bones", "bone networks"), ("detection", "detection")):
        counts = cohort.splits[column].value_counts()
        rows += [("subset", f"{what}: {subset}", int(counts[subset])) for subset in SUBSETS if subset in counts]
    return pd.DataFrame(rows, columns=["step", "what", "patients"])


def first_exclusions(cohort: Cohort) -> pd.DataFrame:
    """One row of `exclusions` per excluded patient: the first stage that stopped it."""
    table = cohort.exclusions
    table = table[table["excludes"].astype(bool) & table["patient"].isin(cohort.everyone["patient"])]
    order = table["stage"].map({stage: place for place, stage in enumerate(STAGES)})
    return table.assign(order=order).sort_values(["patient", "order"], kind="stable").drop_duplicates("patient")


def flow_reasons(cohort: Cohort, stage: str, most: int = 3) -> list[str]:
    """The commonest reasons of a stage in a few words, with numbers of patients, for a flow diagram."""
    first = first_exclusions(cohort)
    counts = first.loc[first["stage"] == stage, "reason"].map(_in_short).value_counts().sort_index()
    counts = counts.sort_values(ascending=False, kind="stable")
    named = counts if len(counts) <= most else counts.iloc[: most - 1]
    other = int(counts.sum() - named.sum())
    return [f"{number} {reason}" for reason, number in named.items()] + ([f"{other} other"] if other else [])


def _in_short(reason: str) -> str:
    """A reason without its figures and particulars."""
    reason = re.sub(r"^(T1|STIR): (.*: )?", r"\1: ", re.sub(r" \([^)]*\)", "", reason))
    return re.sub(r"\b\d+(\.\d+)?%? ", "", reason.split(", so ")[0])


def reasons(cohort: Cohort) -> pd.DataFrame:
    """Everything left out, counted by reason (numbers within a reason do not divide it).

    Returns:
        `stage, reason, remedy, patients, excluded` (how many of these patients left the cohort), most frequent first.
    """
    table = cohort.exclusions.copy()
    table["reason"] = table["reason"].str.replace(r"\bI?\d+(\.\d+)?%?", "#", regex=True)
    table["reason"] = table["reason"].map(lambda text: re.sub(r"^(T1|STIR): [^:]+: ", r"\1: ", text))
    grouped = table.groupby(["stage", "reason", "remedy"], as_index=False).agg(
        patients=("patient", "nunique"), excluded=("excludes", "sum")
    )
    return grouped.sort_values(["patients", "stage", "reason"], ascending=[False, True, True], ignore_index=True)


def missing(cohort: Cohort) -> pd.DataFrame:
    """Fields of participants.csv that are unknown: `field, missing, share` over the included examinations."""
    table = cohort.participants.drop(columns=["notes", "session", "bones_file", "stir_file"], errors="ignore")
    empty = table.apply(lambda column: (column.isna() | (column.astype(str) == "")).sum())
    result = pd.DataFrame({"field": empty.index, "missing": empty.to_numpy()})
    result["share"] = result["missing"] / max(len(table), 1)
    return result[result["missing"] > 0].sort_values("missing", ascending=False, ignore_index=True)


def scanners(cohort: Cohort) -> pd.DataFrame:
    """Spacing, timing and contrast per scanner: examinations, and medians with the range where it is wide.

    Returns:
        One row per manufacturer, model and field strength of the included examinations, most frequent first.
    """
    table = cohort.participants.copy()
    keys = ["manufacturer", "model", "field_t"]
    table[keys] = table[keys].astype(object).where(table[keys].notna() & (table[keys].astype(str) != ""), "unknown")
    columns = ["slices", "spacing_slice_mm", "spacing_row_mm", "tilt_deg", "tr_t1_s", "te_t1_s", "tr_stir_s",
               "te_stir_s", "ti_stir_s", "contrast_t1", "contrast_stir", "shading_t1", "shading_stir"]  # fmt: skip
    rows = []
    for names, group in table.groupby(keys, sort=True):
        row: dict[str, Any] = dict(zip(keys, names, strict=True)) | {"examinations": len(group)}
        for column in columns:
            if column in group:
                row[column] = pd.to_numeric(group[column]).astype(float).median()
        rows.append(row)
    result = pd.DataFrame(rows, columns=[*keys, "examinations", *columns])
    return result.sort_values("examinations", ascending=False, kind="stable", ignore_index=True)


def intensity(volume: Volume) -> dict[str, float]:
    """Contrast and shading of a stack, without segmentation.

    Returns:
        `contrast`: 95th over 25th percentile of the body; `shading`: 95th over 5th percentile of the body's low-pass
        image (Gaussian of 25 mm, normalised by the body), which is coil shading mixed with anatomy (PHANTOM.md, 2).
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
    cohort: Cohort, level: Level = "half_slice", measure: Measure = "mcc", patients: list[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement of each pair of readers on what both read (Tables 1 and 2 of the paper).

    Args:
        cohort: the cohort.
        level: quadrants, half-slices, or opinions on patients.
        measure: Matthews correlation coefficient or Cohen's kappa (scikit-learn).
        patients: restrict to these; by default the included ones for quadrants and half-slices, and all for patients
            (the included ones are those on whom the readers agree).

    Returns:
        Symmetric matrices reader by reader: the measure (NaN where undefined: fewer than two cases, or a reader who
        gave one answer only), and the number of cases.
    """
    if level == "patient":
        table, keys, value = cohort.opinions, ["patient"], "asas_positive"
    elif level == "half_slice":
        table, keys, value = cohort.half_slices, ["patient", "slice", "side"], "inflammation"
    else:
        table, keys, value = cohort.readings, ["patient", "slice", "side", "quadrant"], "inflammation"
    wanted = patients if patients is not None else None if level == "patient" else cohort.patients
    if wanted is not None:
        table = table[table["patient"].isin(wanted)]
    wide = table.pivot(index=keys, columns="reader", values=value)
    readers = list(wide.columns)
    values = pd.DataFrame(np.nan, index=readers, columns=readers)
    cases = pd.DataFrame(0, index=readers, columns=readers)
    for reader in readers:
        values.loc[reader, reader], cases.loc[reader, reader] = 1.0, int(wide[reader].notna().sum())
    for one, two in combinations(readers, 2):
        both = wide[[one, two]].dropna().astype(int)
        cases.loc[one, two] = cases.loc[two, one] = len(both)
        values.loc[one, two] = values.loc[two, one] = _measure(both[one].to_numpy(), both[two].to_numpy(), measure)
    return values, cases


def prevalence(cohort: Cohort) -> pd.DataFrame:
    """Share of inflamed half-slices and of positive patients, per reader and for the consensus.

    Returns:
        `level` (`half_slice`, `patient`), `reader` (or `consensus`), `positive`, `n`, `share`; half-slices of the
        included examinations, opinions on all.
    """
    halves = cohort.half_slices[cohort.half_slices["patient"].isin(cohort.patients)]
    rows: list[tuple[str, str, int, int]] = []
    for reader, group in halves.groupby("reader"):
        rows.append(("half_slice", str(reader), int(group["inflammation"].sum()), len(group)))
    consensus = cohort.consensus()
    if len(consensus):
        rows.append(("half_slice", "consensus", int(consensus["inflammation"].sum()), len(consensus)))
    for reader, group in cohort.opinions.groupby("reader"):
        rows.append(("patient", str(reader), int(group["asas_positive"].sum()), len(group)))
    positive = cohort.participants["positive"].dropna()
    if len(positive):
        rows.append(("patient", "included", int(positive.sum()), len(positive)))
    table = pd.DataFrame(rows, columns=["level", "reader", "positive", "n"])
    table["share"] = table["positive"] / table["n"]
    return table


def split_balance(cohort: Cohort) -> pd.DataFrame:
    """Patients, positives and centres of each subset: `split, subset, patients, positive, share, centres`."""
    table = cohort.splits.merge(cohort.participants[["patient", "positive", "centre"]], on="patient")
    rows = []
    for column in ("bones", "detection"):
        for subset in SUBSETS:
            part = table[table[column] == subset]
            if len(part):
                known = part["positive"].dropna()
                share = float(known.mean()) if len(known) else float("nan")
                rows.append((column, subset, len(part), int(known.sum()), share, part["centre"].nunique()))
    return pd.DataFrame(rows, columns=["split", "subset", "patients", "positive", "share", "centres"])


def _measure(one: NDArray[Any], two: NDArray[Any], measure: Measure) -> float:
    from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

    if measure not in ("mcc", "kappa"):
        raise DataError(f"unknown measure {measure!r}: choose mcc or kappa")
    if len(one) < 2 or len(set(one)) < 2 or len(set(two)) < 2:
        return float("nan")
    return float(matthews_corrcoef(one, two) if measure == "mcc" else cohen_kappa_score(one, two))


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
        lines.append(f"  {people} examinations share a PatientID but count as several people: see patients.csv")
    for table, without in (
        ("readings", "no half-slice has a label"),
        ("opinions", "nobody is left out for disagreement"),
    ):
        if len((out / f"{table}.csv").read_text(encoding="utf-8").splitlines()) < 2:
            lines.append(f"  no {table} were found: {without}")
    return "\n".join([*lines, f"every reason with its remedy: {out / 'exclusions.csv'}"])
