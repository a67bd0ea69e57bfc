"""Vessels, nerves, nodes and fascia of the pelvis: tubes that wind and branch, cut by a slice with a thickness."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import SHIFT, Canvas, offset_line
from axspa_lib.phantom.painters.tubes import stretches
from axspa_lib.phantom.person.anatomy import SIGN, Body, template

#: Distance of the points along a tube, mm.
STEP = 1.3
#: Thinnest branch that is followed, radius in mm: less is far below a pixel.
THINNEST = 0.4
#: From this radius (mm) on a vessel shows its wall.
WALLED = 1.8
#: Share of the trunks thinner than `LARGE` (mm) that are seen in a person: the others run elsewhere or are too thin.
SEEN, LARGE = 0.85, 2.5
#: Over which share of its length either end of a small trunk becomes thin.
TAPER = 0.3
#: Fascicles of a nerve with fat between: their distance from its middle and half width, over its radius.
FASCICLES, FASCICLE = (-0.66, 0.0, 0.66), 0.24
_LAYERS = ("fascia", "wall", "vein", "artery", "nerve")
#: Steps in which a tube that leaves the slab fades.
_FADES = 6


@dataclass(frozen=True)
class Tubes:
    """Tubes point after point in the scanner's frame, mm.

    Attributes:
        points: `(n, 3)`; `normal` to the tube in the slice and `radius` at each.
        stream: how far the fast stream lies to a side at each point, -1 to 1.
        reach: how far either way a sheet goes on in depth at each point, mm; 0 for a tube.
        tube: to which tube a point belongs.
        kind: of each tube: artery, vein, nerve, solid (lymph nodes, ureters) or fascia.
        slow: how much of a tube's blood is slow enough to give signal, 0 to 1.
    """

    points: NDArray[np.float32]
    normal: NDArray[np.float32]
    radius: NDArray[np.float32]
    stream: NDArray[np.float32]
    reach: NDArray[np.float32]
    tube: NDArray[np.int64]
    kind: list[str]
    slow: NDArray[np.float64]


@dataclass
class _Branch:
    path: NDArray[np.float64]
    radius: NDArray[np.float64]
    kind: str
    reach: float = 0.0


def draw(body: Body) -> tuple[Tubes, Tubes]:
    """Tubes of a person that muscle and bowel cover (branches, and trunks marked so), and those they do not."""
    rng = np.random.default_rng([body.subject.texture_seed, 45])
    trunks: list[_Branch] = []
    twigs: list[_Branch] = []
    paths: dict[tuple[str, float], NDArray[np.float64]] = {}
    for vessel in template().raw["vessels"]:
        for sign in (*SIGN.values(),) * vessel.get("number", 1) if vessel.get("pair") else (1.0,):
            if rng.random() < SEEN or vessel["radius"] > LARGE:
                path = _course(rng, vessel) * (sign, 1, 1)
                parent = paths.get((vessel.get("out_of", ""), sign), paths.get((vessel.get("out_of", ""), 1.0)))
                if parent is not None:  # it begins on its parent, where that comes nearest
                    away = parent[np.argmin(np.linalg.norm(parent - path[0], axis=1))] - path[0]
                    path += away * np.linspace(1, 0, len(path))[:, None] ** 2
                paths[vessel["name"], sign] = path
                radius = vessel["radius"] * rng.uniform(0.7, 1.15) * _swelling(rng, len(path))
                if vessel["radius"] < LARGE:  # it comes out of smaller ones and ends in them
                    along = np.linspace(0, 1, len(path))
                    radius *= np.sqrt(np.clip(np.minimum(along, 1 - along) / TAPER, 0.1, 1))
                trunk = _Branch(path, radius, vessel["kind"], vessel.get("reach", 0.0))
                (twigs if vessel.get("covered") else trunks).append(trunk)
                _branch(rng, trunk, rng.poisson(0.6 * vessel.get("twigs", 0)), twigs)
                twigs += [_node(rng, trunk) for _ in range(rng.poisson(vessel.get("nodes", 0)))]
    return _placed(rng, body, twigs), _placed(rng, body, trunks)


def _course(rng: np.random.Generator, vessel: dict[str, Any]) -> NDArray[np.float64]:
    """The path of a trunk in one person: its template moved and wound, `(n, 3)`."""
    points = np.asarray(vessel["points"], dtype=float)
    t = np.linspace(0, 1, len(points))
    depth = np.interp(t, np.linspace(0, 1, len(vessel["z"])), vessel["z"])
    control = np.column_stack([points, depth]) + rng.normal(0, (3.0, 3.0, 1.0), (len(points), 3))
    control += rng.normal(0, 1, 3) * vessel.get("spread", (0, 0, 0))
    length = float(np.linalg.norm(np.diff(control, axis=0), axis=1).sum())
    dense = np.linspace(0, 1, max(4, int(length / STEP)))
    bent = np.stack([np.interp(dense, t, column) for column in control.T], axis=1)
    path = np.asarray(cv2.blur(bent, (1, 9), borderType=cv2.BORDER_REPLICATE), np.float64)  # without its corners
    for wave in rng.uniform(25, 70, 3):
        sway = rng.normal(0, wave / 50, 3)
        path += sway * np.sin(2 * np.pi * length / wave * dense + rng.uniform(0, 6))[:, None]
    return path


def _swelling(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Factor of the radius along a tube, whose calibre is never even."""
    along = STEP * np.arange(count)
    return 1 + sum(0.05 * np.sin(2 * np.pi * along / w + rng.uniform(0, 6)) for w in rng.uniform(30, 80, 2))


