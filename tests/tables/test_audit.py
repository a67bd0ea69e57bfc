"""The enumeration against brute force on small numbers, and what it finds in the published tables."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

from axspa_lib.stats.counts import mcc
from axspa_lib.study.errors import DataError
from axspa_lib.study.published import published
from axspa_lib.tables import audit


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


def test_the_ensemble_of_table2_is_not_of_53_patients():
    figure = audit.printed("90.24")
    assert len(audit.matrices(53, figure)) == 0 and len(audit.matrices(53, audit.printed("90.24", cut=True))) == 0
    assert audit.distinct(audit.matrices(52, figure)).tolist() == [[12, 38, 0, 2]]
    value, matrix = audit.closest(53, figure)
    assert value == pytest.approx(90.293, abs=1e-3) and matrix[2:].sum() == 2


def test_the_stored_structure_of_table3_gives_every_printed_figure_back():
    """Division of the 47 patients in `joint.csv`, case by case against the published MCC."""
    found = audit.audit()
    (row,) = found[found["column"] == "all figures without ±"].to_dict("records")
    groups = [re.fullmatch(r"(\d+) by (.*)", text.strip()).groups() for text in row["matrices"].split(";")]
    callers = [set() if names == "nobody" else set(names.split()) for _, names in groups]
    counts = [int(count) for count, _ in groups]
    assert sum(counts) == 47
    paper = published(3)
    for row in paper[paper["sd"] == ""].itertuples():
        one, two = (np.repeat([name in called for called in callers], counts) for name in (row.row, row.column))
        assert rounds_to(100 * matthews_corrcoef(one, two), audit.printed(row.value)), (row.row, row.column)


def test_every_printed_figure_is_checked():
    found = audit.audit()
    assert list(found.columns) == list(audit.COLUMNS)
    single = found[~found["row"].str.startswith("joint") & (found["table"] != "text")]
    printed = sum(len(published(number)) for number in (1, 2, 3, 4))
    assert len(single) == printed + 1  # the mean of Table 2 also with 52 patients
    assert single[single["attainable"] == "no"][["table", "column"]].to_numpy().tolist() == [["2", "ensembling"]]
