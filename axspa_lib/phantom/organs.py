"""Small things painted from numbers rather than outlines: vessels, nerves in the fat, variants of the joint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import SIDES
from axspa_lib.phantom.anatomy import SIGN, Body, template
from axspa_lib.phantom.materials import Materials
from axspa_lib.phantom.paint import Canvas
from axspa_lib.phantom.tubes import smooth, stretches, tube

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


@dataclass(frozen=True)
class Details:
    """What differs between people in the small structures; drawn from the person's texture seed.

    Attributes:
        flow: opacity of each vessel of the template, by side; 0 where it is not seen.
        calibre: factor of each vessel's radius, by side.
        course: displacement (mm) of each vessel's path points, by side.
        variant_side: on which side a one-sided variant lies.
        strands: small vessels and nerves in the pelvic fat.
    """

    flow: dict[str, NDArray[np.float64]]
    calibre: dict[str, NDArray[np.float64]]
    course: dict[str, list[NDArray[np.float64]]]
    variant_side: str
    strands: list[Strand]


def draw_details(body: Body) -> Details:
    """Draw the small differences of one person."""
    rng = np.random.default_rng([body.subject.texture_seed, 11])
    vessels = len(template().raw["vessels"])
    return Details(
        {side: np.where(rng.random(vessels) < 0.8, rng.uniform(0.3, 0.95, vessels), 0.0) for side in SIDES},
        {side: rng.uniform(0.65, 1.15, vessels) for side in SIDES},
        {side: [rng.normal(0, 3.0, np.shape(v["points"])) for v in template().raw["vessels"]] for side in SIDES},
        SIDES[int(rng.integers(2))],
        _draw_strands(rng),
    )  # fmt: skip


#: Where small vessels and nerves lie in the fat: how many, middle and spread of x (mirrored when `pair`), y and depth
#: in mm, heading (rad, pi / 2 caudally) and its spread, length, radius. Beside the vertebrae they are roots and lumbar
#: veins, along the pelvic wall branches of the iliac vessels, before the sacrum the plexus, above it the mesentery.
_BEDS: tuple[dict[str, Any], ...] = (
    {"count": 26, "pair": True, "x": (27, 4), "y": (-34, 30), "z": (8, 14), "to": (1.45, 0.25), "long": (10, 34),
     "radius": (0.6, 1.5)},
    {"count": 34, "pair": True, "x": (50, 6), "y": (50, 24), "z": (-12, 9), "to": (1.4, 0.7), "long": (4, 22),
     "radius": (0.7, 2.0)},
    {"count": 26, "pair": True, "x": (26, 12), "y": (62, 18), "z": (-2, 9), "to": (1.1, 0.35), "long": (8, 30),
     "radius": (0.6, 1.6)},
    {"count": 30, "pair": False, "x": (0, 18), "y": (72, 22), "z": (-4, 10), "to": (1.57, 0.9), "long": (4, 18),
     "radius": (0.45, 1.0)},
    {"count": 40, "pair": False, "x": (0, 40), "y": (-62, 18), "z": (-14, 14), "to": (1.57, 0.7), "long": (10, 40),
     "radius": (0.45, 1.1)},
)  # fmt: skip


def _draw_strands(rng: np.random.Generator) -> list[Strand]:
    return [_strand(rng, bed) for bed in _BEDS for _ in range(bed["count"])]


def _strand(rng: np.random.Generator, bed: dict[str, Any]) -> Strand:
    sign = float(rng.choice((-1.0, 1.0)))
    x = sign * rng.normal(*bed["x"]) if bed["pair"] else rng.normal(*bed["x"])
    heading = rng.normal(*bed["to"])
    steps = rng.uniform(*bed["long"]) / 5
    turns = heading + np.cumsum(rng.normal(0, 0.16, 5))
    path = np.vstack([[0, 0], np.cumsum(steps * np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)])
    path[:, 0] = (sign if bed["pair"] else 1) * path[:, 0] + x
    path[:, 1] += rng.normal(*bed["y"])
    tissue = str(rng.choice(["vein", "artery", "muscle", "nerve"], p=[0.28, 0.2, 0.2, 0.32]))
    depth = rng.normal(*bed["z"]) + np.array([0, rng.normal(0, 0.25) * 5 * steps])
    return Strand(smooth(path), (float(depth[0]), float(depth[1])), float(rng.uniform(1.5, 4.5)),
                  float(rng.uniform(*bed["radius"])), tissue, float(rng.uniform(0.5, 1.0)))  # fmt: skip


def strands(canvas: Canvas, body: Body, drawn: list[Strand], z: float) -> None:
    """Small vessels and nerves, each seen where the slice passes near it."""
    depth = body.depth(z)
    for strand in drawn:
        low, high = sorted(strand.depths)
        if not low - strand.reach < depth < high + strand.reach:
            continue
        line = strand.path
        away = (depth - np.linspace(*strand.depths, len(line))) / strand.reach
        width = strand.radius * np.sqrt(np.maximum(1 - away**2, 0))
        for part in stretches(width > 0.15):
            outline = tube(body.place(line[part], depth), width[part])
            canvas.outline(outline, strand.tissue, None, 1.0, strand.opacity, soft_mm=0.35)


def variants(canvas: Canvas, body: Body, details: Details, z: float, m: Materials) -> None:
    """Normal variants of the joint and of the last lumbar vertebra, where this person has them."""
    depth = body.depth(z)
    for name in sorted(body.subject.variants):
        variant = template().raw["variants"][name]
        for side in SIDES if variant.get("both") else (details.variant_side,):
            for part in variant["parts"]:
                low, high = part["z"]
                reach = 1 - ((depth - (low + high) / 2) / ((high - low) / 2)) ** 2
                if reach <= 0:
                    continue
                c, s = np.cos(np.deg2rad(part["turn"])), np.sin(np.deg2rad(part["turn"]))
                ring = (_CIRCLE * np.array(part["axes"]) * np.sqrt(reach)) @ np.array([[c, s], [-s, c]]) + part["at"]
                ff = {"marrow": m.iliac_ff, "red_marrow": m.body_ff}.get(part["tissue"])
                canvas.outline(body.place(ring * (SIGN[side], 1), depth), part["tissue"], ff, 1.0, soft_mm=0.3)


def vessels(canvas: Canvas, body: Body, details: Details, z: float) -> None:
    """Vessels as tubes in space: a slice shows the stretch of a tube that it cuts, tapering where the tube leaves."""
    depth = body.depth(z)
    for k, vessel in enumerate(template().raw["vessels"]):
        reach = vessel["radius"] + 4.0
        if not min(vessel["z"]) - reach < depth < max(vessel["z"]) + reach:
            continue
        path = np.asarray(vessel["points"], dtype=np.float32)
        for side in SIDES:
            flow, radius = float(details.flow[side][k]), vessel["radius"] * float(details.calibre[side][k])
            if flow == 0:
                continue
            course = details.course[side][k]
            line = smooth(body.place((path + course) * (SIGN[side], 1), depth))
            t = np.linspace(0, 1, len(line))
            swing = 2.0 * np.sin(2 * np.pi * (1.4 * t + course[0, 0])) * min(1.0, radius / 2)
            away = depth - (vessel["z"][0] + (vessel["z"][1] - vessel["z"][0]) * t + swing)
            width = np.sqrt(np.maximum(radius**2 - away**2, 0))
            for part in stretches(width > 0.35):
                kind = vessel["kind"]
                vein = kind == "vein"
                wall, lumen = tube(line[part], width[part] + 0.6), tube(line[part], width[part])
                if kind != "nerve":
                    canvas.outline(wall, "bowel_wall" if vein else "muscle", None, 1.0, 0.7, soft_mm=0.3)
                canvas.outline(lumen, kind, None, 1.0, flow if vein else 0.6 + 0.4 * flow, soft_mm=0.4)
