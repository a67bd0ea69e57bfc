"""Orientation against nibabel's axis codes, pairing and registration against known displacements."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from axspa_lib.curation.geometry import grid_distance, pair, refine, resample, tilt_degrees, to_canonical
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume, read_volume, write_volume


def stack(tilt: float = 38.0, shape: tuple[int, int, int] = (6, 24, 20), spacing: Any = (5.0, 1.2, 0.9)) -> Volume:
    """A canonical semi-coronal stack (RAS) with random voxels."""
    angle = np.radians(tilt)
    affine = np.eye(4)
    affine[:3, 0] = np.array([0, -np.cos(angle), np.sin(angle)]) * spacing[0]
    affine[:3, 1] = np.array([0, -np.sin(angle), -np.cos(angle)]) * spacing[1]
    affine[:3, 2] = np.array([-1, 0, 0]) * spacing[2]
    affine[:3, 3] = (9.0, 30.0, 15.0)
    return Volume(np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16), affine)


def blurred(volume: Volume) -> Volume:
    """Smooth, structured voxels for interpolation and registration, the same function of the world everywhere."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.array.shape), indexing="ij"), axis=-1)
    x, y, z = np.moveaxis(index @ volume.affine[:3, :3].T + volume.affine[:3, 3], -1, 0)
    return volume.like((500 + 200 * np.sin(x / 5) + 150 * np.cos(y / 9) + 180 * np.sin(z / 6 + x / 11)).astype(float))


@pytest.mark.parametrize("tilt", [0.0, 25.0, 38.0, 50.0, 60.0])
def test_every_axis_order_and_direction_comes_back(tilt: float) -> None:
    """48 ways to store one stack: all return the same voxels at the same places."""
    truth = stack(tilt)
    for order in permutations(range(3)):
        for flips in product([False, True], repeat=3):
            array, affine = truth.array.transpose(order), truth.affine[:, [*order, 3]].copy()
            for axis, flip in enumerate(flips):
                if flip:
                    affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
                    affine[:3, axis] *= -1
                    array = np.flip(array, axis)
            volume = to_canonical(array, affine)
            np.testing.assert_array_equal(volume.array, truth.array)
            np.testing.assert_allclose(volume.affine, truth.affine, atol=1e-9)


