"""Tables computed from the stored predictions are the stored ones, for every profile that is kept in `book/stored/`."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from axspa_lib.detector.results import training_sizes
from axspa_lib.diagnosis.readings import HALF, PATIENT, half_slice_cases, patient_cases
from axspa_lib.diagnosis.results import choices, true_lesions
from axspa_lib.diagnosis.rules import half_slice_results, patient_results
from axspa_lib.diagnosis.sweeps import vote_kinds
from axspa_lib.diagnosis.votes import ensemble_vote
from axspa_lib.findings.claims import findings
from axspa_lib.findings.evidence import evidence_of
from axspa_lib.study.formatting import heading
from axspa_lib.study.results import Run
from axspa_lib.tables import rates
from axspa_lib.tables.experiments import common_members, experiment_table, learning_curve
from axspa_lib.tables.results import cohorts_of, of_paper
from axspa_lib.tables.table1 import table1
from axspa_lib.tables.table2 import table2
from axspa_lib.tables.table3 import table3
from axspa_lib.tables.table4 import table4

STORED = Path(__file__).parents[2] / "book" / "stored"


@pytest.fixture(autouse=True, scope="module")
def stored():
    """Read results from what comes with the repository, whatever this machine has computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AXSPA_RUNS", str(STORED))
        yield


class Profile:
    """Half-slices and patients of a stored profile by cohort and experiment, with the study's own choices."""

    def __init__(self, name: str):
        self.run = Run(name)
        self.chosen = choices(self.run.study)
        self.cohorts = cohorts_of(self.run)
        self.halves = {
            c.name: {row: half_slice_results(c.predictions(row), c.evaluated(row), self.chosen.score_threshold)
                     for row in c.experiments}
            for c in self.cohorts
        }  # fmt: skip
        self.patients = {
            cohort: {row: patient_results(members, self.chosen.min_positive) for row, members in rows.items()}
            for cohort, rows in self.halves.items()
        }

    def table1(self, cohort, compare):
        return table1(
            cohort.half_slices,
            self.halves[cohort.name]["all_included"],
            patients=cohort.evaluated()["patient"].unique(),
            only=cohort.with_joint,
            n_boot=self.chosen.n_boot,
            compare=compare,
        )

    def cases(self):
        return {
            c.name: {
                HALF: half_slice_cases(c.half_slices, self.halves[c.name]["all_included"], c.with_joint),
                PATIENT: patient_cases(ensemble_vote(self.patients[c.name]["all_included"]), c.opinions),
            }
            for c in self.cohorts
        }


@pytest.fixture(scope="module")
def quick(stored):
    return Profile("quick")


@pytest.fixture(scope="module")
def public(stored):
    return Profile("public")


def check(found: pd.DataFrame, profile: str, name: str) -> None:
    """Compare with a stored table: figures and p values digit by digit, ends of intervals but for their last bits.

    An interval rests on a matrix product of fractional weights, whose last bits depend on the processor.
    """
    path = STORED / profile / "tables" / f"{name}.csv"
    expected = pd.read_csv(path)
    again = pd.read_csv(StringIO(found.to_csv(index=False)))
    ends = [column for column in expected if column.endswith(("low", "high"))]
    pd.testing.assert_frame_equal(again.drop(columns=ends), expected.drop(columns=ends), check_exact=True)
    pd.testing.assert_frame_equal(again[ends], expected[ends], check_exact=False, rtol=1e-12, atol=1e-12)


def test_table1_of_quick(quick):
    own, second = quick.cohorts
    check(quick.table1(own, of_paper(1, own)), "quick", "table1")
    check(quick.table1(second, of_paper(1, second)), "quick", "table1_phantom-asas")


def test_tables_2_and_3_of_quick(quick):
    own, second = quick.cohorts
    members = {name: rows["all_included"] for name, rows in quick.patients.items()}
    check(table2(own.opinions, members[own.name], n_boot=quick.chosen.n_boot), "quick", "table2")
    check(table3(second.opinions, members[second.name], n_boot=quick.chosen.n_boot), "quick", "table3")


def test_table4_of_quick(quick):
    results = {heading(name): rows for name, rows in quick.patients.items()}
    opinions = {heading(cohort.name): cohort.opinions for cohort in quick.cohorts}
    check(table4(results, opinions, n_boot=quick.chosen.n_boot), "quick", "table4")


def test_what_stands_beside_the_tables_of_quick(quick):
    n, own = quick.chosen.n_boot, quick.cohorts[0]
    cases = quick.cases()
    check(rates.rates(cases, n), "quick", "rates")
    kappas, pairs = rates.kappas(quick.cohorts, cases, n)
    check(pairs, "quick", "agreement")
    cohen = pairs[(pairs["of"] == "phantom-ASAS, patients") & (pairs["measure"] == "Cohen's kappa")]["value"]
    shown = kappas.set_index("").loc["phantom-ASAS, patients", "pairs of readers: Cohen's kappa"]
    assert shown == f"{cohen.min():.2f} to {cohen.max():.2f}"
    check(vote_kinds(quick.halves[own.name]["all_included"], own.opinions, n=n), "quick", "votes")


def test_groups_and_sizes_hold_every_case_of_quick(quick):
    cases = quick.cases()["phantom-desir"][HALF]
    groups = rates.groups(cases, quick.run.cohort().participants, n=20)
    assert [table["n"].sum() for table in groups.values()] == [len(cases)] * 2
    assert groups["position among the slices read"]["group"].tolist() == list(rates.THIRDS)
    sizes = rates.lesion_size(cases, {"ensemble": "marked"}, true_lesions(quick.run), n=20)
    assert sizes["n"].sum() == len(cases) and len(sizes) == 5


def test_learning_curve_of_quick(quick):
    names = ("only_manually", "all_included")
    parts = []
    for cohort in quick.cohorts:
        common = common_members(quick.halves[cohort.name], names)
        assert [list(members) for members in common.values()] == [[0], [0]], "as many members in both rows"
        table = experiment_table(cohort.half_slices, common, cohort.with_joint, quick.chosen.n_boot)
        curve = learning_curve(table, training_sizes(quick.run, names), "patients")
        parts.append(curve.assign(series=heading(cohort.name)))
    check(pd.concat(parts, ignore_index=True), "quick", "learning_curve")


def test_findings_of_both_profiles(quick, public):
    check(findings(evidence_of(quick.run), evidence_of(public.run)), "quick", "findings")


def test_tables_of_public(public):
    (own, *_), n = public.cohorts, public.chosen.n_boot
    members = public.halves[own.name]
    cells = table1(own.half_slices, members["all_included"], only=own.with_joint, n_boot=n, compare=False)
    check(cells, "public", "real_table1")
    table = experiment_table(own.half_slices, members, own.with_joint, n)
    check(table, "public", "real_experiments")
    sizes = training_sizes(public.run, ("one_subject", "two_subjects", "all_included"))
    check(learning_curve(table, sizes), "public", "real_learning_curve")


def test_lesions_of_real_scans_are_not_known(public):
    assert true_lesions(public.run) is None and rates.lesion_size(pd.DataFrame(), {}, None) is None
