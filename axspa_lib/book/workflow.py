"""Run the study: Snakemake schedules, this module validates first, keeps two runs apart and says what happens."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from axspa_lib.book import cost
from axspa_lib.book.board import Board, job_name
from axspa_lib.study import jobs as job_records
from axspa_lib.study.config import load_studies, load_study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import REPOSITORY, environment, runs_root

_PROGRESS = re.compile(r"^(\d+) of (\d+) steps")
_OUTPUT = re.compile(r"^    output: (.*)$", re.MULTILINE)
_FAILED = re.compile(r"^Error in (?:rule|group) (\w+)")
#: Memory of a GPU in MB that a job is given, by rule. The paper's bone networks took 9.5 GB (section 4.1) and its
#: detector 1.3 GB (section 4.2), which says how many trainings share one card.
GPU_MB = {"train_bones": 12_000, "segment": 4_000, "train_detector": 6_000}
_TRIGGERS = ["--rerun-triggers", "mtime", "input", "params"]


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
        dry_run: only say what would run and what it would cost.
        executor_profile: a Snakemake profile folder (`workflow/profiles/slurm`), for a cluster.
        extra: further Snakemake arguments.

    Raises:
        AxspaError: a parameter is wrong (before anything runs), or jobs failed.
    """
    load_studies(profile)  # a wrong parameter stops here
    if dry_run:
        announce(profile, planned(profile, extra), cores)
        return
    root = runs_root() / profile
    command = [
        *_snakemake(profile, root), "--cores", str(cores), "--rerun-incomplete", "--keep-going",
        *_TRIGGERS, *([] if executor_profile else _machine()), "--workflow-profile", executor_profile or "none",
        *(extra or []),  # results wanted must not follow an option that takes several values
    ]  # fmt: skip
    with _alone(root) as lock:
        unlock = subprocess.run([*command, "--unlock"], capture_output=True, text=True)
        if unlock.returncode:
            raise AxspaError(f"the workflow cannot be read: {_last_line(unlock.stderr + unlock.stdout)}")
        clock = time.monotonic()
        board = Board(root, cost.seconds_by_job(profile, planned(profile, extra)), cores)
        failures, done = _follow(command, root / "snakemake.log", lock, board)
    if failures:
        raise AxspaError(f"{len(failures)} job(s) failed; first: {failures[0]} (all: {root / 'snakemake.log'})")
    print(f"== study {profile}: {done} in {time.monotonic() - clock:.0f} s; results in {root}", flush=True)


def planned(profile: str, extra: list[str] | None = None) -> list[str]:
    """Return the names of the jobs that a run would execute now, in the order of the study.

    Args:
        profile: a key of the profiles.
        extra: further Snakemake arguments, such as the results wanted.

    Raises:
        AxspaError: the workflow cannot be read.
    """
    root = runs_root() / profile
    command = [*_snakemake(profile, root), "--cores", "1", *_TRIGGERS, "--workflow-profile", "none", "--dry-run"]
    result = subprocess.run([*command, *(extra or [])], capture_output=True, text=True)
    if result.returncode:
        raise AxspaError(f"the workflow cannot be read: {_last_line(result.stderr + result.stdout)}")
    jobs = [job_name(Path(line.split(", ")[0]), root) for line in _OUTPUT.findall(result.stdout)]
    return sorted(
        jobs, key=lambda job: ([*job_records.KINDS, job_records.kind_of(job)].index(job_records.kind_of(job)), job)
    )


def planned_from_nothing(profile: str) -> list[str]:
    """Return the names of all jobs of a profile, as `planned` would give them where nothing has been computed yet."""
    with tempfile.TemporaryDirectory() as folder, environment(AXSPA_RUNS=folder):
        return planned(profile)


