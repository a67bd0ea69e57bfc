"""A table of the paper as cells: one row per printed figure, with ours, its interval, n and the published one.

A layer of its own between the computation of the figures and their appearance: `layout` gives the paper's arrangement
as a DataFrame, `style` the same as HTML with the best in bold and the worst underlined.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.io.formats.style import Styler

from axspa_lib.diagnosis.readings import ENSEMBLE, MODEL
from axspa_lib.stats import COUNTS, bootstrap_by_patient, mcc_counts
from axspa_lib.study.published import published

#: Columns of a table of cells; value, sd, low, high, published in MCC × 100.
CELL_COLUMNS = ("table", "row", "column", "group", "value", "sd", "k", "low", "high", "n", "patients", "failures",
                "published", "published_sd", "published_n")  # fmt: skip


def cell(
    table: int,
    row: str,
    column: str,
    group: str,
    counts: ArrayLike,
    patients: ArrayLike,
    *,
    n: int = 2000,
    seed: int = 0,
    failures: float = np.nan,
) -> dict[str, object]:
    """One cell: MCC × 100 of counts `(cases, 4 k)`, the mean ± sd over the k members when there are several.

    The standard deviation is that of a sample (k - 1); not a number for one member.
    """
    array = np.asarray(counts, float)
    k = array.shape[1] // len(COUNTS)
    interval = bootstrap_by_patient(mcc_counts, array, patients, n, seed, "jeffreys")
    each = mcc_counts(array.sum(axis=0).reshape(k, len(COUNTS))[:, None, :]).ravel()
    return {
        "table": table,
        "row": row,
        "column": column,
        "group": group,
        "value": 100 * interval.value,
        "sd": 100 * float(each.std(ddof=1)) if k > 1 and interval.n else np.nan,
        "k": k if group in (MODEL, ENSEMBLE) else pd.NA,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "n": interval.n,
        "patients": interval.patients,
        "failures": failures,
    }


def assemble(table: int, cells: Sequence[dict[str, object]], compare: bool = True) -> pd.DataFrame:
    """Cells as a table with `CELL_COLUMNS`, the published figure of the same row and column beside each.

    A cell may name its column of the paper as `paper_column`, where its own is called otherwise.
    """
    ours = pd.DataFrame(list(cells))
    theirs = ours["paper_column"].fillna(ours["column"]) if "paper_column" in ours else ours["column"]
    paper = published(table).set_index(["row", "column"])
    places = pd.MultiIndex.from_arrays([ours["row"], theirs])
    for name, source in (("published", "value"), ("published_sd", "sd"), ("published_n", "n")):
        figures = paper[source].reindex(places).to_numpy() if compare else np.nan
        ours[name] = pd.to_numeric(pd.Series(figures, index=ours.index))
    extra = [name for name in ours.columns if name not in CELL_COLUMNS]
    return ours[[*CELL_COLUMNS, *extra]]


def layout(cells: pd.DataFrame, show: Sequence[str] = ("ours", "95 % interval", "n", "published")) -> pd.DataFrame:
    """The paper's arrangement and rounding: rows `(row, what)`, one column per column of the paper, text in the cells.

    Args:
        cells: of one table.
        show: which of `ours`, `95 % interval`, `n`, `published` stand below each other in a row.
    """
    decimals = _decimals(cells)
    texts = {
        "ours": [_figure(c["value"], c["sd"], decimals) for _, c in cells.iterrows()],
        "95 % interval": [_range(c["low"], c["high"], decimals) for _, c in cells.iterrows()],
        "n": [_count(c) for _, c in cells.iterrows()],
        "published": [_printed(c) for _, c in cells.iterrows()],
    }
    rows, columns = _order(cells)
    heads = {name: _head(cells, name) for name in columns}
    index = pd.MultiIndex.from_product([rows, list(show)], names=["", "MCC × 100"])
    wide = pd.DataFrame("-", index=index, columns=[heads[name] for name in columns])
    for what in show:
        for row, column, text in zip(cells["row"], cells["column"], texts[what], strict=True):
            wide.loc[(row, what), heads[column]] = text
    return wide


def style(cells: pd.DataFrame, caption: str = "") -> Styler:
    """The table as HTML in the paper's arrangement: best figure of each group in bold, worst underlined.

    Groups are those of the paper: pairs of readers, consensus against readers, each column of the model. Below each
    figure stand its interval and n, and the published figure.
    """
    decimals = _decimals(cells)
    rows, columns = _order(cells)
    heads = {name: _head(cells, name) for name in columns}
    wide = pd.DataFrame("-", index=pd.Index(rows), columns=[heads[name] for name in columns])
    marks = marked(cells)
    for position, (_, c) in enumerate(cells.iterrows()):
        figure = _figure(c["value"], c["sd"], decimals)
        if marks.iloc[position]:
            tag = "b" if marks.iloc[position] == "best" else "u"
            figure = f"<{tag}>{figure}</{tag}>"
        printed = _printed(c)
        paper = f"<br><small>{_whole(f'paper {escape(printed)}')}</small>" if printed != "-" else ""
        count = _whole(f"n = {_count(c)}")
        interval = f"<br><small>{_range(c['low'], c['high'], decimals)}<br>{count}</small>"
        wide.loc[c["row"], heads[c["column"]]] = _whole(figure) + (interval if c["n"] else "") + paper
    styler = wide.style.set_caption(caption or f"Table {cells['table'].iloc[0]} (MCC × 100, 95 % interval by patient)")
    return styler.set_table_styles([{"selector": kind, "props": "text-align: center"} for kind in ("td", "th")])


def _whole(text: str) -> str:
    """Text that a narrow column does not break; only intervals may break, at their comma."""
    return text.replace(" ", "\u00a0")


def marked(cells: pd.DataFrame) -> pd.Series:
    """`best`, `worst` or nothing for each cell, within its group and at the printed precision, as in the paper."""
    rounded = cells["value"].round(_decimals(cells))
    marks = pd.Series("", index=cells.index)
    for _, group in rounded.groupby(cells["group"]):
        finite = group.dropna()
        if finite.nunique() > 1:
            marks[finite.index[finite == finite.min()]] = "worst"
            marks[finite.index[finite == finite.max()]] = "best"
    return marks


def _order(cells: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Rows as they come; columns in the order of the rows of the same name, those of the model last."""
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    place = {name: position for position, name in enumerate([*rows, MODEL, ENSEMBLE])}
    return rows, sorted(columns, key=lambda name: place.get(name, 0))


