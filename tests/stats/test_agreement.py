"""Measures against scikit-learn and by hand; intervals and tests against theory and brute force."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from axspa_lib.stats.counts import (
    accuracy,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    fleiss_terms,
    mcc,
    mcc_counts,
    precision,
    sensitivity,
    specificity,
)
from axspa_lib.stats.curves import calibration, calibration_errors, precision_recall, roc
from axspa_lib.stats.resampling import bootstrap_by_patient, by_patient, holm, paired_difference, weights
from axspa_lib.study.errors import DataError

VECTORS = st.integers(1, 40).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 1), min_size=size, max_size=size) for _ in range(2)])
)


@settings(max_examples=60, deadline=None)
@given(VECTORS)
@pytest.mark.filterwarnings("ignore")
def test_measures_equal_scikit_learn(vectors):
    truth, answer = map(np.array, vectors)
    counts = confusion(truth, answer).sum(axis=0)
    assert float(mcc_counts(counts)) == pytest.approx(metrics.matthews_corrcoef(truth, answer))
    assert float(accuracy(counts)) == pytest.approx(metrics.accuracy_score(truth, answer))
    if truth.any():
        assert float(sensitivity(counts)) == pytest.approx(metrics.recall_score(truth, answer))
    if answer.any():
        assert float(precision(counts)) == pytest.approx(metrics.precision_score(truth, answer))
    if len({*truth, *answer}) == 2:
        assert float(cohen_kappa(counts)) == pytest.approx(metrics.cohen_kappa_score(truth, answer))


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        ([0, 0, 0], [0, 0, 0], 0.0),
        ([1, 1], [1, 1], 0.0),
        ([1, 1], [0, 0], 0.0),
        ([0, 1], [1, 1], 0.0),
        ([0, 1], [0, 1], 1.0),
        ([0, 1], [1, 0], -1.0),
        ([], [], 0.0),
    ],
)
def test_degenerate_correlations(truth, answer, expected):
    assert float(mcc_counts(confusion(truth, answer).sum(axis=0))) == expected


def test_kappa_by_hand():
    # 20 both yes, 15 both no, 5 + 10 disagreements: observed 0.7, expected 0.5 (the textbook example)
    assert float(cohen_kappa([20, 15, 5, 10])) == pytest.approx(0.4)
    assert float(cohen_kappa([0, 0, 0, 0])) == 0
    assert float(cohen_kappa([7, 0, 0, 0])) == 1


def test_fleiss_kappa_by_hand():
    # Three readers, four cases, 3/0, 0/3, 2/1, 1/2: P = (1 + 1 + 1/3 + 1/3) / 4, chance 1/2
    terms = fleiss_terms([3, 0, 2, 1], [3, 3, 3, 3])
    assert float(fleiss_kappa(terms.sum(axis=0))) == pytest.approx((2 / 3 - 0.5) / 0.5)
    single = fleiss_terms([3, 0, 2, 1, 1], [3, 3, 3, 3, 1])
    assert float(fleiss_kappa(single.sum(axis=0))) == pytest.approx(1 / 3)
    assert float(fleiss_kappa(fleiss_terms([2, 2], [2, 2]).sum(axis=0))) == 1


def test_fleiss_of_two_readers_is_scotts_pi():
    rng = np.random.default_rng(5)
    one, two = rng.integers(0, 2, (2, 200))
    share = (one.mean() + two.mean()) / 2
    chance = share**2 + (1 - share) ** 2
    scott = ((one == two).mean() - chance) / (1 - chance)
    found = fleiss_kappa(fleiss_terms(one + two, np.full(200, 2)).sum(axis=0))
    assert float(found) == pytest.approx(scott)


def test_measures_work_on_whole_arrays():
    counts = np.random.default_rng(0).integers(0, 9, (7, 5, 4)).astype(float)
    for measure in (mcc_counts, cohen_kappa, accuracy, specificity):
        whole = measure(counts)
        assert whole.shape == (7, 5)
        np.testing.assert_allclose(whole[3, 2], measure(counts[3, 2]))
    two = np.concatenate([counts, counts[::-1]], axis=-1)
    np.testing.assert_allclose(mcc_counts(two), (mcc_counts(counts) + mcc_counts(counts[::-1])) / 2)


def test_confusion_refuses_what_is_not_binary():
    with pytest.raises(DataError, match="cannot be compared with"):
        confusion([0, 1], [0])
    with pytest.raises(DataError, match="only 0"):
        confusion([0, np.nan], [0, 1])


def test_sums_by_patient_and_weights():
    sums, cases = by_patient([[1.0], [2.0], [4.0]], ["b", "a", "b"])
    assert sums.tolist() == [[2.0], [5.0]] and cases == 3
    drawn = weights(7, 50, 1)
    assert drawn.shape == (50, 7) and (drawn.sum(axis=1) == 7).all()
    with pytest.raises(DataError):
        by_patient([[1.0]], ["a", "b"])


def test_bootstrap_resamples_patients_not_cases():
    """With identical cases within a patient the interval is that of the patients, however many cases each has."""
    values = np.random.default_rng(3).random(20)
    terms = np.stack([values, np.ones(20)], axis=1)

    def mean(sums):
        return sums[..., 0] / sums[..., 1]

    once = bootstrap_by_patient(mean, terms, np.arange(20))
    often = bootstrap_by_patient(mean, np.repeat(terms, 9, axis=0), np.repeat(np.arange(20), 9))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))
    assert often.n == 180 and often.patients == 20
    theory = values.std() / np.sqrt(20)
    assert (once.high - once.low) / 3.92 == pytest.approx(theory, rel=0.1)


def test_bootstrap_equals_the_exact_distribution_of_few_patients():
    counts = confusion([1, 0, 1, 0], [1, 0, 0, 1])
    owner = ["a", "a", "b", "c"]
    sums, _ = by_patient(counts, owner)
    exact = sorted(float(mcc_counts(sums[list(drawn)].sum(axis=0))) for drawn in product(range(3), repeat=3))
    found = bootstrap_by_patient(mcc_counts, counts, owner, n=50_000)
    assert found.low == pytest.approx(np.quantile(exact, 0.025, method="inverted_cdf"))
    assert found.high == pytest.approx(np.quantile(exact, 0.975, method="inverted_cdf"))


def test_bootstrap_of_nothing_and_of_one_class():
    nothing = bootstrap_by_patient(mcc_counts, np.zeros((0, 4)), [])
    assert np.isnan(nothing.value) and nothing.n == 0
    one = bootstrap_by_patient(mcc_counts, confusion([1, 1], [1, 1]), ["a", "b"])
    assert (one.value, one.low, one.high) == (0, 0, 0)
    found = bootstrap_by_patient(sensitivity, confusion([0, 0], [1, 0]), ["a", "b"])
    assert np.isnan(found.value) and np.isnan(found.low)


def test_same_seed_same_interval():
    counts = confusion(*np.random.default_rng(0).integers(0, 2, (2, 50)))
    first, second = (bootstrap_by_patient(mcc_counts, counts, np.arange(50)) for _ in range(2))
    assert first == second


def test_bootstrap_is_fast():
    rng = np.random.default_rng(0)
    counts = np.concatenate([confusion(*rng.integers(0, 2, (2, 600))) for _ in range(10)], axis=1)
    owner = rng.integers(0, 53, 600)
    bootstrap_by_patient(mcc_counts, counts, owner)
    started = time.perf_counter()
    bootstrap_by_patient(mcc_counts, counts, owner)
    assert time.perf_counter() - started < 1.0  # some 0.03 s alone on a core


def test_paired_difference_of_equal_answers_is_nothing():
    rng = np.random.default_rng(1)
    counts = confusion(*rng.integers(0, 2, (2, 80)))
    found = paired_difference(mcc_counts, counts, counts, np.arange(80))
    assert (found.value, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_permutation_test_equals_all_exchanges():
    truth = np.array([1, 1, 1, 0, 0, 0, 1, 0])
    first = confusion(truth, [1, 1, 1, 0, 0, 0, 0, 0])
    second = confusion(truth, [0, 1, 0, 0, 1, 0, 1, 1])
    observed = float(mcc_counts(first.sum(0)) - mcc_counts(second.sum(0)))
    extreme = 0
    for swap in product((False, True), repeat=8):
        mask = np.array(swap)[:, None]
        left, right = np.where(mask, second, first).sum(0), np.where(mask, first, second).sum(0)
        extreme += abs(mcc_counts(left) - mcc_counts(right)) >= abs(observed) - 1e-12
    found = paired_difference(mcc_counts, first, second, np.arange(8), n=40_000)
    assert found.value == pytest.approx(observed)
    assert found.p_value == pytest.approx(extreme / 256, abs=0.01)


def test_permutation_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(11)
    below = 0
    for trial in range(200):
        truth = rng.integers(0, 2, 60)
        answers = np.where(rng.random((2, 60)) < 0.8, truth, 1 - truth)
        first, second = (confusion(truth, answer) for answer in answers)
        found = paired_difference(mcc_counts, first, second, np.arange(60), n=300, seed=trial)
        below += found.p_value < 0.1
    assert 6 <= below <= 36  # 20 expected, binomial 99.9 %


def test_unpaired_cases_are_refused():
    with pytest.raises(DataError, match="same cases twice"):
        paired_difference(mcc_counts, np.zeros((2, 4)), np.zeros((3, 4)), ["a", "b"])


def test_holm_by_hand():
    found = holm([0.01, 0.04, np.nan, 0.03, 0.005])
    assert found[[0, 1, 3, 4]] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert np.isnan(found[2]) and holm([]).size == 0 and holm([0.9, 0.8]).max() == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40))
def test_areas_equal_scikit_learn(cases):
    truth, score = np.array(cases).T
    if len(set(truth.tolist())) < 2:
        with pytest.raises(DataError, match="one class only"):
            roc(truth, score, np.arange(len(truth)))
        return
    owner = np.arange(len(truth)) // 2
    ranked, curve = (draw(truth, score, owner, n=50) for draw in (roc, precision_recall))
    assert ranked.area.value == pytest.approx(metrics.roc_auc_score(truth, score))
    assert curve.area.value == pytest.approx(metrics.average_precision_score(truth, score))


def test_resampled_areas_equal_scikit_learn_with_weights():
    rng = np.random.default_rng(2)
    truth, score = rng.integers(0, 2, 60), rng.integers(0, 9, 60) / 9
    owner = np.arange(60) // 3
    drawn = weights(20, 40, 0)[:, owner]
    for curve, reference in ((roc, metrics.roc_auc_score), (precision_recall, metrics.average_precision_score)):
        expected = np.quantile([reference(truth, score, sample_weight=each) for each in drawn], [0.025, 0.975])
        area = curve(truth, score, np.char.zfill(owner.astype(str), 2), n=40, seed=0).area
        assert (area.low, area.high) == pytest.approx(tuple(expected))


def test_calibration_by_hand():
    rows = calibration([0, 1, 1, 1], [0.1, 0.12, 0.95, 1.0], list("abcd"), bins=10)
    assert rows[:, 0] == pytest.approx([0.11, 0.975]) and rows[:, 1].tolist() == [0.5, 1.0]
    assert rows[:, 4].tolist() == [2, 2]
    errors = calibration_errors([0, 1, 1, 1], [0.1, 0.12, 0.95, 1.0])
    assert errors["expected_calibration_error"] == pytest.approx(0.5 * 0.39 + 0.5 * 0.025)
    assert errors["brier"] == pytest.approx(np.mean([0.01, 0.88**2, 0.0025, 0]))


def test_jeffreys_is_the_posterior_of_single_cases():
    """With one case per patient the draws are Dirichlet with half a case added to each count."""
    counts = np.repeat(np.eye(4), [8, 30, 2, 3], axis=0)
    posterior = np.random.default_rng(1).dirichlet([8.5, 30.5, 2.5, 3.5], 100_000)
    expected = np.quantile(mcc_counts(posterior), [0.025, 0.975])
    found = bootstrap_by_patient(mcc_counts, counts, np.arange(43), 60_000, method="jeffreys")
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.01)


def test_jeffreys_holds_a_perfect_estimate_and_is_for_counts():
    counts = confusion([1, 0, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0])
    found = bootstrap_by_patient(mcc_counts, counts, np.arange(6), method="jeffreys")
    assert found.value == found.high == 1 and 0 < found.low < 0.9
    with pytest.raises(DataError, match="to counts"):
        bootstrap_by_patient(lambda sums: sums[..., 0], np.ones((3, 2)), np.arange(3), method="jeffreys")


@pytest.mark.slow
@pytest.mark.parametrize("patients", [24, 53])
@pytest.mark.parametrize("rates", [(0.26, 0.9, 0.98), (0.26, 0.75, 0.9), (0.4, 0.95, 0.95)])
def test_intervals_on_few_patients_have_their_coverage(patients, rates):
    """Prevalence, sensitivity and specificity as in Tables 2 and 3: MCC of one case per patient."""
    prevalence, right, rejecting = rates
    cells = [prevalence * right, (1 - prevalence) * rejecting, (1 - prevalence) * (1 - rejecting),
             prevalence * (1 - right)]  # fmt: skip
    actual, rng = float(mcc(*cells)), np.random.default_rng(0)
    held = 0
    for trial in range(600):
        counts = rng.multinomial(1, cells, size=patients).astype(float)
        found = bootstrap_by_patient(mcc_counts, counts, np.arange(patients), 600, trial, "jeffreys")
        held += found.low <= actual <= found.high
    assert 0.90 <= held / 600 <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "jeffreys"])
def test_bootstrap_intervals_have_their_coverage(method):
    """95 % intervals of MCC over correlated half-slices of 53 patients hold the truth in 91 to 98 of 100 studies."""

    def study(rng, patients):
        severity = rng.normal(-0.9, 1.2, patients)[:, None]
        truth = (severity + rng.normal(0, 1, (patients, 12))) > 0
        skill = rng.normal(0.9, 0.06, patients)[:, None]
        answer = np.where(rng.random((patients, 12)) < skill, truth, ~truth)
        owner = np.repeat(np.arange(patients), 12)
        return confusion(truth.ravel(), answer.ravel()), owner

    whole, _ = study(np.random.default_rng(0), 400_000)
    actual = float(mcc_counts(whole.sum(axis=0)))
    rng = np.random.default_rng(1)
    held = naive = 0
    for trial in range(600):
        counts, owner = study(rng, 53)
        found = bootstrap_by_patient(mcc_counts, counts, owner, 1000, trial, method)
        held += found.low <= actual <= found.high
        cases = bootstrap_by_patient(mcc_counts, counts, np.arange(len(counts)), 200, trial)
        naive += cases.low <= actual <= cases.high
    assert 0.91 <= held / 600 <= 0.98
    assert naive <= held  # resampling half-slices claims too much
