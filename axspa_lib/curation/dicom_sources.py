"""A folder of DICOM: patients whose folders are named `T1` and `STIR`, and whatever a PACS exported, side by side."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import Dataset
from tqdm.auto import tqdm

from axspa_lib.curation.deidentify import token
from axspa_lib.curation.dicom import Header, NotDicom, identifiers, read_dataset, read_headers
from axspa_lib.curation.dicom_stack import Stack, candidate, pixel_digest, read_folder, read_stack, split
from axspa_lib.curation.identity import MAX_VISITS, Known, is_placeholder
from axspa_lib.curation.series import choose, judge
from axspa_lib.curation.source import PERMISSIONS, Examination, FolderSource, files_below, folders_in, is_hidden
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, STIR, T1

_LOCKED = f"a folder cannot be read; {PERMISSIONS}"


@dataclass
class _Study:
    """One study of an export: its slices, why files of it are not usable, and damaged files among its own.

    Attributes:
        names: patient and study identifier as they are.
        headers: its slices.
        refused: reasons, by series where that is known.
    """

    names: tuple[str, ...]
    headers: list[Header] = field(default_factory=list)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    stray: int = 0


class DicomSource(FolderSource):
    """Folders of DICOM in any order; how each patient is read is decided by the patient's own folder.

    A folder with both a folder `T1` and a folder `STIR` is one examination. All other files are an export: grouped by
    patient and study, series recognised.
    """

    name = "DICOM"

    def examinations(self, progress: bool) -> list[Known]:
        """Find the folders sorted by sequence, read the headers of all other files."""
        self._folders = _sorted_by_sequence(self.path)
        self._studies = self._export(progress)
        found = []
        for folder in self._folders:
            name = folder.relative_to(self.path).as_posix()
            found.append(Known(name, "", (name, folder.name), token=self._identifier(folder)))
        people: dict[str, set[str]] = {}
        for study in self._studies:
            people.setdefault(study.names[0], set()).update(header.people for header in study.headers if header.people)
        visits = Counter(study.names[0] for study in self._studies)
        for study in self._studies:
            person, *uids = study.names
            everybody = len(visits) == 1 and visits[person] > 3
            shared = everybody or visits[person] > MAX_VISITS or len(people[person]) > 1
            alone = is_placeholder(person) or shared
            names = tuple(uids) if alone else study.names
            found.append(Known(uids[0] if alone else person, uids[0], names, False, "" if alone else token(person)))
        return found

    def files(self, patient: str) -> Iterable[Path]:
        """Return the files of an examination."""
        place = self.index(patient)[0]
        if place < len(self._folders):
            return files_below(self._folders[place], unreadable=lambda error: None)
        return {header.path for header in self._studies[place - len(self._folders)].headers}

    def load(self, patient: str) -> Examination:
        """Choose and read T1 and STIR of one examination, with its masks."""
        place = self.index(patient)[0]
        study = _Study(()) if place < len(self._folders) else self._studies[place - len(self._folders)]
        notes: list[str] = []
        whole: dict[str, list[Header]] = {"": study.headers}
        keep: dict[Path, Dataset] = {}
        if place < len(self._folders):
            whole, notes = _read_sorted(self._folders[place], keep)
        elif not study.headers:
            raise DataError(f"no file of it is usable, most often: {study.refused.most_common(1)[0][0][1]}")
        parts = [candidate(part, headers, hint, keep) for hint, headers in whole.items() for part in split(headers)]
        commonest = study.refused.most_common(1)[0][0][1] if study.refused else ""
        try:
            choice = choose(parts, lambda one: pixel_digest(one.key))
        except DataError as error:
            if not commonest:
                raise
            reason, _, remedy = str(error).rpartition("; ")
            what = f"{reason}, and {study.refused.total()} files of it are not usable: {commonest.replace('; ', ', ')}"
            raise DataError(f"{what}; {remedy}") from None
        if commonest:
            notes.append(f"{study.refused.total()} other files left out, most often: {commonest}")
        stacks = {}
        for name, one in choice.taken.items():
            damaged = [reason for (series, reason), _ in study.refused.items() if series == one.key[0].series]
            if damaged:
                raise DataError(f"{name}: a file of its series cannot be read: {damaged[0]}")
            mine = whole.get(name, study.headers)
            stacks[name] = read_stack((), name, one, mine, keep, anonymous=mine is study.headers)
        first, second = stacks[T1].header, stacks[STIR].header
        if first.patient and second.patient and first.patient != second.patient:
            raise DataError("T1 and STIR carry different patient identifiers; put the series of one patient together")
        if study.stray and not _complete(stacks):
            what = f"{study.stray} damaged files lie beside it and nothing tells whether they are slices of it"
            raise DataError(f"{what}; export it again")
        examination = replace(
            self.describe(patient),
            t1=stacks[T1].volume,
            stir=stacks[STIR].volume,
            sidecar={name: stack.fields for name, stack in stacks.items()},
            notes=[*notes, *(choice.notes if study.headers else []), *stacks[T1].notes, *stacks[STIR].notes],
            shared_frame=bool(first.frame) and first.frame == second.frame,
            first_known=stacks[T1].first_known,
            series=choice.report,
        )
        return self.with_masks(examination)

    def _identifier(self, folder: Path) -> str:
        """Token of the PatientID of a folder's T1; '' where there is none that can be read, which `load` reports."""
        try:
            for child in folders_in(folder):
                if child.name.upper() == T1:
                    return next((read_headers(file)[0].patient for file in files_below(child)), "")
        except (DataError, NotDicom):
            pass
        return ""

    def _export(self, progress: bool) -> list[_Study]:
        """Studies of all files that lie in no folder sorted by sequence."""
        studies: dict[tuple[str, str], _Study] = {}
        refused: Counter[str] = Counter()
        stray: Counter[Path] = Counter()
        sorted_ones = set(self._folders)
        locked: list[str] = []
        listed = files_below(self.path, lambda error: locked.append(error.filename))
        files = [f for f in listed if not sorted_ones.intersection(f.parents)]
        other = 0
        for file in tqdm(files, unit="file", desc="reading headers", disable=not progress or not files):
            if file.parent == self.path / "truth" or (file.parent == self.path and file.suffix in (".csv", ".json")):
                continue
            names = None
            try:
                dataset = read_dataset(file, pixels=False)
                names = identifiers(file, dataset)
                headers = read_headers(file, dataset)
                self._study(studies, names).headers += headers
            except NotDicom:
                other += file.name.lower().endswith(
                    (".nii", ".gz", ".nrrd", ".mha", ".img", ".tar", ".tgz", ".7z", ".rar")
                )
            except DataError as error:
                reason = str(error).removeprefix(f"{file.name}: ")
                refused[reason] += 1
                if names and names[1]:
                    self._study(studies, names).refused[token(names[2]), reason] += 1
                else:
                    stray[file.parent] += 1
        if other:
            self.notes.append(
                f"{other} archives or images that are no DICOM (NIfTI, NRRD) lie beside it and were not used"
            )
        closed = [path for path in map(Path, locked) if not sorted_ones.intersection([path, *path.parents])]
        if closed:
            self.notes.append(f"{len(closed)} folders left out, {_LOCKED}")
        if refused and not self._folders and not any(study.headers for study in studies.values()):
            reason = refused.most_common(1)[0][0]
            raise DataError(f"none of {refused.total()} DICOM files is usable, most often: {reason}")
        for study in studies.values():
            study.stray = sum(stray[folder] for folder in {header.path.parent for header in study.headers})
        known = {folder for study in studies.values() for folder in {header.path.parent for header in study.headers}}
        if lost := sum(number for folder, number in stray.items() if folder not in known):
            self.notes.append(f"{lost} damaged files tell no patient and were not used; export them again")
        return _merged(list(studies.values()))

    @staticmethod
    def _study(studies: dict[tuple[str, str], _Study], names: tuple[str, str, str]) -> _Study:
        person, study, series = names
        study = study or person or series
        return studies.setdefault((person, study), _Study((person, study)))


