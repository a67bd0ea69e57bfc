"""Each cohort gets its table, or a sentence on what it lacks; members that a reader leaves out do not count."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis.results import CohortResults
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.results import Run
from axspa_lib.tables.experiments import experiment_rows
from axspa_lib.tables.rates import format_rates
from axspa_lib.tables.results import cohorts_of, format_cell, interval_of_cell, lacks, of_paper, present_table
from axspa_lib.tables.table2 import table2


@pytest.fixture
def run(monkeypatch):
    """The stored quick run, of which nothing may be written."""
    monkeypatch.setenv("AXSPA_RUNS", str(Path(__file__).parents[2] / "book" / "stored"))
    written = {}
    monkeypatch.setattr(Run, "write_table", lambda self, name, table: written.update({name: table}))
    found = Run("quick")
    found.__dict__["written"] = written
    return found


@pytest.fixture
def opinions():
    rows = [(p, r, v) for p, values in {"a": (1, 1), "b": (0, 1), "c": (0, 0)}.items()
            for r, v in zip("12", values, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=["patient", "reader", "asas_positive"])


def test_a_table_is_stored_under_its_name_and_marked(run, opinions):
    own, second = cohorts_of(run)
    cells = table2(opinions, n_boot=20)
    html = present_table(run, 2, cells, own).to_html()
    assert "Table 2 – PHANTOM, phantom-desir: agreement on patients" in html and "paper\u00a089.06" in html
    present_table(run, 1, cells.assign(table=1, published=None), second)
    assert set(run.written) == {"table2", "table1_phantom-asas"}
    assert of_paper(1, own) and not of_paper(1, second) and of_paper(3, second)


def test_a_real_cohort_is_never_called_a_phantom(run, opinions):
    lab = Run("public")
    html = present_table(lab, 2, table2(opinions, n_boot=20), cohorts_of(lab)[0]).to_html()
    assert "REAL MRI, vhi" in html and "PHANTOM" not in html


def test_cells_are_quoted_with_interval_and_number(opinions):
    cells = table2(opinions, n_boot=20)
    found = interval_of_cell(cells, "mcc", "1 vs 2")
    assert found.value == pytest.approx(0.5) and found.n == 3 and found.low <= found.value <= found.high
    assert format_cell(cells, "mcc", "1 vs 2") == f"0.50 [{found.low:.2f}, {found.high:.2f}] (N = 3)"
    assert format_cell(cells, "mcc", "M-RCNN") == format_cell(None, "mcc", "M-RCNN") == "not measured"


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (1, "Table 1 needs half-slices read by two readers or more, and phantom-desir has 1."),
        (2, "Table 2 needs diagnoses of the patients by two readers or more, and phantom-desir has none."),
    ],
)
def test_a_cohort_without_two_readers_gets_a_sentence(run, number, sentence):
    own = cohorts_of(run)[0]
    own.__dict__["half_slices"] = own.half_slices.query("reader == '1'")
    own.__dict__["opinions"] = own.opinions.iloc[:0]
    assert lacks(number, own) == sentence
    assert sentence in present_table(run, number, None, own).to_html() and not run.written


def test_what_a_profile_lacks_is_said(run, monkeypatch):
    own, second = cohorts_of(run)
    assert not any(lacks(number, cohort) for number in (1, 2, 3) for cohort in (own, second))
    missing = CohortResults(run, "")
    assert lacks(3, missing) == "Table 3 needs a second cohort, and this profile has none."
    assert "Table 4 needs a cohort with diagnoses of two readers" in present_table(run, 4, None).to_html()
    monkeypatch.setattr(detector_results, "seeds", lambda run, experiment="all_included": [])
    assert "needs a trained detector" in lacks(1, own)


def test_members_may_be_left_out(run):
    everyone, some = CohortResults(run, "phantom-desir"), CohortResults(run, "phantom-desir", (0, 2))
    assert list(everyone.predictions()) == [0, 1, 2] and list(some.predictions()) == [0, 2]
    assert CohortResults(run, "phantom-desir", (1,)).experiments == ["all_included"]
    assert everyone.experiments == some.experiments == list(run.study.experiments)
    with pytest.raises(ConfigError, match="parameter members: choose among 0, 1, 2"):
        CohortResults(run, "phantom-desir", (7,)).predictions()


def test_rows_of_the_experiment_table_say_what_differs(run):
    rows = {row[0]: row[1:] for row in experiment_rows(run)}
    assert rows["All included"][:2] == ("–", "–") and rows["All included"][-1] == 3
    assert rows["Only manually"][:2] == ("only patients outlined by hand", "increment: manual_only = True")
    assert rows["Only manually"][2] < rows["All included"][2]


def test_undefined_rates_say_so():
    table = pd.DataFrame({"of": ["x"], "rate": ["sensitivity"], "value": [None], "low": [None], "high": [None]})
    assert format_rates(table, "of").iloc[0]["sensitivity"] == "no such case"


def test_the_kind_follows_from_the_profile():
    assert Run("quick").kind == "phantom" and Run("public").kind == "real"
