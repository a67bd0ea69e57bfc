"""What several printed figures imply together: three readers, one model against six readers, ten models against them.

The cases are grouped by who calls them positive. Numbers of cases per group are whole, every figure fixes a margin or
an overlap, and what remains is a small integer programme: infeasible, unique, or a range.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from axspa_lib.audit.enumeration import SLACK, Floats, Ints, Printed, coefficient, matrices

#: Predictions tried first when there are many: a solution among them is a solution.
FEW = 150

#: Slack for sums over members, above the solver's own tolerance.
EDGE = 1e-6

Verdict = Literal["feasible", "infeasible", "undecided"]


@dataclass(frozen=True)
class Triple:
    """Three readers on the same N cases: positives of each, overlaps 12, 13, 23, and bounds of the overlap of all."""

    positives: tuple[int, int, int]
    overlaps: tuple[int, int, int]
    common: tuple[int, int]

    def unanimous(self, n: int) -> int:
        """Cases on which all three agree (the same for every overlap of all)."""
        return n - sum(self.positives) + sum(self.overlaps)


def three_readers(n: int, one_two: Printed, one_three: Printed, two_three: Printed) -> list[Triple]:
    """All triples of readers on the same `n` cases whose three pairwise figures are the printed ones."""
    pairs = [_by_margins(matrices(n, figure)) for figure in (one_two, one_three, two_three)]
    thirds: dict[int, list[int]] = {}
    for first, third in pairs[1]:
        thirds.setdefault(first, []).append(third)
    found = []
    for first, second in pairs[0]:
        for third in thirds.get(first, []):
            choices = pairs[0][first, second], pairs[1][first, third], pairs[2].get((second, third), [])
            for a, b, c in product(*choices):
                low = max(0, a + b - first, a + c - second, b + c - third)
                high = min(a, b, c, n - first - second - third + a + b + c)
                if low <= high:
                    found.append(Triple((first, second, third), (a, b, c), (low, high)))
    return found


def majority_agreement(n: int, triples: Sequence[Triple]) -> Floats:
    """MCC × 100 of each reader with the majority of the three, `(structures, 3)`, for every structure of `triples`."""
    rows = []
    for triple in triples:
        a, b, c = triple.overlaps
        for common in range(triple.common[0], triple.common[1] + 1):
            majority = a + b + c - 2 * common
            shared = (a + b - common, a + c - common, b + c - common)
            rows.append(
                [float(coefficient(n, p, majority, tp)) for p, tp in zip(triple.positives, shared, strict=True)]
            )
    return np.array(rows).reshape(-1, 3)


def shared_margin(
    n: int, figures: Mapping[str, Printed], positives: Mapping[str, int] | None = None
) -> dict[int, dict[str, Ints]]:
    """Number of positives of one prediction compared with several references → matrices per reference.

    Only numbers for which every reference has a matrix. Exchanging the two classes gives the same figures, so solutions
    come in pairs q and N - q.
    """
    given = positives or {}
    found = {name: matrices(n, figure, given.get(name)) for name, figure in figures.items()}
    margins = {name: every[:, 0] + every[:, 2] for name, every in found.items()}
    common = set.intersection(*(set(values.tolist()) for values in margins.values()))
    return {q: {name: found[name][margins[name] == q] for name in figures} for q in sorted(common)}


def overlaps(n: int, figures: Mapping[tuple[str, str], Printed], positives: Mapping[str, int]) -> dict[
    tuple[str, str], list[int]
]:  # fmt: skip
    """Cases positive for both of a pair, all values that give the printed figure with the positives of each."""
    return {
        (first, second): matrices(n, figure, positives[first])[
            _second_margin(n, figure, positives[first]) == positives[second], 0
        ].tolist()
        for (first, second), figure in figures.items()
    }


@dataclass(frozen=True)
class Groups:
    """Cases by who calls them positive: `patterns` `(groups, raters)` of 0 and 1, fewest and most cases of each.

    Groups that cannot have a case are left out.
    """

    raters: tuple[str, ...]
    patterns: Ints
    fewest: Ints
    most: Ints

    @property
    def unique(self) -> bool:
        """Whether the figures leave one structure only."""
        return bool((self.fewest == self.most).all())


def groups(
    n: int,
    positives: Mapping[str, int],
    pairs: Mapping[tuple[str, str], Sequence[int]],
    majority: str | None = None,
    readers: Sequence[str] = (),
) -> Groups | None:
    """How many cases each group of raters has, from margins and overlaps; None when no structure satisfies them.

    Args:
        n: number of cases.
        positives: positives of each rater.
        pairs: overlap of pairs; the first value is used where there are several.
        majority: the rater who is the majority of `readers`; a tie may go either way.
        readers: those who make the majority.
    """
    raters = tuple(positives)
    every = np.array(list(product((0, 1), repeat=len(raters))))
    if majority is not None:
        votes = every[:, [raters.index(name) for name in readers]].sum(axis=1)
        agreed = every[:, raters.index(majority)]
        every = every[(2 * votes == len(readers)) | ((2 * votes > len(readers)) == (agreed == 1))]
    rows, totals = [np.ones(len(every))], [float(n)]
    for name, count in positives.items():
        rows.append(every[:, raters.index(name)].astype(float))
        totals.append(float(count))
    for (first, second), choices in pairs.items():
        rows.append((every[:, raters.index(first)] * every[:, raters.index(second)]).astype(float))
        totals.append(float(choices[0]))
    constraint = LinearConstraint(np.array(rows), totals, totals)
    extremes = [[_extreme(constraint, len(every), n, group, sign) for sign in (1, -1)] for group in range(len(every))]
    if any(value is None for pair in extremes for value in pair):
        return None
    bounds = np.array(extremes, dtype=int)
    possible = bounds[:, 1] > 0
    return Groups(raters, every[possible], bounds[possible, 0], bounds[possible, 1])


def members(
    n: int,
    reference: Groups,
    means: Mapping[str, tuple[Printed, Printed]],
    k: int = 10,
    sample: bool = True,
    whole: bool = True,
    seconds: float = 10.0,
) -> Verdict:
    """Whether `k` predictions exist whose MCCs with each rater have the printed mean and standard deviation.

    Args:
        n: number of cases.
        reference: a unique structure of the raters.
        means: rater → printed mean and standard deviation.
        k: number of predictions.
        sample: the deviation of a sample (divided by k - 1), otherwise of a population.
        whole: whole predictions; otherwise fractions of them are allowed, so that `infeasible` says more.
        seconds: given up after this time: `undecided`.
    """
    values = _predictions(n, reference, tuple(means))
    kept = np.ones(len(values), bool)
    divisor = k - 1 if sample else k
    for column, (mean, sd) in enumerate(means.values()):
        furthest = sd.high * np.sqrt(divisor * (k - 1) / k) + mean.half + EDGE
        kept &= np.abs(values[:, column] - mean.value) <= furthest
    values = np.unique(values[kept].round(9), axis=0)
    few = values[:: max(len(values) // FEW, 1)]
    if len(few) < len(values) and _solve(few, means, k, divisor, whole, seconds) == "feasible":
        return "feasible"
    return _solve(values, means, k, divisor, whole, seconds)


def _solve(
    values: Floats,
    means: Mapping[str, tuple[Printed, Printed]],
    k: int,
    divisor: int,
    whole: bool,
    seconds: float,
) -> Verdict:
    """Whether `k` rows of `values`, repetition allowed, have the printed means and deviations."""
    if not len(values):
        return "infeasible"
    rows, low, high = [np.ones(len(values))], [float(k)], [float(k)]
    for column, (mean, sd) in enumerate(means.values()):
        deviation = values[:, column] - mean.value
        rows += [deviation, deviation**2]
        low += [-k * mean.half - EDGE, divisor * max(sd.low, 0.0) ** 2 - EDGE]
        high += [k * mean.half + EDGE, divisor * sd.high**2 + k * mean.half**2 + EDGE]
    found = milp(
        np.zeros(len(values)),
        constraints=LinearConstraint(np.array(rows), low, high),
        integrality=np.full(len(values), int(whole)),
        bounds=Bounds(0, k),
        options={"time_limit": seconds},
    )
    return {0: "feasible", 2: "infeasible"}.get(found.status, "undecided")  # type: ignore[return-value]


def best_mean(values: Floats, errors: Floats, at_least: float) -> float:
    """Largest mean MCC of any number of predictions that make `at_least` errors on average.

    Args:
        values: MCC of every possible prediction.
        errors: their numbers of errors.
        at_least: errors on average.
    """
    found = linprog(-values, A_ub=-errors[None, :], b_ub=[-at_least], A_eq=np.ones((1, len(values))), b_eq=[1.0])
    return float(-found.fun) if found.status == 0 else float("nan")


def _predictions(n: int, reference: Groups, raters: Sequence[str]) -> Floats:
    """MCC × 100 of every possible prediction with each rater, `(predictions, raters)`; cases of a group are alike."""
    sizes = [range(int(count) + 1) for count in reference.most]
    taken = np.stack([axis.ravel() for axis in np.meshgrid(*sizes, indexing="ij")], axis=1)
    columns = []
    for name in raters:
        positive = reference.patterns[:, reference.raters.index(name)] == 1
        columns.append(
            coefficient(n, int(reference.most[positive].sum()), taken.sum(axis=1), taken[:, positive].sum(axis=1))
        )
    return np.stack(columns, axis=1)


def _extreme(constraint: LinearConstraint, size: int, n: int, group: int, sign: int) -> int | None:
    objective = np.zeros(size)
    objective[group] = sign
    relaxed = linprog(objective, A_eq=constraint.A, b_eq=constraint.ub, bounds=(0, n))
    if relaxed.status != 0:
        return None
    if abs(relaxed.x - relaxed.x.round()).max() < SLACK:
        return round(float(relaxed.x[group]))
    found = milp(objective, constraints=constraint, integrality=np.ones(size), bounds=Bounds(0, n))
    return round(float(found.x[group])) if found.status == 0 else None


def _by_margins(found: Ints) -> dict[tuple[int, int], list[int]]:
    margins: dict[tuple[int, int], list[int]] = {}
    for tp, _, fp, fn in found.tolist():
        margins.setdefault((tp + fn, tp + fp), []).append(tp)
    return margins


def _second_margin(n: int, figure: Printed, positives: int) -> Ints:
    found = matrices(n, figure, positives)
    return found[:, 0] + found[:, 2]
