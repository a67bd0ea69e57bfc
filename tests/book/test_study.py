"""The whole study in the smoke profile: repeatable, resumable, and idle when nothing changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
DETECTOR = "smoke/detector/all_included/seed-0"


def start(runs: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "axspa_lib.cli", "study", "--profile", "smoke", "--cores", "2"]
    environment = os.environ | {"AXSPA_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def finish(runs: Path) -> str:
    process = start(runs)
    output, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, output
    return output


def fingerprint(runs: Path) -> dict[str, str]:
    found = sorted(runs.glob("smoke/detector/*/seed-*/predictions_*.parquet"))
    return {str(path.relative_to(runs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def test_every_row_of_table_4_has_its_predictions(smoke_study):
    assert len(fingerprint(smoke_study)) == (2 + 6) * 2


def test_a_second_run_does_nothing(smoke_study):
    clock = time.monotonic()
    assert "nothing to do" in finish(smoke_study)
    assert time.monotonic() - clock < 60


@pytest.mark.parametrize("after", ["01_curation_worker phantom-desir: started", "all_included 0: started"])
def test_a_killed_study_ends_as_an_uninterrupted_one(smoke_study, tmp_path, after):
    process = start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if after in line:
            break
    time.sleep(6)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("smoke/bones/*/*/run.json")}
    finish(tmp_path)
    assert fingerprint(tmp_path) == fingerprint(smoke_study)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items()), "a finished training was repeated"


def test_a_new_seed_file_makes_only_the_chapters_stale(smoke_study, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(smoke_study, runs)
    run = runs / DETECTOR / "run.json"
    run.write_text(run.read_text() + "\n")
    output = finish(runs)
    assert "_train" not in output and "_worker" not in output
    assert "07_tables: done" in output and "01_data_curation" not in output
