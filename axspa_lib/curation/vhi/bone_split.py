"""Split a mask of sacrum, ilia and L5 in one region into bones, along the sacro-iliac joint.

The joint is the dark ridge of T1 inside the region. On each slice and side a minimal path runs from above to below the
region (`joint_path`): it costs little on dark ridges and in the clefts between two pieces of the region, much in
marrow, and is drawn to the path of the neighbouring slice. What lies lateral of it is ilium, medial of it sacrum. L5 is
left out before (`pelvis`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage as ndi

from axspa_lib.curation.vhi.joint_path import Image, Mask, Path2D, distance_to, half_columns, joint_costs, joint_paths
from axspa_lib.curation.vhi.pelvis import drop_facets, each_piece, midline, pieces_of, without_lumbar
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import LEFT, RIGHT, SIDES, Bone
from axspa_lib.study.volume import Volume

#: Code of each side in the joint volume.
JOINT_CODE = {RIGHT: 1, LEFT: 2}

_THIN_MM = 5.0  # a piece of sacrum thinner than this, lateral of every other, is cortical bone of the ilium
_CONTACT_MM = 5.0  # a path pixel belongs to the joint when both bones lie within this distance
_MIN_JOINT_MM = 15.0  # shortest contact that is called a joint
_MAX_CONTRAST = 0.85  # largest ratio of T1 on the line to that of its flanks that counts as seen
_MIN_SEEN = 0.8  # smallest share of the line that must be seen
_MAX_JUMP_MM = 4.0  # largest mean distance from the joints of neighbouring slices


@dataclass(frozen=True)
class BoneSplit:
    """A region mask split into bones.

    Attributes:
        bones: `labels.Bone` on the grid of T1; L5 and its facets are background.
        joint: the line between the bones, 1 on the patient's right, 2 on the left (`JOINT_CODE`).
        trusted: one row per slice and side that holds region: `slice, side, trusted, reason, joint_mm, seen,
            jump_mm`; `joint_mm` is 0 where the slice shows no joint.
    """

    bones: Volume
    joint: Volume
    trusted: pd.DataFrame


def split_bones(t1: Volume, region: Volume) -> BoneSplit:
    """Split a region of sacrum, ilia, joints and L5 into bones.

    Args:
        t1: canonical T1.
        region: its region mask on the same grid; anything above 0 is region.
    """
    if t1.array.shape != region.array.shape or not np.allclose(t1.affine, region.affine, atol=0.05):
        raise DataError("the region mask lies on another grid than T1; use the mask drawn on this scan")
    mm = float(np.mean(t1.spacing[1:]))
    mask = region.array > 0
    middle = midline(mask)
    pelvis = without_lumbar(mask, t1.array, middle, mm)
    seed = int(pelvis.sum(axis=(1, 2)).argmax())
    costs, shade = joint_costs(t1.array, pelvis, middle, mm)
    paths = {side: joint_paths(costs, pelvis, seed, middle, side, mm) for side in SIDES}
    bones = np.zeros(mask.shape, np.uint8)
    for side in SIDES:
        _paint(bones, pelvis, paths[side], middle, side, mm)
    drop_facets(bones, middle, mm, seed)
    joint = np.zeros(mask.shape, np.uint8)
    rows = []
    for side in SIDES:
        half = half_columns(mask.shape[2], middle, side)
        lines = {z: _joint_line(path, bones[z], half, mm) for z, path in paths[side].items()}
        for z, line in sorted(lines.items()):
            joint[z][line[:, 0], line[:, 1]] = JOINT_CODE[side]
            near = [lines[n] for n in (z - 1, z + 1) if n in lines]
            rows.append({"slice": z, "side": side} | _judge(line, near, bones[z], shade[z], half, mm))
    return BoneSplit(t1.like(bones), t1.like(joint), pd.DataFrame(rows))


def _paint(
    bones: NDArray[np.uint8], pelvis: Mask, paths: dict[int, Path2D], middle: float, side: str, mm: float
) -> None:
    """Paint ilium lateral of each path, sacrum medial; cortical slivers and what no sacrum precedes are ilium."""
    half = half_columns(pelvis.shape[2], middle, side)
    seed = int(pelvis.sum(axis=(1, 2)).argmax())
    for z in [*range(seed, len(bones)), *range(seed - 1, -1, -1)]:
        own = pelvis[z] & half
        if z not in paths:
            bones[z][own] = Bone.SACRUM
            continue
        lateral = _lateral(paths[z], own.shape, side)
        before = bones[z - np.sign(z - seed)] == Bone.SACRUM if z != seed else own
        touching = ndi.binary_dilation(lateral & own, iterations=2)
        for piece in each_piece(own & ~lateral):
            thin = 2 * ndi.distance_transform_edt(np.pad(piece, 1)).max() * mm < _THIN_MM
            if thin or ((piece & touching).any() and (piece & before).sum() < 0.3 * piece.sum()):
                lateral |= piece
        bones[z][own & lateral] = Bone.ILIAC
        bones[z][own & ~lateral] = Bone.SACRUM


def _lateral(path: Path2D, shape: tuple[int, ...], side: str) -> Mask:
    """Return the pixels lateral of a path, the path included."""
    drawn = np.zeros(shape, bool)
    drawn[path[:, 0], path[:, 1]] = True
    drawn[: path[0, 0], path[0, 1]] = True
    drawn[path[-1, 0] :, path[-1, 1]] = True
    sides = pieces_of(~drawn)
    edge = sides[:, 0 if side == RIGHT else -1]
    return np.isin(sides, edge[edge > 0]) | drawn


def _joint_line(path: Path2D, bones: NDArray[np.uint8], half: Mask, mm: float) -> Path2D:
    """Return the stretch of a path that has ilium on one side and sacrum on the other within `contact_mm`."""
    near = np.ones(len(path), bool)
    for bone in (Bone.ILIAC, Bone.SACRUM):
        own = (bones == bone) & half
        if not own.any():
            return path[:0]
        near &= (ndi.distance_transform_edt(~own) * mm)[path[:, 0], path[:, 1]] <= _CONTACT_MM
    return path[near] if near.sum() * mm >= _MIN_JOINT_MM else path[:0]


def _judge(
    line: Path2D, near: list[Path2D], bones: NDArray[np.uint8], shade: Image, half: Mask, mm: float
) -> dict[str, object]:
    """Judge a joint line: it must be dark between brighter bones, and near the lines of the neighbouring slices."""
    if not len(line):
        return {"trusted": True, "reason": "no joint on this slice", "joint_mm": 0.0, "seen": np.nan, "jump_mm": np.nan}
    distance = distance_to(line, bones.shape) * mm
    flank = half & (distance > 4) & (distance < 10)
    rings = [shade[flank & (bones == bone)] for bone in (Bone.ILIAC, Bone.SACRUM)]
    flanks = [np.median(ring) if ring.size else 1.0 for ring in rings]
    in_cleft = bones[line[:, 0], line[:, 1]] == Bone.BACKGROUND
    seen = float((in_cleft | (shade[line[:, 0], line[:, 1]] < _MAX_CONTRAST * np.mean(flanks))).mean())
    jumps = [float((distance_to(n, bones.shape) * mm)[line[:, 0], line[:, 1]].mean()) for n in near if len(n)]
    jump = min(jumps) if jumps else np.nan
    reason = ""
    if seen < _MIN_SEEN:
        reason = f"only {seen:.0%} of the line is darker than the marrow next to it"
    elif jump > _MAX_JUMP_MM:
        reason = f"the line lies {jump:.1f} mm from those of the neighbouring slices"
    return {"trusted": not reason, "reason": reason, "joint_mm": len(line) * mm, "seen": seen, "jump_mm": jump}
