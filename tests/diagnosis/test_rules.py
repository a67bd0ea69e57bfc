"""Detections to half-slices to patients to an ensemble, on hand-made predictions whose every cell is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.diagnosis.rules import asas_consecutive, half_slice_results, patient_results
from axspa_lib.diagnosis.votes import checked_members, consensus_of, consensus_opinion, ensemble_vote
from axspa_lib.study.errors import DataError
from tests.diagnosis.grids import every_half_slice

COLUMNS = ["patient", "slice", "side", "score", "label", "p_healthy", "p_inflamed"]


def detections(*rows: tuple) -> pd.DataFrame:
    """Rows `(patient, slice, side, score, label)`, with the class probabilities of a two-class softmax."""
    full = [(*row, row[3] if row[4] == 0 else 1 - row[3], row[3] if row[4] == 1 else 1 - row[3]) for row in rows]
    return pd.DataFrame(full, columns=COLUMNS)


def grid(slices: int = 2, patients: str = "ab") -> pd.DataFrame:
    return every_half_slice(list(patients), slices)


def patient_table(positive: list[int], score: list[float] | None = None) -> pd.DataFrame:
    names = [f"p{number}" for number in range(len(positive))]
    scores = score if score is not None else [0.9 * value for value in positive]
    rois = [2 * value for value in positive]
    return pd.DataFrame({"patient": names, "positive_rois": rois, "positive": positive, "score": scores})


def test_half_slices_by_hand():
    found = half_slice_results(
        detections(
            ("a", 0, "L", 0.9, 1),
            ("a", 0, "R", 0.8, 0),
            ("a", 1, "L", 0.95, 1),
            ("a", 1, "L", 0.75, 0),
            ("a", 1, "R", 0.7, 1),  # not above the threshold
            ("b", 0, "L", 0.99, 0),
        ),
        grid(),
        0.7,
    ).set_index(["patient", "slice", "side"])
    assert found.loc[("a", 0, "L")].tolist() == [1, 1, 1, True, 0.9]
    assert found.loc[("a", 0, "R")].tolist() == [1, 0, 0, True, pytest.approx(0.2)]
    assert found.loc[("a", 1, "L")].tolist() == [2, 1, 1, False, 0.95]
    assert found.loc[("a", 1, "R")].tolist() == [0, 0, 0, False, 0.0]
    assert found.loc["b", "boxes"].sum() == 1 and found.loc["b", "positive"].sum() == 0
    assert len(found) == 8


def test_half_slices_keep_the_order_and_rows_asked_for():
    asked = grid().sample(frac=1, random_state=3).reset_index(drop=True)
    found = half_slice_results(detections(("a", 1, "R", 0.9, 1), ("b", 0, "L", 0.9, 0)), asked)
    pd.testing.assert_frame_equal(found[["patient", "slice", "side"]], asked)


def test_no_detection_at_all():
    found = half_slice_results(detections().astype({"score": float, "label": int}), grid())
    assert (found["boxes"] == 0).all() and not found["correct_count"].any() and (found["p_inflamed"] == 0).all()
    assert (patient_results(found)["positive"] == 0).all()


def test_half_slices_refuse_what_cannot_be():
    with pytest.raises(DataError, match="patient z has predictions but is not in the cohort"):
        half_slice_results(detections(("z", 0, "L", 0.9, 1)), grid())
    with pytest.raises(DataError, match="listed twice"):
        half_slice_results(detections(("a", 0, "L", 0.9, 1)), pd.concat([grid(), grid()]))
    with pytest.raises(DataError, match="lack the column 'score'"):
        half_slice_results(detections(("a", 0, "L", 0.9, 1)).drop(columns="score"), grid())


def test_a_rule_of_zero_is_refused():
    with pytest.raises(DataError, match="makes every patient positive"):
        patient_results(half_slice_results(detections(("a", 0, "L", 0.9, 1)), grid(2, "a")), 0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 2), st.sampled_from("LR"), st.floats(0.51, 1.0), st.integers(0, 1)
        ),
        max_size=25,
    ),
    st.integers(1, 4),
    st.sampled_from([0.5, 0.7, 0.9]),
)
def test_the_score_is_the_decision(rows, rule, threshold):
    """`score >= 0.5` and `positive` agree for every rule and threshold, so a sweep over the score is the rule's ROC."""
    half = half_slice_results(detections(*rows).astype({"score": float, "label": int}), grid(3), threshold)
    found = patient_results(half, rule)
    expected = [
        sum(1 for row in rows if row[0] == patient and row[4] == 1 and row[3] > threshold) >= rule for patient in "ab"
    ]
    assert found["positive"].astype(bool).tolist() == expected
    assert (found["score"] >= 0.5).tolist() == expected


