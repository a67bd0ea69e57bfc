"""What a careful reader asks beside the paper's tables: rates, kappas, curves, groups and learning curves of a profile.

From stored results only. The reference is the readers' consensus; on half-slices only those with a joint count, and a
wrong number of boxes is a wrong answer, as in Table 1, unless a function says otherwise.
"""

from __future__ import annotations

from functools import cache

import pandas as pd

from axspa_lib.agreement import Curve, Floats, calibration, calibration_errors, precision_recall, roc
from axspa_lib.diagnosis import KEY, consensus_opinion, ensemble_vote
from axspa_lib.errors import MissingResultError
from axspa_lib.paper_tables import heading
from axspa_lib.results import Results, with_interval
from axspa_lib.tables import beyond, real
from axspa_lib.tables.bands import band
from axspa_lib.tables.lesion_size import marked_by_size

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
def half_slice_cases(stored: Results, cohort: str | None = None) -> pd.DataFrame:
    """`tables.beyond.half_slice_cases` of a cohort with `manufacturer` and `third` (of the slices read) beside."""
    data, evaluated = stored.cohort(cohort), stored.evaluated(cohort)
    cases = beyond.half_slice_cases(data.half_slices, stored.half_slices(cohort), evaluated[evaluated["joint"]])
    scanners = data.participants.set_index("patient")["manufacturer"]
    third = pd.cut(cases["position"], [-0.01, 1 / 3, 2 / 3, 1.01], labels=list(THIRDS))
    return cases.assign(manufacturer=cases["patient"].map(scanners), third=third)


@cache
def patient_cases(stored: Results, cohort: str | None = None) -> pd.DataFrame:
    """`patient, reference, prediction, score` of the ensemble's patients."""
    vote = ensemble_vote(stored.patients(cohort))
    reference = consensus_opinion(stored.cohort(cohort).opinions).set_index("patient")["asas_positive"]
    return pd.DataFrame(
        {
            "patient": vote["patient"],
            "reference": vote["patient"].map(reference),
            "prediction": vote["positive"],
            "score": vote["score"],
        }
    )


def cases_by_level(stored: Results, cohort: str | None = None) -> dict[str, pd.DataFrame]:
    """Half-slices and patients of a cohort."""
    name = cohort or stored.study.training_cohort
    return {HALF: half_slice_cases(stored, name), PATIENT: patient_cases(stored, name)}


def rates(stored: Results) -> pd.DataFrame:
    """Rates of the ensemble on half-slices and patients of every cohort: `of, rate, value, low, high, n, patients`."""
    n, parts = stored.study.diagnosis.bootstrap, []
    for cohort in stored.study.cohorts:
        for level, cases in cases_by_level(stored, cohort).items():
            found = beyond.rates(
                cases["reference"].tolist(), cases["prediction"].tolist(), cases["patient"].tolist(), n
            )
            parts.append(found.assign(of=f"{heading(cohort)}, {level} (n = {len(cases)})"))
    return pd.concat(parts, ignore_index=True)


def wide(table: pd.DataFrame, rows: str, columns: str = "rate") -> pd.DataFrame:
    """Figures with intervals as text, a row per value of `rows`, a column per value of `columns`."""
    texts = [
        with_interval(*figure) if pd.notna(figure[0]) else "no such case"
        for figure in table[["value", "low", "high"]].itertuples(index=False)
    ]
    order = list(dict.fromkeys(table[rows])), list(dict.fromkeys(table[columns]))
    shown = table.assign(text=texts).pivot(index=rows, columns=columns, values="text")
    return shown.loc[order[0], order[1]].rename_axis(columns=None).reset_index().rename(columns={rows: ""})


