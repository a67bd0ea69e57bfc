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

#: Harmonics of a foramen's outline, by angle.
_BEAN = ((2, 0.0), (2, 0.8), (3, 0.4), (3, 1.6), (4, 0.9))
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
        hydration: water of the discs, 0 degenerate to 1.
        holes: factors of the foramina's half axes and their turn (rad), by side.
        flow: opacity of each vessel of the template, by side; 0 where it is not seen.
        calibre: factor of each vessel's radius, by side.
        course: displacement (mm) of each vessel's path points, by side.
        remnants: water of the remnant discs.
        variant_side: on which side a one-sided variant lies.
        bean: irregularity of each foramen's outline, by side: amplitudes of its harmonics.
        root: where the root lies in each foramen, over its half axes, by side.
        strands: small vessels and nerves in the pelvic fat.
    """

    hydration: tuple[float, float]
    holes: dict[str, NDArray[np.float64]]
    flow: dict[str, NDArray[np.float64]]
    calibre: dict[str, NDArray[np.float64]]
    course: dict[str, list[NDArray[np.float64]]]
    remnants: NDArray[np.float64]
    variant_side: str
    bean: dict[str, NDArray[np.float64]]
    root: dict[str, NDArray[np.float64]]
    strands: list[Strand]


def draw_details(body: Body) -> Details:
    """Draw the small differences of one person."""
    rng = np.random.default_rng([body.subject.texture_seed, 11])
    holes, vessels = len(template().raw["foramina"]), len(template().raw["vessels"])
    hydration = np.clip(rng.normal(0.75 - 0.01 * (body.subject.age - 25), 0.3, 2), 0, 1)
    return Details(
        (float(hydration[0]), float(hydration[1])),
        {side: np.stack([rng.uniform(0.8, 1.15, holes), rng.uniform(0.8, 1.15, holes), rng.normal(0.55, 0.3, holes)])
         for side in SIDES},
        {side: np.where(rng.random(vessels) < 0.8, rng.uniform(0.3, 0.95, vessels), 0.0) for side in SIDES},
        {side: rng.uniform(0.65, 1.15, vessels) for side in SIDES},
        {side: [rng.normal(0, 3.0, np.shape(v["points"])) for v in template().raw["vessels"]] for side in SIDES},
        rng.uniform(0.3, 1.0, len(template().raw["remnants"])),
        SIDES[int(rng.integers(2))],
        {side: rng.normal(0, 0.11, (len(_BEAN), holes)) for side in SIDES},
        {side: rng.normal([[0.25], [0.05]], 0.2, (2, holes)) for side in SIDES},
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
        for part in _stretches(width > 0.15):
            outline = _tube(body.place(line[part], depth), width[part])
            canvas.outline(outline, strand.tissue, None, 1.0, strand.opacity, soft_mm=0.35)


def foramina(canvas: Canvas, body: Body, details: Details, z: float, m: Materials) -> None:
    """Sacral foramina as fat with a root and a vein, and the remnant discs between the sacral segments."""
    depth = body.depth(z)
    for k, hole in enumerate(template().raw["foramina"].values()):
        depths = np.array(sorted(hole["path"]), dtype=float)
        if not depths[0] <= depth <= depths[-1]:
            continue
        where = np.array([np.interp(depth, depths, [hole["path"][int(d)][i] for d in depths]) for i in (0, 1)])
        for side in SIDES:
            _foramen(canvas, body, details, m, depth, k, side, where)
    for disc, water in zip(template().raw["remnants"], details.remnants, strict=True):
        low, high = disc["z"]
        if low <= depth <= high:
            middle = np.array([0, np.interp(depth, [low, high], disc["y"])])
            half = disc["half_width"] * (0.7 + 0.3 * water)
            canvas.outline(body.place(_CIRCLE * (half, 1.3) + middle, depth), "cortex", None, 1.0, 0.85)
            canvas.outline(body.place(_CIRCLE * (half - 2, 0.6) + middle, depth), "disc_nucleus", None,
                           1.0, float(water))  # fmt: skip


def _foramen(
    canvas: Canvas, body: Body, details: Details, m: Materials, depth: float, k: int, side: str, where: Any
) -> None:
    """One foramen: fatter marrow about it, a rim that is thick on one side, fat, the root on its way out, and veins.

    The canal narrows and turns from slice to slice; its root lies at one side and passes the canal obliquely.
    """
    hole = list(template().raw["foramina"].values())[k]
    ends = sorted(hole["path"])
    along = (depth - ends[0]) / (ends[-1] - ends[0])  # 0 ventral, 1 dorsal
    width, height, turn = details.holes[side][:, k]
    axes = np.array(hole["axes"]) * (width, height) * (1.0 - 0.2 * along)
    c, s = np.cos(turn - 0.5 * along), np.sin(turn - 0.5 * along)
    rotation = np.array([[c, s], [-s, c]])
    waves = np.stack([np.cos(n * _ANGLE + p + 1.5 * along) for n, p in _BEAN])
    shape = _CIRCLE * (1 + details.bean[side][:, k] @ waves)[:, None]
    root = details.root[side][:, k] * axes + (0.35 - 0.7 * along) * axes * (1, 0.6)

    def put(ring: Any, centre: Any = (0, 0)) -> Points:
        return body.place(((ring + centre) @ rotation + where) * (SIGN[side], 1), depth)

    canvas.outline(put(shape * (axes + 3.5)), "yellow_marrow", None, m.marrow_pd, 0.35, soft_mm=2.2)
    canvas.outline(put(shape * (axes + 0.5), (-0.45, 0.35)), "cortex", None, 1.0, 0.9, soft_mm=0.3)
    canvas.outline(put(shape * axes), "deep_fat", None, m.deep_pd, soft_mm=0.3)
    oval = np.array(hole["root"]) * (0.95 * width, 0.85 * height)
    canvas.outline(put(_CIRCLE * oval, root), "nerve", None, m.marrow_pd, 0.9, soft_mm=0.4)
    canvas.outline(put(_CIRCLE * (0.5, 0.32) * axes[0] * 0.5, (-0.5 * axes[0], -0.35 * axes[1])), "vein", None, 1.0,
                   float(details.flow[side][k]) * 0.8, soft_mm=0.4)  # fmt: skip


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
                kind = vessel["kind"]
                vein = kind == "vein"
                wall, lumen = _tube(line[part], width[part] + 0.6), _tube(line[part], width[part])
                if kind != "nerve":
                    canvas.outline(wall, "bowel_wall" if vein else "muscle", None, 1.0, 0.7, soft_mm=0.3)
                canvas.outline(lumen, kind, None, 1.0, flow if vein else 0.6 + 0.4 * flow, soft_mm=0.4)


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
