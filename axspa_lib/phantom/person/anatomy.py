"""A person's anatomy: lofted outlines of the mean pelvis, deformed by drawn parameters and cut by an oblique slice.

Frame (mm): x to the patient's left, y caudal from the top of the sacral ala, z dorsal from the first slice with a joint
line. Slices are planes of constant z of the *scanner*, to which the body may be slightly rotated.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.linalg import block_diag

from axspa_lib.phantom.person import physique
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.labels import LEFT, RIGHT, SIDES

Points = NDArray[np.float32]

#: Sign of x by the patient's side.
SIGN = {LEFT: 1.0, RIGHT: -1.0}
#: Points along the joint line.
JOINT_POINTS = 33
#: Depths at which every outline is tabulated, mm.
DEPTHS = np.arange(-60.0, 101.0)

#: Outlines of one slice by name and side; None where the slice misses the structure.
Cut = dict[tuple[str, str | None], Points | None]


def resample(points: NDArray[Any], count: int, closed: bool) -> NDArray[Any]:
    """Return `count` points at equal arc length along a polyline; one Chaikin step rounds a closed outline first."""
    if closed:
        following = np.roll(points, -1, axis=0)
        cut = np.stack([0.8 * points + 0.2 * following, 0.2 * points + 0.8 * following], axis=1).reshape(-1, 2)
        points = np.vstack([cut, cut[:1]])
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0, length[-1], count + closed)[:count]
    return np.stack([np.interp(places, length, points[:, k]) for k in (0, 1)], axis=1)


@dataclass(frozen=True)
class Template:
    """The mean anatomy: every outline of every structure, side by side in one table.

    Attributes:
        places: which points of the table belong to which structure.
        table: `(depth, point, 2)` at the common depths `DEPTHS`, mm.
        low, high: range of depths of each point, mm; the table is constant beyond it.
        extent: depths (mm), and where the cartilaginous joint begins and ends there, as shares of its line.
        skin: depths and lower edge y of the body there, mm; `raw`: the whole manifest.
    """

    places: dict[tuple[str, str | None], slice]
    table: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    extent: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    skin: tuple[NDArray[Any], NDArray[Any]]
    raw: dict[str, Any]


@cache
def template() -> Template:
    """Load the mean anatomy from `data_manifest/phantom/anatomy.yaml`."""
    raw = yaml.safe_load((MANIFEST / "phantom" / "anatomy.yaml").read_text(encoding="utf-8"))
    lines = (("joint", JOINT_POINTS), ("ilium", 60), ("sacrum_top", 30), ("sacrum_bottom", 40))
    items: list[tuple[Any, ...]] = [(name, raw[name], count, False, SIDES) for name, count in lines]
    for item in raw["structures"] + raw["inner"]:
        items.append((item["name"], item["outlines"], 48, True, SIDES if item.get("pair") else (None,)))
    places: dict[tuple[str, str | None], slice] = {}
    tables, limits = list[Any](), list[Any]()
    for name, outlines, count, closed, sides in items:
        table, ends = _loft(outlines, count, closed)
        for side in sides:
            places[name, side] = slice(len(limits), len(limits) + count)
            tables.append((table * (SIGN.get(side, 1.0), 1.0)).astype(np.float32))
            limits += [ends] * count
    extent = np.array(sorted((float(z), *map(float, shares)) for z, shares in raw["joint_extent"].items())).T
    skin = np.array(sorted((float(z), float(y)) for z, y in raw["skin"].items())).T
    low, high = np.array(limits).T
    return Template(places, np.concatenate(tables, axis=1), low, high, tuple(extent), tuple(skin), raw)


def _loft(outlines: dict[Any, Any], count: int, closed: bool) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Tabulate outlines given by depth at `DEPTHS`, smoothly interpolated; also return their first and last depth."""
    by_depth = {float(z): np.asarray(points, dtype=float) for z, points in outlines.items()}
    depths = sorted(by_depth)
    stack = np.stack([resample(by_depth[z], count, closed) for z in depths])
    low, high = depths[0], depths[-1]
    return PchipInterpolator(depths, stack, axis=0)(np.clip(DEPTHS, low, high)), (low, high)


