"""Tables 1 to 4 cell by cell on hand-made data, and against a second, plain computation on random data."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import matthews_corrcoef

from axspa_lib.diagnosis import sweeps
from axspa_lib.diagnosis.readings import MODEL, half_slice_cases, wrong_counts
from axspa_lib.diagnosis.rules import patient_results
from axspa_lib.findings import claims, evidence
from axspa_lib.findings.evidence import Diagnoses
from axspa_lib.stats import Interval
from axspa_lib.study.errors import DataError
from axspa_lib.study.published import published
from axspa_lib.tables.cells import cell, marked, style
from axspa_lib.tables.rates import agreement, by_group
from axspa_lib.tables.table1 import table1
from axspa_lib.tables.table2 import table2
from axspa_lib.tables.table3 import table3
from axspa_lib.tables.table4 import format_differences, table4
from tests.diagnosis.grids import every_half_slice

KEY = ["patient", "slice", "side"]


def results(grid: pd.DataFrame, inflamed: list[int], boxes: list[int]) -> pd.DataFrame:
    """Half-slice results with given counts."""
    table = grid.assign(boxes=boxes, inflamed=inflamed)
    positive, right = (table["inflamed"] > 0).astype(int), table["boxes"] == 1
    score = np.where(table["boxes"] > 0, np.where(positive == 1, 0.9, 0.2), 0.0)
    return table.assign(positive=positive, correct_count=right, p_inflamed=score)


def random_study(seed: int, readers: tuple[str, ...] = ("1", "2", "3"), k: int = 3, patients: int = 12):
    """Readings, opinions and half-slice results of a random study with failures, unread half-slices and patients."""
    rng = np.random.default_rng(seed)
    grid = every_half_slice([f"p{i:02d}" for i in range(patients)], 3)
    truth = rng.random(len(grid)) < np.repeat(rng.beta(0.5, 1, patients), 6)
    readings = []
    for reader in readers:
        said = np.where(rng.random(len(grid)) < 0.85, truth, ~truth).astype(int)
        readings.append(grid.assign(reader=reader, inflammation=said)[rng.random(len(grid)) < 0.9])
    opinions = pd.DataFrame(
        [(p, r, int(rng.random() < 0.4)) for p in grid["patient"].unique() for r in readers],
        columns=["patient", "reader", "asas_positive"],
    )
    members = {}
    for member in range(k):
        boxes = rng.choice([0, 1, 1, 1, 1, 1, 2], len(grid))
        inflamed = np.minimum(boxes, np.where(rng.random(len(grid)) < 0.8, truth, ~truth) * boxes)
        found = results(grid, list(inflamed), list(boxes))
        members[member] = found.assign(p_inflamed=(found["p_inflamed"] - 0.1 * rng.random(len(grid))).clip(lower=0.0))
    return pd.concat(readings, ignore_index=True), opinions, members


def get(cells: pd.DataFrame, row: str, column: str) -> pd.Series:
    found = cells[(cells["row"] == row) & (cells["column"] == column)]
    assert len(found) == 1
    return found.iloc[0]


# Table 1 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small() -> tuple[pd.DataFrame, dict[int, pd.DataFrame]]:
    """Two patients, two slices: eight half-slices; reader 3 did not read the last."""
    grid = every_half_slice(["a", "b"], 2)
    one, two, three = [1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0]
    readings = pd.concat([grid.assign(reader=r, inflammation=v) for r, v in zip("123", (one, two, three), strict=True)])
    readings = readings.reset_index(drop=True).drop(index=23)
    members = {
        0: results(grid, [1, 1, 0, 0, 0, 0, 1, 0], [1] * 8),
        1: results(grid, [1, 0, 0, 0, 0, 0, 2, 0], [1, 0, 1, 1, 1, 1, 2, 1]),
    }
    return readings, members


def test_table1_by_hand(small):
    cells = table1(*small, n_boot=50)
    # consensus 1 1 0 0 0 0 1 and, read by 1 and 2 who disagree, a tie: 0
    assert get(cells, "1", "2")["value"] == pytest.approx(100 * matthews_corrcoef([1, 1, 0, 0, 0, 0, 1, 0],
                                                                                 [1, 0, 0, 0, 0, 0, 1, 1]))  # fmt: skip
    assert get(cells, "1", "3")["n"] == 7 and get(cells, "1", "2")["n"] == 8
    assert get(cells, "Consensus", "1")["value"] == pytest.approx(100)
    # member 0 is right everywhere; member 1 fails on the 2nd (no box) and 7th (two boxes): two misses
    one = 100 * matthews_corrcoef([1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 0, 0])
    model = get(cells, "Consensus", "M-RCNN")
    assert model["value"] == pytest.approx((100 + one) / 2)
    assert model["sd"] == pytest.approx(np.std([100, one], ddof=1))
    assert model["failures"] == pytest.approx(1 / 8) and model["k"] == 2
    # the vote: one box on the 7th (the lower median of 1 and 2), none on the 2nd
    assert get(cells, "Consensus", "ensembling")["value"] == pytest.approx(one_missed())
    # against reader 3 (7 half-slices: 1 1 1 0 0 0 0) the failures are its opposite: 0 at the 2nd, 1 at the 7th
    first = matthews_corrcoef([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 1])
    second = matthews_corrcoef([1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1])
    assert get(cells, "3", "M-RCNN")["value"] == pytest.approx(50 * (first + second))


def one_missed() -> float:
    return 100 * matthews_corrcoef([1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 0])


def test_table1_of_the_half_slices_with_a_joint(small):
    readings, members = small
    only = members[0][KEY].iloc[:4]
    cells = table1(readings, members, only=only, n_boot=50)
    assert set(cells["n"]) == {4} and get(cells, "Consensus", "M-RCNN")["patients"] == 1


@pytest.mark.parametrize("seed", range(3))
def test_table1_equals_a_plain_computation(seed):
    readings, _, members = random_study(seed)
    cells = table1(readings, members, n_boot=30)
    said = {(r.reader, (r.patient, r.slice, r.side)): r.inflammation for r in readings.itertuples()}
    halves = sorted({key for _, key in said})
    for key in halves:
        votes = [said[reader, key] for reader in "123" if (reader, key) in said]
        if len(votes) >= 2:
            said["Consensus", key] = int(sum(votes) * 2 > len(votes))
    answers = {
        member: {(r.patient, r.slice, r.side): (r.positive, r.correct_count) for r in table.itertuples()}
        for member, table in members.items()
    }
    for row in [*"123", "Consensus"]:
        keys = [key for key in halves if (row, key) in said]
        truth = [said[row, key] for key in keys]
        scores = []
        for found in answers.values():
            scores.append(matthews_corrcoef(truth, [
                found[key][0] if found[key][1] else 1 - value for key, value in zip(keys, truth, strict=True)
            ]))  # fmt: skip
        ours = get(cells, row, "M-RCNN")
        assert ours["value"] == pytest.approx(100 * np.mean(scores))
        assert ours["sd"] == pytest.approx(100 * np.std(scores, ddof=1))
        assert ours["n"] == len(keys)
        assert ours["low"] <= ours["value"] <= ours["high"]
    for first, second in [*combinations("123", 2), *(("Consensus", reader) for reader in "123")]:
        both = [key for key in halves if (first, key) in said and (second, key) in said]
        expected = matthews_corrcoef([said[first, k] for k in both], [said[second, k] for k in both])
        assert get(cells, first, second)["value"] == pytest.approx(100 * expected)


def test_table1_without_a_model_and_of_any_number_of_readers():
    readings, _, _ = random_study(3, ("R1", "R2"))
    cells = table1(readings, n_boot=20, compare=False)
    assert set(cells["column"]) == {"R1", "R2"} and cells["published"].isna().all()
    assert style(cells).data.loc["R1", "R2"] != "-"


def test_wrong_counts_may_be_forgiven(small):
    """The half-slice with two boxes, one inflamed, is then right, that without a box a miss."""
    forgiven = get(table1(*small, n_boot=20, count_failures=False), "3", "M-RCNN")
    first = matthews_corrcoef([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 1])
    second = matthews_corrcoef([1, 1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 1])
    assert forgiven["value"] == pytest.approx(50 * (first + second))
    assert forgiven["failures"] > 0
    consensus = matthews_corrcoef([1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 0])
    found = get(table1(*small, n_boot=20, count_failures=False), "Consensus", "M-RCNN")
    assert found["value"] == pytest.approx(50 * (1 + consensus))


def test_ties_of_members_and_readers_may_be_turned():
    said = {"1": [1, 1, 0, 0], "2": [1, 0, 0, 0]}
    rows = [(p, r, v) for r, values in said.items() for p, v in zip("abcd", values, strict=True)]
    opinions = pd.DataFrame(rows, columns=["patient", "reader", "asas_positive"])
    members = {0: decided("abcd", [1, 1, 0, 0]), 1: decided("abcd", [1, 0, 0, 0], 0.01)}

    def vote(vote_tie, consensus_tie):
        cells = table2(opinions, members, vote_tie=vote_tie, consensus_tie=consensus_tie, n_boot=20)
        return get(cells, "mcc", "ensembling")["value"]

    positive, negative = [1, 1, 0, 0], [1, 0, 0, 0]
    assert vote(1, 1) == vote(0, 0) == pytest.approx(100)
    assert vote(0, 1) == pytest.approx(100 * matthews_corrcoef(positive, negative)) == vote(1, 0)


def test_table1_of_one_class_is_zero(small):
    readings, members = small
    cells = table1(readings.assign(inflammation=0), members, n_boot=20)
    assert (cells.loc[cells["group"] == "readers", "value"] == 0).all()


def test_table1_refusals(small):
    readings, members = small
    with pytest.raises(DataError, match="reader 9 has no annotation"):
        table1(readings, members, readers=["1", "9"])
    with pytest.raises(DataError, match="patient c of the evaluation set was read by nobody"):
        table1(readings, members, patients=["a", "c"])
    with pytest.raises(DataError, match="two readings of a half-slice"):
        table1(pd.concat([readings, readings.iloc[:1]]), members)
    with pytest.raises(DataError, match="was read but not predicted"):
        table1(readings, {0: members[0].iloc[1:]})
    with pytest.raises(DataError, match="needs two readers"):
        table1(readings[readings["reader"] == "1"], members)
    with pytest.raises(DataError, match="not of the same cohort"):
        table1(readings, members, patients=["a"])


def test_wrong_counts(small):
    found = wrong_counts(small[1]).set_index("seed")
    assert found.loc[0, "wrong"] == 0 and found.loc[1, ["none", "several", "wrong"]].tolist() == [0.125, 0.125, 0.25]


# Tables 2 and 3 -------------------------------------------------------------------------------------------------------


def decided(names: str, positive: list[int], nudge: float = 0.0) -> pd.DataFrame:
    score = [0.9 * value + nudge for value in positive]
    return pd.DataFrame({"patient": list(names), "positive_rois": [3 * v for v in positive], "positive": positive,
                         "score": score})  # fmt: skip


@pytest.fixture
def opinions() -> pd.DataFrame:
    """Six patients, three readers who agree on the first four."""
    said = {"1": [1, 1, 0, 0, 1, 0], "2": [1, 1, 0, 0, 0, 1], "3": [1, 1, 0, 0, 1, 1]}
    rows = [(p, r, v) for r, values in said.items() for p, v in zip("abcdef", values, strict=True)]
    return pd.DataFrame(rows, columns=["patient", "reader", "asas_positive"])


def test_table2_by_hand(opinions):
    members = {0: decided("abcd", [1, 1, 0, 0]), 1: decided("abcd", [1, 0, 0, 0], 0.01),
               2: decided("abcd", [1, 0, 0, 1], 0.02)}  # fmt: skip
    cells = table2(opinions, members, n_boot=50)
    assert list(cells["column"]) == ["1 vs 2", "1 vs 3", "2 vs 3", "M-RCNN", "ensembling"]
    assert get(cells, "mcc", "1 vs 2")["value"] == pytest.approx(
        100 * matthews_corrcoef([1, 1, 0, 0, 1, 0], [1, 1, 0, 0, 0, 1])
    )
    assert get(cells, "mcc", "1 vs 2")["n"] == 6 and get(cells, "mcc", "M-RCNN")["n"] == 4
    single = [100 * matthews_corrcoef([1, 1, 0, 0], answer) for answer in ([1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1])]
    assert get(cells, "mcc", "M-RCNN")["value"] == pytest.approx(np.mean(single))
    assert get(cells, "mcc", "ensembling")["value"] == pytest.approx(single[1])
    assert get(cells, "mcc", "M-RCNN")["published"] == 84.78 and get(cells, "mcc", "M-RCNN")["published_sd"] == 3.05


@pytest.mark.parametrize("seed", range(2))
def test_table3_equals_a_plain_computation(seed):
    readers = ("1", "2", "4", "5", "6", "7")
    _, opinions, halves = random_study(seed, readers, k=4, patients=20)
    members = {m: patient_results(table) for m, table in halves.items()}
    cells = table3(opinions, members, n_boot=30)
    said = opinions.pivot(index="patient", columns="reader", values="asas_positive")
    said["Consensus"] = (said.sum(axis=1) >= 3).astype(int)  # three against three is positive
    answers = pd.DataFrame({m: table.set_index("patient")["positive"] for m, table in members.items()}).loc[said.index]
    vote = (answers.sum(axis=1) * 2 > 4).astype(int)
    for row in said:
        single = [matthews_corrcoef(said[row], answers[m]) for m in answers]
        assert get(cells, row, "M-RCNN")["value"] == pytest.approx(100 * np.mean(single))
        assert get(cells, row, "M-RCNN")["sd"] == pytest.approx(100 * np.std(single, ddof=1))
        assert get(cells, row, "ensembling")["value"] == pytest.approx(100 * matthews_corrcoef(said[row], vote))
    for first, second in [*combinations(readers, 2), *(("Consensus", reader) for reader in readers)]:
        expected = 100 * matthews_corrcoef(said[first], said[second])
        assert get(cells, first, second)["value"] == pytest.approx(expected)
    assert len(cells) == 15 + 7 * 2 + 6
    assert get(cells, "4", "6")["published"] == 55


def test_an_unknown_patient_is_refused(opinions):
    with pytest.raises(DataError, match="patient z was predicted but has no opinion"):
        table3(opinions, {0: decided("az", [1, 0])})


def test_one_member_has_no_deviation(opinions):
    cells = table3(opinions, {0: decided("abcdef", [1, 1, 0, 0, 1, 0])}, n_boot=20, compare=False)
    assert np.isnan(get(cells, "1", "M-RCNN")["sd"])
    assert style(cells).data.loc["1", "M-RCNN (k=1)"].startswith("<b>100.00</b><br>")


# Table 4 --------------------------------------------------------------------------------------------------------------


def test_table4_by_hand(opinions):
    base = {0: decided("abcdef", [1, 1, 0, 0, 1, 1]), 1: decided("abcdef", [1, 1, 0, 0, 1, 0], 0.01),
            2: decided("abcdef", [1, 1, 0, 0, 0, 1], 0.02)}  # fmt: skip
    worse = {1: decided("abcdef", [1, 0, 0, 1, 0, 1])}
    cells = table4({"ASAS": {"no_clahe": worse, "all_included": base}}, {"ASAS": opinions}, n_boot=400)
    assert list(cells["row"]) == ["All included", "No CLAHE"]
    consensus, vote = [1, 1, 0, 0, 1, 1], [1, 1, 0, 0, 1, 1]
    assert get(cells, "All included", "ASAS")["value"] == pytest.approx(100 * matthews_corrcoef(consensus, vote))
    ablated = get(cells, "No CLAHE", "ASAS")
    # paired with the same seed's member, not with the ensemble of three
    single = matthews_corrcoef(consensus, [1, 1, 0, 0, 1, 0])
    expected = 100 * (matthews_corrcoef(consensus, [1, 0, 0, 1, 0, 1]) - single)
    assert ablated["difference"] == pytest.approx(expected) and ablated["paired_k"] == 1 and ablated["k"] == 1
    assert ablated["difference_low"] <= expected <= ablated["difference_high"]
    assert ablated["published"] == 54 and ablated["p_holm"] == ablated["p_value"]
    assert format_differences(cells)["experiment"].tolist() == ["No CLAHE"]
    shown = style(cells).data["ASAS"]
    assert "paper\u00a054<" in shown["No CLAHE"] and "n\u00a0=\u00a06\u00a0(k=3)<" in shown["All included"]


def test_table4_knows_which_cohort_stands_for_which(opinions):
    member = {"all_included": {0: decided("abcdef", [1, 1, 0, 0, 1, 1])}}
    cells = table4({"phantom-desir": member, "clinic": member},
                                {"phantom-desir": opinions, "clinic": opinions}, n_boot=20)  # fmt: skip
    wide = style(cells).data.loc["All included"]
    assert "paper\u00a090<" in wide["phantom-desir"] and "paper" not in wide["clinic"]
    alone = table4({"phantom-desir": member}, {"phantom-desir": opinions}, n_boot=20, compare=False)
    assert "paper" not in style(alone).data.loc["All included", "phantom-desir"]


def test_table4_refusals(opinions):
    member = {0: decided("abcdef", [1, 1, 0, 0, 1, 1])}
    with pytest.raises(DataError, match=r"experiments\.yaml"):
        table4({"ASAS": {"no_sleep": member}}, {"ASAS": opinions})
    with pytest.raises(DataError, match="not evaluated on the patients"):
        table4({"ASAS": {"all_included": member, "no_clahe": {0: decided("abcd", [1, 1, 0, 0])}}},
                            {"ASAS": opinions})  # fmt: skip
    with pytest.raises(DataError, match="no experiment has a finished training"):
        table4({"ASAS": {}}, {"ASAS": opinions})


# appearance -----------------------------------------------------------------------------------------------------------


def test_published_tables_are_whole():
    assert [len(published(number)) for number in (1, 2, 3, 4)] == [10, 5, 35, 14]
    for number in (1, 2, 3, 4):
        table = published(number)
        assert not table.duplicated(["row", "column"]).any()
        assert pd.to_numeric(table["value"]).between(0, 100).all()
        assert set(table["mark"]) <= {"", "best", "worst"}


@pytest.mark.parametrize(("number", "compared"), [(1, "readers"), (3, MODEL), (3, "ensembling"), (3, "Consensus")])
def test_marks_are_those_of_the_paper(number, compared):
    """Fed with the paper's figures, the rules for bold and underlined mark what the paper marks."""
    paper = published(number)
    model = paper["column"].isin([MODEL, "ensembling"])
    group = np.where(model, paper["column"], np.where(paper["row"] == "Consensus", "Consensus", "readers"))
    cells = pd.DataFrame({"table": number, "value": paper["value"].astype(float), "group": group})
    marks = marked(cells)[group == compared]
    best, printed = marks == "best", paper["mark"][group == compared]
    assert best.tolist() == (printed == "best").tolist()


