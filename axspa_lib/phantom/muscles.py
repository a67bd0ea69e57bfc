"""Muscles: bundles of fibres with fat between them, and the ragged borders at which the bundles end."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.anatomy import Subject
from axspa_lib.phantom.paint import Canvas, fill
from axspa_lib.phantom.texture import Field, Grid, Noise, ridges, smoothstep

#: Slope (down over lateral) of the gluteal fibres at `FAN_Y` mm and how much it falls per mm caudally: mean and spread
#: between people. Seven public scans: 0 to 40 degrees, steeper cranially and dorsally (0.007 per mm of depth).
SLOPE, FALL, FAN_Y = (0.30, 0.14), (0.006, 0.002), 70.0
#: Spread of the water of muscle by bundles, along fibres and across the belly: with the streaks of fat and the noise
#: the public scans vary within 3 mm by 6 to 9 % in the psoas and by 17 to 21 % in gluteus maximus on T1.
GRAIN = (0.05, 0.035, 0.03)


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
        self._streak = Noise(rng, 0.62, 5, stretch=6, smooth=1.0)
        self._bundle = Noise(rng, 1.8, 8, stretch=5, smooth=1.0)
        self._thread = Noise(rng, 1.1, 4, stretch=5)

    def fibres(self, z: float, grid: Grid, bent: tuple[Field, Field, Field], sag: Field) -> Fibres:
        """All fields of the slice at depth z.

        `bent` is noise of 26, 9 and 4 mm grain; `sag` (mm) how far up the slice's warp will move what lies here, which
        fibres, being taut, do not follow.
        """
        coarse, medium, small = bent
        x, y = grid.x[None, :].astype(np.float32), grid.y[:, None].astype(np.float32)
        lateral = np.clip((np.abs(x) - 70) / 220, -0.25, 0.35)
        straight = (1.0 * coarse, (1.1 * coarse + 0.4 * medium - lateral * (y - 55)).astype(np.float32))
        patch = 0.7 + 0.3 * smoothstep(medium + coarse, -1.0, 1.0)
        steep, thread = self._streak.plane(z, grid, 1.2, straight), self._thread.plane(z + 20, grid, 1.2, straight)
        ff = 0.04 + self._fat * (0.28 * smoothstep(steep, 1.1, 2.6) + 0.10 * patch * smoothstep(steep, -0.2, 1.8))
        pd = 1 + GRAIN[0] * thread + GRAIN[1] * steep + GRAIN[2] * (medium + small)
        slope = self._slope + 0.007 * (z - 15) - self._fall * (y - FAN_Y)
        run = np.clip(np.abs(x) - 50, -40, 70) * slope + sag + 1.1 * coarse
        course = (np.broadcast_to(1.5 * coarse, run.shape), -run.astype(np.float32))
        streak, bundle = self._streak.plane(z, grid, 0.0, course), self._bundle.plane(z, grid, 0.0, course)
        septa = ridges(bundle, 0.3) * smoothstep(medium + 0.6 * small, 0.2, 1.6)
        streaks = 0.13 * smoothstep(streak, -0.2, 1.7) + 0.48 * patch * smoothstep(streak, 0.6, 2.8)
        gluteal = 0.02 + self._fat * (streaks + 0.10 * septa)
        return Fibres(
            ff=np.clip(ff, 0, 0.9).astype(np.float32), pd=pd.astype(np.float32), ends=0.7 * steep + 0.6 * small,
            gluteal_ff=np.clip(gluteal, 0.02, 0.9).astype(np.float32),
            gluteal_pd=(1 + 0.075 * streak + GRAIN[2] * (medium + small)).astype(np.float32),
            gluteal_ends=0.5 * streak + 0.8 * bundle,
        )  # fmt: skip


def belly(
    canvas: Canvas, points: NDArray[np.floating], tissue: str, ff: Field | None, pd: Field, ends: Field,
    ragged_mm: float, width_mm: float = 2.5, opacity: float = 1.0,
) -> None:  # fmt: skip
    """Paint an outline whose border is shifted by `ragged_mm` times the noise `ends`, and rounded over `width_mm`."""
    filled = fill(points, canvas.grid)
    if filled is None:
        return
    mask, region = filled
    blurred = cv2.GaussianBlur(mask, (0, 0), width_mm / canvas.grid.pixel, borderType=cv2.BORDER_CONSTANT)
    inside = blurred.astype(np.float32) / np.float32(255)
    slope = 0.4 / width_mm  # of the blurred coverage at a straight border, per mm
    near = 4 * inside * (1 - inside)  # 1 on the border
    shift = inside - np.float32(0.5) + np.float32(ragged_mm * slope) * near * (ends[region] - np.float32(0.7))
    cover = np.clip(0.5 + shift / np.float32(slope * 0.9), 0, 1).astype(np.float32) * np.float32(opacity)
    canvas.cover(cover, region, canvas.value(tissue, None if ff is None else ff[region], pd[region]))
