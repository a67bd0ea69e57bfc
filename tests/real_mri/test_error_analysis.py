"""Error analysis on detections whose errors are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from axspa_lib.diagnosis.rules import KEY, half_slice_results
from axspa_lib.real_mri import error_analysis
from axspa_lib.study.errors import DataError

CONSENSUS_OF = ("R11", "R12", "R21", "R22")


def truth(patients: int = 5, slices: int = 8) -> pd.DataFrame:
    rows = [(f"p{p}", z, side, (p + z // 2 + (side == "R")) % 2)
            for p in range(patients) for z in range(slices) for side in "RL"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*KEY, "inflammation"])


def readings(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table.assign(reader=name) for name in CONSENSUS_OF])


def boxes(table: pd.DataFrame, probability: np.ndarray, score: float = 0.9) -> pd.DataFrame:
    """One detection per half-slice with a probability of inflammation."""
    found = table[KEY].assign(score=score, label=(probability > 0.5).astype(int))
    return found.assign(p_inflamed=probability * score, p_healthy=(1 - probability) * score)


def values(predictions: pd.DataFrame, table: pd.DataFrame, threshold: float = 0.6) -> pd.Series:
    members = {0: half_slice_results(predictions, table[KEY], threshold)}
    best = error_analysis.best_box_results({0: predictions}, table)
    return error_analysis.error_table(error_analysis.answers(readings(table), members, best, table), n=100).set_index(
        "answer"
    )["value"]


def test_the_best_box_is_the_one_with_the_highest_score() -> None:
    table = truth(1, 1)
    several = pd.concat([boxes(table, np.array([0.9, 0.9]), 0.3), boxes(table, np.array([0.2, 0.1]), 0.8)])
    best = error_analysis.best_boxes(several.reset_index(drop=True))
    assert list(best["score"]) == [0.8, 0.8] and list(best["label"]) == [0, 0]


def test_a_right_answer_with_a_second_box_is_lost_to_the_count_alone() -> None:
    table = truth()
    right = np.where(table["inflammation"] == 1, 0.9, 0.1)
    extra = boxes(table, right, 0.7)  # a second, weaker box with the same class everywhere
    found = values(pd.concat([boxes(table, right), extra], ignore_index=True), table)
    assert found[error_analysis.PAPER] == pytest.approx(-1), "every count is wrong"
    assert (
        found[error_analysis.ANY]
        == found[error_analysis.BEST]
        == found[error_analysis.RANKING]
        == found[error_analysis.WITHIN]
        == 1
    )


@pytest.mark.parametrize("failures", [0.0, 0.3, 0.9, 1.0])
def test_chance_is_the_mean_mcc_of_shuffled_classes(failures: float) -> None:
    """Simulation: shuffle the classes of the counted half-slices many times, keep the failures as forced errors."""
    random = np.random.default_rng(3)
    truth = (random.random(171) < 0.53).astype(int)
    failed = random.random(171) < failures
    answer = np.where(failed, 1 - truth, random.random(171) < 0.7)
    simulated = []
    for _ in range(4000):
        shuffled = answer.copy()
        shuffled[~failed] = random.permutation(answer[~failed])
        simulated.append(matthews_corrcoef(truth, shuffled))
    error = np.std(simulated) / np.sqrt(len(simulated))
    assert abs(error_analysis.chance_mcc(truth, answer, failed) - np.mean(simulated)) < 4 * error + 1e-9
    assert (error_analysis.chance_mcc(truth, answer, failed) < -0.05) == (failures > 0)


def test_forgiven_counts_and_best_boxes_have_chance_zero_and_the_papers_rule_less() -> None:
    table = truth()
    score = np.where(np.arange(len(table)) % 5 == 0, 0.4, 0.9)  # a fifth of the half-slices has no sure box
    found = boxes(table, np.where(np.arange(len(table)) % 3 == 0, 0.9, 0.1)).assign(score=score)
    members = {0: half_slice_results(found, table[KEY], 0.6)}
    given = error_analysis.answers(readings(table), members, error_analysis.best_box_results({0: found}, table), table)
    lost = error_analysis.error_table(given, n=50)
    chance = lost.set_index("answer")["chance"]
    assert chance[error_analysis.PAPER] < -0.1
    assert chance[[error_analysis.ANY, error_analysis.BEST]].to_numpy() == pytest.approx(0)
    assert chance[[error_analysis.RANKING, error_analysis.WITHIN]].to_list() == [0.5, 0.5]
    assert error_analysis.format_errors(lost)["by chance"].to_list()[1:] == ["0.00", "0.00", "0.50", "0.50"]


def test_unsure_boxes_are_lost_to_the_threshold_alone() -> None:
    table = truth()
    right = np.where(table["inflammation"] == 1, 0.9, 0.1)
    found = values(boxes(table, right, score=0.4), table, threshold=0.6)
    assert (
        found[error_analysis.PAPER] == pytest.approx(-1)
        and found[error_analysis.ANY] == 0
        and found[error_analysis.BEST] == 1
    )


def test_a_shift_between_subjects_harms_the_ranking_of_all_but_not_within_one() -> None:
    table = truth(6)
    shift = table["patient"].str[1:].astype(int).to_numpy() * 0.15
    probability = np.where(table["inflammation"] == 1, 0.15, 0.05) + shift
    found = values(boxes(table, probability), table)
    assert found[error_analysis.WITHIN] == 1 and found[error_analysis.RANKING] < 0.8
    assert found[error_analysis.RANKING] == pytest.approx(roc_auc_score(table["inflammation"], probability))


def test_ranking_within_subjects_by_hand() -> None:
    judged = pd.DataFrame({"patient": ["a"] * 4 + ["b"] * 2, "inflammation": [1, 1, 0, 0, 1, 0],
                           "p_inflamed": [0.9, 0.2, 0.2, 0.1, 0.3, 0.8]})  # fmt: skip
    # a: pairs (.9,.2) (.9,.1) right, (.2,.2) tie, (.2,.1) right = 3.5 of 4; b: 0 of 1
    assert error_analysis.area_within_subjects(judged, n=20).value == pytest.approx(3.5 / 5)
    with pytest.raises(DataError, match="no patient has inflamed and healthy"):
        error_analysis.area_within_subjects(judged[judged["inflammation"] == 1], n=20)


@pytest.mark.parametrize(
    ("over", "within", "said"),
    [((0.55, 0.9), (0.4, 0.9), "right threshold"), ((0.45, 0.8), (0.6, 0.9), "no single threshold serves all"),
     ((0.4, 0.7), (0.45, 0.7), "does not rank")],
)  # fmt: skip
def test_the_interpretation_follows_the_intervals(over: tuple, within: tuple, said: str) -> None:
    rows = [(error_analysis.RANKING, 0.65, *over), (error_analysis.WITHIN, 0.65, *within)]
    assert said in error_analysis.interpret_ranking(pd.DataFrame(rows, columns=["answer", "value", "low", "high"]))


def test_probabilities_are_the_mean_of_the_members() -> None:
    table = truth(2, 2)
    members = {0: boxes(table, np.full(len(table), 0.2)), 1: boxes(table, np.full(len(table), 0.6))}
    best = error_analysis.best_box_results(members, table)
    found = error_analysis.scored_half_slices(error_analysis.answers(readings(table), best, best, table))
    assert found["p_inflamed"].to_numpy() == pytest.approx(0.4)
    assert (
        found.set_index(KEY)["inflammation"]
        .sort_index()
        .equals(table.set_index(KEY)["inflammation"].sort_index().astype(found["inflammation"].dtype))
    )


def test_small_lesions_are_told_from_large_ones() -> None:
    table = truth(4)
    large = table["patient"].isin(["p0", "p1"])
    areas = table.assign(area_mm2=np.where(table["inflammation"] == 1, np.where(large, 300.0, 20.0), 0.0))
    areas = pd.concat([areas.assign(reader=name, quadrant="iliac_upper") for name in CONSENSUS_OF])
    seen = np.where((table["inflammation"] == 1) & large, 0.9, 0.1)  # a model that finds large lesions only
    members = {0: half_slice_results(boxes(table, seen), table[KEY], 0.6)}
    best = error_analysis.best_box_results({0: boxes(table, seen)}, table)
    found = error_analysis.rates_by_size(
        error_analysis.answers(readings(table), members, best, table), areas
    ).set_index("size")
    assert list(found.index) == ["healthy", "inflamed, up to 50 mm²", "inflamed, more than 200 mm²"]
    assert found["n"].sum() == len(table) and list(found["readings"]) == [0, 1, 1]
    assert list(found["any_box"]) == list(found["best_box"]) == [0, 0, 1]


def test_a_box_is_on_its_roi_when_half_of_both_is_shared() -> None:
    rois = pd.DataFrame([("a", 0, "R", 0, 0, 10, 10), ("a", 0, "L", 20, 0, 30, 10), ("b", 1, "R", 0, 0, 10, 10)],
                        columns=[*KEY, "left", "top", "right", "bottom"])  # fmt: skip
    found = pd.DataFrame(
        [("a", 0, "R", 0.9, 0.0, 0.0, 10.0, 5.0), ("a", 0, "L", 0.9, 25.0, 0.0, 35.0, 10.0),
         ("a", 0, "L", 0.8, 20.0, 0.0, 30.0, 10.0)],
        columns=[*KEY, "score", "x0", "y0", "x1", "y1"],
    )  # fmt: skip
    # R of a: 50 of 100 is half; L of a: the best box shares 50 of 150, the weaker one does not speak; b: no box
    assert error_analysis.located({0: found}, rois, n=50).value == pytest.approx(1 / 3)
    assert error_analysis.located({0: found, 1: found.iloc[:0]}, rois, n=50).value == pytest.approx(1 / 6)
    table = error_analysis.format_located({"phantom_only": {0: found}}, {"phantom_only": rois}, n=50)
    assert table["experiment"].item() == "Phantom only" and table["best box on the ROI"].item().startswith("33%")
