"""The scanner's chain against what physics says about a disc and about noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from axspa_lib.phantom.acquisition import FAT_HZ_PER_T, acquire, stored
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.physics import tissues
from axspa_lib.phantom.physics.scanner import Protocol
from axspa_lib.study.errors import ConfigError

N = 220
GRID = Grid(N, 1.0, -N / 2, -N / 2)
DISC = ((GRID.y[:, None] ** 2 + GRID.x[None, :] ** 2) < 50**2).astype(np.float32)[None]


def run(protocol: Protocol, water: np.ndarray, fat: np.ndarray, seed: int = 0) -> np.ndarray:
    flat = replace(protocol, bias=0.0)
    rng = np.random.default_rng(seed)
    return acquire(water, fat, flat, flat.t1, GRID, np.array([20.0]), np.full((1, N), 90.0), rng)[0]


def centre(image: np.ndarray) -> np.ndarray:
    weight = image / image.sum()
    axis = np.arange(image.shape[0])
    return np.array([(weight.sum(1) * axis).sum(), (weight.sum(0) * axis).sum()]) * 220 / image.shape[0]


def test_muscle_is_stored_at_the_scanners_scale(protocol: Protocol) -> None:
    muscle = np.float32(tissues.signal(protocol.t1.sequence, tissues.tissues()["muscle"]))
    image = run(protocol, DISC * muscle, 0 * DISC)
    assert image[70:90, 70:90].mean() == pytest.approx(protocol.t1.scale, rel=0.01)


def test_fat_is_displaced_along_the_readout_by_its_chemical_shift(protocol: Protocol) -> None:
    moved = centre(run(protocol, 0 * DISC, DISC)) - centre(run(protocol, DISC, 0 * DISC))
    expected = FAT_HZ_PER_T * 1.5 / protocol.t1.bandwidth_hz * protocol.t1.read_mm
    along, across = (moved[0], moved[1]) if protocol.phase_rows else (moved[1], moved[0])
    assert abs(along) == pytest.approx(expected, rel=0.05)
    assert abs(across) < 0.05


def test_fat_shift_at_1_5_tesla_is_about_220_hz() -> None:
    assert pytest.approx(217, abs=4) == FAT_HZ_PER_T * 1.5


def test_noise_is_rayleigh_in_air_and_gaussian_in_signal(protocol: Protocol) -> None:
    noisy = replace(protocol, t1=replace(protocol.t1, noise=0.05))
    image = run(noisy, 40 * DISC * 0.01, 0 * DISC)
    sigma = 0.05 * protocol.t1.scale
    air = np.concatenate([image[:25].ravel(), image[-25:].ravel()])
    assert air.mean() / air.std() == pytest.approx(1.91, abs=0.12)
    assert air.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.12)


def test_truncated_k_space_rings_and_noise_free_images_repeat(protocol: Protocol) -> None:
    image = run(protocol, DISC, 0 * DISC)
    assert np.array_equal(image, run(protocol, DISC, 0 * DISC, seed=9))
    assert image.max() > 1.03 * np.median(image[60:100, 60:100])


def test_zero_filling_keeps_the_mean(protocol: Protocol) -> None:
    small, large = (run(replace(protocol, matrix=m), DISC, 0 * DISC).mean() for m in (160, 320))
    assert large == pytest.approx(small, rel=0.02)


def test_stored_values_fit_twelve_bits() -> None:
    out = stored(np.array([-3.0, 0.4, 5000.0], np.float32))
    assert out.dtype == np.uint16 and out.tolist() == [0, 0, 4095]


@pytest.mark.parametrize(
    ("change", "word"), [({"slices": 0}, "slice"), ({"thickness": -1.0}, "thickness"), ({"fov": 0.0}, "field of view")]
)
def test_impossible_protocols_are_refused(protocol: Protocol, change: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        replace(protocol, **change)