def _sorted_by_sequence(root: Path) -> list[Path]:
    """Folders that hold a folder `T1` and a folder `STIR`; beside them also those that hold only one, or nothing."""
    found: dict[Path, int] = {}
    locked: list[Path] = []
    walk = os.walk(root, onerror=lambda error: locked.append(Path(error.filename)), followlinks=True)
    for folder, children, _ in walk:
        named = {child.upper() for child in children} & set(SEQUENCES)
        if named and Path(folder) != root:
            found[Path(folder)] = len(named)
        deep = len(Path(folder).parts) > len(root.parts) + 8  # links in a circle
        children[:] = [] if named or deep else sorted(child for child in children if not is_hidden(child))
    both = [folder for folder, number in found.items() if number == 2]
    if not both and not locked:
        both = [folder for folder in found if not _holds_others(folder)]
        return sorted(both)
    alone = [folder for folder, number in found.items() if number == 1 and not _holds_others(folder)]
    above = {parent for other in found for parent in (other, *other.parents)}
    empty = [
        child
        for child in (folders_in(root) if both or alone else [])
        if child.name != "truth"
        and child not in above
        and (child in locked or not any(True for _ in files_below(child, lambda error: None)))
    ]
    return sorted([*both, *alone, *empty])


def _holds_others(folder: Path) -> bool:
    """Return whether files lie beside sequence folders, which then are no layout."""
    files = files_below(folder, unreadable=lambda error: None)
    return any(file.relative_to(folder).parts[0].upper() not in SEQUENCES for file in files)


