"""Viscera before the sacrum and beside the psoas: bowel loops, bladder and uterus, drawn per person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.anatomy import Body, Points
from axspa_lib.phantom.materials import Materials
from axspa_lib.phantom.paint import Canvas, offset


@dataclass(frozen=True)
class Loop:
    """A stretch of a hollow organ: a bent, irregular ellipsoid; lengths in mm.

    Attributes:
        centre, axes: x, y and depth; the first axis is the long one in the slice, turned by `angle` (rad).
        bend: how far the ends of the long axis lie off its middle, over the short axis.
        wobble: amplitude of its irregularities; the last are the folds of its wall.
        wall: thickness; `tissue` of the wall, `content` of the lumen.
        gas: share of the lumen's width filled with gas; `mottled` how uneven its content is.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    angle: float
    bend: float
    wobble: NDArray[np.float64]
    wall: float
    tissue: str
    content: str
    gas: float
    mottled: float


#: Contents of the gut and their shares: colon and rectum, small bowel.
_CONTENTS = ("stool", "bowel", "bright_stool", "collapsed", "gas")
_COLON, _SMALL = (0.42, 0.12, 0.26, 0.10, 0.10), (0.10, 0.40, 0.14, 0.33, 0.03)
_ANGLE = np.linspace(0, 2 * np.pi, 56, endpoint=False)
_HARMONICS = np.stack([np.cos(k * _ANGLE + p) for k, p in ((2, 0.3), (2, 1.7), (3, 0.9), (3, 2.1), (5, 0.2), (9, 1.1))])
_ROUGH = np.array([0.08, 0.08, 0.05, 0.05, 0.022, 0.008])


def draw(body: Body) -> list[Loop]:
    """Viscera of a person: bladder and uterus, rectum and sigmoid, colon at both sides, small bowel above."""
    rng = np.random.default_rng([body.subject.texture_seed, 7])
    organs: list[Loop] = []

    def gut(x: float, y: float, z: float, size: float, shares: tuple[float, ...], long: float, folds: float) -> None:
        """One more loop, with content drawn by its shares."""
        width = size * rng.uniform(0.75, 1.25)
        axes = (width * rng.uniform(1.0, long), width, width * rng.uniform(1.0, 1.8))
        content = str(rng.choice(_CONTENTS, p=shares))
        wobble = rng.normal(0, _ROUGH) * np.array([1, 1, 1, 1, folds, folds])
        gas = float(rng.uniform(0.3, 0.7)) if content != "gas" and rng.random() < 0.18 else 0.0
        organs.append(Loop((x, y, z), axes, float(rng.uniform(0, np.pi)), float(rng.normal(0, 0.22)), wobble,
                           float(rng.uniform(1.2, 2.4)), "bowel_wall", content, gas,
                           float(rng.uniform(0.1, 0.5))))  # fmt: skip

    for y, z in ((52, -14), (70, -8), (90, -1), (106, 3)):  # sigmoid and rectum in their fat
        gut(rng.normal(0, 6), y + rng.normal(0, 5), z + rng.normal(0, 3), 15, _COLON, 1.5, 1.0)
    for _ in range(rng.poisson(2.5)):
        gut(rng.uniform(-26, 26), rng.uniform(35, 95), rng.uniform(-34, -12), 15, _COLON, 1.8, 1.5)
    lean = body.subject.sex == "F"
    for _ in range(rng.poisson(5 if lean else 4)):
        gut(rng.uniform(-30, 30), rng.uniform(12, 80), rng.uniform(-38, -14), 11, _SMALL, 2.4, 2.0)
    for sign in (-1, 1):  # ascending and descending colon before the wing of the ilium
        for step in range(4):
            gut(sign * rng.normal(92, 7), -48 - 27 * step + rng.normal(0, 6), rng.normal(6, 16),
                rng.uniform(15, 24), _COLON, 1.5, 2.0)  # fmt: skip
    for _ in range(rng.poisson(26)):
        gut(rng.uniform(-95, 95), rng.uniform(-150, -62), rng.uniform(-50, 16), 14, _SMALL, 2.2, 2.5)
    if rng.random() < 0.8:  # the bladder's dome reaches the ventral slices
        size = rng.uniform(0.8, 1.25)
        organs.append(Loop((rng.normal(0, 4), rng.normal(86, 8), rng.normal(-28, 5)), (33 * size, 22 * size, 22 * size),
                           rng.normal(0, 0.1), 0.0, rng.normal(0, 0.5 * _ROUGH), 2.5, "muscle", "urine", 0.0,
                           0.0))  # fmt: skip
    if lean:
        size = rng.uniform(0.8, 1.2)
        place = rng.normal((0, 64, -24), (6, 7, 5))
        lie, wobble = float(rng.normal(0, 0.4)), rng.normal(0, 0.5 * _ROUGH)
        axes = (27 * size, 19 * size, 17 * size)
        organs.append(
            Loop(
                (float(place[0]), float(place[1]), float(place[2])),
                axes,
                lie,
                0.0,
                wobble,
                11.0,
                "uterus",
                "mucosa",
                0.0,
                0.0,
            )
        )
    return sorted(organs, key=lambda loop: loop.centre[2])


def paint(loops: list[Loop], body: Body, canvas: Canvas, z: float, m: Materials) -> None:
    """Paint every organ that the slice at z cuts."""
    depth = body.depth(z)
    for loop in loops:
        reach = 1 - ((depth - loop.centre[2]) / loop.axes[2]) ** 2
        if reach <= 0.05:
            continue
        points = body.place(_ring(loop, float(np.sqrt(reach))), depth)
        canvas.outline(points, "ligament", None, 1.0, 0.35, soft_mm=0.3)  # its serosa
        canvas.outline(offset(points, 0.4), loop.tissue, None, m.muscle_pd, 0.95, soft_mm=0.4)
        narrow = 0.9 * min(loop.axes[1], loop.axes[0]) * np.sqrt(reach)
        if loop.content == "collapsed" or narrow <= loop.wall:
            continue
        inner = offset(points, 0.4 + loop.wall)
        speckle = np.clip(1 + loop.mottled * (0.45 * m.rough + 3.0 * (m.muscle_pd - 1)), 0.25, 1.7)
        canvas.outline(inner, loop.content, None, speckle.astype(np.float32), soft_mm=0.6)
        if loop.gas:  # gas rises ventrally: seen as a dark part of the lumen
            middle = inner.mean(0)
            canvas.outline(middle + (inner - middle) * loop.gas + np.array([0, -1.5]), "gas", soft_mm=0.7)


def _ring(loop: Loop, scale: float) -> Points:
    """The outline of a loop in a slice that cuts it at `scale` of its width."""
    radius = scale * (1 + loop.wobble @ _HARMONICS)
    along, across = radius * np.cos(_ANGLE), radius * np.sin(_ANGLE)
    u, v = loop.axes[0] * along, loop.axes[1] * (across + loop.bend * (along**2 - 0.3 * scale**2) / max(scale, 0.2))
    c, s = np.cos(loop.angle), np.sin(loop.angle)
    return np.stack([loop.centre[0] + c * u - s * v, loop.centre[1] + s * u + c * v], axis=1).astype(np.float32)
