"""Any source to a curated cohort on disk, patient by patient.

Each finished patient leaves a record (`.records/`) that is written after its files; a restart takes the record and
reads nothing again, unless the patient's files, the options or the format changed. Tables are assembled from the
records at the end, `curation.json` last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.patient import FORMAT, RECORDS, Options, cannot_write, described, participant
from axspa_lib.curation.source import Source
from axspa_lib.curation.splits import make_splits
from axspa_lib.curation.workers import patient_records
from axspa_lib.study import runs
from axspa_lib.study.cohort import consensus
from axspa_lib.study.errors import DataError

PARTICIPANTS = (
    "patient", "subject", "session", "centre", "status", "positive", "manufacturer", "model", "field_t",
    "slices", "rows", "columns", "spacing_slice_mm", "spacing_row_mm", "spacing_column_mm", "tilt_deg",
    "tr_t1_s", "te_t1_s", "tr_stir_s", "te_stir_s", "ti_stir_s",
    "contrast_t1", "contrast_stir", "shading_t1", "shading_stir",
    "has_stir", "has_bones", "stir_resampled", "stir_covered", "t1_file", "stir_file", "bones_file", "notes",
)  # fmt: skip


def curate(
    source: Source,
    out: Path,
    *,
    seed: int,
    bones_split: tuple[int, int, int] | None,
    detection_split: tuple[int, int, int] | None,
    folds: int = 1,
    require_agreement: bool = True,
    refine: bool = False,
    workers: int = 1,
    dry_run: bool = False,
    progress: bool = False,
) -> Path:
    """Curate a cohort (section 2): read, check, pair, label, split, write.

    Args:
        source: the cohort.
        out: folder of the curated cohort.
        seed: of the splits.
        bones_split: patients for training, validation and test of the bone networks, or none (section 4.1).
        detection_split: the same for detection (section 4.2).
        folds: more than 1 adds folds of a cross-validation, by subject.
        require_agreement: keep only patients on whom all readers agree, where there are opinions (section 2).
        refine: move STIR onto T1 by a rigid registration, where that improves their match.
        workers, progress: processes; show a bar.
        dry_run: read and check everything, write nothing, print the counts and the reasons.
    """
    out = Path(out)
    if not dry_run:
        _prepare(out)
    if hasattr(source, "prepare"):
        source.prepare(progress)
    if not dry_run and hasattr(source, "keep_pseudonyms"):
        source.keep_pseudonyms(out.parent / "pseudonyms.csv")
    patients = source.patients()
    if not patients:
        raise DataError("the source holds no patients; give the folder that holds them")
    given = source.opinions()
    opinions, findings = reader_tables.clean_opinions(given, patients)
    known_readers = set(opinions["reader"]) or None
    readings, more = reader_tables.clean_readings(source.readings(), patients, known_readers)
    positive, disagreements = reader_tables.opinion_of(opinions, require_agreement)
    findings += more + disagreements
    if given is not None and len(given):  # a table in which nobody is known is a mistake, not the absence of readers
        unread = sorted(set(patients) - set(opinions["patient"]) - {f.patient for f in findings if f.excludes})
        findings += [Finding(p, "opinions", "no reader gave an opinion", "add it to opinions.csv") for p in unread]
    doubtful = source.same_people() if hasattr(source, "same_people") else []
    findings += doubtful
    early = {finding.patient for finding in findings if finding.excludes}
    todo = [patient for patient in patients if patient not in early]
    highest = readings.groupby("patient")["slice"].max()
    last_slices = {str(patient): int(number) for patient, number in highest.items()}
    options = Options(refine, last_slices, t1_alone=bool(getattr(source, "t1_alone", False)))
    work = patient_records(source, todo, None if dry_run else out, options, workers, progress)
    records = {record["patient"]: record for record in work}
    findings += _copies(records, {finding.patient for finding in doubtful if "placeholder" in finding.reason})
    findings += [Finding(**finding) for record in records.values() for finding in record["findings"]]
    rows = [records[p]["row"] if p in records else participant(described(source, p)) for p in patients]
    if not len(opinions) and len(readings):
        positive = reader_tables.positive_by_count(consensus(reader_tables.half_slices(readings)))
    tables = _tables(rows, findings, positive, readings, opinions)
    looked_at = sorted((patient, record.get("series", [])) for patient, record in records.items())
    taken = [{"patient": patient} | row for patient, rows in looked_at for row in rows]
    tables["series"] = pd.DataFrame(taken, columns=["patient", "series", "taken", "reason"])
    more_tables = getattr(source, "tables", None)
    tables |= more_tables() if more_tables and not dry_run else {}
    participants = tables["participants"]
    included = participants[participants["status"] == "included"].copy()
    included["eligible"] = included["has_stir"]
    tables["splits"] = make_splits(included, bones_split, detection_split, seed, folds)
    counts = _counts(participants, tables)
    if included.empty and not dry_run:
        runs.write_text(out / "exclusions.csv", tables["exclusions"].to_csv(index=False, lineterminator="\n"))
        commonest = tables["exclusions"]["reason"].mode()[0]
        raise DataError(f"no patient can be included, most often: {commonest}; see {out}/exclusions.csv")
    if dry_run:
        print("\n".join([*(f"{name}: {value}" for name, value in counts.items()), *_reasons(source, tables)]))
        return out
    settings = {"seed": seed, "require_agreement": require_agreement, "refine": refine}
    _finish(source, out, tables, records, settings | {"counts": counts})
    return out


def _tables(
    rows: list[dict[str, Any]],
    findings: list[Finding],
    positive: pd.Series,
    readings: pd.DataFrame,
    opinions: pd.DataFrame,
) -> dict[str, pd.DataFrame]:
    participants = pd.DataFrame(rows).reindex(columns=PARTICIPANTS)
    out = {finding.patient for finding in findings if finding.excludes}
    participants["status"] = np.where(participants["patient"].isin(out), "excluded", "included")
    participants["positive"] = participants["patient"].map(positive).astype("boolean")
    for column in ("slices", "rows", "columns"):
        participants[column] = participants[column].astype("Int64")
    for column in ("has_stir", "has_bones"):
        participants[column] = participants[column].astype(bool)
    participants["stir_resampled"] = participants["stir_resampled"].astype("boolean")
    exclusions = pd.DataFrame(
        [(f.patient, f.stage, f.reason, f.remedy, f.excludes) for f in findings],
        columns=["patient", "stage", "reason", "remedy", "excludes"],
    ).astype({"excludes": bool})
    exclusions = exclusions.sort_values(
        ["patient", "excludes", "stage", "reason"], ascending=[True, False, True, True], ignore_index=True
    )
    return {
        "participants": participants.sort_values("patient", ignore_index=True),
        "readings": readings,
        "opinions": opinions,
        "half_slices": reader_tables.half_slices(readings),
        "exclusions": exclusions,
    }


def _copies(records: Mapping[str, Mapping[str, Any]], nameless: set[str]) -> list[Finding]:
    """Give examinations that share a slice, pixel by pixel, one subject, and name them.

    Three or more that nobody names either are a fault of the export rather than copies, and stay apart.
    """
    groups: dict[str, list[str]] = {}
    for patient, record in sorted(records.items()):
        for checksum in record.get("slices", []):
            groups.setdefault(str(checksum), []).append(patient)
    findings: dict[str, Finding] = {}
    remedy = "keep one of them, or correct the export"
    for first, *others in sorted({tuple(dict.fromkeys(group)) for group in groups.values()}):
        apart = len(others) > 1 and nameless.issuperset([first, *others])
        old, new = {records[name]["row"]["subject"] for name in others}, records[first]["row"]["subject"]
        if old <= {new} and not any(name in findings for name in others):
            continue
        for record in records.values():
            if record["row"]["subject"] in old and not apart:
                record["row"]["subject"] = new
        for name in others:
            end = "too many to be copies of one" if apart else "so they count as one person"
            findings[name] = Finding(name, "people", f"holds the same images as {first}, {end}", remedy, excludes=False)
    return list(findings.values())


def _reasons(source: Source, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Every exclusion and every series taken or left out, a line each."""
    lines = [f"note: {note}" for note in getattr(source, "notes", [])]
    exclusions, series = tables["exclusions"].to_dict("records"), tables["series"].to_dict("records")
    lines += [f"{row['patient']}: {row['stage']}: {row['reason']}; {row['remedy']}" for row in exclusions]
    return lines + [
        f"{row['patient']}: {row['taken'] or 'left out'}: {row['series']}: {row['reason']}" for row in series
    ]


