"""The graph of notebooks: what a changed file makes stale, seen by dry runs over placeholder results."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axspa_lib.book import workflow
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


def test_a_dry_run_says_what_would_run_and_what_it_would_cost(finished, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("AXSPA_RUNS", str(finished))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path))  # what comes with the repository has recorded times
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


def test_planning_again_rewrites_no_identity(finished, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(finished))
    stamps = []
    for _ in range(2):
        assert main(["study", "--profile", "smoke", "--dry-run"]) == 0
        stamps.append({path: path.stat().st_mtime_ns for path in (finished / "smoke" / "identity").iterdir()})
    assert stamps[0] == stamps[1]


def _card(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Puts an `nvidia-smi` that gives `answer` before all other programs."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{answer}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


SHARED = """
rule all:
    input: expand("{n}.done", n=range(4))
rule train_detector:
    output: "{n}.done"
    shell: "date +%s.%N > {output}.start; sleep 1; date +%s.%N > {output}.end; touch {output}"
"""


@pytest.mark.parametrize(("megabytes", "together"), [(13_000, 2), (4_000, 1)])
def test_as_many_trainings_share_a_gpu_as_its_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int, together: int
) -> None:
    _card(tmp_path, monkeypatch, f"echo {megabytes}; echo 99999")  # only the first card is used
    (tmp_path / "Snakefile").write_text(SHARED)
    options = [text for text in workflow._machine() if not text.startswith(("train_bones", "segment"))]
    command = [sys.executable, "-m", "snakemake", "--cores", "4", "--quiet", "all", *options]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    times = [[float((tmp_path / f"{n}.done.{at}").read_text()) for at in ("start", "end")] for n in range(4)]
    most = max(sum(start <= moment < end for start, end in times) for moment, _ in times)
    assert most == together


def test_without_an_answer_of_the_card_jobs_take_turns_and_without_a_card_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _card(tmp_path, monkeypatch, "exit 9")
    monkeypatch.setattr(workflow.Path, "exists", lambda self: True)
    assert workflow.gpu_memory() == 1
    assert all(text.endswith(":gpu_mb=1") for text in workflow._machine()[4:])
    monkeypatch.setattr(workflow.Path, "exists", lambda self: False)
    assert workflow.gpu_memory() == 0 and not any("gpu" in text for text in workflow._machine())


def test_a_row_added_to_a_study_that_has_run_is_planned(finished, monkeypatch):
    """The files that decide staleness are there before Snakemake looks into their folder."""
    monkeypatch.setenv("AXSPA_RUNS", str(finished))
    added = finished / "smoke" / "detector" / "no_clahe" / "seed-0" / "run.json"
    (finished / "smoke" / "identity" / "detector-no_clahe.json").unlink()
    added.unlink()
    try:
        assert workflow.planned("smoke", ["--", str(added)]) == ["detector/no_clahe/seed-0"]
    finally:
        added.write_text("{}")
        for path in (added, finished / "smoke" / "identity" / "detector-no_clahe.json"):
            os.utime(path, (STAMP, STAMP))


def test_what_all_bone_networks_wait_for_is_begun_first(tmp_path, monkeypatch):
    """Else the one long training runs last and alone, and the other cores have nothing to do."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    command = [*workflow._snakemake("public", tmp_path / "public"), "--cores", "2", "--dry-run"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    jobs = [job for job in said.split("\nrule ") if "priority: highest" in job]
    first = {job.split("output: ")[1].split("\n")[0].removeprefix(f"{tmp_path}/public/") for job in jobs}
    assert first == {
        *(f"{kind}/{name}/run.json" for kind in ("sources", "cohorts") for name in ("phantom-desir", "vhi")),
        "bone_variants/phantom_only/run.json",
    }
    assert "--prioritize" not in workflow._snakemake("quick", tmp_path / "quick")
