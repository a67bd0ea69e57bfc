"""Small things painted from numbers rather than outlines: nerves and small vessels, variants of the joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.tubes import stretches, tube
from axspa_lib.phantom.person.anatomy import SIGN, Body, template
from axspa_lib.study.labels import SIDES

_ANGLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


@dataclass(frozen=True)
class Strand:
    """A small vessel or nerve: path in the slice, depth of its ends, how far in depth it shows, radius (all in mm)."""

    path: NDArray[np.float32]
    depths: tuple[float, float]
    reach: float
    radius: float
    tissue: str
    opacity: float


def draw_variant_side(body: Body) -> str:
    """On which side a person's one-sided variant lies."""
    return SIDES[int(np.random.default_rng([body.subject.texture_seed, 11]).integers(2))]


def strands(canvas: Canvas, body: Body, drawn: list[Strand], z: float, m: Materials) -> None:
    """Paint the small vessels and nerves, each seen where the slice passes near it; they are taut."""
    depth = body.depth(z)
    for strand in drawn:
        low, high = sorted(strand.depths)
        if not low - strand.reach < depth < high + strand.reach:
            continue
        line = strand.path
        away = (depth - np.linspace(*strand.depths, len(line))) / strand.reach
        width = strand.radius * np.sqrt(np.maximum(1 - away**2, 0))
        for part in stretches(width > 0.15):
            outline = tube(m.taut(body.place(line[part], depth), canvas.grid), width[part])
            canvas.outline(outline, strand.tissue, None, 1.0, strand.opacity, soft_mm=0.35)


def variants(canvas: Canvas, body: Body, one: str, z: float, m: Materials) -> None:
    """Normal variants of the joint and of the last lumbar vertebra, where this person has them;
    `one` is the side of one-sided ones."""
    depth = body.depth(z)
    for name in sorted(body.subject.variants):
        variant = template().raw["variants"][name]
        for side in SIDES if variant.get("both") else (one,):
            for part in variant["parts"]:
                low, high = part["z"]
                reach = 1 - ((depth - (low + high) / 2) / ((high - low) / 2)) ** 2
                if reach <= 0:
                    continue
                c, s = np.cos(np.deg2rad(part["turn"])), np.sin(np.deg2rad(part["turn"]))
                ring = (_CIRCLE * np.array(part["axes"]) * np.sqrt(reach)) @ np.array([[c, s], [-s, c]]) + part["at"]
                ff = {"marrow": m.iliac_ff, "red_marrow": m.body_ff}.get(part["tissue"])
                pd = 1.0 if ff is None else m.marrow_pd
                canvas.outline(body.place(ring * (SIGN[side], 1), depth), part["tissue"], ff, pd, soft_mm=0.7)
