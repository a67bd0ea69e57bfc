"""Who is who: whatever people, files and folders are called stays behind; codes stand for them in all that is written.

A name is a code only where `patients.csv` lists it as one (or the source is simulated); all others become `P0001`,
`P0002`, …, kept in one local map that git ignores.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from axspa_lib.curation import annotations as reader_tables
from axspa_lib.curation.annotations import Finding
from axspa_lib.study.errors import DataError
from axspa_lib.study.runs import write_text

#: Examinations of one person that a source plausibly holds.
MAX_VISITS = 12

_PLACEHOLDER = re.compile(
    r"[\W_\d]*(?:anon|unknown|unbekannt|inconnu|de-?id|remov|delet|dummy|test)[a-z]*[\W_]*"
    r"|[\W_]*(?:none|null|n/?a|no\W?(?:name|id)|patient|name|id|x+|0+|9{3,}|12345\d*)?[\W_]*",
    re.IGNORECASE,
)
_DATE = re.compile(r"(?<!\d)(?:(?:19|20)\d\d[-_. /]?\d\d[-_. /]?\d\d|\d\d[-_. /]?\d\d[-_. /]?(?:19|20)\d\d)(?!\d)")
_TWO_NAMES = re.compile(r"[^\W\d_]{2,}(?:[\s_,^]+[^\W\d_]{2,})+")


@dataclass(frozen=True)
class Known:
    """One examination as its source knows it.

    Attributes:
        person, visit: identifiers as on the disk or in the header.
        names: by which tables may call it.
        coded: its names may be codes (folders and files); identifiers of headers never are.
        token: digest of the PatientID, by which one person under several codes is found; empty where it tells nothing.
    """

    person: str
    visit: str
    names: tuple[str, ...]
    coded: bool = True
    token: str = ""


class Who(NamedTuple):
    """Codes of an examination as written; `patient` is its key."""

    patient: str
    subject: str
    session: str = ""
    centre: str = ""


def is_placeholder(identifier: str) -> bool:
    """Return whether a PatientID tells nothing, as anonymisers write it.

    >>> [is_placeholder(value) for value in ("ANONYMOUS", "", "000", "A-17")]
    [True, True, True, False]
    """
    return _PLACEHOLDER.fullmatch(identifier.strip()) is not None


def is_code(name: str) -> bool:
    """Return whether a name that `patients.csv` lists can be a code: no birth date and no first name with surname.

    >>> [is_code(name) for name in ("P 17", "good-2", "Dupont 19500101", "Dupont^Jeanne", "DUPONT_JEANNE")]
    [True, True, False, False, False]
    """
    return bool(name) and "^" not in name and not _DATE.search(name) and not _TWO_NAMES.fullmatch(name)


def shown_name(path: Path, number: int, total: int) -> str:
    """Return a file's name for messages: a bare number as it is, else its place, since names may identify.

    >>> shown_name(Path("IM-0001.dcm"), 1, 15), shown_name(Path("DUPONT1950"), 3, 15)
    ('IM-0001.dcm', 'file 3 of 15 by name')
    """
    plain = re.fullmatch(r"(?:I|S|IM|IMG|IMAGE|MR|SLICE)?[-_]?\d{1,5}(\.(dcm|ima))?", path.name, re.IGNORECASE)
    return path.name if plain else f"file {number} of {total} by name"


class People:
    """The examinations of a source by the key under which they are written."""

    def __init__(self, root: Path, simulated: bool = False) -> None:
        """Read `patients.csv` of a source."""
        self.simulated = simulated
        self._table = reader_tables.people(reader_tables.read_table(root / "patients.csv", reader_tables.PATIENTS))
        self._pseudonyms = Pseudonyms()
        self._names: dict[str, str] = {}
        self._used: set[str] = set()

    def keep(self, path: Path) -> None:
        """Use and extend the map of pseudonyms at a path."""
        self._pseudonyms = Pseudonyms(path)

    def save(self) -> None:
        """Write the map, if it is kept and holds anybody."""
        self._pseudonyms.save()

    def assign(self, known: Mapping[int, Known]) -> dict[str, tuple[int, Who]]:
        """Give each examination its key and what is written of it; the order of the examinations does not matter."""
        rows = {key: next((name for name in one.names if name in self._table), None) for key, one in known.items()}
        coded = {
            key
            for key, one in known.items()
            if one.coded and (self.simulated or (rows[key] is not None and is_code(str(rows[key]))))
        }
        others = sorted((one.person, one.visit) for key, one in known.items() if key not in coded)
        given = self._pseudonyms.assign(others, reserved=set(self._table) if coded else set())
        found: dict[str, tuple[int, Who]] = {}
        groups: dict[str, str] = {}
        names: dict[str, set[str]] = {}
        for key, one in sorted(known.items(), key=lambda item: (item[1].person, item[1].visit)):
            subject, session, centre = self._table.get(rows[key] or "", ("", "", ""))
            if key in coded:
                patient = rows[key] or one.names[0]
                subject, session = (value if is_code(value) else "" for value in (subject, session))
                who = Who(patient, subject or patient, session, centre)
            else:
                own, patient = given[one.person, one.visit]
                row = next((name for name in (rows[key], patient) if name in self._table), None)
                subject, _, centre = self._table.get(row or "", ("", "", ""))
                own = groups.setdefault(subject, own) if row is not None else own
                visit = patient.removeprefix(own).removeprefix("-") if patient.startswith(own) else patient
                who = Who(patient, own, visit, centre)
            found[who.patient] = (key, who)
            for name in (who.patient, *one.names, one.person, one.visit):
                names.setdefault(name, set()).add(who.patient)
            self._used |= {name for name in (rows[key], who.patient) if name}
        several = {name: f"{found[min(keys)][1].subject} (several examinations)" for name, keys in names.items()}
        self._names = {name: keys.pop() if len(keys) == 1 else several[name] for name, keys in names.items() if name}
        return found

    def translated(self, table: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return a table of readers with the keys of examinations; no other name is repeated."""
        if table is None:
            return None
        names = dict(self._names)
        for row, name in enumerate(table["patient"], start=1):
            names.setdefault(name, f"unknown (first in row {row})")
        return table.assign(patient=table["patient"].map(names))

    def unused(self) -> int:
        """Return the rows of `patients.csv` that name nobody of the source."""
        return len(set(self._table) - self._used)

    def listed(self, known: Known, patient: str) -> bool:
        """Return whether `patients.csv` says who an examination is."""
        return any(name in self._table for name in (*known.names, patient))

    def doubtful(self, people: Mapping[str, tuple[Known, Who]]) -> list[Finding]:
        """Find examinations that may share a person though they count as several, as far as PatientID tells.

        In folders, one PatientID under several codes; in exports, examinations whose PatientID tells nothing.
        """
        sharing: dict[str, list[str]] = {}
        for patient, (known, _) in people.items():
            if known.token or not known.coded:
                sharing.setdefault(known.token, []).append(patient)
        remedy = "give all examinations of a person one subject in patients.csv"
        findings = []
        for token, patients in sharing.items():
            if len({people[patient][1].subject for patient in patients}) < 2 or (token and len(patients) > MAX_VISITS):
                continue
            for patient in patients:
                if self.listed(people[patient][0], patient):
                    continue
                others = ", ".join(other for other in patients if other != patient)
                what = f"has the PatientID of {others}" if token else "has a placeholder for a PatientID"
                reason = f"{what} and counts as another person, so training and test may share that person"
                findings.append(Finding(patient, "people", reason, remedy, excludes=False))
        return findings


