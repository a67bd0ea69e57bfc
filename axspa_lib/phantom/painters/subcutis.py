"""The fat under the skin: lobules between thin septa that follow the skin, a fascia, small vessels along the septa."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, ridges, smoothstep
from axspa_lib.phantom.person.anatomy import Subject

#: Half widths of the septa about small and large lobules, in standard deviations of their noise: lines of about 0.8 mm.
SEPTA = (0.19, 0.09)
#: Water of a septum, which is thinner than a voxel.
SEPTUM = 0.42
#: How far under the skin the small lobules reach, mm; in public scans they fill the superficial 10 to 20 mm or lack.
SHALLOW_MM = 17.0


class Subcutis:
    """The fat under one person's skin."""

    def __init__(self, subject: Subject) -> None:
        rng = np.random.default_rng([subject.texture_seed, 33])
        self._crowded = float(rng.uniform(0.0, 0.4))
        self._fascia_mm = float(subject.subcutaneous_mm * rng.uniform(0.45, 0.75))
        self._small = Noise(rng, 2.8, 5, stretch=2.0)
        self._large = Noise(rng, 6.0, 7, stretch=9)

    def fields(
        self, z: float, grid: Grid, skin: NDArray[np.float64], bent: tuple[Field, Field, Field]
    ) -> tuple[Field, Field]:
        """Return the fat fraction and share of small vessels of the slice at depth z.

        `skin` is the body's lower edge y (mm) by column, `bent` noise of 26, 9 and 4 mm grain.
        """
        coarse, medium, _ = bent
        x = grid.x[None, :].astype(np.float32)
        y = grid.y[:, None].astype(np.float32)
        under = np.maximum(skin, -200.0)[None, :].astype(np.float32) - y
        course = (0.5 * medium, 1.2 * coarse - under - y)
        lobule, lobe = self._small.plane(z, grid, 0.0, course), self._large.plane(z, grid, 0.0, course)
        other = self._small.plane(z + 40, grid, 0.0, course)
        shallow = np.exp(-((np.clip(under - 3, 0, None) / SHALLOW_MM) ** 2)) * (0.6 + 0.4 * np.exp(-((x / 45) ** 2)))
        cells = ridges(lobule, SEPTA[0]) * smoothstep(other, -0.8, 0.9)
        walls = ridges(lobe, SEPTA[1]) * smoothstep(medium + coarse, -0.2, 1.2)
        sheet = under - self._fascia_mm - 0.3 * medium - 3.0 * coarse
        fascia = np.exp(-((sheet / 0.55) ** 2)) * smoothstep(medium, -1.2, 0.6)
        septa = np.minimum(1, self._crowded * shallow * cells + 0.5 * walls + 0.5 * fascia)
        seldom = np.float32(1.8) - np.float32(0.9 * self._crowded) * shallow
        share = ridges(lobule, 1.6 * SEPTA[0]) * np.clip((np.abs(other) - seldom) / 0.5, 0, 1) * (under < 60)
        return (0.94 - SEPTUM * septa).astype(np.float32), share.astype(np.float32)