def test_written_files_read_back_the_same_way_round(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    volume = stack()
    volume.array[0, 3, 2] = 5000  # patient right, cranial, anterior
    write_volume(tmp_path / "a.nii.gz", volume)
    again = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    image = nib.load(tmp_path / "a.nii.gz")
    assert nib.aff2axcodes(image.affine) == ("L", "I", "P")
    right, left = (image.affine @ [column, 3, 0, 1] for column in (2, 17))
    assert right[0] > left[0]  # RAS: the column of the mark lies on the patient's right
    canonical = to_canonical(np.asarray(image.dataobj), image.affine)
    np.testing.assert_array_equal(canonical.array, volume.array)


def test_planes_that_are_not_semi_coronal_are_refused() -> None:
    with pytest.raises(DataError, match="axial"):
        to_canonical(*_parts(stack(88.0)))
    with pytest.raises(DataError, match="axial"):
        to_canonical(*_parts(stack(-50.0)))
    volume = stack()
    sagittal = np.eye(4)
    sagittal[:3, 0], sagittal[:3, 1], sagittal[:3, 2] = [5, 0, 0], [0, 1, 0], [0, 0, 1]
    with pytest.raises(DataError, match="sagittal"):
        to_canonical(volume.array, sagittal, slice_axis=0)
    with pytest.raises(DataError, match="4 dimensions"):
        to_canonical(np.zeros((2, 2, 2, 2)), np.eye(4))
    for wrong in (np.zeros((4, 4)), np.full((4, 4), np.nan)):
        with pytest.raises(DataError, match="not usable"):
            to_canonical(volume.array, wrong)
    sheared = volume.affine.copy()
    sheared[:3, 0] += sheared[:3, 2]
    with pytest.raises(DataError, match="perpendicular"):
        to_canonical(volume.array, sheared)


def _parts(volume: Volume) -> tuple[Any, Any]:
    return volume.array, volume.affine


def test_tilt_is_that_of_the_plane() -> None:
    assert tilt_degrees(stack(38.3)) == pytest.approx(38.3)
    assert tilt_degrees(stack(-12.0)) == pytest.approx(-12.0)


def test_same_grid_is_kept_bit_for_bit() -> None:
    t1, stir = stack(), stack()
    moved = stir.affine.copy()
    moved[:3, 3] += 0.2
    pairing = pair(t1, Volume(stir.array, moved), shared_frame=False)
    assert not pairing.resampled and pairing.note == "" and pairing.covered == 1
    np.testing.assert_array_equal(pairing.stir.array, stir.array)
    np.testing.assert_array_equal(pairing.stir.affine, t1.affine)


def test_resampling_agrees_with_scipy() -> None:
    """Another matrix, spacing and position: SciPy's map_coordinates is the oracle, inside."""
    t1 = blurred(stack())
    stir = blurred(stack(36.0, (8, 30, 28), (4.4, 1.0, 0.8)))
    pairing = pair(t1, stir)
    assert pairing.resampled and "matrix" in pairing.note and "spacing" in pairing.note
    index = np.stack(np.meshgrid(*map(np.arange, t1.array.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    world = index @ t1.affine[:3, :3].T + t1.affine[:3, 3]
    there = (world - stir.affine[:3, 3]) @ np.linalg.inv(stir.affine[:3, :3]).T
    inside = ((there >= 0) & (there <= np.array(stir.array.shape) - 1)).all(axis=1)
    expected = ndi.map_coordinates(stir.array, there.T, order=1)
    np.testing.assert_allclose(pairing.stir.array.reshape(-1)[inside], expected[inside], atol=0.05)
    assert inside.mean() > 0.5


def test_pairs_that_cannot_be_one() -> None:
    t1 = stack()
    far = stack()
    far.affine[:3, 3] += 40
    with pytest.raises(DataError, match="do not share a frame of reference"):
        pair(t1, far, shared_frame=False)
    with pytest.raises(DataError, match="covers only"):
        pair(t1, far)
    with pytest.raises(DataError, match="different planes"):
        pair(t1, stack(20.0))
    assert grid_distance(t1, stack(shape=(5, 24, 20))) == np.inf


def test_coverage_counts_slices() -> None:
    t1 = blurred(stack(shape=(8, 24, 20)))
    short = Volume(t1.array[:6], t1.affine)
    pairing = pair(t1, short)
    assert pairing.covered == pytest.approx(6 / 8)
    assert (pairing.stir.array[6:] == 0).all()
    np.testing.assert_allclose(pairing.stir.array[:6], t1.array[:6], rtol=1e-5)


def test_rigid_refinement_finds_a_known_shift_and_leaves_a_good_pair_alone() -> None:
    volume = stack(shape=(10, 64, 64), spacing=(4.0, 1.5, 1.5))
    t1 = blurred(volume)
    shift = volume.affine.copy()
    shift[:3, 3] += (4.0, 0.0, -3.0)
    contrast = blurred(Volume(volume.array, shift)).array
    pairing = pair(t1, t1.like(contrast.max() - contrast))  # headers say one grid, the patient moved
    refined = refine(t1, pairing)
    assert "moved onto T1" in refined.note and "mutual information" in refined.note
    expected = (contrast.max() - t1.array)[2:-2, 8:-8, 8:-8]
    before = np.abs(pairing.stir.array[2:-2, 8:-8, 8:-8] - expected).mean()
    after = np.abs(refined.stir.array[2:-2, 8:-8, 8:-8] - expected).mean()
    assert after < 0.35 * before
    again = refine(t1, pairing)
    np.testing.assert_array_equal(again.stir.array, refined.stir.array)
    same = refine(t1, pair(t1, t1.like(1000 - t1.array)))
    assert not same.resampled and "not applied" in same.note


def test_nearest_keeps_labels() -> None:
    labels = stack().like(np.random.default_rng(1).integers(0, 3, (6, 24, 20)).astype(np.uint8))
    moved, inside = resample(labels, stack(shape=(6, 20, 18)), nearest=True)
    assert moved.array.dtype == np.uint8 and set(np.unique(moved.array)) <= {0, 1, 2} and inside.any()


@pytest.mark.real
@pytest.mark.parametrize("scan", ["1007", "1013", "2015", "4386"])
def test_public_scans_of_both_axis_orders_lie_as_anatomy_says(real_data: Path, scan: str) -> None:
    """LSP and LAS files alike: back fat bright in the last slices, left and right kept, spacing on the slice axis."""
    nib = pytest.importorskip("nibabel")
    files = sorted((real_data / "vhi").rglob(f"{scan}_T1W.nii.gz"))
    if not files:
        pytest.skip(f"vhi scan {scan} is not there")
    image = nib.load(files[0])
    volume = to_canonical(np.asarray(image.dataobj), image.affine)
    assert volume.array.shape[0] < 30 and volume.spacing[0] > 3 and volume.array.shape[1:] == (336, 336)
    assert 20 < tilt_degrees(volume) < 55
    array = volume.array.astype(float)
    rows = array.shape[1]
    lower = array[-3:, rows // 2 :].mean()  # subcutaneous fat fills the caudal half dorsally
    assert np.percentile(array[-3:], 99) > 0 and lower > 0
    bright = array > np.percentile(array, 90)
    assert bright[-4:].mean() > bright[:4].mean()
    left = volume.affine @ [5, 100, 335, 1]
    right = volume.affine @ [5, 100, 0, 1]
    assert left[0] < right[0]
