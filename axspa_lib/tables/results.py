"""Store, show and quote the tables of a cohort, or say in a sentence what the cohort lacks for one."""

from __future__ import annotations

import pandas as pd
from pandas.io.formats.style import Styler

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis.results import CohortResults
from axspa_lib.stats import Interval
from axspa_lib.study.formatting import listing, with_interval
from axspa_lib.study.results import Run
from axspa_lib.tables.cells import style

TITLES = {
    1: "agreement on half-slices",
    2: "agreement on patients",
    3: "agreement on patients of the second cohort",
    4: "ablations",
}
#: The cohort of the paper that each table is of.
PAPER_COHORT = {1: "desir", 2: "desir", 3: "asas"}


def cohorts_of(run: Run, members: tuple[int, ...] = ()) -> list[CohortResults]:
    """Return the cohorts of a profile: the one trained on, then those only tested on."""
    return [CohortResults(run, name, members) for name in run.study.cohorts]


def of_paper(number: int, cohort: CohortResults) -> bool:
    """Tell whether published figures stand beside a table of a cohort: of the paper's cohort or its phantom."""
    return bool(cohort.name) and cohort.name.endswith(PAPER_COHORT[number])


def lacks(number: int, cohort: CohortResults) -> str:
    """State why a table cannot be made of a cohort; empty where it can."""
    if not cohort.name:
        what = "a second cohort" if number == 3 else "a cohort with diagnoses of two readers"
        return f"Table {number} needs {what}, and this profile has none."
    if not detector_results.seeds(cohort.run):
        return f"Table {number} needs a trained detector, and this profile has none yet."
    readings = cohort.half_slices if number == 1 else cohort.opinions
    what = "half-slices read" if number == 1 else "diagnoses of the patients"
    readers = readings["reader"].astype(str).nunique()
    if readers < 2:
        return f"Table {number} needs {what} by two readers or more, and {cohort.name} has {readers or 'none'}."
    return ""


def present_table(run: Run, number: int, cells: pd.DataFrame | None, *cohorts: CohortResults) -> Styler:
    """Store a table and return it in the paper's layout; a sentence on what is lacking where there is none."""
    if cells is None:
        return listing([[lacks(number, (*cohorts, CohortResults(run, ""))[0])]], [f"Table {number}"])
    first = cohorts[0]
    papers = number == 4 or first.name == run.study.training_cohort or of_paper(number, first)
    run.write_table(f"table{number}" if papers else f"table{number}_{first.name}", cells)
    mark, names = "PHANTOM" if run.kind == "phantom" else "REAL MRI", " and ".join(c.name for c in cohorts)
    return style(cells, f"Table {number} – {mark}, {names}: {TITLES[number]} (MCC × 100)")


def interval_of_cell(cells: pd.DataFrame | None, row: str, column: str) -> Interval | None:
    """Return the MCC (not × 100) of a cell; None where the table has no such cell."""
    if cells is None or (found := cells[(cells["row"] == row) & (cells["column"] == column)]).empty:
        return None
    value, low, high = found.iloc[0][["value", "low", "high"]] / 100
    return Interval(value, low, high, int(found.iloc[0]["n"]), int(found.iloc[0]["patients"]))


def format_cell(cells: pd.DataFrame | None, row: str, column: str) -> str:
    """Format a cell, `0.77 [0.44, 0.90] (N = 24)`; say so where it was not measured."""
    found = interval_of_cell(cells, row, column)
    return f"{with_interval(found.value, found.low, found.high)} (N = {found.n})" if found else "not measured"
