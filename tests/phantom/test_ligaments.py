"""The ligaments behind the joint: a cleft of meshed fat that differs from side to side and stays in its place."""

from __future__ import annotations

import numpy as np

from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters.ligaments import Ligaments
from axspa_lib.phantom.person.anatomy import SIGN, Body
from axspa_lib.phantom.physics.scanner import Protocol
from axspa_lib.phantom.scene import Scene
from axspa_lib.phantom.section import bones_at
from axspa_lib.study.labels import LEFT, RIGHT

GRID = Grid(256, 0.7, -90.0, -50.0)
DEPTH = 30.0


def _beside(plane: np.ndarray, line: np.ndarray, aside: float) -> np.ndarray:
    column, row = np.rint(GRID.to_pixels(line + np.array([aside, 0.0]))).astype(int).T
    return plane[row, column]


def test_fat_and_strands_alternate_in_the_cleft_and_marrow_beside_it_stays(body: Body, protocol: Protocol) -> None:
    """Amounts of fat in a dorsal slice: in the upper joint on either side, and 12 mm into the sacrum."""
    fat = Scene(body, []).planes(GRID, np.array([DEPTH]), 1.0, protocol.t1.sequence, protocol.stir.sequence)[2, 0]
    for side, sign in SIGN.items():
        line = bones_at(body, DEPTH).joint[side]
        assert line is not None
        cleft = np.concatenate([_beside(fat, line[:8], -sign * aside) for aside in (0.5, 1.0, 1.5, 2.0)])
        marrow = _beside(fat, line[:8], -sign * 12.0)
        assert np.std(cleft) > 3 * np.std(marrow)
        assert np.ptp(cleft) > 0.3


def test_sides_differ_and_a_person_stays_the_same(body: Body) -> None:
    """Widths and places are drawn by side from the person's own seed."""
    one, other = Ligaments(body), Ligaments(body)
    assert one._fossae == other._fossae
    assert one._fossae[LEFT] != one._fossae[RIGHT]
