"""The figures behind the paper's claims, each with an interval by patient, from the same plain tables as Tables 1 to 4.

An `Interval` here is in MCC × 100 (or Dice × 100, or per cent); differences are positive where the claim says so.
Where the least of several figures is compared, it is the least on all patients, the same in every resample.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from axspa_lib.diagnosis.readings import CONSENSUS, readings_wide, reference_and_answer
from axspa_lib.diagnosis.rules import Members, checked_members, consensus_opinion, ensemble_vote
from axspa_lib.stats import COUNTS, Floats, Interval, by_patient, confusion, interval_of, mcc_counts, resampled
from axspa_lib.study.config import BASE
from axspa_lib.study.errors import DataError

#: Rows of Table 4 that switch a step of the preprocessing off.
PREPROCESSING = ("no_constant_pixel", "no_remove_gaussian_bias", "no_local_median", "no_clahe")
MANUAL = "only_manually"


def collect(
    half_slices: pd.DataFrame | None,
    members: Members | None,
    *,
    opinions: pd.DataFrame | None = None,
    results: Mapping[str, Members] | None = None,
    other_opinions: pd.DataFrame | None = None,
    other_results: Mapping[str, Members] | None = None,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    dice: pd.DataFrame | None = None,
    single_network: pd.DataFrame | None = None,
    accepted: pd.Series | None = None,
    n: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """All evidence that the tables at hand allow, by the claim's key; what is not at hand is left out, not guessed.

    Args:
        half_slices: readings of the cohort, `patient, slice, side, reader, inflammation`.
        members: `half_slice_results` by seed.
        opinions: of all patients of the own cohort.
        results: own cohort, experiment → `patient_results` by seed.
        other_opinions: of the second cohort.
        other_results: the same of the second cohort.
        patients: evaluation patients of the own cohort.
        only: half-slices with a joint.
        dice: `patient, bone, dice` of the pair of networks, bones `sacrum` and `iliac`.
        single_network: the same of the one network for both bones.
        accepted: 0 or 1 by patient: joined the annotated set.
        n: bootstrap resamples.
        seed: of the bootstrap.
    """
    own, other = results or {}, other_results or {}
    found: dict[str, Interval] = {}
    if half_slices is not None and members is not None and half_slices["reader"].nunique() > 1:
        found["half_slices"] = model_against_readers(half_slices, members, patients=patients, only=only, n=n, seed=seed)
    if dice is not None:
        bones = dice.pivot(index="patient", columns="bone", values="dice")
        found["iliac_easier"] = mean_difference(bones["iliac"], bones["sacrum"], n, seed)
        if single_network is not None:
            single = single_network.pivot(index="patient", columns="bone", values="dice")[["iliac", "sacrum"]]
            found["two_networks"] = mean_difference(
                bones[["iliac", "sacrum"]].mean(axis=1), single.mean(axis=1), n, seed
            )
    if accepted is not None:
        found["increment"] = share(accepted)
    if opinions is not None and BASE in own:
        found["patients"] = ensemble_against_readers(opinions, own[BASE], n, seed)
        found["ensemble"] = ensemble_gain(opinions, own[BASE], n, seed)
        if MANUAL in own and len(own) > 2:
            found["annotations"] = annotation_effect(opinions, own, n, seed)
    if other_opinions is not None and BASE in other:
        found["transfer"] = ensemble_against_readers(other_opinions, other[BASE], n, seed)
        found["ensemble_other"] = ensemble_gain(other_opinions, other[BASE], n, seed)
        if MANUAL in other and len(other) > 2:
            found["annotations_other"] = annotation_effect(other_opinions, other, n, seed)
        if opinions is not None and BASE in own:
            pair = (opinions, own), (other_opinions, other)
            found["transfer_loss"] = transfer_loss((opinions, own[BASE]), (other_opinions, other[BASE]), n, seed)
            if any(step in own and step in other for step in PREPROCESSING):
                found["preprocessing"] = preprocessing_effect(*pair, n, seed)
    return found


def mean_difference(first: pd.Series, second: pd.Series, n: int = 2000, seed: int = 0) -> Interval:
    """Mean over patients of `first - second` × 100, e.g. of Dice: both indexed by patient, only shared ones count."""
    difference = (100 * (first - second)).dropna()
    terms = np.stack([difference.to_numpy(float), np.ones(len(difference))], axis=1)
    sums, cases = by_patient(terms, difference.index)
    value, samples = resampled(_mean, sums, n, seed)
    return interval_of(value, samples, cases, len(sums))


def share(successes: pd.Series, level: float = 0.95) -> Interval:
    """Share × 100 of patients for whom `successes` (0/1, indexed by patient) is 1, with Jeffreys' interval.

    A bootstrap would give no width where all or none succeed (Brown 2001, https://doi.org/10.1214/ss/1009213286).
    """
    n, hits = len(successes), int(successes.sum())
    if not n:
        return Interval(np.nan, np.nan, np.nan, 0, 0)
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, hits + 0.5, n - hits + 0.5) if hits else 0.0
    high = stats.beta.ppf(1 - tail, hits + 0.5, n - hits + 0.5) if hits < n else 1.0
    return Interval(100 * hits / n, 100 * float(low), 100 * float(high), n, n)


def model_against_readers(
    half_slices: pd.DataFrame,
    members: Members,
    *,
    patients: Collection[str] | None = None,
    only: pd.DataFrame | None = None,
    n: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean MCC of the models with the consensus, less that of the pair of readers who agree least, on half-slices.

    Arguments as `tables.table1_cells`; a wrong number of boxes is an error.
    """
    wide, names = readings_wide(half_slices, patients, only)
    blocks = []
    for table in checked_members(members, patients).values():
        truth, answer, owner, _ = reference_and_answer(wide, CONSENSUS, table)
        blocks.append(pd.DataFrame(confusion(truth, answer)).groupby(owner).sum())
    for first, second in combinations(names, 2):
        both = wide.dropna(subset=[first, second])
        owner = both["patient"].to_numpy()
        blocks.append(pd.DataFrame(confusion(both[first], both[second])).groupby(owner).sum())
    sums = pd.concat(blocks, axis=1).fillna(0.0).to_numpy()
    k = len(blocks) - len(list(combinations(names, 2)))
    least = k + int(_each(sums.sum(axis=0))[k:].argmin())

    def difference(counts: Floats) -> Floats:
        each = _each(counts)
        return 100 * (each[..., :k].mean(axis=-1) - each[..., least])

    value, samples = resampled(difference, sums, n, seed, prior=True)
    return interval_of(value, samples, len(wide), len(sums))


def ensemble_gain(opinions: pd.DataFrame, members: Members, n: int = 2000, seed: int = 0) -> Interval:
    """MCC of the ensemble less the mean of its members, on patients, against the consensus."""
    tables = checked_members(members)
    sums = _sums([ensemble_vote(tables), *tables.values()], opinions)

    def difference(counts: Floats) -> Floats:
        each = _each(counts)
        return 100 * (each[..., 0] - each[..., 1:].mean(axis=-1))

    value, samples = resampled(difference, sums, n, seed, prior=True)
    return interval_of(value, samples, len(sums), len(sums))


def transfer_loss(
    own: tuple[pd.DataFrame, Members], other: tuple[pd.DataFrame, Members], n: int = 2000, seed: int = 0
) -> Interval:
    """MCC of the ensemble in its own cohort less that in the other one; each is `(opinions, members)`."""
    (value, samples), (away, away_samples) = (
        resampled(_first, _sums([ensemble_vote(members)], opinions), n, seed + place, prior=True)
        for place, (opinions, members) in enumerate((own, other))
    )
    patients = sum(len(ensemble_vote(members)) for _, members in (own, other))
    return interval_of(value - away, samples - away_samples, patients, patients)


def ensemble_against_readers(opinions: pd.DataFrame, members: Members, n: int = 2000, seed: int = 0) -> Interval:
    """MCC of the ensemble with the consensus less that of the pair of readers who agree least, on patients.

    As in Table 2 the readers are compared on all patients of `opinions` and the ensemble on those it was evaluated on
    (where all readers may agree by selection); where these are the same patients the comparison is paired.
    """
    vote = ensemble_vote(members)
    given = opinions.astype({"patient": str, "reader": str})
    wide = given.pivot(index="patient", columns="reader", values="asas_positive")
    blocks = []
    for first, second in combinations(wide.columns, 2):
        unread = wide[[first, second]].isna().any(axis=1).to_numpy()
        counts = confusion(wide[first].fillna(0), wide[second].fillna(0)) * ~unread[:, None]
        blocks.append(by_patient(counts, wide.index)[0])
    if not blocks:
        raise DataError("agreement needs two readers: the opinions have one")
    readers = np.concatenate(blocks, axis=1)
    least = int(_each(readers.sum(axis=0)).argmin())
    value, samples = resampled(_first, _sums([vote], opinions), n, seed, prior=True)
    theirs, their_samples = resampled(lambda counts: 100 * _each(counts)[..., least], readers, n, seed, prior=True)
    return interval_of(value - theirs, samples - their_samples, len(vote), len(vote))


def preprocessing_effect(
    own: tuple[pd.DataFrame, Mapping[str, Members]],
    other: tuple[pd.DataFrame, Mapping[str, Members]],
    n: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean loss without a step of the preprocessing in the other cohort, less that in the own one.

    Each cohort is `(opinions, members by experiment)`; only steps present in both count.
    """
    steps = [name for name in PREPROCESSING if name in own[1] and name in other[1]]

    def loss(counts: Floats) -> Floats:
        each = _each(counts)
        return 100 * (each[..., 0] - each[..., 1:].mean(axis=-1))

    found = []
    for place, (opinions, results) in enumerate((own, other)):
        found.append(resampled(loss, _experiment_sums(results, (BASE, *steps), opinions), n, seed + place, prior=True))
    (at_home, home_samples), (away, away_samples) = found
    patients = sum(len(next(iter(dict(results[BASE]).values()))) for _, results in (own, other))
    return interval_of(away - at_home, away_samples - home_samples, patients, patients)


def annotation_effect(opinions: pd.DataFrame, results: Mapping[str, Members], n: int = 2000, seed: int = 0) -> Interval:
    """Loss of training on the manual annotations only, less the largest loss of any other row of Table 4."""
    others = [name for name in results if name not in (BASE, MANUAL)]
    if MANUAL not in results or not others:
        raise DataError(f"the effect of the annotations needs {MANUAL!r} and another ablation: train them first")

    sums = _experiment_sums(results, (MANUAL, *others), opinions)
    rival = 1 + int(_each(sums.sum(axis=0))[1:].argmin())

    def lead(counts: Floats) -> Floats:
        each = _each(counts)
        return 100 * (each[..., rival] - each[..., 0])

    value, samples = resampled(lead, sums, n, seed, prior=True)
    return interval_of(value, samples, len(sums), len(sums))


def _experiment_sums(results: Mapping[str, Members], names: Collection[str], opinions: pd.DataFrame) -> Floats:
    """Counts by patient of the ensembles of several experiments, of the seeds they share where they share any."""
    members = {name: checked_members(results[name]) for name in names}
    shared = set.intersection(*(set(tables) for tables in members.values()))
    votes = [
        ensemble_vote({seed: table for seed, table in tables.items() if seed in shared or not shared})
        for tables in members.values()
    ]
    return _sums(votes, opinions)


def _sums(results: Collection[pd.DataFrame], opinions: pd.DataFrame) -> Floats:
    """Counts `(patients, 4 results)` of patient results against the consensus, patients in sorted order."""
    reference = consensus_opinion(opinions).set_index("patient")["asas_positive"]
    blocks = []
    for table in results:
        positive = table.assign(patient=table["patient"].astype(str)).set_index("patient")["positive"]
        unknown = sorted(set(positive.index) - set(reference.index))
        if unknown:
            raise DataError(f"patient {unknown[0]} was predicted but has no consensus of readers: give their opinions")
        blocks.append(by_patient(confusion(reference.loc[positive.index], positive), positive.index)[0])
    if len({len(block) for block in blocks}) > 1:
        raise DataError("the results compared are not of the same patients: predict them again")
    return np.concatenate(blocks, axis=1)


def _each(counts: Floats) -> Floats:
    """MCC of every block of four counts: `(..., 4 k)` to `(..., k)`."""
    return mcc_counts(counts.reshape(*counts.shape[:-1], -1, len(COUNTS)))


def _first(counts: Floats) -> Floats:
    return 100 * mcc_counts(counts)


def _mean(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]
