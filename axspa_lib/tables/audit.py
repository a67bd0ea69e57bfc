"""Check the published figures: list every confusion matrix that gives a printed MCC on its stated number of cases.

With N cases, p positive in the reference and q in the prediction, the Matthews correlation coefficient is
`(N tp - p q) / sqrt(p (N - p) q (N - q))`: linear in tp. So all matrices of a figure are found by solving for tp at
each of the N² margins. What several figures imply together is read from `data_manifest/published/joint.csv`; its
README says how those rows follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError
from axspa_lib.study.published import published

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COLUMNS = ("table", "row", "column", "published", "n", "attainable", "matrices", "remark")
YES, NO = "yes", "no"

Row = dict[str, object]


def row_of(
    table: object, row: str, column: str, figure: str, n: object, attainable: str, found: str, remark: str
) -> Row:
    """Return one row of the audit, in the order of `COLUMNS`."""
    return dict(zip(COLUMNS, (str(table), row, column, figure, n, attainable, found, remark), strict=True))


def entries(table: int) -> list[dict[str, str]]:
    """Return the published table, one mapping per printed figure."""
    return [{str(key): str(value) for key, value in row.items()} for row in published(table).to_dict("records")]


def matrix_text(matrix: Ints) -> str:
    """Return a confusion matrix in words."""
    return "tp {}, tn {}, fp {}, fn {}".format(*matrix.tolist())


def listed(found: Ints, exchange: bool = True) -> str:
    """Up to four matrices in words, their number when there are more; with `exchange` only the distinct ones."""
    shown = distinct(found) if exchange else found
    return some([matrix_text(matrix) for matrix in shown], 4)


def some(texts: Sequence[str], most: int) -> str:
    """Return the texts, or their number when there are more than `most`."""
    if not texts:
        return "none"
    return "; ".join(texts) if len(texts) <= most else f"{len(texts)} matrices"


def audit() -> pd.DataFrame:
    """Check every published figure against its number of cases; columns `COLUMNS`.

    `attainable` says whether the figure (or the figures together) can come from the stated number of cases;
    `matrices` lists the confusion matrices, up to exchange of the classes and of the two readings, or their number.
    """
    rows = [_figure(table, entry) for table in (1, 2, 3, 4) for entry in entries(table) if not entry["sd"]]
    joint = pd.read_csv(MANIFEST / "published" / "joint.csv", dtype=str, keep_default_na=False)
    found = pd.concat([pd.DataFrame(rows, columns=list(COLUMNS)), joint, pd.DataFrame(text_checks())])
    return found.sort_values("table", kind="stable").reset_index(drop=True)


def text_checks() -> list[Row]:
    """Return the numbers of the running text that can be recomputed."""
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


#: Slack for the arithmetic, far below any printed precision.
SLACK = 1e-9


@dataclass(frozen=True)
class Printed:
    """A figure as printed: any value from `low` to `high` rounds to it (both in MCC × 100)."""

    text: str
    low: float
    high: float

    @property
    def value(self) -> float:
        """The printed number."""
        return float(self.text)

    @property
    def half(self) -> float:
        """Half a unit of the last printed digit."""
        return (self.high - self.low) / 2

    def holds(self, values: Floats) -> NDArray[np.bool_]:
        """Return whether each value rounds to the figure."""
        return np.asarray((values >= self.low - SLACK) & (values <= self.high + SLACK))


def printed(text: str, cut: bool = False) -> Printed:
    """Parse a printed figure with the values that round to it, or with `cut` truncate to it.

    >>> printed("64.8").low
    64.75
    """
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{text!r} is not a printed figure: give a number such as '64.8'") from None
    unit = 10.0 ** -len(text.partition(".")[2])
    low, high = (value, value + unit) if cut else (value - unit / 2, value + unit / 2)
    return Printed(text, round(low, 9), round(high, 9))


def coefficient(n: int, p: Ints | int, q: Ints | int, tp: Ints | int) -> Floats:
    """MCC × 100 of N cases with p and q positive and tp positive in both; 0 where a margin is empty."""
    p, q, tp = (np.asarray(count, float) for count in (p, q, tp))
    product = p * (n - p) * q * (n - q)
    covariance = 100 * (n * tp - p * q)
    return np.divide(covariance, np.sqrt(product), out=np.zeros(np.broadcast(p, q, tp).shape), where=product > 0)


def matrices(n: int, figure: Printed, positives: int | None = None) -> Ints:
    """Return every `(tp, tn, fp, fn)` of `n` cases whose MCC × 100 is printed as `figure`.

    Args:
        n: number of cases.
        figure: a printed figure other than 0, which any degenerate matrix would also give.
        positives: of the reference, when known.

    Returns:
        `(matrices, 4)`, in the order of reference positives, predicted positives and tp.
    """
    if n < 2:
        raise DataError(f"a figure of {n} cases has no correlation: give N of 2 or more")
    p, q = _margins(n, positives)
    spread, base = np.sqrt(p * (n - p) * q * (n - q) * 1.0) / 100, p * q
    first = np.ceil((figure.low * spread + base) / n - SLACK).astype(int)
    last = np.floor((figure.high * spread + base) / n + SLACK).astype(int)
    first, last = np.maximum(first, np.maximum(0, p + q - n)), np.minimum(last, np.minimum(p, q))
    found = []
    for step in range(max(int((last - first).max()) + 1, 0)):
        i, j = np.nonzero(first + step <= last)
        reference, predicted, tp = p[i, 0], q[0, j], first[i, j] + step
        found.append(np.stack([tp, n - reference - predicted + tp, predicted - tp, reference - tp], axis=1))
    every = np.concatenate(found) if found else np.zeros((0, 4), int)
    return every[np.lexsort((every[:, 0], every[:, 0] + every[:, 2], every[:, 0] + every[:, 3]))]


def closest(n: int, figure: Printed) -> tuple[float, Ints]:
    """Return the attainable MCC × 100 of `n` cases nearest to the figure, and its `(tp, tn, fp, fn)`."""
    p, q = _margins(n, None)
    spread = np.sqrt(p * (n - p) * q * (n - q) * 1.0) / 100
    best: tuple[float, float, Ints] | None = None
    for rounding in (np.floor, np.ceil):
        tp = rounding((figure.value * spread + p * q) / n).astype(int)
        tp = np.clip(tp, np.maximum(0, p + q - n), np.minimum(p, q))
        values = coefficient(n, p, q, tp)
        i, j = np.unravel_index(int(np.abs(values - figure.value).argmin()), values.shape)
        t, reference, predicted = int(tp[i, j]), int(p[i, 0]), int(q[0, j])
        distance = float(abs(values[i, j] - figure.value))
        if best is None or distance < best[0]:
            matrix = np.array([t, n - reference - predicted + t, predicted - t, reference - t])
            best = (distance, float(values[i, j]), matrix)
    assert best is not None
    return best[1], best[2]


def nearest_n(n: int, figure: Printed, reach: int = 50) -> tuple[int, Ints] | None:
    """Return the number of cases within `reach` of `n` that gives the figure, and how; the smaller first."""
    for distance in range(reach + 1):
        for other in sorted({n - distance, n + distance}):
            if other >= 2 and len(found := matrices(other, figure)):
                return other, found
    return None


def distinct(found: Ints) -> Ints:
    """Return matrices up to exchange of classes and of reference and prediction: the one with fewer positives.

    MCC is the same for all of them; `fp <= fn` and `tp <= tn` in what is returned.
    """
    if not len(found):
        return found
    ordered = np.stack(
        [
            np.minimum(found[:, 0], found[:, 1]),
            np.maximum(found[:, 0], found[:, 1]),
            np.minimum(found[:, 2], found[:, 3]),
            np.maximum(found[:, 2], found[:, 3]),
        ],
        axis=1,
    )
    return np.unique(ordered, axis=0)


def _margins(n: int, positives: int | None) -> tuple[Ints, Ints]:
    p = np.arange(1, n) if positives is None else np.array([positives])
    return p[:, None], np.arange(1, n)[None, :]
