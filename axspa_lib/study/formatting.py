"""Format figures, intervals and small tables for pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler


def with_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """Return a figure and its 95 % interval as text.

    >>> with_interval(0.8512, 0.8, 0.9)
    '0.85 [0.80, 0.90]'
    """
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def against_chance(low: float, high: float) -> str:
    """Say how the 95 % interval of an MCC lies to chance.

    >>> against_chance(-0.1, 0.5)
    'its interval contains 0, so this run cannot tell the judgement from chance'
    """
    if low > 0:
        return "its interval lies above 0, so the judgement is better than chance"
    if high < 0:
        return "its interval lies below 0, so the judgement is worse than chance"
    return "its interval contains 0, so this run cannot tell the judgement from chance"


def share(part: int, whole: int) -> str:
    """Return a share as text.

    >>> share(205, 237), share(0, 0)
    ('205 of 237 (86 %)', '0 of 0')
    """
    return f"{part} of {whole}" + (f" ({100 * part / whole:.0f} %)" if whole else "")


def dotted(overrides: Mapping[str, Any]) -> str:
    """Return nested parameters in one line, as a reader writes them.

    >>> dotted({"detector": {"augmentation": {"flip": False, "rotation_deg": 0}}}), dotted({})
    ('detector.augmentation: flip = False, rotation_deg = 0', '–')
    """
    lines = []
    for name, value in overrides.items():
        deeper = isinstance(value, Mapping)
        while isinstance(value, Mapping) and len(value) == 1 and isinstance(next(iter(value.values())), Mapping):
            part, value = next(iter(value.items()))
            name = f"{name}.{part}"
        lines.append(f"{name}: {', '.join(f'{key} = {kept}' for key, kept in value.items())}" if deeper
                     else f"{name} = {value}")  # fmt: skip
    return "; ".join(lines) or "–"


def listing(rows: Iterable[Iterable[Any]], columns: Sequence[str]) -> Styler:
    """Return a small table for a page, without row numbers; every value as its text."""
    table = pd.DataFrame([[str(value) for value in row] for row in rows], columns=list(columns))
    return table.style.hide(axis="index").set_table_styles([{"selector": "td", "props": "text-align: left"}])


def heading(cohort: str) -> str:
    """Return a cohort as the paper calls it; a simulated one never bears the name of the clinical one alone.

    >>> heading("phantom-desir"), heading("vhi")
    ('phantom-DESIR', 'VHI')
    """
    family, _, name = cohort.rpartition("-")
    return f"phantom-{name.upper()}" if family == "phantom" else name.upper()
