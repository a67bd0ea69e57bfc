"""Whatever a person runs writes below `runs/scratch/` and leaves the run's results as they are."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from axspa_lib.study.config import load_study
from axspa_lib.study.layout import Layout
from axspa_lib.study.results import Run
from axspa_lib.study.runs import read_run, record_stage, runs_root


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A run whose networks are trained, at which a person now tries something."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    study = load_study("smoke")
    for bone in ("sacrum", "iliac"):
        with record_stage(Layout.of(study).bones(bone), {"epochs": 1}):
            (Layout.of(study).bones(bone) / "model.pt").write_text("official")
    with record_stage(Layout.of(study).cohort("phantom-desir"), {}):
        pass
    monkeypatch.delenv("AXSPA_OFFICIAL")
    return study


def official() -> dict[str, str]:
    """Text of every file of the run."""
    root = runs_root() / "smoke"
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_a_tweaked_training_reads_the_run_and_writes_elsewhere(study):
    before = official()
    tweaked = load_study("smoke", overrides="bones.epochs: 2")
    layout = Layout.of(tweaked)
    assert layout.root == runs_root() / "scratch" / "smoke"
    assert (layout.bones("sacrum") / "model.pt").read_text() == "official", "its inputs are the run's"
    with record_stage(layout.bones("iliac"), {"epochs": 2}):
        (Layout.of(tweaked).bones("iliac") / "model.pt").write_text("tweaked")
    assert official() == before
    assert read_run(Layout.of(tweaked).bones("iliac"))["config"] == {"epochs": 2}, "it stays for what comes after"
    assert (Layout.of(tweaked).bones("iliac") / "model.pt").read_text() == "tweaked"


def test_a_tweak_that_fails_leaves_the_run_as_it_was(study):
    before = official()
    with pytest.raises(ZeroDivisionError), record_stage(Layout.of(study).bones("iliac"), {}):
        raise ZeroDivisionError
    assert official() == before


def test_a_table_is_official_only_when_the_workflow_writes_it(study, monkeypatch):
    table = pd.DataFrame({"value": [1]})
    path = Run("smoke").write_table("table2", table)
    assert path == runs_root() / "scratch" / "smoke" / "tables" / "table2.csv"
    assert not (runs_root() / "smoke" / "tables").exists()
    monkeypatch.setenv("AXSPA_OFFICIAL", "1")
    assert Run("smoke").write_table("table2", table) == runs_root() / "smoke" / "tables" / "table2.csv"


def test_the_run_that_is_read_is_the_official_one(study):
    assert Run("smoke").layout.root == runs_root() / "smoke"
    record = json.loads((Run("smoke").layout.bones("iliac") / "run.json").read_text())
    assert record["config"] == {"epochs": 1}
