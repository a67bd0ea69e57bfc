"""Muscles: smooth borders where no truth is bent, a plane of fat about them."""

from __future__ import annotations

import numpy as np

from axspa_lib.phantom.drawing.paint import Canvas
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters.muscles import belly
from axspa_lib.phantom.person import physique
from axspa_lib.phantom.person.anatomy import Body
from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.phantom.scene import Scene
from axspa_lib.study.labels import LEFT, RIGHT

GRID = Grid(300, 0.7, -105.0, -70.0)
T1 = Sequence(field_t=1.5, tr=550, te=10)
STIR = Sequence(field_t=1.5, tr=4000, te=50, ti=150)


def test_the_warp_is_whole_wherever_there_is_truth_and_small_far_from_it(body: Body) -> None:
    """Bones and joints of the image are bent as their labels are; the soft parts hardly."""
    scene = Scene(body, [])
    for z in (0.0, 20.0, 40.0):
        bones, joints, _ = scene.truth(GRID, np.array([z]))
        firm = scene.firm(GRID, np.array([z]))
        assert firm[(bones[0] > 0) | (joints[0] > 0)].min() > 0.99
        assert firm.min() < 0.25


def test_a_plane_of_fat_parts_a_muscle_from_its_neighbour() -> None:
    """In a muscle painted over another, fat rises just outside its border and is low within."""
    canvas = Canvas(GRID, T1, STIR)
    canvas.planes[:] = canvas.value("muscle")[:, :1, :1]
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    even = np.ones((GRID.size, GRID.size), np.float32)
    belly(canvas, 25 * np.stack([np.cos(turn), np.sin(turn)], axis=1), "muscle", None, even, 0 * even, 0.0, sheath=even)
    radius = np.hypot(GRID.x[None, :], GRID.y[:, None])
    fat = canvas.planes[2]
    assert fat[(radius > 25) & (radius < 26)].mean() > 4 * fat[radius < 22].mean()
    assert np.allclose(fat[radius > 32], canvas.value("muscle")[2])


def test_the_psoas_differs_between_people_and_sides_and_keeps_to_the_spine() -> None:
    """Flattened and slender in its own way on either side, it stays near its mean size and as near the spine."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    mean = np.stack([50 + 20 * np.cos(turn), 24 * np.sin(turn)], axis=1).astype(np.float32)
    areas = []
    for seed in range(20):
        person = physique.draw_physique(seed, 1.0, 22.0)
        for side, sign in ((LEFT, 1), (RIGHT, -1)):
            shaped = physique.psoas(person, mean * np.float32([sign, 1]), side)
            assert abs(np.abs(shaped[:, 0]).min() - 30) < 0.01
            x, y = shaped.T
            areas.append(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2 / (np.pi * 20 * 24))
    assert 0.55 < min(areas) < np.mean(areas) < max(areas) < 1.35
    assert np.std(areas) > 0.03
