"""Preprocessing against the reference chain, and its behaviour where that chain has none."""

from __future__ import annotations

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage.exposure import equalize_adapthist
from skimage.filters import median
from skimage.morphology import disk

from axspa_lib.phantom.examination import draw_examination, render
from axspa_lib.preprocessing.figures import preprocessing_steps, scanner_distances, version_differences
from axspa_lib.preprocessing.filters import cross_median, equalise, gaussian
from axspa_lib.preprocessing.scanner_distance import ScannerSlice, format_median_distances, tissue_distances
from axspa_lib.preprocessing.steps import (
    minmax,
    preprocess_slice,
    preprocess_volume,
    resample_mask,
    resampled_shape,
    rescaled_affine,
    trace_slice,
    without_each_step,
)
from axspa_lib.study.config import BoneNets, Preprocessing, load_study
from axspa_lib.study.errors import ConfigError, DataError
from axspa_lib.study.results import patients_from
from axspa_lib.study.volume import Volume
from tests.bench.images import slice_pair
from tests.oracles.preprocess import reference_slice

VARIANTS = {
    "paper": {},
    "demo": {"bias_sigma": 0.08},
    "u-net": BoneNets().preprocessing.model_dump(),
    "no constant pixel": {"constant_pixel": False},
    "no bias removal": {"remove_bias": False},
    "no median": {"local_median": False},
    "no CLAHE": {"clahe": False},
    "coarse": {"pixel_mm": 1.25, "clahe_clip_limit": 0.03},
}


def body(rows: int, columns: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    """A body-like slice of any shape, with black air around it."""
    square = slice_pair(max(rows, columns), seed)[0][:rows, :columns]
    return np.where(square > 8, square, 0).astype(dtype)


def apart(image: np.ndarray, spacing: tuple[float, float], **values: object) -> np.ndarray:
    p = Preprocessing.model_validate(values)
    return np.abs(preprocess_slice(image, spacing, p).astype(int) - reference_slice(image, spacing, p))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("rows", "columns", "spacing"), [(128, 128, (1.0, 1.0)), (97, 150, (0.9, 1.1))])
def test_close_to_the_reference_chain(variant: str, rows: int, columns: int, spacing: tuple[float, float]) -> None:
    for seed in range(2):
        difference = apart(body(rows, columns, seed), spacing, **VARIANTS[variant])
        assert (difference == 0).mean() >= 0.96
        assert difference.max() <= 5


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(9, 60),
    columns=st.integers(9, 60),
    seed=st.integers(0, 10_000),
    sigma=st.floats(0.02, 0.5),
    clip=st.sampled_from([0.0, 0.003, 0.01, 0.05, 1.0]),
)
def test_filters_equal_the_libraries(rows: int, columns: int, seed: int, sigma: float, clip: float) -> None:
    image = np.random.default_rng(seed).random((rows, columns)).astype(np.float32) ** 3
    sigmas = (sigma * rows, sigma * columns)
    np.testing.assert_allclose(gaussian(image, sigmas), ndimage.gaussian_filter(image.astype(float), sigmas), rtol=1e-4)
    assert np.array_equal(cross_median(image), median(image, disk(1)))
    reference = equalize_adapthist(image.astype(float), clip_limit=clip) * 255
    assert np.abs(equalise(image, clip) - reference).mean() < 1.5


def test_the_gaussian_is_right_also_where_the_image_is_nearly_black() -> None:
    image = np.zeros((240, 300), np.float32)
    image[60:120, 80:150] = 0.5
    image[120, 20] = image[230, 5] = image[5, 290] = 1e-3
    found, wanted = gaussian(image, (12.0, 15.0)), ndimage.gaussian_filter(image.astype(float), (12.0, 15.0))
    assert found.dtype == np.float32
    assert wanted.max() > 0.1 and np.median(wanted) < 1e-6
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-9)  # 1e-6 is added before the division


