"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

# CI searches the same examples every time; a developer's machine searches new ones.
hypothesis.settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real MRI (`vhi/`, `iaxspa-demo/`); tests that need it skip where it is absent."""
    folder = Path(os.environ.get("AXSPA_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real MRI at the default place: set AXSPA_REAL_DATA to its folder to run this test")
    return folder
