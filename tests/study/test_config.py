"""The paper's numbers stand once, profiles and experiments override them, and wrong values are named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axspa_lib.study import config
from axspa_lib.study.config import Study, experiments, load_studies, load_study, parse_study, profiles
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.overrides import parse_yaml


def test_the_papers_numbers():
    study = load_study("paper")
    assert study.bones.split == (31, 6, 14) and sum(study.bones.split) == 51  # 4.1
    assert study.detector.split == (178, 25, 53) and sum(study.detector.split) == 256  # 4.2
    assert (study.bones.learning_rate, study.bones.weight_decay) == (1e-4, 1e-8)  # 3.1.2
    assert study.bones.foreground_weight == 0.9 and study.bones.augmentation.rotation_deg == 15  # 3.1.2
    assert study.detector.preprocessing.bias_sigma == 0.05 and study.detector.preprocessing.pixel_mm == 0.5
    assert (study.detector.learning_rate, study.detector.iterations) == (2.5e-4, 8000)  # 3.2.1, 4.2
    assert (study.diagnosis.members, study.diagnosis.min_positive) == (10, 2)  # 4.2, 3.2.2
    assert study.increment.max_missed == 1  # failure on two or more half-slices, 4.1


def test_table_4_has_its_seven_rows_in_order():
    rows = experiments()
    labels = [rows[name]["label"] for name in load_study("paper").experiments]
    assert labels == ["All included", "No Constant Pixel", "No Remove Gaussian Bias", "No Local Median", "No CLAHE",
                      "No Data Augmentation", "Only manually"]  # fmt: skip


@pytest.mark.parametrize("profile", profiles())
def test_every_profile_and_experiment_resolves(profile):
    for experiment, study in load_studies(profile).items():
        assert (study.profile, study.experiment) == (profile, experiment)
        assert study.experiments == load_study(profile).experiments, "a row may not change which rows are run"


def test_a_row_that_does_not_exist_or_cannot_be_run_is_named(monkeypatch):
    monkeypatch.setattr(config, "profiles", lambda: {"mine": {"experiments": ["all_included", "no_clah"]}})
    with pytest.raises(ConfigError, match="'no_clah' is not a row"):
        load_studies("mine")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="pretraining must be given"):
        load_study("paper", "phantom_only")


def test_what_matters_most_is_compared_with_full_ensembles():
    studies = load_studies("public")
    full = {name for name, study in studies.items() if study.member_count == study.diagnosis.members}
    assert {"all_included", "from_scratch"} <= full and studies["no_clahe"].member_count == 1


def test_an_experiment_changes_only_its_own_parameters():
    base, variant = (load_study("quick", name).model_dump() for name in ("all_included", "no_clahe"))
    assert variant["detector"]["preprocessing"].pop("clahe") is False
    assert base["detector"]["preprocessing"].pop("clahe") is True
    assert base.pop("experiment") != variant.pop("experiment")
    assert base == variant


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"detector__preprocessing__bias_sigma": -1}, "detector.preprocessing.bias_sigma"),
        ({"bones__split": (1, 2)}, "bones.split"),
        ({"detector__iterations": "many"}, "detector.iterations"),
        ({"joint__radius": 3}, "joint.radius"),
        ({"detector__learning_rate": float("nan")}, "detector.learning_rate"),
        ({"detector__start": "scratch", "detector__norm": "frozen_bn"}, "group_norm"),
    ],
)
def test_wrong_parameters_are_named_in_one_sentence(override, named):
    with pytest.raises(ConfigError, match=named) as error:
        load_study("paper", **override)
    assert "\n" not in str(error.value)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ConfigError, match="quick"):
        load_study("fast")
    with pytest.raises(ConfigError, match="no_clahe"):
        load_study("quick", "no_clah")


def test_two_identities():
    study = load_study("quick")
    longer = load_study("quick", detector__iterations=999)
    assert longer.data_id() == study.data_id(), "a longer training reuses the slices"
    assert load_study("quick", "no_clahe").data_id() != study.data_id()
    assert load_study("quick", "only_manually").data_id() == study.data_id(), "same slices, fewer patients"


@given(st.floats(0, 1), st.integers(1, 10**6), st.booleans())
def test_identities_depend_on_values_not_on_how_they_came(fraction, iterations, clahe):
    nested = {"detector": {"iterations": iterations, "preprocessing": {"clahe": clahe}, "score_threshold": fraction}}
    study = parse_study(nested)
    again = Study.model_validate_json(study.model_dump_json())
    assert again.data_id() == study.data_id()


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(ConfigError, match="'score' stands twice in the block from line 2"):
        parse_yaml("quick:\n  score: 0.5\n  other: 1\n  score: 0.6\n")
    merged = parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert merged["b"] == {"x": 3, "y": 2}, "a merged block may be overridden"


def test_folds_are_named_and_the_single_split_is_none():
    assert load_study("quick").fold_numbers == (None,) and load_study("quick").fold(-1) is None
    study = load_study("quick", folds=3)
    assert study.fold_numbers == (0, 1, 2) and study.fold(2) == 2
    for number in (-1, 3):
        with pytest.raises(ConfigError, match="0 to 2"):
            study.fold(number)


def test_overrides_win_over_profile_and_experiment():
    text = "detector: {iterations: 7, preprocessing: {clahe: true}}\njoint.closing_radius: 4"
    study = load_study("quick", "no_clahe", text)
    assert (study.detector.iterations, study.detector.preprocessing.clahe, study.joint.closing_radius) == (7, True, 4)
    assert load_study("quick", overrides="  ") == load_study("quick")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("detector: {iteration: 7}", "parameter detector.iteration: Extra inputs"),
        ("detector.iterations: 0", "parameter detector.iterations: .*(given: 0)"),
        ("detector: 7", "parameter detector: "),
        ("detector: {iterations: 7", "parameter overrides: is not YAML"),
        ("seven", "parameter overrides: write names and values"),
        ("{seed: 1, seed: 2}", "key 'seed' stands twice"),
        ("profile: smoke", "parameter overrides: profile is no override"),
    ],
)
def test_an_override_that_cannot_be_is_refused_by_name(text, message):
    with pytest.raises(ConfigError, match=message):
        load_study("quick", overrides=text)
