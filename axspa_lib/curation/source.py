"""One interface to every kind of cohort: a `Source` lists patients and loads one examination at a time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.identity import Known, People, Who
from axspa_lib.curation.nifti import read_masks
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume

#: What to do about a folder that cannot be listed.
PERMISSIONS = "check its permissions and curate again"


@dataclass(frozen=True)
class Examination:
    """One examination as read, in canonical orientation, T1 and STIR not yet paired.

    Attributes:
        patient: key of the examination in every table.
        subject: the person; several examinations may share it.
        session: label of the examination of that person, or empty.
        centre: where it was acquired (a code), or empty.
        t1: T1 stack, or none.
        stir: STIR stack, or none.
        sidecar: acquisition fields by sequence, BIDS names and units (seconds), from an allow-list.
        notes: what a reader of the report should know; never a header value that identifies.
        reference_bones: bone mask on the grid of T1 (`labels.Bone`).
        truth: further masks on the grid of T1, by name (`joint`, `lesions`).
        shared_frame: T1 and STIR were acquired in one frame of reference.
        first_known: the most anterior slice of T1 is known to be the first acquired.
        series: what was taken and left out (`series.Choice.report`).
    """

    patient: str
    subject: str
    session: str = ""
    centre: str = ""
    t1: Volume | None = None
    stir: Volume | None = None
    sidecar: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    reference_bones: Volume | None = None
    truth: dict[str, Volume] = field(default_factory=dict)
    shared_frame: bool = True
    first_known: bool = False
    series: list[dict[str, str]] = field(default_factory=list)


class Source(Protocol):
    """A cohort before curation; `load` refuses an examination by a sentence with the reason and the remedy.

    Its name is the kind of cohort, or that of a public one; patients are the keys of examinations, sorted.
    """

    @property
    def name(self) -> str: ...
    def patients(self) -> list[str]: ...
    def load(self, patient: str) -> Examination: ...
    def readings(self) -> pd.DataFrame | None: ...
    def opinions(self) -> pd.DataFrame | None: ...


class FolderSource:
    """A source in a user's folder: tables, codes and masks are the same whatever the images are.

    Beside the images optionally `patients.csv`, `readings.csv`, `opinions.csv`, `truth/`.
    """

    #: Kind of the images, which stands for the name of the folder.
    name = "folder"

    def __init__(self, path: Path) -> None:
        """Read `patients.csv`; images are read by `load`."""
        self.path = path
        self.notes: list[str] = []
        self.simulated = (path / "simulation.json").is_file()
        self.people = People(path, self.simulated)
        self._known: list[Known] | None = None
        self._named: dict[str, tuple[int, Who]] | None = None

    def examinations(self, progress: bool) -> list[Known]:
        """Return every examination of the source, in any order."""
        raise NotImplementedError

    def prepare(self, progress: bool = False) -> None:
        """Find the examinations, once; with a bar, for a PACS export may hold 100,000 files."""
        if self._known is None:
            self._known = self.examinations(progress)
            self._named = self.people.assign(dict(enumerate(self._known)))
            if unused := self.people.unused():
                self.notes.append(f"{unused} rows of patients.csv name nobody of the source and were not used")
            names = {name for one in self._known for name in one.names} | set(self._named)
            if lost := sum(name not in names for name, _ in self._truth().values()):
                self.notes.append(f"{lost} masks in truth/ belong to nobody of the source and were not used")

    def keep_pseudonyms(self, path: Path) -> None:
        """Use and extend the pseudonym map at `path` (git ignores `pseudonyms*.csv`)."""
        self.prepare()
        self.people.keep(path)
        self._named = self.people.assign(dict(enumerate(self._known or [])))
        self.people.save()

    def index(self, patient: str) -> tuple[int, Who]:
        """Return the place in `examinations` of a key, and who it is."""
        self.prepare()
        return (self._named or {})[patient]

    def patients(self) -> list[str]:
        """Return the keys of the examinations, sorted."""
        self.prepare()
        return sorted(self._named or {})

    def describe(self, patient: str) -> Examination:
        """Return who it is, without images."""
        who = self.index(patient)[1]
        return Examination(who.patient, who.subject, who.session, who.centre)

    def readings(self) -> pd.DataFrame | None:
        """`readings.csv`, or none."""
        return self._table("readings", reader_tables.READINGS)

    def opinions(self) -> pd.DataFrame | None:
        """`opinions.csv`, or none."""
        return self._table("opinions", reader_tables.OPINIONS)

    def same_people(self) -> list[Finding]:
        """Examinations that may share a person though they count as several."""
        return self.people.doubtful(
            {p: ((self._known or [])[self.index(p)[0]], self.index(p)[1]) for p in self.patients()}
        )

    def fingerprint(self, patient: str) -> str:
        """Changes when a file of the examination, or a mask of it, does."""
        lines = []
        for file in sorted({*self.files(patient), *self._masks(patient)}):
            with contextlib.suppress(OSError):
                stat = file.stat()
                lines.append(f"{file.relative_to(self.path)} {stat.st_size} {stat.st_mtime_ns}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def files(self, patient: str) -> Iterable[Path]:
        """Return the image files of an examination."""
        raise NotImplementedError

    def with_masks(self, examination: Examination) -> Examination:
        """Add `truth/{patient}_{name}.nii[.gz]`: the bone mask, other masks, and notes on those refused."""
        assert examination.t1 is not None
        bones, truth, notes = read_masks(self._masks(examination.patient), examination.t1)
        return replace(examination, reference_bones=bones, truth=truth, notes=[*examination.notes, *notes])

    def _truth(self) -> dict[Path, tuple[str, str]]:
        """Files in `truth/` with patient and content of each."""
        folder = self.path / "truth"
        found = {path: re.fullmatch(r"(.+)_([a-z]+)\.nii(\.gz)?", path.name) for path in folder.glob("*.nii*")}
        return {path: (match[1], match[2]) for path, match in sorted(found.items()) if match}

    def _masks(self, patient: str) -> dict[Path, str]:
        """Mask files of an examination and what they show."""
        names = (patient, *(self._known or [])[self.index(patient)[0]].names)
        return {path: what for path, (name, what) in self._truth().items() if name in names}

    def _table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame | None:
        self.prepare()
        return self.people.translated(reader_tables.read_table(self.path / f"{name}.csv", columns))


#: Folders of unpacked zips; each goes when the process ends.
_UNPACKED: list[tempfile.TemporaryDirectory[str]] = []


def unpacked(path: Path) -> tuple[Path, list[str]]:
    """Return a folder with the same files in which every zip is a folder; itself where there is no zip.

    Returns:
        The folder, which goes when the process ends, and notes on zips that could not be unpacked.
    """
    zips = [file for file in files_below(path, lambda error: None) if file.suffix.lower() == ".zip"]
    if not zips:
        return path, []
    _UNPACKED.append(tempfile.TemporaryDirectory(prefix="axspa-"))
    root, spoiled = Path(_UNPACKED[-1].name), 0
    for file in files_below(path, lambda error: None):
        if file not in zips:
            target = root / file.relative_to(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.resolve())
    queue = [(file, root / file.relative_to(path)) for file in zips]
    for file, target in queue:
        folder = (
            target.with_name(f"{target.name} unpacked") if target.with_suffix("").exists() else target.with_suffix("")
        )
        try:
            with zipfile.ZipFile(file) as archive:
                archive.extractall(folder)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError, ValueError, zlib.error):
            spoiled += 1
        stamp = file.stat().st_mtime_ns
        for member in folder.rglob("*"):
            os.utime(member, ns=(stamp, stamp))
            if member.suffix.lower() == ".zip" and member.is_file():
                queue.append((member, member))
    what = f"{spoiled} of {len(queue)} zips are damaged or encrypted and were not (wholly) used; unpack them"
    return root, [what] if spoiled else []


def is_hidden(name: str) -> bool:
    """Return whether a file or folder belongs to a system, not to a user."""
    return name.startswith((".", "$", "@")) or name == "__MACOSX"


def folders_in(path: Path) -> list[Path]:
    """Return the folders in a folder, sorted, hidden ones not."""
    try:
        return sorted(child for child in path.iterdir() if child.is_dir() and not is_hidden(child.name))
    except OSError as error:
        raise DataError(f"a folder cannot be read ({type(error).__name__}); {PERMISSIONS}") from None


def files_below(path: Path, unreadable: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Regular files below a folder in sorted order, linked folders included (once), hidden ones not.

    Args:
        path: the folder.
        unreadable: told of every folder that cannot be listed; by default that is an error.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"a folder cannot be read ({type(error).__name__}); {PERMISSIONS}") from None

    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(path, onerror=unreadable or refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(files):
            file = Path(folder, name)
            if not is_hidden(name) and os.path.isfile(file):
                yield file
