"""A table of the paper as cells: one row per printed figure, with ours, its interval, n and the published one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.io.formats.style import Styler

from axspa_lib.diagnosis.readings import CONSENSUS, ENSEMBLE, MODEL
from axspa_lib.stats.counts import Floats, confusion, mcc_by_block, mcc_counts
from axspa_lib.stats.resampling import bootstrap_by_patient
from axspa_lib.study.published import published

#: Columns of a table of cells; value, sd, low, high, published in MCC × 100.
CELL_COLUMNS = ("table", "row", "column", "group", "value", "sd", "k", "low", "high", "n", "patients", "failures",
                "published", "published_sd", "published_n")  # fmt: skip

#: A column of the model against one row: its name, counts `(cases, 4 k)`, patients, share of failures.
Answer = tuple[str, Floats, ArrayLike, float]


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
    """Return one cell: MCC × 100 of counts `(cases, 4 k)`, the mean ± sd (of a sample) over the k members."""
    array = np.asarray(counts, float)
    each = mcc_by_block(array.sum(axis=0))
    interval = bootstrap_by_patient(mcc_counts, array, patients, n, seed, "jeffreys")
    return {
        "table": table,
        "row": row,
        "column": column,
        "group": group,
        "value": 100 * interval.value,
        "sd": 100 * float(each.std(ddof=1)) if len(each) > 1 and interval.n else np.nan,
        "k": len(each) if group in (MODEL, ENSEMBLE) else pd.NA,
        "low": 100 * interval.low,
        "high": 100 * interval.high,
        "n": interval.n,
        "patients": interval.patients,
        "failures": failures,
    }


def agreement_cells(
    table: int, wide: pd.DataFrame, names: Sequence[str], answers: Callable[[str], Iterable[Answer]], n: int, seed: int
) -> list[dict[str, object]]:
    """Return the cells of Table 1 or 3: pairs of readers, consensus against readers, and all against the models.

    Args:
        table: its number.
        wide: `patient`, a column of 0 and 1 per reader and for the consensus.
        names: readers in order.
        answers: columns of the model against a reader or the consensus.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    cells = []
    for row in [*names, CONSENSUS]:
        for column in names if row == CONSENSUS else names[names.index(row) + 1 :]:
            both = wide.dropna(subset=[row, column])
            group = CONSENSUS if row == CONSENSUS else "readers"
            counts = confusion(both[row], both[column])
            cells.append(cell(table, row, column, group, counts, both["patient"], n=n, seed=seed))
        for column, counts, patients, failures in answers(row):
            cells.append(cell(table, row, column, column, counts, patients, n=n, seed=seed, failures=failures))
    return cells


def assemble(table: int, cells: Sequence[dict[str, object]], compare: bool = True) -> pd.DataFrame:
    """Return cells as a table with `CELL_COLUMNS`, the published figure of the same row and column beside each.

    A cell may name its column of the paper as `paper_column`, where its own is called otherwise.
    """
    ours = pd.DataFrame(list(cells))
    theirs = ours["paper_column"].fillna(ours["column"]) if "paper_column" in ours else ours["column"]
    paper = published(table).set_index(["row", "column"])
    index = pd.MultiIndex.from_arrays([ours["row"], theirs])
    for name, source in (("published", "value"), ("published_sd", "sd"), ("published_n", "n")):
        figures = paper[source].reindex(index).to_numpy() if compare else np.nan
        ours[name] = pd.to_numeric(pd.Series(figures, index=ours.index))
    return ours[[*CELL_COLUMNS, *(name for name in ours.columns if name not in CELL_COLUMNS)]]


def style(cells: pd.DataFrame, caption: str = "") -> Styler:
    """Return the table as HTML in the paper's arrangement: best figure of each group in bold, worst underlined.

    Groups are those of the paper: pairs of readers, consensus against readers, each column of the model. Below each
    figure stand its interval and n, and the published figure.
    """
    number, decimals = int(cells["table"].iloc[0]), _decimals(cells)
    rows, columns = list(dict.fromkeys(cells["row"])), list(dict.fromkeys(cells["column"]))
    order = [*rows, MODEL, ENSEMBLE]  # columns as the rows of the same name, those of the model last
    columns = sorted(columns, key=lambda name: order.index(name) if name in order else 0)
    members = cells.loc[cells["group"] == MODEL, "k"].max()
    heads = {name: f"{name} (k={members})" if name == MODEL else name for name in columns}
    wide = pd.DataFrame("-", index=pd.Index(rows), columns=[heads[name] for name in columns])
    tags = {"best": "<b>{}</b>", "worst": "<u>{}</u>", "": "{}"}
    for mark, c in zip(marked(cells), cells.to_dict("records"), strict=True):
        text = tags[mark].format(_figure(c["value"], c["sd"], decimals)).replace(" ", "\u00a0")
        if c["n"]:  # only intervals may break, at their comma
            count = f"n\u00a0=\u00a0{c['n']}" + (f"\u00a0(k={c['k']})" if number == 4 else "")
            text += f"<br><small>{_range(c['low'], c['high'], decimals)}<br>{count}</small>"
        if pd.notna(c["published"]):
            printed = f"paper {escape(_printed(c))}".replace(" ", "\u00a0")
            text += f"<br><small>{printed}</small>"
        wide.loc[c["row"], heads[c["column"]]] = text
    styler = wide.style.set_caption(caption or f"Table {number} (MCC × 100, 95 % interval by patient)")
    return styler.set_table_styles([{"selector": kind, "props": "text-align: center"} for kind in ("td", "th")])


def marked(cells: pd.DataFrame) -> pd.Series:
    """Return `best`, `worst` or nothing for each cell, within its group and at the printed precision."""
    rounded = cells["value"].round(_decimals(cells))
    marks = pd.Series("", index=cells.index)
    for _, group in rounded.groupby(cells["group"]):
        finite = group.dropna()
        if finite.nunique() > 1:
            marks[finite.index[finite == finite.min()]] = "worst"
            marks[finite.index[finite == finite.max()]] = "best"
    return marks


def _decimals(cells: pd.DataFrame) -> int:
    return 0 if int(cells["table"].iloc[0]) == 4 else 2


def _figure(value: float, sd: float, decimals: int) -> str:
    if not np.isfinite(value):
        return "n/a"
    return f"{value:.{decimals}f}" + (f" ± {sd:.{decimals}f}" if np.isfinite(sd) else "")


def _range(low: float, high: float, decimals: int) -> str:
    low, high = round(low, decimals) + 0.0, round(high, decimals) + 0.0  # no minus before a zero
    return f"[{low:.{decimals}f}, {high:.{decimals}f}]" if np.isfinite(low) and np.isfinite(high) else "-"


def _printed(c: dict) -> str:
    """Return the published figure of a cell as printed."""
    column = c["column"] if pd.isna(c.get("paper_column", np.nan)) else c["paper_column"]
    paper = published(int(c["table"])).set_index(["row", "column"]).loc[(c["row"], column)]
    return f"{paper['value']} ± {paper['sd']}" if paper["sd"] else str(paper["value"])
