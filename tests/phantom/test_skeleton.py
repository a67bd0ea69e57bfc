"""What differs between people's bones: marrow about its mean, roots that leave downwards and outwards, uneven edges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters.materials import Texture
from axspa_lib.phantom.person.anatomy import Body, Pose, Subject
from axspa_lib.phantom.person.skeleton import draw_build
from axspa_lib.study.labels import LEFT, RIGHT

GRID = Grid(300, 0.7, -105.0, -70.0)
SKIN = np.full(300, 130.0)


def test_marrow_keeps_its_mean_and_is_fatter_under_the_joint(subject: Subject) -> None:
    """The median of the iliac fat fraction is the person's; what is fatter beside the joint is leaner elsewhere."""
    gains = [_gain(subject, seed) for seed in range(1, 5)]
    assert np.mean(gains) > 0.04


def _gain(subject: Subject, seed: int) -> float:
    person = replace(subject, texture_seed=seed, marrow_ff=0.45, red_ff=0.4)
    build = replace(draw_build(person), under_joint=(0.25, 0.15, 9.0), iliac=0.0)
    cut = Body(person, Pose()).cut(13.0)
    joint = {side: cut["joint", side] for side in (RIGHT, LEFT)}
    m = Texture(person, build).materials(13.0, GRID, joint, SKIN)
    assert abs(np.median(m.iliac_ff) - person.marrow_ff) < 0.08
    plain = Texture(person, replace(build, under_joint=(0.0, 0.0, 9.0))).materials(13.0, GRID, joint, SKIN)
    gain = m.sacral_ff - plain.sacral_ff
    beside = []
    for line, sign in ((joint[LEFT], 1.0), (joint[RIGHT], -1.0)):
        assert line is not None
        column, row = GRID.to_pixels(line - (3.0 * sign, 0.0)).round().astype(int).T
        beside.append(gain[row, column].mean())
    return float(np.mean(beside) - gain.mean())


def test_roots_leave_the_sac_downwards_outwards_and_ventrally(subject: Subject) -> None:
    for side in (RIGHT, LEFT):
        for root in draw_build(subject).roots[side]:
            way = root.path[-1] - root.path[0]
            assert way[0] > 10 and way[1] > 10 and way[2] < -10
            assert (root.root < root.tunnel).all()


def test_a_ripple_is_about_standard_normal_and_differs_by_turn(subject: Subject) -> None:
    points = np.random.default_rng(0).uniform(-60, 60, (4000, 2)).astype(np.float32)
    ripple = draw_build(subject).coarse
    first, second = ripple.at(points, 10.0), ripple.at(points, 10.0, 3.0)
    assert abs(first.mean()) < 0.15 and 0.8 < first.std() < 1.2
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.5
