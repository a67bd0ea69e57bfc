"""Curation of a few phantom patients against its floor: a plain pydicom read of the same files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.phantom.cohort import simulate_cohort
from axspa_lib.study.config import parse_study
from tests.bench.cohort import files_of, read
from tests.bench.harness import Benchmark

PATIENTS = 4


def benchmarks() -> list[Benchmark]:
    """One process each; curation also checks, pairs, resamples, compresses and takes checksums, so it is slower."""
    scratch = Path(tempfile.mkdtemp(prefix="axspa-bench-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    study = parse_study({"phantoms": {"phantom-desir": {"patients": PATIENTS, "prevalence": 0.33}}, "seed": 2022})
    simulate_cohort("phantom-desir", study.phantoms["phantom-desir"], study.seed, scratch / "source")
    files = files_of(scratch / "source")

    def ours() -> object:
        shutil.rmtree(scratch / "cohort", ignore_errors=True)
        return curate(
            open_source(scratch / "source"),
            scratch / "cohort",
            seed=0,
            bones_split=None,
            detection_split=None,
            require_agreement=False,
        )

    def floor() -> object:
        return [read(file) for file in files]

    return [
        Benchmark(
            f"curation, {PATIENTS} patients, {len(files)} DICOM files",
            ours=ours,
            reference=floor,
            unit="s",
            repeats=5,
            ours_name="read, check, pair, write NIfTI",
            reference_name="plain pydicom read, the floor",
        )
    ]
