"""Table 4: the ablations, each compared with "all included" on the same patients (section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.readings import ENSEMBLE
from axspa_lib.diagnosis.rules import Members, checked_members, consensus_opinion, ensemble_vote
from axspa_lib.stats import Floats, confusion, holm, mcc_counts, paired_difference
from axspa_lib.study.config import BASE, experiments
from axspa_lib.study.errors import DataError
from axspa_lib.tables.cells import assemble, cell, layout


def table4_cells(
    results: Mapping[str, Mapping[str, Members]],
    opinions: Mapping[str, pd.DataFrame],
    *,
    n: int = 2000,
    seed: int = 0,
    compare: bool = True,
) -> pd.DataFrame:
    """Cells of Table 4: MCC of the ensemble with the readers' consensus, per experiment and cohort.

    The difference to `all_included` is paired: the same patients and, where both have them, the ensembles of the same
    seeds, so that a row with fewer members is not compared with more of them. Its p value is of a permutation test over
    patients, `p_holm` is corrected for the rows of the cohort.

    Args:
        results: cohort → experiment (key of the experiment table) → `patient_results` by seed. Published figures stand
            beside cohorts whose name ends in `asas` or `desir`. Experiments without results are left out.
        opinions: cohort → `patient, reader, asas_positive`.
        n: bootstrap resamples and permutations.
        seed: of both.
        compare: put the published figures beside.

    Returns:
        Cells with `experiment, difference, difference_low, difference_high, p_value, p_holm, paired_k` beside.
    """
    labels = {name: entry["label"] for name, entry in experiments().items()}
    cells: list[dict[str, object]] = []
    for cohort, variants in results.items():
        unknown = sorted(set(variants) - set(labels))
        if unknown:
            raise DataError(f"{unknown[0]} is not in data_manifest/experiments.yaml: add the experiment there first")
        reference = consensus_opinion(opinions[cohort]).set_index("patient")["asas_positive"]
        column = []
        for name in (name for name in labels if name in variants):
            members = checked_members(variants[name])
            counts, owner = _counts(members, reference, cohort)
            entry = cell(4, labels[name], cohort, f"{ENSEMBLE} {cohort}", counts, owner, n=n, seed=seed)
            entry |= {"experiment": name, "k": len(members), "paper_column": cohort.rpartition("-")[2].upper()}
            if name != BASE and BASE in variants:
                entry |= _difference(members, checked_members(variants[BASE]), reference, cohort, n, seed)
            column.append(entry)
        corrected = holm([float(entry.get("p_value", np.nan)) for entry in column])  # type: ignore[arg-type]
        cells += [entry | {"p_holm": p} for entry, p in zip(column, corrected, strict=True)]
    if not cells:
        raise DataError("no experiment has a finished training: train at least `all_included` first")
    return assemble(4, cells, compare)


def table4(
    results: Mapping[str, Mapping[str, Members]], opinions: Mapping[str, pd.DataFrame], **options: object
) -> pd.DataFrame:
    """Table 4 in the paper's arrangement; arguments as `table4_cells`."""
    return layout(table4_cells(results, opinions, **options))  # type: ignore[arg-type]


def differences(cells: pd.DataFrame) -> pd.DataFrame:
    """Differences to "all included" in MCC × 100, one row per experiment and cohort, as text fit for a page."""
    rows = cells[cells["difference"].notna()]
    return pd.DataFrame(
        {
            "cohort": rows["column"],
            "experiment": rows["row"],
            "difference": rows["difference"].map("{:+.1f}".format),
            "95 % interval": [
                f"[{low:+.1f}, {high:+.1f}]"
                for low, high in zip(rows["difference_low"], rows["difference_high"], strict=True)
            ],
            "p": rows["p_value"].map("{:.3f}".format),
            "p (Holm)": rows["p_holm"].map("{:.3f}".format),
            "members paired": rows["paired_k"].astype(int),
            "patients": rows["patients"],
        }
    ).reset_index(drop=True)


def _counts(members: Members, reference: pd.Series, cohort: str) -> tuple[Floats, pd.Index]:
    vote = ensemble_vote(members, "patient").set_index("patient")["positive"]
    unknown = sorted(set(vote.index) - set(reference.index))
    if unknown:
        raise DataError(
            f"patient {unknown[0]} was predicted but has no consensus of readers in {cohort}: predictions and opinions "
            "must be of one cohort"
        )
    return confusion(reference.loc[vote.index], vote), vote.index


def _difference(
    members: dict[int, pd.DataFrame],
    base: dict[int, pd.DataFrame],
    reference: pd.Series,
    cohort: str,
    n: int,
    seed: int,
) -> dict[str, object]:
    shared = [name for name in members if name in base]
    ours = {name: members[name] for name in shared} or members
    theirs = {name: base[name] for name in shared} or base
    first, owner = _counts(ours, reference, cohort)
    second, base_owner = _counts(theirs, reference, cohort)
    if set(owner) != set(base_owner):
        raise DataError(f"an ablation was not evaluated on the patients of {BASE} in {cohort}: predict it again")
    second = second[base_owner.get_indexer(owner)]
    found = paired_difference(mcc_counts, first, second, owner, n, seed, prior=True)
    return {
        "difference": 100 * found.value,
        "difference_low": 100 * found.low,
        "difference_high": 100 * found.high,
        "p_value": found.p_value,
        "paired_k": len(ours),
    }
