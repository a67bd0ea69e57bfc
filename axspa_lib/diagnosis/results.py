"""Stored predictions as half-slices, patients and votes."""

from __future__ import annotations

from functools import cache

import pandas as pd

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.rules import consensus_opinion, ensemble_vote, half_slice_results, patient_results
from axspa_lib.stats import Curve, Floats, calibration, calibration_errors, precision_recall, roc
from axspa_lib.stats.bands import band
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_input

HALF, PATIENT = "half-slices", "patients"


THIRDS = ("anterior third", "middle third", "posterior third")


def diagnoses(vote: pd.DataFrame, opinions: pd.DataFrame, count: int = 8) -> pd.DataFrame:
    """The first patients with the vote and the readers' consensus, in words."""
    both = vote.merge(consensus_opinion(opinions), on="patient").head(count)
    yes = {0: "no", 1: "yes"}
    return pd.DataFrame(
        {
            "patient": both["patient"],
            "inflamed half-slices (middle member)": both["positive_rois"],
            "members who say positive": [f"{100 * share:.0f} %" for share in both["votes"]],
            "vote: positive": both["positive"].map(yes),
            "mean score": both["score"].map("{:.2f}".format),
            "readers: positive": both["asas_positive"].map(yes),
            "readers asked": both["readers"],
        }
    )


@cache
def half_slice_cases(run: Run, cohort: str | None = None) -> pd.DataFrame:
    """`tables.beyond.half_slice_cases` of a cohort with `manufacturer` and `third` (of the slices read) beside."""
    data, evaluated = run.cohort(cohort), detector_results.evaluated(run, cohort)
    cases = sweeps.half_slice_cases(data.half_slices, half_slices(run, cohort), evaluated[evaluated["joint"]])
    scanners = data.participants.set_index("patient")["manufacturer"]
    third = pd.cut(cases["position"], [-0.01, 1 / 3, 2 / 3, 1.01], labels=list(THIRDS))
    return cases.assign(manufacturer=cases["patient"].map(scanners), third=third)


@cache
def patient_cases(run: Run, cohort: str | None = None) -> pd.DataFrame:
    """`patient, reference, prediction, score` of the ensemble's patients."""
    vote = ensemble_vote(patients(run, cohort))
    reference = consensus_opinion(run.cohort(cohort).opinions).set_index("patient")["asas_positive"]
    return pd.DataFrame(
        {
            "patient": vote["patient"],
            "reference": vote["patient"].map(reference),
            "prediction": vote["positive"],
            "score": vote["score"],
        }
    )


def cases_by_level(run: Run, cohort: str | None = None) -> dict[str, pd.DataFrame]:
    """Half-slices and patients of a cohort."""
    name = cohort or run.study.training_cohort
    return {HALF: half_slice_cases(run, name), PATIENT: patient_cases(run, name)}


def curves(run: Run) -> tuple[dict[str, Curve], dict[str, Curve], dict[str, Floats], dict[str, Floats]]:
    """ROC and precision-recall curves of the ensemble's scores on half-slices and patients, and their bands.

    The score of a half-slice is the members' mean `p_inflamed`, 0 where none finds a box; a wrong number of boxes does
    not count as wrong here, since a score has no count. A level of one class only is left out.
    """
    n = run.study.diagnosis.bootstrap
    found: tuple[dict[str, Curve], dict[str, Curve], dict[str, Floats], dict[str, Floats]] = ({}, {}, {}, {})
    for level, cases in cases_by_level(run).items():
        if cases["reference"].nunique() > 1:
            case = cases["reference"], cases["score"], cases["patient"]
            found[0][level], found[1][level] = roc(*case, n=n), precision_recall(*case, n=n)
            found[2][level], found[3][level] = band(*case, n=n), band(*case, "precision_recall", n=n)
    return found


def reliability(run: Run, bins: int = 8) -> tuple[Floats, pd.Series]:
    """Calibration of the half-slice scores (`agreement.calibration`), and Brier score and calibration error."""
    cases = cases_by_level(run)[HALF]
    rows = calibration(cases["reference"], cases["score"], cases["patient"], bins, run.study.diagnosis.bootstrap)
    return rows, calibration_errors(cases["reference"], cases["score"], bins)


def half_slices(run: Run, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
    """Half-slice results by member, on every half-slice of the slices predicted."""
    wanted = detector_results.evaluated(run, cohort, experiment)[["patient", "slice", "side"]]
    return {
        seed: half_slice_results(table, wanted, run.threshold)
        for seed, table in detector_results.predictions(run, cohort, experiment).items()
    }


def patients(run: Run, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
    """Patient diagnoses by member (section 3.2.2)."""
    rule = run.rule or run.study.diagnosis.min_positive
    return {seed: patient_results(table, rule) for seed, table in half_slices(run, cohort, experiment).items()}


def all_patients(run: Run) -> dict[str, dict[str, dict[int, pd.DataFrame]]]:
    """Patient diagnoses by cohort, experiment and member, for Table 4."""
    return {
        cohort: {
            name: patients(run, cohort, name) for name in run.study.experiments if detector_results.seeds(run, name)
        }
        for cohort in run.study.cohorts
    }


def true_lesions(run: Run, cohort: str | None = None) -> pd.DataFrame:
    """Lesions of simulated patients: `patient, type, side, volume_mm3, first_slice, last_slice`, ...

    Raises:
        MissingResultError: the cohort is not simulated, so nobody knows its lesions.
    """
    name = cohort or run.study.training_cohort
    path = run.layout.source(name) / "export" / "truth" / "lesions.csv"
    if not path.is_file():
        raise MissingResultError(f"the true lesions of {name} are not known: only a simulated cohort has them")
    return pd.read_csv(record_input(path), dtype={"patient": str})
