"""One interface to every kind of cohort: a `Source` lists patients and loads one examination at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

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


class Source(Protocol):
    """A cohort before curation."""

    @property
    def name(self) -> str:
        """Short name of the cohort."""
        ...

    def patients(self) -> list[str]:
        """Keys of all examinations, sorted."""
        ...

    def load(self, patient: str) -> Examination:
        """Read one examination.

        Raises:
            DataError: it cannot be used; one sentence with the reason and the remedy.
        """
        ...

    def readings(self) -> pd.DataFrame | None:
        """Annotations by quadrant as the source has them, or none."""
        ...

    def opinions(self) -> pd.DataFrame | None:
        """Opinions on patients as the source has them, or none."""
        ...


def folders_in(path: Path) -> list[Path]:
    """Folders in a folder, sorted, hidden ones not.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"the folder {path.name} cannot be read ({type(error).__name__}); {PERMISSIONS}") from None


def files_below(path: Path, unreadable: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Regular files below a folder in sorted order, linked folders included (once), hidden ones not.

    Args:
        path: the folder.
        unreadable: told of every folder that cannot be listed; by default that is an error.

    Raises:
        DataError: a folder cannot be listed, and nobody is told.
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
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            file = Path(folder, name)
            if not name.startswith(".") and os.path.isfile(file):
                yield file
