"""Two sources of DICOM: folders `{patient}/{T1,STIR}/`, and whatever a PACS exported."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation import deidentify
from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.dicom import Header, NotDicom, identifiers, read_fields, read_header
from axspa_lib.curation.dicom_stack import Stack, read_stack
from axspa_lib.curation.geometry import MAX_PLANE_ANGLE, TILT_RANGE
from axspa_lib.curation.nifti import read_masks
from axspa_lib.curation.recognise import less_plain, recognise
from axspa_lib.curation.source import PERMISSIONS, Examination, Source, files_below, folders_in
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, STIR, T1

log = logging.getLogger(__name__)

#: Examinations of one person that an export plausibly holds.
MAX_VISITS = 12

_LOCKED = f"a folder cannot be read; {PERMISSIONS}"


def open_dicom(path: Path) -> Source:
    """`LayoutSource` where the folders of any patient are named after the sequences, else `ExportSource`."""
    return LayoutSource(path) if any(map(_sorted_by_sequence, folders_in(path))) else ExportSource(path)


def _sorted_by_sequence(patient: Path) -> bool:
    try:
        return any(child.name.upper() in SEQUENCES for child in folders_in(patient))
    except DataError:  # the patient is refused when it is read
        return False


class LayoutSource:
    """`SOURCE/{patient}/{T1,STIR}/*`, beside it optionally `patients.csv`, `readings.csv`, `opinions.csv`, `truth/`."""

    def __init__(self, path: Path) -> None:
        """Read `patients.csv`; images are read by `load`.

        Raises:
            DataError: `patients.csv` is there and is no such table.
        """
        self.path = path
        self.name = path.name
        self._people = reader_tables.people(reader_tables.read_table(path / "patients.csv", reader_tables.PATIENTS))

    @property
    def simulated(self) -> bool:
        """Whether the phantom made it (`simulation.json`)."""
        return (self.path / "simulation.json").is_file()

    def patients(self) -> list[str]:
        """Names of the patients' folders, sorted."""
        return sorted(folder.name for folder in folders_in(self.path) if folder.name != "truth")

    def describe(self, patient: str) -> Examination:
        """Who it is, without images."""
        subject, session, centre = self._people.get(patient, (patient, "", ""))
        return Examination(patient, subject, session, centre)

    def fingerprint(self, patient: str) -> str:
        """Changes when a file of the patient does."""
        files = [
            *files_below(self.path / patient, unreadable=lambda error: None),
            *(self.path / "truth").glob(f"{patient}_*.nii*"),
        ]
        return _fingerprint(self.path, files)

    def load(self, patient: str) -> Examination:
        """Read T1, STIR and masks of one patient.

        Raises:
            DataError: they cannot be used; says why.
        """
        stacks: dict[str, Stack] = {}
        children = {child.name.upper(): child for child in folders_in(self.path / patient)}
        for sequence in SEQUENCES:
            if sequence not in children:
                raise DataError(f"{sequence}: there is no folder {sequence}; put the series there")
            files = list(files_below(children[sequence]))
            if not files:
                raise DataError(f"{sequence}: the folder is empty; export the series again")
            stacks[sequence] = read_stack(files, sequence)
            found, reason = recognise(stacks[sequence].fields)
            if found not in (None, sequence):
                raise DataError(f"{sequence}: the folder holds a {found} ({reason}); put each series in its own folder")
        examination = _examination(self.describe(patient), stacks[T1], stacks[STIR])
        bones, truth, notes = read_masks(self.path / "truth", patient, stacks[T1].volume)
        return replace(examination, reference_bones=bones, truth=truth, notes=[*examination.notes, *notes])

    def readings(self) -> pd.DataFrame | None:
        """`readings.csv`, or none."""
        return reader_tables.read_table(self.path / "readings.csv", reader_tables.READINGS)

    def opinions(self) -> pd.DataFrame | None:
        """`opinions.csv`, or none."""
        return reader_tables.read_table(self.path / "opinions.csv", reader_tables.OPINIONS)

    def same_people(self) -> list[Finding]:
        """Examinations with one PatientID that count as several people only because `patients.csv` is silent on them.

        An identifier that more than `MAX_VISITS` examinations share is a placeholder and tells nothing.
        """
        sharing: dict[str, list[str]] = {}
        for patient in self.patients():
            if identifier := self._identifier(patient):
                sharing.setdefault(identifier, []).append(patient)
        return [
            Finding(
                patient,
                "people",
                f"has the PatientID of {', '.join(other for other in patients if other != patient)} and counts as "
                "another person, so training and test may share that person",
                "give all examinations of a person one subject in patients.csv",
                excludes=False,
            )
            for patients in sharing.values()
            if len(patients) <= MAX_VISITS and len({self.describe(patient).subject for patient in patients}) > 1
            for patient in patients
            if patient not in self._people
        ]

    def _identifier(self, patient: str) -> str:
        """Token of the PatientID of a patient's T1; '' where there is none that can be read, which `load` reports."""
        try:
            for child in folders_in(self.path / patient):
                if child.name.upper() == T1:
                    return next((read_header(file).patient for file in files_below(child)), "")
        except (DataError, NotDicom):
            pass
        return ""


