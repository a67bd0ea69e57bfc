"""A person's anatomy: lofted outlines of the mean pelvis, deformed by drawn parameters and cut by an oblique slice.

Frame (mm): x to the patient's left, y caudal from the top of the sacral ala, z dorsal from the first slice with a joint
line; slices are planes of constant z of the *scanner*, to which the body may be slightly rotated. The mean outlines are
`data_manifest/phantom/anatomy.yaml`, the variation `population.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.linalg import block_diag

from axspa_lib.phantom.person import physique
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.labels import LEFT, RIGHT

Points = NDArray[np.float32]

#: Sign of x by the patient's side.
SIGN = {LEFT: 1.0, RIGHT: -1.0}
#: Points along the joint line.
JOINT_POINTS = 33
#: Depths at which every outline is tabulated, mm.
DEPTHS = np.arange(-60.0, 101.0)

#: Outlines of one slice by name and side; None where the slice misses the structure.
Cut = dict[tuple[str, str | None], Points | None]


@dataclass(frozen=True)
class Loft:
    """Outlines between depths: the same number of points at every depth, smoothly interpolated.

    `table` is `(depth, point, 2)` on the common depths `DEPTHS`, constant beyond the range `low` to `high` (mm).
    """

    name: str
    side: str | None
    table: NDArray[np.float32]
    low: float
    high: float


def loft(name: str, outlines: dict[Any, list[list[float]]], points: int, closed: bool, side: str | None) -> Loft:
    """Interpolate outlines given by depth; those of a pair are mirrored to their side."""
    depths = sorted(float(z) for z in outlines)
    by_depth = {float(z): np.asarray(p, dtype=float) for z, p in outlines.items()}
    stack = np.stack([resample(by_depth[z], points, closed) for z in depths])
    table = PchipInterpolator(depths, stack, axis=0)(np.clip(DEPTHS, depths[0], depths[-1]))
    if side is not None:
        table[..., 0] *= SIGN[side]
    return Loft(name, side, table.astype(np.float32), depths[0], depths[-1])


def resample(points: NDArray[Any], count: int, closed: bool) -> NDArray[Any]:
    """`count` points at equal arc length along a polyline; a closed outline is rounded by its own periodic spline.

    >>> resample(np.array([[0.0, 0.0], [2.0, 0.0]]), 3, closed=False).tolist()
    [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
    """
    if closed:
        points = _round(np.vstack([points, points[:1]]))
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    if length[-1] == 0:
        return np.repeat(points[:1], count, axis=0)
    places = np.linspace(0, length[-1], count + closed)[:count]
    return np.stack([np.interp(places, length, points[:, k]) for k in (0, 1)], axis=1)


def _round(ring: NDArray[Any]) -> NDArray[Any]:
    """One Chaikin step on a closed ring: corners become rounded, the start stays near where it was."""
    nxt = ring[1:]
    low, high = 0.8 * ring[:-1] + 0.2 * nxt, 0.2 * ring[:-1] + 0.8 * nxt
    cut = np.stack([low, high], axis=1).reshape(-1, 2)
    return np.vstack([cut, cut[:1]])


@dataclass(frozen=True)
class Template:
    """The mean anatomy, read once: every outline of every structure, side by side in one table.

    `places` says which points of the table belong to which structure; `low` and `high` are the depth ranges by point.
    """

    structures: list[dict[str, Any]]
    inner: list[dict[str, Any]]
    places: dict[tuple[str, str | None], slice]
    table: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    extent: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    raw: dict[str, Any]


@cache
def template() -> Template:
    """The mean anatomy of `data_manifest/phantom/anatomy.yaml`."""
    raw = yaml.safe_load((MANIFEST / "phantom" / "anatomy.yaml").read_text(encoding="utf-8"))
    lofts = []
    for name, points in (("joint", JOINT_POINTS), ("ilium", 60), ("sacrum_top", 30), ("sacrum_bottom", 40)):
        lofts += [loft(name, raw[name], points, False, side) for side in (RIGHT, LEFT)]
    for item in raw["structures"] + raw["inner"]:
        for side in (RIGHT, LEFT) if item.get("pair") else (None,):
            lofts.append(loft(item["name"], item["outlines"], 48, True, side))
    ends = np.cumsum([0, *(each.table.shape[1] for each in lofts)])
    counts = np.diff(ends)
    extent = sorted((float(z), *map(float, e)) for z, e in raw["joint_extent"].items())
    z, low, high = (np.array(column) for column in zip(*extent, strict=True))
    return Template(
        raw["structures"],
        raw["inner"],
        {(each.name, each.side): slice(int(a), int(b)) for each, a, b in zip(lofts, ends[:-1], ends[1:], strict=True)},
        np.concatenate([each.table for each in lofts], axis=1),
        np.repeat([each.low for each in lofts], counts),
        np.repeat([each.high for each in lofts], counts),
        (z, low, high),
        raw,
    )


@cache
def population() -> dict[str, Any]:
    """Population parameters of `data_manifest/phantom/population.yaml`."""
    return yaml.safe_load((MANIFEST / "phantom" / "population.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Subject:
    """One person: everything drawn once per subject, so that a second examination has the same anatomy."""

    sex: str
    age: float
    size: float
    depth_scale: float
    curve_mm: float
    side_scale: dict[str, float]
    joint_warp: dict[str, tuple[float, float, float]]
    waves: NDArray[np.float64]
    joint_waves: dict[str, NDArray[np.float64]]
    joint_gap_mm: float
    marrow_ff: float
    red_ff: float
    subcutaneous_mm: float
    half_width_mm: float
    sclerosis_mm: dict[str, float]
    muscle_fat: float
    marrow_grain: float
    texture_seed: int
    psoas: float
    buttocks: tuple[float, float, float]
    variants: frozenset[str] = field(default_factory=frozenset)


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a person from the population.

    Sources of the spreads: `data_manifest/phantom/population.yaml`.
    """
    p = population()["subject"]
    sex = "F" if rng.random() < p["female"] else "M"
    age = float(np.clip(rng.normal(*p["age"]), 18, 60))
    size = float((1 + p["sex_size"] * (1 if sex == "M" else -1)) * rng.normal(1, p["size_sd"]))
    common = rng.normal(0, p["joint_sd"])
    warp = {s: tuple(common + rng.normal(0, p["joint_side_sd"])) for s in (RIGHT, LEFT)}
    waves = _waves(rng, 8, p["warp_mm"], (60, 160))
    joint_waves = {
        s: np.vstack([_waves(rng, 5, p["joint_wave_mm"], (18, 45)), _waves(rng, 6, p["joint_teeth_mm"], (6, 13))])
        for s in (RIGHT, LEFT)
    }
    gap = float(np.clip(rng.normal(*(p["joint_gap_young"] if age < 40 else p["joint_gap_old"])), 1.0, 4.0))
    drawn = (
        sex, age, size,
        float(rng.normal(1, p["depth_sd"])), float(rng.normal(0, p["curve_mm"])),
        {s: float(rng.normal(1, p["asymmetry_sd"])) for s in (RIGHT, LEFT)},
        warp, waves, joint_waves, gap,
        float(np.clip(rng.normal(*p["marrow_ff"]), 0.25, 0.75)),
        float(np.clip(rng.normal(*p["red_ff"]), 0.12, 0.6)),
        float(np.clip(rng.normal(*p["subcutaneous_mm"]), 12, 60)),
        float(np.clip(rng.normal(*p["half_width_mm"]), 150, 215)) * size,
        {b: float(max(0.2, rng.normal(*p["sclerosis_mm"][b]))) for b in ("iliac", "sacral")},
        float(np.clip(rng.gamma(*p["muscle_fat"]), 0.15, 2.5)),
        float(rng.lognormal(0, p["marrow_grain"])),
        int(rng.integers(2**31)),
    )  # fmt: skip
    variants = frozenset(name for name, rate in p["variants"].items() if rng.random() < rate[sex])
    psoas = float(np.clip(rng.normal(*p["psoas"][sex]), 0.6, 1.3))
    outline = (float(rng.uniform(*p["back_curve_mm"])), float(rng.uniform(*p["buttock_mm"])),
               float(rng.uniform(*p["natal_cleft_mm"])))  # fmt: skip
    return Subject(*drawn, psoas, outline, variants)


def _at(table: NDArray[np.float32], depth: NDArray[np.float64], index: NDArray[np.int64]) -> Points:
    """Points of the table with point i taken at `depth[i]`."""
    place = np.clip(depth - DEPTHS[0], 0, len(DEPTHS) - 1.001)
    below = place.astype(np.int64)
    weight = (place - below)[:, None].astype(np.float32)
    return table[below, index] * (1 - weight) + table[below + 1, index] * weight


def _waves(rng: np.random.Generator, count: int, amplitude: float, lengths: tuple[float, float]) -> NDArray[np.float64]:
    """Random plane waves: rows of (kx, ky, kz, phase x, phase y, amplitude)."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / rng.uniform(*lengths, size=(count, 1)))
    phase = rng.uniform(0, 2 * np.pi, size=(count, 2))
    size = np.full((count, 1), amplitude * np.sqrt(2 / count))
    return np.hstack([k, phase, size])


def _all_waves(subject: Subject) -> tuple[Points, Points, Points]:
    """Every wave of a person in one table, so that points are displaced by one product.

    Wave vectors `(3, wave)`, phases `(wave,)`, and how much of each wave displaces x, y and either joint `(wave, 4)`.
    """
    w = subject.waves
    vectors, phases = [w[:, :3], w[:, :3]], [w[:, 3], w[:, 4]]
    sizes = [w[:, 5], w[:, 5]]
    for side in SIGN:  # a joint's waves run along it and into the depth
        jw = subject.joint_waves[side]
        vectors.append(np.stack([np.zeros(len(jw)), np.abs(jw[:, 1]), jw[:, 2]], axis=1))
        phases.append(jw[:, 3])
        sizes.append(jw[:, 5])
    amplitude = block_diag(*(size[:, None] for size in sizes))
    table = (np.concatenate(vectors).T, np.concatenate(phases), amplitude)
    return tuple(part.astype(np.float32) for part in table)  # type: ignore[return-value]


@dataclass(frozen=True)
class Pose:
    """How the person lies relative to the slices: rotations in radians, shift in mm."""

    about_y: float = 0.0
    about_x: float = 0.0
    in_plane: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Body:
    """A person in a pose: cuts outlines with slices."""

    _CACHED = 8

    def __init__(self, subject: Subject, pose: Pose) -> None:
        self.subject, self.pose = subject, pose
        self._cos, self._sin = np.cos(pose.in_plane), np.sin(pose.in_plane)
        self._cuts: dict[float, Cut] = {}
        self._k, self._phase, self._amplitude = _all_waves(subject)
        self._physique = physique.draw_physique(subject.texture_seed, subject.psoas, subject.subcutaneous_mm)

    def cut(self, z: float) -> Cut:
        """Every outline `(n, 2)` in mm in the slice at `z` mm.

        A slice may be tilted against the body: each point is taken at the depth where its path meets the slice.
        """
        if z not in self._cuts:
            if len(self._cuts) >= self._CACHED:
                self._cuts.pop(next(iter(self._cuts)))
            self._cuts[z] = self._cut(z)
        return self._cuts[z]

    def _cut(self, z: float) -> Cut:
        t, s, pose = template(), self.subject, self.pose
        scale = s.depth_scale * s.size
        count = t.table.shape[1]
        index = np.arange(count)
        depth = np.full(count, (z - pose.shift[2]) / scale)
        points = _at(t.table, depth, index)
        for _ in range(2):
            tilt = pose.about_y * points[:, 0] + pose.about_x * (points[:, 1] - 35)
            tilt = tilt + s.curve_mm * np.clip((points[:, 1] - 40) / 50, -0.8, 1.6) ** 2
            depth = (z - pose.shift[2] - tilt) / scale
            points = _at(t.table, depth, index)
        inside = (depth >= t.low) & (depth <= t.high)
        placed = self.place(points, depth)
        cut: Cut = {key: placed[where] if inside[where].mean() >= 0.5 else None for key, where in t.places.items()}
        for side in SIGN:
            for name, form in (("psoas", physique.psoas), ("gluteal", physique.gluteal)):
                outline = cut[name, side]
                if outline is not None:
                    shaped = form(self._physique, outline, side)
                    lowest = self.skin(z, shaped[:, 0]) - max(6.0, 0.5 * s.subcutaneous_mm)  # some fat lies over it
                    shaped[:, 1] = np.minimum(shaped[:, 1], np.where(np.isfinite(lowest), lowest, np.inf))
                    cut[name, side] = shaped
        return cut

    def place(self, points: NDArray[Any], depth: NDArray[Any] | float) -> Points:
        """Points `(n, 2)` of the mean anatomy at their depths, as they lie in this person."""
        s = self.subject
        x: NDArray[np.floating] = points[:, 0].astype(np.float32)
        y: NDArray[np.floating] = points[:, 1].astype(np.float32)
        depth = np.broadcast_to(np.asarray(depth, dtype=np.float32), x.shape)
        moved = np.cos(np.stack([x, y, depth], axis=1) @ self._k + self._phase) @ self._amplitude
        dx, dy = moved[:, 0], moved[:, 1]
        for k, (name, sign) in enumerate(SIGN.items()):
            direction = np.float32(sign)
            a, b, c = map(np.float32, s.joint_warp[name])
            lateral = direction * x
            dx = dx + direction * np.exp(-(((lateral - 55) / 32) ** 2)) * (a + b * (y - 30) + c * (depth - 19))
            dx = dx + np.exp(-(((lateral - 53) / 12) ** 2)) * moved[:, 2 + k]
            dx = dx + np.float32(s.side_scale[name] - 1) * x * (lateral > 0)
        across, down = s.size * x + dx, s.size * y + dy
        shift = self.pose.shift
        turned = self._cos * across - self._sin * down, self._sin * across + self._cos * down
        return np.stack([turned[0] + shift[0], turned[1] + shift[1]], axis=1).astype(np.float32)

    def depth(self, z: float) -> float:
        """Depth in the mean anatomy of the slice at `z` on the body's axis, mm."""
        return (z - self.pose.shift[2]) / (self.subject.size * self.subject.depth_scale)

    def z(self, depth: NDArray[Any]) -> NDArray[Any]:
        """The slices' z of depths in the mean anatomy on the body's axis, mm: what `depth` undoes."""
        return depth * (self.subject.size * self.subject.depth_scale) + self.pose.shift[2]

    def extent(self, z: float, side: str) -> tuple[float, float] | None:
        """The cartilaginous part of the joint line as fractions of its points; None where there is no joint."""
        depths, low, high = template().extent
        depth = self.depth_at_joint(z, side)
        if not depths[0] <= depth <= depths[-1]:
            return None
        return float(np.interp(depth, depths, low)), float(np.interp(depth, depths, high))

    def depth_at_joint(self, z: float, side: str) -> float:
        """Depth in the mean anatomy of the middle of the joint in the slice at `z`, mm."""
        pose, s = self.pose, self.subject
        tilt = pose.about_y * SIGN[side] * 53 + pose.about_x * -3.0
        return (z - pose.shift[2] - tilt) / (s.depth_scale * s.size)

    def joint_range(self, side: str) -> tuple[float, float]:
        """First and last z (mm) of the cartilaginous joint."""
        depths = template().extent[0]
        scale = self.subject.depth_scale * self.subject.size
        zero = self.depth_at_joint(0.0, side)
        return float((depths[0] - zero) * scale), float((depths[-1] - zero) * scale)

    def skin(self, z: float, columns: NDArray[Any]) -> NDArray[Any]:
        """The lower edge y (mm) of the body at the columns' x, with the natal cleft between the buttocks.

        Minus infinity beside the body.
        """
        s, pose = self.subject, self.pose
        depths = sorted((float(k), float(v)) for k, v in template().raw["skin"].items())
        middle = np.interp((z - pose.shift[2]) / s.size, [d for d, _ in depths], [edge for _, edge in depths])
        x = (columns - pose.shift[0]) / s.half_width_mm
        curve, buttock, cleft = s.buttocks
        away = np.abs(columns - pose.shift[0])
        low = np.interp(self.depth(z), [-10, 8, 40, 58], [0, 1, 1, 0.25])  # the cleft ends above the sacrum
        lobes = buttock * np.exp(-(((away - 62) / 34) ** 2)) - cleft * low * np.exp(-((away / 5) ** 2))
        edge = s.size * middle + (s.subcutaneous_mm - 22) - curve * x**2 - 60 * x**8 + lobes + pose.shift[1]
        return np.where(np.abs(x) < 1, edge, -np.inf)
