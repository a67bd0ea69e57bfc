"""Any source to a curated cohort on disk, patient by patient.

Each finished patient leaves a record (`.records/`) that is written after its files; a restart takes the record and
reads nothing again, unless the patient's files, the options or this format changed. Tables are assembled from the
records at the end, `curation.json` last.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib import runs
from axspa_lib.cohort import bids_label, consensus, file_label
from axspa_lib.config import digest
from axspa_lib.curation import annotations, geometry
from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.source import Examination, Source
from axspa_lib.curation.splits import make_splits
from axspa_lib.errors import AxspaError, DataError
from axspa_lib.labels import BIDS_SUFFIX, STIR, T1
from axspa_lib.volume import Volume, write_volume

#: Changes when what a record or an image holds changes; finished patients are then curated again.
FORMAT = 1

PARTICIPANTS = (
    "patient", "subject", "session", "centre", "status", "positive", "manufacturer", "model", "field_t",
    "slices", "rows", "columns", "spacing_slice_mm", "spacing_row_mm", "spacing_column_mm", "tilt_deg",
    "tr_t1_s", "te_t1_s", "tr_stir_s", "te_stir_s", "ti_stir_s",
    "has_stir", "has_bones", "stir_resampled", "stir_covered", "t1_file", "stir_file", "bones_file", "notes",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What decides the fate of every patient beside its files.

    Attributes:
        refine: move STIR onto T1 by a rigid registration.
        last_slices: highest slice that the readings name, by patient.
    """

    refine: bool = False
    last_slices: dict[str, int] = field(default_factory=dict)