def test_the_papers_arrangement(small):
    cells = table1(*small, n_boot=50)
    wide = style(cells).data
    assert list(wide.columns) == ["1", "2", "3", "M-RCNN (k=2)", "ensembling"]
    assert "paper\u00a076.34<" in wide.loc["1", "2"] and "n\u00a0=\u00a07<" in wide.loc["1", "3"]
    assert wide.loc["2", "1"] == "-" and "±" in wide.loc["Consensus", "M-RCNN (k=2)"]
    html = style(cells).to_html()
    assert "<b>" in html and "<u>" in html and "paper\u00a059.16\u00a0±\u00a02.59" in html


def test_an_empty_cell_says_so():
    empty = cell(1, "1", "2", "readers", np.zeros((0, 4)), [])
    assert np.isnan(empty["value"]) and empty["n"] == 0
    assert style(pd.DataFrame([empty | {"published": np.nan}])).data.loc["1", "2"] == "n/a"


# beyond the paper -----------------------------------------------------------------------------------------------------


def test_decision_rules_by_hand():
    grid = every_half_slice(list("abc"), 2)
    halves = {0: results(grid, [1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0], [1] * 12)}
    said = pd.DataFrame(
        [(p, r, v) for p, v in zip("abc", (1, 1, 0), strict=True) for r in "12"],
        columns=["patient", "reader", "asas_positive"],
    )
    found = sweeps.rule_sensitivity(halves, said, n=20)
    positives = found.drop_duplicates("rule").set_index("rule")["positives"].to_dict()
    assert positives == {">= 1": 2, ">= 2": 2, ">= 3": 0, "ASAS": 1}
    mcc = found[found["rate"] == "MCC"].set_index("rule")["value"]
    assert mcc[">= 2"] == pytest.approx(1) and mcc[">= 3"] == 0 and mcc["ASAS"] == pytest.approx(0.5)


