"""Bones painted: cortex and joint space, foramina and their nerve roots, vertebral bodies."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, Region, fill, offset, offset_line
from axspa_lib.phantom.drawing.texture import smoothstep
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.tubes import stretches, tube
from axspa_lib.phantom.person.anatomy import JOINT_POINTS, SIGN, Body, Points, template
from axspa_lib.phantom.person.skeleton import BEAN, Build, Root
from axspa_lib.phantom.section import CORTEX_MM, ILIAC_CORTEX_MM
from axspa_lib.study.labels import SIDES

#: Thickness of the bony plate under the joint's cartilage, mm: the ilium's is the thicker one.
PLATE_MM = {"sacral": 0.55, "iliac": 1.15}
#: How much finer the plates' teeth are than other irregularity, and over how many mm sclerosis fades into marrow.
FINER, FADE_MM = 2.7, 1.1
#: Cortex passes into marrow through trabeculae: blur of its inner border, mm.
CORTEX_SOFT_MM = 0.4
#: No sclerosis of a healthy joint is wider, mm.
WIDEST_MM = 6.0
#: Furthest that an outline moves from slice to slice over their distance, for the thickness of its cortex.
MOST_OBLIQUE = 3.0
#: Log spread of the thickness of cortex along an outline, over 8 to 30 mm.
UNEVEN = 0.3
#: How far the walls of a vertebral body curve in, and its end plates, mm.
WAIST_MM = np.array([2.2, 1.2])
#: How far a root lies dorsal of its tunnel's axis, mm: ventral, so that a slice shows it at the upper end of the fat.
ROOT_DEEPER_MM = -2.5
#: How much of an ilium's outline by point is away from the joint: its joint surface first, then round the wing.
_RIM = np.arange(60)
_FREE = np.concatenate([np.zeros(JOINT_POINTS), 1 - np.exp(-np.minimum(_RIM, _RIM[::-1]) / 3.0)])
#: Which points of the sacrum's outline face a joint: 30 above it, 40 below, then the same mirrored.
_HALF = np.concatenate([np.zeros(30), np.ones(JOINT_POINTS), np.zeros(40)])
_FACING = np.concatenate([_HALF, _HALF[::-1]])
#: Distance (mm) between the sacrum's outlines in two sub-slices from which on outlines between are painted, and where.
GRAZED_MM = 0.8
_BETWEEN = np.array([-0.375, -0.125, 0.125, 0.375])
_ANGLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)
_BODIES = ("l4_body", "l5_body")

Way = tuple[Root, Points, float]
Filled = tuple[NDArray[np.uint8], Region]


def uneven(build: Build, points: Points, z: float, turn: float = 0.0) -> NDArray[np.float32]:
    """Return the factor `(n,)` of a thickness along an outline: about 1, now and then half or twice as much."""
    return np.exp(np.float32(UNEVEN) * build.coarse.at(points, z, turn))


def sacrum(
    canvas: Canvas, build: Build, points: Points, ahead: Points, slab: float, z: float, m: Materials
) -> Filled | None:
    """Paint the sacrum with its shell, outlines `(n, 2)` in mm, `ahead` `slab` mm on; return its marrow.

    Where the slice meets the surface at a low angle, above all ventrally, cortex looks as much thicker; where it grazes
    it, the outlines lie far apart, and some between them are painted as well.
    """
    slope = ((ahead - points) * (offset(points, 1.0) - points)).sum(1) / slab
    oblique = CORTEX_MM * np.sqrt(1 + np.minimum(slope**2, MOST_OBLIQUE**2))
    mean = oblique + (PLATE_MM["sacral"] - oblique) * _FACING
    within = offset(points, (mean * uneven(build, points, z) ** (1 + 0.8 * _FACING))[:, None])
    if np.abs(ahead - points).max() > GRAZED_MM:
        steps = (_BETWEEN[:, None, None] * (ahead - points)).astype(np.float32)
        points, within = points + steps, within + steps
    canvas.outline(points, "cortex")
    return canvas.outline(within, "marrow", m.sacral_ff, m.marrow_pd, soft_mm=CORTEX_SOFT_MM)


def ilium(
    canvas: Canvas, build: Build, points: Points, z: float, depth: float, jointed: bool, m: Materials
) -> Filled | None:
    """Paint an ilium with its shell, thick where a slice cuts the wing obliquely (`depth` in mm)."""
    thick = float(np.interp(depth, *ILIAC_CORTEX_MM))
    free = _FREE if jointed else np.ones_like(_FREE)
    mean = PLATE_MM["iliac"] + (thick - PLATE_MM["iliac"]) * free
    canvas.outline(points, "cortex")
    shell = np.clip(mean * uneven(build, points, z) ** (1.8 - 1.0 * free), 0.1, 3.5)
    return canvas.outline(offset(points, shell[:, None]), "marrow", m.iliac_ff, m.marrow_pd, soft_mm=CORTEX_SOFT_MM)


def joint_space(canvas: Canvas, body: Body, build: Build, cartilage: Points, side: str, z: float, m: Materials) -> None:
    """Normal subchondral sclerosis, thicker and ragged in the ventral ilium, and cartilage that eats into the plates.

    `cartilage` is the cartilaginous stretch of the joint's middle line, in mm.
    """
    subject, sign = body.subject, SIGN[side]
    near = subject.joint_gap_mm / 2
    places, fine = np.linspace(0, len(cartilage) - 1, 4 * len(cartilage)), np.arange(len(cartilage))
    line = np.stack([np.interp(places, fine, cartilage[:, k]) for k in (0, 1)], axis=1).astype(np.float32)
    ventral = np.clip((12 - body.depth_at_joint(z, side)) / 12, 0, 1)
    thick = subject.sclerosis_mm | {"iliac": subject.sclerosis_mm["iliac"] * (1 + build.ventral * ventral)}
    for turn, (bone, towards) in enumerate((("iliac", sign), ("sacral", -sign))):
        own, ragged = (uneven(build, np.array([[90 * sign, 0]], np.float32), 0.0, turn + k) ** 1.7 for k in (9.0, 13.0))
        teeth = ragged * build.coarse.at(FINER * line, FINER * z / 2, turn + 5.0)
        plate = near + PLATE_MM[bone] * (1 + 0.28 * np.clip(teeth, -2.0, 4.0))
        wide = thick[bone] * own * uneven(build, line, z, turn + 1.0) ** 1.6 * np.maximum(1 + 0.2 * teeth, 0)
        far = near + PLATE_MM[bone] + WIDEST_MM * np.tanh(wide / WIDEST_MM)
        edges = offset_line(line, towards * near), offset_line(line, towards * far[:, None])[::-1]
        filled = fill(np.vstack(edges), canvas.grid, 1 + int(2 * FADE_MM / canvas.grid.pixel))
        if filled is not None:
            mask, region = filled
            cover = cv2.GaussianBlur(mask, (0, 0), FADE_MM / canvas.grid.pixel).astype(np.float32) / np.float32(255)
            dense = 0.25 + 0.6 * smoothstep(m.cartilage_pd[region] + np.float32(0.17) * m.grain[region], 0.7, 1.8)
            canvas.cover(cover * dense.astype(np.float32), region, canvas.value("sclerosis"))
        rim = np.vstack([offset_line(line, towards * near), offset_line(line, towards * plate[:, None])[::-1]])
        canvas.outline(rim, "cortex", None, 1.0, 0.55, soft_mm=0.45)
    low, high = (np.clip(near * uneven(build, line, z, turn) ** 1.2, 0.3, near + 0.5)[:, None] for turn in (3, 4))
    outline = np.vstack([offset_line(line, -low), offset_line(line, high)[::-1]])
    canvas.outline(outline, "cartilage", None, m.cartilage_pd)


def ways_out(body: Body, build: Build, z: float) -> list[Way]:
    """Return each sacral root with its tunnel's axis `(n, 2)` in mm and the sign of its side."""
    found = [(root, SIGN[side]) for side in SIDES for root in build.roots[side]]
    paths = np.vstack([root.path[:, :2] * (sign, 1) for root, sign in found])
    lines = np.split(body.place(paths, body.depth(z)), len(found))
    return [(root, line, sign) for (root, sign), line in zip(found, lines, strict=True)]


