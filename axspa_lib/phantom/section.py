"""The bones, joints and lesions in one slice, as outlines and opacities in millimetres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from axspa_lib.phantom.drawing.paint import Region, offset_line
from axspa_lib.phantom.drawing.texture import Field, Grid, smoothstep
from axspa_lib.phantom.person.anatomy import JOINT_POINTS, SIGN, Body, Points, template
from axspa_lib.phantom.person.disease import Lesion
from axspa_lib.study.labels import LEFT, RIGHT, SIDES

#: Thickness of the cortical shell of sacrum and ilium, mm.
CORTEX_MM = 0.75
#: And of the ilium away from the joint by depth, mm: (depth, thickness). Ventrally a slice cuts its surface obliquely.
ILIAC_CORTEX_MM = ((-20.0, 0.0, 15.0, 60.0), (2.4, 1.7, 1.15, 0.95))
#: A stretch of joint shorter than this share of the line is none.
SHORTEST = 0.12
#: First depth (mm) at which the sacral foramina part the lateral masses from the bodies between them.
PARTED_MM = 4.0
_ANGLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


@dataclass(frozen=True)
class Bones:
    """Outlines of the bones and joint lines in one slice; None where the slice misses them.

    `joint` is the middle line of the joint space, cranial to caudal; `cartilage` its cartilaginous stretch.
    """

    sacrum: Points | None
    ilium: dict[str, Points | None]
    joint: dict[str, Points | None]
    cartilage: dict[str, Points | None]


def bones_at(body: Body, z: float) -> Bones:
    """Cut both bones at z; their facing edges are the joint line moved apart by half the joint space."""
    cut, gap = body.cut(z), body.subject.joint_gap_mm / 2
    joint = {side: cut["joint", side] for side in SIDES}
    cartilage: dict[str, Points | None] = dict.fromkeys(SIDES)
    ilium: dict[str, Points | None] = dict.fromkeys(SIDES)
    halves: dict[str, Points] = {}
    for side in SIDES:
        line, rest, extent = joint[side], cut["ilium", side], body.extent(z, side)
        if line is not None and extent is not None:
            cartilage[side] = _stretch(line, extent)
        if line is not None and rest is not None:
            ilium[side] = np.vstack([offset_line(line, SIGN[side] * gap), rest])
        top, bottom = cut["sacrum_top", side], cut["sacrum_bottom", side]
        if line is not None and top is not None and bottom is not None:
            halves[side] = np.vstack([top[::-1], offset_line(line, -SIGN[side] * gap), bottom])
    sacrum = np.vstack([halves[LEFT], halves[RIGHT][::-1]]) if len(halves) == 2 else None
    return Bones(sacrum, ilium, joint, cartilage)


def between_foramina(body: Body, z: float) -> list[Points]:
    """Return the foramina and the sacral bodies between them, from the first pair down; none in ventral slices.

    Readers of the public scans exclude them from the sacrum, and so does the truth.
    """
    depth = body.depth(z)
    if depth < PARTED_MM:
        return []
    holes = list(template().raw["foramina"].values())
    centres = np.array([_hole(hole["path"], depth) for hole in holes])
    wall = np.vstack([centres, centres[-1] + (-4.0, 45.0)])
    middle = np.vstack([wall, wall[::-1] * (-1, 1)])
    rings = [
        _CIRCLE * (np.array(hole["axes"]) + 0.5) * (sign, 1) + centre * (sign, 1)
        for hole, centre in zip(holes, centres, strict=True)
        for sign in SIGN.values()
    ]
    return [body.place(points, depth) for points in (middle, *rings)]


def _hole(path: dict[int, list[float]], depth: float) -> tuple[float, float]:
    """Return the centre (x, y) of a foramen at a depth; beyond its canal, where it ends."""
    depths = sorted(path)
    x, y = (float(np.interp(depth, depths, [path[d][axis] for d in depths])) for axis in (0, 1))
    return x, y


def _stretch(line: Points, extent: tuple[float, float]) -> Points | None:
    if extent[1] - extent[0] < SHORTEST:
        return None
    place = np.linspace(*extent, 25) * (len(line) - 1)
    return np.stack([np.interp(place, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=1).astype(np.float32)


def band(line: Points, low: float, high: float) -> Points:
    """Return the closed outline between a line moved sideways by `low` and by `high` mm."""
    return np.vstack([offset_line(line, low), offset_line(line, high)[::-1]])


def lesion_opacity(lesion: Lesion, body: Body, z: float, grid: Grid, rough: Field) -> tuple[Field, Region] | None:
    """Return a lesion's opacity (0 to 1) on its region of the slice at z; None where it is not."""
    scale = float(lesion.size_at(z))
    line = body.cut(z)["joint", lesion.side]
    if scale <= 0 or min(lesion.along, lesion.depth) <= 0 or line is None:
        return None
    low, high = body.joint_range(lesion.side)
    extent = body.extent(float(np.clip(z, low + 0.5, high - 0.5)), lesion.side) or (0.0, 1.0)
    place = (extent[0] + lesion.place * (extent[1] - extent[0])) * (JOINT_POINTS - 1)
    k = int(np.clip(round(place), 2, JOINT_POINTS - 3))
    middle = line[k]
    tangent = line[k + 2] - line[k - 2]
    tangent = tangent / max(float(np.linalg.norm(tangent)), 1e-6)
    outward = np.array([tangent[1], -tangent[0]]) * SIGN[lesion.side]  # from the sacrum to the ilium
    into = outward if lesion.bone == "iliac" else -outward
    along, depth = lesion.along * scale, lesion.depth * scale
    reach = max(along, depth) * (1 + lesion.ragged) + 3 * grid.pixel + body.subject.joint_gap_mm
    corner = grid.to_pixels(np.array([middle - reach, middle + reach]))
    c0, r0 = np.maximum(np.floor(corner[0]).astype(int), 0)
    c1, r1 = np.minimum(np.ceil(corner[1]).astype(int) + 1, grid.size)
    if c1 <= c0 or r1 <= r0:
        return None
    region = (slice(int(r0), int(r1)), slice(int(c0), int(c1)))
    dx, dy = grid.x[region[1]][None, :] - middle[0], grid.y[region[0]][:, None] - middle[1]
    s = dx * tangent[0] + dy * tangent[1]
    d = dx * into[0] + dy * into[1] - body.subject.joint_gap_mm / 2 - CORTEX_MM  # marrow begins under the cortex
    # The joint line curves: measure depth from where the line really is at this place along it.
    bend = (line - middle) @ np.stack([tangent, into], axis=1)
    d = d - np.interp(s, bend[:, 0], bend[:, 1])
    radius = np.sqrt((s / along) ** 2 + (np.maximum(d, 0) / depth) ** 2)
    value = np.where(d < -0.4 * CORTEX_MM, -1.0, 1 - radius + 0.5 * lesion.ragged * rough[region])
    patchy = np.float32(0.88) + np.float32(0.12) * np.clip(rough[region], -1, 1)
    return smoothstep(value.astype(np.float32), -0.08, 0.5) * patchy, region
