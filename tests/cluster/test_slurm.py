"""Trainings as jobs of a real SLURM: side by side, one of them killed, and the same results as without a cluster."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from axspa_lib.study.runs import REPOSITORY
from tests.cluster import one_machine

pytestmark = pytest.mark.slow
MEMBERS = ("all_included/seed-0", "all_included/seed-1", "no_data_augmentation/seed-0")
PROFILE = REPOSITORY / "workflow" / "profiles" / "slurm"


def prediction_sums(runs: Path) -> dict[str, str]:
    found = {}
    for member in MEMBERS:
        for path in sorted((runs / "smoke" / "detector" / member).glob("predictions_*.parquet")):
            found[f"{member}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def start(runs: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """The trainings of three members with the profile that is shipped; only the waits are shorter than on a cluster."""
    wanted = [str(runs / "smoke" / "detector" / member / "run.json") for member in MEMBERS]
    command = [
        sys.executable, "-m", "axspa_lib.cli", "study", "--profile", "smoke", "--cores", "2",
        "--workflow-profile", str(PROFILE), "--", *wanted,
        "--slurm-init-seconds-before-status-checks", "5", "--seconds-between-status-checks", "5",
    ]  # fmt: skip
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment | {"AXSPA_RUNS": str(runs), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def watch(process: subprocess.Popen[str], environment: dict[str, str]) -> tuple[int, str, dict[str, tuple[str, str]]]:
    """Follow the jobs until the study ends; cancel one as soon as two train.

    Returns:
        The most that ran at a time, the number of the job that was cancelled, and all jobs at the end.
    """
    most, cancelled = 0, ""
    found: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + 1200
    while process.poll() is None and time.monotonic() < deadline:
        found = one_machine.jobs(environment)
        running = sorted((number for number, (state, _) in found.items() if state == "RUNNING"), key=int)
        most = max(most, len(running))
        if len(running) == 2 and not cancelled:
            time.sleep(8)
            cancelled = running[-1]
            subprocess.run(["scancel", cancelled], env=environment, check=True)
        time.sleep(1)
    return most, cancelled, one_machine.jobs(environment)


def test_a_grid_on_slurm_equals_the_local_run(smoke_study, tmp_path):
    if reason := one_machine.missing():
        pytest.skip(f"no SLURM can be started here: {reason}")
    runs = tmp_path / "runs"
    shutil.copytree(smoke_study, runs, ignore=shutil.ignore_patterns("detector", "notebooks", "chapters", ".snakemake"))
    with one_machine.one_machine_slurm(tmp_path / "slurm", gpus=2) as environment:
        process = start(runs, environment)
        try:
            most, cancelled, found = watch(process, environment)
        finally:
            process.terminate()  # nothing, where it has ended
            output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert most == 2, "two GPUs, two jobs at a time"
    assert found[cancelled][0] == "CANCELLED"
    again = [number for number, (_, comment) in found.items() if comment == found[cancelled][1] and number != cancelled]
    assert len(again) == 1 and found[again[0]][0] == "COMPLETED", "the job that was killed was submitted once more"
    assert len(found) == len(MEMBERS) + 1, "nothing else ran"
    assert prediction_sums(runs) == prediction_sums(smoke_study) and len(prediction_sums(runs)) == 2 * len(MEMBERS)