def _decimals(cells: pd.DataFrame) -> int:
    return 0 if int(cells["table"].iloc[0]) == 4 else 2


def _head(cells: pd.DataFrame, column: str) -> str:
    k = cells.loc[(cells["column"] == column) & (cells["group"] == MODEL), "k"]
    return f"{column} (k={int(k.iloc[0])})" if column == MODEL and len(k) else column


def _figure(value: float, sd: float, decimals: int) -> str:
    if not np.isfinite(value):
        return "n/a"
    return f"{value:.{decimals}f}" + (f" ± {sd:.{decimals}f}" if np.isfinite(sd) else "")


def _range(low: float, high: float, decimals: int) -> str:
    low, high = round(low, decimals) + 0.0, round(high, decimals) + 0.0  # no minus before a zero
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if np.isfinite(low) and np.isfinite(high) else "-"


def _count(c: pd.Series) -> str:
    """Cases, and in Table 4, whose rows may have fewer models than the first, the models of the ensemble."""
    return f"{int(c['n'])}" + (f" (k={int(c['k'])})" if int(c["table"]) == 4 else "")


def _printed(c: pd.Series) -> str:
    """The published figure of a cell as printed, or a dash where none stands beside it."""
    if pd.isna(c.get("published", np.nan)):
        return "-"
    column = c["paper_column"] if pd.notna(c.get("paper_column", np.nan)) else c["column"]
    paper = published(int(c["table"]))
    found = paper[(paper["row"] == c["row"]) & (paper["column"] == column)].iloc[0]
    return f"{found['value']} ± {found['sd']}" if found["sd"] else str(found["value"])