def test_wide_gaussian_beyond_the_image() -> None:
    image = np.random.default_rng(3).random((12, 40)).astype(np.float32)
    np.testing.assert_allclose(gaussian(image, (30.0, 50.0)), ndimage.gaussian_filter(image, (30.0, 50.0)), rtol=1e-5)


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (3, 50), (7, 7)])
@pytest.mark.parametrize("value", [0, 7, -3, np.nan, np.inf])
def test_slices_without_contrast_become_zeros(shape: tuple[int, int], value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = preprocess_slice(np.full(shape, value), (1.0, 0.7), Preprocessing())
    assert result.dtype == np.uint8
    assert not result.any()


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    seed=st.integers(0, 10_000),
    nonzero=st.booleans(),
    clahe=st.booleans(),
    kind=st.sampled_from(["binary", "two pixels", "negative", "not finite", "integers"]),
)
def test_any_slice_has_a_result(rows: int, columns: int, seed: int, nonzero: bool, clahe: bool, kind: str) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(rows, columns)) * 100
    if kind == "binary":
        image = (image > 0).astype(bool)
    elif kind == "two pixels":
        image[1:], image[:, 2:] = 0, 0
    elif kind == "not finite":
        image[rng.random(image.shape) < 0.3] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind == "integers":
        image = image.astype(np.int16)
    p = Preprocessing(nonzero_minmax=nonzero, clahe=clahe)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = preprocess_slice(image, (0.8, 1.3), p)
    assert result.shape == resampled_shape((rows, columns), (0.8, 1.3), 0.5)
    assert result.dtype == np.uint8


