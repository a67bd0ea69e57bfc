"""Stored results of the bone networks compared, from tables whose answers are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from axspa_lib.bones import results as bone_results
from axspa_lib.bones.dice import dice
from axspa_lib.bones.results import OWN
from axspa_lib.study import config
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.overrides import parse_yaml
from axspa_lib.study.results import Run
from axspa_lib.study.runs import write_json

PROFILE = """
made:
  cohorts: [vhi]
  folds: 2
  increment: {rounds: 2}
  bone_variants: [single, patients_4, phantom_only]
  diagnosis: {bootstrap: 200}
"""
#: Patient: subject, fold; b1 and b2 are one person before and after treatment.
PEOPLE = {"a": ("a", 0), "b1": ("b", 0), "b2": ("b", 0), "c": ("c", 1), "d": ("d", 1)}


def rows(patient: str, wrong: int, called_sacrum: int = 0) -> list[tuple]:
    """Two slices of 100 pixels of each bone, of which the second shows no sacrum; `wrong` pixels missed of each."""
    return [
        (patient, 0, "sacrum", 100 - wrong, 0, wrong),
        (patient, 0, "iliac", 100 - wrong, 0, wrong),
        (patient, 1, "sacrum", 0, called_sacrum, 0),
        (patient, 1, "iliac", 100 - called_sacrum, 0, called_sacrum),
    ]


def table(found: list[tuple]) -> pd.DataFrame:
    made = pd.DataFrame(found, columns=["patient", "slice", "bone", "tp", "fp", "fn"])
    return made.assign(dice=dice(made.tp, made.fp, made.fn))


def write(folder: Path, **tables: pd.DataFrame) -> None:
    write_json(folder / "run.json", {})
    for name, made in tables.items():
        made.to_csv(folder / f"{name}.csv", index=False)


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    monkeypatch.setattr(config, "profiles", lambda: parse_yaml(PROFILE))
    results = Run("made")
    layout = results.layout
    cohort = layout.cohort("vhi")
    cohort.mkdir(parents=True)
    (cohort / "curation.json").write_text("{}")
    known = [(p, s, "included", True, False) for p, (s, _) in PEOPLE.items()] + [("e", "e", "included", False, False)]
    people = pd.DataFrame(known, columns=["patient", "subject", "status", "has_bones", "has_stir"])
    blank = dict.fromkeys(["session", "centre", "t1_file", "stir_file", "bones_file", "notes"], "")
    numbers = {"positive": None, "slices": 2, "spacing_slice_mm": 4, "spacing_row_mm": 1, "spacing_column_mm": 1}
    people.assign(**blank, **numbers).to_csv(cohort / "participants.csv", index=False)
    splits = [(p, s, "train", "", fold) for p, (s, fold) in PEOPLE.items()] + [("e", "e", "", "", 0)]
    pd.DataFrame(splits, columns=["patient", "subject", "bones", "detection", "fold"]).to_csv(
        cohort / "splits.csv", index=False
    )
    for round_number, wrong in ((1, 20), (2, 10)):
        for fold in (0, 1):
            seen = {p: 0 for p, (_, f) in PEOPLE.items() if f != fold}  # the fold's own patients are hard
            overlap = [row for p in PEOPLE for row in rows(p, seen.get(p, wrong), 5)] + rows("e", 40)
            grown = [(p, "manual", 2, 0, True) for p in PEOPLE] + [("e", "predicted", 2, fold, round_number == 2)]
            columns = ["patient", "source", "half_slices", "missed", "accepted"]
            write(
                layout.segmentation("vhi", round_number, fold),
                dice=table(overlap),
                increment=pd.DataFrame(grown, columns=columns),
            )
    for fold in (0, 1):
        mine = [p for p, (_, f) in PEOPLE.items() if f == fold]
        write(layout.bone_variant("single", fold), dice=table([r for p in mine for r in rows(p, 20, 25)]))
        write(layout.bone_variant("patients_4", fold), dice=table([r for p in mine for r in rows(p, 50)]))
    write(layout.bone_variant("phantom_only"), dice=table([r for p in PEOPLE for r in rows(p, 60)]))
    return results


def test_every_patient_is_judged_by_the_fold_that_never_saw_them(stored: Run) -> None:
    own = bone_results.own_slices(stored)
    sacrum = own[(own.bone == "sacrum") & (own.slice == 0)]
    assert sorted(sacrum.patient) == sorted(PEOPLE) and set(sacrum.fn) == {10}
    assert set(bone_results.own_slices(stored, 1).query("bone == 'sacrum' and slice == 0").fn) == {20}


def test_variants_stand_beside_the_study_with_paired_differences(stored: Run) -> None:
    made = bone_results.comparison(stored).set_index(["networks", "bone"])
    assert made.index[0][0] == OWN
    assert made.loc[(OWN, "sacrum"), "dice"] == pytest.approx(2 * 90 / (2 * 90 + 5 + 10))
    few = made.loc[("four annotated patients", "sacrum")]
    assert few["dice"] == pytest.approx(100 / 150) and few["patients"] == 5
    assert few["difference"] == pytest.approx(few["dice"] - made.loc[(OWN, "sacrum"), "dice"])
    assert few["difference_high"] < 0 and np.isnan(made.loc[(OWN, "sacrum"), "difference"])
    assert made.loc[("phantom only", "sacrum"), "dice"] == pytest.approx(80 / 140)


def test_two_against_one_where_the_sacrum_is_lacking(stored: Run) -> None:
    made = bone_results.without_sacrum(stored).set_index("networks")
    assert made["slices"].tolist() == [5, 5]
    assert made["called_sacrum"].tolist() == [pytest.approx(0.05), pytest.approx(0.25)]
    assert made.loc["one network", "iliac"] == pytest.approx(2 * 75 / (2 * 75 + 25))
    apart = bone_results.single_difference(stored, only_without_sacrum=True).set_index("bone")
    assert apart.loc["iliac", "difference"] == pytest.approx(190 / 195 - 150 / 175) and apart.loc["iliac", "low"] > 0
    assert "sacrum" not in apart.index or np.isclose(apart.loc["sacrum", "difference"], 0)


def test_curve_over_annotated_patients(stored: Run) -> None:
    made = bone_results.annotation_curve(stored).set_index(["patients", "bone"])["dice"]
    assert made[4, "sacrum"] == pytest.approx(100 / 150)
    full = min(made.index.get_level_values("patients"))
    assert full < 4 and made[full, "sacrum"] == pytest.approx(2 * 80 / (2 * 80 + 5 + 20))  # round 1: manual masks only


def test_rounds_say_who_was_accepted_and_how_well_they_are_segmented(stored: Run) -> None:
    made = bone_results.rounds(stored).set_index(["round", "bone"])
    assert made["candidates"].unique().tolist() == [1]
    assert made.loc[(1, "sacrum"), "accepted"] == 0 and made.loc[(2, "sacrum"), "accepted"] == 1
    assert np.isnan(made.loc[(1, "sacrum"), "dice_accepted"])
    assert made.loc[(2, "sacrum"), "dice_accepted"] == made.loc[(2, "sacrum"), "dice"] == pytest.approx(120 / 160)
    assert made.loc[(2, "sacrum"), "held_out"] > made.loc[(1, "sacrum"), "held_out"]
    read = bone_results.format_rounds(made.reset_index()).set_index("round")
    assert read["accepted"].tolist() == ["0 of 1 (0 %)", "1 of 1 (100 %)"]
    assert (
        read.loc[2, "sacrum: Dice all tried"].startswith("0.75 [")
        and read.loc[2, "sacrum: Dice of the accepted"] == "0.75"
    )
    blind = made.reset_index().assign(dice=np.nan, low=np.nan, high=np.nan, dice_accepted=np.nan)
    assert set(bone_results.format_rounds(blind)["iliac: Dice all tried"]) == {"unknown"}
    assert bone_results.candidates_of(stored, 1) == (["e"], []) and bone_results.candidates_of(stored) == (["e"], ["e"])


def test_a_variant_that_was_not_trained_says_so(stored: Run) -> None:
    with pytest.raises(MissingResultError, match="no finished result"):
        bone_results.variant_slices(stored, "patients_8")


def test_what_is_read_says_the_same_as_the_tables(stored: Run) -> None:
    compared = bone_results.comparison(stored)
    read = bone_results.format_dice(compared, "networks").set_index("networks")
    assert list(read.index) == list(dict.fromkeys(compared["networks"])) and read.loc[OWN, "sacrum: difference"] == ""
    few = compared.set_index(["networks", "bone"]).loc[("four annotated patients", "iliac")]
    assert read.loc["four annotated patients", "iliac: Dice"].startswith(f"{few['dice']:.2f} [")
    assert read.loc["four annotated patients", "iliac: difference"].startswith("−0.") and few["difference"] < 0
    words = bone_results.format_without_sacrum(bone_results.without_sacrum(stored))
    assert words["called sacrum, of the ilium's area"].tolist() == ["5 %", "25 %"]


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.03, "+0.020 [+0.010, +0.030]: pair better than single"),
        (-0.03, -0.01, "single better than pair"),
        (-0.01, 0.05, "this run cannot tell pair from single"),
    ],
)
def test_a_difference_is_stated_whichever_way_it_falls(low: float, high: float, words: str) -> None:
    made = pd.DataFrame([("iliac", 4, (low + high) / 2, low, high)], columns=["bone", "n", "difference", "low", "high"])
    assert words in bone_results.interpret_difference(made, "iliac", "pair", "single")
    assert "not measured" in bone_results.interpret_difference(made, "sacrum", "pair", "single")


def test_scanners_are_compared_on_who_was_held_out(stored: Run) -> None:
    people = pd.read_csv(stored.layout.cohort("vhi") / "participants.csv")
    makers = people["patient"].map({"a": "GE", "b1": "GE", "b2": "GE"}).fillna("Siemens")
    people.assign(manufacturer=makers).to_csv(stored.layout.cohort("vhi") / "participants.csv", index=False)
    made = bone_results.by_scanner(stored).set_index(["manufacturer", "bone"])
    assert made.loc[("GE", "sacrum"), "patients"] == 3 and made.loc[("Siemens", "sacrum"), "patients"] == 2
    read = bone_results.format_dice(made.reset_index(), "manufacturer")
    assert read["manufacturer"].tolist() == ["GE", "Siemens"] and read["patients"].tolist() == [3, 2]
