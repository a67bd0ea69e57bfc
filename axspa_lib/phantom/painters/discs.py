"""Intervertebral discs and the remnant discs of the sacrum, no two of which are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, offset
from axspa_lib.phantom.painters.bones import flat, uneven
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.person.anatomy import Body, Points, template
from axspa_lib.phantom.person.skeleton import Build, draw_ripple

#: How far bone reaches over the outline of a disc of mean height, mm.
BONE_OVER_MM = 1.4
#: Notches of the end plates: wave lengths and standard deviation, mm.
NOTCH_LENGTHS, NOTCH_MM = (5.0, 14.0), 0.3
_DISCS = ("disc_l45", "disc_l5s1")
_ANGLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


class Discs:
    """One person's discs, cut by slices."""

    def __init__(self, body: Body, build: Build) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 71])
        self._body, self._build = body, build
        self._notches = draw_ripple(rng, NOTCH_LENGTHS)
        water = build.hydration
        self._height = np.clip(rng.normal(0.78 + 0.25 * water, 0.13), 0.5, 1.2)  # a dry disc is a thin one
        self._wedge = rng.normal(0, 0.035, 2)
        self._plates = rng.uniform((0.0, 0.25), (0.5, 0.8), (2, 2))  # upper, lower: mm; load thickens the lower one
        self._blur = rng.uniform(0.25, 0.9, 2)  # a slice cuts a disc aslant
        count = len(template().raw["remnants"])
        self._bow = rng.normal(0, 0.9, (count, 2))
        self._ends = rng.uniform(0.55, 1.1, count), rng.normal(0, 1.2, count)
        self._rims = rng.uniform(0.1, 0.9, (count, 2))
        self._cleft = np.clip(rng.normal(0, 0.25, count), 0, 0.5)

    def disc(self, canvas: Canvas, name: str, points: Points, z: float, m: Materials) -> None:
        """Paint a disc within its outline `(n, 2)` in mm: end plates, nodes in them, an annulus and a nucleus.

        The annulus is darkest at its ends, where its outer fibres pass into the ligaments along the bodies; the
        nucleus passes into it without a sharp border; its water fades with age.
        """
        k, build = _DISCS.index(name), self._build
        water, blur = float(build.hydration[k]), float(self._blur[k])
        low, high = points.min(0), points.max(0)
        centre, size = (low + high) / 2, high - low
        across = points - centre
        level = np.sign(across[:, 1:]) * flat(points)[:, None]  # -1 on the upper border, 1 on the lower one, 0 at ends
        bone = points + np.hstack([np.zeros_like(level), BONE_OVER_MM * level])
        canvas.outline(bone, "red_marrow", m.body_ff, m.marrow_pd, soft_mm=(0.1, 0.6))
        y = across[:, 1] * self._height[k] + self._wedge[k] * across[:, 0]
        y = y + 0.5 * (high[1] - centre[1]) * (1 - self._height[k])  # the lower border stays on its bone
        y = y + NOTCH_MM * level[:, 0] * self._notches.at(points, z, float(k))
        shape = (centre + np.stack([across[:, 0], y], axis=1)).astype(np.float32)
        upper, lower = self._plates[k]
        thick = np.where(level < 0, upper, lower) * np.abs(level) * uneven(build, points, z, 6.0 + k)[:, None]
        canvas.outline(offset(shape, -0.6 * thick), "cortex", None, 1.0, 0.75, soft_mm=(0.4, blur))
        for sign, (place, depth) in zip((-1, 1), build.nodes[k], strict=True):
            if depth > 0:
                ring = centre + (place * 0.45 * size[0], sign * 0.42 * size[1]) + _CIRCLE * (1.6 * depth, depth)
                canvas.outline(ring + np.array([0, 0.7 * sign]), "cortex", None, 1.0, 0.8, soft_mm=0.4)
                canvas.outline(ring, "disc_annulus", soft_mm=0.4)
        inside = offset(shape, 0.4 * thick)
        canvas.outline(inside, "disc_annulus", None, 0.74 + 0.3 * m.cartilage_pd, soft_mm=(0.4, 0.7 * blur))
        self._nucleus(canvas, inside, k, water, m)

    def _nucleus(self, canvas: Canvas, inside: Points, k: int, water: float, m: Materials) -> None:
        aside, width, cleft, fibres = map(float, self._build.nuclei[k])
        low, high = inside.min(0), inside.max(0)
        centre, size = (low + high) / 2, high - low
        for sign in (-1, 1):
            end = centre + (sign * 0.5 * size[0], 0) + _CIRCLE * size * (0.1 + 0.15 * fibres, 0.5)
            canvas.outline(end, "ligament", None, 1.0, 0.2 + fibres, soft_mm=1.5)
        middle = centre + np.array([aside * size[0], 0.0])
        lens = 0.7 - 0.35 * (2 * (inside[:, :1] - centre[0]) / size[0]) ** 2
        nucleus = middle + (inside - centre) * np.hstack([np.full_like(lens, width), lens])
        canvas.outline(nucleus, "disc_nucleus", None, 1.0, 0.1 + 0.9 * water, soft_mm=1.0)
        if water > 0.5:  # free water amid the nucleus
            free = middle + (nucleus - middle) * 0.8
            wet = np.clip(1.0 + 0.25 * m.rough, 0.3, 1.5)
            canvas.outline(free, "effusion", None, wet, 0.7 * (water - 0.5), soft_mm=1.2)
        if cleft > 0 and water > 0.35:
            line = middle + _CIRCLE * size * (0.35 * width, 0.05)
            canvas.outline(line, "disc_annulus", None, 1.0, min(cleft, 0.7), soft_mm=0.8)

    def remnants(self, canvas: Canvas, z: float, m: Materials) -> None:
        """Remnant discs between the sacral segments: uneven, bowed slabs, here and there grown through."""
        depth, body, build = self._body.depth(z), self._body, self._build
        for k, (disc, (height, water, fat, shown)) in enumerate(
            zip(template().raw["remnants"], build.remnants, strict=True)
        ):
            low, high = disc["z"]
            if not low <= depth <= high:
                continue
            t = np.linspace(-1, 1, 25)
            end = np.sqrt(np.clip(1 - (2 * (depth - low) / (high - low) - 1) ** 4, 0, 1))
            bow, tilt = self._bow[k]
            y = np.interp(depth, [low, high], disc["y"]) + bow * (1 - t**2) + 0.6 * tilt * t
            x = disc["half_width"] * self._ends[0][k] * (0.75 + 0.25 * end) * t + self._ends[1][k]
            line = body.place(np.stack([x, y], axis=1), depth)
            line[:, 1] += NOTCH_MM * self._notches.at(line, z, 2.0 + k)
            swell = 1.3 * height * (1 - t**6) * np.exp(0.45 * self._notches.at(line, z, 7.0 + k))
            upper, lower = (np.maximum(rim * uneven(build, line, z, 5.0 + n) ** 2, 0.05)
                            for n, rim in enumerate(self._rims[k]))  # fmt: skip
            if fat > 0:
                canvas.outline(_slab(line, swell + 2.5, swell + 2.5), "yellow_marrow", None, m.marrow_pd, fat * shown,
                               soft_mm=1.5)  # fmt: skip
            canvas.outline(_slab(line, swell + upper, swell + lower), "cortex", None, 1.0, 0.8 * shown,
                           soft_mm=(0.6, 0.35))  # fmt: skip
            inner = swell[2:-2] - 0.1
            canvas.outline(_slab(line[2:-2], inner, inner), "disc_annulus", None, 1.0, 0.85 * shown, soft_mm=(0.6, 0.3))
            canvas.outline(_slab(line[2:-2], 0.6 * inner, 0.6 * inner), "disc_nucleus", None, 1.0,
                           max(0.0, 1.4 * water - 0.6) * shown, soft_mm=0.5)  # fmt: skip
            if self._cleft[k] > 0 and height > 0.5:
                thin = 0.25 * swell[6:-6]
                canvas.outline(_slab(line[6:-6], thin, thin), "effusion", None, 1.0, float(self._cleft[k] * shown),
                               soft_mm=0.3)  # fmt: skip


def _slab(line: Points, above: NDArray[np.floating], below: NDArray[np.floating]) -> Points:
    """Outline about a line that runs across, by how far (mm) it reaches above and below."""
    up, down = (np.stack([np.zeros_like(half), np.maximum(half, 0.05)], axis=1) for half in (above, below))
    return np.vstack([line - up, (line + down)[::-1]]).astype(np.float32)