def foramina(canvas: Canvas, body: Body, build: Build, ways: list[Way], z: float, m: Materials) -> None:
    """Paint the fat of the sacral foramina: the tunnels of the roots, and the rings of the dorsal ones."""
    depth = body.depth(z)
    for k, hole in enumerate(template().raw["foramina"].values()):
        depths = np.array(sorted(hole["path"]), dtype=float)
        if not hole["ring"] <= depth <= depths[-1]:
            continue
        where = np.array([np.interp(depth, depths, [hole["path"][int(d)][i] for d in depths]) for i in (0, 1)])
        along = float((depth - depths[0]) / (depths[-1] - depths[0]))  # 0 ventral, 1 dorsal
        for side in SIDES:
            _ring(canvas, body, build, m, depth, k, side, where, along)
    for root, axis, _ in ways:
        _tunnel(canvas, build, root, axis, depth, z, m)


def _ring(
    canvas: Canvas, body: Body, build: Build, m: Materials, depth: float, k: int, side: str, where: Any, along: float
) -> None:
    """One canal cut across: a thin rim open on one side, fat, a root or its dorsal branch, and small veins."""
    hole, raw = build.holes[side][k], list(template().raw["foramina"].values())[k]
    axes = np.array(raw["axes"]) * hole.scale * (0.95 - 0.3 * along)
    c, s = np.cos(hole.turn - 0.5 * along), np.sin(hole.turn - 0.5 * along)
    rotation = np.array([[c, s], [-s, c]])
    waves = np.stack([np.cos(n * _ANGLE + p + 1.5 * along) for n, p in BEAN])
    shape = _CIRCLE * (1 + hole.bean @ waves)[:, None]

    drift = (hole.root + (0.3 - 0.6 * along) * np.array([1, 0.6])) * axes
    oval = np.array(raw["root"]) * hole.scale * (1 - 0.45 * along)
    veins = [_CIRCLE * size + place * axes for place, size in zip(hole.veins, hole.calibre, strict=True)]
    rings = [shape * (axes + 3.0), shape * (axes + 0.5) + hole.rim, shape * axes, _CIRCLE * oval + drift, *veins]
    placed = body.place((np.vstack(rings) @ rotation + where) * (SIGN[side], 1), depth)
    halo, rim, fat, root, *vessels = np.split(placed, len(rings))
    canvas.outline(halo, "yellow_marrow", None, m.marrow_pd, hole.halo, soft_mm=2.2)
    canvas.outline(rim, "cortex", None, 1.0, 0.8 * hole.fat, soft_mm=0.3)
    canvas.outline(fat, "deep_fat", None, m.deep_pd, hole.fat, soft_mm=0.4)
    canvas.outline(root, "nerve", None, 1.0, hole.nerve, soft_mm=0.4)
    for vein in vessels:
        canvas.outline(vein, "vein", None, 1.0, 0.8, soft_mm=0.3)