@dataclass(frozen=True)
class _Series:
    first: Header
    files: tuple[Path, ...]


@dataclass
class _Study:
    """Headers by series of one study, and why files of it are not usable."""

    any_file: Path
    series: dict[str, list[Header]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)


class ExportSource:
    """Nested folders of DICOM in any order: files grouped by patient, study and series; sequences recognised.

    An examination is a study; patients get pseudonyms, because the export's own names may identify.
    """

    def __init__(self, path: Path) -> None:
        """Remember the folder; headers are read when they are first needed."""
        self.path = path
        self.name = path.name
        self._pseudonyms = deidentify.Pseudonyms()
        self._headers: list[_Study] | None = None
        self._studies: dict[str, tuple[Examination, list[_Series], list[str]]] | None = None

    def prepare(self, progress: bool = False) -> None:
        """Read the headers of the export, once; with a bar, for a PACS export may hold 100,000 files.

        Raises:
            DataError: no file of the export is usable.
        """
        if self._headers is None:
            self._headers = self._read_headers(progress)

    def keep_pseudonyms(self, path: Path) -> None:
        """Use and extend the pseudonym map at `path` (git ignores `pseudonyms*.csv`)."""
        self._pseudonyms, self._studies = deidentify.Pseudonyms(path), None
        self._index()
        self._pseudonyms.save()

    def patients(self) -> list[str]:
        """Pseudonyms of the examinations, sorted."""
        return sorted(self._index())

    def describe(self, patient: str) -> Examination:
        """Who it is, without images."""
        return self._index()[patient][0]

    def fingerprint(self, patient: str) -> str:
        """Changes when a file of the examination does."""
        return _fingerprint(self.path, [file for series in self._index()[patient][1] for file in series.files])

    def load(self, patient: str) -> Examination:
        """Recognise and read T1 and STIR of one examination.

        Raises:
            DataError: no series, or more than one, can be the T1 or the STIR; or it cannot be read.
        """
        examination, series, notes = self._index()[patient]
        if not series:
            raise DataError(f"no file of it is usable, most often: {notes[0]}")
        chosen, reasons = _choose(series)
        stacks = {name: read_stack(chosen[name].files, name, anonymous=True) for name in SEQUENCES}
        read = _examination(examination, stacks[T1], stacks[STIR])
        return replace(read, notes=[*notes, *reasons, *read.notes])

    def readings(self) -> pd.DataFrame | None:
        """`readings.csv` of the export folder, or none; its patients become pseudonyms."""
        return self._pseudonymous(reader_tables.read_table(self.path / "readings.csv", reader_tables.READINGS))

    def opinions(self) -> pd.DataFrame | None:
        """`opinions.csv` of the export folder, or none; its patients become pseudonyms."""
        return self._pseudonymous(reader_tables.read_table(self.path / "opinions.csv", reader_tables.OPINIONS))

    def _pseudonymous(self, table: pd.DataFrame | None) -> pd.DataFrame | None:
        """Patients named by pseudonym, or by their identifier in the headers; no other name is repeated."""
        if table is None:
            return None
        names = {patient: patient for patient in self.patients()} | self._pseudonyms.by_identifier(self.patients())
        for row, name in enumerate(table["patient"], start=1):
            names.setdefault(name, f"unknown (first in row {row})")
        return table.assign(patient=table["patient"].map(names))

    def _index(self) -> dict[str, tuple[Examination, list[_Series], list[str]]]:
        if self._studies is None:
            self.prepare()
            self._studies = self._named(self._headers or [])
        return self._studies

    def _read_headers(self, progress: bool) -> list[_Study]:
        studies: dict[tuple[str, str], _Study] = {}
        refused: Counter[str] = Counter()
        files = list(files_below(self.path, unreadable=lambda error: refused.update([_LOCKED])))
        for file in tqdm(files, unit="file", desc="reading headers", disable=not progress):
            try:
                header = read_header(file)
                study = studies.setdefault((header.patient or header.study, header.study), _Study(file))
                study.series.setdefault(header.series, []).append(header)
            except NotDicom:
                continue
            except DataError as error:
                reason = str(error).removeprefix(f"{file.name}: ")
                refused[reason] += 1
                key = _whose(file)
                if key is not None:
                    studies.setdefault(key, _Study(file)).refused[reason] += 1
        if refused and not any(study.series for study in studies.values()):
            reason = refused.most_common(1)[0][0]
            raise DataError(f"{self.name}: none of {refused.total()} DICOM files is usable, most often: {reason}")
        if refused[_LOCKED]:
            log.warning("%s: %d folders left out, %s", self.name, refused[_LOCKED], _LOCKED)
        return list(studies.values())

    def _named(self, studies: list[_Study]) -> dict[str, tuple[Examination, list[_Series], list[str]]]:
        """Series and notes by pseudonym; without series, the note is why its files are not usable."""
        own = {identifiers(study.any_file): study for study in studies}
        index = {}
        for key, (subject, patient) in self._pseudonyms.assign(sorted(own)).items():
            study = own[key]
            parts = [part for members in study.series.values() for part in _stacks(members)]
            series = [_Series(part[0], tuple(header.path for header in part)) for part in parts]
            notes = [reason for reason, _ in study.refused.most_common(1)]
            if series and notes:
                notes = [f"{study.refused.total()} other files left out, most often: {notes[0]}"]
            session = patient.removeprefix(subject).removeprefix("-")
            index[patient] = (Examination(patient, subject, session), series, notes)
        return index


