"""Tables of the study on public real MRI, on readings and members whose agreement is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from axspa_lib.real_mri import agreement as real
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import DataError
from axspa_lib.tables import experiments

READINGS = ("R11", "R12", "R21", "R22")


def readings(flip: dict[str, float], seed: int = 0, patients: int = 6, slices: int = 10) -> pd.DataFrame:
    """Readings of one truth; each reading is wrong on its own share of the half-slices."""
    random = np.random.default_rng(seed)
    rows = []
    for p in range(patients):
        for z in range(slices):
            for side in "RL":
                truth = int((p + z + (side == "R")) % 2)
                for name in READINGS:
                    rows.append((f"p{p}", z, side, name, truth ^ int(random.random() < flip.get(name, 0))))
    return pd.DataFrame(rows, columns=["patient", "slice", "side", "reader", "inflammation"])


def member(wrong: float, seed: int, lost: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    table = readings({}).query("reader == 'R11'").drop(columns="reader")
    answer = table["inflammation"].to_numpy() ^ (random.random(len(table)) < wrong)
    boxes = (random.random(len(table)) >= lost).astype(int)
    positive = (answer * boxes).astype(int)
    score = np.where(boxes == 1, answer * 0.8 + 0.1 * random.random(len(table)), 0.0)
    return table.drop(columns="inflammation").assign(
        boxes=boxes, inflamed=positive, positive=positive, correct_count=boxes == 1, p_inflamed=score
    )


def test_perfect_readings_and_a_perfect_model_agree_fully() -> None:
    table = real.agreement_table(readings({}), {0: member(0, 1), 1: member(0, 2)}, n=50).set_index("pair")
    assert (table["value"] == 1).all() and (table["n"] == 120).all() and (table["patients"] == 6).all()
    assert real.reaches_readers(table.reset_index())


def test_trials_of_a_reader_are_told_from_readers() -> None:
    doubtful = readings({"R21": 0.3, "R22": 0.3}, patients=20)
    model = {0: member(0, 1)}
    table = real.agreement_table(doubtful.query("patient in ['p0', 'p1', 'p2', 'p3', 'p4', 'p5']"), model, n=50)
    values = table.set_index("pair")["value"]
    first = doubtful.query("reader in ['R11', 'R12']")
    assert first.groupby(["patient", "slice", "side"])["inflammation"].nunique().eq(1).all()
    # R11 = R12 exactly, R21 and R22 err independently: readers lie between the mean of (1, low) and low
    assert values[real.READERS] < values[real.MODEL_CONSENSUS] and values[real.TRIALS] < 1


def test_a_model_as_good_as_a_coin_does_not_reach_readers() -> None:
    noisy = readings({name: 0.05 for name in READINGS})
    table = real.agreement_table(noisy, {0: member(0.5, 3)}, n=200)
    assert not real.reaches_readers(table)


def test_differences_are_signed_paired_and_compare_the_same_seeds() -> None:
    base = {seed: member(0.15, seed) for seed in range(3)}
    table = experiments.experiment_table(
        readings({}), {"all_included": base, "phantom_only": {0: member(0.45, 7)}, "no_clahe": {0: base[0]}}, n=300
    ).set_index("experiment")
    assert np.isnan(table.loc["all_included", "difference"])
    assert table.loc["no_clahe", "difference"] == 0, "compared with the member of the same seed, not with the ensemble"
    worse = table.loc["phantom_only"]
    assert worse["difference"] < 0 and worse["difference_high"] < 0 and worse["p_holm"] >= worse["p_value"]
    assert len(experiments.format_experiments(table.reset_index())) == 3
    with pytest.raises(DataError, match="all_included"):
        experiments.experiment_table(readings({}), {"no_clahe": base})


def test_a_wrong_count_is_a_wrong_answer() -> None:
    table = experiments.experiment_table(readings({}), {"all_included": {0: member(0, 1, lost=0.25)}}, n=50)
    row = table.iloc[0]
    assert 0.1 < row["wrong_counts"] < 0.4
    assert row["value"] == pytest.approx(1 - 2 * row["wrong_counts"], abs=0.03), "lost boxes count as errors"


def test_the_learning_curve_is_ordered_by_subjects() -> None:
    table = pd.DataFrame({"experiment": ["all_included", "one_subject"], "value": [0.6, 0.3], "low": [0.4, 0.1],
                          "high": [0.7, 0.5]})  # fmt: skip
    curve = experiments.learning_curve(table, [("all_included", 3.0), ("one_subject", 1.0), ("two_subjects", 2.0)])
    assert list(curve["subjects"]) == [1.0, 3.0] and list(curve["value"]) == [0.3, 0.6]


def test_gains_are_those_of_the_first_row_and_rows_are_told_apart_by_their_intervals() -> None:
    table = pd.DataFrame(
        [("all_included", "All included", np.nan, np.nan, np.nan), ("no_clahe", "No CLAHE", -0.2, -0.3, -0.1),
         ("no_local_median", "No Local Median", 0.1, -0.1, 0.3), ("fixed_matrix", "Fixed", 0.2, 0.1, 0.3)],
        columns=["experiment", "label", "difference", "difference_low", "difference_high"],
    )  # fmt: skip
    assert experiments.format_gain(table, "no_clahe") == "+0.20 [+0.10, +0.30]"
    said = experiments.interpret_differences(table, experiments.PREPROCESSING)
    assert said == (
        "of 3 rows without a step, 1 (No CLAHE) agree less with the consensus; 1 (Fixed) agree more; "
        "1 cannot be told from the first row"
    )
    assert experiments.label(table, "no_clahe") == "No CLAHE"


def test_a_smaller_network_is_stated_beside_the_papers() -> None:
    said = experiments.format_network(load_study("public").detector)
    assert "ResNet-18 with 16 channels" in said and "paper: ResNet-50, 64" in said and "1 mm (paper: 0.5 mm)" in said
