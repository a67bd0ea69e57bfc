"""Bowel before the sacrum and beside the psoas: loops with wall, content, stool or gas, drawn per person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.anatomy import Body
from axspa_lib.phantom.materials import Materials
from axspa_lib.phantom.paint import Canvas, offset


@dataclass(frozen=True)
class Loop:
    """One loop: an irregular ellipsoid; lengths in mm."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    angle: float
    wobble: NDArray[np.float64]
    content: str
    gas: float


_CONTENTS = ("bowel", "bright_stool", "muscle", "gas")


def draw(body: Body) -> list[Loop]:
    """Loops of a person: rectum, sigmoid in the pelvis, colon at both sides, small bowel above."""
    rng = np.random.default_rng([body.subject.texture_seed, 7])
    loops = []

    def add(x: float, y: float, z: float, size: float, shares: tuple[float, ...], gas: float) -> None:
        """One more loop, with content drawn by its shares."""
        axes = (size * rng.uniform(0.75, 1.3), size * rng.uniform(0.75, 1.3), size * rng.uniform(0.9, 1.6))
        content = str(rng.choice(_CONTENTS, p=shares))
        loops.append(Loop((x, y, z), axes, float(rng.uniform(0, np.pi)), rng.normal(0, 0.045, 6), content,
                          float(gas * rng.random())))  # fmt: skip

    for y, z in ((48, -9), (66, -4), (84, 2), (99, 0)):
        add(rng.normal(0, 7), y + rng.normal(0, 5), z + rng.normal(0, 3), 16, (0.25, 0.15, 0.45, 0.15), 0.8)
    for _ in range(4):
        add(rng.uniform(-28, 28), rng.uniform(22, 105), rng.uniform(-40, -12), 16, (0.3, 0.25, 0.35, 0.1), 0.6)
    for sign in (-1, 1):
        for step in range(4):
            add(
                sign * rng.normal(92, 6),
                -45 - 24 * step + rng.normal(0, 6),
                rng.normal(8, 16),
                17,
                (0.5, 0.25, 0.1, 0.15),
                0.7,
            )
    for _ in range(14):
        add(rng.uniform(-85, 85), rng.uniform(-150, -48), rng.uniform(-45, -4), 16, (0.45, 0.2, 0.25, 0.1), 0.4)
    return sorted(loops, key=lambda loop: loop.centre[2])


def paint(loops: list[Loop], body: Body, canvas: Canvas, z: float, m: Materials) -> None:
    """Paint every loop that the slice at z cuts."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    harmonics = np.stack(
        [np.cos(k * angle + p) for k, p in ((2, 0.3), (2, 1.7), (3, 0.9), (3, 2.1), (4, 0.2), (5, 1.1))]
    )
    depth = body.depth(z)
    for loop in loops:
        reach = 1 - ((depth - loop.centre[2]) / loop.axes[2]) ** 2
        if reach <= 0.02:
            continue
        radius = np.sqrt(reach) * (1 + loop.wobble @ harmonics)
        c, s = np.cos(loop.angle), np.sin(loop.angle)
        u, v = radius * np.cos(angle) * loop.axes[0], radius * np.sin(angle) * loop.axes[1]
        ring = np.stack([loop.centre[0] + c * u - s * v, loop.centre[1] + s * u + c * v], axis=1)
        points = body.place(ring, depth)
        canvas.outline(points, "bowel_wall", None, m.muscle_pd, 0.9, soft_mm=0.5)
        inner = offset(points, 1.6)
        speckle = np.clip(1 + 0.10 * m.rough + 0.8 * (m.muscle_pd - 1), 0.4, 1.6).astype(np.float32)
        canvas.outline(inner, loop.content, None, speckle, soft_mm=0.6)
        if loop.gas > 0.3 and loop.content != "gas":  # gas rises ventrally: seen as a dark cap of the lumen
            middle = inner.mean(0)
            canvas.outline(
                middle + (inner - middle) * 0.75 * min(loop.gas, 0.8) + np.array([0, -2.0]), "gas", soft_mm=0.7
            )
