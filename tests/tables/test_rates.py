"""What goes beyond the paper's tables: ways to vote, bands of curves, lesion size, intervals of several groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef, precision_score, recall_score, roc_curve

from axspa_lib.diagnosis import sweeps
from axspa_lib.stats import bootstrap_by_patient, confusion, mcc_counts
from axspa_lib.stats.curves import band
from axspa_lib.study.errors import DataError
from axspa_lib.tables.rates import NONE, by_group, largest_lesion, lesion_size
from tests.diagnosis.grids import every_half_slice


def halves(grid: pd.DataFrame, inflamed: list[int], score: list[float]) -> pd.DataFrame:
    positive = (np.array(inflamed) > 0).astype(int)
    return grid.assign(boxes=1, inflamed=inflamed, positive=positive, correct_count=True, p_inflamed=score)


def said(**patients: int) -> pd.DataFrame:
    rows = [(patient, reader, value) for patient, value in patients.items() for reader in "12"]
    return pd.DataFrame(rows, columns=["patient", "reader", "asas_positive"])


@pytest.fixture
def three_members():
    """Two patients of one slice each; every member marks another pair, so half-slice and patient votes differ."""
    grid = every_half_slice(["a", "b"], 2)
    members = {
        0: halves(grid, [1, 1, 0, 0, 0, 0, 0, 0], [0.9, 0.55, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1]),
        1: halves(grid, [0, 0, 1, 1, 0, 0, 0, 0], [0.1, 0.2, 0.8, 0.7, 0.2, 0.1, 0.1, 0.1]),
        2: halves(grid, [0, 0, 0, 0, 1, 1, 0, 0], [0.1, 0.1, 0.2, 0.3, 0.8, 0.7, 0.1, 0.1]),
    }
    return members, said(a=1, b=0)


def test_every_way_to_vote_by_hand(three_members):
    """Patient a is positive for members 0 and 1, by other half-slices, b for member 2 alone."""
    found = sweeps.vote_kinds(*three_members, n=20).set_index(["vote", "rate"])["value"]
    assert found[sweeps.PATIENTS, "sensitivity"] == 1 and found[sweeps.PATIENTS, "specificity"] == 1
    assert found[sweeps.HALF_SLICES, "sensitivity"] == 0, "no half-slice has a majority, so nobody is positive"
    assert found[sweeps.SCORES, "sensitivity"] == 0, "second largest scores of a: 0.55, 0.7, 0.2"
    assert found[sweeps.SINGLE, "sensitivity"] == pytest.approx(2 / 3)
    assert found[sweeps.SINGLE, "specificity"] == pytest.approx(2 / 3)
    assert found[sweeps.SINGLE, "MCC"] == pytest.approx(np.mean([1, 1, -1]))


@pytest.mark.parametrize("seed", range(3))
def test_votes_of_one_member_are_that_member(seed):
    """With k = 1 every count vote is the member itself; rates are scikit-learn's."""
    rng = np.random.default_rng(seed)
    names = [f"p{i:02d}" for i in range(30)]
    grid = every_half_slice(names, 2)
    marks = rng.integers(0, 2, len(grid))
    opinions = said(**{name: int(rng.random() < 0.5) for name in names})
    found = sweeps.vote_kinds({7: halves(grid, list(marks), list(marks * 0.8))}, opinions, n=20)
    wide = found.pivot(index="vote", columns="rate", values="value")
    assert np.allclose(wide.loc[sweeps.SINGLE].to_numpy(float), wide.loc[sweeps.PATIENTS].to_numpy(float))
    assert np.allclose(wide.loc[sweeps.HALF_SLICES].to_numpy(float), wide.loc[sweeps.PATIENTS].to_numpy(float))
    truth = opinions.drop_duplicates("patient")["asas_positive"].to_numpy()
    answer = (marks.reshape(30, 4).sum(axis=1) >= 2).astype(int)
    row = wide.loc[sweeps.PATIENTS]
    assert row["sensitivity"] == pytest.approx(recall_score(truth, answer))
    assert row["specificity"] == pytest.approx(recall_score(1 - truth, 1 - answer))
    assert row["precision"] == pytest.approx(precision_score(truth, answer))
    assert row["Cohen's kappa"] == pytest.approx(cohen_kappa_score(truth, answer))
    assert row["MCC"] == pytest.approx(matthews_corrcoef(truth, answer))


