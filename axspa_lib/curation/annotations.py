"""Reader annotations: tables as labs write them, to clean readings, opinions, half-slices and consensus.

A patient whose annotations cannot all be understood is left out (a missing quadrant would turn a label silently);
exact duplicates and rows of unknown readers are dropped and reported.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
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
    """A CSV as spreadsheets write it: comma, semicolon or tab; UTF-8, UTF-16 or Windows-1252; all values as text.

    Args:
        path: the file.
        columns: required columns.

    Returns:
        Text columns, names in lower case; none when the file does not exist.

    Raises:
        DataError: not a text table, or columns are missing.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path.name}: cannot be opened ({type(error).__name__}); check its permissions") from None
    text = _decode(raw, path.name)
    header = text.lstrip().split("\n", 1)[0]
    separator = max(",;\t", key=header.count)
    try:
        table = pd.read_csv(
            io.StringIO(text), sep=separator, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(
            f"{path.name}: is not a table ({type(error).__name__}); write one row per line with the columns "
            f"{', '.join(columns)} as in data_manifest/templates"
        ) from None
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"{path.name}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it needs {', '.join(columns)} as in data_manifest/templates"
        )
    return pd.DataFrame({name: table[name].str.strip() for name in table.columns})


def clean_readings(
    raw: pd.DataFrame | None, patients: list[str], readers: set[str] | None = None
) -> tuple[pd.DataFrame, list[Finding]]:
    """Check annotations by quadrant.

    Args:
        raw: columns `READINGS`, any types.
        patients: examinations that have images.
        readers: known readers, or none to accept all.

    Returns:
        Typed rows of `READINGS`, sorted, one per quadrant read; and what was dropped or excludes a patient.
        Slices are not compared with the images here.
    """
    if raw is None:
        return _typed_readings(pd.DataFrame(columns=READINGS)), []
    _require(raw, READINGS, "readings")
    table = _as_text(raw, READINGS)
    table, findings = _known_rows(table, "readings", patients, readers)
    table["slice"] = table["slice"].map(_whole)
    table["side"] = table["side"].str.lower().map(_SIDES)
    quadrants = table["quadrant"].str.lower().str.replace(r"[\s\-]+", "_", regex=True)
    table["quadrant"] = quadrants.where(quadrants.isin(QUADRANTS))
    table["inflammation"] = table["inflammation"].map(_flag)
    values = {
        "slice": "a slice that is no whole number from 0",
        "side": "a side that is neither L nor R",
        "quadrant": f"a quadrant that is none of {', '.join(QUADRANTS)}",
        "inflammation": "an inflammation that is neither 0 nor 1",
    }
    for column, what in values.items():
        findings += _count(
            table[table[column].isna()], f"have {what}", "readings", "correct these rows of readings.csv"
        )
    table = table.dropna()
    table, more = _single(table, list(READINGS[:-1]), "inflammation", "readings")
    return _typed_readings(table), findings + more


def clean_opinions(raw: pd.DataFrame | None, patients: list[str]) -> tuple[pd.DataFrame, list[Finding]]:
    """Check opinions on patients; like `clean_readings`, columns `OPINIONS`."""
    if raw is None:
        return _typed_opinions(pd.DataFrame(columns=OPINIONS)), []
    _require(raw, OPINIONS, "opinions")
    table, findings = _known_rows(_as_text(raw, OPINIONS), "opinions", patients, None)
    table["asas_positive"] = table["asas_positive"].map(_flag)
    findings += _count(
        table[table["asas_positive"].isna()],
        "have an asas_positive that is neither 0 nor 1",
        "opinions",
        "correct these rows of opinions.csv",
    )
    table = table.dropna()
    table, more = _single(table, ["patient", "reader"], "asas_positive", "opinions")
    return _typed_opinions(table), findings + more


def half_slices(readings: pd.DataFrame) -> pd.DataFrame:
    """Label of each half-slice and reader: inflamed when any quadrant is (section 2).

    Returns:
        `patient, slice, side, reader, inflammation`, sorted.
    """
    keys = ["patient", "slice", "side", "reader"]
    return readings.groupby(keys, sort=True)["inflammation"].max().reset_index()


def positive_by_count(agreed: pd.DataFrame, least: int = 2) -> pd.Series:
    """Diagnosis where no opinions were given: positive when `least` half-slices of the consensus are (section 3.2.2).

    Args:
        agreed: as from `consensus`.
        least: number of inflamed half-slices of a positive patient.
    """
    return agreed.groupby("patient")["inflammation"].sum() >= least


