"""What fills the body: bundles of the back that run together, even fluid, vessels that branch, bowel that crowds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from axspa_lib.phantom.drawing.paint import Canvas
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters import bowel, materials, vessels
from axspa_lib.phantom.painters.back import FOCUS
from axspa_lib.phantom.painters.materials import Texture
from axspa_lib.phantom.person.anatomy import Body, Pose, Subject
from axspa_lib.phantom.person.skeleton import draw_build
from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.phantom.scene import Scene

GRID = Grid(300, 0.7, -105.0, -70.0)
SKIN = np.full(GRID.size, 150.0)
T1 = Sequence(field_t=1.5, tr=550, te=10)
STIR = Sequence(field_t=1.5, tr=4000, te=50, ti=150)


def test_bundles_of_the_back_run_together_on_the_midline_caudally(subject: Subject) -> None:
    """Streaks by the structure tensor against the direction to where they meet: chance gives 45 degrees."""
    streaks = Texture(subject, draw_build(subject)).materials(50.0, GRID, {}, SKIN).back_ff.astype(float)
    gy, gx = np.gradient(streaks)
    xx, yy, xy = (ndimage.gaussian_filter(v, 4) for v in (gx * gx, gy * gy, gx * gy))
    along = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2  # across the gradient
    wanted = np.arctan2(FOCUS[0] - GRID.y[:, None], -GRID.x[None, :])
    off = np.abs((along - wanted + np.pi / 2) % np.pi - np.pi / 2)
    x, y = np.abs(GRID.x)[None, :], GRID.y[:, None]
    lateral = (x > 15) & (x < 55) & (y > -30) & (y < 50)
    assert np.rad2deg(np.median(off[lateral])) < 20


def test_fluid_has_less_than_half_the_texture_of_marrow(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same slice with twice the spread of the water's STIR signal changes the thecal sac less than half as much."""

    def stir() -> NDArray[np.float32]:
        return np.abs(Scene(body, []).planes(GRID, np.array([33.0]), 4.0, T1, STIR)[1, 0])

    usual = stir()
    monkeypatch.setattr(materials, "RELAXATION", tuple(2 * v for v in materials.RELAXATION))
    change = np.abs(stir() - usual) / np.maximum(usual, 0.05 * usual.max())
    sac = ndimage.binary_erosion(usual > 0.8 * np.percentile(usual, 99.7), iterations=2)
    marrow = np.broadcast_to((np.abs(GRID.y - 50) < 20)[:, None], usual.shape) & (usual < 0.3 * usual.max())
    assert sac.sum() > 50
    assert np.median(change[sac]) < 0.5 * np.median(change[marrow])


def test_branches_of_both_sides_lie_in_the_pelvis_and_are_thinner_than_trunks(body: Body) -> None:
    """As many points at the left as at the right, none beyond the body; radii fall by Murray's law."""
    twigs, trunks = vessels.draw(body)
    assert 0.35 < np.mean(twigs.points[:, 0] > 0) < 0.65
    assert np.abs(twigs.points[:, 0]).max() < 170
    assert np.median(twigs.radius) < 0.7 * np.median(trunks.radius)
    assert len(twigs.kind) > 3 * len(trunks.kind)


def test_a_thin_tube_fills_a_slab_in_part(body: Body) -> None:
    """The thicker the slab, the fainter a vessel thinner than it."""
    _, trunks = vessels.draw(body)
    fat = []
    for slab in (2.0, 8.0):
        canvas = Canvas(GRID, T1, STIR)
        canvas.planes[2] = 1
        vessels.paint(canvas, trunks, float(np.median(trunks.points[:, 2])), slab)
        fat.append(canvas.planes[2].copy())
    touched = (fat[0] < 0.98) & (fat[1] < 0.98)
    assert touched.sum() > 100
    assert fat[1][touched].mean() > fat[0][touched].mean()


def test_loops_crowd_and_stay_above_the_muscles(subject: Subject) -> None:
    """At least 30 loops of gut in the abdomen, none of whose centres lies in the psoas."""
    loops = [loop for loop in bowel.draw(Body(subject, Pose())) if loop.centre[1] < -45]
    assert len(loops) > 30
    assert all(loop.wall > 0 for loop in loops)
