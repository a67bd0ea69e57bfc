"""Curates the first patients of a source in two processes and says what it took: memory, time, and the floor.

    axspa phantom /tmp/source --patients 300
    python -m tests.bench.cohort /tmp/source 100 300

The floor is a plain pydicom read with decoded pixels of the same files, by as many processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psutil

WORKERS = 2


def part_of(source: Path, patients: int, into: Path) -> Path:
    """A source with the first patients of another, by links."""
    into.mkdir()
    folders = sorted(child for child in source.iterdir() if (child / "T1").is_dir())[:patients]
    if len(folders) < patients:
        raise SystemExit(f"{source} holds {len(folders)} patients, not {patients}: simulate more with `axspa phantom`")
    for folder in folders:
        (into / folder.name).symlink_to(folder.resolve())
    return into


def curated(source: Path, out: Path, workers: int = WORKERS) -> dict[str, Any]:
    """Curate in processes of their own, watched from outside.

    Returns:
        `seconds`, `included`, and `peak_mb`: the largest sum of the proportional memory (PSS) of all its processes.
    """
    command = [sys.executable, "-m", "axspa_lib.cli", "curate", source, out, "--no-splits", "--workers", str(workers)]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    watched = psutil.Process(process.pid)
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    said = b""
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            peak = max(peak, _memory(watched))
        said = (said + (process.stderr.read() or b""))[-2000:]
        time.sleep(0.2)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(said.decode(errors="replace"))
    counts = json.loads((out / "curation.json").read_text())["counts"]
    return {"seconds": seconds, "included": counts["included"], "peak_mb": peak / 2**20}


def plain_read(files: list[Path], workers: int = WORKERS) -> float:
    """Seconds for a plain pydicom read with decoded pixels."""
    start = time.perf_counter()
    with ProcessPoolExecutor(workers) as pool:
        sum(pool.map(read, files, chunksize=32))
    return time.perf_counter() - start


def files_of(source: Path) -> list[Path]:
    """The DICOM files of a source in the layout `{patient}/{T1,STIR}/`."""
    return sorted(file for sequence in ("T1", "STIR") for file in source.glob(f"*/{sequence}/*"))


def read(path: Path) -> int:
    """Decode one file, as plainly as pydicom does it.

    Returns:
        Its first pixel.
    """
    import pydicom

    return int(pydicom.dcmread(path).pixel_array[0, 0])


def _memory(process: psutil.Process) -> int:
    """Bytes that a process and all that descend from it hold: what they share counts once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            total += one.memory_full_info().pss
    return total


def main(source: Path, sizes: list[int]) -> None:
    """Print a line for each number of patients."""
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            part = part_of(source, size, Path(scratch, f"source-{size}"))
            files = files_of(part)
            took = curated(part, Path(scratch, f"cohort-{size}"))
            floor = plain_read(files)
            print(
                f"{size} patients, {len(files)} files, {WORKERS} processes: peak {took['peak_mb']:.0f} MB, "
                f"{took['seconds']:.0f} s ({len(files) / took['seconds']:.0f} files/s, {took['included']} included); "
                f"plain pydicom read {floor:.0f} s, {took['seconds'] / floor:.1f} times less",
                flush=True,
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), list(map(int, sys.argv[2:])))
