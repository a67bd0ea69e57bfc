"""Stacks read from DICOM lie where their headers say, whatever the order of files, the plane and the encoding."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from axspa_lib.curation.dicom import NotDicom, read_dataset, read_headers
from axspa_lib.curation.dicom_pixels import read_pixels
from axspa_lib.curation.dicom_stack import read_stack
from axspa_lib.study.errors import DataError


def world_lps(volume: Any) -> np.ndarray:
    """World position of each voxel, LPS mm, `(slice, row, column, 3)`."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    return (index @ volume.affine[:3, :3].T + volume.affine[:3, 3]) * [-1, -1, 1]


def assert_true_to_world(volume: Any, make: Any) -> None:
    assert np.abs(volume.array - make.ramp(world_lps(volume))).max() <= 1
    steps = volume.affine[:3, :3]
    assert steps[1, 0] < 0 and steps[2, 1] < 0 and steps[0, 2] < 0  # posterior, caudal, to the patient's left


@settings(max_examples=25, deadline=None)
@given(
    tilt=st.floats(-25, 65),
    roll=st.floats(-20, 20),
    mirror=st.sampled_from([(1, 1), (1, -1), (-1, 1), (-1, -1)]),
    transposed=st.booleans(),
    sizes=st.tuples(st.integers(4, 7), st.integers(5, 9), st.integers(5, 9)),
)
def test_any_acquisition_order_becomes_canonical(
    make: Any, tmp_path_factory: Any, tilt: float, roll: float, mirror: Any, transposed: bool, sizes: Any
) -> None:
    tilt, roll = np.radians(tilt), np.radians(roll)
    left = np.array([np.cos(roll), np.sin(roll), 0.0])
    normal = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    normal -= left * (left @ normal)
    normal /= np.linalg.norm(normal)
    down = np.cross(normal, left)
    right, below = mirror[0] * left, mirror[1] * down
    if transposed:
        right, below = below, right
    series = make.Series(slices=sizes[0], rows=sizes[1], columns=sizes[2], right=tuple(right), down=tuple(below))
    folder = series.write(tmp_path_factory.mktemp("series"))
    volume = read_stack(list(folder.iterdir()), "T1").volume
    assert_true_to_world(volume, make)
    assert volume.spacing[0] == pytest.approx(5.0)
    assert volume.array.shape[0] == sizes[0]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless]
)
def test_transfer_syntaxes_hold_the_same_image(make: Any, tmp_path: Path, syntax: str) -> None:
    def encode(ds: Any, index: int) -> Any:
        if syntax == RLELossless:
            ds.compress(RLELossless)
        elif syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds.file_meta.TransferSyntaxUID = syntax
        else:
            ds.file_meta.TransferSyntaxUID = syntax
        return ds

    folder = make.Series(edit=encode).write(tmp_path / "T1")
    assert_true_to_world(read_stack(list(folder.iterdir()), "T1").volume, make)


def test_jpeg_2000_and_jpeg_ls_hold_the_same_image() -> None:
    """pydicom's own three files of one image; the lossless ones are decoded by different libraries."""
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    images = []
    for name in ("MR_small.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"):
        images.append(read_pixels(folder / name, read_dataset(folder / name)))
    for image in images[1:]:
        np.testing.assert_array_equal(image, images[0])


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, "1.2.840.10008.1.2.4.70", "1.2.3.4"])
def test_damaged_compressed_pixels_name_the_syntax_and_the_remedy(make: Any, tmp_path: Path, syntax: str) -> None:
    from pydicom.encaps import encapsulate

    def encode(ds: Any, index: int) -> Any:
        ds.PixelData = encapsulate([b"\xff\xd8\xff\xf7\x00\x00"])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.file_meta.TransferSyntaxUID = JPEGLSLossless
        return ds

    folder = make.Series(edit=encode).write(tmp_path / "T1")
    for file in folder.iterdir():
        meant, put = str(JPEGLSLossless).encode(), str(syntax).encode()
        file.write_bytes(file.read_bytes().replace(meant, put.ljust(len(meant), b"\0"), 1))
    with pytest.raises(DataError, match=r"compressed as (JPEG|an unknown transfer).*; export it uncompressed"):
        read_stack(list(folder.iterdir()), "T1")


def test_eight_bit_signed_rescaled_and_inverted_pixels(make: Any, tmp_path: Path) -> None:
    ramp8 = (np.arange(24 * 20) % 251).astype(np.uint8).reshape(24, 20)

    def eight(ds: Any, index: int) -> Any:
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.PixelData = ramp8.tobytes()
        return ds

    def signed(ds: Any, index: int) -> Any:
        ds.PixelRepresentation = 1
        ds.PixelData = (ramp8.astype("<i2") - 100).tobytes()
        return ds

    def rescaled(ds: Any, index: int) -> Any:
        ds.PixelData = ramp8.astype("<u2").tobytes()
        ds.RescaleSlope, ds.RescaleIntercept = 0.5, -3
        return ds

    def inverted(ds: Any, index: int) -> Any:
        ds.BitsStored, ds.HighBit, ds.PhotometricInterpretation = 12, 11, "MONOCHROME1"
        ds.PixelData = (4095 - ramp8.astype("<u2")).tobytes()
        return ds

    expected = {eight: ramp8, signed: ramp8.astype(int) - 100, rescaled: ramp8 * 0.5 - 3, inverted: ramp8}
    for edit, image in expected.items():
        folder = make.Series(edit=edit).write(tmp_path / edit.__name__)
        volume = read_stack(list(folder.iterdir()), "T1").volume
        np.testing.assert_allclose(volume.array[2].astype(float), image)


