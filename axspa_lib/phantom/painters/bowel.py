"""Viscera before the sacrum and beside the psoas: crowded bowel loops, rectum, bladder, uterus, glands."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, offset
from axspa_lib.phantom.drawing.texture import Field
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.tubes import rounded
from axspa_lib.phantom.person.anatomy import Body, Points


@dataclass(frozen=True)
class Loop:
    """A stretch of a hollow organ: a bent, irregular ellipsoid; lengths in mm.

    Attributes:
        centre, axes: x, y and depth; the first axis is the long one in the slice, turned by `angle` (rad).
        bend: how far the ends of the long axis lie off its middle, over the short axis.
        wobble: amplitude of its irregularities; the last are the folds of its wall.
        wall: thickness; `tissue` of the wall, `content` of the lumen.
        mucosa: opacity of the bright lining; `motion` the blur of its border by breathing and peristalsis.
        gas: share of the lumen's width filled with gas; `mottled` how uneven its content is, `dense` how
            much of it gives signal; `sheets` which parts of the outline of a fascia are seen;
            `folded` how far folds of the wall reach into the lumen, over its width.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    angle: float
    bend: float
    wobble: NDArray[np.float64]
    wall: float
    tissue: str
    content: str
    mucosa: float = 0.0
    motion: float = 0.4
    gas: float = 0.0
    mottled: float = 0.0
    dense: float = 1.0
    sheets: tuple[slice, ...] = ()
    folded: float = 0.0


@dataclass(frozen=True)
class Cut:
    """A loop in a slice: its outline (mm), inward normals, share of its width, and the blur of its border in mm."""

    points: Points
    inward: Points
    scale: float
    soft: float

    def inner(self, distance: float) -> tuple[Points, Points]:
        """Return the outline moved inward by a distance in mm, and its middle."""
        inside = self.points + np.float32(distance) * self.inward
        return inside, inside.mean(0)


#: Contents of the gut and their shares: colon, small bowel. A collapsed gut has a star of mucosa for a lumen.
_CONTENTS = ("stool", "bowel", "chyme", "bright_stool", "collapsed", "gas")
_COLON, _SMALL = (0.36, 0.14, 0.09, 0.13, 0.18, 0.10), (0.04, 0.40, 0.11, 0.18, 0.23, 0.04)
#: Thickness of the lining that is bright on STIR, mm, and half the slab within which a border is seen as one, mm.
_LINING_MM, _SLAB_MM = 0.9, 0.6
_ANGLE = np.linspace(0, 2 * np.pi, 56, endpoint=False)
_HARMONICS = np.stack([np.cos(k * _ANGLE + p) for k, p in ((2, 0.3), (2, 1.7), (3, 0.9), (3, 2.1), (5, 0.2), (9, 1.1))])
_ROUGH = np.array([0.08, 0.08, 0.05, 0.05, 0.022, 0.008])
#: The bladder's irregularity, without folds.
_SMOOTH = np.array([0.04, 0.04, 0.025, 0.025, 0.0, 0.0])
#: Folds of a collapsed lumen, by angle: amplitudes of these harmonics are drawn with each loop's irregularities.
_FOLDS = np.stack([np.cos(k * _ANGLE + p) for k, p in ((2, 0.4), (2, 1.9), (3, 0.3), (3, 2.2), (5, 1.2), (7, 0.1))])


def _gut(
    rng: np.random.Generator, place: tuple[float, float, float], size: float, shares: tuple[float, ...],
    long: tuple[float, float], folds: float,
) -> Loop:  # fmt: skip
    """A loop of gut with content drawn by its shares; `size` half its width, `long` the range of its elongation."""
    width = size * rng.uniform(0.75, 1.25)
    axes = (width * rng.uniform(*long), width, width * rng.uniform(1.0, 1.8))
    content = str(rng.choice(_CONTENTS, p=shares))
    wobble = rng.normal(0, _ROUGH) * np.array([1, 1, 1, 1, folds, folds])
    gas = float(rng.uniform(0.3, 0.7)) if content in ("stool", "bowel") and rng.random() < 0.2 else 0.0
    return Loop(place, axes, float(rng.uniform(0, np.pi)), float(rng.normal(0, 0.22)), wobble,
                float(rng.uniform(1.4, 2.6)), "bowel_wall", content, float(rng.uniform(0.0, 0.75)),
                float(rng.uniform(0.4, 1.4)), gas, float(rng.uniform(0.1, 0.5)),
                float(rng.uniform(0.8, 1.35)), folded=float(rng.uniform(0.05, 0.4)) * (folds > 1))  # fmt: skip


