"""Tables and figures of a profile: each cohort gets its table, or a sentence on what it lacks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from axspa_lib.tables.lesion_size import NONE

from axspa_lib import tables
from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis import results as diagnosis_results
from axspa_lib.diagnosis.rules import KEY, ensemble_vote, every_half_slice, patient_results
from axspa_lib.stats import mcc_score
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.results import Run
from axspa_lib.tables import rates as performance
from axspa_lib.tables import results as paper_tables


class Stored:
    """Run of plain tables: what `Run` reads from disk, for two cohorts of twelve patients, three members."""

    def __init__(
        self, cohorts: tuple[str, ...] = ("phantom-desir", "phantom-asas"), readers: tuple[str, ...] = tuple("123")
    ):
        self.study = SimpleNamespace(
            cohorts=cohorts,
            training_cohort=cohorts[0],
            diagnosis=SimpleNamespace(bootstrap=60),
            experiments=("all_included", "no_clahe", "only_manually"),
        )
        self.kind, self.written = "phantom", {}
        self._tables = {name: self._draw(place, readers) for place, name in enumerate(cohorts)}

    def _draw(self, seed, readers):
        rng = np.random.default_rng(seed)
        names = [f"p{i:02d}" for i in range(12)]
        grid = every_half_slice(pd.DataFrame({"patient": names, "slices": 3}))
        truth = rng.random(len(grid)) < np.repeat(rng.beta(0.5, 1, 12), 6)
        readings = pd.concat(
            [grid.assign(reader=r, inflammation=np.where(rng.random(len(grid)) < 0.9, truth, ~truth).astype(int))
             for r in readers]
        )  # fmt: skip
        ill = np.repeat(truth.reshape(12, 6).sum(axis=1) >= 2, len(readers))
        opinions = pd.DataFrame(
            {"patient": np.repeat(names, len(readers)), "reader": list(readers) * 12,
             "asas_positive": np.where(rng.random(len(ill)) < 0.85, ill, ~ill).astype(int)}
        )  # fmt: skip
        members = {}
        for member in range(3):
            mark = np.where(rng.random(len(grid)) < 0.8, truth, ~truth).astype(int)
            members[member] = grid.assign(
                boxes=1,
                inflamed=mark,
                positive=mark,
                correct_count=True,
                p_inflamed=0.5 * mark + 0.45 * rng.random(len(grid)),
            )
        people = pd.DataFrame({"patient": names, "manufacturer": ["GE", "Philips", "Siemens"] * 4})
        cohort = SimpleNamespace(half_slices=readings.reset_index(drop=True), opinions=opinions, participants=people)
        return SimpleNamespace(cohort=cohort, members=members, grid=grid, truth=truth)

    def cohort(self, name=None):
        return self._tables[name or self.study.training_cohort].cohort

    def evaluated(self, name=None, experiment="all_included"):
        return self._tables[name or self.study.training_cohort].grid.assign(joint=True)

    def seeds(self, experiment="all_included"):
        return {"all_included": [0, 1, 2], "only_manually": [1]}.get(experiment, [])

    def half_slices(self, name=None, experiment="all_included"):
        members = self._tables[name or self.study.training_cohort].members
        return {seed: members[(seed + (experiment != "all_included")) % 3] for seed in self.seeds(experiment)}

    def patients(self, name=None, experiment="all_included"):
        return {seed: patient_results(table) for seed, table in self.half_slices(name, experiment).items()}

    def all_patients(self):
        names = [name for name in self.study.experiments if self.seeds(name)]
        return {cohort: {name: self.patients(cohort, name) for name in names} for cohort in self.study.cohorts}

    def training_sizes(self, names):
        return [(name, {"all_included": 60.0, "only_manually": 14.0}[name]) for name in names]

    def true_lesions(self, cohort=None):
        part = self._tables[self.study.training_cohort]
        rows = part.grid[part.truth].rename(columns={"slice": "first_slice"})
        return rows.assign(last_slice=rows["first_slice"], type="oedema", volume_mm3=np.arange(1, len(rows) + 1) * 10.0)

    def write_table(self, name, table):
        self.written[name] = table


@pytest.fixture(autouse=True)
def from_plain_tables(monkeypatch):
    """Let the readers of results take what a `Stored` holds; a real `Run` is read from disk."""
    readers = {
        detector_results: ("evaluated", "seeds", "training_sizes"),
        diagnosis_results: ("half_slices", "patients", "all_patients", "true_lesions"),
    }

    def delegate(name, original):
        return lambda run, *a, **k: getattr(run, name)(*a, **k) if isinstance(run, Stored) else original(run, *a, **k)

    for module, names in readers.items():
        for name in names:
            monkeypatch.setattr(module, name, delegate(name, getattr(module, name)))


@pytest.fixture
def stored():
    return Stored()


def test_each_cohort_gets_its_tables(stored):
    one = paper_tables.paper_table(stored, 1, "phantom-desir")
    other = paper_tables.paper_table(stored, 1, "phantom-asas")
    three = paper_tables.paper_table(stored, 3, "phantom-asas")
    assert set(stored.written) == {"table1", "table1_phantom-asas", "table3"}
    assert one.cells["published"].notna().any() and other.cells["published"].isna().all(), "the paper has no such table"
    assert "paper\u00a076.34" in one.style().to_html() and "PHANTOM, phantom-asas" in other.style().to_html()
    vote = ensemble_vote(diagnosis_results.patients(stored, "phantom-asas")).set_index("patient")["positive"]
    said = stored.cohort("phantom-asas").opinions.groupby("patient")["asas_positive"].mean() > 0.5
    expected = mcc_score(said.loc[vote.index].astype(int), vote)
    value, low, high, n = three.figure_of("Consensus", "ensembling")
    assert value == pytest.approx(expected) and low <= value <= high and n == 12
    assert three.text_of("Consensus", "ensembling") == f"{value:.2f} [{low:.2f}, {high:.2f}] (N = 12)"


@pytest.mark.parametrize(
    ("number", "readers", "sentence"),
    [
        (1, ("1",), "Table 1 needs half-slices read by two readers or more, and phantom-desir has 1."),
        (2, ("1",), "Table 2 needs diagnoses of the patients by two readers or more, and phantom-desir has 1."),
    ],
)
def test_a_cohort_of_one_reader_gets_a_sentence(number, readers, sentence):
    found = paper_tables.paper_table(Stored(("phantom-desir",), readers), number, "phantom-desir")
    assert found.lacks == sentence and sentence in found.style().to_html()
    assert found.text_of("mcc", "ensembling") == "not measured" and found.figure_of("mcc", "ensembling") is None


def test_what_a_profile_lacks_is_said(stored, monkeypatch):
    alone = Stored(("desir",))
    assert paper_tables.second_cohort(alone) is None and paper_tables.second_cohort(stored) == "phantom-asas"
    assert paper_tables.paper_table(alone, 3, None).lacks == "Table 3 needs a second cohort, and this profile has none."
    monkeypatch.setattr(stored, "seeds", lambda experiment="all_included": [])
    assert "needs a trained detector" in paper_tables.paper_table(stored, 1, "phantom-desir").lacks
    nobody = Stored(("desir",))
    nobody.cohort().opinions = nobody.cohort().opinions.iloc[:0]
    assert "diagnoses of the patients by two readers or more, and desir has none" in (
        paper_tables.paper_table(nobody, 2, "desir").lacks
    )
    assert paper_tables.table4(nobody).lacks.startswith("Table 4 needs a cohort with diagnoses of two readers")


def test_a_real_cohort_is_never_called_a_phantom():
    lab = Stored(("desir",))
    lab.kind = "real"
    html = paper_tables.paper_table(lab, 2, "desir").style().to_html()
    assert "REAL MRI, desir" in html and "PHANTOM" not in html and "paper\u00a089.06" in html


def test_the_kind_follows_from_the_profile():
    assert Run("quick").kind == "phantom" and Run("public").kind == "real"


def test_lesions_of_real_scans_are_not_known(tmp_path, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    with pytest.raises(MissingResultError, match="the true lesions of vhi are not known"):
        diagnosis_results.true_lesions(Run("public"))
    assert performance.by_lesion_size(Run("public")) is None


def test_table4_and_its_rows(stored):
    found = paper_tables.table4(stored)
    assert set(found.cells["column"]) == {"phantom-DESIR", "phantom-ASAS"} and set(found.cells["row"]) == {
        "All included",
        "Only manually",
    }
    rows = paper_tables.experiment_rows(stored)
    assert rows == [
        ("All included", "–", "–", 60, 3),
        ("Only manually", "only patients outlined by hand", "increment: manual_only = True", 14, 1),
    ]


def test_rates_and_kappas_are_those_of_the_cases(stored):
    rates = performance.rates(stored).set_index(["of", "rate"])["value"]
    cases = diagnosis_results.cases_by_level(stored)
    for level, n in ((diagnosis_results.HALF, 72), (diagnosis_results.PATIENT, 12)):
        part = cases[level]
        hits = part.loc[part["reference"] == 1, "prediction"].mean()
        assert rates[f"phantom-DESIR, {level} (n = {n})", "sensitivity"] == pytest.approx(hits)
    wide = performance.wide(performance.rates(stored), "of")
    assert list(wide[""]) == list(dict.fromkeys(performance.rates(stored)["of"])) and len(wide) == 4
    shown, pairs = performance.kappas(stored)
    cohen = pairs[(pairs["of"] == "phantom-ASAS, patients") & (pairs["measure"] == "Cohen's kappa")]["value"]
    row = shown.set_index("").loc["phantom-ASAS, patients"]
    assert row["pairs of readers: Cohen's kappa"] == f"{cohen.min():.2f} to {cohen.max():.2f}" and len(cohen) == 3


def test_undefined_rates_say_so():
    table = pd.DataFrame({"of": ["x"], "rate": ["sensitivity"], "value": [np.nan], "low": [np.nan], "high": [np.nan]})
    assert performance.wide(table, "of").iloc[0]["sensitivity"] == "no such case"


def test_curves_of_the_scores(stored):
    roc, precision_recall, left, right = diagnosis_results.curves(stored)
    assert (
        set(roc)
        == set(precision_recall)
        == set(left)
        == set(right)
        == {diagnosis_results.HALF, diagnosis_results.PATIENT}
    )
    cases = diagnosis_results.cases_by_level(stored)[diagnosis_results.HALF]
    inflamed, healthy = (cases.loc[cases["reference"] == value, "score"].to_numpy() for value in (1, 0))
    order = (inflamed[:, None] > healthy).mean() + 0.5 * (inflamed[:, None] == healthy).mean()
    assert roc[diagnosis_results.HALF].area.value == pytest.approx(order)


def test_groups_hold_every_case(stored):
    found = performance.by_group(stored)
    assert [table["n"].sum() for table in found.values()] == [72, 72]
    assert found["scanner"]["group"].tolist() == ["GE", "Philips", "Siemens"]
    assert found["position among the slices read"]["group"].tolist() == list(diagnosis_results.THIRDS)
    by_size = performance.by_lesion_size(stored)
    inside = by_size[by_size["group"] != NONE].drop_duplicates("group")["n"].sum()
    assert inside == stored._tables["phantom-desir"].truth.sum() and by_size.drop_duplicates("group")["n"].sum() == 72


def test_the_learning_curve_compares_as_many_members(stored):
    curve = performance.learning_curve(stored)
    assert (
        curve["patients"].tolist() == [14, 60, 14, 60]
        and curve["series"].tolist() == ["phantom-DESIR"] * 2 + ["phantom-ASAS"] * 2
    )
    one = {1: diagnosis_results.half_slices(stored)[1]}
    cells = tables.table1_cells(stored.cohort().half_slices, one, only=detector_results.evaluated(stored)[KEY], n=20)
    expected = cells[(cells["row"] == "Consensus") & (cells["column"] == "ensembling")]["value"].iloc[0] / 100
    assert curve.loc[1, "value"] == pytest.approx(expected), "of seed 1 only, the one that both rows have"


def test_diagnoses_in_words(stored):
    vote = ensemble_vote(diagnosis_results.patients(stored))
    shown = diagnosis_results.diagnoses(vote, stored.cohort().opinions, count=5)
    assert len(shown) == 5 and set(shown["vote: positive"]) <= {"yes", "no"}
    assert shown["members who say positive"].tolist() == [f"{100 * share:.0f} %" for share in vote["votes"].head(5)]