def curate(
    source: Source,
    out: Path,
    *,
    seed: int,
    bones_split: tuple[int, int, int] | None,
    detection_split: tuple[int, int, int] | None,
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
        require_agreement: keep only patients on whom all readers agree, where there are opinions (section 2).
        refine: move STIR onto T1 by a rigid registration, where that improves their match.
        workers: processes.
        dry_run: read and check everything, write nothing, print the counts.
        progress: show a bar.

    Returns:
        `out`.

    Raises:
        DataError: the source has no patients or an unusable table, or `out` cannot be written.
    """
    out = Path(out)
    if not dry_run:
        _prepare(out)
        if hasattr(source, "keep_pseudonyms"):
            source.keep_pseudonyms(out.parent / "pseudonyms.csv")
    patients = source.patients()
    if not patients:
        raise DataError(f"{source.name}: holds no patients; give the folder that holds them")
    opinions, findings = annotations.clean_opinions(source.opinions(), patients)
    known_readers = set(opinions["reader"]) or None
    readings, more = annotations.clean_readings(source.readings(), patients, known_readers)
    positive, disagreements = annotations.opinion_of(opinions, require_agreement)
    findings += more + disagreements
    if len(opinions):
        unread = sorted(set(patients) - set(opinions["patient"]) - {f.patient for f in findings if f.excludes})
        findings += [Finding(p, "opinions", "no reader gave an opinion", "add it to opinions.csv") for p in unread]
    early = {finding.patient for finding in findings if finding.excludes}
    todo = [patient for patient in patients if patient not in early]
    options = Options(refine, readings.groupby("patient")["slice"].max().to_dict())
    work = _records(source, todo, None if dry_run else out, options, workers, progress)
    records = {record["patient"]: record for record in work}
    findings += [Finding(**finding) for record in records.values() for finding in record["findings"]]
    rows = [records[p]["row"] if p in records else _row(_described(source, p)) for p in patients]
    if not len(opinions) and len(readings):
        positive = annotations.positive_by_count(consensus(annotations.half_slices(readings)))
    tables = _tables(rows, findings, positive, readings, opinions)
    participants = tables["participants"]
    included = participants[participants["status"] == "included"].copy()
    included["eligible"] = included["has_stir"]
    tables["splits"] = make_splits(included, bones_split, detection_split, seed)
    counts = _counts(participants, tables)
    if dry_run:
        print("\n".join(f"{name}: {value}" for name, value in counts.items()))
        return out
    _finish(source, out, tables, records, counts, seed, require_agreement, refine)
    return out


def _records(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int, progress: bool
) -> Iterator[dict[str, Any]]:
    """The record of each patient, finished ones from disk, in any order."""
    from tqdm import tqdm

    with tqdm(total=len(patients), unit="patient", disable=not progress, desc="curating") as bar:
        todo = []
        for patient in patients:
            record = _finished(source, patient, out, options) if out else None
            if record is None:
                todo.append(patient)
            else:
                bar.update()
                yield record
        work = _parallel if workers > 1 and len(todo) > 1 else _serial
        for record in work(source, todo, out, options, workers):
            bar.update()
            yield record


def _serial(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int
) -> Iterator[dict[str, Any]]:
    for patient in patients:
        yield curate_patient(source, patient, out, options)


def _parallel(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int
) -> Iterator[dict[str, Any]]:
    """A pool that outlives the death of a worker: the patients in flight are tried once more, each alone."""
    suspects: list[str] = []
    queue = list(reversed(patients))
    while queue:
        running: dict[Future[dict[str, Any]], str] = {}
        with _pool(source, workers) as pool:
            try:
                while queue or running:
                    while queue and len(running) < 2 * workers:
                        patient = queue.pop()
                        running[pool.submit(_task, patient, out, options)] = patient
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        record = future.result()
                        running.pop(future)
                        yield record
            except BrokenProcessPool:
                suspects += running.values()
    for patient in suspects:
        with _pool(source, 1) as pool:
            try:
                yield pool.submit(_task, patient, out, options).result()
            except BrokenProcessPool:
                finding = Finding(patient, "images", "reading the files ends the process", "export the patient again")
                yield {"patient": patient, "row": _row(Examination(patient, patient)), "findings": [asdict(finding)]}


_SOURCE: Source | None = None


def _pool(source: Source, workers: int) -> ProcessPoolExecutor:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(source,))


def _start(source: Source) -> None:
    global _SOURCE
    _SOURCE = source


def _task(patient: str, out: Path | None, options: Options) -> dict[str, Any]:
    assert _SOURCE is not None
    return curate_patient(_SOURCE, patient, out, options)


def curate_patient(source: Source, patient: str, out: Path | None, options: Options) -> dict[str, Any]:
    """Read, pair and write one patient; whatever is wrong with it becomes its finding.

    Returns:
        The record: `patient`, `row` (of participants), `findings`, `files` (checksums by path) and `key`.

    Raises:
        DataError: nothing can be written (space, permission), which is no fault of the patient.
    """
    key = _key(source, patient, options)
    findings: list[Finding] = []
    examination = _described(source, patient)
    row = _row(examination)
    files: dict[str, str] = {}
    try:
        examination = source.load(patient)
        stir, pairing = _paired(examination, options)
        row = _row(examination, pairing)
        _check_slices(row["slices"], options.last_slices.get(patient))
        for note in examination.notes:
            if note.startswith("reference refused: "):
                reason, remedy = _sentence(note.removeprefix("reference refused: "))
                findings.append(Finding(patient, "reference", reason, remedy, False))
        if out is not None:
            files = _write(out, examination, stir, row)
    except _PairingError as error:
        row = _row(examination)
        findings.append(Finding(patient, "pairing", *_sentence(str(error))))
    except _ReadingsError as error:
        findings.append(Finding(patient, "readings", *_sentence(str(error))))
    except AxspaError as error:
        findings.append(Finding(patient, "images", *_sentence(str(error))))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS) or isinstance(error, PermissionError):
            raise DataError(_cannot_write(out, error)) from None
        findings.append(Finding(patient, "images", f"a file cannot be read ({type(error).__name__})", "curate again"))
    except MemoryError:
        findings.append(Finding(patient, "images", "the images do not fit into memory", "check the size of its files"))
    except Exception as error:  # a fault of ours: the cohort goes on, the report says so
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        reason = f"unexpected {type(error).__name__} at {place}"
        findings.append(Finding(patient, "images", reason, "report this with the kind of file"))
    record = {"patient": patient, "key": key, "row": row, "files": files, "findings": [asdict(f) for f in findings]}
    if out is not None:
        try:
            runs.write_json(_record_path(out, patient), record)
        except OSError as error:
            raise DataError(_cannot_write(out, error)) from None
    return record


class _PairingError(DataError):
    """T1 and STIR are no pair."""


class _ReadingsError(DataError):
    """The readings do not fit the images."""


def _check_slices(slices: int, last: int | None) -> None:
    if last is not None and last >= slices:
        raise _ReadingsError(
            f"readings name slice {last} of an examination with slices 0 to {slices - 1}; "
            "count slices from 0, from anterior to posterior"
        )


def _paired(examination: Examination, options: Options) -> tuple[Volume | None, geometry.Pairing | None]:
    if examination.t1 is None:
        raise DataError("there is no T1; export the T1 series")
    if examination.stir is None:
        if examination.reference_bones is None:
            raise _PairingError("there is no STIR; export the STIR series")
        return None, None  # of use for the bone networks, not for detection
    try:
        pairing = geometry.pair(examination.t1, examination.stir, examination.shared_frame)
        if options.refine:
            pairing = geometry.refine(examination.t1, pairing)
    except DataError as error:
        raise _PairingError(str(error)) from None
    return pairing.stir, pairing


def _write(out: Path, examination: Examination, stir: Volume | None, row: dict[str, Any]) -> dict[str, str]:
    """Write the images of a patient, fill in their names in `row`, return checksums by name."""
    subject = bids_label(examination.subject)
    session = examination.session or (examination.patient if examination.patient != examination.subject else "")
    stem = f"sub-{subject}" + (f"_ses-{bids_label(session)}" if session else "")
    folder = Path(*stem.split("_"), "anat")
    name = file_label(examination.patient)
    written: dict[str, str] = {}

    def save(relative: Path, volume: Volume, sidecar: dict[str, Any] | None = None) -> str:
        write_volume(out / relative, volume, sidecar)
        written[relative.as_posix()] = runs.sha256(out / relative)
        if sidecar is not None:
            beside = relative.with_name(relative.name.removesuffix(".nii.gz") + ".json")
            written[beside.as_posix()] = runs.sha256(out / beside)
        return relative.as_posix()

    assert examination.t1 is not None
    body = {"BodyPart": "PELVIS", "BodyPartDetails": "sacroiliac joint"}
    for sequence, volume in ((T1, examination.t1), (STIR, stir)):
        if volume is not None:
            sidecar = examination.sidecar.get(sequence, {}) | body
            file = folder / f"{stem}_{BIDS_SUFFIX[sequence]}.nii.gz"
            row[f"{sequence.lower()}_file"] = save(file, Volume(compact(volume.array), volume.affine), sidecar)
    masks = {"reference/{}_desc-bones": examination.reference_bones}
    masks |= {f"truth/{{}}_desc-{mask}": volume for mask, volume in sorted(examination.truth.items())}
    for pattern, mask in masks.items():
        if mask is not None:
            file = save(Path("derivatives") / f"{pattern.format(name)}_dseg.nii.gz", mask)
            if "desc-bones" in pattern:
                row["bones_file"] = file
    return written


def compact(array: NDArray[Any]) -> NDArray[Any]:
    """The same values as int16 or uint16 where they are whole numbers that fit, else as float32."""
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        return array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array.astype(np.float32)


def _row(examination: Examination, pairing: geometry.Pairing | None = None) -> dict[str, Any]:
    """Row of participants.csv, without status and opinion."""
    row: dict[str, Any] = {
        "patient": examination.patient,
        "subject": examination.subject,
        "session": examination.session,
        "centre": examination.centre,
        "has_stir": pairing is not None,
        "has_bones": examination.reference_bones is not None,
        "notes": " | ".join(n for n in [*examination.notes, pairing.note if pairing else ""] if n),
    }
    first, second = (examination.sidecar.get(name, {}) for name in (T1, STIR))
    row |= {
        "manufacturer": first.get("Manufacturer"),
        "model": first.get("ManufacturersModelName"),
        "field_t": first.get("MagneticFieldStrength"),
        "tr_t1_s": first.get("RepetitionTime"),
        "te_t1_s": first.get("EchoTime"),
        "tr_stir_s": second.get("RepetitionTime"),
        "te_stir_s": second.get("EchoTime"),
        "ti_stir_s": second.get("InversionTime"),
    }
    if examination.t1 is not None:
        volume = examination.t1
        row |= dict(zip(("slices", "rows", "columns"), volume.array.shape, strict=True))
        names = ("spacing_slice_mm", "spacing_row_mm", "spacing_column_mm")
        row |= {name: round(value, 4) for name, value in zip(names, volume.spacing, strict=True)}
        row["tilt_deg"] = round(geometry.tilt_degrees(volume), 1)
    if pairing is not None:
        row |= {"stir_resampled": pairing.resampled, "stir_covered": round(pairing.covered, 3)}
    return row


def _described(source: Source, patient: str) -> Examination:
    describe = getattr(source, "describe", None)
    return describe(patient) if describe else Examination(patient, patient)


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
        "half_slices": annotations.half_slices(readings),
        "exclusions": exclusions,
    }


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
    source: Source,
    out: Path,
    tables: dict[str, pd.DataFrame],
    records: dict[str, dict[str, Any]],
    counts: dict[str, Any],
    seed: int,
    require_agreement: bool,
    refine: bool,
) -> None:
    """Write tables, remove images of patients that are not included, write `curation.json` last."""
    included = set(tables["participants"].loc[tables["participants"]["status"] == "included", "patient"])
    checksums: dict[str, str] = {}
    for patient, record in sorted(records.items()):
        if patient in included:
            checksums |= record["files"]
    try:
        for name, table in tables.items():
            runs.write_text(out / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
            checksums[f"{name}.csv"] = runs.sha256(out / f"{name}.csv")
        _sweep(out, checksums)
        provenance = runs.provenance()
        runs.write_json(
            out / "curation.json",
            {
                "cohort": out.name,
                "source": source.name,
                "format": FORMAT,
                "seed": seed,
                "require_agreement": require_agreement,
                "refine": refine,
                "counts": counts,
                "provenance": {name: provenance[name] for name in ("commit", "python", "versions")},
                "checksums": checksums,
            },
        )
    except OSError as error:
        raise DataError(_cannot_write(out, error)) from None


def _prepare(out: Path) -> None:
    """Make `out`, or refuse a folder that holds something else; unfinished until `curation.json` is there again."""
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / _RECORDS).is_dir())):
            raise DataError(f"{out}: is not empty and no curated cohort; give a new folder")
        (out / _RECORDS).mkdir(parents=True, exist_ok=True)
        (out / "curation.json").unlink(missing_ok=True)
    except OSError as error:
        raise DataError(_cannot_write(out, error)) from None


def _finished(source: Source, patient: str, out: Path, options: Options) -> dict[str, Any] | None:
    """The record of a patient whose files are all there as they were written, else none."""
    try:
        record = json.loads(_record_path(out, patient).read_text(encoding="utf-8"))
        if record["key"] != _key(source, patient, options):
            return None
        whole = all(runs.sha256(out / name) == checksum for name, checksum in record["files"].items())
    except (OSError, ValueError, KeyError, AxspaError):
        return None
    return record if whole else None


def _key(source: Source, patient: str, options: Options) -> str:
    """Identity of a patient's input: format, options, who it is, and its files where the source can tell."""
    fingerprint = getattr(source, "fingerprint", None)
    person = _described(source, patient)
    last = options.last_slices.get(patient)
    return digest(
        {
            "format": FORMAT,
            "refine": options.refine,
            "last": None if last is None else int(last),
            "who": [person.patient, person.subject, person.session, person.centre],
            "files": fingerprint(patient) if fingerprint else "",
        }
    )


_RECORDS = ".records"


def _record_path(out: Path, patient: str) -> Path:
    return out / _RECORDS / f"{file_label(patient)}.json"


def _sweep(out: Path, keep: Mapping[str, str]) -> None:
    """Remove images of patients who are not, or no longer, included."""
    for path in [*out.glob("sub-*/**/*"), *out.glob("derivatives/*/*")]:
        if path.is_file() and path.relative_to(out).as_posix() not in keep:
            path.unlink()
    for folder in sorted(out.glob("sub-*/**/"), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _sentence(message: str) -> tuple[str, str]:
    """Reason and remedy of a message, which a semicolon divides."""
    reason, _, remedy = message.rpartition("; ")
    return (reason, remedy) if reason else (message, "correct or remove its files")


def _cannot_write(out: Path | None, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{out}: no space left; free some and curate again, finished patients are kept"
    return f"{out}: cannot be written ({type(error).__name__}); choose a folder you may write to"