#: Half width of the mesorectum, mm.
_MESORECTUM_MM = (19.0, 34.0)


def draw(body: Body) -> list[Loop]:
    """Viscera of a person, from ventral to dorsal, as they lie in the slices."""
    rng = np.random.default_rng([body.subject.texture_seed, 7])
    organs = [_mesorectum(rng), *_abdomen(rng), *_pelvis(rng, body.subject.sex == "F")]
    centres = np.array([loop.centre for loop in organs], dtype=np.float32)
    placed = np.column_stack([body.place(centres[:, :2], centres[:, 2]), body.z(centres[:, 2])]).astype(float)
    return [replace(organs[k], centre=tuple(placed[k].tolist())) for k in np.argsort(placed[:, 2])]


def _mesorectum(rng: np.random.Generator) -> Loop:
    """The fascia about the fat of the rectum, seen in parts."""
    axes = (rng.uniform(36, 52), rng.uniform(*_MESORECTUM_MM), 26.0)
    ends = rng.integers(0, 9, 4)
    sheets = (slice(3 + ends[0], 26 - ends[1]), slice(31 + ends[2], 54 - ends[3]))
    middle = (rng.normal(0, 4), 76.0, -2.0)
    return Loop(middle, axes, np.pi / 2, 0.0, rng.normal(0, 2 * _ROUGH), 0.6, "fascia", "", sheets=sheets)


def _abdomen(rng: np.random.Generator) -> list[Loop]:
    """Colon in the flanks and small bowel above: as many loops as touch each other, down to the fat on the muscles."""
    out, kept = [], np.zeros((0, 4))
    margin, spread, breath = rng.uniform(-2, 11), rng.uniform(0.6, 0.85), rng.uniform(0.8, 2.5)
    for sign in (-1, 1):  # ascending and descending colon before the wing of the ilium
        size = rng.uniform(13, 24)
        for step in range(4):
            place = (sign * rng.normal(88, 4), -46 - 1.3 * size * step, rng.normal(2, 9))
            out.append(_gut(rng, place, size, _COLON, (1.0, 1.5), 2.0))
            kept = np.vstack([kept, (*place, size)])
    for _ in range(700):
        x, z, size = rng.uniform(-100, 100), rng.uniform(-52, 30), rng.uniform(8, 15)
        place = (x, _floor(x, z) - margin - size - rng.uniform(0, 1) ** 1.3 * 75, z)
        gap = np.linalg.norm((kept[:, :3] - place) / (1, 1, 1.3), axis=1) - spread * (kept[:, 3] + size)
        if gap.min() > 0:
            kept = np.vstack([kept, (*place, size)])
            out.append(_gut(rng, place, size, _SMALL, (1.1, 2.2), 2.5))
    return [replace(loop, motion=breath * loop.motion) for loop in out]


def _floor(x: float, z: float) -> float:
    """Lowest y of the peritoneum: over the spine, the psoas, and in the iliac fossa, mm."""
    if abs(x) < 26:
        return float(np.clip(-25 - 3.0 * (z + 22), -110, 5))
    return -44 - 0.85 * z if abs(x) < 74 else -34 - 0.4 * max(z, -30)


