"""The figures behind the paper's claims, each with an interval by patient, from a run's stored results.

An `Interval` here is in MCC × 100 (or Dice × 100, or per cent); differences are positive where the claim says so.
Where the least of several figures is compared, it is the least on all patients, the same in every resample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from axspa_lib.bones import results as bones_results
from axspa_lib.bones.dice import dice_by_patient
from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.results import Choices, CohortResults, choices
from axspa_lib.diagnosis.rules import Members, half_slice_results, patient_results
from axspa_lib.diagnosis.votes import checked_members, consensus_of, ensemble_vote
from axspa_lib.stats.counts import Floats, confusion, mcc_by_block
from axspa_lib.stats.resampling import Interval, by_patient, interval_of, resampled
from axspa_lib.study.config import BASE
from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_input

#: Rows of Table 4 that switch a step of the preprocessing off.
PREPROCESSING = ("no_constant_pixel", "no_remove_gaussian_bias", "no_local_median", "no_clahe")
MANUAL = "only_manually"
#: Rows of `bone_variants.yaml`: one network for both bones, and its counterpart where the study's own are continued.
SINGLE, PAIR = "single", "pair_anew"


@dataclass(frozen=True)
class Diagnoses:
    """Diagnoses of one cohort's patients.

    Attributes:
        opinions: of the readers, `patient, reader, asas_positive`.
        results: experiment → `patient_results` by seed.
        vote_tie: of the members, as in `ensemble_vote`.
        consensus_tie: of the readers, as in `consensus_opinion`.
    """

    opinions: pd.DataFrame
    results: Mapping[str, Members]
    vote_tie: int = 0
    consensus_tie: int = 1

    @property
    def vote(self) -> pd.DataFrame:
        """The ensemble's patients."""
        return ensemble_vote(self.results[BASE], tie=self.vote_tie)

    def sums(self, tables: Collection[pd.DataFrame]) -> Floats:
        """Return counts `(patients, 4 tables)` of patient results against the consensus, patients in sorted order.

        Raises:
            DataError: a patient without consensus, or tables of different patients.
        """
        blocks = []
        for table in tables:
            truth = consensus_of(table["patient"], self.opinions, self.consensus_tie)
            blocks.append(by_patient(confusion(truth, table["positive"]), truth.index)[0])
        if len({len(block) for block in blocks}) > 1:
            raise DataError("the results compared are not of the same patients: predict them again")
        return np.concatenate(blocks, axis=1)

    def experiment_sums(self, names: Collection[str]) -> Floats:
        """Return `sums` of the ensembles of several experiments, of the seeds they share where they share any."""
        shared = set.intersection(*(set(self.results[name]) for name in names))
        return self.sums(
            [ensemble_vote({seed: table for seed, table in self.results[name].items() if seed in shared or not shared},
                           tie=self.vote_tie) for name in names]
        )  # fmt: skip


def evidence_of(run: Run, chosen: Choices | None = None) -> dict[str, Interval]:
    """Return the evidence for each claim, by its key, that a run's results allow; what they lack is left out.

    Args:
        run: the results of a profile; without any finished stage nothing is found.
        chosen: threshold, rule, members, ties, failures and bootstrap; the study's own when None.
    """
    chosen = chosen or choices(run.study)
    options = {"n": chosen.n_boot, "seed": run.study.seed}
    cohorts = [CohortResults(run, name, chosen.members) for name in run.study.cohorts[:2]]
    found: dict[str, Interval | None] = {}
    readings = _at_hand(lambda: cohorts[0].half_slices)
    if readings is not None and readings["reader"].nunique() > 1 and cohorts[0].experiments:
        evaluated = cohorts[0].evaluated()
        halves = half_slice_results(cohorts[0].predictions(), evaluated, chosen.score_threshold)
        found["half_slices"] = model_against_readers(
            readings, halves, evaluated["patient"].unique(), cohorts[0].with_joint, chosen.count_failures, **options
        )
    found |= _bones(run, **options)
    own, other = (*(diagnoses_of(cohort, chosen) for cohort in cohorts), None)[:2]
    for part, names in ((own, ("patients", "ensemble", "annotations")),
                        (other, ("transfer", "ensemble_other", "annotations_other"))):  # fmt: skip
        if part:
            found[names[0]] = ensemble_against_readers(part, **options)
            found[names[1]] = ensemble_gain(part, **options)
            if MANUAL in part.results and len(part.results) > 2:
                found[names[2]] = annotation_effect(part, **options)
    if own and other:
        found["transfer_loss"] = transfer_loss(own, other, **options)
        if any(step in own.results and step in other.results for step in PREPROCESSING):
            found["preprocessing"] = preprocessing_effect(own, other, **options)
    return {key: interval for key, interval in found.items() if interval is not None}


