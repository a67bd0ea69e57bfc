"""Tables of a curated cohort: their schemas (CONTRIBUTING.md, formats on disk), and reading them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.labels import QUADRANTS, SIDES, SUBSETS
from axspa_lib.study.runs import record_input

_TEXT = pa.Column(str, coerce=True)
_FLAG = pa.Column(int, pa.Check.isin([0, 1]), coerce=True)
_SLICE = pa.Column(int, pa.Check.ge(0), coerce=True)
_SIDE = pa.Column(str, pa.Check.isin(SIDES), coerce=True)
_LENGTH = pa.Column(float, pa.Check.gt(0), nullable=True, coerce=True)
_SUBSET = pa.Column(str, pa.Check.isin([*SUBSETS, ""]), coerce=True)

#: Schema of each table (CONTRIBUTING.md, formats on disk); further columns are allowed.
SCHEMAS: Mapping[str, pa.DataFrameSchema] = {
    "participants": pa.DataFrameSchema(
        {
            "patient": pa.Column(str, unique=True, coerce=True),
            "subject": _TEXT,
            "session": _TEXT,
            "centre": _TEXT,
            "status": pa.Column(str, pa.Check.isin(["included", "excluded"])),
            "positive": pa.Column("boolean", nullable=True, coerce=True),
            "has_stir": pa.Column(bool, coerce=True),
            "has_bones": pa.Column(bool, coerce=True),
            "slices": pa.Column("Int64", pa.Check.ge(1), nullable=True, coerce=True),
            "spacing_slice_mm": _LENGTH,
            "spacing_row_mm": _LENGTH,
            "spacing_column_mm": _LENGTH,
            **{name: pa.Column(str, coerce=True) for name in ("t1_file", "stir_file", "bones_file", "notes")},
        }
    ),
    "readings": pa.DataFrameSchema(
        {
            "patient": _TEXT,
            "reader": _TEXT,
            "slice": _SLICE,
            "side": _SIDE,
            "quadrant": pa.Column(str, pa.Check.isin(QUADRANTS), coerce=True),
            "inflammation": _FLAG,
        },
        unique=["patient", "reader", "slice", "side", "quadrant"],
    ),
    "opinions": pa.DataFrameSchema(
        {"patient": _TEXT, "reader": _TEXT, "asas_positive": _FLAG}, unique=["patient", "reader"]
    ),
    "half_slices": pa.DataFrameSchema(
        {"patient": _TEXT, "slice": _SLICE, "side": _SIDE, "reader": _TEXT, "inflammation": _FLAG},
        unique=["patient", "slice", "side", "reader"],
    ),
    "exclusions": pa.DataFrameSchema(
        {"patient": _TEXT, "stage": _TEXT, "reason": _TEXT, "remedy": _TEXT, "excludes": pa.Column(bool, coerce=True)}
    ),
    "splits": pa.DataFrameSchema(
        {
            "patient": pa.Column(str, unique=True, coerce=True),
            "subject": _TEXT,
            "bones": _SUBSET,
            "detection": _SUBSET,
            "fold": pa.Column(int, pa.Check.ge(0), coerce=True, required=False),
        }
    ),
}

#: Columns read as text, so that codes keep their zeros and '' stays ''.
_AS_TEXT = ("patient", "subject", "session", "centre", "reader", "side", "quadrant", "stage", "reason", "remedy",
            "bones", "detection", "status", "t1_file", "stir_file", "bones_file", "notes", "manufacturer",
            "model")  # fmt: skip

#: Columns of further tables in which nothing means unknown.
_EMPTY_NUMBERS = {"joint_mm": [""], "seen": [""], "jump_mm": [""], "area_mm2": [""]}


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read and check a table of a cohort's folder.

    Raises:
        MissingResultError: the table is gone.
        DataError: it is not a table, or not as its schema says.
    """
    path = folder / f"{name}.csv"
    try:
        header = pd.read_csv(path, nrows=0).columns
        empty = {column: ["", "nan"] for column in header if column not in _AS_TEXT}  # a patient may be called NA
        text = dict.fromkeys(_AS_TEXT, str)
        table = pd.read_csv(record_input(path), dtype=text, keep_default_na=False, na_values=empty)
    except FileNotFoundError:
        raise MissingResultError(f"{folder.name}/{name}.csv is gone: run `axspa curate` again") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{folder.name}/{name}.csv: is not a table ({type(error).__name__}): curate again") from None
    try:
        return SCHEMAS[name].validate(table, lazy=False)
    except (pa.errors.SchemaError, pa.errors.SchemaErrors) as error:
        column = getattr(getattr(error, "schema", None), "name", None)
        where = f"column {column!r}" if column else "its columns or keys"
        raise DataError(f"{folder.name}/{name}.csv: {where} is not as CONTRIBUTING.md says: curate again") from None


def read_further_table(folder: Path, name: str) -> pd.DataFrame:
    """Read a table that only some sources give.

    Raises:
        MissingResultError: the cohort has no such table.
    """
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise MissingResultError(f"{folder.name} has no table {name!r}: its source gives none, or curate again")
    return pd.read_csv(
        record_input(path), dtype=dict.fromkeys(_AS_TEXT, str), keep_default_na=False, na_values=_EMPTY_NUMBERS
    )