def opinion_of(opinions: pd.DataFrame, require_agreement: bool) -> tuple[pd.Series, list[Finding]]:
    """Diagnosis of each patient from the readers' opinions (section 2).

    Args:
        opinions: as from `clean_opinions`.
        require_agreement: exclude patients on whom readers disagree, or whom only one of several readers read.

    Returns:
        Majority by patient (a tie is negative), and the exclusions.
    """
    findings: list[Finding] = []
    grouped = opinions.groupby("patient")["asas_positive"]
    share = grouped.mean()
    if require_agreement and len(opinions):
        several = opinions["reader"].nunique() > 1
        for patient, votes in grouped:
            if votes.nunique() > 1:
                findings.append(
                    Finding(str(patient), "opinions", "readers disagree on the patient", "none: inclusion criterion")
                )
            elif several and len(votes) < 2:
                findings.append(
                    Finding(str(patient), "opinions", "only one reader gave an opinion", "add the other opinions")
                )
    return (share > 0.5), findings


def people(table: pd.DataFrame | None) -> dict[str, tuple[str, str, str]]:
    """Subject, session and centre by patient, from `patients.csv` (an optional column names the session).

    Raises:
        DataError: a patient is listed twice.
    """
    if table is None:
        return {}
    twice = table.loc[table["patient"].duplicated(), "patient"]
    if len(twice):
        raise DataError(f"patients.csv: patient {twice.iloc[0]!r} is listed more than once; keep one row")
    session = table["session"] if "session" in table else pd.Series("", index=table.index)
    rows = zip(table["patient"], table["subject"], session, table["centre"], strict=True)
    return {patient: (subject or patient, visit, centre) for patient, subject, visit, centre in rows}


def _known_rows(
    table: pd.DataFrame, stage: str, patients: list[str], readers: set[str] | None
) -> tuple[pd.DataFrame, list[Finding]]:
    unknown = ~table["patient"].isin(patients)
    findings = _count(
        table[unknown], "name a patient without images", stage, f"correct {stage}.csv or add the images", False
    )
    table = table[~unknown]
    findings += _count(table[table["reader"] == ""], "name no reader", stage, f"correct these rows of {stage}.csv")
    table = table[table["reader"] != ""].copy()
    if readers:
        stranger = ~table["reader"].isin(readers)
        findings += _count(
            table[stranger], "are by a reader unknown to opinions.csv", stage, "correct the name of the reader", False
        )
        table = table[~stranger].copy()
    return table, findings


def _single(table: pd.DataFrame, keys: list[str], value: str, stage: str) -> tuple[pd.DataFrame, list[Finding]]:
    """One row per key: equal duplicates are dropped, contradictions exclude the patient."""
    repeated = table[table.duplicated(keys)]
    spread = table.groupby(keys)[value].transform("nunique") > 1
    findings = _count(table[spread], "contradict each other", stage, f"decide in {stage}.csv which is right")
    extra = repeated[~repeated.index.isin(table[spread].index)]
    findings += _count(extra, "repeat another row", stage, f"remove them from {stage}.csv", False)
    return table[~spread].drop_duplicates(keys), findings


def _count(rows: pd.DataFrame, what: str, stage: str, remedy: str, excludes: bool = True) -> list[Finding]:
    return [
        Finding(str(patient), stage, f"{number} row{'s' * (number > 1)} {what}", remedy, excludes)
        for patient, number in rows.groupby("patient").size().items()
    ]


def _typed_readings(table: pd.DataFrame) -> pd.DataFrame:
    table = table[list(READINGS)].astype({"slice": int, "inflammation": int})
    return table.sort_values(list(READINGS[:-1]), ignore_index=True)


def _typed_opinions(table: pd.DataFrame) -> pd.DataFrame:
    table = table[list(OPINIONS)].astype({"asas_positive": int})
    return table.sort_values(["patient", "reader"], ignore_index=True)


def _require(table: pd.DataFrame, columns: tuple[str, ...], name: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"{name}: lacks the column {missing[0]}; it needs {', '.join(columns)}")


def _as_text(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    text = table[list(columns)].copy()
    for column in columns:
        cells = ["" if pd.isna(value) else str(value).strip() for value in text[column]]
        text[column] = pd.Series(cells, index=text.index, dtype=object)
    text["reader"] = text["reader"].str.replace(r"^(\d+)[.,]0+$", r"\1", regex=True)
    return text.reset_index(drop=True)


def _flag(value: str) -> float:
    return _FLAGS.get(value.lower().replace(",", "."), np.nan)


def _whole(value: str) -> float:
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        return np.nan
    return number if number >= 0 and number == np.floor(number) and number < 1e6 else np.nan


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