def test_abstention_by_hand():
    said = pd.DataFrame([(p, r, v) for p, v in zip("abcdef", (1, 0, 1, 0, 1, 0), strict=True) for r in "12"],
                        columns=["patient", "reader", "asas_positive"])  # fmt: skip
    score = [0.9, 0.1, 0.8, 0.2, 0.45, 0.45]
    vote = pd.DataFrame({"patient": list("abcdef"), "positive": [1, 0, 1, 0, 0, 0],
                         "votes": [1.0, 0.0, 0.9, 0.1, 0.4, 0.4], "score": score})  # fmt: skip
    found = sweeps.abstention(vote, said, n=50, fewest=2)
    assert found["answered"].tolist() == pytest.approx([1, 4 / 6, 2 / 6])
    assert found["accuracy"].tolist() == pytest.approx([5 / 6, 1, 1])
    assert found["certainty"].tolist() == pytest.approx([0.6, 0.9, 1.0])


def test_threshold_sweep_by_hand():
    rows = [("a", 0, "L", 0.95, 1), ("a", 0, "R", 0.6, 1), ("b", 0, "L", 0.55, 1), ("b", 0, "R", 0.9, 0)]
    detections = pd.DataFrame(rows, columns=["patient", "slice", "side", "score", "label"])
    detections = detections.assign(p_inflamed=detections["score"], p_healthy=1 - detections["score"])
    grid = every_half_slice(["a", "b"], 1)
    said = pd.DataFrame([("a", "1", 1), ("a", "2", 1), ("b", "1", 0), ("b", "2", 0)],
                        columns=["patient", "reader", "asas_positive"])  # fmt: skip
    found = sweeps.threshold_sweep({0: detections}, grid, said, thresholds=(0.5, 0.7), n=20).set_index("threshold")
    assert found.loc[0.5, ["value", "wrong_counts"]].tolist() == [1.0, 0.0]
    assert found.loc[0.7, ["value", "wrong_counts"]].tolist() == [0.0, 0.5]


