"""What a careful reader asks beside the paper's tables: rates, kappas, curves, groups and learning curves of a profile.

From stored results only. The reference is the readers' consensus; on half-slices only those with a joint count, and a
wrong number of boxes is a wrong answer, as in Table 1, unless a function says otherwise.
"""

from __future__ import annotations

import pandas as pd

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis import results as diagnosis_results
from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.results import HALF, PATIENT, cases_by_level
from axspa_lib.diagnosis.rules import KEY
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.formatting import heading, with_interval
from axspa_lib.study.results import Run
from axspa_lib.tables import experiments
from axspa_lib.tables import sensitivity as beyond
from axspa_lib.tables.lesion_size import marked_by_size


def rates(run: Run) -> pd.DataFrame:
    """Rates of the ensemble on half-slices and patients of every cohort: `of, rate, value, low, high, n, patients`."""
    n, parts = run.study.diagnosis.bootstrap, []
    for cohort in run.study.cohorts:
        for level, cases in cases_by_level(run, cohort).items():
            found = sweeps.rates(
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


def kappas(run: Run) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement of the readers among each other, and of the ensemble with their consensus, corrected for chance.

    Returns:
        One row per cohort and level as text (pairs of readers from least to most agreeing, Fleiss' kappa of all,
        Cohen's kappa of the ensemble), and every pair: `of, readers, measure, value, low, high, n, patients`.
    """
    n, rows, parts = run.study.diagnosis.bootstrap, [], []
    for cohort in run.study.cohorts:
        data, evaluated = run.cohort(cohort), detector_results.evaluated(run, cohort)
        tested = data.half_slices["patient"].isin(set(evaluated["patient"]))
        half = data.half_slices[tested].merge(evaluated.loc[evaluated["joint"], KEY], on=KEY)
        opinions = data.opinions.assign(slice=0, side="R").rename(columns={"asas_positive": "inflammation"})
        for (level, cases), readings in zip(cases_by_level(run, cohort).items(), (half, opinions), strict=True):
            of = f"{heading(cohort)}, {level}"
            pairs = beyond.agreement(readings, n=n)
            parts.append(pairs.assign(of=of))
            cohen = pairs[pairs["measure"] == "Cohen's kappa"]["value"]
            fleiss = pairs.to_dict("records")[-1]
            own = sweeps.rates(cases["reference"].tolist(), cases["prediction"].tolist(), cases["patient"].tolist(), n)
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


def by_group(run: Run) -> dict[str, pd.DataFrame]:
    """MCC on half-slices by scanner and by position of the slice, with simultaneous intervals."""
    cases, n = cases_by_level(run)[HALF], run.study.diagnosis.bootstrap
    wanted = {"scanner": "manufacturer", "position among the slices read": "third"}
    return {title: beyond.by_group(cases, column, n=n, simultaneous=True) for title, column in wanted.items()}


def by_lesion_size(run: Run) -> pd.DataFrame | None:
    """Share of half-slices that the readers' consensus and the ensemble mark, by size of the largest true oedema.

    Here the ensemble's mark is what it says, whatever its number of boxes. None where the truth is not known.
    """
    try:
        lesions = diagnosis_results.true_lesions(run)
    except MissingResultError:
        return None
    cases = cases_by_level(run)[HALF]
    who = {"readers' consensus": "reference", "ensemble": "marked"}
    return marked_by_size(cases, who, lesions, n=run.study.diagnosis.bootstrap)


def learning_curve(run: Run, names: tuple[str, ...] = ("only_manually", "all_included")) -> pd.DataFrame:
    """MCC with the consensus on half-slices over the patients learnt from, of as many members each.

    Returns:
        `patients, value, low, high, series`; a series for each cohort.
    """
    names = tuple(name for name in names if detector_results.seeds(run, name))
    seeds = set.intersection(*(set(detector_results.seeds(run, name)) for name in names))
    parts = []
    for cohort in run.study.cohorts:
        evaluated = detector_results.evaluated(run, cohort)
        halves = {name: diagnosis_results.half_slices(run, cohort, name) for name in names}
        variants = {name: {seed: table for seed, table in members.items() if seed in seeds}
                    for name, members in halves.items()}  # fmt: skip
        table = experiments.experiment_table(
            run.cohort(cohort).half_slices, variants, evaluated[evaluated["joint"]], run.study.diagnosis.bootstrap
        )
        curve = experiments.learning_curve(table, detector_results.training_sizes(run, names)).rename(
            columns={"subjects": PATIENT}
        )
        parts.append(curve.assign(series=heading(cohort)))
    return pd.concat(parts, ignore_index=True)
