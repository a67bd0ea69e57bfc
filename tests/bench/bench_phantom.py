"""Seconds for one simulated patient, and what drawing and reading one without an image saves."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from axspa_lib.phantom.cohort import simulate_patient
from axspa_lib.realism.reader_calibration import simulate_batch
from axspa_lib.study.config import PhantomCohort, load_study
from tests.bench.harness import Benchmark

COHORT, SEED = "phantom-desir", 7


def benchmarks() -> list[Benchmark]:
    """A patient of the paper's cohort on one thread: whole (`reference`), and drawn and read only (`ours`)."""
    spec = load_study("paper").phantoms[COHORT]
    return [
        Benchmark(
            "one simulated patient",
            ours=_drawn(spec),
            reference=_written(spec),
            unit="s",
            repeats=5,
            ours_name="drawn and read, as to calibrate the readers",
            reference_name="drawn, read, rendered and written as DICOM with its truth",
            agreement="the same marks (tests/phantom/test_readers.py)",
        )
    ]


def _drawn(spec: PhantomCohort) -> Callable[[], object]:
    return lambda: simulate_batch(COHORT, spec, SEED, 1)


def _written(spec: PhantomCohort) -> Callable[[], object]:
    """Another patient at every call, into a folder that is emptied after it."""
    numbers = itertools.count(1)

    def write() -> None:
        folder = Path(tempfile.mkdtemp(prefix="axspa-bench-"))
        try:
            simulate_patient(COHORT, spec, SEED, next(numbers), folder)
        finally:
            shutil.rmtree(folder)

    return write
