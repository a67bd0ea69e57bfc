"""The enumeration against brute force on small numbers, and the audit's findings on the published tables."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from axspa_lib import audit
from axspa_lib.agreement import mcc, mcc_score
from axspa_lib.audit import joint
from axspa_lib.audit.enumeration import coefficient
from axspa_lib.audit.implications import table1_joint, table2_joint
from axspa_lib.errors import DataError
from axspa_lib.tables import published


def every_matrix(n: int) -> np.ndarray:
    return np.array([(a, b, c, n - a - b - c) for a, b, c in product(range(n + 1), repeat=3) if a + b + c <= n])


def rounds_to(value: float, figure: audit.printed) -> bool:
    return figure.low - 1e-9 <= value <= figure.high + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 16), st.floats(-99, 99).filter(lambda v: abs(v) > 1), st.integers(0, 2))
def test_matrices_equal_brute_force(n, value, digits):
    figure = audit.printed(f"{value:.{digits}f}")
    if figure.low <= 0 <= figure.high:
        return
    whole = every_matrix(n)
    values = 100 * mcc(*whole.T)
    expected = {
        tuple(matrix) for matrix in whole[(values >= figure.low - 1e-9) & (values <= figure.high + 1e-9)].tolist()
    }
    found = audit.matrices(n, figure)
    assert len(found) == len(expected) and {tuple(matrix) for matrix in found.tolist()} == expected


def test_matrices_of_known_positives():
    figure = audit.printed("62")
    every = audit.matrices(47, figure)
    for positives in (5, 9, 30):
        some = audit.matrices(47, figure, positives)
        assert some.tolist() == every[every[:, 0] + every[:, 3] == positives].tolist()


def test_printed_figures():
    figure = audit.printed("64.8")
    assert (figure.low, figure.high, figure.half) == (64.75, 64.85, pytest.approx(0.05))
    assert audit.printed("90.24", cut=True).low == 90.24
    assert figure.holds(np.array([64.7, 64.75, 64.85, 64.9])).tolist() == [False, True, True, False]
    with pytest.raises(DataError, match="is not a printed figure"):
        audit.printed("n/a")


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 14), st.floats(-95, 95))
def test_the_closest_matrix_is_the_closest(n, value):
    whole = every_matrix(n)
    margins = (whole[:, [0, 3]].sum(1), whole[:, [0, 2]].sum(1))
    proper = (margins[0] > 0) & (margins[0] < n) & (margins[1] > 0) & (margins[1] < n)
    values = 100 * mcc(*whole[proper].T)
    figure = audit.printed(f"{value:.2f}")
    found, matrix = audit.closest(n, figure)
    assert abs(found - figure.value) == pytest.approx(np.abs(values - figure.value).min())
    assert 100 * float(mcc(*matrix)) == pytest.approx(found) and matrix.sum() == n and (matrix >= 0).all()


def test_nearest_number_of_cases():
    figure = audit.printed("90.24")
    number, found = audit.nearest_n(53, figure)
    assert number == 52 and all(rounds_to(100 * float(mcc(*matrix)), figure) for matrix in found)
    assert audit.nearest_n(53, figure, reach=0) is None


def test_distinct_matrices_share_their_figure():
    found = audit.matrices(47, audit.printed("58.01"))
    some = audit.distinct(found)
    assert some.tolist() == [[5, 36, 1, 5], [13, 22, 0, 12]]
    images = {tuple(m) for tp, tn, fp, fn in some.tolist()
              for m in ((tp, tn, fp, fn), (tn, tp, fp, fn), (tp, tn, fn, fp), (tn, tp, fn, fp))}  # fmt: skip
    assert images == {tuple(matrix) for matrix in found.tolist()}


# several figures ------------------------------------------------------------------------------------------------------


def figure_of(one: np.ndarray, two: np.ndarray, digits: int = 2) -> audit.printed:
    return audit.printed(f"{100 * mcc_score(one, two):.{digits}f}")


@pytest.mark.parametrize("seed", range(8))
def test_three_readers_hold_the_truth(seed):
    rng = np.random.default_rng(seed)
    truth = rng.random(60) < 0.4
    one, two, three = (np.where(rng.random(60) < 0.85, truth, ~truth).astype(int) for _ in range(3))
    triples = joint.three_readers(60, figure_of(one, two), figure_of(one, three), figure_of(two, three))
    positives = one.sum(), two.sum(), three.sum()
    overlaps = (one & two).sum(), (one & three).sum(), (two & three).sum()
    found = [t for t in triples if t.positives == positives and t.overlaps == overlaps]
    assert len(found) == 1 and found[0].common[0] <= (one & two & three).sum() <= found[0].common[1]
    assert found[0].unanimous(60) == ((one == two) & (two == three)).sum()
    majority = (one + two + three >= 2).astype(int)
    expected = [100 * mcc_score(reader, majority) for reader in (one, two, three)]
    agreement = joint.majority_agreement(60, found)
    assert np.isclose(agreement, expected).all(axis=1).any()


def test_three_readers_equal_brute_force():
    """All ways to divide seven cases among the eight patterns of three readers."""
    n = 7
    one, two, three = np.array([[1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0]])
    figures = figure_of(one, two, 0), figure_of(one, three, 0), figure_of(two, three, 0)
    patterns = np.array(list(product((0, 1), repeat=3)))
    expected = set()
    for counts in product(range(n + 1), repeat=7):
        if sum(counts) > n:
            continue
        whole = np.array([*counts, n - sum(counts)])
        both = [int(whole[patterns[:, i] & patterns[:, j] == 1].sum()) for i, j in ((0, 1), (0, 2), (1, 2))]
        own = [int(whole[patterns[:, i] == 1].sum()) for i in range(3)]
        values = [
            float(coefficient(n, own[i], own[j], t)) for (i, j), t in zip(((0, 1), (0, 2), (1, 2)), both, strict=True)
        ]
        if all(f.holds(np.array([v]))[0] for f, v in zip(figures, values, strict=True)):
            expected.add((tuple(own), tuple(both)))
    found = {(t.positives, t.overlaps) for t in joint.three_readers(n, *figures)}
    assert found == expected and expected


@pytest.mark.parametrize("seed", range(3))
def test_groups_hold_the_truth(seed):
    rng = np.random.default_rng(seed)
    said = rng.integers(0, 2, (3, 20))
    said = {name: row for name, row in zip("xyz", said, strict=True)}
    said["majority"] = (sum(said.values()) >= 2).astype(int)
    positives = {name: int(row.sum()) for name, row in said.items()}
    pairs = {(a, b): [int((said[a] & said[b]).sum())] for a, b in (("x", "y"), ("x", "z"), ("majority", "x"))}
    found = joint.groups(20, positives, pairs, "majority", "xyz")
    assert found is not None
    columns = np.stack([said[name] for name in found.raters], axis=1)
    for pattern, low, high in zip(found.patterns, found.fewest, found.most, strict=True):
        assert low <= (columns == pattern).all(axis=1).sum() <= high
    impossible = joint.groups(20, positives, pairs | {("y", "z"): [19]}, "majority", "xyz")
    assert impossible is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 3), st.booleans())
def test_members_equal_brute_force(seed, k, sample):
    rng = np.random.default_rng(seed)
    n, positives = 6, int(rng.integers(1, 6))
    counts = np.array([n - positives, positives])
    single = joint.Groups(("x",), np.array([[0], [1]]), counts, counts)
    values = sorted(
        {float(coefficient(n, positives, t + f, t)) for t in range(positives + 1) for f in range(n - positives + 1)}
    )
    chosen = rng.choice(values, k)
    mean, sd = float(np.mean(chosen)), float(np.std(chosen, ddof=int(sample)))
    shift = rng.choice([0, 0.7])
    figures = audit.printed(f"{mean + shift:.1f}"), audit.printed(f"{sd:.1f}")
    possible = any(
        rounds_to(np.mean(some), figures[0]) and rounds_to(np.std(some, ddof=int(sample)), figures[1])
        for some in combinations_with_replacement(values, k)
    )
    found = joint.members(n, single, {"x": figures}, k, sample)
    # the bound on the squares is a little wide (the mean is known as printed only), but "infeasible" is never false
    assert found == "feasible" if possible else found in ("feasible", "infeasible")


def test_best_mean_by_hand():
    # one error at 90, three at 60: two errors on average leave at most 75
    assert joint.best_mean(np.array([100.0, 90.0, 60.0]), np.array([0.0, 1.0, 3.0]), 2) == pytest.approx(75)


# the published tables -------------------------------------------------------------------------------------------------


def test_the_ensemble_of_table2_is_not_of_53_patients():
    figure = audit.printed("90.24")
    assert len(audit.matrices(53, figure)) == 0 and len(audit.matrices(53, audit.printed("90.24", cut=True))) == 0
    assert audit.distinct(audit.matrices(52, figure)).tolist() == [[12, 38, 0, 2]]
    value, matrix = audit.closest(53, figure)
    assert value == pytest.approx(90.293, abs=1e-3) and matrix[2:].sum() == 2


def test_table1_consensus_is_not_the_majority_on_common_half_slices():
    rows = {(row["row"], row["column"]): row for row in table1_joint()}
    assert rows["joint", "pairs of readers"]["attainable"] == "yes"
    assert rows["joint: majority", "2"]["attainable"] == "no" and "89.92" in str(rows["joint: majority", "2"]["remark"])


def test_table2_together():
    rows = [row for row in table2_joint() if row["row"] == "joint"]
    assert "577 to 601" in str(rows[0]["remark"])
    assert [row["attainable"] for row in rows[1:]] == ["no", "yes"] and str(rows[2]["remark"]).endswith(": 14")


@pytest.fixture(scope="module")
def structure() -> joint.Groups:
    predicted, positives, found = audit.table3_structure()
    assert predicted == 6
    assert positives == {"1": 6, "2": 10, "4": 12, "5": 7, "6": 12, "7": 6, "Consensus": 9}
    assert found is not None
    return found


def test_table3_determines_who_calls_whom_positive(structure):
    assert structure.unique and structure.most.sum() == 47
    groups = {
        frozenset(name for name, says in zip(structure.raters, pattern, strict=True) if says): int(count)
        for pattern, count in zip(structure.patterns, structure.most, strict=True)
    }
    assert groups[frozenset(structure.raters)] == 5
    assert groups[frozenset()] == 30 and groups[frozenset({"ensembling"})] == 1
    assert groups[frozenset({"2", "5", "6", "Consensus"})] == 1  # three of six, and positive
    assert "5 by 1 2 4 5 6 7 Consensus ensembling" in audit.described(structure)


def test_table3_is_recovered_from_its_structure(structure):
    """The structure gives every printed figure back, computed case by case."""
    cases = np.repeat(structure.patterns, structure.most, axis=0)
    said = {name: cases[:, place] for place, name in enumerate(structure.raters)}
    paper = published(3)
    for row in paper[paper["sd"] == ""].itertuples():
        assert rounds_to(100 * mcc_score(said[row.row], said[row.column]), audit.printed(row.value)), (
            row.row,
            row.column,
        )


def test_table3_members_cannot_have_all_means(structure):
    """Infeasible also by another solver (interior point), and not because of any single row."""
    paper = published(3)
    rows = paper[paper["column"] == "M-RCNN"]
    means = {r.row: (audit.printed(r.value), audit.printed(r.sd)) for r in rows.itertuples()}
    for row, figures in means.items():
        assert joint.members(47, structure, {row: figures}) == "feasible"
    for sample in (True, False):
        assert joint.members(47, structure, means, sample=sample, whole=False) == "infeasible"
        values = joint._predictions(47, structure, tuple(means))
        divisor = 9 if sample else 10
        furthest = [s.high * np.sqrt(divisor * 0.9) + m.half for m, s in means.values()]
        near = (np.abs(values - [m.value for m, _ in means.values()]) <= furthest).all(axis=1)
        values = np.unique(values[near].round(9), axis=0)
        upper, limits = [], []
        for i, (m, s) in enumerate(means.values()):
            away = values[:, i] - m.value
            upper += [away, -away, away**2, -(away**2)]
            limits += [10 * m.half, 10 * m.half, divisor * s.high**2 + 10 * m.half**2, -divisor * s.low**2]
        found = linprog(np.zeros(len(values)), A_ub=np.array(upper), b_ub=limits, A_eq=np.ones((1, len(values))),
                        b_eq=[10], method="highs-ipm")  # fmt: skip
        assert found.status == 2


@pytest.mark.slow
def test_the_whole_audit(tmp_path):
    found = audit.write_audit(tmp_path / "tables" / "audit.csv")
    assert list(found.columns) == list(audit.COLUMNS)
    assert (tmp_path / "tables" / "audit.csv").read_text().startswith("table,row,column,published,n,attainable")
    single = found[~found["row"].str.startswith("joint") & (found["table"] != "text")]
    printed = sum(len(published(number)) for number in (1, 2, 3, 4))
    assert len(single) == printed + 1  # the mean of Table 2 also with 52 patients
    assert single[single["attainable"] == "no"][["table", "column"]].to_numpy().tolist() == [["2", "ensembling"]]
    assert (found["attainable"] != "not decided").all()
