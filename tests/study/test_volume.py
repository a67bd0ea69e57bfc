"""Volumes survive their file, and the file's affine means the same place."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume, read_volume, write_volume

AFFINE = np.array([[0.0, 0, -0.6, 60], [-4.4, 0.5, 0, 20], [1.2, -0.4, 0, 40], [0, 0, 0, 1]])


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 5)] * 3), st.sampled_from([np.uint8, np.int16, np.float32]))
def test_round_trip(tmp_path_factory, shape, dtype):
    path = tmp_path_factory.mktemp("v") / "v.nii.gz"
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    write_volume(path, Volume(array, AFFINE))
    back = read_volume(path)
    assert np.array_equal(back.array, array) and back.array.dtype == dtype
    np.testing.assert_allclose(back.affine, AFFINE, atol=1e-5)


def test_a_viewer_finds_a_voxel_at_the_same_place(tmp_path):
    write_volume(tmp_path / "v.nii.gz", Volume(np.zeros((3, 4, 5), np.float32), AFFINE))
    image = nib.load(tmp_path / "v.nii.gz")
    assert image.shape == (5, 4, 3), "viewers expect columns, rows, slices"
    np.testing.assert_allclose(image.affine @ [4, 3, 2, 1], AFFINE @ [2, 3, 4, 1], atol=1e-5)


def test_spacing_is_slice_row_column():
    assert Volume(np.zeros((1, 1, 1)), AFFINE).spacing == pytest.approx((np.hypot(4.4, 1.2), np.hypot(0.5, 0.4), 0.6))


@pytest.mark.parametrize("content", [b"", b"text", b"\x1f\x8b broken"])
def test_broken_files_are_named(tmp_path, content):
    (tmp_path / "v.nii.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"v\.nii\.gz"):
        read_volume(tmp_path / "v.nii.gz")


def test_sidecar_and_header_hold_no_free_text(tmp_path):
    write_volume(tmp_path / "v.nii.gz", Volume(np.zeros((2, 2, 2), np.uint8), AFFINE), {"EchoTime": 0.06})
    header = nib.load(tmp_path / "v.nii.gz").header
    assert header["descrip"].item() == b"" and header["db_name"].item() == b""
    assert (tmp_path / "v.json").read_text() == '{\n "EchoTime": 0.06\n}\n'
