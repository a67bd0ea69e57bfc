"""Whatever the bytes and the header values, reading ends with a stack or a sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axspa_lib.curation import annotations as tables
from axspa_lib.curation.curate import curate
from axspa_lib.curation.deidentify import ACQUISITION, GEOMETRY, GROUPING
from axspa_lib.curation.dicom_stack import read_stack
from axspa_lib.curation.nifti import read_image
from axspa_lib.curation.open import open_source
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")
FUZZ = settings(max_examples=60, deadline=5000, suppress_health_check=list(HealthCheck))

BYTES = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "repeat"]), st.floats(0, 1), st.binary(min_size=1, max_size=12)
)
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**31), 2**31),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.floats(), max_size=8),
    st.lists(st.integers(-(2**17), 2**17), max_size=8),
    st.binary(max_size=9),
)


def spoil(content: bytes, how: str, where: float, bits: bytes) -> bytes:
    place = int(where * len(content))
    if how == "cut":
        return content[:place]
    if how == "insert":
        return content[:place] + bits + content[place:]
    if how == "repeat":
        return content[:place] + content[place : place + 200] * 2 + content[place + 200 :]
    return (
        content[:place]
        + bytes(a ^ b for a, b in zip(content[place:], bits, strict=False))
        + content[place + len(bits) :]
    )


@pytest.fixture(scope="module")
def series(make: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = make.Series(slices=5, rows=12, columns=12).write(tmp_path_factory.mktemp("fuzz"))
    return sorted(folder.iterdir())


def read_or_refuse(paths: list[Path]) -> None:
    try:
        stack = read_stack(paths, "T1")
    except DataError as error:
        assert "\n" not in str(error) and str(error).startswith("T1: ")
    else:
        assert stack.volume.array.ndim == 3 and np.isfinite(stack.volume.affine).all()


@FUZZ
@given(spoils=st.lists(BYTES, min_size=1, max_size=3), which=st.integers(0, 4))
def test_spoiled_bytes(series: list[Path], spoils: list[Any], which: int) -> None:
    content = whole = series[which].read_bytes()
    for spoiling in spoils:
        content = spoil(content, *spoiling)
    try:
        series[which].write_bytes(content)
        read_or_refuse(series)
    finally:
        series[which].write_bytes(whole)


@FUZZ
@given(keyword=st.sampled_from([*GEOMETRY, *ACQUISITION, *GROUPING, "PixelData"]), value=VALUES, every=st.booleans())
def test_spoiled_headers(make: Any, tmp_path_factory: Any, keyword: str, value: Any, every: bool) -> None:
    def edit(ds: Any, index: int) -> Any:
        if every or index == 1:
            setattr(ds, keyword, value)
        return ds

    folder = tmp_path_factory.mktemp("header")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make.Series(slices=5, rows=12, columns=12, edit=edit).write(folder)
    except Exception:
        return  # pydicom cannot even write it
    read_or_refuse(sorted(folder.iterdir()))


@FUZZ
@given(spoils=st.lists(BYTES, min_size=1, max_size=3))
def test_spoiled_nifti(tmp_path_factory: Any, spoils: list[Any]) -> None:
    import nibabel as nib

    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    affine = np.array([[-0.9, 0, 0, 0], [0, 0.9, -2.6, 0], [0, 0.9, 2.6, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.arange(12 * 12 * 5, dtype=np.int16).reshape(12, 12, 5), affine), path)
    content = path.read_bytes()
    for how, where, bits in spoils:
        content = spoil(content, how, min(1.0, where * 400 / (len(content) + 1)) if how == "flip" else where, bits)
    path.write_bytes(content)
    try:
        assert np.isfinite(read_image(path).array).all()
    except DataError as error:
        assert str(error).startswith("a.nii: ")


@FUZZ
@given(spoils=st.lists(BYTES, min_size=1, max_size=4))
def test_spoiled_tables(tmp_path_factory: Any, spoils: list[Any]) -> None:
    path = tmp_path_factory.mktemp("table") / "readings.csv"
    rows = [("P", r, z, s, "iliac_upper", 1) for r in "12" for z in range(4) for s in "LR"]
    content = pd.DataFrame(rows, columns=list(tables.READINGS)).to_csv(index=False).encode()
    for spoiling in spoils:
        content = spoil(content, *spoiling)
    path.write_bytes(content)
    try:
        clean, _ = tables.clean_readings(tables.read_table(path, tables.READINGS), ["P"])
    except DataError as error:
        assert str(error).startswith("readings.csv: ")
    else:
        assert set(clean["inflammation"]) <= {0, 1} and (clean["slice"] >= 0).all()


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(spoils=st.lists(BYTES, min_size=1, max_size=6), seed=st.integers(0, 99))
def test_a_spoiled_patient_never_stops_the_cohort(
    make: Any, tmp_path_factory: Any, spoils: list[Any], seed: int
) -> None:
    root = tmp_path_factory.mktemp("cohort")
    small = {"slices": 5, "rows": 12, "columns": 12}
    for name in ("bad", "good"):
        make.pair(root / "in" / name, dict(small), dict(small))
    files = sorted((root / "in" / "bad").rglob("I*"))
    for number, spoiling in enumerate(spoils):
        file = files[(seed + 3 * number) % len(files)]
        file.write_bytes(spoil(file.read_bytes(), *spoiling))
    out = curate(open_source(make.vouch(root / "in")), root / "out", seed=0, bones_split=None, detection_split=None)
    cohort = Cohort(out)
    assert "good" in cohort.patients
    assert not cohort.exclusions["reason"].str.contains("unexpected").any(), cohort.exclusions["reason"].tolist()
