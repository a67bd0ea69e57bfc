"""Curate patients one after the other or in a pool of processes that outlives the death of a worker."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any

from axspa_lib.curation.annotations import Finding
from axspa_lib.curation.patient import Options, curate_patient, finished, participant
from axspa_lib.curation.source import Examination, Source
from axspa_lib.study import processes
from axspa_lib.study.progress import Progress


def patient_records(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int, progress: bool
) -> Iterator[dict[str, Any]]:
    """Yield the record of each patient, finished ones from disk, in any order."""
    with Progress(total=len(patients), unit="patient", disable=not progress, desc="curating") as bar:
        todo = []
        for patient in patients:
            record = finished(source, patient, out, options) if out else None
            if record is None:
                todo.append(patient)
            else:
                bar.update()
                yield record
        work = _parallel if workers > 1 and len(todo) > 1 else _serial
        for record in work(source, todo, out, options, workers):
            bar.update()
            yield record


def _serial(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int
) -> Iterator[dict[str, Any]]:
    for patient in patients:
        yield curate_patient(source, patient, out, options)


def _parallel(
    source: Source, patients: list[str], out: Path | None, options: Options, workers: int
) -> Iterator[dict[str, Any]]:
    """A pool that outlives the death of a worker: the patients in flight are tried once more, each alone."""
    suspects: list[str] = []
    queue = list(reversed(patients))
    while queue:
        running: dict[Future[dict[str, Any]], str] = {}
        with _pool(source, workers) as pool:
            try:
                while queue or running:
                    while queue and len(running) < 2 * workers:
                        patient = queue.pop()
                        running[pool.submit(_task, patient, out, options)] = patient
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        record = future.result()
                        running.pop(future)
                        yield record
            except BrokenProcessPool:
                suspects += running.values()
    for patient in suspects:
        with _pool(source, 1) as pool:
            try:
                yield pool.submit(_task, patient, out, options).result()
            except BrokenProcessPool:
                finding = Finding(patient, "images", "reading the files ends the process", "export the patient again")
                yield {
                    "patient": patient,
                    "row": participant(Examination(patient, patient)),
                    "findings": [asdict(finding)],
                }


_SOURCE: Source | None = None


def _pool(source: Source, workers: int) -> ProcessPoolExecutor:
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return processes.pool(workers, method=method, initializer=_start, initargs=(source,))


def _start(source: Source) -> None:
    """Once in each worker: take the source, and leave an interruption to the process that started it."""
    global _SOURCE
    _SOURCE = source
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _task(patient: str, out: Path | None, options: Options) -> dict[str, Any]:
    assert _SOURCE is not None
    return curate_patient(_SOURCE, patient, out, options)
