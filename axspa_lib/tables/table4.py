"""Table 4: the ablations, each compared with "all included" on the same patients (section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import ENSEMBLE
from axspa_lib.diagnosis.rules import Members
from axspa_lib.diagnosis.votes import consensus_of, ensemble_vote
from axspa_lib.stats.counts import Floats, confusion, mcc_counts
from axspa_lib.stats.resampling import holm, paired_difference
from axspa_lib.study.config import BASE, experiments
from axspa_lib.study.errors import DataError
from axspa_lib.tables.cells import assemble, cell


def table4(
    results: Mapping[str, Mapping[str, Members]],
    opinions: Mapping[str, pd.DataFrame],
    *,
    vote_tie: int = 0,
    consensus_tie: int = 1,
    n_boot: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Return the cells of Table 4: MCC of the ensemble with the readers' consensus, per experiment and cohort.

    The difference to `all_included` is paired: the same patients and, where both have them, the ensembles of the same
    seeds, so that a row with fewer members is not compared with more of them. Its p value is of a permutation test over
    patients, `p_holm` is corrected for the rows of the cohort.

    Args:
        results: cohort → experiment (key of the experiment table) → `patient_results` by seed. Published figures stand
            beside cohorts whose name ends in `asas` or `desir`. Experiments without results are left out.
        opinions: cohort → `patient, reader, asas_positive`.
        vote_tie: of the members, as in `ensemble_vote`.
        consensus_tie: of the readers, as in `consensus_opinion`.
        n_boot: bootstrap resamples and permutations.
        seed: of both.
        compare: put the published figures beside.

    Returns:
        Cells with `experiment, difference, difference_low, difference_high, p_value, p_holm, paired_k` beside.

    Raises:
        DataError: an experiment unknown or evaluated on other patients, or none at all.
    """

    def counted(members: Members, cohort: str) -> tuple[Floats, pd.Index]:
        vote = ensemble_vote(members, tie=vote_tie).sort_values("patient")
        truth = consensus_of(vote["patient"], opinions[cohort], consensus_tie)
        return confusion(truth, vote["positive"]), truth.index

    labels = {name: entry["label"] for name, entry in experiments().items()}
    cells: list[dict[str, object]] = []
    for cohort, variants in results.items():
        unknown = sorted(set(variants) - set(labels))
        if unknown:
            raise DataError(f"{unknown[0]} is not in data_manifest/experiments.yaml: add the experiment there first")
        column = []
        for name in (name for name in labels if name in variants):
            members = variants[name]
            counts, patients = counted(members, cohort)
            entry = cell(4, labels[name], cohort, f"{ENSEMBLE} {cohort}", counts, patients, n=n_boot, seed=seed)
            entry |= {"experiment": name, "k": len(members), "paper_column": cohort.rpartition("-")[2].upper()}
            if name != BASE and BASE in variants:
                ours, theirs = same_seeds(members, variants[BASE])
                (first, patients), (second, others) = counted(ours, cohort), counted(theirs, cohort)
                if not patients.equals(others):
                    raise DataError(f"{name} was not evaluated on the patients of {BASE} in {cohort}: predict it again")
                found = difference_row(first, second, patients, n_boot, seed)
                entry |= {key: 100 * value for key, value in found.items() if key != "p_value"}
                entry |= {"p_value": found["p_value"], "paired_k": len(ours)}
            column.append(entry)
        corrected = holm([float(entry.get("p_value", np.nan)) for entry in column])  # type: ignore[arg-type]
        cells += [entry | {"p_holm": p} for entry, p in zip(column, corrected, strict=True)]
    if not cells:
        raise DataError("no experiment has a finished training: train at least `all_included` first")
    return assemble(4, cells, compare)


def same_seeds(members: Members, base: Members) -> tuple[Members, Members]:
    """Return the members of two experiments of the seeds that both have; all where they share none."""
    shared = [seed for seed in members if seed in base]
    return ({seed: members[seed] for seed in shared} or members, {seed: base[seed] for seed in shared} or base)


def difference_row(
    first: Floats, second: Floats, patients: pd.Index | pd.Series, n: int, seed: int
) -> dict[str, float]:
    """Return the paired difference in MCC of two answers: `difference, difference_low, difference_high, p_value`."""
    found = paired_difference(mcc_counts, first, second, patients, n, seed, prior=True)
    return {"difference": found.value, "difference_low": found.low, "difference_high": found.high,
            "p_value": found.p_value}  # fmt: skip


def format_differences(cells: pd.DataFrame) -> pd.DataFrame:
    """Return differences to "all included" in MCC × 100 as text, one row per experiment and cohort."""
    rows = cells[cells["difference"].notna()]
    ends = zip(rows["difference_low"], rows["difference_high"], strict=True)
    return pd.DataFrame(
        {
            "cohort": rows["column"],
            "experiment": rows["row"],
            "difference": rows["difference"].map("{:+.1f}".format),
            "95 % interval": [f"[{low:+.1f}, {high:+.1f}]" for low, high in ends],
            "p": rows["p_value"].map("{:.3f}".format),
            "p (Holm)": rows["p_holm"].map("{:.3f}".format),
            "members paired": rows["paired_k"].astype(int),
            "patients": rows["patients"],
        }
    ).reset_index(drop=True)
