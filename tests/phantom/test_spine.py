"""The spine behind the bodies: a rough surface where the sacrum ends, fat that lies where it lies in people."""

from __future__ import annotations

import numpy as np

from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters.back import Back
from axspa_lib.phantom.painters.canal import ROWS, draw_sac
from axspa_lib.phantom.painters.spine import Spine
from axspa_lib.phantom.person.anatomy import Body, Subject

GRID = Grid(300, 0.7, -105.0, -70.0)


def _mean(field: np.ndarray, x: tuple[float, float], y: tuple[float, float]) -> float:
    away = np.abs(GRID.x)[None, :]
    rows = (GRID.y[:, None] > y[0]) & (GRID.y[:, None] < y[1])
    return float(field[(away > x[0]) & (away < x[1]) & rows].mean())


def test_the_dorsal_sacrum_has_a_crest_grooves_and_a_fossa_for_the_ligaments(body: Body) -> None:
    """Depths in mm: the crest above its grooves, the fossa behind the upper joint below the lower part."""
    surface = Spine(body).surface(GRID)
    assert _mean(surface, (0, 2), (28, 60)) > _mean(surface, (18, 24), (28, 60)) + 2
    assert _mean(surface, (28, 45), (-5, 8)) < _mean(surface, (28, 45), (45, 60)) - 8
    assert np.std(np.diff(surface, axis=1)) > 0.1  # a slice leaves it raggedly
    np.testing.assert_array_equal(surface, Spine(body).surface(GRID))


def test_fat_of_the_back_lies_beside_the_spines_rather_than_in_the_muscle(subject: Subject) -> None:
    """Fat fractions at the depth of the spinous processes: beside them, and caudally and laterally in multifidus."""
    even = np.zeros((GRID.size, GRID.size), np.float32)
    x, y = np.meshgrid(GRID.x, GRID.y)
    back, _ = Back(subject).fields(52.0, GRID, (x.astype(np.float32), y.astype(np.float32)), even, even, even)
    assert _mean(back, (4, 10), (-8, 10)) > 2 * _mean(back, (12, 24), (40, 60))


def test_sacs_end_at_different_heights_off_the_midline_and_differ_between_sides() -> None:
    """Twenty people: ends (y, mm) from S1 to S3, centres a few mm aside at S1, no fluid below the end."""
    sacs = [draw_sac(np.random.default_rng(n)) for n in range(20)]
    s1 = int(-ROWS[0])
    assert np.ptp([sac.end for sac in sacs]) > 15
    assert 0.5 < np.std([sac.centre[s1, 0] for sac in sacs]) < 4
    for sac in sacs:
        assert 10 < sac.half[s1 - 20].sum() < 26
        assert sac.section(float(sac.centre[s1, 1]))[sac.end < ROWS].max() == 0
        assert 0.1 < np.abs(sac.half[:s1, 0] - sac.half[:s1, 1]).mean() < 3
