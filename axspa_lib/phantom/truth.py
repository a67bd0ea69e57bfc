"""The truth of an examination on the grid of its T1: bones, joint spaces and lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import fill
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.painters.materials import Texture, bend_labels
from axspa_lib.phantom.person.anatomy import Body, Points
from axspa_lib.phantom.person.disease import Lesion
from axspa_lib.phantom.section import band, between_foramina, bones_at, lesion_opacity
from axspa_lib.study.labels import SIDES, Bone

#: Opacity above which a voxel belongs to a lesion.
LESION_LEVEL = 0.35

Labels = NDArray[np.uint8]


def truth(
    body: Body, lesions: list[Lesion], texture: Texture, grid: Grid, depths: NDArray[Any]
) -> tuple[Labels, Labels, Labels]:
    """Return bones (0, sacrum, iliac), joints (1 right, 2 left) and lesions (numbered from 1).

    Args:
        body, lesions, texture: the person.
        grid: in-plane grid of the T1; `depths` z of its slices, mm.

    Returns:
        Three `(slice, row, column)` arrays.
    """
    planes = [_plane(body, lesions, texture, grid, float(z)) for z in depths]
    bones, joints, found = (np.stack(labels) for labels in zip(*planes, strict=True))
    return bones, joints, found


def _plane(body: Body, lesions: list[Lesion], texture: Texture, grid: Grid, z: float) -> list[Labels]:
    bones, joints, found = (np.zeros((grid.size, grid.size), np.uint8) for _ in range(3))
    cut, canal = bones_at(body, z), body.cut(z)["canal", None]
    _stamp(bones, cut.sacrum, grid, Bone.SACRUM)
    for part in (*(between_foramina(body, z) if cut.sacrum is not None else ()), canal):
        _stamp(bones, part, grid, Bone.BACKGROUND)
    half = body.subject.joint_gap_mm / 2 + 0.3
    for number, side in enumerate(SIDES, 1):
        _stamp(bones, cut.ilium[side], grid, Bone.ILIAC)
        line = cut.cartilage[side]
        _stamp(joints, None if line is None else band(line, -half, half), grid, number)
    rough = texture.rough(z, grid)
    for number, lesion in enumerate(lesions, 1):
        shape = lesion_opacity(lesion, body, z, grid, rough)
        if shape is not None:
            opacity, region = shape
            bone = Bone.SACRUM if lesion.bone == "sacral" else Bone.ILIAC
            found[region][(opacity > LESION_LEVEL) & (bones[region] == bone)] = number
    warp = texture.warp(z, grid, body.skin(z, grid.x))
    return [bend_labels(labels, warp) for labels in (bones, joints, found)]


def _stamp(plane: Labels, points: Points | None, grid: Grid, value: int) -> None:
    filled = None if points is None else fill(points, grid)
    if filled is not None:
        plane[filled[1]][filled[0] > 127] = value
