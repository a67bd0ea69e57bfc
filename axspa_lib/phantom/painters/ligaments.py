"""The interosseous ligaments behind the cartilage of the joint: a ragged cleft of fat, meshed by strands and veins."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, fill, offset_line
from axspa_lib.phantom.drawing.texture import Noise, smoothstep
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.person.anatomy import JOINT_POINTS, SIGN, Body, Points
from axspa_lib.phantom.section import Bones

#: How far the cleft reaches into the sacrum beyond its outline, by depth at the joint: (depth, mm).
RECESS_MM = ((-2.0, 8.0, 18.0, 26.0, 34.0, 45.0), (0.0, 0.5, 1.6, 3.2, 4.2, 4.5))
#: Depth (mm) from which on the ligaments also line the wing of the ilium above the sacrum, and how far they do (mm).
WING_MM, WING_REACH_MM = (26.0, 34.0), 34.0
#: Depths (mm) between which the ligaments come to lie behind the cartilage's upper part.
BEHIND_MM = (8.0, 32.0)
#: By how much less fat the capsule has that closes the joint ventrally: (depth in mm, standard deviations).
TIGHT = ((-2.0, 10.0), (1.2, 0.0))
#: Depths (mm) between which the ligaments loosen into the fat of the back.
LOOSE_MM = (33.0, 50.0)
#: Waves of the cleft's walls: lengths in mm.
LUMPS_MM = (3.5, 14.0)
#: A cleft shorter than this share of the joint line is none.
SHORTEST_CLEFT = 0.03
#: Thickness of the bone's shell about the cleft, mm.
SHELL_MM = 0.9
_ANGLE = np.linspace(0, 2 * np.pi, 32, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


@dataclass(frozen=True)
class Fossa:
    """A pit in the sacrum: where along the joint line (0 to 1), and in mm its depth, half its reach in depth, its
    radius, and how far its middle lies in the sacrum."""

    along: float
    depth: float
    reach: float
    radius: float
    aside: float


class Ligaments:
    """One person's ligaments between ilium and sacrum, either side its own."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 64])
        self._body = body
        self._mesh = Noise(rng, 0.8, 3.0, stretch=4.0, smooth=0.6)
        self._knots = Noise(rng, 1.2, 3.0, smooth=0.4)
        self._fat = _sides(rng.normal(0.35, 0.25) + rng.normal(0, 0.15, 2))
        self._angle = _sides(rng.normal(0.9, 0.35) + rng.normal(0, 0.2, 2))
        self._wide = _sides(rng.lognormal(0, 0.25) * rng.lognormal(0, 0.15, 2))
        self._wet = _sides(rng.uniform(0.2, 0.7) * rng.uniform(0.6, 1.2, 2))
        self._over = _sides(rng.uniform(0.15, 0.65) * rng.uniform(0.7, 1.3, 2))
        self._lumps = {side: _draw_lumps(rng) for side in SIGN}
        self._fossae = {side: _draw_fossa(rng) for side in SIGN}

    def paint(self, canvas: Canvas, section: Bones, z: float, m: Materials) -> None:
        """Paint both clefts in the slice at z (mm), with the shell of bone that walls them."""
        for side in SIGN:
            line, ilium = section.joint[side], section.ilium[side]
            if line is None or ilium is None:
                continue
            depth = self._body.depth_at_joint(z, side)
            walled = [self._cleft(line, side, z, depth), self._fossa(line, side, z, depth)]
            pits = [pit for pit in walled if pit is not None]
            if section.sacrum is not None:
                for _, shell in pits:
                    canvas.outline(shell, "cortex", None, 1.0, 0.75, soft_mm=0.5)
            wing = self._wing(ilium, side, z, depth)
            for shape in [pit for pit, _ in pits] + ([] if wing is None else [wing]):
                self._fill(canvas, shape, side, z, depth, m)

    def _cleft(self, line: Points, side: str, z: float, depth: float) -> tuple[Points, Points] | None:
        """The cleft along the joint line down to somewhat behind the cartilage, and the same with its shell."""
        extent = self._body.extent(z, side) or (1.0, 1.0)
        end = min(extent[0] + self._over[side] * float(np.interp(depth, BEHIND_MM, (0, 1))), 1.0)
        if end < SHORTEST_CLEFT:
            return None
        place = np.linspace(0, end, 48) * (JOINT_POINTS - 1)
        part = np.stack([np.interp(place, np.arange(len(line)), line[:, k]) for k in (0, 1)], axis=1)
        arc = _arc(part)
        taper = np.clip((arc[-1] - arc) / max(0.7 * arc[-1], 4.0), 0, 1) ** 0.6
        sacral, iliac = (_waves(self._lumps[side][k], arc, z) for k in (0, 1))
        gap = self._body.subject.joint_gap_mm / 4 * (1 + taper)
        recess = float(np.interp(depth, *RECESS_MM)) * self._wide[side] * taper
        into = gap + recess * np.clip(0.8 + 0.7 * sacral, 0.0, 2.6)
        over = gap + 0.25 * recess * np.clip(0.4 + 0.9 * iliac, 0.0, 2.4)
        shell = into + SHELL_MM * (1 + 0.4 * iliac)
        sign = SIGN[side]
        return _between(part, -sign * into, sign * over), _between(part, -sign * shell, sign * (over + 0.2))

    def _wing(self, ilium: Points, side: str, z: float, depth: float) -> Points | None:
        """The ligaments along the ilium's inner surface above the joint line."""
        inner = ilium[JOINT_POINTS:][::-1]  # from the joint's upper end on
        reach = float(np.interp(depth, WING_MM, (0, 1))) * WING_REACH_MM
        arc = _arc(inner)
        count = min(int(np.argmin(inner[:, 1])), int(np.searchsorted(arc, reach)))
        if count < 4:
            return None
        arc = arc[:count]
        wide = 3.2 * self._wide[side] * np.clip(1 + 0.45 * _waves(self._lumps[side][0], arc, z), 0.3, 3.0)
        taper = np.sqrt(np.clip((arc[-1] - arc) / 10.0, 0, 1))
        into = -SIGN[side] * wide * taper
        return _between(inner[:count][::-1], into[::-1], np.full(count, 0.1 * SIGN[side]))

    def _fossa(self, line: Points, side: str, z: float, depth: float) -> tuple[Points, Points] | None:
        """The pit in the sacrum where the strongest ligament inserts: ventral slices meet it first, as a round spot."""
        fossa = self._fossae[side]
        opening = 1 - ((depth - fossa.depth) / fossa.reach) ** 2
        if opening < 0.05:
            return None
        place = fossa.along * (JOINT_POINTS - 1)
        middle = np.array([np.interp(place, np.arange(len(line)), line[:, k]) for k in (0, 1)])
        middle = middle - (SIGN[side] * fossa.aside, 0.0)
        ragged = 1 + 0.22 * _waves(self._lumps[side][1], 7 * np.cos(_ANGLE) + 9 * np.sin(2 * _ANGLE), z)
        size = fossa.radius * np.sqrt(opening) * ragged[:, None]
        return (middle + _CIRCLE * size).astype(np.float32), (middle + _CIRCLE * (size + SHELL_MM)).astype(np.float32)

    def _fill(self, canvas: Canvas, shape: Points, side: str, z: float, depth: float, m: Materials) -> None:
        """Lobules of fat between strands of ligament, and veins, which are bright on STIR."""
        loose = float(np.interp(depth, LOOSE_MM, (0, 1)))
        blur = (0.3 + 0.8 * loose) / canvas.grid.pixel
        filled = fill(shape, canvas.grid, 1 + int(2 * blur))
        if filled is None:
            return
        mask, region = filled
        inside = cv2.GaussianBlur(mask, (0, 0), blur).astype(np.float32) * np.float32((1 - 0.45 * loose) / 255)
        lobules = np.float32(self._fat[side] - np.interp(depth, *TIGHT))
        local = canvas.grid.part(*region)
        rows, columns = mask.shape
        strands = self._mesh.plane(z, local, SIGN[side] * self._angle[side])[:rows, :columns]
        knots = self._knots.plane(z, local)[:rows, :columns]
        fat = smoothstep(0.85 * strands + 0.35 * knots + 0.6 * m.rough[region] + lobules, -1.4, 1.8)
        canvas.cover(inside * np.float32(0.85), region, canvas.value("ligament"))
        canvas.cover(inside * fat * np.float32(0.9), region, canvas.value("deep_fat", None, m.deep_pd[region]))
        wet = smoothstep(knots - 0.5 * m.rough[region], 0.7, 1.9) * np.float32(self._wet[side])
        canvas.cover(inside * wet, region, canvas.value("vein"))


