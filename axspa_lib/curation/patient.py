"""One patient: read, pair, write, and the record that says it is done."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.curation import geometry
from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.report import intensity
from axspa_lib.curation.source import PERMISSIONS, Examination, Source
from axspa_lib.study import runs
from axspa_lib.study.cohort import bids_label, file_label
from axspa_lib.study.config import digest
from axspa_lib.study.errors import AxspaError, DataError
from axspa_lib.study.labels import BIDS_SUFFIX, STIR, T1
from axspa_lib.study.volume import Volume, write_volume

#: Changes when what a record or an image holds changes; finished patients are then curated again.
FORMAT = 4

#: Folder of the records in a curated cohort.
RECORDS = ".records"


@dataclass(frozen=True)
class Options:
    """Options that decide every patient's result, besides its files.

    Attributes:
        refine: move STIR onto T1 by a rigid registration.
        last_slices: highest slice that the readings name, by patient.
        t1_alone: keep examinations without STIR (bones and joints can be found on them, inflammation cannot).
    """

    refine: bool = False
    last_slices: dict[str, int] = field(default_factory=dict)
    t1_alone: bool = False


def curate_patient(source: Source, patient: str, out: Path | None, options: Options) -> dict[str, Any]:
    """Read, pair and write one patient; whatever is wrong with it becomes its finding.

    Returns:
        The record: `patient`, `row` (of participants), `findings`, `files` (checksums by path), `series` (taken and
        left out), `slices` (checksums of pixels) and `key`.
    """
    key = _key(source, patient, options)
    findings: list[Finding] = []
    examination = described(source, patient)
    row = participant(examination)
    files: dict[str, str] = {}
    slices: list[str] = []
    writing = False
    try:
        examination = source.load(patient)
        slices = slice_digests(examination)
        stir, pairing = _paired(examination, options)
        row = participant(examination, pairing)
        _check_slices(row["slices"], options.last_slices.get(patient))
        for note in examination.notes:
            if note.startswith("reference refused: "):
                reason, remedy = _sentence(note.removeprefix("reference refused: "))
                findings.append(Finding(patient, "reference", reason, remedy, False))
        if out is not None:
            writing = True
            files = _write(out, examination, stir, row)
    except _PairingError as error:
        row = participant(examination)
        findings.append(Finding(patient, "pairing", *_sentence(str(error))))
    except _ReadingsError as error:
        findings.append(Finding(patient, "readings", *_sentence(str(error))))
    except AxspaError as error:
        findings.append(Finding(patient, "images", *_sentence(str(error))))
    except OSError as error:
        if writing and error.errno != errno.ENAMETOOLONG:
            raise DataError(cannot_write(out, error)) from None
        what = "its name is too long for a file" if writing else f"a file cannot be read ({type(error).__name__})"
        findings.append(Finding(patient, "images", what, "shorten it" if writing else PERMISSIONS))
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
    record |= {"series": examination.series, "slices": slices}
    if out is not None:
        try:
            runs.write_json(_record_path(out, patient), record)
        except OSError as error:
            raise DataError(cannot_write(out, error)) from None
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
        if examination.reference_bones is None and not options.t1_alone:
            raise _PairingError("there is no STIR; export the STIR series")
        return None, None  # of use for the bone networks, not for detection
    try:
        known = examination.first_known
        pairing = geometry.pair(examination.t1, examination.stir, examination.shared_frame, known)
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
        """Write a volume and note its checksum."""
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
            target = folder / f"{stem}_{BIDS_SUFFIX[sequence]}.nii.gz"
            row[f"{sequence.lower()}_file"] = save(target, Volume(compact(volume.array), volume.affine), sidecar)
    masks = {"reference/{}_desc-bones": examination.reference_bones}
    masks |= {f"truth/{{}}_desc-{mask.replace('_', '')}": volume for mask, volume in sorted(examination.truth.items())}
    for pattern, mask in masks.items():
        if mask is not None:
            labels = mask.array.astype(np.uint8 if mask.array.max(initial=0) < 256 else np.int32)
            file = save(Path("derivatives") / f"{pattern.format(name)}_dseg.nii.gz", Volume(labels, mask.affine))
            if "desc-bones" in pattern:
                row["bones_file"] = file
    return written


def slice_digests(examination: Examination) -> list[str]:
    """Checksums of every third pixel of the slices, by which one examination under two codes is found."""
    stacks = (volume for volume in (examination.t1, examination.stir) if volume is not None)
    images = (
        image[::3, ::3].astype(np.float32) for volume in stacks for image in volume.array
    )  # noise tells them apart
    return [hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in images]


def compact(array: NDArray[Any]) -> NDArray[Any]:
    """Return the same values as int16 or uint16 where they are whole numbers that fit, else as float32."""
    if array.dtype.kind == "f" and not np.array_equal(array, np.rint(array)):
        return array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    for dtype in (np.int16, np.uint16):
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return array.astype(dtype)
    return array.astype(np.float32)


def participant(examination: Examination, pairing: geometry.Pairing | None = None) -> dict[str, Any]:
    """Return the row of participants.csv, without status and opinion."""
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
    for sequence, image in ((T1, examination.t1), (STIR, examination.stir)):
        if image is not None:
            figures = {f"{name}_{sequence.lower()}": round(value, 3) for name, value in intensity(image).items()}
            row |= {name: value for name, value in figures.items() if value == value}
    return row


def described(source: Source, patient: str) -> Examination:
    describe = getattr(source, "describe", None)
    return describe(patient) if describe else Examination(patient, patient)


def finished(source: Source, patient: str, out: Path, options: Options) -> dict[str, Any] | None:
    """Return the record of a patient whose files are all there as they were written, else none."""
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
    person = described(source, patient)
    last = options.last_slices.get(patient)
    return digest(
        {
            "format": FORMAT,
            "refine": options.refine,
            "t1_alone": options.t1_alone,
            "last": None if last is None else int(last),
            "who": [person.patient, person.subject, person.session, person.centre],
            "files": fingerprint(patient) if fingerprint else "",
        }
    )


def _record_path(out: Path, patient: str) -> Path:
    return out / RECORDS / f"{file_label(patient)}.json"


def _sentence(message: str) -> tuple[str, str]:
    """Reason and remedy of a message, which a semicolon divides."""
    reason, _, remedy = message.rpartition("; ")
    return (reason, remedy) if reason else (message, "correct or remove its files")


def cannot_write(out: Path | None, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{out}: no space left; free some and curate again, finished patients are kept"
    return f"{out}: cannot be written ({type(error).__name__}); choose a folder you may write to"
