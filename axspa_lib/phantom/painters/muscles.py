"""Muscles: bundles of fibres with fat between them, fascia and planes of fat about them, and the psoas within."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import SHIFT, Canvas, fill
from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, ridges, smoothstep
from axspa_lib.phantom.painters.tubes import tube
from axspa_lib.phantom.person.anatomy import Subject
from axspa_lib.study.labels import LEFT, RIGHT

#: Slope (down over lateral) of the gluteal fibres at `FAN_Y` mm and how much it falls per mm caudally: mean and spread
#: between people. Seven public scans: 0 to 40 degrees, steeper cranially and dorsally (0.007 per mm of depth).
SLOPE, FALL, FAN_Y = (0.30, 0.14), (0.006, 0.002), 70.0
#: Spread of the water of muscle by bundles and along fibres: with the streaks of fat and the noise
#: the public scans vary within 3 mm by 6 to 9 % in the psoas and by 17 to 21 % in gluteus maximus on T1.
GRAIN = (0.035, 0.025)
#: Spread of the water of muscle by bundles seen end on and by patches, by the grain of its noise: 9, 3.6 and 1.4 mm.
MOTTLE = (0.035, 0.035, 0.03)
#: Fat fraction of muscle all in all: what is not in streaks lies evenly within.
QUIET_FF = np.float32(0.12)
#: Greatest width of the plane of fat about a muscle, mm, its fat fraction, and greatest share of fascia at its border.
PLANE_MM, PLANE_FF, FASCIA = 1.8, 0.82, 0.25


@dataclass(frozen=True)
class Fibres:
    """Fields `(row, column)` of one slice: fat fraction (`ff`), factor of proton density (`pd`), and `ends`, about
    standard normal, how far bundles reach beyond or stay behind a muscle's border; each for muscles cut along steep
    bundles and, `gluteal`, for those whose bundles fan out from the sacrum and the ilium. `mottle`: bundles seen end
    on, added to `pd` in every muscle; `sheath`: how much fat and fascia lie about one, `twigs`: share of small vessels
    between gluteal bundles, 0 to 1.
    """

    ff: Field
    pd: Field
    ends: Field
    gluteal_ff: Field
    gluteal_pd: Field
    gluteal_ends: Field
    mottle: Field
    sheath: Field
    twigs: Field

    def of(self, streaks: float, fan: bool) -> tuple[Field, Field, Field]:
        """`ff`, `pd` and `ends` of a muscle with this share of the streaks, its bundles steep or in a `fan`."""
        ff, pd, ends = (self.gluteal_ff, self.gluteal_pd, self.gluteal_ends) if fan else (self.ff, self.pd, self.ends)
        share = np.float32(streaks)
        return QUIET_FF + share * (ff - QUIET_FF), 1 + share * (pd - 1) + self.mottle, ends


class Muscles:
    """The muscles' noise of one person."""

    def __init__(self, subject: Subject) -> None:
        rng = np.random.default_rng([subject.texture_seed, 31])
        self._fat = float(subject.muscle_fat) ** 0.7  # fat comes in more streaks as well as in whiter ones
        self._slope = float(rng.normal(*SLOPE))
        self._fall = float(rng.normal(*FALL))
        self._streak = Noise(rng, 0.48, 6, stretch=8, smooth=1.0)
        self._bundle = Noise(rng, 1.5, 8, stretch=9, smooth=1.0)
        self._thread = Noise(rng, 1.1, 4, stretch=5)
        rng = np.random.default_rng([subject.texture_seed, 67])
        self._planes = Noise(rng, 1.2, 9, stretch=7, smooth=1.0)
        self._bare = float(rng.normal(0.0, 0.35))
        self._mottled = float(rng.uniform(0.6, 1.4))

    def fibres(self, z: float, grid: Grid, bent: tuple[Field, Field, Field, Field]) -> Fibres:
        """Return all fields of the slice at depth z; `bent` is noise of 26, 9, 3.6 and 1.4 mm grain."""
        coarse, medium, small, fine = bent
        x, y = grid.x[None, :].astype(np.float32), grid.y[:, None].astype(np.float32)
        mottle = self._mottled * (MOTTLE[0] * medium + MOTTLE[1] * small + MOTTLE[2] * fine)
        patch = smoothstep(0.8 * medium + coarse, self._bare - 1.4, self._bare + 1.4)  # few places hold most of the fat
        lateral = np.clip((np.abs(x) - 70) / 220, -0.25, 0.35)
        mirrored = coarse - np.where(x < 0, 2 * x, 0)  # the bundles of both sides run alike, but are not the same
        straight = (
            mirrored,
            (1.1 * coarse + 0.3 * medium - lateral * (y - 55) + np.where(x < 0, 90, 0)).astype(np.float32),
        )
        steep, thread = self._streak.plane(z, grid, 1.2, straight), self._thread.plane(z + 20, grid, 1.2, straight)
        ff = 0.04 + self._fat * (0.28 * smoothstep(steep, 1.1, 2.6) + 0.20 * patch * smoothstep(steep, -0.2, 1.8))
        pd = 1 + GRAIN[0] * thread + GRAIN[1] * steep
        slope = self._slope + 0.007 * (z - 15) - self._fall * (y - FAN_Y)
        run = np.clip(np.abs(x) - 50, -40, 70) * slope + 2.8 * coarse + 0.15 * medium
        course = (np.broadcast_to(2.0 * medium, run.shape), -run.astype(np.float32))
        streak, bundle = self._streak.plane(z, grid, 0.0, course), self._bundle.plane(z, grid, 0.0, course)
        between = np.abs(self._planes.plane(z, grid, 0.0, course))  # 0 between two bundles
        wide = 0.42 + 0.55 * smoothstep(bundle, -0.6, 2.2)  # some planes of fat are thick, most are thin
        planes = smoothstep(1 - between / wide, 0.1, 1) * smoothstep(bundle + 0.5 * streak, -1.0, 1.5)
        threads = smoothstep(streak + 0.35 * bundle, 0.75 - 0.5 * self._fat, 2.5)
        gluteal = 0.01 + self._fat * ((0.13 + 0.55 * patch) * threads + (0.28 + 0.33 * patch) * planes)
        return Fibres(
            ff=_within_pixel(np.clip(ff, 0, 0.9)), pd=pd.astype(np.float32), ends=steep,
            gluteal_ff=_within_pixel(np.clip(gluteal, 0, 0.9)),
            gluteal_pd=(1 + 0.05 * streak).astype(np.float32),
            gluteal_ends=0.5 * streak + 0.6 * bundle + 0.5 * small - planes,
            mottle=mottle.astype(np.float32),
            twigs=ridges(between, 0.35) * smoothstep(bundle + 0.5 * small, 0.6, 2.0),
            sheath=smoothstep(medium + 0.8 * coarse + 0.4 * small, -0.9, 1.8),
        )  # fmt: skip