def _branch(rng: np.random.Generator, parent: _Branch, count: int, out: list[_Branch]) -> None:
    """Grow branches from a tube, and from them their own; radii by Murray's law, so that the parent narrows.

    Murray 1926: the cube of the parent's radius is the sum of its branches'.
    """
    out_of = np.sort(rng.integers(1, max(2, len(parent.path) - 1), count))
    for place in out_of:
        ratio = min(rng.uniform(0.35, 0.7), 2.0 / float(parent.radius[place]))
        radius = float(parent.radius[place]) * ratio
        if radius < THINNEST:
            continue
        parent.radius[place:] *= max(0.85, (1 - ratio**3) ** (1 / 3))
        ahead = parent.path[min(place + 1, len(parent.path) - 1)] - parent.path[place - 1]
        ahead /= max(float(np.linalg.norm(ahead)), 1e-6)
        aside = rng.normal(0, (1.0, 1.0, 0.3))
        heading = (ahead + 0.9 * aside / np.linalg.norm(aside)) * (1, 1, 0.5)
        steps = int(rng.uniform(0.6, 1.4) * (14 + 22 * radius) / STEP) + 2
        turns = heading + np.cumsum(rng.normal(0, (0.11, 0.11, 0.05), (steps, 3)), axis=0)
        turns *= STEP / np.linalg.norm(turns, axis=1, keepdims=True)
        path = parent.path[place] + np.vstack([np.zeros(3), np.cumsum(turns, axis=0)])
        child = _Branch(path, radius * _swelling(rng, len(path)) * np.linspace(1, 0.5, len(path)), parent.kind,
                        parent.reach)  # fmt: skip
        out.append(child)
        _branch(rng, child, rng.poisson(0.9 * radius), out)


def _node(rng: np.random.Generator, trunk: _Branch) -> _Branch:
    """A lymph node beside a trunk: 5 to 10 mm long, 3 to 6 mm thick."""
    place = int(rng.integers(1, len(trunk.path) - 1))
    aside = rng.normal(size=3)
    along = trunk.path[place + 1] - trunk.path[place - 1]
    length = rng.uniform(1.5, 5)
    t = np.linspace(-0.5, 0.5, 5)
    centre = trunk.path[place] + aside / np.linalg.norm(aside) * (trunk.radius[place] + rng.uniform(2, 5))
    path = centre + length * t[:, None] * along / np.linalg.norm(along)
    return _Branch(path, rng.uniform(1.5, 2.8) * np.sqrt(1 - 2 * t**2), "solid")


def _placed(rng: np.random.Generator, body: Body, branches: list[_Branch]) -> Tubes:
    """The branches as they lie in this person's slices."""
    path = np.concatenate([branch.path for branch in branches])
    depth = path[:, 2].astype(np.float32)
    points = np.column_stack([body.place(path[:, :2], depth), body.z(depth)]).astype(np.float32)
    return Tubes(
        points,
        (points[:, :2] - offset_line(points[:, :2], 1.0)).astype(np.float32),
        np.concatenate([branch.radius for branch in branches]).astype(np.float32),
        np.sin(0.08 * np.arange(len(path)) + np.sin(0.03 * np.arange(len(path)))).astype(np.float32),
        np.repeat(
            np.array([branch.reach for branch in branches], np.float32), [len(branch.path) for branch in branches]
        ),
        np.repeat(np.arange(len(branches)), [len(branch.path) for branch in branches]),
        [branch.kind for branch in branches],
        rng.uniform(0.35, 1.0, len(branches)) ** 1.3,
    )


