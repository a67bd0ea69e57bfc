"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

# CI searches the same examples every time; a developer's machine searches new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

# Tests work in folders of their own, as the workflow does; what a person's run writes is tested in test_scratch.
os.environ["AXSPA_OFFICIAL"] = "1"

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real MRI (`vhi/`, `iaxspa-demo/`); tests that need it skip where it is absent."""
    folder = Path(os.environ.get("AXSPA_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real MRI at the default place: set AXSPA_REAL_DATA to its folder to run this test")
    return folder


@pytest.fixture(scope="session")
def smoke_study(tmp_path_factory) -> Path:
    """Folder of all results, with a smoke study that ran on this machine without interruption."""
    runs = tmp_path_factory.mktemp("runs")
    command = [sys.executable, "-m", "axspa_lib.cli", "study", "--profile", "smoke", "--cores", "2"]
    environment = os.environ | {"AXSPA_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, timeout=1500)
    return runs