@pytest.mark.parametrize(
    ("positive", "expected"),
    [
        ([(3, "L"), (3, "R")], 1),
        ([(3, "L"), (4, "L")], 1),
        ([(3, "L"), (4, "R")], 0),
        ([(3, "L"), (5, "L")], 0),
        ([(3, "L")], 0),
        ([], 0),
    ],
)
def test_consecutive_slices_rule(positive, expected):
    half = half_slice_results(detections(*[("a", s, side, 0.9, 1) for s, side in positive])
                              .astype({"score": float, "label": int}), grid(8, "a"))  # fmt: skip
    found = asas_consecutive(half)
    assert found["positive"].tolist() == [expected] and found["positive_rois"].tolist() == [len(positive)]


def test_patient_vote_by_hand_with_a_tie():
    members = {0: patient_table([1, 1, 0, 0]), 1: patient_table([1, 0, 0, 1], [0.8, 0.1, 0.2, 0.9])}
    found = ensemble_vote(members)
    assert found["positive"].tolist() == [1, 0, 0, 0]
    assert found["tie"].tolist() == [False, True, False, True]
    assert found["votes"].tolist() == [1.0, 0.5, 0.0, 0.5]
    assert found["score"].tolist() == pytest.approx([0.85, 0.5, 0.1, 0.45])
    upper = ensemble_vote(members, tie=1)
    assert upper["positive"].tolist() == [1, 1, 0, 1] and upper["positive_rois"].tolist() == [2, 2, 0, 2]


def test_half_slice_vote_by_hand():
    cells = {0: ("a", 0, "L", 0.9, 1), 1: ("a", 0, "L", 0.8, 1), 2: ("a", 0, "R", 0.8, 0)}
    members = {seed: half_slice_results(detections(row), grid(1, "a")) for seed, row in cells.items()}
    found = ensemble_vote(members, "half_slice").set_index("side")
    assert found.loc["L", ["boxes", "inflamed", "positive"]].tolist() == [1, 1, 1] and found.loc["L", "correct_count"]
    assert (
        found.loc["R", ["boxes", "inflamed", "positive"]].tolist() == [0, 0, 0] and not found.loc["R", "correct_count"]
    )
    assert patient_results(found.reset_index(), 1)["positive"].tolist() == [1]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 10), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_vote_is_the_strict_majority(k, patients, seed):
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 2, (k, patients))
    scores = rng.random((k, patients)) + 0.01
    members = {m: patient_table(answers[m].tolist(), scores[m].tolist()) for m in range(k)}
    found = ensemble_vote(members)
    assert found["positive"].tolist() == (2 * answers.sum(axis=0) > k).astype(int).tolist()
    assert ((found["positive_rois"] >= 2) == (found["positive"] == 1)).all()
    flipped = ensemble_vote(dict(reversed(list(members.items()))))
    pd.testing.assert_frame_equal(found, flipped)


def test_member_rows_may_stand_in_any_order():
    members = {0: patient_table([1, 0, 1]), 1: patient_table([1, 1, 1], [0.8, 0.7, 0.6])}
    shuffled = {0: members[0], 1: members[1].iloc[::-1].reset_index(drop=True)}
    pd.testing.assert_frame_equal(ensemble_vote(members), ensemble_vote(shuffled))


