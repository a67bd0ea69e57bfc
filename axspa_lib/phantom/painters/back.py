"""Fat and collagen between the muscles of the back and in the ligaments behind the joints."""

from __future__ import annotations

import numpy as np

from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, smoothstep
from axspa_lib.phantom.person.anatomy import Subject

#: Where the bundles of the back run together: y on the midline, and the distance at which they are to scale, mm.
FOCUS = (100.0, 95.0)
#: Depth from which on there is anything of the back, and by which the ligaments behind the joints end, mm.
FIRST_MM, LIGAMENTS_MM = 20.0, (29.0, 44.0)


class Back:
    """One person's back. The fat lies where it lies in everyone, in an amount of the person's own.

    It fills the plane between multifidus and longissimus, fans out beside the spinous processes, pads the ligaments
    behind the joints, and elsewhere is fine streaks that run together on the midline caudally.
    """

    def __init__(self, subject: Subject) -> None:
        rng = np.random.default_rng([subject.texture_seed, 29])
        self._fine = Noise(rng, 1.15, 7, stretch=20, smooth=0.7)
        self._sheaf = Noise(rng, 2.6, 12, stretch=14)
        self._strand = Noise(rng, 1.5, 4, stretch=7)
        fatty = min(float(subject.muscle_fat), 2.0)
        self._streaks = 0.2 * fatty
        self._fan, self._wide = rng.uniform(0.6, 1.1) + 0.15 * fatty, rng.uniform(0.8, 1.3) + 0.25 * fatty
        self._plane_mm = rng.uniform(1.0, 2.6) + 0.8 * fatty
        self._lateral = rng.uniform(0.0, 0.22)
        self._plane_x, self._slope = rng.normal(32, 2), rng.normal(0.16, 0.05)
        self._pad = rng.uniform(0.55, 1.0)
        self._raphe = rng.uniform(0.3, 0.85)

    def fields(
        self, z: float, grid: Grid, shown: tuple[Field, Field], coarse: Field, medium: Field, small: Field
    ) -> tuple[Field, Field]:
        """Return the fat fraction of the back at depth z (mm), and how much of a pixel is collagen.

        `shown` are the x and y (mm) at which the warped slice will show each pixel: bundles, being taut, run straight.
        """
        if z < FIRST_MM:
            none = np.zeros_like(coarse)
            return none, none
        x, y = shown
        up = np.float32(FOCUS[0]) - y
        polar = (
            np.hypot(x, up) - x + (x - grid.x[None, :]).astype(np.float32),
            FOCUS[1] * np.arctan2(x, up + np.float32(1e-3))
            + 2.4 * coarse
            + 0.4 * medium
            - grid.y[:, None].astype(np.float32),
        )
        fine, sheaf = self._fine.plane(z, grid, 0.0, polar), self._sheaf.plane(z, grid, 0.0, polar)
        lower = y + np.float32(0.9 * (z - 45))  # the spine rises dorsally
        away = np.abs(x)
        wide = self._wide * np.clip(23 - 0.36 * (lower + 5), 4, 30)
        fan = self._fan * np.clip(1.15 - (z - 45) / 45, 0.2, 1) * np.exp(-((away / wide) ** 2))
        fan = fan * smoothstep(-lower - 4 * medium, -58, -18) * smoothstep(lower, -34, -18)
        off = away - (self._plane_x + self._slope * (10 - lower)) + 1.2 * medium
        width = self._plane_mm * np.clip(1 + 0.45 * medium, 0.3, 2)
        taper = smoothstep(-lower, -45, 0)  # where multifidus and longissimus part
        plane = np.exp(-((off / (width * (0.3 + 0.7 * taper))) ** 2)) * smoothstep(taper, 0.0, 0.3)
        share = np.float32(1 - np.clip((z - LIGAMENTS_MM[0]) / (LIGAMENTS_MM[1] - LIGAMENTS_MM[0]), 0, 1))
        pad = self._pad * share * smoothstep(-lower, -30, -8) * smoothstep(away, 8, 20)
        seam = np.abs(x + 1.2 * coarse + 0.3 * medium)
        low = smoothstep(lower, -4, 6)
        beside = self._raphe * low * np.exp(-(((seam - 1.6) / 1.5) ** 2)) * smoothstep(medium + 0.5 * coarse, -0.8, 1.0)
        most = np.maximum(fan, np.maximum(pad, 0.8 * beside))
        reach = np.hypot(x, up)  # bundles that meet become one, the fine ones first
        along = (1 - 0.5 * pad) * smoothstep(reach, 30, 95)
        # fat between bundles is seen here and there
        few = smoothstep(reach, 25, 75) * smoothstep(0.8 * medium + coarse, -0.6, 1.4)
        level = 2.9 * np.maximum(most, self._lateral * smoothstep(off, 0, 12)) - 1.2 + self._streaks
        level += along * (1.1 * sheaf + 0.45 * fine) + 0.15 * medium + 0.2 * small * pad
        ff = 0.05 + 0.85 * smoothstep(level, -0.2, 1.4) + few * (0.24 * smoothstep(fine, 0.4, 2.6) - 0.14 * fan * fine)
        ff = np.maximum(ff, 0.86 * smoothstep(plane, 0.15, 0.9))
        strand = smoothstep(self._strand.plane(z, grid, 0.2, polar), 0.4, 2.2)
        collagen = np.maximum(
            (0.6 * pad + 0.35 * fan * smoothstep(reach, 45, 95)) * strand,
            0.55 * low * np.exp(-((seam / 0.7) ** 2)) * smoothstep(medium + 0.5 * small, -1.8, 0.8),
        )
        return np.clip(ff, 0.02, 0.92).astype(np.float32), collagen.astype(np.float32)
