"""Rows of the audit's table and the words in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from axspa_lib.audit.enumeration import Ints, distinct
from axspa_lib.tables.cells import published

COLUMNS = ("table", "row", "column", "published", "n", "attainable", "matrices", "remark")
YES, NO, OPEN = "yes", "no", "not decided"
VERDICT = {"feasible": YES, "infeasible": NO, "undecided": OPEN}

Row = dict[str, object]


def row_of(
    table: object, row: str, column: str, figure: str, n: object, attainable: str, found: str, remark: str
) -> Row:
    """One row of the audit, in the order of `COLUMNS`."""
    return dict(zip(COLUMNS, (str(table), row, column, figure, n, attainable, found, remark), strict=True))


def mean_row(table: int, entry: Mapping[str, str], verdict: str, remark: str) -> Row:
    """The row of a figure printed as mean ± deviation of k models."""
    text = f"{entry['value']} ± {entry['sd']}"
    found = f"mean of {entry['k']}"
    return row_of(table, entry["row"], entry["column"], text, entry["n"], VERDICT[verdict], found, remark)


def entries(table: int) -> list[dict[str, str]]:
    """The published table, one mapping per printed figure."""
    return [{str(key): str(value) for key, value in row.items()} for row in published(table).to_dict("records")]


def matrix_text(matrix: Ints) -> str:
    """A confusion matrix in words."""
    return "tp {}, tn {}, fp {}, fn {}".format(*matrix.tolist())


def listed(found: Ints, exchange: bool = True) -> str:
    """Up to four matrices in words, their number when there are more; with `exchange` only the distinct ones."""
    shown = distinct(found) if exchange else found
    return some([matrix_text(matrix) for matrix in shown], 4)


def some(texts: Sequence[str], most: int) -> str:
    """The texts, or their number when there are more than `most`."""
    if not texts:
        return "none"
    return "; ".join(texts) if len(texts) <= most else f"{len(texts)} matrices"


def ranges(numbers: Sequence[int]) -> str:
    """Whole numbers as ranges.

    >>> ranges([1, 2, 3, 7])
    '1-3, 7'
    """
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts) or "none"