def test_ensembles_that_are_none_are_refused():
    one, other = patient_table([1, 0]), patient_table([1, 1], [0.9, 0.8])
    with pytest.raises(DataError, match="no member"):
        ensemble_vote({})
    with pytest.raises(DataError, match="seeds 0 and 4 hold the same predictions"):
        ensemble_vote({0: one, 4: one.copy()})
    with pytest.raises(DataError, match="seeds 0 and 4 hold the same predictions"):
        ensemble_vote({0: one, 4: one.iloc[::-1].reset_index(drop=True)})
    with pytest.raises(DataError, match="seed 1 are not of the same cohort"):
        ensemble_vote({0: one, 1: other.assign(patient=["p0", "x"])})
    with pytest.raises(DataError, match="not of the same cohort"):
        checked_members({0: one, 1: other}, patients=["p0"])
    with pytest.raises(DataError, match="same half-slices"):
        half = half_slice_results(detections(("a", 0, "L", 0.9, 1)), grid(2, "a"))
        ensemble_vote({0: half, 1: half.iloc[1:].assign(p_inflamed=0.5)}, "half_slice")


def test_members_are_counted_and_decided_one_by_one():
    """A mapping of members gives each member's own result."""
    cells = {3: detections(("a", 0, "L", 0.9, 1)), 5: detections(("a", 0, "R", 0.8, 0))}
    halves = half_slice_results(cells, grid(1, "a"), 0.5)
    assert list(halves) == [3, 5]
    for seed, table in cells.items():
        pd.testing.assert_frame_equal(halves[seed], half_slice_results(table, grid(1, "a"), 0.5))
        pd.testing.assert_frame_equal(patient_results(halves, 1)[seed], patient_results(halves[seed], 1))


@pytest.mark.parametrize(("rule", "positive"), [(1, [1, 1, 0]), (2, [1, 1, 0]), (3, [0, 1, 0])])
def test_patients_by_hand(rule, positive):
    rows = [
        ("a", 0, "L", 0.9, 1),
        ("a", 0, "L", 0.9, 1),  # two inflamed boxes on one half-slice are summed (3.2.2)
        ("b", 0, "L", 0.9, 1),
        ("b", 0, "R", 0.9, 1),
        ("b", 1, "R", 0.9, 1),
        ("c", 1, "R", 0.9, 0),
    ]
    found = patient_results(half_slice_results(detections(*rows), grid(2, "abc")), rule)
    assert found["positive_rois"].tolist() == [2, 3, 0]
    assert found["positive"].tolist() == positive


def test_copied_detections_are_refused_but_empty_ones_are_not():
    found = detections(("a", 0, "L", 0.9, 1), ("a", 1, "L", 0.8, 0))
    with pytest.raises(DataError, match="hold the same predictions"):
        checked_members({0: found.assign(member=0), 1: found.assign(member=1)})
    empty = half_slice_results(detections().astype({"score": float, "label": int}), grid())
    assert ensemble_vote({0: empty, 1: empty.copy()}, "half_slice")["positive"].sum() == 0


def test_consensus_of_opinions():
    opinions = pd.DataFrame(
        [("a", "1", 1), ("a", "2", 1), ("a", "3", 0), ("b", "1", 1), ("b", "2", 0), ("c", "1", 1)],
        columns=["patient", "reader", "asas_positive"],
    )
    found = consensus_opinion(opinions).set_index("patient")
    assert found["asas_positive"].to_dict() == {"a": 1, "b": 1} and found["readers"].to_dict() == {"a": 3, "b": 2}
    assert consensus_opinion(opinions, tie=0).set_index("patient")["asas_positive"].to_dict() == {"a": 1, "b": 0}
    assert consensus_of(pd.Series(["b", "a"]), opinions).to_dict() == {"b": 1, "a": 1}
    with pytest.raises(DataError, match="patient c was predicted but has no consensus"):
        consensus_of(pd.Series(["a", "c"]), opinions)
    with pytest.raises(DataError, match="two opinions on patient a"):
        consensus_opinion(pd.concat([opinions, opinions.iloc[:1]]))