def _counts(participants: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> dict[str, Any]:
    included = participants[participants["status"] == "included"]
    excluding = tables["exclusions"][tables["exclusions"]["excludes"]]
    first = excluding[excluding["patient"].isin(participants["patient"])].drop_duplicates("patient")
    return {
        "patients": len(participants),
        "subjects": int(participants["subject"].nunique()),
        "included": len(included),
        "excluded": {str(stage): int(number) for stage, number in first["stage"].value_counts().sort_index().items()},
        "pairs": int(included["has_stir"].sum()),
        "reference bones": int(included["has_bones"].sum()),
        "positive": int(included["positive"].fillna(False).sum()),
        "readings": len(tables["readings"]),
        "half-slices read": len(tables["half_slices"]),
        "rows or masks left out": int((~tables["exclusions"]["excludes"]).sum()),
        **{
            f"{column} {subset}": int(number)
            for column in ("bones", "detection")
            for subset, number in tables["splits"][column].value_counts().sort_index().items()
            if subset
        },
    }


def _finish(
    source: Source, out: Path, tables: dict[str, pd.DataFrame], records: dict[str, dict[str, Any]], more: dict[str, Any]
) -> None:
    """Write tables, remove images of patients that are not included, write `curation.json` last."""
    included = set(tables["participants"].loc[tables["participants"]["status"] == "included", "patient"])
    checksums: dict[str, str] = {}
    for patient, record in sorted(records.items()):
        checksums |= record["files"] if patient in included else {}
    provenance = runs.provenance()
    summary = {
        "cohort": out.name,
        "source": source.name,
        "simulated": bool(getattr(source, "simulated", False)),
        "format": FORMAT,
        **more,
        "notes": list(getattr(source, "notes", [])),
        "provenance": {name: provenance[name] for name in ("commit", "python", "versions")},
    }
    try:
        for name, table in tables.items():
            runs.write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
            checksums[f"{name}.csv"] = runs.sha256(out / f"{name}.csv")
        _sweep(out, checksums)
        runs.write_json(out / "curation.json", summary | {"checksums": checksums})
    except OSError as error:
        raise DataError(cannot_write(out, error)) from None


def _prepare(out: Path) -> None:
    """Make `out`, or refuse a folder that holds something else; unfinished until `curation.json` is there again."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / RECORDS).is_dir())):
            raise DataError(f"{out}: is not empty and no curated cohort; give a new folder")
        (out / RECORDS).mkdir(parents=True, exist_ok=True)
        (out / "curation.json").unlink(missing_ok=True)
    except OSError as error:
        raise DataError(cannot_write(out, error)) from None


def _sweep(out: Path, keep: Mapping[str, str]) -> None:
    """Remove images of patients who are not, or no longer, included."""
    for path in [*out.glob("sub-*/**/*"), *out.glob("derivatives/*/*")]:
        if path.is_file() and path.relative_to(out).as_posix() not in keep:
            path.unlink()
    for folder in sorted(out.glob("sub-*/**/"), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
