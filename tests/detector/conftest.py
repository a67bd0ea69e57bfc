"""Makes the detector tests' shared cases importable and one small synthetic cohort on disk available."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "golden")]


@pytest.fixture(scope="session")
def synthetic_cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Slices folder and instances JSON of six patients with three slices each."""
    from synthetic import write_cohort

    return write_cohort(tmp_path_factory.mktemp("cohort"), patients=6, slices=3)