def _shown(root: Root, radius: NDArray[np.float32], depth: float) -> NDArray[np.float32]:
    """Half width, by point of its path, of what the plane at `depth` shows of a tube about it."""
    away = np.float32(depth) - root.path[:, 2]
    return np.sqrt(np.maximum(radius**2 - away**2, 0))


def _tunnel(canvas: Canvas, build: Build, root: Root, axis: Points, depth: float, z: float, m: Materials) -> None:
    width = _shown(root, root.tunnel, depth)
    for part in stretches(width > 1.0):
        line = axis[part]
        wall = width[part] * (1 + 0.08 * build.coarse.at(line, z, 7.0))
        rim = wall + np.float32(0.7) * uneven(build, line, z, 8.0)
        canvas.outline(tube(line, wall + 3.0), "yellow_marrow", None, m.marrow_pd, root.halo, soft_mm=2.2)
        canvas.outline(tube(line, rim), "cortex", None, 1.0, root.rim, soft_mm=0.2)
        canvas.outline(tube(line, wall), "deep_fat", None, m.deep_pd, soft_mm=0.3)
        for along, aside, radius in root.vessels:
            k = min(int(along * len(line)), len(line) - 1)
            place = line[k] + wall[k] * aside * np.array([0.8, -0.6], np.float32)
            canvas.outline(place + _CIRCLE * radius, "vein", None, 1.0, 0.85, soft_mm=0.3)


