"""Pre-training on the phantom: its own length and rate, and what is trained after it."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from axspa_lib.detector import pretraining
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.network.model import build_network
from axspa_lib.study.config import load_studies, load_study


def test_the_pretraining_has_its_own_rate_and_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    seen = []
    people = pd.DataFrame({"patient": ["p"], "has_stir": [True], "has_bones": [True]})
    cohort = SimpleNamespace(name="phantom", participants=people)
    monkeypatch.setattr(pretraining, "Cohort", lambda path: cohort)
    monkeypatch.setattr(pretraining, "write_slices", lambda *_, **__: {})
    monkeypatch.setattr(pretraining, "pretraining_sets", lambda *_: (DetectionData((), ""), DetectionData((), "")))
    monkeypatch.setattr(pretraining, "train_detector", lambda config, *_, **__: seen.append(config) or {})
    study = load_study("public", pretraining__learning_rate=0.01, pretraining__iterations=7, detector__iterations=3)
    pretraining.pretrain_detector(study, progress=False)
    assert (seen[0].learning_rate, seen[0].iterations, seen[0].start) == (0.01, 7, "scratch")
    assert seen[0].learning_rate != study.detector.learning_rate


def test_training_from_scratch_keeps_the_rate_of_the_pretraining() -> None:
    studies = load_studies("public")
    assert studies["all_included"].pretraining is not None
    rate = studies["all_included"].pretraining.learning_rate
    assert studies["from_scratch"].detector.learning_rate == studies["full_rate"].detector.learning_rate == rate
    assert studies["all_included"].detector.learning_rate < rate
    assert studies["from_scratch"].detector.iterations >= studies["all_included"].detector.iterations


def test_heads_only_trains_nothing_of_the_backbone_but_the_pyramid() -> None:
    config = load_studies("public")["heads_only"].detector
    model = build_network(config)
    model.freeze(config.freeze_at)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert not any(f".res{number}." in f".{name}" or "stem" in name for name in trained for number in range(2, 6))
    assert any("fpn" in name for name in trained) and any(name.startswith("roi_heads") for name in trained)


def test_the_recipe_for_a_gpu_has_the_papers_detector() -> None:
    paper, studies = load_study("paper").detector, load_studies("public_gpu")
    same = ("backbone", "norm", "min_size", "anchor_sizes", "fpn_channels", "box_head_dim", "optimizer", "width")
    for study in studies.values():
        assert all(getattr(study.detector, name) == getattr(paper, name) for name in same)
    assert (
        studies["all_included"].member_count
        == load_study("paper").diagnosis.members
        == studies["from_imagenet"].member_count
    )
    assert studies["phantom_only"].member_count == 1, "members without a training of their own are copies"