def test_a_patient_without_opinions_is_refused(three_members):
    with pytest.raises(DataError, match="patient b was predicted but has no consensus of readers"):
        sweeps.vote_kinds(three_members[0], said(a=1))


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
def test_a_band_of_one_case_per_patient_holds_the_quantiles_of_single_resamples(kind):
    """The band is what scikit-learn's curve gives in each resample, drawn here one by one."""
    rng = np.random.default_rng(1)
    truth = (rng.random(40) < 0.4).astype(float)
    score = np.round(rng.random(40) * 0.6 + truth * 0.3, 1)  # with ties
    patients = np.array([f"p{i:02d}" for i in range(40)])
    found = band(truth, score, patients, kind, n=60, seed=5, points=11)
    draws = np.random.default_rng(5).multinomial(40, np.full(40, 1 / 40), size=60)
    curves = []
    for counts in draws:
        index = np.repeat(np.arange(40), counts)
        t, s = truth[index], score[index]
        if 0 < t.sum() < len(t):
            values = []
            for x in found[:, 0]:
                cuts = [(s >= cut) for cut in [*np.unique(s)[::-1]]]
                fallout = np.array([0.0, *(c[t == 0].mean() for c in cuts)])
                recall = np.array([0.0, *(c[t == 1].mean() for c in cuts)])
                precision = [1.0, *(t[c].mean() for c in cuts)]
                if kind == "roc":
                    values.append(recall[np.flatnonzero(fallout <= x + 1e-12)[-1]])
                else:
                    values.append(precision[1:][np.flatnonzero(recall[1:] >= x - 1e-12)[0]])
            curves.append(values)
    low, high = np.quantile(np.array(curves), [0.025, 0.975], axis=0)
    assert np.allclose(found[:, 1], low) and np.allclose(found[:, 2], high)


def test_a_band_ends_at_one_and_holds_the_curve():
    rng = np.random.default_rng(3)
    truth, owner = np.repeat(rng.integers(0, 2, 60), 4), np.repeat(np.arange(60), 4)
    score = rng.random(240) + 0.5 * truth
    found = band(truth, score, owner, n=400)
    assert found[-1].tolist() == [1, 1, 1] and (found[:, 1] <= found[:, 2]).all()
    x, y, _ = roc_curve(truth, score, drop_intermediate=False)
    at = y[np.searchsorted(x, found[:, 0] + 1e-12, side="right") - 1]
    assert ((at >= found[:, 1] - 1e-9) & (at <= found[:, 2] + 1e-9)).mean() > 0.95
    with pytest.raises(DataError, match="one class only"):
        band([1, 1], [0.1, 0.2], ["a", "b"])


LESIONS = pd.DataFrame(
    [("a", "oedema", "L", 100.0, 1, 2), ("a", "oedema", "L", 300.0, 2, 3), ("a", "erosion", "R", 900.0, 0, 3),
     ("b", "oedema", "R", 50.0, 0, 0), ("b", "oedema", "R", 70.0, -1, -1)],
    columns=["patient", "type", "side", "volume_mm3", "first_slice", "last_slice"],
)  # fmt: skip


def test_the_largest_lesion_of_a_half_slice_by_hand():
    """Only oedema, only in the slices it crosses, only on its side, and a lesion between slices shows nowhere."""
    cases = every_half_slice(["a", "b"], 4).sample(frac=1, random_state=0)
    size = cases.assign(size=largest_lesion(cases, LESIONS)).set_index(["patient", "slice", "side"])["size"]
    known = {("a", 1, "L"): 100, ("a", 2, "L"): 300, ("a", 3, "L"): 300, ("b", 0, "R"): 50}
    assert size[size > 0].to_dict() == known and len(size) == 16


def test_marks_by_size_by_hand():
    cases = every_half_slice(["a", "b"], 4)
    size = largest_lesion(cases, LESIONS)
    cases = cases.assign(all=1, none=0, large=(size >= 300).astype(int))
    found = lesion_size(cases, {"all": "all", "none": "none", "large": "large"}, LESIONS, bins=2, n=50)
    value = found.set_index(["group", "series"])["value"].to_dict()
    groups = list(dict.fromkeys(found["group"]))
    assert groups == [NONE, "up to 200", "above 200"]
    assert found.drop_duplicates("group")["n"].tolist() == [12, 2, 2]
    assert [value[group, "all"] for group in groups] == [1, 1, 1]
    assert [value[group, "none"] for group in groups] == [0, 0, 0]
    assert [value[group, "large"] for group in groups] == [0, 0, 1]
    assert (found["low"] <= found["value"]).all() and (found["value"] <= found["high"]).all()
    assert found.loc[found["series"] == "all", "low"].lt(1).all(), "all of few is no certainty"
    with pytest.raises(DataError, match="no half-slice evaluated shows a lesion"):
        lesion_size(cases[cases["patient"] == "c"], {"all": "all"}, LESIONS)


def test_simultaneous_intervals_are_those_of_the_stricter_level():
    rng = np.random.default_rng(0)
    cases = pd.DataFrame({"patient": np.repeat([f"p{i}" for i in range(40)], 5), "reference": rng.integers(0, 2, 200)})
    flipped = np.where(rng.random(200) < 0.2, 1 - cases["reference"], cases["reference"])
    cases = cases.assign(prediction=flipped, group=np.repeat(["x", "y"], 100))
    single = by_group(cases, pd.Series("x", index=cases.index), n=500)
    both = by_group(cases, cases["group"], n=500).set_index("group")
    part = cases[cases["group"] == "x"]
    counts = confusion(part["reference"], part["prediction"])
    expected = bootstrap_by_patient(mcc_counts, counts, part["patient"], 500, 0, "jeffreys", 0.975)
    assert both.loc["x", ["low", "high"]].tolist() == [expected.low, expected.high]
    whole = bootstrap_by_patient(
        mcc_counts, confusion(cases["reference"], cases["prediction"]), cases["patient"], 500, 0, "jeffreys"
    )
    assert single.loc[0, ["low", "high"]].tolist() == [whole.low, whole.high], "one group compares nothing"