def test_rates_by_group():
    cases = pd.DataFrame({"patient": list("aabbcc"), "reference": [1, 0, 1, 1, 0, 0], "prediction": [1, 0, 1, 0, 0, 1],
                          "centre": ["X", "X", "Y", "Y", "Y", None]})  # fmt: skip
    found = by_group(cases, cases["centre"], n=20).set_index("group")
    assert found.loc["X", "value"] == 1 and found.loc["Y", "n"] == 3


def test_half_slice_cases_by_hand(small):
    found = half_slice_cases(*small)
    assert len(found) == 8 and found["reference"].sum() == 3
    keyed = found.set_index(["patient", "slice", "side"])
    assert keyed.loc[("a", 0, "R"), ["reference", "prediction"]].tolist() == [1, 1]
    assert keyed.loc[("a", 0, "L"), ["reference", "prediction", "failed"]].tolist() == [1, 0, True]
    assert keyed["position"].to_dict()[("b", 1, "L")] == 1.0 and keyed["position"].to_dict()[("b", 0, "L")] == 0.0
    both = table1(*small, n_boot=20)
    expected = get(both, "Consensus", "ensembling")["value"]
    assert by_group(found, found["reference"] * 0, n=20)["value"].iloc[0] * 100 == pytest.approx(expected)