@cache
def population() -> dict[str, Any]:
    """Load the parameters of the population from `data_manifest/phantom/population.yaml`."""
    return yaml.safe_load((MANIFEST / "phantom" / "population.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Subject:
    """One person: what is drawn once, so that a second examination has the same anatomy."""

    sex: str
    age: float
    size: float
    depth_scale: float
    curve_mm: float
    side_scale: dict[str, float]
    joint_warp: dict[str, tuple[float, ...]]
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
    buttocks: tuple[float, ...]
    variants: frozenset[str]


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a person from the population, whose spreads `population.yaml` states with their sources."""
    p = population()["subject"]

    def normal(mean_sd: Any, low: float = -np.inf, high: float = np.inf) -> float:
        return float(np.clip(rng.normal(*mean_sd), low, high))

    sex = "F" if rng.random() < p["female"] else "M"
    age = normal(p["age"], 18, 60)
    size = float((1 + p["sex_size"] * (1 if sex == "M" else -1)) * rng.normal(1, p["size_sd"]))
    common = rng.normal(0, p["joint_sd"])
    return Subject(
        sex=sex, age=age, size=size,
        joint_warp={s: tuple(common + rng.normal(0, p["joint_side_sd"])) for s in SIDES},
        waves=_waves(rng, 8, p["warp_mm"], (60, 160)),
        joint_waves={
            s: np.vstack([_waves(rng, 5, p["joint_wave_mm"], (18, 45)), _waves(rng, 6, p["joint_teeth_mm"], (6, 13))])
            for s in SIDES
        },
        joint_gap_mm=normal(p["joint_gap_young"] if age < 40 else p["joint_gap_old"], 1.0, 4.0),
        depth_scale=normal([1, p["depth_sd"]]), curve_mm=normal([0, p["curve_mm"]]),
        side_scale={s: normal([1, p["asymmetry_sd"]]) for s in SIDES},
        marrow_ff=normal(p["marrow_ff"], 0.25, 0.75), red_ff=normal(p["red_ff"], 0.12, 0.6),
        subcutaneous_mm=normal(p["subcutaneous_mm"], 12, 60), half_width_mm=normal(p["half_width_mm"], 150, 215) * size,
        sclerosis_mm={bone: normal(p["sclerosis_mm"][bone], 0.2) for bone in ("iliac", "sacral")},
        muscle_fat=float(np.clip(rng.gamma(*p["muscle_fat"]), 0.15, 2.5)),
        marrow_grain=float(rng.lognormal(0, p["marrow_grain"])), texture_seed=int(rng.integers(2**31)),
        variants=frozenset(name for name, rate in p["variants"].items() if rng.random() < rate[sex]),
        psoas=normal(p["psoas"][sex], 0.6, 1.3),
        buttocks=tuple(float(rng.uniform(*p[name])) for name in ("back_curve_mm", "buttock_mm", "natal_cleft_mm")),
    )  # fmt: skip


def _at(table: NDArray[np.float32], depth: NDArray[np.float64]) -> Points:
    """Return the points of the table, point i taken at `depth[i]`."""
    index = np.arange(table.shape[1])
    place = np.clip(depth - DEPTHS[0], 0, len(DEPTHS) - 1.001)
    below = place.astype(np.int64)
    weight = (place - below)[:, None].astype(np.float32)
    return table[below, index] * (1 - weight) + table[below + 1, index] * weight


def _waves(rng: np.random.Generator, count: int, amplitude: float, lengths: tuple[float, float]) -> NDArray[np.float64]:
    """Draw plane waves: rows of (kx, ky, kz, phase x, phase y, amplitude)."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / rng.uniform(*lengths, size=(count, 1)))
    phase = rng.uniform(0, 2 * np.pi, size=(count, 2))
    size = np.full((count, 1), amplitude * np.sqrt(2 / count))
    return np.hstack([k, phase, size])


def _all_waves(subject: Subject) -> tuple[Points, Points, Points]:
    """Return wave vectors `(3, wave)`, phases, and how far each wave displaces x, y and either joint `(wave, 4)`."""
    w, joints = subject.waves, [subject.joint_waves[side] for side in SIGN]
    # a joint's waves run along it and into the depth
    along = [np.column_stack([np.zeros(len(jw)), np.abs(jw[:, 1]), jw[:, 2]]) for jw in joints]
    vectors = np.concatenate([w[:, :3], w[:, :3], *along]).T
    phases = np.concatenate([w[:, 3], w[:, 4], *(jw[:, 3] for jw in joints)])
    amplitude = block_diag(*(each[:, 5:] for each in (w, w, *joints)))
    return vectors.astype(np.float32), phases.astype(np.float32), amplitude.astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """Pose of the person relative to the slices: rotations in radians, shift in mm."""

    about_y: float = 0.0
    about_x: float = 0.0
    in_plane: float = 0.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Body:
    """A person in a pose: cuts outlines with slices."""

    def __init__(self, subject: Subject, pose: Pose) -> None:
        self.subject, self.pose = subject, pose
        self._cos, self._sin = np.cos(pose.in_plane), np.sin(pose.in_plane)
        self._cuts: dict[float, Cut] = {}
        self._k, self._phase, self._amplitude = _all_waves(subject)
        self._physique = physique.draw_physique(subject.texture_seed, subject.psoas, subject.subcutaneous_mm)

    def cut(self, z: float) -> Cut:
        """Return every outline `(n, 2)` in mm in the slice at `z` mm, computed once."""
        if z not in self._cuts:
            self._cuts[z] = self._cut(z)
        return self._cuts[z]

    def _cut(self, z: float) -> Cut:
        """Take each point at the depth where its path meets the slice, which may be tilted against the body."""
        t, s, pose = template(), self.subject, self.pose
        scale = s.depth_scale * s.size
        depth = np.full(t.table.shape[1], (z - pose.shift[2]) / scale)
        points = _at(t.table, depth)
        for _ in range(2):
            tilt = pose.about_y * points[:, 0] + pose.about_x * (points[:, 1] - 35)
            tilt = tilt + s.curve_mm * np.clip((points[:, 1] - 40) / 50, -0.8, 1.6) ** 2
            depth = (z - pose.shift[2] - tilt) / scale
            points = _at(t.table, depth)
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
        """Return points `(n, 2)` of the mean anatomy at their depths, as they lie in this person."""
        s, shift = self.subject, self.pose.shift
        x, y = points.astype(np.float32).T
        depth = np.broadcast_to(np.asarray(depth, dtype=np.float32), x.shape)
        dx, dy, *moved = (np.cos(np.stack([x, y, depth], axis=1) @ self._k + self._phase) @ self._amplitude).T
        for (name, sign), wave in zip(SIGN.items(), moved, strict=True):
            direction = np.float32(sign)
            a, b, c = map(np.float32, s.joint_warp[name])
            lateral = direction * x
            dx = dx + direction * np.exp(-(((lateral - 55) / 32) ** 2)) * (a + b * (y - 30) + c * (depth - 19))
            dx = dx + np.exp(-(((lateral - 53) / 12) ** 2)) * wave
            dx = dx + np.float32(s.side_scale[name] - 1) * x * (lateral > 0)
        across, down = s.size * x + dx, s.size * y + dy
        turned = self._cos * across - self._sin * down, self._sin * across + self._cos * down
        return np.stack([turned[0] + shift[0], turned[1] + shift[1]], axis=1).astype(np.float32)

    def depth(self, z: float) -> float:
        """Return the depth in the mean anatomy of the slice at `z` on the body's axis, mm."""
        return (z - self.pose.shift[2]) / (self.subject.size * self.subject.depth_scale)

    def z(self, depth: NDArray[Any]) -> NDArray[Any]:
        """Return the slices' z of depths in the mean anatomy on the body's axis, mm: the inverse of `depth`."""
        return depth * (self.subject.size * self.subject.depth_scale) + self.pose.shift[2]

    def extent(self, z: float, side: str) -> tuple[float, float] | None:
        """Return where the cartilaginous joint begins and ends, as shares of its line; None where there is no joint."""
        depths, low, high = template().extent
        depth = self.depth_at_joint(z, side)
        if not depths[0] <= depth <= depths[-1]:
            return None
        return float(np.interp(depth, depths, low)), float(np.interp(depth, depths, high))

    def depth_at_joint(self, z: float, side: str) -> float:
        """Return the depth in the mean anatomy of the middle of the joint in the slice at `z`, mm."""
        tilt = self.pose.about_y * SIGN[side] * 53 + self.pose.about_x * -3.0
        return (z - self.pose.shift[2] - tilt) / (self.subject.depth_scale * self.subject.size)

    def joint_range(self, side: str) -> tuple[float, float]:
        """Return the first and last z (mm) of the cartilaginous joint."""
        zero, (first, *_, last) = self.depth_at_joint(0.0, side), template().extent[0]
        scale = self.subject.depth_scale * self.subject.size
        return float((first - zero) * scale), float((last - zero) * scale)

    def skin(self, z: float, columns: NDArray[Any]) -> NDArray[Any]:
        """Return the lower edge y (mm) of the body at the columns' x: minus infinity outside."""
        s, pose = self.subject, self.pose
        middle = np.interp((z - pose.shift[2]) / s.size, *template().skin)
        x = (columns - pose.shift[0]) / s.half_width_mm
        curve, buttock, cleft = s.buttocks
        away = np.abs(columns - pose.shift[0])
        low = np.interp(self.depth(z), [-10, 8, 40, 58], [0, 1, 1, 0.25])  # the cleft ends above the sacrum
        lobes = buttock * np.exp(-(((away - 62) / 34) ** 2)) - cleft * low * np.exp(-((away / 5) ** 2))
        edge = s.size * middle + (s.subcutaneous_mm - 22) - curve * x**2 - 60 * x**8 + lobes + pose.shift[1]
        return np.where(np.abs(x) < 1, edge, -np.inf)
