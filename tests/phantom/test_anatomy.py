"""Anatomy against the measurements it was built from, and against geometry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from axspa_lib.phantom.drawing.paint import fill, offset
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.person.anatomy import Body, Points, Pose, Subject, draw_subject, resample
from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.phantom.scene import Scene
from axspa_lib.phantom.section import CORTEX_MM, ILIAC_CORTEX_MM, bones_at
from axspa_lib.study.labels import LEFT, RIGHT, SIDES

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


def extent(points: Points | None) -> tuple[float, float]:
    """Width and height of an outline, mm."""
    assert points is not None
    width, height = np.ptp(points, axis=0)
    return float(width), float(height)


def test_psoas_is_as_large_as_measured_and_lies_against_the_spine() -> None:
    """Eight psoas read off a millimetre grid on five public scans, at the depth of L5: 28 to 46 by 40 to 52 mm."""
    sizes, gaps = [], []
    for body in people(30):
        z = 13 * body.subject.size * body.subject.depth_scale
        psoas, spine = body.cut(z)["psoas", LEFT], body.cut(z)["l5_body", None]
        sizes.append(extent(psoas))
        gaps.append(psoas[:, 0].min() - spine[:, 0].max())  # type: ignore[index]
    width, height = np.mean(sizes, axis=0)
    assert 38 < width < 48
    assert 42 < height < 54
    assert np.min(sizes, axis=0)[0] > 26
    assert -4 < np.mean(gaps) < 6  # the muscle arises from the vertebra; real scans show a thin line of fat


def test_men_have_the_stronger_psoas() -> None:
    by_sex = {sex: [b.subject.psoas for b in people(60) if b.subject.sex == sex] for sex in "FM"}
    assert np.mean(by_sex["M"]) > np.mean(by_sex["F"]) + 0.1


def test_ilium_reaches_behind_the_joint() -> None:
    """Real scans show the iliac tuberosity and wing for some 20 mm behind the last joint line."""
    for body in people(12):
        _, last = body.joint_range(LEFT)
        ilium = bones_at(body, last + 14)
        for side in SIDES:
            assert ilium.ilium[side] is not None, (body.subject, side)
            assert bones_at(body, last + 40).ilium[side] is None


def test_skin_has_the_natal_cleft_and_ends_beside_the_body(body: Body) -> None:
    edge = body.skin(20.0, np.array([-240.0, -62.0, -14.0, 0.0, 14.0, 62.0, 240.0]))
    assert edge[3] < min(edge[2], edge[4]) - 1.5
    assert np.isneginf(edge[[0, 6]]).all()


def test_iliac_cortex_is_thicker_away_from_the_joint() -> None:
    depths, thickness = ILIAC_CORTEX_MM
    assert min(thickness) > CORTEX_MM
    assert np.all(np.diff(thickness) < 0)
    assert np.all(np.diff(depths) > 0)


def test_nothing_shows_beyond_the_skin() -> None:
    """In a person leaner and more curved than any that is drawn, muscle and fat still end at the skin."""
    contrast = Sequence(550, 9, 0, 1.5)
    grid = Grid(160, 1.4, -112.0, -40.0)
    lean = replace(people(1)[0].subject, subcutaneous_mm=-6.0, buttocks=(70.0, 0.0, 14.0))
    body = Body(lean, Pose())
    depths = np.array([0.0, 14.0])
    planes = np.abs(Scene(body, []).planes(grid, depths, 4.0, contrast, contrast)).sum(0)
    for plane, z in zip(planes, depths, strict=True):
        beyond = grid.y[:, None] > body.skin(float(z), grid.x)[None, :] + 9  # a slice is 4 mm thick and the skin slopes
        assert beyond.sum() > 500
        assert plane[beyond].max() < 0.02
        assert plane[~beyond].mean() > 0.2


def test_fat_lies_over_every_buttock_and_buttocks_differ() -> None:
    """Gluteus maximus ends at least 6 mm under the skin in the leanest, and its thickness varies as in public scans."""
    lowest = []
    for body in people(20):
        muscle = body.cut(30.0)["gluteal", LEFT]
        assert muscle is not None
        beneath = body.skin(30.0, muscle[:, 0]) - muscle[:, 1]
        assert beneath[np.isfinite(beneath)].min() > 5.9
        lowest.append(muscle[:, 1].max() / body.subject.size)
    assert np.std(lowest) > 3