def test_each_slice_keeps_its_own_rescale(make: Any, tmp_path: Path) -> None:
    def rescaled(ds: Any, index: int) -> Any:
        values = np.frombuffer(ds.PixelData, "<u2").astype(float)
        ds.RescaleSlope, ds.RescaleIntercept = 2.0 + index, 10.0 * index
        ds.PixelData = np.rint((values - 10.0 * index) / (2.0 + index)).astype("<u2").tobytes()
        return ds

    folder = make.Series(edit=rescaled).write(tmp_path)
    volume = read_stack(list(folder.iterdir()), "T1").volume
    assert np.abs(volume.array - make.ramp(world_lps(volume))).max() <= 5  # half a step of the coarsest slope


def test_a_file_that_vanishes_or_changes_is_named(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make.Series().write(tmp_path)
    paths = sorted(folder.iterdir())
    paths[2].unlink()
    with pytest.raises(DataError, match="vanished while it was read"):
        read_stack(paths, "T1")
    file = paths[0]
    real = Path.stat
    sizes = iter([0, 1])
    stat = real(file)

    class Growing:
        st_mtime_ns = stat.st_mtime_ns

        def __init__(self) -> None:
            self.st_size = stat.st_size + next(sizes)

    monkeypatch.setattr(Path, "stat", lambda self, **kwargs: Growing() if self == file else real(self, **kwargs))
    with pytest.raises(DataError, match="changed while it was read"):
        read_dataset(file)


def test_stray_files_are_skipped_and_counted(make: Any, tmp_path: Path) -> None:
    folder = make.Series().write(tmp_path)
    (folder / "readme.txt").write_text("hello")
    (folder / "Thumbs.db").write_bytes(b"\x01" * 300)
    (folder / "noextension").write_bytes(b"hello world, this is no DICOM file at all" * 10)
    stack = read_stack(list(folder.iterdir()), "T1")
    assert stack.notes == ("T1: 3 other files skipped",)


def test_pydicoms_own_files_are_read_or_refused() -> None:
    """Only what lies in the wheel: names are globbed from the installed folder, nothing is downloaded."""
    import pydicom.data

    here = Path(pydicom.data.__file__).parent
    files = [file for file in here.rglob("*") if file.is_file()]
    assert len(files) > 150
    outcomes = {"read": 0, "refused": 0, "other": 0}
    for file in files:
        try:
            dataset = read_dataset(file)
            headers = read_headers(file, dataset)
            assert read_pixels(file, dataset, headers[0].index).ndim == 2
            outcomes["read"] += 1
        except NotDicom:
            outcomes["other"] += 1
        except DataError as error:
            assert file.name in str(error) and "; " in str(error)
            outcomes["refused"] += 1
    assert outcomes["read"] >= 10 and outcomes["refused"] >= 50, outcomes


@pytest.mark.real
def test_demo_patient_agrees_with_simpleitk(real_data: Path) -> None:
    """ITK's own series reader is the oracle of position and value."""
    sitk = pytest.importorskip("SimpleITK")
    folder = real_data / "iaxspa-demo" / "Patient1" / "T1"
    if not folder.is_dir():
        pytest.skip("iaxspa-demo is not there")
    volume = read_stack(list(folder.iterdir()), "T1").volume
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    rng = np.random.default_rng(0)
    for _ in range(200):
        index = [int(rng.integers(n)) for n in volume.array.shape]
        point = (volume.affine @ [*index, 1])[:3] * [-1, -1, 1]
        there = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        np.testing.assert_allclose(there, np.rint(there), atol=2e-3)
        assert image[tuple(round(v) for v in there)] == volume.array[tuple(index)]


@pytest.mark.real
def test_demo_patient_lies_as_anatomy_says(real_data: Path) -> None:
    """Subcutaneous fat of the back is bright on T1 and lies in the last slices; behind it is air."""
    folder = real_data / "iaxspa-demo" / "Patient1" / "T1"
    if not folder.is_dir():
        pytest.skip("iaxspa-demo is not there")
    array = read_stack(list(folder.iterdir()), "T1").volume.array.astype(float)
    bright = array > np.percentile(array, 95)
    by_slice = bright.mean(axis=(1, 2))
    assert by_slice[-3:].mean() > 2 * by_slice[:3].mean()
    rows = array.shape[1]
    air = array[-1] < np.percentile(array, 10)
    assert air[-rows // 5 :].mean() > 0.9 > 0.5 > air[: rows // 2].mean()


def test_headers_can_travel_to_workers(make: Any, tmp_path: Path) -> None:
    folder = make.Series().write(tmp_path)
    header = read_headers(next(iter(sorted(folder.iterdir()))))[0]
    assert pickle.loads(pickle.dumps(header)) == header
    assert "patient-1" not in repr(header)
