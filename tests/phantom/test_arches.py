"""Behind and between the vertebrae: arches and discs that differ between people and sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.person.anatomy import Body, Pose, Subject
from axspa_lib.phantom.physics.scanner import Protocol
from axspa_lib.phantom.scene import Scene

GRID = Grid(256, 0.7, -90.0, -120.0)


def _fat(body: Body, protocol: Protocol, depth: float) -> np.ndarray:
    scene = Scene(body, [])
    return scene.planes(GRID, np.array([depth]), 1.0, protocol.t1.sequence, protocol.stir.sequence)[2, 0]


def _box(plane: np.ndarray, x: tuple[float, float], y: tuple[float, float]) -> np.ndarray:
    rows, columns = (GRID.y > y[0]) & (GRID.y < y[1]), (GRID.x > x[0]) & (GRID.x < x[1])
    return plane[np.ix_(rows, columns)]


def test_facets_are_no_mirror_images_and_stay_the_same(body: Body, protocol: Protocol) -> None:
    """Amount of fat beside the canal at the depth of the facets."""
    fat = _fat(body, protocol, 42.0)
    left, right = _box(fat, (8, 34), (-32, 10)), _box(fat, (-34, -8), (-32, 10))
    assert np.abs(left - right[:, ::-1]).mean() > 0.1
    np.testing.assert_array_equal(fat, _fat(body, protocol, 42.0))


def test_discs_are_free_of_fat_and_differ_between_people(subject: Subject, protocol: Protocol) -> None:
    """Between L4 and L5, where people's outlines are the same but their discs are not equally high."""
    discs = []
    for seed in (1, 2):
        body = Body(replace(subject, texture_seed=seed), Pose())
        discs.append(_box(_fat(body, protocol, 20.0), (-15, 15), (-70, -28)))
        assert discs[-1].min(axis=0).max() < 0.1
    dry = [(disc < 0.15).mean() for disc in discs]
    assert abs(dry[0] - dry[1]) > 0.01
