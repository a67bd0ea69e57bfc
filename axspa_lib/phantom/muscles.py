"""Muscles: bundles of fibres with fat between them, fascia and planes of fat about them, and the psoas within."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import LEFT, RIGHT
from axspa_lib.phantom.anatomy import Subject
from axspa_lib.phantom.paint import SHIFT, Canvas, fill
from axspa_lib.phantom.texture import Field, Grid, Noise, smoothstep

#: Slope (down over lateral) of the gluteal fibres at `FAN_Y` mm and how much it falls per mm caudally: mean and spread
#: between people. Seven public scans: 0 to 40 degrees, steeper cranially and dorsally (0.007 per mm of depth).
SLOPE, FALL, FAN_Y = (0.30, 0.14), (0.006, 0.002), 70.0
#: Spread of the water of muscle by bundles, along fibres and across the belly: with the streaks of fat and the noise
#: the public scans vary within 3 mm by 6 to 9 % in the psoas and by 17 to 21 % in gluteus maximus on T1.
GRAIN = (0.035, 0.025, 0.015)
#: Width of the plane of fat about a muscle, mm, its fat fraction, and share of the border that is fascia.
PLANE_MM, PLANE_FF, FASCIA = 1.0, 0.82, 0.4


@dataclass(frozen=True)
class Fibres:
    """Fields `(row, column)` of one slice: fat fraction (`ff`), factor of proton density (`pd`), and `ends`, about
    standard normal, how far bundles reach beyond or stay behind a muscle's border.
    """

    ff: Field
    pd: Field
    ends: Field
    gluteal_ff: Field
    gluteal_pd: Field
    gluteal_ends: Field


class Muscles:
    """The muscles' noise of one person."""

    def __init__(self, subject: Subject) -> None:
        rng = np.random.default_rng([subject.texture_seed, 31])
        self._fat = float(subject.muscle_fat)
        self._slope = float(rng.normal(*SLOPE))
        self._fall = float(rng.normal(*FALL))
        self._streak = Noise(rng, 0.48, 6, stretch=8, smooth=1.0)
        self._bundle = Noise(rng, 1.5, 8, stretch=9, smooth=1.0)
        self._thread = Noise(rng, 1.1, 4, stretch=5)

    def fibres(self, z: float, grid: Grid, bent: tuple[Field, Field, Field]) -> Fibres:
        """All fields of the slice at depth z; `bent` is noise of 26, 9 and 4 mm grain."""
        coarse, medium, small = bent
        x, y = grid.x[None, :].astype(np.float32), grid.y[:, None].astype(np.float32)
        lateral = np.clip((np.abs(x) - 70) / 220, -0.25, 0.35)
        straight = (1.0 * coarse, (1.1 * coarse + 0.4 * medium - lateral * (y - 55)).astype(np.float32))
        patch = 0.7 + 0.3 * smoothstep(medium + coarse, -1.0, 1.0)
        steep, thread = self._streak.plane(z, grid, 1.2, straight), self._thread.plane(z + 20, grid, 1.2, straight)
        ff = 0.04 + self._fat * (0.28 * smoothstep(steep, 1.1, 2.6) + 0.10 * patch * smoothstep(steep, -0.2, 1.8))
        pd = 1 + GRAIN[0] * thread + GRAIN[1] * steep + GRAIN[2] * (medium + small)
        slope = self._slope + 0.007 * (z - 15) - self._fall * (y - FAN_Y)
        run = np.clip(np.abs(x) - 50, -40, 70) * slope + 1.5 * coarse + 0.35 * medium
        course = (np.broadcast_to(1.5 * coarse, run.shape), -run.astype(np.float32))
        streak, bundle = self._streak.plane(z, grid, 0.0, course), self._bundle.plane(z, grid, 0.0, course)
        lines = streak + 0.45 * bundle  # bundles of bundles
        gluteal = 0.02 + self._fat * (0.04 * smoothstep(lines, -1.2, 1.2) + 0.41 * patch * smoothstep(lines, 0.1, 2.5))
        return Fibres(
            ff=np.clip(ff, 0, 0.9).astype(np.float32), pd=pd.astype(np.float32), ends=steep,
            gluteal_ff=np.clip(gluteal, 0.02, 0.9).astype(np.float32),
            gluteal_pd=(1 + 0.05 * streak + GRAIN[2] * (medium + small)).astype(np.float32),
            gluteal_ends=0.7 * streak + 0.7 * bundle,
        )  # fmt: skip


