"""Memory of curation is that of one patient, whatever the number of patients."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from tests.bench.cohort import curated, files_of


def peak(source: Path, out: Path) -> int:
    opened = open_source(source)
    tracemalloc.start()
    try:
        curate(opened, out, seed=0, bones_split=None, detection_split=None)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_peak_does_not_grow_with_patients(make: Any, tmp_path: Path) -> None:
    size = {"rows": 48, "columns": 48, "slices": 6}
    for number in range(9):
        for folder in ("few", "many") if number < 3 else ("many",):
            make.pair(tmp_path / folder / f"P{number}", dict(size), dict(size))
    peak(tmp_path / "few", tmp_path / "warm")  # imports and caches
    few = peak(tmp_path / "few", tmp_path / "a")
    many = peak(tmp_path / "many", tmp_path / "b")
    one_patient = 2 * 6 * 48 * 48 * 2
    assert many - few < 6 * one_patient * 0.5, (few, many)


@pytest.mark.slow
def test_two_processes_hold_no_more_for_more_patients(tmp_path: Path) -> None:
    """All processes together, as the system counts them, on one examination under many names.

    CONTRIBUTING.md has the figures for 300 different examinations.
    """
    from axspa_lib.phantom.cohort import simulate_cohort
    from axspa_lib.study.config import parse_study

    study = parse_study({"phantoms": {"phantom-desir": {"patients": 1, "prevalence": 0.33}}, "seed": 2022})
    simulate_cohort("phantom-desir", study.phantoms["phantom-desir"], study.seed, tmp_path / "one")
    peaks = []
    for number in (8, 64):
        source = tmp_path / f"source-{number}"
        source.mkdir()
        for place in range(number):
            (source / f"P{place}").symlink_to(tmp_path / "one" / "D0001")
        took = curated(source, tmp_path / f"cohort-{number}")
        assert took["included"] == number
        peaks.append(took["peak_mb"])
    examination = sum(file.stat().st_size for file in files_of(tmp_path / "one")) / 2**20
    assert peaks[1] - peaks[0] < 2 * examination, (peaks, examination)
