"""The truth of an examination on the grid of its T1: bones, joint spaces and lesions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import fill
from axspa_lib.phantom.drawing.texture import Field, Grid
from axspa_lib.phantom.painters.materials import Texture, bend_labels
from axspa_lib.phantom.person.anatomy import Body, Points
from axspa_lib.phantom.person.disease import Lesion
from axspa_lib.phantom.section import Bones, band, between_foramina, bones_at, lesion_opacity
from axspa_lib.study.labels import SIDES, Bone

#: Opacity above which a voxel belongs to a lesion.
LESION_LEVEL = 0.35

Labels = NDArray[np.uint8]


def truth(body: Body, lesions: list[Lesion], texture: Texture, grid: Grid, depths: NDArray[Any]) -> tuple[
    Labels, Labels, Labels
]:  # fmt: skip
    """Bones (0, sacrum, iliac), joints (1 right, 2 left) and lesions (number of the lesion from 1).

    Args:
        body, lesions, texture: the person.
        grid: in-plane grid of the T1; `depths` z of its slices, mm.

    Returns:
        Three `(slice, row, column)` arrays.
    """
    shape = (len(depths), grid.size, grid.size)
    bones, joints, found = (np.zeros(shape, np.uint8) for _ in range(3))
    for k, depth in enumerate(depths):
        z = float(depth)
        cut = bones_at(body, z)
        _stamp_bones(bones[k], cut, body, z, grid)
        for number, side in enumerate(SIDES, 1):
            line = cut.cartilage[side]
            if line is not None:
                half = body.subject.joint_gap_mm / 2 + 0.3
                _stamp(joints[k], band(line, -half, half), grid, number)
        rough = texture.rough(z, grid)
        for number, lesion in enumerate(lesions, 1):
            _stamp_lesion(found[k], bones[k], lesion, number, body, z, grid, rough)
        warp = texture.warp(z, grid, body.skin(z, grid.x))
        for labels in (bones, joints, found):
            labels[k] = bend_labels(labels[k], warp)
    return bones, joints, found


def _stamp_bones(plane: Labels, cut: Bones, body: Body, z: float, grid: Grid) -> None:
    if cut.sacrum is not None:
        _stamp(plane, cut.sacrum, grid, Bone.SACRUM)
        for part in between_foramina(body, z):
            _stamp(plane, part, grid, Bone.BACKGROUND)
    canal = body.cut(z)["canal", None]
    if canal is not None:
        _stamp(plane, canal, grid, Bone.BACKGROUND)
    for points in cut.ilium.values():
        if points is not None:
            _stamp(plane, points, grid, Bone.ILIAC)


def _stamp_lesion(
    plane: Labels, bones: Labels, lesion: Lesion, number: int, body: Body, z: float, grid: Grid, rough: Field
) -> None:
    shape = lesion_opacity(lesion, body, z, grid, rough)
    if shape is None:
        return
    opacity, region = shape
    bone = Bone.SACRUM if lesion.bone == "sacral" else Bone.ILIAC
    plane[region][(opacity > LESION_LEVEL) & (bones[region] == bone)] = number


def _stamp(plane: Labels, points: Points, grid: Grid, value: int) -> None:
    filled = fill(points, grid)
    if filled is not None:
        plane[filled[1]][filled[0] > 127] = value