def paint(canvas: Canvas, tubes: Tubes, z: float, slab: float) -> None:
    """Paint what lies within a slab of thickness `slab` mm about z: thin tubes fill it only in part."""
    off = np.maximum(np.abs(tubes.points[:, 2] - np.float32(z)) - tubes.reach, 0)
    # half widths where a tube touches the slab, at its middle, and where it fills it
    width, middle, full = (np.sqrt(np.maximum(tubes.radius**2 - np.maximum(off + d * slab / 2, 0) ** 2, 0))
                           for d in (-1, 0, 1))  # fmt: skip
    filled = np.clip(np.minimum(slab / 2, off + tubes.radius) - np.maximum(-slab / 2, off - tubes.radius), 0, slab)
    seen = np.where(width > 0.2, tubes.tube, -1)
    edges = np.flatnonzero(np.diff(np.concatenate([[-1], seen, [-1]]))).tolist()
    unit = (1 << SHIFT) / canvas.grid.pixel
    centre = canvas.grid.to_pixels(tubes.points[:, :2]) * np.float32(1 << SHIFT)
    share = np.minimum(1.0, 1.1 * filled / slab)
    fade = np.ceil(share * _FADES).astype(int)
    shapes: list[tuple[float, str, NDArray[np.int32] | None, tuple[int, int], int]] = []

    def add(
        layer: str, part: slice, half: NDArray[np.floating], opacity: float, aside: NDArray[np.floating] | float = 0
    ) -> None:
        """Paint a stretch of tube, or a circle where upright; `aside`: distance off its middle, in half widths."""
        line = centre[part]
        line = line + (aside * unit * half)[:, None] * tubes.normal[part]
        x, y = line[len(line) // 2].astype(int).tolist()
        if len(line) < 3 or np.abs(line[-1] - line[0]).max() < 1.6 * unit * half[len(half) // 2]:
            shapes.append((opacity * float(share[part].max()), layer, None, (x, y), int(unit * half.max())))
            return
        side = (unit * half)[:, None] * tubes.normal[part]
        left, right = (line + side).astype(np.int32), (line - side).astype(np.int32)
        filling = opacity * share[part]
        steps = np.flatnonzero(np.diff(fade[part])) + 1
        for a, b in pairwise([0, *steps.tolist(), len(line)]):  # where a tube leaves the slab it fades
            outline = np.concatenate([left[a : b + 1], right[a : b + 1][::-1]])
            shapes.append((float(filling[(a + b) // 2]), layer, outline, (x, y), 0))

    for a, b in pairwise(edges):
        if seen[a] < 0:
            continue
        tube, part = int(seen[a]), slice(a, b)
        half, kind, slow = width[part], tubes.kind[tube], float(tubes.slow[tube])
        layer = "nerve" if kind == "solid" else kind
        strength = 1 - 0.4 * slow * (kind == "artery")
        if tubes.radius[(a + b) // 2] < WALLED:
            add(layer, part, half, strength)
            if kind == "vein":
                add("artery", part, half, 0.7 * (1 - slow))
        elif kind == "nerve":
            add(layer, part, half, 0.45)
            for aside in FASCICLES:
                add(layer, part, np.float32(FASCICLE) * half, 0.9, aside / FASCICLE)
        else:
            if layer != "nerve":
                add("wall", part, half + np.float32(0.5), 0.7)
            for level, wide in ((0.4, width), (0.75, middle), (1.0, full)):
                for run in stretches(wide[part] > 0.2):
                    add(layer, slice(a + run.start, a + run.stop), wide[part][run], level * strength)
            if kind == "vein":  # its midstream flows too fast to give signal
                add("artery", part, half, 0.4 * (1 - slow))
                add("artery", part, np.float32(0.45) * half, 0.9 * (1 - slow), 0.5 * tubes.stream[part])
    layers = {name: np.zeros((canvas.grid.size, canvas.grid.size), np.uint8) for name in _LAYERS}
    for opacity, layer, outline, (x, y), radius in sorted(shapes, key=lambda shape: shape[0]):
        if outline is None:
            cv2.circle(layers[layer], (x, y), radius, int(255 * opacity), -1, cv2.LINE_AA, SHIFT)
        else:
            cv2.fillPoly(layers[layer], [outline], int(255 * opacity), lineType=cv2.LINE_AA, shift=SHIFT)
    for drawn in layers.values():  # vessels beat
        cv2.GaussianBlur(drawn, (5, 5), 0, dst=drawn)
    canvas.dab(layers["fascia"], "ligament", 0.85)
    canvas.dab(layers["wall"], "bowel_wall", 0.75)
    canvas.dab(layers["vein"], "vein", 1.0, 1.1)
    canvas.dab(layers["artery"], "artery", 0.88)
    canvas.dab(layers["nerve"], "nerve", 1.0)