class Pseudonyms:
    """Who is who: patient and study identifiers to pseudonyms, in one local file that git ignores (`pseudonyms*.csv`).

    A pseudonym stays when others are added later: the first study of a person is `P0001`, the next `P0001-2`.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Read an existing map; with no path, the map lives in memory only."""
        self.path = path
        self._people: dict[str, str] = {}
        self._studies: dict[tuple[str, str], str] = {}
        if path is None or not path.exists():
            return
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    self._people[row["patient_id"]] = row["subject"]
                    self._studies[row["patient_id"], row["study_uid"]] = row["pseudonym"]
        except (KeyError, UnicodeDecodeError, csv.Error):
            raise DataError(f"{path.name}: is not a map of pseudonyms; move it away and curate again") from None

    def assign(
        self, studies: Iterable[tuple[str, str]], reserved: Iterable[str] = ()
    ) -> dict[tuple[str, str], tuple[str, str]]:
        """Subject and pseudonym of each (patient identifier, study identifier): those of the map, then new ones."""
        given = {}
        taken = set(self._people.values()) | set(reserved)
        for patient, study in studies:
            if patient not in self._people:
                number = len(self._people) + 1
                while f"P{number:04d}" in taken:
                    number += 1
                self._people[patient] = f"P{number:04d}"
                taken.add(self._people[patient])
            subject = self._people[patient]
            if (patient, study) not in self._studies:
                number = 1 + sum(person == patient for person, _ in self._studies)
                self._studies[patient, study] = subject if number == 1 else f"{subject}-{number}"
            given[patient, study] = (subject, self._studies[patient, study])
        return given

    def save(self) -> None:
        """Write the map, whole or not at all, readable by its owner only; nobody, nothing."""
        if self.path is None or not self._studies:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["pseudonym", "subject", "patient_id", "study_uid"])
        for (patient, study), name in self._studies.items():
            writer.writerow([name, self._people[patient], patient, study])
        write_text(self.path, text.getvalue())
        self.path.chmod(0o600)
