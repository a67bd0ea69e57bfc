"""Tables 1 to 4 of a profile's cohorts from its stored results, or a sentence on what a cohort lacks for one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from axspa_lib import tables
from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis import results as diagnosis_results
from axspa_lib.study.config import experiments
from axspa_lib.study.formatting import dotted, heading, listing, with_interval
from axspa_lib.study.results import Run
from axspa_lib.tables.cells import CELL_COLUMNS

#: What each table compares, and the cohort of the paper that it is of.
TITLES = {
    1: "agreement on half-slices",
    2: "agreement on patients",
    3: "agreement on patients of the second cohort",
    4: "ablations",
}
PAPER_COHORT = {1: "desir", 2: "desir", 3: "asas"}


@dataclass(frozen=True)
class PaperTable:
    """One table of one cohort: its cells, or none and what the cohort lacks in a sentence."""

    number: int
    cohort: str
    kind: str
    cells: pd.DataFrame
    lacks: str = ""

    def style(self) -> Styler:
        """The table in the paper's layout; a sentence where there is none."""
        if self.lacks:
            return listing([[self.lacks]], [f"Table {self.number}"])
        mark = "PHANTOM" if self.kind == "phantom" else "REAL MRI"
        return tables.style(
            self.cells, f"Table {self.number} – {mark}, {self.cohort}: {TITLES[self.number]} (MCC × 100)"
        )

    def figure_of(self, row: str, column: str) -> tuple[float, float, float, int] | None:
        """MCC (not × 100), the ends of its interval and n of a cell; None where the table has no such cell."""
        found = self.cells[(self.cells["row"] == row) & (self.cells["column"] == column)]
        if found.empty:
            return None
        cell = found.iloc[0]
        return cell["value"] / 100, cell["low"] / 100, cell["high"] / 100, int(cell["n"])

    def text_of(self, row: str, column: str) -> str:
        """The same as text, `0.77 [0.44, 0.90] (N = 24)`; says so where it was not measured."""
        found = self.figure_of(row, column)
        return "not measured" if found is None else f"{with_interval(*found[:3])} (N = {found[3]})"


def paper_table(run: Run, number: int, cohort: str | None) -> PaperTable:
    """Table 1, 2 or 3 of a cohort, written to `tables/`; the published figures stand beside the paper's own cohort.

    Args:
        run: the results.
        number: of the table.
        cohort: None where the profile has none for it.
    """
    reason = _lacks(run, number, cohort)
    if reason or cohort is None:
        return PaperTable(number, cohort or "", run.kind, pd.DataFrame(columns=[*CELL_COLUMNS]), reason)
    data, n = run.cohort(cohort), run.study.diagnosis.bootstrap
    compare = cohort.endswith(PAPER_COHORT[number])
    if number == 1:
        evaluated = detector_results.evaluated(run, cohort)
        cells = tables.table1_cells(
            data.half_slices,
            diagnosis_results.half_slices(run, cohort),
            patients=evaluated["patient"].unique(),
            only=evaluated[evaluated["joint"]],
            n=n,
            compare=compare,
        )
    else:
        make = tables.table2_cells if number == 2 else tables.table3_cells
        cells = make(data.opinions, diagnosis_results.patients(run, cohort), n=n, compare=compare)
    name = f"table{number}" if compare or cohort == run.study.training_cohort else f"table{number}_{cohort}"
    run.write_table(name, cells)
    return PaperTable(number, cohort, run.kind, cells)


def table4(run: Run) -> PaperTable:
    """Table 4: every row of the experiment table that was trained, on every cohort with opinions of two readers."""
    given = {name: reason for name in run.study.cohorts if not (reason := _lacks(run, 2, name))}
    if not given:
        return PaperTable(4, "", run.kind, pd.DataFrame(columns=[*CELL_COLUMNS]), _lacks(run, 4, None))
    members = {
        heading(name): variants for name, variants in diagnosis_results.all_patients(run).items() if name in given
    }
    opinions = {heading(name): run.cohort(name).opinions for name in given}
    cells = tables.table4_cells(members, opinions, n=run.study.diagnosis.bootstrap)
    run.write_table("table4", cells)
    return PaperTable(4, " and ".join(given), run.kind, cells)


def second_cohort(run: Run) -> str | None:
    """The cohort that nothing was trained on, or None."""
    return run.study.cohorts[1] if len(run.study.cohorts) > 1 else None


def experiment_rows(run: Run) -> list[tuple[str, str, str, int, int]]:
    """Rows of the experiment table that were trained: label, what differs, its parameters, patients, members."""
    rows = []
    for name in (name for name in experiments() if name in run.study.experiments and detector_results.seeds(run, name)):
        label, overrides = str(experiments()[name]["label"]), experiments()[name].get("overrides", {})
        (_, patients), *_ = detector_results.training_sizes(run, [name])
        rows.append(
            (label, _in_words(overrides), dotted(overrides), round(patients), len(detector_results.seeds(run, name)))
        )
    return rows


#: Overrides of the experiment table in words; any other reads as its parameter's name and value.
_WORDS: dict[tuple[str, object], str] = {
    ("manual_only", True): "only patients outlined by hand",
    ("constant_pixel", False): "slices keep their own pixel size",
    ("remove_bias", False): "shading is not removed",
    ("local_median", False): "no median filter",
    ("clahe", False): "contrast is not equalised (CLAHE)",
    ("flip", False): "no mirroring",
    ("rotation_deg", 0): "no rotation",
}


def _in_words(overrides: dict[str, object]) -> str:
    """What nested parameters change, as text."""
    parts = []
    for name, value in overrides.items():
        if isinstance(value, dict):
            parts.append(_in_words(value))
        else:
            parts.append(_WORDS.get((name, value), f"{name.replace('_', ' ')} {value}"))
    return ", ".join(parts) or "–"


def _lacks(run: Run, number: int, cohort: str | None) -> str:
    """Why a table cannot be made of a cohort, in a sentence; empty where it can."""
    if cohort is None:
        what = "a second cohort" if number == 3 else "a cohort with diagnoses of two readers"
        return f"Table {number} needs {what}, and this profile has none."
    if not detector_results.seeds(run):
        return f"Table {number} needs a trained detector, and this profile has none yet."
    data = run.cohort(cohort)
    readings, what = (
        (data.half_slices, "half-slices read") if number == 1 else (data.opinions, "diagnoses of the patients")
    )
    readers = int(np.unique(readings["reader"].astype(str)).size)
    if readers < 2:
        return f"Table {number} needs {what} by two readers or more, and {cohort} has {readers or 'none'}."
    return ""
