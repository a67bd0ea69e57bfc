"""Figures published in the paper, read from `data_manifest/published`."""

from __future__ import annotations

from functools import cache

import pandas as pd

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError


@cache
def published(table: int) -> pd.DataFrame:
    """Return a table of the paper: `row, column, value, sd, n, k, mark`; figures as text, in the printed precision."""
    path = MANIFEST / "published" / f"table{table}.csv"
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise DataError(f"data_manifest/published/{path.name} is missing: restore it from the repository") from None


@cache
def published_number(name: str) -> float:
    """Return a number that the paper states in its text, `data_manifest/published/numbers.csv`.

    Raises:
        DataError: there is no such number.

    >>> published_number("patients_accepted")
    205.0
    """
    known = pd.read_csv(MANIFEST / "published" / "numbers.csv").set_index("name")["value"]
    if name not in known:
        raise DataError(f"data_manifest/published/numbers.csv has no {name!r}: it has {', '.join(known.index)}")
    return float(known[name])


@cache
def published_dice() -> dict[str, float]:
    """Return the paper's Dice by bone (section 4.1)."""
    table = pd.read_csv(MANIFEST / "published" / "dice.csv")
    return dict(zip(table["bone"], table["dice"], strict=True))
