"""Verdicts on the phantom beside real scans, by hand; and the stored tables of the stage, on small made-up results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from axspa_lib.realism import results as likeness
from axspa_lib.realism.contrast import compare
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.layout import Layout
from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_stage


def contrast(figure: str, phantom: float, real: list[float]) -> pd.DataFrame:
    return compare(pd.DataFrame({figure: [phantom] * 3}), pd.DataFrame({figure: real}))


@pytest.mark.parametrize(
    ("figure", "phantom", "verdict", "holds"),
    [
        ("T1_fat", 2.2, "in the range, within 20%", True),
        ("T1_fat", 2.9, "in the range, beyond 20%", False),
        ("T1_fat", 1.7, "outside the range, within 20%", False),
        ("T1_noise", 2.9, "in the range", True),  # of image quality the range alone is asked
        ("T1_noise", 1.7, "outside the range", False),
    ],
)
def test_a_contrast_has_to_lie_in_the_range_and_near_the_median(figure, phantom, verdict, holds):
    row = likeness.interpret_contrast(contrast(figure, phantom, [1.8, 2.0, 3.0])).iloc[0]
    assert (row["verdict"], row["holds"], row["range"]) == (verdict, holds, "1.8–3")
    assert row["relative"] == pytest.approx(phantom / 2.0 - 1)


def test_a_pair_of_readers_holds_when_both_levels_are_within_three_hundredths():
    table = pd.DataFrame({"first": ["1", "1"], "second": ["2", "3"], "patient": [0.87, 0.80],
                          "half_slice": [0.76, 0.60], "published_patient": [0.89, 0.79],
                          "published_half_slice": [0.75, 0.64]})  # fmt: skip
    found = likeness.readers_beside(table)
    assert list(found["pair"]) == ["1–2", "1–3"] and list(found["holds"]) == [True, False]
    assert found["half_slice difference"].round(2).tolist() == [0.01, -0.04]
    second = likeness.readers_beside(table.drop(columns="published_half_slice"))
    assert "half_slice" not in second and list(second["holds"]) == [True, True]


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run with the stage and the phantom-only networks of profile public, and nothing else."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
    return Run("public")


def test_a_stage_that_has_not_run_is_named_with_its_remedy(stored: Run):
    with pytest.raises(MissingResultError, match="make book PROFILE=public"):
        likeness.likeness_table(stored, "contrast")


def test_tables_are_read_once_the_stage_has_finished(stored: Run):
    folder = Layout.of(load_study("public")).likeness
    with record_stage(folder, {"follow_up": {"change": 0.3, "progression": 0.1}}) as record:
        contrast("T1_fat", 2.0, [1.9, 2.1]).to_csv(folder / "contrast.csv", index=False)
        pd.DataFrame(columns=["patient", "reason"]).to_csv(folder / "failures.csv", index=False)
        pairs = pd.DataFrame({"first": ["1"], "second": ["2"], "patient": [0.9], "published_patient": [0.88]})
        pairs.to_csv(folder / "readers_phantom-asas.csv", index=False)
        volumes = {"lesion": [1, 2, 3], "before": [40.0, 80.0, 0.0], "after": [10.0, 88.0, 3.0]}
        pd.DataFrame(volumes).to_csv(folder / "follow_up.csv", index=False)
        np.savez_compressed(folder / "follow_up.npz", stir=np.ones((2, 3, 3)), spacing=np.ones(2))
        record["metrics"] = {"T1_slices": 0.9}
    course = likeness.lesion_course(stored)
    assert course["lesion"].tolist() == [2, 1] and course["after / before"].tolist() == [1.1, 0.25]
    assert likeness.follow_up(stored)["stir"].shape == (2, 3, 3)
    assert likeness.format_follow_up(stored) == {
        "change": "30%", "progression": "10%", "active": "0.16", "damage": "1.15",
    }  # fmt: skip
    assert likeness.likeness_table(stored, "contrast")["figure"].tolist() == ["fat"]
    assert likeness.likeness_table(stored, "failures").empty
    beside = likeness.readers_beside(likeness.likeness_table(stored, "readers_phantom-asas"))
    assert beside["patient difference"].iloc[0] == pytest.approx(0.02) and bool(beside["holds"].iloc[0])
    assert likeness.classifier_metrics(stored) == {"T1_slices": 0.9}


def test_an_examination_is_shown_over_the_signal_of_its_muscle():
    t1, stir = np.full((10, 160, 160), 250.0, np.float32), np.full((10, 160, 160), 70.0, np.float32)
    t1[:, 90:150], stir[:, 90:150] = 100, 50
    volumes = {("b", "T1"): t1, ("b", "STIR"): stir, ("c", "T1"): 0 * t1, ("c", "STIR"): 0 * stir}
    cohort = SimpleNamespace(
        participants=pd.DataFrame({"patient": ["a", "b", "c"], "has_stir": [False, True, True]}),
        has_images=lambda patient: True,
        volume=lambda patient, name: SimpleNamespace(array=volumes[patient, name], spacing=(4.0, 1.0, 1.0)),
    )
    stored = SimpleNamespace(cohort=lambda name: cohort)
    shown = likeness.examination(stored, "vhi", 0)
    assert (shown[0][3, 120, 20], shown[0][3, 20, 20]) == pytest.approx((1.0, 2.5))
    assert (shown[1][3, 120, 20], shown[1][3, 20, 20]) == pytest.approx((1.0, 1.4))
    with pytest.raises(DataError, match=r"patient c of vhi: no muscle .* choose another"):
        likeness.examination(stored, "vhi", 1)


def test_only_examinations_whose_images_are_at_hand_are_chosen():
    cohort = SimpleNamespace(
        participants=pd.DataFrame({"patient": ["a"], "has_stir": [True]}), has_images=lambda patient: False
    )
    assert likeness.examination(SimpleNamespace(cohort=lambda name: cohort), "vhi", 0) is None


def test_results_without_a_second_time_say_so(stored: Run):
    with record_stage(Layout.of(load_study("public")).likeness, {}):
        pass
    assert likeness.follow_up(stored) is None and likeness.lesion_course(stored).empty
    assert likeness.format_follow_up(stored)["change"] == "(not stored)"
