"""The graph of notebooks: what a changed file makes stale, seen by dry runs over placeholder results."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

STAMP = int(time.time()) + 60


def planned(runs: Path) -> set[str]:
    """Outputs of every job that a dry run of the smoke study would run, relative to its results."""
    command = [sys.executable, "-m", "axspa_lib.cli", "study", "--profile", "smoke", "--cores", "1", "--dry-run"]
    found = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"AXSPA_RUNS": str(runs)})
    assert found.returncode == 0, found.stdout + found.stderr
    outputs = re.findall(r"^    output: (.*)$", found.stdout, re.MULTILINE)
    return {os.path.relpath(path, runs / "smoke") for line in outputs for path in line.split(", ")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A smoke study whose every result is a placeholder of one age."""
    runs = tmp_path_factory.mktemp("runs")
    for name in planned(runs):
        path = runs / "smoke" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (STAMP, STAMP))
    assert planned(runs) == set()
    return runs


@pytest.mark.parametrize(
    ("changed", "chapters"),
    [
        ("detector/all_included/seed-1/predictions_phantom-desir.parquet", {"05", "06", "07", "08"}),
        ("detector/all_included/seed-1/predictions_phantom-asas.parquet", {"07", "08"}),
        ("detector/no_clahe/seed-0/predictions_phantom-asas.parquet", {"08"}),
    ],
)
def test_a_changed_prediction_file_makes_exactly_its_chapters_stale(finished, changed, chapters):
    path = finished / "smoke" / changed
    os.utime(path, (STAMP + 60, STAMP + 60))
    try:
        stale = planned(finished)
    finally:
        os.utime(path, (STAMP, STAMP))
    assert {name.removeprefix("notebooks/")[:2] for name in stale} == chapters
    assert all(name.startswith("notebooks/") for name in stale), "a training or a stage would run again"
