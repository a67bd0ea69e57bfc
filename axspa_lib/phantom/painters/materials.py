"""Texture of tissues: the fields of one slice of one person."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, cloud, ridges, smoothstep
from axspa_lib.phantom.painters.back import Back
from axspa_lib.phantom.painters.muscles import Fibres, Muscles
from axspa_lib.phantom.painters.subcutis import Subcutis
from axspa_lib.phantom.person.anatomy import Points, Subject
from axspa_lib.phantom.person.skeleton import Build, marrow

#: Amplitude (mm) of the irregularity of every border, by the grain of its noise: 9 mm and 3.6 mm.
WARP_MM = (0.85, 0.24)
#: How much less irregular the lumbar spine, the psoas and what lies on the midline are, whose borders are smooth.
CALM = np.float32(0.75)
#: Spread of the water's STIR signal within a tissue, by the grain of its noise: 9, 3.6 and 1.4 mm. The STIR of the
#: public scans varies by 10 to 24 % within normal marrow and by 12 to 35 % within muscle, most of it noise.
RELAXATION = (0.06, 0.02, 0.035)
#: What inversion leaves of fat is uneven: radius (mm) and spread over its mean. On STIR, deep fat of seven public scans
#: varies by 5 % between 0.4 and 0.8 mm and 7 % to 1.6 mm (differences of Gaussians), noise and vessels included.
REMNANT = ((0.6, 0.08), (1.2, 0.08))
#: Where the noise of 1.4 and 3.6 mm grain lies beyond these, a small vessel crosses the slice: in part, wholly.
TWIGS = (2.0, 2.9)
#: How much of the fat about the bowel is vessels and septa too small to be drawn, where they are most: range of people.
HAZE = (0.05, 0.18)


@dataclass(frozen=True)
class Materials:
    """Fields `(row, column)` of one slice: fat fractions (`_ff`) and factors of proton density (`_pd`).

    `collagen` is the share of ligament between the fat of the back, `rough` and `grain` noise of 3.6 and 1.4 mm,
    `relaxation` the factor of the water's signal under STIR, whose T2 varies within every tissue, `remnant` what
    inversion leaves of fat beside its mean, over this mean, `twigs` the share of vessels too small to be drawn, `warp`
    as in `Texture.warp`.
    """

    iliac_ff: Field
    sacral_ff: Field
    body_ff: Field
    marrow_pd: Field
    cartilage_pd: Field
    fibres: Fibres
    muscle_pd: Field
    back_ff: Field
    collagen: Field
    fat_ff: Field
    fat_pd: Field
    deep_pd: Field
    visceral_ff: Field
    rough: Field
    grain: Field
    vessels: Field
    relaxation: Field
    remnant: Field
    twigs: Field
    warp: tuple[Field, Field]

    def taut(self, points: NDArray[np.floating], grid: Grid) -> NDArray[np.float32]:
        """Return where to paint points `(n, 2)` (mm) that the slice's warp shall leave in place."""
        column, row = np.clip(np.rint(grid.to_pixels(points)), 0, grid.size - 1).astype(int).T
        shift = np.stack([self.warp[0][row, column] - column, self.warp[1][row, column] - row], axis=1)
        return (points + grid.pixel * shift).astype(np.float32)


