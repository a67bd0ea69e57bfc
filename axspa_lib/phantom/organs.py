"""Small things painted from numbers rather than outlines: foramina, remnant discs, discs, vessels, joint margins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import SIDES
from axspa_lib.phantom.anatomy import SIGN, Body, Points, template
from axspa_lib.phantom.materials import Materials
from axspa_lib.phantom.paint import Canvas, offset_line
from axspa_lib.phantom.section import band

#: Small vessels and nerves drawn in the pelvic fat.
STRANDS = 90
_ANGLE = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], axis=1)


@dataclass(frozen=True)
class Details:
    """What differs between people in the small structures; drawn from the person's texture seed.

    Attributes:
        hydration: water of the discs, 0 degenerate to 1.
        holes: factors of the foramina's half axes and their turn (rad), by side.
        flow: opacity of each vessel of the template, by side; 0 where it is not seen.
        calibre: factor of each vessel's radius, by side.
        course: displacement (mm) of each vessel's path points, by side.
        remnants: water of the remnant discs.
        variant_side: on which side a one-sided variant lies.
        strands: small vessels and nerves in the pelvic fat: path, depth, half extent in depth, radius, tissue, opacity.
    """

    hydration: tuple[float, float]
    holes: dict[str, NDArray[np.float64]]
    flow: dict[str, NDArray[np.float64]]
    calibre: dict[str, NDArray[np.float64]]
    course: dict[str, list[NDArray[np.float64]]]
    remnants: NDArray[np.float64]
    variant_side: str
    strands: list[tuple[NDArray[np.float32], float, float, float, str, float]]


def draw_details(body: Body) -> Details:
    """Draw the small differences of one person."""
    rng = np.random.default_rng([body.subject.texture_seed, 11])
    holes, vessels = len(template().raw["foramina"]), len(template().raw["vessels"])
    hydration = np.clip(rng.normal(0.75 - 0.01 * (body.subject.age - 25), 0.3, 2), 0, 1)
    return Details(
        (float(hydration[0]), float(hydration[1])),
        {side: np.stack([rng.uniform(0.75, 1.2, holes), rng.uniform(0.75, 1.2, holes), rng.normal(0, 0.35, holes)])
         for side in SIDES},
        {side: np.where(rng.random(vessels) < 0.8, rng.uniform(0.3, 0.95, vessels), 0.0) for side in SIDES},
        {side: rng.uniform(0.65, 1.15, vessels) for side in SIDES},
        {side: [rng.normal(0, 3.0, np.shape(v["points"])) for v in template().raw["vessels"]] for side in SIDES},
        rng.uniform(0.3, 1.0, len(template().raw["remnants"])),
        SIDES[int(rng.integers(2))],
        [_strand(rng) for _ in range(STRANDS)],
    )  # fmt: skip


def _strand(rng: np.random.Generator) -> tuple[NDArray[np.float32], float, float, float, str, float]:
    start = np.array([rng.normal(0, 34), rng.uniform(-75, 100)])
    heading = rng.normal(0, 0.6) + np.pi / 2 + 0.35 * np.sign(start[0])
    turns = heading + np.cumsum(rng.normal(0, 0.45, 5))
    steps = rng.uniform(4, 11) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    path = np.vstack([start, start + np.cumsum(steps, axis=0)]).astype(np.float32)
    tissue = str(rng.choice(["vein", "artery", "muscle", "nerve"], p=[0.3, 0.25, 0.25, 0.2]))
    depth = float(rng.uniform(-45, 16) + (18 if start[1] < -20 else 0))
    return path, depth, float(rng.uniform(2.5, 7)), float(rng.uniform(0.7, 1.9)), tissue, float(rng.uniform(0.4, 0.95))


def strands(canvas: Canvas, body: Body, details: Details, z: float) -> None:
    """Small vessels and nerves in the fat before the sacrum and beside the spine."""
    depth = body.depth(z)
    for path, middle, half, radius, tissue, opacity in details.strands:
        if abs(depth - middle) < half:
            width = radius * np.sqrt(1 - ((depth - middle) / half) ** 2)
            line = smooth(body.place(path, depth))
            canvas.outline(band(line, -width, width), tissue, None, 1.0, opacity, soft_mm=0.4)


def foramina(canvas: Canvas, body: Body, details: Details, z: float, m: Materials) -> None:
    """Sacral foramina as fat with a root and a vein, and the remnant discs between the sacral segments."""
    depth = body.depth(z)
    for k, hole in enumerate(template().raw["foramina"].values()):
        depths = np.array(sorted(hole["path"]), dtype=float)
        if not depths[0] <= depth <= depths[-1]:
            continue
        x, y = (np.interp(depth, depths, [hole["path"][int(d)][i] for d in depths]) for i in (0, 1))
        for side in SIDES:
            width, height, turn = details.holes[side][:, k]
            c, s = np.cos(turn), np.sin(turn)
            rotation = np.array([[c, s], [-s, c]])
            axes = np.array(hole["axes"]) * np.array([width, height])
            where = np.array([x, y])

            def put(axes: Any, centre: Any, rotation: Any = rotation, sign: float = SIGN[side]) -> Points:
                return body.place(((_CIRCLE * axes) @ rotation + centre) * (sign, 1), depth)

            canvas.outline(put(axes + 0.5, where), "cortex")
            canvas.outline(put(axes, where), "deep_fat", None, m.deep_pd)
            canvas.outline(
                put(1.25 * np.array(hole["root"]) * np.array([width, height]), where + np.array([0.9, -0.6])),
                "nerve",
                None,
                m.marrow_pd,
                0.9,
            )
            canvas.outline(put(1.1, where - np.array([0.5 * axes[0], 0.4 * axes[1]])), "vein", None, 1.0, 0.6)
    for disc, water in zip(template().raw["remnants"], details.remnants, strict=True):
        low, high = disc["z"]
        if low <= depth <= high:
            middle = np.array([0, np.interp(depth, [low, high], disc["y"])])
            half = disc["half_width"] * (0.7 + 0.3 * water)
            canvas.outline(body.place(_CIRCLE * (half, 1.3) + middle, depth), "cortex", None, 1.0, 0.85)
            canvas.outline(body.place(_CIRCLE * (half - 2, 0.6) + middle, depth), "disc_nucleus", None,
                           1.0, float(water))  # fmt: skip


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


def disc(canvas: Canvas, points: Points, water: float) -> None:
    """An intervertebral disc: end plates, annulus, and a nucleus whose water fades with age and towards its border."""
    centre = points.mean(0)
    canvas.outline(points, "cortex")
    canvas.outline(centre + (points - centre) * np.array([0.97, 0.86]), "disc_annulus")
    canvas.outline(centre + (points - centre) * np.array([0.78, 0.55]), "disc_nucleus", None, 1.0, 0.35 + 0.65 * water,
                   soft_mm=1.8)  # fmt: skip


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
            for part in _stretches(width > 0.35):
                vein = vessel["kind"] == "vein"
                wall, lumen = _tube(line[part], width[part] + 0.6), _tube(line[part], width[part])
                canvas.outline(wall, "bowel_wall" if vein else "muscle", None, 1.0, 0.7, soft_mm=0.3)
                canvas.outline(lumen, vessel["kind"], None, 1.0, flow if vein else 0.6 + 0.4 * flow, soft_mm=0.4)


def _stretches(seen: NDArray[np.bool_]) -> list[slice]:
    """Runs of at least three true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], seen, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= 3]


def _tube(line: Points, width: NDArray[np.floating]) -> Points:
    """Outline of a tube of varying half width about a line, with rounded ends."""
    ends = np.concatenate([line[:1] + (line[:1] - line[1:2]), line, line[-1:] + (line[-1:] - line[-2:-1])])
    half = np.concatenate([[0.5 * width[0]], width, [0.5 * width[-1]]])[:, None]
    return np.vstack([offset_line(ends, half), offset_line(ends, -half)[::-1]])


def smooth(points: Points) -> Points:
    """A polyline with its corners rounded."""
    t = np.linspace(0, len(points) - 1, 6 * len(points))
    dense = np.stack([np.interp(t, np.arange(len(points)), points[:, k]) for k in (0, 1)], axis=1)
    padded = np.pad(dense, ((4, 4), (0, 0)), mode="edge")
    kernel = np.ones(9) / 9
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)], axis=1).astype(np.float32)