def _pelvis(rng: np.random.Generator, woman: bool) -> list[Loop]:
    """Organs that hang into the pelvis: sigmoid and small bowel, the bladder, and the organs of the sex."""
    out = []
    for _ in range(rng.poisson(2.5)):
        place = (rng.uniform(-26, 26), rng.uniform(35, 95), rng.uniform(-36, -14))
        out.append(_gut(rng, place, 12, _COLON, (1.2, 2.2), 1.5))
    for _ in range(rng.poisson(4)):
        place = (rng.uniform(-30, 30), rng.uniform(8, 80), rng.uniform(-42, -18))
        out.append(_gut(rng, place, 10, _SMALL, (1.2, 2.6), 2.0))
    if rng.random() < 0.5:  # the bladder's dome reaches the ventral slices
        size = rng.uniform(0.5, 1.2)
        place = (rng.normal(0, 6), rng.normal(94, 8), rng.normal(-36, 5))
        out.append(Loop(place, (33 * size, 22 * size, 22 * size), rng.normal(0, 0.1), 0.0, rng.normal(0, _SMOOTH),
                        2.2, "muscle", "urine"))  # fmt: skip
    if woman:
        size, x = rng.uniform(0.8, 1.2), rng.normal(0, 7)
        out.append(Loop((x, rng.normal(66, 7), rng.normal(-23, 5)), (27 * size, 19 * size, 17 * size),
                        rng.normal(0, 0.5), rng.normal(0, 0.1), rng.normal(0, 0.5 * _ROUGH), 9.0 * size, "uterus",
                        "mucosa"))  # fmt: skip
        for sign in (-1, 1):  # ovaries with follicles
            centre = np.array([sign * rng.normal(33, 5), rng.normal(52, 9), rng.normal(-16, 5)])
            out.append(Loop(tuple(centre), (15, 9, 9), rng.uniform(0, 3), 0.0, rng.normal(0, _ROUGH), 99, "uterus", ""))
            out += [_cyst(rng, centre + rng.normal(0, (6, 4, 4)), rng.uniform(1.5, 5)) for _ in range(rng.poisson(4))]
    else:  # seminal vesicles
        middle = np.array([0, rng.normal(103, 5), rng.normal(-8, 3)])
        out += [_cyst(rng, middle + (sign * (5 + 3.0 * k), rng.normal(-0.8 * k, 2.5), rng.normal(0, 3)),  # noqa: RUF005
                      rng.uniform(1.5, 3.5)) for sign in (-1, 1) for k in range(3)]  # fmt: skip
    return out


def _cyst(rng: np.random.Generator, centre: NDArray[np.float64], size: float) -> Loop:
    """A small sac of fluid."""
    x, y, z = centre.tolist()
    axes = (size * rng.uniform(1, 1.6), size, size * 1.3)
    return Loop((x, y, z), axes, rng.uniform(0, 3), 0.0, rng.normal(0, _ROUGH), 0.7, "bowel_wall", "chyme")


def grain(m: Materials) -> Field:
    """Unevenness of what the bowel holds in a slice, by its noise of all grains."""
    return (0.1 * m.rough + 2.0 * (m.muscle_pd - 1) + 2.0 * (m.marrow_pd - 1)).astype(np.float32)


def paint(loops: list[Loop], canvas: Canvas, z: float, uneven: Field, m: Materials) -> None:
    """Paint every organ that the slice at z cuts; `uneven` as of `grain`."""
    middle, half = (canvas.grid.x.mean(), canvas.grid.y.mean()), canvas.grid.size * canvas.grid.pixel / 2
    for loop in loops:
        off = (z - loop.centre[2]) / loop.axes[2]
        away = max(abs(loop.centre[0] - middle[0]), abs(loop.centre[1] - middle[1]))
        if off**2 > 0.97 or away >= half + 1.4 * loop.axes[0]:  # not in the slice, or beyond the field of view
            continue
        cut = _cut(loop, float(off))
        _wall(canvas, loop, cut, m)
        if loop.content and 0.9 * min(loop.axes[:2]) * cut.scale > loop.wall:
            _lining(canvas, loop, cut)
            _content(canvas, loop, cut, uneven)