def test_agreement_of_readers(small):
    found = agreement(small[0], n=20)
    assert len(found) == 7 and found.iloc[-1]["measure"] == "Fleiss' kappa"
    expected = matthews_corrcoef([1, 1, 0, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, 0, 1, 1])
    assert found.iloc[0]["value"] == pytest.approx(expected)


# findings -------------------------------------------------------------------------------------------------------------


def test_published_evidence_by_hand():
    found = claims.findings().set_index("key")["published"]
    assert found["half_slices"] == pytest.approx(59.16 - 63.40)
    assert found["ensemble"] == pytest.approx(90.24 - 84.78)
    assert found["transfer"] == pytest.approx(62.40 - 55)
    assert found["preprocessing"] == pytest.approx((62 - (46 + 53 + 63 + 54) / 4) - (90 - (90 + 85 + 90 + 90) / 4))
    assert found["annotations"] == pytest.approx((90 - 69) - (90 - 85))
    assert found["annotations_other"] == pytest.approx((62 - 21) - (62 - 46))
    assert np.isnan(found["two_networks"])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1, 3, "holds"), (-3, -1, "does not"), (-1, 1, "cannot be told"), (np.nan, np.nan, "cannot be told")],
)
def test_verdicts(low, high, expected):
    found = claims.findings({"iliac_easier": Interval((low + high) / 2, low, high, 5, 5)}).set_index("key")
    assert found.loc["iliac_easier", "phantom_verdict"] == expected
    assert found.loc["iliac_easier", "public_verdict"] == "cannot be told"
    assert "not measured" in claims.format_findings(found.reset_index()).to_string()