class Texture:
    """The noise of one person, from which every slice takes its fields."""

    def __init__(self, subject: Subject, build: Build) -> None:
        rng = np.random.default_rng(subject.texture_seed)
        self._subject, self._build = subject, build
        self._haze = np.float32(np.random.default_rng([subject.texture_seed, 46]).uniform(*HAZE))
        self._coarse = Noise(rng, 26, 26)
        self._medium = Noise(rng, 9, 9)
        self._small = Noise(rng, 3.6, 5)
        self._fine = Noise(rng, 1.4, 4)
        self._muscles = Muscles(subject)
        self._septa = Noise(rng, 5.0, 5, stretch=4.5)
        self._subcutis = Subcutis(subject)
        self._back = Back(subject)

    def rough(self, z: float, grid: Grid) -> Field:
        """Return the noise of about 4 mm grain, for ragged borders."""
        return self._small.plane(z, grid)

    def warp(
        self, z: float, grid: Grid, skin: NDArray[np.float64], firm: Field | float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where each pixel of the slice looks on the smooth anatomy: (column, row) in pixels, for `cv2.remap`.

        `skin` is the body's lower edge y (mm) by column; the skin itself stays smooth. `firm` is the share of the
        shift.
        """
        inside = np.clip((skin[None, :] - grid.y[:, None] - 4) / 14, 0, 1).astype(np.float32)
        calm = np.outer(np.clip((6 - grid.y) / 18, 0, 1), np.clip((90 - np.abs(grid.x)) / 15, 0, 1)).astype(np.float32)
        calm = np.maximum(calm, np.clip((24 - np.abs(grid.x)) / 12, 0, 1).astype(np.float32)[None, :])
        inside *= (1 - CALM * calm) * np.float32(firm)
        columns, rows = np.arange(grid.size, dtype=np.float32)[None, :], np.arange(grid.size, dtype=np.float32)[:, None]
        out = []
        for axis, base in ((37.0, columns), (71.0, rows)):
            shift = WARP_MM[0] * self._medium.plane(z - axis, grid) + WARP_MM[1] * self._small.plane(z - axis, grid)
            out.append(base + inside * shift / np.float32(grid.pixel))
        return out[0], out[1]

    def materials(
        self,
        z: float,
        grid: Grid,
        joint: dict[str, Points | None],
        skin: NDArray[np.float64],
        firm: Field | float = 1.0,
    ) -> Materials:
        """Return all fields of the slice at depth z.

        `joint` are the middle lines of its joints in mm, `skin` the body's lower edge y (mm) by column, `firm` as in
        `warp`.
        """
        s = self._subject
        coarse, medium = self._coarse.plane(z, grid), self._medium.plane(z, grid)
        small, fine = self._small.plane(z, grid), self._fine.plane(z, grid)
        coarse_2 = self._coarse.plane(z + 60, grid)
        warp = (2.5 * coarse, 3.0 * coarse_2)
        # of another depth than the fields of fat, so that both vary by themselves
        other = (self._medium.plane(z + 31, grid), self._small.plane(z + 31, grid), self._fine.plane(z + 31, grid))
        noise, key = (coarse, coarse_2, medium, other[0]), round(1000 * (z + 1000))
        iliac, sacral, body, pd = marrow(self._build, s, grid, joint, noise, key)
        muscle_pd = 1 + 0.05 * coarse + 0.06 * medium + 0.05 * small + 0.03 * fine
        warp_px = self.warp(z, grid, skin, firm)
        columns, rows = np.arange(grid.size, dtype=np.float32)[None, :], np.arange(grid.size, dtype=np.float32)[:, None]
        shown_x, shown_y = (
            grid.pixel * (2 * at - px) + start
            for at, px, start in zip((columns, rows), warp_px, (grid.x0, grid.y0), strict=True)
        )
        back, collagen = self._back.fields(z, grid, (shown_x, shown_y), coarse, medium, small)
        fat_ff, specks = self._subcutis.fields(z, grid, skin, (coarse, medium, small))
        fat = 1 + 0.03 * coarse + 0.02 * medium + 0.015 * small + 0.03 * fine
        strands = ridges(self._septa.plane(z + 45, grid, 1.2, warp), 0.055) * smoothstep(medium - coarse, -0.1, 1.2)
        deep = 1 + 0.012 * medium + 0.04 * coarse + 0.008 * small + 0.012 * fine - 0.16 * strands
        rare = smoothstep(0.8 * small + 0.8 * medium, 1.4, 2.4)
        vessels = ridges(self._septa.plane(z + 20, grid, 0.6, warp), 0.08) * rare
        relaxation = 1 + np.tensordot(np.array(RELAXATION, np.float32), np.stack(other), 1)
        own = np.random.default_rng([s.texture_seed, 47, key])
        remnant = np.sum([np.float32(share) * cloud(own, grid, sigma) for sigma, share in REMNANT], axis=0)
        haze = smoothstep(other[0] + 0.7 * coarse_2 + 0.3 * other[1], 0.3, 2.8)
        twigs = smoothstep(0.9 * fine + 0.45 * small + 0.3 * other[0], *TWIGS) + np.float32(0.15) * haze

        def single(field: NDArray[np.floating]) -> Field:
            return field.astype(np.float32)

        return Materials(
            iliac_ff=iliac, sacral_ff=sacral, body_ff=body, marrow_pd=pd,
            cartilage_pd=single(np.clip(1.22 + 0.2 * medium + 0.06 * small, 0.5, 1.9)),
            fibres=self._muscles.fibres(z, grid, (coarse, medium, small, fine)), muscle_pd=single(muscle_pd),
            back_ff=back, collagen=collagen, fat_ff=fat_ff, fat_pd=single(fat),
            deep_pd=single(deep), visceral_ff=single(0.94 - self._haze * haze),
            rough=small, grain=fine, vessels=single(np.maximum(vessels, specks)),
            relaxation=single(np.clip(relaxation, 0.4, 1.8)), remnant=single(remnant), twigs=twigs, warp=warp_px,
        )  # fmt: skip


def bend(planes: NDArray[np.float32], warp: tuple[NDArray[np.float32], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Displace planes `(channel, row, column)` by a warp of `Texture.warp`."""
    return np.stack([cv2.remap(plane, warp[0], warp[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
                     for plane in planes])  # fmt: skip


def bend_labels(labels: NDArray[np.uint8], warp: tuple[NDArray[np.float32], NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Displace a label plane by the same warp, without mixing labels."""
    return cv2.remap(labels, *warp, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)