def _within_pixel(field: Field) -> Field:
    """The field meant over each pixel: threads as thin as a pixel would else look like strings of beads."""
    return cv2.GaussianBlur(field.astype(np.float32), (3, 3), 0.6).astype(np.float32, copy=False)


class Psoas:
    """Fat between the bundles of one person's psoas: flecks beside its tendon, septa, clefts in its caudal pole."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 68])
        self._strength = float(rng.uniform(0.15, 0.6))
        self._angle = {side: float(rng.normal(0.9, 0.25)) for side in (RIGHT, LEFT)}
        self._place = {side: rng.uniform(-0.35, 0.35, 2) for side in (RIGHT, LEFT)}
        self._flecks = {side: rng.uniform(0, 1, (int(rng.integers(2, 7)), 4)) for side in (RIGHT, LEFT)}
        self._septa = {side: rng.uniform(0, 1, (int(rng.integers(0, 4)), 4)) for side in (RIGHT, LEFT)}
        self._clefts = {side: rng.uniform(0, 1, (int(rng.integers(1, 5)), 4)) for side in (RIGHT, LEFT)}

    def paint(self, canvas: Canvas, points: NDArray[np.floating], side: str, z: float) -> None:
        """Paint them into the outline (mm) of the psoas at depth z (mm)."""
        filled = fill(points, canvas.grid)
        if filled is None:
            return
        mask, region = filled
        start = np.array([region[1].start, region[0].start])
        share = np.zeros(mask.shape, np.uint8)
        for line, half, strength in self._fat(points, side, z):
            pixels = canvas.grid.to_pixels(tube(line.astype(np.float32), half)) - start
            cv2.fillPoly(share, [np.rint(pixels * (1 << SHIFT)).astype(np.int32)], 255 * strength, cv2.LINE_AA, SHIFT)
        soft = cv2.GaussianBlur(share, (0, 0), 0.3 / canvas.grid.pixel, borderType=cv2.BORDER_CONSTANT)
        cover = np.minimum(soft, mask).astype(np.float32) / np.float32(255)
        canvas.cover(cover, region, canvas.value("deep_fat"))

    def _fat(
        self, points: NDArray[np.floating], side: str, z: float
    ) -> Iterator[tuple[NDArray[np.floating], NDArray[np.floating], float]]:
        """Lines (mm) along which there is fat, half width along each (mm), and share of fat."""
        out = np.array([1.0 if side == LEFT else -1.0, 1.0])
        middle, half = points.mean(0), np.ptp(points, axis=0) / 2
        angle = self._angle[side] + 0.006 * z
        along, across = np.array([np.cos(angle), -np.sin(angle)]) * out, np.array([np.sin(angle), np.cos(angle)]) * out
        t = np.linspace(0, 1, 6)
        for a, b, c, d in self._septa[side]:  # parallel to the contour
            first = int(48 * (c + 0.004 * z)) % len(points)
            arc = np.roll(points, -first, axis=0)[: 4 + int(6 * d)]
            ends = np.sin(np.linspace(0, np.pi, len(arc)))
            yield middle + (0.55 + 0.35 * a) * (arc - middle), 0.08 + 0.15 * ends, self._strength * (0.1 + 0.4 * b)
        foot = middle + self._place[side] * half + 0.04 * z * across
        for a, b, c, d in self._flecks[side]:
            foot = foot + (1.2 + 3.5 * a) * across + 4.0 * (b - 0.5) * along
            course = along + 1.2 * (a - 0.5) * across
            line = foot + t[:, None] * (0.8 + 5.0 * c * d) * course + (b - 0.5) * np.sin(np.pi * t)[:, None] * across
            yield line, 0.12 + (0.1 + 0.2 * c) * np.sin(np.pi * t), self._strength * (0.2 + 0.9 * d * d)
        direction = (points - middle) @ (out * (-0.35, 1.0))
        caudal = points[np.argsort(-direction)[:15]]
        for a, b, c, d in self._clefts[side]:
            foot = caudal[int(a * len(caudal))]
            inward = 0.5 * (middle - foot) / np.linalg.norm(middle - foot) + along + 0.8 * (b - 0.5) * across
            bent = 2.5 * (d - 0.5) * np.sin(np.pi * t)[:, None] * across
            line = foot - inward + t[:, None] * (2.0 + 4.0 * c * c) * inward + bent
            yield line, 0.08 + (0.4 + 2.0 * b * d) * (1 - t) ** 2, 0.15 + 0.6 * b * b


def belly(
    canvas: Canvas, points: NDArray[np.floating], tissue: str, ff: Field | None, pd: Field, ends: Field,
    ragged_mm: float, width_mm: float = 1.3, edge_mm: float = 0.9, sheath: Field | None = None,
) -> None:  # fmt: skip
    """Paint an outline rounded over `width_mm`, its border `edge_mm` wide and shifted by `ragged_mm` times `ends`.

    Where there is a `sheath` (0 to 1) a plane of fat and a fascia surround it.
    """
    filled = fill(points, canvas.grid, margin=4)
    if filled is None:
        return
    mask, region = filled
    blurred = cv2.GaussianBlur(mask, (0, 0), width_mm / canvas.grid.pixel, borderType=cv2.BORDER_CONSTANT)
    inside = blurred.astype(np.float32) / np.float32(255)
    slope = 0.4 / width_mm  # of the blurred coverage at a straight border, per mm
    near = 4 * inside * (1 - inside)  # 1 on the border
    deep = (inside - np.float32(0.5)) / np.float32(slope) + np.float32(ragged_mm) * near * ends[region]
    if sheath is not None:
        around = sheath[region]
        plane = np.clip(0.5 + (deep + np.float32(PLANE_MM) * around) / np.float32(edge_mm), 0, 1) * (inside > 0.02)
        canvas.cover((0.75 * plane).astype(np.float32), region, canvas.value("deep_fat", PLANE_FF))
    cover = np.clip(0.5 + deep / np.float32(edge_mm), 0, 1).astype(np.float32)
    canvas.cover(cover, region, canvas.value(tissue, None if ff is None else ff[region], pd[region]))
    if sheath is not None:
        fascia = np.float32(FASCIA) * (1 - around) * np.exp(-(((deep - np.float32(0.2)) / np.float32(0.5)) ** 2))
        canvas.cover(fascia.astype(np.float32), region, canvas.value("ligament"))