def test_an_unknown_claim_is_refused():
    with pytest.raises(DataError, match="'taste' is no claim"):
        claims.findings({"taste": Interval(1, 1, 1, 1, 1)})


def test_evidence_equals_the_tables():
    readings, opinions, halves = random_study(9, patients=16)
    members = {m: patient_results(table) for m, table in halves.items()}
    one = table1(readings, halves, n_boot=20)
    least = one.loc[one["group"] == "readers", "value"].min()
    found = evidence.model_against_readers(readings, halves, n=100)
    assert found.value == pytest.approx(get(one, "Consensus", "M-RCNN")["value"] - least)
    assert found.low <= found.value <= found.high
    three = table3(opinions, members, n_boot=20)
    own = Diagnoses(opinions, {"all_included": members})
    ensemble, single = get(three, "Consensus", "ensembling")["value"], get(three, "Consensus", "M-RCNN")["value"]
    assert evidence.ensemble_gain(own, n=100).value == pytest.approx(ensemble - single)
    least = three.loc[three["group"] == "readers", "value"].min()
    assert evidence.ensemble_against_readers(own, n=100).value == pytest.approx(ensemble - least)
    other = {0: members[1]}
    loss = evidence.transfer_loss(own, Diagnoses(opinions, {"all_included": other}), n=100)
    away = get(table3(opinions, other, n_boot=20), "Consensus", "ensembling")["value"]
    assert loss.value == pytest.approx(ensemble - away)