def _cut(loop: Loop, off: float) -> Cut:
    """The outline of a loop cut at `off` of its depth; near its dome the border is oblique and so soft."""
    scale = float(np.sqrt(1 - off**2))
    points = _ring(loop, scale)
    slope = loop.axes[1] / loop.axes[2] * abs(off) / scale
    soft = float(np.hypot(loop.motion, min(_SLAB_MM * slope, 3.0)))
    return Cut(points, offset(points, 1.0) - points, scale, soft)


def _wall(canvas: Canvas, loop: Loop, cut: Cut, m: Materials) -> None:
    if loop.tissue != "fascia":
        canvas.outline(cut.points, loop.tissue, None, m.muscle_pd * np.float32(loop.dense), 0.97, cut.soft)
        return
    inside, _ = cut.inner(loop.wall)
    for side in loop.sheets:
        sheet = np.vstack([cut.points[side], inside[side][::-1]])
        canvas.outline(sheet, "ligament", None, 1.0, 0.28 / (0.5 + cut.soft), 0.3)


def _lining(canvas: Canvas, loop: Loop, cut: Cut) -> None:
    """The mucosa, swollen where the lumen is collapsed; in the uterus the dark junctional zone."""
    if loop.content == "collapsed":
        inner, middle = cut.inner(loop.wall)
        lining = middle + (inner - middle) * (0.42 + 0.16 * _folds(loop))
        canvas.outline(lining, "mucosa", None, 0.9, 0.5 * loop.mucosa, cut.soft + 0.4)
    elif loop.mucosa > 0.3:
        canvas.outline(cut.inner(loop.wall)[0], "mucosa", None, 1.0, loop.mucosa, cut.soft)
    elif loop.tissue == "uterus":
        canvas.outline(cut.inner(0.6 * loop.wall)[0], "muscle", None, 1.0, 0.7, 1.0)


def _content(canvas: Canvas, loop: Loop, cut: Cut, uneven: Field) -> None:
    inner, middle = cut.inner(loop.wall + _LINING_MM * (loop.mucosa > 0.3))
    inner = middle + (rounded(inner) - middle) * _plicae(loop)
    if loop.content == "collapsed":
        canvas.outline(middle + (inner - middle) * 0.22 * _folds(loop), "stool", None, 0.7, 0.6, cut.soft)
        return
    mottled = np.float32(loop.mottled * (2.5 if loop.content == "stool" else 0.7))
    even = np.clip(loop.dense * (1 + mottled * uneven), 0.3, 1.6) if loop.mottled else 1.0
    canvas.outline(inner, loop.content, None, even, soft_mm=cut.soft)
    if loop.gas:  # gas rises ventrally: seen as a dark part of the lumen
        canvas.outline(rounded(middle + (inner - middle) * loop.gas + np.array([0, -1.5])), "gas", soft_mm=cut.soft)


def _folds(loop: Loop) -> Points:
    """Factor by angle of the width of a collapsed lumen."""
    return np.clip(1 + 0.3 * (loop.wobble / _ROUGH) @ _FOLDS, 0.25, 1.9)[:, None].astype(np.float32)


def _plicae(loop: Loop) -> Points:
    """Factor by angle of the width of an open lumen, into which circular folds of the wall reach."""
    waves = np.cos(11 * _ANGLE + 40 * loop.bend) * (0.6 + 0.4 * np.cos(4 * _ANGLE + 9 * loop.angle))
    return (1 - loop.folded * np.clip(waves, 0, 1))[:, None].astype(np.float32)


def _ring(loop: Loop, scale: float) -> Points:
    """The outline of a loop in a slice that cuts it at `scale` of its width."""
    radius = scale * (1 + loop.wobble @ _HARMONICS)
    along, across = radius * np.cos(_ANGLE), radius * np.sin(_ANGLE)
    u, v = loop.axes[0] * along, loop.axes[1] * (across + loop.bend * (along**2 - 0.3 * scale**2) / max(scale, 0.2))
    c, s = np.cos(loop.angle), np.sin(loop.angle)
    return np.stack([loop.centre[0] + c * u - s * v, loop.centre[1] + s * u + c * v], axis=1).astype(np.float32)
