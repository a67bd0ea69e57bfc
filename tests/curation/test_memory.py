"""Memory of curation is that of one patient, whatever the number of patients."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

from axspa_lib.curation.curate import curate
from axspa_lib.curation.source import open_source


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
