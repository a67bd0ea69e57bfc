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

from axspa_lib.config import MANIFEST
from axspa_lib.labels import LEFT, RIGHT

Points = NDArray[np.float32]

#: Sign of x by the patient's side.
SIGN = {LEFT: 1.0, RIGHT: -1.0}
#: Points along the joint line.
JOINT_POINTS = 33
_STEP_MM = 1.0


class Loft:
    """Outlines between depths: the same number of points at every depth, smoothly interpolated."""

    def __init__(self, outlines: dict[Any, list[list[float]]], points: int, closed: bool) -> None:
        depths = sorted(float(z) for z in outlines)
        by_depth = {float(z): np.asarray(p, dtype=float) for z, p in outlines.items()}
        stack = np.stack([resample(by_depth[z], points, closed) for z in depths])
        self.low, self.high = depths[0], depths[-1]
        steps = max(2, round((self.high - self.low) / _STEP_MM) + 1)
        self._grid = np.linspace(self.low, self.high, steps)
        table = PchipInterpolator(depths, stack, axis=0)(self._grid)
        self.table: NDArray[np.float32] = table.astype(np.float32)
        self._index = np.arange(points)

    def at(self, depth: NDArray[Any]) -> Points:
        """Points `(n, 2)` with point i taken at `depth[i]` (clamped to the loft's range)."""
        place = (np.clip(depth, self.low, self.high) - self.low) / (self._grid[1] - self._grid[0])
        below = np.minimum(place.astype(int), len(self._grid) - 2)
        weight = (place - below)[:, None].astype(np.float32)
        return self.table[below, self._index] * (1 - weight) + self.table[below + 1, self._index] * weight


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
    """The mean anatomy, read once."""

    joint: Loft
    ilium: Loft
    sacrum_top: Loft
    sacrum_bottom: Loft
    structures: list[tuple[dict[str, Any], Loft]]
    inner: list[tuple[dict[str, Any], Loft]]
    extent: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    raw: dict[str, Any]


