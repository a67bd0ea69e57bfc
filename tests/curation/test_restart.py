"""Curation in processes of its own, interrupted and killed: what was finished is kept, what comes out is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

PATIENTS = 12


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "axspa_lib.cli", "curate", str(source), str(out), "--no-splits", "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def records(out: Path) -> dict[str, int]:
    """Finished patients and when their record was written."""
    return {file.name: file.stat().st_mtime_ns for file in (out / ".records").glob("*.json")}


def tree(folder: Path) -> dict[str, bytes]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_interrupted_and_killed_it_goes_on_to_the_same_cohort(make: Any, tmp_path: Path) -> None:
    source = tmp_path / "in"
    size = {"rows": 256, "columns": 256, "slices": 15}
    for number in range(PATIENTS):
        make.pair(
            source / f"P{number:02d}", dict(size), dict(size) | {"slices": 14}
        )  # resampled, so that it takes a while
    assert start(source, tmp_path / "whole").wait(timeout=300) == 0

    out = tmp_path / "out"
    for number, sent in ((2, signal.SIGINT), (5, signal.SIGKILL)):
        before = records(out)
        process = start(source, out)
        while len(records(out)) < number and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        os.killpg(process.pid, sent)  # as a terminal does
        _, said = process.communicate(timeout=120)
        assert not (out / "curation.json").exists()
        assert before.items() <= records(out).items()  # nothing finished was done again
        if sent == signal.SIGINT:
            assert process.returncode == 130 and "Traceback" not in said
            assert said.strip().endswith("axspa: interrupted; run the same command again to go on")
    before = records(out)
    assert len(before) < PATIENTS
    assert start(source, out).wait(timeout=300) == 0
    assert before.items() <= records(out).items()
    assert tree(out) == tree(tmp_path / "whole") | {"curation.json": (out / "curation.json").read_bytes()}
