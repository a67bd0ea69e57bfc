"""Small vessels: they shine on STIR in muscle and fat, and leave T1 and the bones alone."""

from __future__ import annotations

import numpy as np
import pytest

from axspa_lib.phantom import scene
from axspa_lib.phantom.drawing.paint import Canvas
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.person.anatomy import Body
from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.phantom.scene import Scene

GRID = Grid(300, 0.7, -105.0, -70.0)
DEPTHS = np.array([0.0, 20.0, 40.0])
T1 = Sequence(field_t=1.5, tr=550, te=10)
STIR = Sequence(field_t=1.5, tr=4000, te=60, ti=160)


@pytest.fixture(scope="module")
def with_and_without(body: Body) -> tuple[np.ndarray, np.ndarray]:
    """Planes of one person, and of the same without blood in small vessels."""
    shining = Scene(body, []).planes(GRID, DEPTHS, 4.0, T1, STIR)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "BLOOD", dict.fromkeys(scene.BLOOD, 0.0))
        return shining, Scene(body, []).planes(GRID, DEPTHS, 4.0, T1, STIR)


def test_they_change_stir_alone_and_no_bone(body: Body, with_and_without: tuple[np.ndarray, np.ndarray]) -> None:
    """What a reader would mark as inflamed lies in bone: nothing is added there."""
    shining, plain = with_and_without
    bones, joints, _ = Scene(body, []).truth(GRID, DEPTHS)
    assert np.array_equal(shining[0], plain[0]) and np.array_equal(shining[2], plain[2])
    added = np.abs(shining[1] - plain[1])
    assert added.max() > 0.02 and added[(bones > 0) | (joints > 0)].max() == 0


def test_they_are_few_and_bright(body: Body, with_and_without: tuple[np.ndarray, np.ndarray]) -> None:
    """Of muscle, some hundredths shine as much again as muscle itself does; the rest is left as it was."""
    shining, plain = with_and_without
    muscle = abs(Canvas(GRID, T1, STIR).value("muscle")[1, 0, 0])
    flesh = (plain[2] < 0.1) & (np.abs(np.abs(plain[1]) / muscle - 1) < 0.2)
    added = np.abs(shining[1] - plain[1])[flesh] / muscle
    assert flesh.sum() > 5000 and np.median(added) < 0.02
    assert 0.003 < np.mean(added > 0.5) < 0.05
