"""Reader annotations: tables as labs write them, to clean readings, opinions and half-slices.

A patient whose annotations cannot all be understood is left out, since a missing quadrant would change a label
unnoticed; exact duplicates and rows of unknown readers are dropped and reported.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import LEFT, QUADRANTS, RIGHT

READINGS = ("patient", "reader", "slice", "side", "quadrant", "inflammation")
OPINIONS = ("patient", "reader", "asas_positive")
PATIENTS = ("patient", "subject", "centre")

_SIDES = {"l": LEFT, "left": LEFT, "r": RIGHT, "right": RIGHT}
_FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "no": 0, "yes": 1}


@dataclass(frozen=True)
class Finding:
    """One thing left out, and what to do about it.

    Attributes:
        patient: key of the examination, or the name the table gave.
        stage: where it was found (`people`, `images`, `pairing`, `opinions`, `readings`, `reference`).
        reason: what is wrong.
        remedy: what the user can do.
        excludes: the patient leaves the cohort; else only rows or a mask do.
    """

    patient: str
    stage: str
    reason: str
    remedy: str
    excludes: bool = True


def read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    """Read a CSV as spreadsheets write it: comma, semicolon or tab; UTF-8, UTF-16 or Windows-1252; all values as text.

    Args:
        path: the file.
        columns: required columns.

    Returns:
        Text columns, names in lower case; None when the file does not exist.
    """
    try:
        text = _decode(path.read_bytes(), path.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path.name}: cannot be opened ({type(error).__name__}); check its permissions") from None
    header = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    needed = f"{', '.join(columns)} as in data_manifest/templates"
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{path.name}: is not a table ({type(error).__name__}); write one row per line with the columns {needed}"
        ) from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in columns if name not in table.columns]
    if missing:
        plural = "s" * (len(missing) > 1)
        raise DataError(f"{path.name}: lacks the column{plural} {', '.join(missing)}; it needs {needed}")
    return pd.DataFrame({name: table[name].str.strip() for name in table.columns})


def clean_readings(
    raw: pd.DataFrame | None, patients: list[str], readers: set[str] | None = None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Check annotations by quadrant.

    Args:
        raw: columns `READINGS`, any types.
        patients: examinations that have images.
        readers: known readers, or None to accept all.

    Returns:
        Typed rows of `READINGS`, sorted, one per quadrant read; and what was dropped or excludes a patient.
        Slices are not compared with the images here.
    """
    return _clean(raw, READINGS, "readings", patients, readers)


def clean_opinions(raw: pd.DataFrame | None, patients: list[str]) -> tuple[pd.DataFrame, list[Finding]]:
    """Check opinions on patients; as `clean_readings`, with the columns `OPINIONS`."""
    return _clean(raw, OPINIONS, "opinions", patients, None)


def half_slices(readings: pd.DataFrame) -> pd.DataFrame:
    """Return the label of each half-slice and reader: inflamed when any quadrant is (section 2).

    Returns:
        `patient, slice, side, reader, inflammation`, sorted.
    """
    keys = ["patient", "slice", "side", "reader"]
    return readings.groupby(keys, sort=True)["inflammation"].max().reset_index()


def positive_by_count(agreed: pd.DataFrame) -> pd.Series:
    """Diagnose patients without opinions: positive with two inflamed half-slices of the consensus (section 3.2.2)."""
    return agreed.groupby("patient")["inflammation"].sum() >= 2


def opinion_of(opinions: pd.DataFrame, require_agreement: bool) -> tuple[pd.Series, list[Finding]]:
    """Diagnose each patient from the readers' opinions (section 2).

    Args:
        opinions: as from `clean_opinions`.
        require_agreement: exclude patients on whom readers disagree, or whom only one of several readers read.

    Returns:
        Majority by patient (a tie is negative), and the exclusions.
    """
    votes = opinions.groupby("patient")["asas_positive"].agg(["mean", "nunique", "size"])
    findings = []
    if require_agreement:
        several = opinions["reader"].nunique() > 1
        for patient, (_, answers, readers) in votes.iterrows():
            if answers > 1:
                reason = ("readers disagree on the patient", "none: inclusion criterion")
                findings.append(Finding(str(patient), "opinions", *reason))
            elif several and readers < 2:
                reason = ("only one reader gave an opinion", "add the other opinions")
                findings.append(Finding(str(patient), "opinions", *reason))
    return (votes["mean"] > 0.5).rename("asas_positive"), findings