def _whose(file: Path) -> tuple[str, str] | None:
    """Digests of patient and study of a file that is refused, where it still tells."""
    try:
        patient, study = map(deidentify.token, identifiers(file))
    except (DataError, NotDicom, OSError):
        return None
    return (patient, study) if study else None


def _choose(series: list[_Series]) -> tuple[dict[str, _Series], list[str]]:
    """The T1 and the STIR among the series of a study, and why each was taken."""
    candidates: dict[str, list[tuple[_Series, str]]] = {name: [] for name in SEQUENCES}
    refused = 0
    for one in series:
        name, reason = recognise(read_fields(one.first.path), one.first.description, one.first.contrast_agent)
        if name is None or "LOCALIZER" in one.first.image_type or not _semi_coronal(one.first):
            refused += 1
        else:
            candidates[name].append((one, reason))
    for name in SEQUENCES:
        if not candidates[name]:
            raise DataError(
                f"none of the {len(series)} series is a (semi)coronal {name} by its sequence parameters; "
                f"sort the series by hand into {{patient}}/{{T1,STIR}}/"
            )
    pairs = [(t1, stir) for t1 in candidates[T1] for stir in candidates[STIR]]
    ranked = sorted(pairs, key=_mismatch)
    if len(ranked) > 1 and _mismatch(ranked[0]) == _mismatch(ranked[1]):
        raise DataError(
            f"{len(candidates[T1])} series can be the T1 and {len(candidates[STIR])} the STIR; "
            "sort the series by hand into {patient}/{T1,STIR}/"
        )
    (t1, why_t1), (stir, why_stir) = ranked[0]
    reasons = [f"T1: {why_t1}", f"STIR: {why_stir}"]
    return {T1: t1, STIR: stir}, [*reasons, f"{refused} other series left out"] if refused else reasons


def _mismatch(pair: tuple[tuple[_Series, str], tuple[_Series, str]]) -> tuple[bool, float, int, bool, int]:
    """How badly two series fit: frame, plane, number of slices; then plainness and matrix."""
    t1, stir = pair[0][0], pair[1][0]
    return (
        t1.first.frame != stir.first.frame,
        round(_angle(t1.first, stir.first) / MAX_PLANE_ANGLE, 1),
        abs(len(t1.files) - len(stir.files)),
        less_plain(t1.first.description),
        -t1.first.shape[0] * t1.first.shape[1],
    )


def _normal(header: Header) -> np.ndarray:
    return np.cross(header.orientation[:3], header.orientation[3:])


def _angle(first: Header, second: Header) -> float:
    return float(np.degrees(np.arccos(np.clip(abs(_normal(first) @ _normal(second)), 0, 1))))


def _semi_coronal(header: Header) -> bool:
    """By the plane alone, so that localizers and axial series are no candidates."""
    normal = _normal(header) * (1 if _normal(header)[1] >= 0 else -1)  # LPS: towards posterior
    tilt = np.degrees(np.arctan2(normal[2], normal[1]))
    return bool(abs(normal[0]) < 0.5 and TILT_RANGE[0] <= tilt <= TILT_RANGE[1])


def _stacks(headers: list[Header]) -> list[list[Header]]:
    """Split a series by orientation, matrix and echo: some scanners file several stacks under one UID."""
    parts: dict[tuple[object, ...], list[Header]] = {}
    for header in headers:
        key = (tuple(round(v, 2) + 0.0 for v in header.orientation), header.shape, header.echo)
        parts.setdefault(key, []).append(header)
    return list(parts.values())


def _examination(person: Examination, t1: Stack, stir: Stack) -> Examination:
    first, second = t1.header, stir.header
    if first.patient and second.patient and first.patient != second.patient:
        raise DataError("T1 and STIR carry different patient identifiers; put the series of one patient together")
    return replace(
        person,
        t1=t1.volume,
        stir=stir.volume,
        sidecar={T1: t1.fields, STIR: stir.fields},
        notes=[*t1.notes, *stir.notes],
        shared_frame=bool(first.frame) and first.frame == second.frame,
    )


def _fingerprint(root: Path, files: list[Path]) -> str:
    lines = []
    for file in sorted(files):
        try:
            stat = file.stat()
        except OSError:
            continue
        lines.append(f"{file.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}")
    return deidentify.token("\n".join(lines))
