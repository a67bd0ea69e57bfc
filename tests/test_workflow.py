"""The graph of notebooks: what a changed file makes stale, seen by dry runs over placeholder results."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from axspa_lib import workflow
from axspa_lib.cli import main

COHORTS = ("desir", "asas")
#: Newer than the identity files, which the first plan writes whenever in a long test run it happens.
STAMP = int(time.time()) + 24 * 3600


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A smoke study whose every result is a placeholder of one age."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AXSPA_RUNS", str(runs))
        jobs = workflow.planned("smoke")
        for name in jobs:
            kind, _, chapter = name.partition("/")
            files = [f"notebooks/{chapter}.ipynb"] if kind == "chapters" else [f"{name}/run.json"]
            files += [f"{name}/predictions_phantom-{cohort}.parquet" for cohort in COHORTS if kind == "detector"]
            for file in files:
                path = runs / "smoke" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("{}")
                os.utime(path, (STAMP, STAMP))
        assert len(jobs) > 30 and workflow.planned("smoke") == []
    return runs


@pytest.mark.parametrize(
    ("changed", "chapters"),
    [
        ("detector/all_included/seed-1/predictions_phantom-desir.parquet", {"05", "06", "07", "08", "12", "13"}),
        ("detector/all_included/seed-1/predictions_phantom-asas.parquet", {"07", "08", "12", "13"}),
        ("detector/no_clahe/seed-0/predictions_phantom-asas.parquet", {"08", "12", "13"}),
    ],
)
def test_a_changed_prediction_file_makes_exactly_its_chapters_stale(finished, monkeypatch, changed, chapters):
    monkeypatch.setenv("AXSPA_RUNS", str(finished))
    path = finished / "smoke" / changed
    os.utime(path, (STAMP + 60, STAMP + 60))
    try:
        stale = workflow.planned("smoke")
    finally:
        os.utime(path, (STAMP, STAMP))
    assert all(name.startswith("chapters/") for name in stale), "a training or a stage would run again"
    assert {name.removeprefix("chapters/")[:2] for name in stale} == chapters


def test_a_dry_run_says_what_would_run_and_what_it_would_cost(finished, monkeypatch, capsys):
    monkeypatch.setenv("AXSPA_RUNS", str(finished))
    assert main(["study", "--profile", "smoke", "--dry-run"]) == 0
    assert "== study smoke: nothing to do" in capsys.readouterr().out
    member = finished / "smoke" / "detector" / "all_included"
    record = member / "seed-1" / "run.json"
    record.write_text('{"seconds": 90}')
    os.utime(record, (STAMP, STAMP))
    gone = [member / "seed-0" / "run.json", finished / "smoke" / "notebooks" / "06_ensemble.ipynb"]
    for path in gone:
        path.unlink()
    try:
        assert main(["study", "--profile", "smoke", "--dry-run", "--cores", "2"]) == 0
    finally:
        for path in gone:
            path.write_text("{}")
            os.utime(path, (STAMP, STAMP))
    said = capsys.readouterr().out
    assert "== would run: detector/all_included/seed-0" in said and "seed-1" not in said
    assert "training of a detector             1 ×  1.5 min =  1.5 min   from its like in this profile" in said
    assert "jobs of which nothing is recorded yet" in said, "no chapter has a recorded time here"
