"""The protocol against brute force, scikit-learn, and scores whose knowledge is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from axspa_lib.real_mri.protocol import GAIN, MCC, SIDE, WITHIN, best_threshold, interpret_protocol, labelled, protocol
from axspa_lib.study.errors import DataError


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    """Six subjects of twelve slices; inflammation is frequent behind, and the two sides differ at random."""
    rng = np.random.default_rng(3)
    rows = [(f"p{s}", i, side, f"s{s}", i / 11) for s in range(6) for i in range(12) for side in "RL"]
    table = pd.DataFrame(rows, columns=["patient", "slice", "side", "subject", "position"])
    return table.assign(inflammation=(rng.random(len(table)) < 0.15 + 0.6 * table["position"]).astype(int))


def measured(cases: pd.DataFrame, **scores: object) -> pd.DataFrame:
    methods = {name: pd.DataFrame({"score": values}, index=cases.index) for name, values in scores.items()}
    return protocol(cases, methods, n=200, permutations=40).set_index(["method", "measure"])


def test_perfect_pixels_and_position_alone_are_told_apart(cases):
    rng = np.random.default_rng(0)
    found = measured(
        cases,
        pixels=cases["inflammation"] + 0.1 * rng.random(len(cases)),
        slice_number=cases["position"],
        noise=rng.random(len(cases)),
    )["value"]
    assert found["pixels", MCC] == found["pixels", WITHIN] == found["pixels", SIDE] == 1
    assert found["pixels", GAIN] > 0.3
    assert found["slice_number", WITHIN] > 0.65 and found["slice_number", SIDE] == 0.5
    assert found["slice_number", GAIN] < 0.02 and found["noise", GAIN] < 0.02


def test_chance_is_what_a_score_without_knowledge_reaches(cases):
    found = measured(cases, noise=np.random.default_rng(1).random(len(cases)))["chance"]
    assert abs(found["noise", MCC]) < 0.1 and found["noise", WITHIN] == pytest.approx(0.5, abs=0.03)
    assert found["noise", SIDE] == pytest.approx(0.5, abs=0.05)


def test_within_is_the_area_of_each_subject_weighted_by_its_pairs(cases):
    score = np.random.default_rng(2).random(len(cases)) + 0.5 * cases["inflammation"]
    areas, pairs = [], []
    for _, part in cases.assign(score=score).groupby("subject"):
        areas.append(roc_auc_score(part["inflammation"], part["score"]))
        pairs.append(part["inflammation"].sum() * (1 - part["inflammation"]).sum())
    assert measured(cases, score=score)["value"]["score", WITHIN] == pytest.approx(np.average(areas, weights=pairs))


def test_several_columns_are_fitted_on_the_other_subjects_only(cases):
    """A column that names one subject's labels helps on that subject alone, which is left out."""
    told = np.where(cases["subject"] == "s0", cases["inflammation"], 0.5)
    table = pd.DataFrame({"told": told, "noise": np.random.default_rng(4).random(len(cases))}, index=cases.index)
    found = protocol(cases, {"fitted": table}, n=50, permutations=0).set_index("measure")["value"]
    assert abs(found[MCC]) < 0.35


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=3, max_size=25))
def test_the_threshold_is_the_best_of_all(pairs):
    truth, score = np.array([int(p) for p, _ in pairs]), np.array([float(s) for _, s in pairs])
    best = max(matthews_corrcoef(truth, score >= t) for t in np.unique(score))
    assert matthews_corrcoef(truth, score >= best_threshold(truth, score)) == pytest.approx(best)


def test_labels_follow_the_limit_of_the_drawn_area():
    areas = pd.DataFrame(
        [("p", reader, 2, side, quadrant, area)
         for reader, area in (("A", 12.0), ("B", 60.0), ("C", 70.0))
         for side, quadrant in (("R", "upper"),)],
        columns=["patient", "reader", "slice", "side", "quadrant", "area_mm2"],
    )  # fmt: skip
    evaluated = pd.DataFrame({"patient": "p", "slice": [2], "side": ["R"], "joint": [True]})
    people = pd.DataFrame({"patient": ["p"], "subject": ["s"], "slices": [5]})
    labels = [labelled(areas, evaluated, people, limit)["inflammation"].tolist() for limit in (10, 50, 65)]
    assert labels == [[1], [1], [0]]
    assert labelled(areas, evaluated, people, 10)["position"].tolist() == [0.5]


def test_missing_scores_and_too_few_subjects_are_refused(cases):
    scores = pd.DataFrame({"score": np.ones(len(cases))}, index=cases.index)
    with pytest.raises(DataError, match="half-slices lack a value"):
        protocol(cases, {"half": scores.iloc[:5]})
    with pytest.raises(DataError, match="three subjects"):
        protocol(cases[cases["subject"] < "s2"], {"score": scores})


def test_the_verdict_names_the_methods_whose_interval_excludes_chance():
    rows = [("knows", SIDE, 0.8, 0.6, 0.9, 0.5), ("guesses", SIDE, 0.55, 0.4, 0.7, 0.5),
            ("knows", GAIN, 0.1, 0.02, 0.2, 0.0), ("guesses", GAIN, 0.1, -0.02, 0.2, 0.0)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "measure", "value", "low", "high", "chance"])
    assert interpret_protocol(table) == (
        "By their 95 % intervals, knows picks the inflamed side more often than chance and knows adds to position."
    )
    assert "no method adds to position" in interpret_protocol(table[table["method"] == "guesses"])
