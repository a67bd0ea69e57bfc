"""What tissues look like inside: the texture fields of one slice of one person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from axspa_lib.phantom.anatomy import Subject
from axspa_lib.phantom.texture import Field, Grid, Noise, ridges, smoothstep


@dataclass(frozen=True)
class Materials:
    """Fields `(row, column)` of one slice."""

    marrow_ff: Field
    red_ff: Field
    marrow_pd: Field
    muscle_ff: Field
    gluteal_ff: dict[int, Field]
    back_ff: dict[int, Field]
    fat_pd: Field
    deep_pd: Field
    rough: Field
    cleft: Field


class Texture:
    """The noise of one person, from which every slice takes its fields."""

    def __init__(self, subject: Subject) -> None:
        rng = np.random.default_rng(subject.texture_seed)
        self._subject = subject
        self._coarse = Noise(rng, 26, 26)
        self._medium = Noise(rng, 9, 9)
        self._small = Noise(rng, 3.6, 4)
        self._fine = Noise(rng, 1.5, 4)
        self._fibre = Noise(rng, 2.2, 7, stretch=11)
        self._septa = Noise(rng, 7, 6, stretch=2.2)
        self._back = Noise(rng, 2.6, 8, stretch=9)

    def rough(self, z: float, grid: Grid) -> Field:
        """Noise of about 4 mm grain, for ragged borders."""
        return self._small.plane(z, grid)

    def materials(self, z: float, grid: Grid) -> Materials:
        """All fields of the slice at depth z."""
        s = self._subject
        coarse, medium = self._coarse.plane(z, grid), self._medium.plane(z, grid)
        small, fine = self._small.plane(z, grid), self._fine.plane(z, grid)
        warp = (2.5 * coarse, 3.0 * self._coarse.plane(z + 60, grid))
        blotch = 0.045 * coarse + 0.05 * medium + 0.03 * small
        marrow = np.clip(s.marrow_ff + blotch, 0.05, 0.95).astype(np.float32)
        red = np.clip(s.red_ff + blotch, 0.05, 0.95).astype(np.float32)
        pd = (1 + 0.035 * fine + 0.02 * small).astype(np.float32)
        fatty = np.float32(s.muscle_fat)
        patch = smoothstep(medium + 0.6 * coarse, -0.6, 1.2)
        muscle = 0.02 + 0.25 * fatty * ridges(small + 0.6 * medium, 0.05) * smoothstep(medium, 0.4, 1.4)
        gluteal = {sign: self._strands(z, grid, 0.33 * sign, warp, fatty, patch, 0.15) for sign in (1, -1)}
        back = {sign: self._back_strands(z, grid, sign, warp, fatty, medium, coarse) for sign in (1, -1)}
        septa = ridges(self._septa.plane(z, grid, 0.3, warp), 0.05) * smoothstep(medium, -0.7, 0.6)
        fat = 1 + 0.05 * medium + 0.04 * fine - 0.35 * septa
        strands = ridges(self._septa.plane(z + 45, grid, 1.2, warp), 0.07) * smoothstep(small + medium, 0.2, 1.4)
        deep = 1 + 0.05 * medium + 0.03 * fine - 0.55 * strands
        cleft = self._strands(z, grid, 1.1, warp, np.float32(1.0), patch, 0.5)
        return Materials(
            marrow, red, pd, muscle.astype(np.float32), gluteal, back, fat.astype(np.float32), deep.astype(np.float32),
            small, cleft,
        )  # fmt: skip

    def _strands(
        self,
        z: float,
        grid: Grid,
        angle: float,
        warp: tuple[Field, Field],
        fatty: np.float32,
        patch: Field,
        width: float,
    ) -> Field:
        fibre = self._fibre.plane(z, grid, angle, warp)
        lines = ridges(fibre, width) * (0.25 + 0.75 * patch)
        return np.clip(0.03 + 0.85 * fatty * lines, 0.02, 0.93).astype(np.float32)

    def _back_strands(
        self,
        z: float,
        grid: Grid,
        sign: int,
        warp: tuple[Field, Field],
        fatty: np.float32,
        medium: Field,
        coarse: Field,
    ) -> Field:
        fibre = self._back.plane(z, grid, sign * 1.12, warp)
        towards = np.exp(-((grid.x[None, :] / 26) ** 2) - (np.maximum(grid.y[:, None] - 45, 0) / 18) ** 2)
        share = smoothstep(fibre + 0.6 * medium + 1.3 * towards.astype(np.float32) * min(float(fatty), 1.6), 0.7, 1.5)
        return np.clip(0.04 + 0.85 * share, 0.02, 0.93).astype(np.float32)