def _sides(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(SIGN, map(float, values), strict=True))


def _draw_lumps(rng: np.random.Generator) -> NDArray[np.float64]:
    """Waves of a wall: two rows of (rad/mm along, rad/mm deep, phase)."""
    k = 2 * np.pi / np.geomspace(*LUMPS_MM, 6)
    return np.stack([np.stack([k, rng.normal(0, 0.35, 6), rng.uniform(0, 2 * np.pi, 6)], axis=1) for _ in (0, 1)])


def _draw_fossa(rng: np.random.Generator) -> Fossa:
    return Fossa(float(rng.uniform(0.3, 0.5)), float(rng.normal(21, 2.5)), float(rng.uniform(7, 12)),
                 float(rng.uniform(2.5, 5.0)), float(rng.uniform(2.0, 5.0)))  # fmt: skip


def _waves(lumps: NDArray[np.float64], arc: NDArray[np.float64], z: float) -> NDArray[np.float64]:
    return np.cos(arc[:, None] * lumps[:, 0] + z * lumps[:, 1] + lumps[:, 2]).sum(1) * np.sqrt(2 / len(lumps))


def _arc(line: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def _between(line: NDArray[np.floating], low: NDArray[np.floating], high: NDArray[np.floating]) -> Points:
    return np.vstack([offset_line(line, low[:, None]), offset_line(line, high[:, None])[::-1]]).astype(np.float32)
