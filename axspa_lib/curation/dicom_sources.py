"""Two sources of DICOM: folders `{patient}/{T1,STIR}/`, and whatever a PACS exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation import deidentify
from axspa_lib.curation.dicom import Header, NotDicom, identifiers, read_fields, read_header
from axspa_lib.curation.dicom_stack import Stack, read_stack
from axspa_lib.curation.geometry import MAX_PLANE_ANGLE, TILT_RANGE
from axspa_lib.curation.nifti import read_masks
from axspa_lib.curation.recognise import less_plain, recognise
from axspa_lib.curation.source import Examination, Source, files_below
from axspa_lib.errors import DataError
from axspa_lib.labels import SEQUENCES, STIR, T1


def open_dicom(path: Path) -> Source:
    """`LayoutSource` where the folders of any patient are named after the sequences, else `ExportSource`."""
    named = any(child.name.upper() in SEQUENCES for patient in _folders(path) for child in _folders(patient))
    return LayoutSource(path) if named else ExportSource(path)


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
        return sorted(folder.name for folder in _folders(self.path) if folder.name != "truth")

    def describe(self, patient: str) -> Examination:
        """Who it is, without images."""
        subject, session, centre = self._people.get(patient, (patient, "", ""))
        return Examination(patient, subject, session, centre)

    def fingerprint(self, patient: str) -> str:
        """Changes when a file of the patient does."""
        files = [*files_below(self.path / patient), *(self.path / "truth").glob(f"{patient}_*.nii*")]
        return _fingerprint(self.path, files)

    def load(self, patient: str) -> Examination:
        """Read T1, STIR and masks of one patient.

        Raises:
            DataError: they cannot be used; says why.
        """
        stacks: dict[str, Stack] = {}
        children = {child.name.upper(): child for child in _folders(self.path / patient)}
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


@dataclass(frozen=True)
class _Series:
    first: Header
    files: tuple[Path, ...]


class ExportSource:
    """Nested folders of DICOM in any order: files grouped by patient, study and series; sequences recognised.

    An examination is a study; patients get pseudonyms, because the export's own names may identify.
    """

    def __init__(self, path: Path) -> None:
        """Remember the folder; headers are read when they are first needed."""
        self.path = path
        self.name = path.name
        self._pseudonyms = deidentify.Pseudonyms()
        self._studies: dict[str, tuple[Examination, list[_Series], list[str]]] | None = None

    def keep_pseudonyms(self, path: Path) -> None:
        """Use and extend the pseudonym map at `path` (git ignores `pseudonyms*.csv`)."""
        self._pseudonyms = deidentify.Pseudonyms(path)
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
        chosen, reasons = _choose(series)
        stacks = {name: read_stack(chosen[name].files, name, anonymous=True) for name in SEQUENCES}
        read = _examination(examination, stacks[T1], stacks[STIR])
        return replace(read, notes=[*notes, *reasons, *read.notes])

    def readings(self) -> pd.DataFrame | None:
        """`readings.csv` of the export folder, or none; its patients are pseudonyms."""
        return reader_tables.read_table(self.path / "readings.csv", reader_tables.READINGS)

    def opinions(self) -> pd.DataFrame | None:
        """`opinions.csv` of the export folder, or none; its patients are pseudonyms."""
        return reader_tables.read_table(self.path / "opinions.csv", reader_tables.OPINIONS)

    def _index(self) -> dict[str, tuple[Examination, list[_Series], list[str]]]:
        if self._studies is None:
            self._studies = self._read_index()
        return self._studies

    def _read_index(self) -> dict[str, tuple[Examination, list[_Series], list[str]]]:
        headers: dict[tuple[str, str], dict[str, list[Header]]] = {}
        refused: Counter[str] = Counter()
        for file in files_below(self.path):
            try:
                header = read_header(file)
            except NotDicom:
                continue
            except DataError as error:
                refused[str(error).removeprefix(f"{file.name}: ")] += 1
                continue
            study = headers.setdefault((header.patient or header.study, header.study), {})
            study.setdefault(header.series, []).append(header)
        notes = []
        if refused:
            reason = refused.most_common(1)[0][0]
            if not headers:
                raise DataError(f"{self.name}: none of {refused.total()} DICOM files is usable, most often: {reason}")
            notes = [f"{refused.total()} files of the whole export left out, most often: {reason}"]
        own = {identifiers(next(iter(series.values()))[0].path): series for series in headers.values()}
        names = self._pseudonyms.assign(sorted(own))
        index = {}
        for key, (subject, patient) in names.items():
            parts = [part for members in own[key].values() for part in _stacks(members)]
            series = [_Series(part[0], tuple(header.path for header in part)) for part in parts]
            session = patient.removeprefix(subject).removeprefix("-")
            index[patient] = (Examination(patient, subject, session), series, notes)
        return index


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


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _fingerprint(root: Path, files: list[Path]) -> str:
    lines = []
    for file in sorted(files):
        try:
            stat = file.stat()
        except OSError:
            continue
        lines.append(f"{file.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}")
    return deidentify.token("\n".join(lines))