def diagnoses_of(cohort: CohortResults, chosen: Choices) -> Diagnoses | None:
    """Return the diagnoses of a cohort that two readers diagnosed and a trained ensemble predicted, else None."""
    opinions = _at_hand(lambda: cohort.opinions)
    if opinions is None or opinions["reader"].nunique() < 2 or BASE not in cohort.experiments:
        return None
    results = {
        name: patient_results(
            half_slice_results(cohort.predictions(name), cohort.evaluated(name), chosen.score_threshold),
            chosen.min_positive,
        )
        for name in cohort.experiments
    }
    return Diagnoses(opinions, results, chosen.vote_tie, chosen.consensus_tie)


def mean_difference(first: pd.Series, second: pd.Series, n: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `first - second` × 100 over the patients in both, e.g. of Dice, indexed by patient."""
    difference = (100 * (first - second)).dropna()
    terms = np.stack([difference.to_numpy(float), np.ones(len(difference))], axis=1)
    sums, cases = by_patient(terms, difference.index)
    value, samples = resampled(lambda sums: sums[..., 0] / sums[..., 1], sums, n, seed)
    return interval_of(value, samples, cases, len(sums))


def share(successes: pd.Series) -> Interval:
    """Return the share × 100 of patients with success 1, with Jeffreys' 95 % interval.

    A bootstrap would give no width where all or none succeed (Brown 2001, https://doi.org/10.1214/ss/1009213286).
    """
    n, hits = len(successes), int(successes.sum())
    if not n:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    tail = (1 - 0.95) / 2
    low, high = stats.beta.ppf([tail, 1 - tail], hits + 0.5, n - hits + 0.5)
    return Interval(100 * hits / n, 100 * float(low) if hits else 0.0, 100 * float(high) if hits < n else 100.0, n, n)


def model_against_readers(
    half_slices: pd.DataFrame,
    members: Members,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    count_failures: bool = True,
    n: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean MCC of the models with the consensus, less that of the least agreeing readers, on half-slices.

    Arguments as `tables.table1.table1`.
    """
    wide, names = readings_wide(half_slices, patients, only)
    blocks = []
    for table in checked_members(members, patients).values():
        truth, answer, owner, _ = reference_and_answer(wide, CONSENSUS, table, count_failures)
        blocks.append(pd.DataFrame(confusion(truth, answer)).groupby(owner).sum())
    k = len(blocks)
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        blocks.append(pd.DataFrame(confusion(both[first], both[second])).groupby(both["patient"].to_numpy()).sum())
    sums = pd.concat(blocks, axis=1).fillna(0.0).to_numpy()
    least = k + int(mcc_by_block(sums.sum(axis=0))[k:].argmin())
    value, samples = _scaled(lambda each: each[..., :k].mean(axis=-1) - each[..., least], sums, n, seed)
    return interval_of(value, samples, len(wide), len(sums))


def ensemble_gain(own: Diagnoses, n: int = 2000, seed: int = 0) -> Interval:
    """Return the MCC of the ensemble less the mean of its members, on patients, against the consensus."""
    sums = own.sums([own.vote, *own.results[BASE].values()])
    value, samples = _scaled(lambda each: each[..., 0] - each[..., 1:].mean(axis=-1), sums, n, seed)
    return interval_of(value, samples, len(sums), len(sums))


def transfer_loss(own: Diagnoses, other: Diagnoses, n: int = 2000, seed: int = 0) -> Interval:
    """Return the MCC of the ensemble in its own cohort less that in the other one."""
    sums = own.sums([own.vote]), other.sums([other.vote])
    return _less(_scaled(_first, sums[0], n, seed), _scaled(_first, sums[1], n, seed + 1), len(sums[0]) + len(sums[1]))


def ensemble_against_readers(own: Diagnoses, n: int = 2000, seed: int = 0) -> Interval:
    """Return the MCC of the ensemble with the consensus less that of the least agreeing readers, on patients.

    As in Table 2 the readers are compared on all patients of the opinions and the ensemble on those it was evaluated on
    (where all readers may agree by selection); where these are the same patients the comparison is paired.
    """
    given = own.opinions.astype({"patient": str, "reader": str})
    wide = given.pivot(index="patient", columns="reader", values="asas_positive")
    blocks = []
    for first, second in combinations(wide.columns, 2):
        unread = wide[[first, second]].isna().any(axis=1).to_numpy()
        counts = confusion(wide[first].fillna(0), wide[second].fillna(0)) * ~unread[:, None]
        blocks.append(by_patient(counts, wide.index)[0])
    readers, sums = np.concatenate(blocks, axis=1), own.sums([own.vote])
    least = int(mcc_by_block(readers.sum(axis=0)).argmin())
    return _less(_scaled(_first, sums, n, seed), _scaled(lambda each: each[..., least], readers, n, seed), len(sums))


def preprocessing_effect(own: Diagnoses, other: Diagnoses, n: int = 2000, seed: int = 0) -> Interval:
    """Return the mean loss without a preprocessing step in the other cohort, less that in the own one."""
    steps = [name for name in PREPROCESSING if name in own.results and name in other.results]
    at_home, away = (
        _scaled(lambda each: each[..., 0] - each[..., 1:].mean(axis=-1), part.experiment_sums((BASE, *steps)), n, start)
        for part, start in ((own, seed), (other, seed + 1))
    )
    return _less(away, at_home, len(own.vote) + len(other.vote))


def annotation_effect(own: Diagnoses, n: int = 2000, seed: int = 0) -> Interval:
    """Return the loss by manual annotations only, less the largest loss of another row of Table 4."""
    others = [name for name in own.results if name not in (BASE, MANUAL)]
    if MANUAL not in own.results or not others:
        raise DataError(f"the effect of the annotations needs {MANUAL!r} and another ablation: train them first")
    sums = own.experiment_sums((MANUAL, *others))
    rival = 1 + int(mcc_by_block(sums.sum(axis=0))[1:].argmin())
    value, samples = _scaled(lambda each: each[..., rival] - each[..., 0], sums, n, seed)
    return interval_of(value, samples, len(sums), len(sums))


def _scaled(statistic: Callable[[Floats], Floats], sums: Floats, n: int, seed: int) -> tuple[float, Floats]:
    """Resample a statistic × 100 of the MCC of each block of four counts."""
    return resampled(lambda counts: 100 * statistic(mcc_by_block(counts)), sums, n, seed, prior=True)


def _first(each: Floats) -> Floats:
    return each[..., 0]


def _less(first: tuple[float, Floats], second: tuple[float, Floats], patients: int) -> Interval:
    return interval_of(first[0] - second[0], first[1] - second[1], patients, patients)


def _bones(run: Run, n: int, seed: int) -> dict[str, Interval]:
    """Return the evidence of the bone networks and of the increment."""
    found = {}
    single, pair = (_dice_of_variant(run, name) for name in (SINGLE, PAIR))
    if pair is None:  # no row made to be compared with: the study's own networks
        slices = _at_hand(lambda: bones_results.dice(run))
        pair = None if slices is None else _by_bone(slices)
    if pair is not None:
        found["iliac_easier"] = mean_difference(pair["iliac"], pair["sacrum"], n, seed)
        if single is not None:
            found["two_networks"] = mean_difference(pair.mean(axis=1), single.mean(axis=1), n, seed)
    increment = _at_hand(lambda: bones_results.increment(run))
    if increment is not None and len(grown := increment[increment["source"] != "manual"]):
        found["increment"] = share(grown.set_index("patient")["accepted"].astype(int))
    return found


def _dice_of_variant(run: Run, name: str) -> pd.DataFrame | None:
    paths = [path for path in sorted((run.layout.root / "bone_variants" / name).rglob("dice.csv"))
             if (path.parent / "run.json").is_file()]  # fmt: skip
    tables = [pd.read_csv(record_input(path), dtype={"patient": str}) for path in paths]
    return _by_bone(pd.concat(tables, ignore_index=True)) if tables else None


def _by_bone(slices: pd.DataFrame) -> pd.DataFrame:
    """Return Dice by patient, a column for each bone."""
    return dice_by_patient(slices).pivot(index="patient", columns="bone", values="dice")[["iliac", "sacrum"]]


def _at_hand(read: Callable[[], Any]) -> Any:
    """Return what `read` gives, or None where the run has not got there."""
    try:
        return read()
    except MissingResultError:
        return None