@cache
def template() -> Template:
    """The mean anatomy of `data_manifest/phantom/anatomy.yaml`."""
    raw = yaml.safe_load((MANIFEST / "phantom" / "anatomy.yaml").read_text(encoding="utf-8"))
    extent = sorted((float(z), *map(float, e)) for z, e in raw["joint_extent"].items())
    z, low, high = (np.array(column) for column in zip(*extent, strict=True))
    return Template(
        Loft(raw["joint"], JOINT_POINTS, closed=False),
        Loft(raw["ilium"], 60, closed=False),
        Loft(raw["sacrum_top"], 30, closed=False),
        Loft(raw["sacrum_bottom"], 40, closed=False),
        [(item, Loft(item["outlines"], 48, closed=True)) for item in raw["structures"]],
        [(item, Loft(item["outlines"], 48, closed=True)) for item in raw["inner"]],
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
    texture_seed: int
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
    joint_waves = {s: _waves(rng, 5, p["joint_wave_mm"], (18, 45)) for s in (RIGHT, LEFT)}
    gap = float(np.clip(rng.normal(*(p["joint_gap_young"] if age < 40 else p["joint_gap_old"])), 1.0, 4.0))
    return Subject(
        sex, age, size,
        float(rng.normal(1, p["depth_sd"])),
        {s: float(rng.normal(1, p["asymmetry_sd"])) for s in (RIGHT, LEFT)},
        warp, waves, joint_waves, gap,
        float(np.clip(rng.normal(*p["marrow_ff"]), 0.25, 0.75)),
        float(np.clip(rng.normal(*p["red_ff"]), 0.12, 0.6)),
        float(np.clip(rng.normal(*p["subcutaneous_mm"]), 4, 60)),
        float(np.clip(rng.normal(*p["half_width_mm"]), 150, 215)) * size,
        {b: float(max(0.2, rng.normal(*p["sclerosis_mm"][b]))) for b in ("iliac", "sacral")},
        float(np.clip(rng.gamma(*p["muscle_fat"]), 0.15, 2.5)),
        int(rng.integers(2**31)),
        frozenset(name for name, rate in p["variants"].items() if rng.random() < rate[sex]),
    )  # fmt: skip


def _waves(rng: np.random.Generator, count: int, amplitude: float, lengths: tuple[float, float]) -> NDArray[np.float64]:
    """Random plane waves: rows of (kx, ky, kz, phase x, phase y, amplitude)."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / rng.uniform(*lengths, size=(count, 1)))
    phase = rng.uniform(0, 2 * np.pi, size=(count, 2))
    size = np.full((count, 1), amplitude * np.sqrt(2 / count))
    return np.hstack([k, phase, size])


@dataclass(frozen=True)
class Pose:
    """How the person lies relative to the slices: rotations in radians, shift in mm."""

    about_y: float = 0.0
    about_x: float = 0.0
    in_plane: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Body:
    """A person in a pose: cuts outlines with slices."""

    def __init__(self, subject: Subject, pose: Pose) -> None:
        self.subject, self.pose = subject, pose
        self._cos, self._sin = np.cos(pose.in_plane), np.sin(pose.in_plane)

    def section(self, loft: Loft, z: float, side: str | None = None, tail: float = 0.0) -> Points | None:
        """The outline `(n, 2)` of a loft in the slice at `z` mm, or None where the slice misses it.

        `side` mirrors an outline that is given once for a pair; `tail` lengthens the loft's range at both ends, mm.
        """
        sign = 1.0 if side is None else SIGN[side]
        s, pose = self.subject, self.pose
        scale = s.depth_scale * s.size
        depth = np.full(loft.table.shape[1], (z - pose.shift[2]) / scale)
        points = loft.at(depth)
        for _ in range(2):
            tilt = pose.about_y * sign * points[:, 0] + pose.about_x * points[:, 1]
            depth = (z - pose.shift[2] - tilt) / scale
            points = loft.at(depth)
        inside = (depth >= loft.low - tail) & (depth <= loft.high + tail)
        if inside.mean() < 0.5:
            return None
        return self._place(points, depth, sign, side)

    def _place(self, points: Points, depth: NDArray[Any], sign: float, side: str | None) -> Points:
        s = self.subject
        x, y = sign * points[:, 0].astype(float), points[:, 1].astype(float)
        w = s.waves
        arg = x[:, None] * w[:, 0] + y[:, None] * w[:, 1] + depth[:, None] * w[:, 2]
        dx = (np.cos(arg + w[:, 3]) * w[:, 5]).sum(1)
        dy = (np.cos(arg + w[:, 4]) * w[:, 5]).sum(1)
        for name in (side,) if side else (LEFT, RIGHT):
            direction = SIGN[name]
            a, b, c = s.joint_warp[name]
            reach = np.exp(-(((direction * x - 55) / 32) ** 2))
            jw = s.joint_waves[name]
            arg = y[:, None] * np.abs(jw[:, 1]) + depth[:, None] * jw[:, 2]
            near = np.exp(-(((direction * x - 53) / 12) ** 2))
            dx += direction * reach * (a + b * (y - 30) + c * (depth - 19))
            dx += near * (np.cos(arg + jw[:, 3]) * jw[:, 5]).sum(1)
            gain = s.side_scale[name] - 1
            dx += gain * x * (direction * x > 0)
        x, y = s.size * x + dx, s.size * y + dy
        shift = self.pose.shift
        return np.stack(
            [self._cos * x - self._sin * y + shift[0], self._sin * x + self._cos * y + shift[1]], axis=1
        ).astype(np.float32)

    def place_points(self, points: NDArray[Any], depth: float, side: str | None) -> Points:
        """Points `(n, 2)` of the mean anatomy at one depth, as they lie in this person."""
        sign = 1.0 if side is None else SIGN[side]
        return self._place(np.asarray(points, np.float32), np.full(len(points), depth), sign, side)

    def joint(self, z: float, side: str) -> Points | None:
        """The middle line of the joint space in a slice, cranial to caudal, `(JOINT_POINTS, 2)`; None beyond the ilium."""
        return self.section(template().joint, z, side)

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
        tilt = pose.about_y * SIGN[side] * 53 + pose.about_x * 32
        return (z - pose.shift[2] - tilt) / (s.depth_scale * s.size)

    def joint_range(self, side: str) -> tuple[float, float]:
        """First and last z (mm) of the cartilaginous joint."""
        depths = template().extent[0]
        scale = self.subject.depth_scale * self.subject.size
        zero = self.depth_at_joint(0.0, side)
        return float((depths[0] - zero) * scale), float((depths[-1] - zero) * scale)

    def skin(self, z: float, columns: NDArray[Any]) -> NDArray[Any]:
        """The lower edge y (mm) of the body at the columns' x; minus infinity beside the body."""
        s, pose = self.subject, self.pose
        depths = sorted((float(k), float(v)) for k, v in template().raw["skin"].items())
        middle = np.interp((z - pose.shift[2]) / s.size, *(np.array(v) for v in zip(*depths, strict=True)))
        x = (columns - pose.shift[0]) / s.half_width_mm
        edge = s.size * middle + (s.subcutaneous_mm - 22) - 75 * x**2 - 60 * x**8 + pose.shift[1]
        return np.where(np.abs(x) < 1, edge, -np.inf)
