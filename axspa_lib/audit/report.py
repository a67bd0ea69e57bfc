"""The audit as a table: every printed figure, then what the figures of one table imply together.

Nothing here says how a figure came about. A figure that its stated number of cases cannot give may rest on another
number of cases, another definition or a misprint; the table says which numbers would fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from axspa_lib.audit.enumeration import closest, matrices, nearest_n, printed
from axspa_lib.audit.implications import table1_joint, table2_joint, table3_joint, table4_joint
from axspa_lib.audit.rows import COLUMNS, NO, YES, Row, entries, listed, matrix_text, row_of
from axspa_lib.runs import write_text


def audit() -> pd.DataFrame:
    """All findings about the published tables, `COLUMNS`; about half a minute.

    `attainable` says whether the figure (or the figures together) can come from the stated number of cases;
    `matrices` lists the confusion matrices, up to exchange of the classes and of the two readings, or their number.
    """
    rows = [_figure(table, entry) for table in (1, 2, 3, 4) for entry in entries(table) if not entry["sd"]]
    rows += table1_joint() + table2_joint() + table3_joint() + table4_joint() + text_checks()
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("table", kind="stable").reset_index(drop=True)


def write_audit(path: Path) -> pd.DataFrame:
    """Compute the audit, write it as CSV, and return it."""
    found = audit()
    write_text(path, found.to_csv(index=False))
    return found


def text_checks() -> list[Row]:
    """Numbers of the running text that can be recomputed."""
    half_slices = 2035 + 281 + 597
    share = 100 * 205 / 237
    checks: Sequence[tuple[str, str, bool, str]] = (
        ("4.1", "51 + 237 = 288", 51 + 237 == 288, "segmented by hand and remaining make the cohort of section 2"),
        ("4.1", "205 + 51 = 256", 205 + 51 == 256, "the grown set"),
        ("4.2", "178 + 25 + 53 = 256", 178 + 25 + 53 == 256, "the split has every patient of it"),
        ("4.1", "205 of 237: 86 %", int(share) == 86, f"{share:.1f} %: digits cut off, not rounded"),
        ("4.2", "2035 + 281 + 597 half-slices", half_slices <= 2 * 6 * 256,
         f"{100 * half_slices / (2 * 6 * 256):.1f} % of twelve per patient: the rest has no joint"),
        ("5.2", "96 %, 2 misclassified of 53", round(100 * 51 / 53) == 96, f"{100 * 51 / 53:.1f} %"),
        ("5.2", "three times as effective", round(62 / 21) == 3, f"62 / 21 = {62 / 21:.2f} (Table 4)"),
    )  # fmt: skip
    return [
        row_of("text", f"section {section}", "", claim, "", YES if holds else NO, "", remark)
        for section, claim, holds, remark in checks
    ]


def _figure(table: int, entry: dict[str, str]) -> Row:
    n, figure = int(entry["n"]), printed(entry["value"])
    found = matrices(n, figure)
    remark = ""
    if not len(found):
        value, matrix = closest(n, figure)
        remark = f"nearest with {n}: {value:.2f} ({matrix_text(matrix)})"
        if (near := nearest_n(n, figure)) is not None:
            remark += f"; nearest number of cases that gives it: {near[0]} ({listed(near[1])})"
        if not len(matrices(n, printed(entry["value"], cut=True))):
            remark += f"; cutting digits off instead of rounding does not give it with {n} either"
    attainable = YES if len(found) else NO
    return row_of(table, entry["row"], entry["column"], entry["value"], n, attainable, listed(found), remark)