def announce(profile: str, jobs: list[str], cores: int) -> None:
    """Print what would run and what it would cost, with what that estimate rests on."""
    if not jobs:
        print(f"== study {profile}: nothing to do", flush=True)
        return
    for job in jobs:
        print(f"== would run: {job}")
    found = cost.estimate(profile, jobs)
    for what, count, each, together, basis in cost.listed(found):
        print(f"   {what:32s} {count:>3s} × {each:>8s} = {together:>8s}   from {basis}")
    seconds, unknown = sum(row.seconds for row in found), sum(row.unknown for row in found)
    rest = f", and {unknown} jobs of which nothing is recorded yet" if unknown else ""
    print(f"== study {profile}: {len(jobs)} jobs, about {job_records.duration(seconds)} of computing{rest}")
    print(f"== study {profile}: with {cores} cores not less than {job_records.duration(seconds / cores)}", flush=True)


def _machine() -> list[str]:
    """Return Snakemake options for this machine's memory and that of its GPU, which trainings share."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    card = gpu_memory()
    if not card:
        return ["--resources", f"mem_mb={memory}"]
    needed = [f"{rule}:gpu_mb={min(most, card)}" for rule, most in GPU_MB.items()]
    return ["--resources", f"mem_mb={memory}", f"gpu_mb={card}", "--set-resources", *needed]


def gpu_memory() -> int:
    """Return the first GPU's memory in MB: 0 without one, 1 where unknown, so that jobs take turns."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return int(asked.stdout.splitlines()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 1 if Path("/dev/nvidia0").exists() else 0


def _snakemake(profile: str, root: Path) -> list[str]:
    snakefile = str(REPOSITORY / "workflow" / "Snakefile")
    study = load_study(profile)
    # One long training that all bone networks wait for: begun last, it would leave the other cores without work.
    start = study.bones.start
    first = ["--prioritize", str(Layout(root).bone_variant(start) / "run.json")] if start else []
    return [
        sys.executable, "-m", "snakemake", "--snakefile", snakefile, "--directory", str(_work_folder(root)),
        *first, "--config", f"profile={profile}",
    ]  # fmt: skip


def _follow(command: list[str], log: Path, lock: int, board: Board) -> tuple[list[str], str]:
    """Run Snakemake, keep its whole output in `log`, show the lines a person wants; return failures and a summary."""
    log.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    failed: list[str] = []  # rules, as Snakemake names them: on a cluster the jobs' own words stay in their logs
    done = "nothing to do"
    variables = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (
        log.open("w", encoding="utf-8") as file,
        _ending(
            subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=variables, start_new_session=True, pass_fds=[lock]
            )
        ) as process,
    ):
        for line in _lines(log, process, board.show):
            board.read(line)
            if line.startswith("== "):
                board.say(line.rstrip())
            if (match := _FAILED.match(line)) and match[1] not in failed:
                failed.append(match[1])
            if line.startswith("== ") and ": FAILED: " in line:
                failures.append(line[3:].strip())
            if match := _PROGRESS.match(line):
                done = f"{match[1]} of {match[2]} steps done"
                board.say(f"== {done}")
        board.clear()
        if process.wait() and not failures:
            failures += [f"a job of {rule}" for rule in failed]
            failures = failures or [f"Snakemake stopped with exit code {process.returncode}"]
    return (failures if process.returncode else []), done


def _lines(log: Path, process: subprocess.Popen[Any], waiting: Callable[[], None]) -> Iterator[str]:
    """Yield the lines of a log while a process writes it; call `waiting` in between.

    A file, not a pipe: were this process killed, Snakemake would write into a pipe without a reader and stop half-way,
    holding the lock. So it ends its work, and the next run waits for it.
    """
    with log.open(encoding="utf-8", errors="replace") as file:
        part = ""
        while True:
            ended = process.poll() is not None  # before reading: what was written by then is read below
            while line := file.readline():
                part += line
                if part.endswith("\n"):
                    yield part
                    part = ""
            if ended:
                break
            waiting()
            time.sleep(0.2)
        if part:
            yield part


@contextmanager
def _ending(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
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
