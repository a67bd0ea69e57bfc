"""Addresses of results, atomic writes, and the `run.json` that is written last and says a stage is done.

A result folder without its `run.json` is unfinished, whatever else lies in it: nothing reads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from axspa_lib.study.errors import MissingResultError

REPOSITORY = Path(__file__).resolve().parents[2]

#: Packages whose versions are recorded with every result.
RECORDED = ("torch", "torchvision", "segmentation-models-pytorch", "scikit-image", "numpy", "scipy", "pandas",
            "opencv-python-headless", "pydicom", "nibabel", "SimpleITK", "openvino", "detectron2")  # fmt: skip


def runs_root() -> Path:
    """Return the folder of all results: `$AXSPA_RUNS`, or `runs/` of the repository."""
    return Path(os.environ.get("AXSPA_RUNS", REPOSITORY / "runs"))


def stored_root() -> Path:
    """Return the folder of the results that come with the repository: `$AXSPA_STORED`, or `book/stored/`."""
    return Path(os.environ.get("AXSPA_STORED", REPOSITORY / "book" / "stored"))


def sample_root() -> Path:
    """Return the folder of the images that come with the repository: `$AXSPA_SAMPLE`, or `book/sample/`."""
    return Path(os.environ.get("AXSPA_SAMPLE", REPOSITORY / "book" / "sample"))


def found(path: Path) -> Path:
    """Return the file itself, or the sample's copy where stored results lack it (`axspa sample`)."""
    if not path.exists() and path.is_relative_to(stored_root()):
        copy = sample_root() / path.relative_to(stored_root())
        return copy if copy.exists() else path
    return path


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_input(path: Path) -> Path:
    """Record that an executed notebook reads a result; return the file to read (`found`).

    `execution.execute` names a file in `$AXSPA_NOTES`; one line is added to it: `<profile>/<file>` and SHA-256.
    """
    path = found(path)
    notes = os.environ.get("AXSPA_NOTES")
    roots = (runs_root(), stored_root(), sample_root())
    root = next((root for root in roots if path.is_relative_to(root)), None)
    if notes and root is not None and path.is_file():
        with open(notes, "a", encoding="utf-8") as file:
            file.write(json.dumps([path.relative_to(root).as_posix(), sha256(path)]) + "\n")
    return path


def provenance() -> dict[str, Any]:
    """Return commit, versions and machine; no host name, no user, no path."""
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True)
    return {
        "commit": git.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "device": _device(),
        "versions": {name: metadata.version(name) for name in RECORDED if _installed(name)},
    }


@contextmanager
def record_stage(folder: Path, config: dict[str, Any], inputs: Iterable[Path] = ()) -> Iterator[dict[str, Any]]:
    """Run a stage into `folder`; on success write `run.json` last, with what the body put into the yielded record.

    `run.json` holds the configuration, provenance, checksums of the inputs, start, duration, `resources` used, and the
    body's `metrics`.
    A failing body leaves no `run.json`, so the stage counts as not done.
    """
    if folder.is_symlink():  # a finished result that a scratch folder shares: the new one takes its place there
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "run.json"
    done.unlink(missing_ok=True)
    started, clock = datetime.now(UTC), time.monotonic()
    record: dict[str, Any] = {"metrics": {}}
    yield record
    record |= {
        "config": config,
        "inputs": {path.name if path.parent == folder else str(path.name): sha256(path) for path in inputs},
        "provenance": provenance(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "resources": used_resources(),
    }
    write_json(done, record)


def used_resources() -> dict[str, float | int]:
    """Return resources used by this process and its ended children: processor time, memory, threads, GPU."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1024**2 if sys.platform == "darwin" else 1024
    used: dict[str, float | int] = {
        "cpu_seconds": round(sum(part.ru_utime + part.ru_stime for part in (own, children)), 1),
        "peak_memory_mb": round(max(_own_peak_kb() or own.ru_maxrss, children.ru_maxrss) / unit),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or (os.cpu_count() or 1),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        used["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1024**2)
    return used


def _own_peak_kb() -> int | None:
    """Return this program's peak memory in KiB on Linux; `ru_maxrss` also counts the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)


def read_run(folder: Path, note: bool = True) -> dict[str, Any]:
    """Return the `run.json` of a finished stage.

    Args:
        folder: of the stage.
        note: whether a notebook that reads it depends on it (`record_input`).

    Raises:
        MissingResultError: the stage has not finished; says what to run.
    """
    try:
        path = folder / "run.json"
        return json.loads((record_input(path) if note else path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        profile = folder.relative_to(runs_root()).parts[0] if folder.is_relative_to(runs_root()) else "quick"
        raise MissingResultError(
            f"no finished result in {folder.name!r}: run `make book PROFILE={profile}` first"
        ) from None


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _device() -> str:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name(0))
    return "cpu"


def result_file(profile: str, name: str) -> Path:
    """Return a small result of a profile, of this machine's run or as stored with the repository.

    Args:
        profile: a key of the profiles.
        name: path below the profile's folder, as `tables/table1.csv`.

    Raises:
        MissingResultError: neither has it; says what to run.
    """
    for root in (runs_root(), stored_root()):
        path = root / profile / name
        if path.is_file():
            return path
    raise MissingResultError(
        f"{profile}/{name}: neither computed here nor stored with the repository: run `make book PROFILE={profile}`"
    )