class Psoas:
    """Fat between the bundles of one person's psoas: a few strokes beside its tendon, and where the nerves leave it."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 44])
        self._angle = {side: float(rng.normal(0.9, 0.25)) for side in (RIGHT, LEFT)}
        self._place = {side: rng.uniform(-0.35, 0.35, 2) for side in (RIGHT, LEFT)}
        self._strokes = {side: rng.uniform(0, 1, (int(rng.integers(1, 7)), 3)) for side in (RIGHT, LEFT)}
        self._roots = {side: rng.uniform(0, 1, (int(rng.integers(2, 4)), 3)) for side in (RIGHT, LEFT)}
        self._strength = float(rng.uniform(0.1, 0.45))

    def paint(self, canvas: Canvas, points: NDArray[np.floating], side: str, z: float) -> None:
        """Paint them into the outline (mm) of the psoas at depth z (mm)."""
        filled = fill(points, canvas.grid)
        if filled is None:
            return
        region = filled[1]
        out = np.array([1.0 if side == LEFT else -1.0, 1.0])
        middle, half = points.mean(0), np.ptp(points, axis=0) / 2
        angle = self._angle[side] + 0.006 * z
        along = np.array([np.cos(angle), -np.sin(angle)]) * out
        across = np.array([np.sin(angle), np.cos(angle)]) * out
        wedges = []  # foot, tip, width at the foot (mm), opacity
        foot = middle + self._place[side] * half + 0.04 * z * across
        for size, turn, strength in self._strokes[side]:
            foot = foot + (1.4 + 2.2 * turn) * across + 1.5 * (size - 0.5) * along
            tip = foot + (1.5 + 4 * size) * along + 1.5 * (turn - 0.5) * across
            wedges.append((foot, tip, 0.9, 0.8 * self._strength * strength))
        corner = points[np.argmax((points - middle) @ (out * (-0.5, 1.0)))]
        for k, (size, turn, strength) in enumerate(self._roots[side]):
            foot = corner + (4.5 * (k - 1) + 3 * turn) * np.array([1.0, 0.2]) * out - 1.5 * along
            tip = foot + (4 + 7 * size) * (along + 0.5 * (k + turn - 1.5) * across)
            wedges.append((foot, tip, 1.0 + 2.2 * strength, 0.3 + self._strength))
        share = np.zeros(filled[0].shape, np.uint8)
        start = np.array([region[1].start, region[0].start])
        for foot, tip, width, strength in wedges:
            away = width / 2 * (tip - foot)[::-1] * (1, -1) / np.linalg.norm(tip - foot)
            ends = canvas.grid.to_pixels(np.stack([foot - away, foot + away, tip])) - start
            corners = np.rint(ends * (1 << SHIFT)).astype(np.int32)
            cv2.fillConvexPoly(share, corners, 255 * strength, cv2.LINE_AA, SHIFT)
        soft = cv2.GaussianBlur(share, (0, 0), 0.5 / canvas.grid.pixel, borderType=cv2.BORDER_CONSTANT)
        cover = np.minimum(soft, filled[0]).astype(np.float32) / np.float32(255)
        canvas.cover(cover, region, canvas.value("deep_fat"))


def belly(
    canvas: Canvas, points: NDArray[np.floating], tissue: str, ff: Field | None, pd: Field, ends: Field,
    ragged_mm: float, width_mm: float = 1.3, edge_mm: float = 0.9, sheathed: bool = True,
) -> None:  # fmt: skip
    """Paint an outline rounded over `width_mm`, its border `edge_mm` wide and shifted by `ragged_mm` times `ends`.

    Where it is `sheathed` a thin plane of fat and its fascia surround it.
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
    if sheathed:
        plane = np.clip(0.5 + (deep + np.float32(PLANE_MM)) / np.float32(edge_mm), 0, 1) * (inside > 0.02)
        canvas.cover((0.75 * plane).astype(np.float32), region, canvas.value("deep_fat", PLANE_FF))
    cover = np.clip(0.5 + deep / np.float32(edge_mm), 0, 1).astype(np.float32)
    canvas.cover(cover, region, canvas.value(tissue, None if ff is None else ff[region], pd[region]))
    if sheathed:
        fascia = np.float32(FASCIA) * np.exp(-(((deep - np.float32(0.2)) / np.float32(0.5)) ** 2))
        canvas.cover(fascia.astype(np.float32), region, canvas.value("ligament"))