def roots(canvas: Canvas, ways: list[Way], depth: float, m: Materials) -> None:
    """Paint the sacral roots through the fat of their tunnels, each with its vein."""
    for root, axis, sign in ways:
        width = _shown(root, root.root, depth - ROOT_DEEPER_MM)
        for part in stretches(width > 0.4):
            line = offset_line(axis[part], sign * root.aside[part, None])
            canvas.outline(tube(line, width[part]), "nerve", None, 1.0, 0.95, soft_mm=0.3)
            canvas.outline(tube(line, width[part]), "ganglion", None, 1.0, 0.3 * root.wet, soft_mm=0.5)
            fluid = np.minimum(root.sleeve[part], width[part])
            for wet in stretches(fluid > 0.2):
                canvas.outline(tube(line[wet], fluid[wet]), "csf", None, 1.0, 0.6, soft_mm=0.5)
            knot = slice(max(root.ganglion.start - part.start, 0), max(root.ganglion.stop - part.start, 0))
            if len(line[knot]) > 3:
                canvas.outline(tube(line[knot], 0.9 * width[part][knot]), "ganglion", None, 1.0, root.wet, soft_mm=0.5)
        vein = _shown(root, root.root * np.float32(0.3), depth)
        for part in stretches(vein > 0.2):
            away = -sign * np.sign(root.aside[part, None]) * 0.6 * root.tunnel[part, None]
            canvas.outline(tube(offset_line(axis[part], away), vein[part]), "vein", None, 1.0, root.vein, soft_mm=0.3)


def flat(points: Points) -> NDArray[np.float32]:
    """Return how far an outline's normal points up or down rather than sideways, 0 to 1, by point."""
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    length = np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-6)
    return np.asarray((tangent[:, 0] / length) ** 2, np.float32)


def vertebra(canvas: Canvas, build: Build, name: str, points: Points, z: float, m: Materials) -> None:
    """Paint a vertebral body: end plates thicker than its walls, fat in corners, and in some the basivertebral vein."""
    k = _BODIES.index(name)
    centre, half = (points.max(0) + points.min(0)) / 2, (points.max(0) - points.min(0)) / 2
    across = (points - centre) / np.maximum(half, 1e-6)
    points = (points - WAIST_MM * across * (1 - across[:, ::-1] ** 2)).astype(np.float32)
    canvas.outline(points, "cortex", soft_mm=0.3)
    inside = offset(points, ((0.4 + 0.2 * flat(points)) * uneven(build, points, z, 2.0))[:, None])
    canvas.outline(inside, "red_marrow", m.body_ff, m.marrow_pd)
    low, high = inside.min(0), inside.max(0)
    middle, size = (low + high) / 2, high - low
    if min(size) < 8:
        return
    for corner, share in enumerate(build.corners[k]):
        if share > 0.02:
            place = middle + size * np.array([0.33 * (corner % 2 * 2 - 1), 0.36 * (corner // 2 * 2 - 1)])
            canvas.outline(place + _CIRCLE * size * (0.16, 0.09), "yellow_marrow", None, m.marrow_pd, float(share),
                           soft_mm=1.8)  # fmt: skip
    if build.basivertebral[k] > 0:
        vein = middle + _CIRCLE * (0.13 * size[0], 0.8)
        canvas.outline(vein, "vein", None, 1.0, float(build.basivertebral[k]), soft_mm=1.2)
