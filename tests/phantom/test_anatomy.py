"""Anatomy against the measurements it was built from, and against geometry."""

from __future__ import annotations

import numpy as np
import pytest

from axspa_lib.labels import LEFT, RIGHT, SIDES
from axspa_lib.phantom.anatomy import Body, Pose, Subject, draw_subject, resample
from axspa_lib.phantom.paint import fill, offset
from axspa_lib.phantom.section import bones_at
from axspa_lib.phantom.texture import Grid

GRID = Grid(220, 1.0, -110.0, -75.0)


def people(count: int) -> list[Body]:
    return [Body(draw_subject(np.random.default_rng([5, k])), Pose()) for k in range(count)]


def test_joint_is_as_deep_as_measured() -> None:
    depths = np.array([np.diff(body.joint_range(side))[0] for body in people(40) for side in SIDES])
    assert 34 < depths.mean() < 48  # 38 ± 3 mm of visible joint line, and the partial slices at both ends
    assert depths.std() < 6


def test_joint_converges_caudally_and_dorsally() -> None:
    """|x| = 67.3 − 0.26 y − 0.29 z within the spread of the measured people (0.11 each)."""
    slopes = []
    for body in people(20):
        rows = []
        for z in np.arange(4, 32, 4.0):
            line = body.cut(float(z))["joint", LEFT]
            assert line is not None
            rows += [(x, y, z) for x, y in line[::4]]
        x, y, z = np.array(rows).T
        slopes.append(np.linalg.lstsq(np.stack([np.ones_like(x), y, z], axis=1), x, rcond=None)[0])
    offset_mm, caudal, dorsal = np.mean(slopes, axis=0)
    assert 60 < offset_mm < 74
    assert -0.40 < caudal < -0.12
    assert -0.45 < dorsal < -0.08


def test_bones_do_not_overlap(body: Body) -> None:
    for z in (2.0, 12.0, 22.0, 32.0):
        bones = bones_at(body, z)
        total = np.zeros((GRID.size, GRID.size), int)
        for points in (bones.sacrum, *bones.ilium.values()):
            assert points is not None
            mask, region = fill(points, GRID)  # type: ignore[misc]
            total[region] += mask > 200
        assert (total > 1).sum() < 0.002 * (total > 0).sum()


def test_sides_are_the_patients(body: Body) -> None:
    cut = body.cut(15.0)
    assert cut["joint", LEFT][:, 0].min() > 0 > cut["joint", RIGHT][:, 0].max()  # type: ignore[index]


def test_a_slice_beyond_the_ilium_has_no_joint(body: Body) -> None:
    assert body.extent(70.0, LEFT) is None
    assert bones_at(body, 70.0).ilium[LEFT] is None


def test_tilting_the_body_moves_the_joint_between_slices(subject: Subject) -> None:
    tilted = Body(subject, Pose(about_y=0.1))
    left, right = tilted.joint_range(LEFT), tilted.joint_range(RIGHT)
    assert left[0] - right[0] == pytest.approx(2 * 53 * 0.1, rel=0.01)


def test_offset_of_a_square_moves_its_edges() -> None:
    square = resample(np.array([[0.0, 0], [40, 0], [40, 40], [0, 40]]), 64, closed=True)
    inner = offset(square, 2.0)
    assert inner[:, 0].min() == pytest.approx(square[:, 0].min() + 2, abs=0.3)
    assert np.allclose(offset(square[::-1], 2.0)[::-1], inner, atol=1e-4)