def test_mean_differences():
    one = pd.Series({"a": 0.9, "b": 0.8, "c": 0.7})
    two = pd.Series({"a": 0.8, "b": 0.6, "d": 0.1})
    found = evidence.mean_difference(one, two, n=200)
    assert (
        found.value == pytest.approx(15) and found.patients == 2 and (found.low, found.high) == pytest.approx((10, 20))
    )


def test_evidence_of_the_ablations_equals_table4():
    _, opinions, halves = random_study(4, k=6, patients=16)
    members = {m: patient_results(table) for m, table in halves.items()}
    names = ("all_included", "no_clahe", "no_local_median", "no_data_augmentation", "only_manually")
    ours = {name: {0: members[m]} for m, name in enumerate(names)}
    other = {name: {0: members[m]} for name, m in zip(names, (5, 3, 2, 1, 0), strict=True)}
    cells = table4({"DESIR": ours, "ASAS": other}, {"DESIR": opinions, "ASAS": opinions}, n_boot=20)
    value = cells.set_index(["experiment", "column"])["value"]
    loss = {
        c: value["all_included", c] - (value["no_clahe", c] + value["no_local_median", c]) / 2
        for c in ("DESIR", "ASAS")
    }
    found = evidence.preprocessing_effect(Diagnoses(opinions, ours), Diagnoses(opinions, other), n=50)
    assert found.value == pytest.approx(loss["ASAS"] - loss["DESIR"])
    rivals = [value[name, "DESIR"] for name in names[1:4]]
    lead = evidence.annotation_effect(Diagnoses(opinions, ours), n=50)
    assert lead.value == pytest.approx(min(rivals) - value["only_manually", "DESIR"])
    with pytest.raises(DataError, match="train them first"):
        evidence.annotation_effect(Diagnoses(opinions, {"all_included": {0: members[0]}}))


def test_a_share_has_an_interval_at_its_ends_too():
    """Jeffreys' interval of 10 of 10 and 3 of 4, by the tables of Brown, Cai and DasGupta (2001), level 95 %."""
    everyone = evidence.share(pd.Series(1, index=range(10)))
    assert (everyone.value, everyone.high) == (100, 100) and everyone.low == pytest.approx(78.3, abs=0.1)
    assert evidence.share(pd.Series({"a": 1, "b": 0, "c": 1, "d": 1})).value == pytest.approx(75)
    nobody = evidence.share(pd.Series(0, index=range(10)))
    assert (nobody.low, nobody.high) == pytest.approx((0, 21.7), abs=0.1)
    assert evidence.share(pd.Series(dtype=float)).patients == 0
