"""Run the study: Snakemake schedules, this module validates first, keeps two runs apart and says what happens."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axspa_lib.config import experiments, load_study
from axspa_lib.errors import AxspaError
from axspa_lib.layout import Layout
from axspa_lib.runs import REPOSITORY, runs_root

_PROGRESS = re.compile(r"^(\d+) of (\d+) steps")


def run_study(
    profile: str,
    cores: int,
    *,
    dry_run: bool = False,
    executor_profile: str | None = None,
    extra: list[str] | None = None,
) -> None:
    """Execute every stale notebook of a profile.

    Args:
        profile: a key of the profiles.
        cores: local cores to share among jobs.
        dry_run: only say what would run.
        executor_profile: a Snakemake profile folder (`workflow/profiles/slurm`), for a cluster.
        extra: further Snakemake arguments.

    Raises:
        AxspaError: a parameter is wrong (before anything runs), or jobs failed.
    """
    for experiment in experiments():
        study = load_study(profile, experiment)
    root = Layout.of(study).root
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "workflow" / "Snakefile"),
        "--directory", str(_work_folder(root)), "--config", f"profile={profile}",
        "--cores", str(cores), "--rerun-incomplete", "--keep-going", "--rerun-triggers", "mtime", "input", "params",
        *(["--workflow-profile", executor_profile] if executor_profile else ["--workflow-profile", "none"]),
        *(["--dry-run"] if dry_run else []), *(extra or []),
    ]  # fmt: skip
    with _alone(root) as lock:
        if not dry_run:  # a killed run may have left Snakemake's own lock
            unlock = subprocess.run([*command, "--unlock"], capture_output=True, text=True)
            if unlock.returncode:
                raise AxspaError(f"the workflow cannot be read: {_last_line(unlock.stderr + unlock.stdout)}")
        clock = time.monotonic()
        failures, done = _follow(command, root / "snakemake.log", lock, dry_run)
    if failures:
        raise AxspaError(f"{len(failures)} job(s) failed; first: {failures[0]} (all: {root / 'snakemake.log'})")
    if not dry_run:
        print(f"== study {profile}: {done} in {time.monotonic() - clock:.0f} s; results in {root}", flush=True)


def _follow(command: list[str], log: Path, lock: int, echo: bool) -> tuple[list[str], str]:
    """Run Snakemake, keep its whole output in `log`, show the lines a person wants; return failures and a summary."""
    log.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    done = "nothing to do"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log.open("w", encoding="utf-8") as file, _ending(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
            start_new_session=True, pass_fds=[lock],
        )
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            file.flush()
            if line.startswith("== ") or echo:
                print(line, end="", flush=True)
            if line.startswith("== ") and ": FAILED: " in line:
                failures.append(line[3:].strip())
            if match := _PROGRESS.match(line):
                done = f"{match[1]} of {match[2]} steps done"
                print(f"== {done}", flush=True)
        if process.wait() and not failures:
            failures.append(f"Snakemake stopped with exit code {process.returncode}")
    return (failures if process.returncode else []), done


@contextmanager
def _ending(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """End Snakemake and its jobs with this process, when it is interrupted or asked to stop."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield process
    finally:
        signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _alone(root: Path) -> Iterator[int]:
    """Hold the profile's lock; Snakemake inherits it, so a run whose `make` was killed is waited for."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"== study {root.name}: another run of this profile is at work; waiting for it to end", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _work_folder(root: Path) -> Path:
    folder = root / "workflow"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else f"no message; see {runs_root()}"