def _read_sorted(folder: Path, keep: dict[Path, Dataset]) -> tuple[dict[str, list[Header]], list[str]]:
    """Headers by sequence of a folder sorted by sequence, and notes."""
    children = {child.name.upper(): child for child in folders_in(folder)}
    whole, notes = {}, []
    for sequence in SEQUENCES:
        if sequence not in children:
            raise DataError(f"{sequence}: there is no folder {sequence}; put the series there")
        files = list(files_below(children[sequence]))
        if not files:
            raise DataError(f"{sequence}: the folder is empty; export the series again")
        whole[sequence], more = read_folder(files, sequence, keep)
        notes += more
    beside = [file for file in files_below(folder) if file.relative_to(folder).parts[0].upper() not in SEQUENCES]
    return whole, notes + ([f"{len(beside)} files beside T1 and STIR were not used"] if beside else [])


def _complete(stacks: dict[str, Stack]) -> bool:
    """Return whether the T1 has as many slices as the STIR."""
    return len(stacks[T1].volume.array) >= len(stacks[STIR].volume.array)


def _merged(studies: list[_Study]) -> list[_Study]:
    """Join a person's T1-only study to their STIR-only study in one frame of reference."""
    by_person: dict[str, list[_Study]] = {}
    for study in studies:
        by_person.setdefault(study.names[0], []).append(study)
    result = []
    for several in by_person.values():
        halves: dict[str, list[_Study]] = {name: [] for name in SEQUENCES}
        if 1 < len(several) <= MAX_VISITS:
            for study in several:
                roles = {judge(candidate(part, study.headers))[0] for part in split(study.headers)} - {None}
                if len(roles) == 1:
                    halves[str(roles.pop())].append(study)
        for one in halves[T1]:
            frames = {header.frame for header in one.headers} - {""}
            fitting = [two for two in halves[STIR] if frames & {header.frame for header in two.headers}]
            if len(fitting) == 1:
                two = fitting[0]
                several = [study for study in several if study is not two]
                halves[STIR].remove(two)
                one.names, one.headers = (*one.names, *two.names[1:]), one.headers + two.headers
                one.refused += two.refused
                one.stray += two.stray
        result += several
    return result