def kappas(stored: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement of the readers among each other, and of the ensemble with their consensus, corrected for chance.

    Returns:
        One row per cohort and level as text (pairs of readers from least to most agreeing, Fleiss' kappa of all,
        Cohen's kappa of the ensemble), and every pair: `of, readers, measure, value, low, high, n, patients`.
    """
    n, rows, parts = stored.study.diagnosis.bootstrap, [], []
    for cohort in stored.study.cohorts:
        data, evaluated = stored.cohort(cohort), stored.evaluated(cohort)
        tested = data.half_slices["patient"].isin(set(evaluated["patient"]))
        half = data.half_slices[tested].merge(evaluated.loc[evaluated["joint"], KEY], on=KEY)
        opinions = data.opinions.assign(slice=0, side="R").rename(columns={"asas_positive": "inflammation"})
        for (level, cases), readings in zip(cases_by_level(stored, cohort).items(), (half, opinions), strict=True):
            of = f"{heading(cohort)}, {level}"
            pairs = beyond.agreement(readings, n=n)
            parts.append(pairs.assign(of=of))
            cohen = pairs[pairs["measure"] == "Cohen's kappa"]["value"]
            fleiss = pairs.to_dict("records")[-1]
            own = beyond.rates(cases["reference"].tolist(), cases["prediction"].tolist(), cases["patient"].tolist(), n)
            model = next(row for row in own.to_dict("records") if row["rate"] == "Cohen's kappa")
            rows.append(
                {
                    "": of,
                    "read": int(fleiss["n"]),
                    "pairs of readers: Cohen's kappa": f"{cohen.min():.2f} to {cohen.max():.2f}",
                    "all readers: Fleiss' kappa": with_interval(fleiss["value"], fleiss["low"], fleiss["high"]),
                    "ensemble and consensus: Cohen's kappa": with_interval(model["value"], model["low"], model["high"]),
                }
            )
    return pd.DataFrame(rows), pd.concat(parts, ignore_index=True)


def curves(stored: Results) -> tuple[dict[str, Curve], dict[str, Curve], dict[str, Floats], dict[str, Floats]]:
    """ROC and precision-recall curves of the ensemble's scores on half-slices and patients, and their bands.

    The score of a half-slice is the members' mean `p_inflamed`, 0 where none finds a box; a wrong number of boxes does
    not count as wrong here, since a score has no count. A level of one class only is left out.
    """
    n = stored.study.diagnosis.bootstrap
    found: tuple[dict[str, Curve], dict[str, Curve], dict[str, Floats], dict[str, Floats]] = ({}, {}, {}, {})
    for level, cases in cases_by_level(stored).items():
        if cases["reference"].nunique() > 1:
            case = cases["reference"], cases["score"], cases["patient"]
            found[0][level], found[1][level] = roc(*case, n=n), precision_recall(*case, n=n)
            found[2][level], found[3][level] = band(*case, n=n), band(*case, "precision_recall", n=n)
    return found


def reliability(stored: Results, bins: int = 8) -> tuple[Floats, pd.Series]:
    """Calibration of the half-slice scores (`agreement.calibration`), and Brier score and calibration error."""
    cases = cases_by_level(stored)[HALF]
    rows = calibration(cases["reference"], cases["score"], cases["patient"], bins, stored.study.diagnosis.bootstrap)
    return rows, calibration_errors(cases["reference"], cases["score"], bins)


def by_group(stored: Results) -> dict[str, pd.DataFrame]:
    """MCC on half-slices by scanner and by position of the slice, with simultaneous intervals."""
    cases, n = cases_by_level(stored)[HALF], stored.study.diagnosis.bootstrap
    wanted = {"scanner": "manufacturer", "position among the slices read": "third"}
    return {title: beyond.by_group(cases, column, n=n, simultaneous=True) for title, column in wanted.items()}


def by_lesion_size(stored: Results) -> pd.DataFrame | None:
    """Share of half-slices that the readers' consensus and the ensemble mark, by size of the largest true oedema.

    Here the ensemble's mark is what it says, whatever its number of boxes. None where the truth is not known.
    """
    try:
        lesions = stored.true_lesions()
    except MissingResultError:
        return None
    cases = cases_by_level(stored)[HALF]
    who = {"readers' consensus": "reference", "ensemble": "marked"}
    return marked_by_size(cases, who, lesions, n=stored.study.diagnosis.bootstrap)


def learning_curve(stored: Results, names: tuple[str, ...] = ("only_manually", "all_included")) -> pd.DataFrame:
    """MCC with the consensus on half-slices over the patients learnt from, of as many members each.

    Returns:
        `patients, value, low, high, series`; a series for each cohort.
    """
    names = tuple(name for name in names if stored.seeds(name))
    seeds = set.intersection(*(set(stored.seeds(name)) for name in names))
    parts = []
    for cohort in stored.study.cohorts:
        evaluated = stored.evaluated(cohort)
        halves = {name: stored.half_slices(cohort, name) for name in names}
        variants = {name: {seed: table for seed, table in members.items() if seed in seeds}
                    for name, members in halves.items()}  # fmt: skip
        table = real.experiment_table(
            stored.cohort(cohort).half_slices, variants, evaluated[evaluated["joint"]], stored.study.diagnosis.bootstrap
        )
        curve = real.learning_curve(table, stored.training_sizes(names)).rename(columns={"subjects": PATIENT})
        parts.append(curve.assign(series=heading(cohort)))
    return pd.concat(parts, ignore_index=True)