def people(table: pd.DataFrame | None) -> dict[str, tuple[str, str, str]]:
    """Return subject, session and centre by patient, from `patients.csv` (the column `session` is optional)."""
    if table is None:
        return {}
    twice = table.loc[table["patient"].duplicated(), "patient"]
    if len(twice):
        raise DataError(f"patients.csv: patient {twice.iloc[0]!r} is listed more than once; keep one row")
    session = table["session"] if "session" in table else pd.Series("", index=table.index)
    rows = zip(table["patient"], table["subject"], session, table["centre"], strict=True)
    return {patient: (subject or patient, visit, centre) for patient, subject, visit, centre in rows}


def _clean(
    raw: pd.DataFrame | None, columns: tuple[str, ...], stage: str, patients: list[str], readers: set[str] | None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Check rows whose last column is the value and whose others are the key; each patient's faults become findings."""
    *keys, value = columns
    if raw is None:
        raw = pd.DataFrame(columns=columns)
    missing = [column for column in columns if column not in raw.columns]
    if missing:
        raise DataError(f"{stage}: lacks the column {missing[0]}; it needs {', '.join(columns)}")
    texts = {name: ["" if pd.isna(cell) else str(cell).strip() for cell in raw[name]] for name in columns}
    table = pd.DataFrame(texts, dtype=object)
    table["reader"] = table["reader"].str.replace(r"^(\d+)[.,]0+$", r"\1", regex=True)
    findings: list[Finding] = []

    def without(faulty: pd.Series, what: str, remedy: str, excludes: bool = True) -> pd.DataFrame:
        """Report faulty rows by patient and return the others."""
        for patient, number in table[faulty].groupby("patient").size().items():
            reason = f"{number} row{'s' * (number > 1)} {what}"
            findings.append(Finding(str(patient), stage, reason, remedy, excludes))
        return table[~faulty].copy()

    correct = f"correct these rows of {stage}.csv"
    unknown, remedy = ~table["patient"].isin(patients), f"correct {stage}.csv or add the images"
    table = without(unknown, "name a patient without images", remedy, excludes=False)
    table = without(table["reader"] == "", "name no reader", correct)
    if readers:
        unknown, remedy = ~table["reader"].isin(readers), "correct the name of the reader"
        table = without(unknown, "are by a reader unknown to opinions.csv", remedy, excludes=False)
    for column in (name for name in columns if name in _VALUES):
        what, read = _VALUES[column]
        table[column] = read(table[column].str.lower())
        without(table[column].isna(), f"have {what}", correct)
    table = table.dropna()
    contradicts = table.groupby(keys)[value].transform("nunique") > 1
    table = without(contradicts, "contradict each other", f"decide in {stage}.csv which is right")
    table = without(table.duplicated(keys), "repeat another row", f"remove them from {stage}.csv", excludes=False)
    table = table.astype({name: int for name in ("slice", value) if name in columns})
    return table.sort_values(keys, ignore_index=True), findings


def _decimal(column: pd.Series) -> pd.Series:
    return column.str.replace(",", ".")


def _slice(column: pd.Series) -> pd.Series:
    number = pd.to_numeric(_decimal(column), errors="coerce")
    return number.where((number >= 0) & (number % 1 == 0) & (number < 1e6))


def _quadrant(column: pd.Series) -> pd.Series:
    names = column.str.replace(r"[\s\-]+", "_", regex=True)
    return names.where(names.isin(QUADRANTS))


def _flag(column: pd.Series) -> pd.Series:
    return _decimal(column).map(_FLAGS)


#: What a value that cannot be read is called in a finding, and how it is read, by column.
_VALUES = {
    "slice": ("a slice that is no whole number from 0", _slice),
    "side": ("a side that is neither L nor R", lambda column: column.map(_SIDES)),
    "quadrant": (f"a quadrant that is none of {', '.join(QUADRANTS)}", _quadrant),
    "inflammation": ("an inflammation that is neither 0 nor 1", _flag),
    "asas_positive": ("an asas_positive that is neither 0 nor 1", _flag),
}


def _decode(raw: bytes, name: str) -> str:
    encodings = ["utf-16"] if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise DataError(f"{name}: is not text in UTF-8, UTF-16 or Windows-1252; save it as CSV UTF-8")