def test_values_that_are_not_finite_count_as_zero() -> None:
    image = body(80, 80)
    broken = image.copy()
    broken[image == 0] = np.nan
    assert np.array_equal(*(preprocess_slice(i, (1.0, 1.0), Preprocessing()) for i in (image, broken)))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((2, 3, 4)), "not a slice"),
        (np.zeros(5), "not a slice"),
        (np.zeros((0, 4)), "not a slice"),
        (np.zeros((4, 4), complex), "real numbers"),
        (np.full((4, 4), "a"), "real numbers"),
    ],
)
def test_what_is_no_slice_is_refused_in_words(image: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        preprocess_slice(image, (1.0, 1.0), Preprocessing())


@pytest.mark.parametrize("spacing", [(0.0, 1.0), (1.0, -1.0), (np.nan, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing: tuple[float, float]) -> None:
    with pytest.raises(DataError, match="spacing"):
        preprocess_slice(np.ones((4, 4)), spacing, Preprocessing())


def test_input_is_left_alone() -> None:
    image = body(60, 60, dtype="float64")
    before = image.copy()
    for constant in (True, False):
        preprocess_slice(image, (0.5, 0.5), Preprocessing(constant_pixel=constant))
    assert np.array_equal(image, before)


def test_trace_holds_every_step_in_order() -> None:
    trace = trace_slice(body(60, 70), (1.0, 1.0), Preprocessing())
    result = preprocess_slice(body(60, 70), (1.0, 1.0), Preprocessing())
    assert list(trace) == ["input", "constant pixel", "min-max", "bias removed", "median", "CLAHE"]
    assert np.array_equal(trace["CLAHE"], result)
    assert trace["input"].max() > 1 >= trace["min-max"].max()
    assert trace["constant pixel"].shape == (120, 140)


def test_size_does_not_depend_on_how_a_header_rounds() -> None:
    for size, spacing in ((256, 0.9765625), (336, 0.5952381), (320, 0.78125), (512, 0.390625), (448, 0.625)):
        sizes = {resampled_shape((size, size), (mm, mm), 0.5)[0] for mm in (spacing, round(spacing, 5), spacing - 2e-7)}
        assert sizes == {round(size * spacing / 0.5)}
    assert resampled_shape((3, 200), (0.1, 0.5), 0.5) == (1, 200)


def test_minmax_over_nonzero_pixels_only() -> None:
    image = np.array([[0.0, 2.0], [4.0, 6.0]])
    assert minmax(image, nonzero=True).tolist() == [[0, 0], [0.5, 1]]
    assert minmax(image, nonzero=False)[1, 1] == 1
    assert minmax(np.array([[0.0, 3.0]]), nonzero=True).tolist() == [[0, 0]]


def test_volume_keeps_its_field_of_view() -> None:
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * [4.0, 0.9, 1.1]
    affine[:3, 3] = [10, -20, 30]
    volume = Volume(np.stack([body(50, 80, seed) for seed in range(3)]), affine)
    result = preprocess_volume(volume, Preprocessing())
    assert result.array.shape == (3, 90, 176)
    np.testing.assert_allclose(result.spacing, (4.0, 0.5, 0.5))
    for corner in ((-0.5, -0.5), (49.5, 79.5), (-0.5, 79.5)):
        new = [c if c < 0 else n - 0.5 for c, n in zip(corner, (90, 176), strict=True)]
        np.testing.assert_allclose(affine @ [1, *corner, 1], result.affine @ [1, *new, 1], atol=1e-9)
    same = preprocess_volume(volume, Preprocessing(constant_pixel=False))
    np.testing.assert_array_equal(same.affine, affine)
    with pytest.raises(DataError, match="volume"):
        preprocess_volume(Volume(volume.array[0], affine), Preprocessing())


def test_a_bright_point_stays_where_it_is_in_the_patient() -> None:
    array = np.zeros((1, 60, 90), np.float32)
    array[0] = ndimage.gaussian_filter(np.pad([[1.0]], [(20, 39), (70, 19)]), 3)
    volume = Volume(array, np.diag([4.0, 1.3, 0.8, 1.0]))
    p = Preprocessing(pixel_mm=0.5, remove_bias=False, local_median=False, clahe=False, nonzero_minmax=False)
    result = preprocess_volume(volume, p)
    before, after = (v.affine @ [0, *ndimage.center_of_mass(v.array[0].astype(float)), 1] for v in (volume, result))
    np.testing.assert_allclose(before, after, atol=0.15)


@settings(deadline=None, max_examples=50)
@given(rows=st.integers(5, 60), columns=st.integers(5, 60), scale=st.tuples(st.floats(0.4, 2.5), st.floats(0.4, 2.5)))
def test_masks_land_where_they_lie_in_the_patient(rows: int, columns: int, scale: tuple[float, float]) -> None:
    rng = np.random.default_rng(rows * 61 + columns)
    affine = np.diag([4.0, 0.9, 1.1, 1.0])
    mask = Volume(rng.integers(0, 3, (2, rows, columns), dtype=np.uint8), affine)
    shape = max(1, int(rows * scale[0])), max(1, int(columns * scale[1]))
    like = Volume(np.zeros((2, *shape)), rescaled_affine(affine, (rows, columns), shape))
    result = resample_mask(mask, like)
    assert result.array.shape == (2, *shape)
    for row in range(0, shape[0], 7):
        for column in range(0, shape[1], 7):
            _, r, c, _ = np.linalg.inv(affine) @ like.affine @ [0, row, column, 1]
            near = mask.array[0, [int(np.floor(r + 0.5 + e)) for e in (-1e-3, 1e-3)]]
            found = near[:, [int(np.floor(c + 0.5 + e)) for e in (-1e-3, 1e-3)]]
            assert result.array[0, row, column] in found


def test_mask_outside_its_field_is_background() -> None:
    mask = Volume(np.ones((1, 4, 4), np.uint8), np.eye(4))
    shifted = np.eye(4)
    shifted[1, 3] = -2
    assert resample_mask(mask, Volume(np.zeros((1, 4, 4)), shifted)).array[0].sum(axis=1).tolist() == [0, 0, 4, 4]


def test_round_trip_of_a_mask_is_lossless_when_refined() -> None:
    rng = np.random.default_rng(5)
    mask = Volume(rng.integers(0, 3, (3, 40, 31), dtype=np.uint8), np.diag([5.0, 0.9, 0.9, 1.0]))
    fine = Volume(np.zeros((3, 72, 55)), rescaled_affine(mask.affine, (40, 31), (72, 55)))
    assert np.array_equal(resample_mask(resample_mask(mask, fine), mask).array, mask.array)


def test_masks_of_another_stack_are_refused() -> None:
    mask = Volume(np.ones((5, 8, 8), np.uint8), np.diag([4.0, 1.0, 1.0, 1.0]))
    turned = mask.affine.copy()
    turned[:, [1, 2]] = turned[:, [2, 1]]
    moved = mask.affine.copy()
    moved[0, 3] = 3
    flipped = mask.affine @ np.diag([1.0, -1.0, 1.0, 1.0])
    for like in (
        Volume(np.zeros((4, 8, 8)), mask.affine),
        Volume(np.zeros((5, 8, 8)), turned),
        Volume(np.zeros((5, 8, 8)), moved),
        Volume(np.zeros((5, 8, 8)), flipped),
    ):
        with pytest.raises(DataError, match="own stack"):
            resample_mask(mask, like)


def test_figures_can_be_drawn() -> None:
    slices = [ScannerSlice(name, body(60, 80), (1.0, 1.2)) for name in ("whole", "without CLAHE")]
    settings = (Preprocessing(), Preprocessing(clahe=False))
    traces = [trace_slice(s.image, s.spacing, p) for s, p in zip(slices, settings, strict=True)]
    figure = preprocessing_steps(slices, traces, "phantom")
    assert len(figure.axes) == 2 * 2 * 6
    figure.savefig(BytesIO())
    table = pd.DataFrame(
        {"step": ["input", "CLAHE"] * 2, "first": "a", "second": ["b", "b", "c", "c"], "distance": [0.3, 0.1, 0.4, 0.2]}
    )
    drawn = scanner_distances(table, "phantom")
    assert [tick.get_text() for tick in drawn.axes[0].get_xticklabels()] == ["input", "CLAHE"]
    drawn.savefig(BytesIO())
    assert format_median_distances(table) == ("0.350", "0.150")


def test_figures_without_images_say_which_command_makes_them() -> None:
    empty = pd.DataFrame(columns=["step", "first", "second", "distance"])
    figures = [preprocessing_steps([], [], "phantom"), version_differences([], "phantom"),
               scanner_distances(empty, "phantom")]  # fmt: skip
    assert all("make book PROFILE" in figure.axes[0].texts[0].get_text() for figure in figures)
    assert format_median_distances(empty) == ("not measured", "not measured")


def test_each_step_is_left_out_alone() -> None:
    image, p = body(60, 80), Preprocessing(local_median=False)
    versions = without_each_step(image, (1.0, 1.0), p)
    assert list(versions) == ["all steps", "no bias removal", "no CLAHE"]
    whole, plain = versions["all steps"], preprocess_slice(image, (1.0, 1.0), p.model_copy(update={"clahe": False}))
    assert np.array_equal(whole, preprocess_slice(image, (1.0, 1.0), p))
    assert np.array_equal(versions["no CLAHE"], plain)
    figure = version_differences([versions], "phantom")
    apart = np.abs(whole.astype(int) - plain).mean()
    assert f"difference, {apart:.0f} levels on average" in [axis.get_title() for axis in figure.axes]
    figure.savefig(BytesIO())


@pytest.mark.parametrize(
    ("values", "words"),
    [({"bias_sigma": -1}, r"^parameter detector.preprocessing.bias_sigma: .*greater than 0 \(given: -1\)$"),
     ({"pixel_mm": 0}, r"^parameter detector.preprocessing.pixel_mm: "),
     ({"sharpen": True}, r"^parameter detector.preprocessing.sharpen: ")],
)  # fmt: skip
def test_a_bad_parameter_of_the_page_is_named_in_one_sentence(values: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_study("quick", **{f"detector__preprocessing__{name}": value for name, value in values.items()})


def test_a_patient_whom_a_page_cannot_show_is_named_in_one_sentence() -> None:
    assert patients_from(["a", "b", "c"], 1) == ["b"] and patients_from(["a", "b", "c"], 1, 5) == ["b", "c"]
    for position in (3, -1, 9999):
        with pytest.raises(ConfigError, match=rf"nobody is at position {position}; choose one of 0 \(a\) to 2 \(c\)"):
            patients_from(["a", "b", "c"], position)
    with pytest.raises(ConfigError, match="none, since nobody is left"):
        patients_from([], 0)


def test_distance_of_one_tissue_between_scanners() -> None:
    rows, columns = np.mgrid[0:96, 0:96] / 96
    slices = []
    for scanner, gain, bias in (("a", 100, 0.0), ("b", 700, 0.0), ("c", 100, 1.6)):
        image = body(96, 96) * gain * np.exp(bias * (rows - columns))
        slices.append((scanner, image, (1.0, 1.0), (rows > 0.4) & (rows < 0.6) & (columns > 0.3) & (columns < 0.7)))
    table = tissue_distances(slices, Preprocessing())
    distance = table.set_index(["step", "first", "second"])["distance"]
    assert table["step"].iloc[0] == "input"
    assert len(distance) == 6 * 3
    assert distance["input", "a", "b"] == pytest.approx(0, abs=1e-6)  # a gain is no difference
    assert distance["CLAHE", "a", "c"] < distance["constant pixel", "a", "c"]
    assert tissue_distances(slices[:1], Preprocessing()).empty
    with pytest.raises(DataError, match="scanner a"):
        tissue_distances([(*slices[0][:3], np.ones((3, 3), bool))], Preprocessing())


@pytest.mark.parametrize("variant", ["paper", "demo", "u-net"])
def test_phantom_slices(phantom_slices: list[tuple[np.ndarray, tuple[float, float]]], variant: str) -> None:
    assert len(phantom_slices) >= 4
    for image, spacing in phantom_slices:
        difference = apart(image, spacing, **VARIANTS[variant])
        assert (difference == 0).mean() >= 0.96 and difference.max() <= 5


@pytest.fixture(scope="module")
def phantom_slices() -> list[tuple[np.ndarray, tuple[float, float]]]:
    """T1 and STIR of two simulated patients, one slice of each, as their scanners store them."""
    study, found = load_study("quick"), []
    for number in (1, 4):
        patient = draw_examination("phantom-desir", study.phantoms["phantom-desir"], study.seed, number)
        middle = float(patient.protocol.depths()[patient.protocol.slices // 2])
        images = render(replace(patient, protocol=replace(patient.protocol, slices=1, first_z=middle), fault=""))
        found += [(stack[0], (patient.protocol.pixel, patient.protocol.pixel)) for stack in images.pixels.values()]
    return found


@pytest.mark.real
@pytest.mark.parametrize("variant", ["paper", "demo", "u-net"])
def test_real_slices(real_data: Path, variant: str) -> None:
    cases = []
    for folder in ("T1", "STIR"):
        for path in sorted((real_data / "iaxspa-demo" / "Patient1" / folder).iterdir())[4:12:7]:
            dataset = pydicom.dcmread(path)
            cases.append((dataset.pixel_array, tuple(float(mm) for mm in dataset.PixelSpacing)))
    for path in sorted((real_data / "vhi" / "images_study").rglob("*_*.nii.gz"))[::5]:
        image = nib.load(path)
        zooms = [float(mm) for mm in image.header.get_zooms()]
        cases.append((np.asarray(image.dataobj[:, :, image.shape[2] // 2], dtype=np.float32).T, (zooms[1], zooms[0])))
    assert len(cases) >= 5
    for image, spacing in cases:
        difference = apart(image, spacing, **VARIANTS[variant])
        assert (difference == 0).mean() >= 0.96 and difference.max() <= 5
