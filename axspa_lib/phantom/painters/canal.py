"""The sacral canal: fat with small veins, the thecal sac and its rootlets, and the roots that go on below its end.

The sac ends between S1 and S3, blunt or tapered, is narrower behind the last disc, and gives off its roots in steps, at
other heights left and right: so seen in the public scans. Its width at S1 is measured in the published patient (18 to
21 mm); other sizes, and all spreads, are set by eye beside those scans.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import SHIFT, Canvas, offset
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.organs import Strand, strands
from axspa_lib.phantom.painters.tubes import smooth, stretches, tube
from axspa_lib.phantom.person.anatomy import Body, Points

#: The sac on the midline: y, depth of its ventral wall, half width, half depth, mm.
AXIS = np.array([(-112.0, 81, 10.8, 8.0), (-80, 66, 10.5, 8.0), (-57, 53, 10.2, 8.5), (-42, 43.2, 10.0, 9.0),
                 (-29, 33.5, 9.8, 10.0), (-19, 28.0, 9.6, 10.5), (-7, 22.3, 9.2, 10.5), (0, 19.5, 8.8, 10.5),
                 (14, 20.0, 7.8, 9.5), (30, 23.5, 7.0, 7.5), (64, 28, 5.5, 5.5)])  # fmt: skip
#: Rows at which the sac is described, y in mm.
ROWS = np.arange(-112.0, 64.0)
#: Exponent of its cross-section: 2 would be an ellipse.
SQUARE = 2.8
#: End of the sac: mean, spread and limits of y, mm (S1 ends at 21, S2 at 46).
END_MM, END_SPREAD_MM, END_LIMITS_MM = 33.0, 11.0, (12.0, 57.0)
#: Where the roots of S1 to S3 leave the sac, and where the ligaments narrow it, y in mm.
AXILLAE, WAIST = (-9.0, 13.0, 32.0), -14.0
#: Rootlets in the sac, of both sides; they lie dorsally in the person on the back.
ROOTLETS = 30
#: Roots of S3 to S5 below the sac: ends (x, y, depth) and radius, mm; and where the filum ends.
LOWER = (((16.0, 66.0, 28.0), 1.1), ((11.0, 80.0, 31.0), 0.9), ((7.0, 92.0, 32.0), 0.6), ((2.0, 92.0, 33.0), 0.4))
#: Veins of the epidural plexus in view.
VEINS = 18
#: Faint threads of connective tissue in the fat of the lower canal.
THREADS = 22
#: Spread of the proton density between lobules of the canal's fat.
LOBULES = 0.035
#: Blur of walls along x and y, mm: they cross the slice at a low angle.
SLANT = (0.35, 1.0)


@dataclass(frozen=True)
class Sac:
    """The dural sac by `ROWS`, in mm.

    Attributes:
        centre: (x, depth) of its axis; `half` and `dorsal`, on the side of +x and on the other, its half width and how
            much more dorsal it lies there; `deep` its half depth; `end` y of its end.
    """

    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    dorsal: NDArray[np.float64]
    deep: NDArray[np.float64]
    end: float

    def section(self, depth: float) -> NDArray[np.float64]:
        """Return the half widths, mm, that the plane at `depth` meets, by row and side: the sac is flat ventrally."""
        away = np.abs(depth - self.centre[:, 1:] - self.dorsal) / np.maximum(self.deep, 1e-3)[:, None]
        share = np.maximum(1 - away**SQUARE, 0) ** (1 / SQUARE)
        return self.half * share * (self.deep > 0.3)[:, None]


def _wave(rng: np.random.Generator, grain: float) -> NDArray[np.float64]:
    """Smooth noise along `ROWS`, about standard normal, of a grain in mm."""
    knots = np.arange(ROWS[0] - 2 * grain, ROWS[-1] + 2 * grain, grain)
    kernel = np.hanning(2 * int(grain / 2) + 3)
    rough = np.interp(ROWS, knots, 1.2 * rng.standard_normal(len(knots)))
    return np.convolve(np.pad(rough, len(kernel) // 2, mode="edge"), kernel / kernel.sum(), "valid")


def draw_sac(rng: np.random.Generator) -> Sac:
    """Draw one person's sac."""
    ventral, width, deep = (np.interp(ROWS, AXIS[:, 0], AXIS[:, k]) for k in (1, 2, 3))
    end = float(np.clip(rng.normal(END_MM, END_SPREAD_MM), *END_LIMITS_MM))
    taper = np.clip((end - ROWS) / rng.uniform(12, 45), 0, 1) ** rng.uniform(0.35, 0.8)
    waist = np.exp(-(((ROWS - rng.normal(WAIST, 4)) / rng.uniform(4, 9)) ** 2)) * rng.uniform(0, 0.3)
    size = rng.uniform(0.82, 1.12)
    half = np.empty((len(ROWS), 2))
    for k in (0, 1):
        side = size * width * taper * (1 - waist) + 0.55 * _wave(rng, 7.0) * np.minimum(1, 3 * taper)
        for axilla in AXILLAE:
            y, step = axilla + rng.normal(0, 3.5), rng.uniform(0.2, 1.5)
            shoulder = np.exp(-(((ROWS - y + 3) / 3) ** 2))
            side += step * taper * (0.7 * shoulder - 0.5 / (1 + np.exp(-(ROWS - y) / 0.8)))
        half[:, k] = np.where(taper > 0, np.maximum(side, 0.5), 0)
    low = np.clip((ROWS + 40) / 60, 0, 1)
    aside = rng.normal(0, 0.6) + low * (rng.normal(0, 1.3) + 0.6 * _wave(rng, 24.0))
    depth = ventral + size * deep + rng.uniform(-0.3, 1.7) + 0.6 * _wave(rng, 16.0)
    deep = np.where(taper > 0, size * deep * taper**0.8 * (1 - 0.7 * waist) + 0.5 * _wave(rng, 9.0), 0)
    dorsal = 0.9 * np.stack([_wave(rng, 9.0), _wave(rng, 9.0)], axis=1)
    return Sac(np.stack([aside, depth], axis=1), half, dorsal, deep, end)


class Canal:
    """One person's sacral canal, cut by slices."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 61])
        self._body = body
        self._sac = draw_sac(rng)
        self._rootlets = [self._rootlet(rng) for _ in range(ROOTLETS)]
        self._lower = [
            root for end, radius in LOWER for sign in (1, -1) if (root := self._below(rng, end, radius, sign))
        ]
        self._veins = [self._vein(rng) for _ in range(VEINS)]
        self._threads = [self._thread(rng) for _ in range(THREADS)]
        self._wide = rng.uniform(1.2, 1.8, 2)
        self._edge = 1.2 * np.stack([_wave(rng, 6.0), _wave(rng, 6.0)], axis=1)

    def _rootlet(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], float, float]:
        """Where a rootlet lies in the sac by row, over its half axes (x, depth), its radius (mm) and opacity."""
        aside = rng.uniform(-0.75, 0.75) + np.sign(rng.normal()) * 0.2 * np.clip((ROWS + 30) / 60, 0, 1)
        u = aside + 0.08 * _wave(rng, 14.0)
        v = np.clip(rng.normal(0.45, 0.35), -0.6, 0.85) + 0.08 * _wave(rng, 20.0)
        last = rng.uniform(-25, self._sac.end)
        path = np.stack([u, v], axis=1)
        path[last < ROWS] = np.nan
        return path, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0.15, 0.6))

    def _below(
        self, rng: np.random.Generator, end: tuple[float, float, float], radius: float, sign: int
    ) -> Strand | None:
        """Paint a root from the sac's end through the fat of the canal, unless too thin to be seen."""
        first = self._sac.end - rng.uniform(0, 12)
        row = int(first - ROWS[0])
        start = self._sac.centre[row] + (sign * rng.uniform(0.5, 3), 0)
        last = np.array(end[:2]) * (sign * rng.uniform(0.35, 1.3), 1) + rng.normal(0, (1.5, 8.0))
        t = np.linspace(0, 1, 7)
        x = start[0] + (last[0] - start[0]) * t ** rng.uniform(1.3, 2.6) + rng.normal(0, 0.5, 7) * (t > 0)
        line = np.stack([x, first + (last[1] - first) * t], axis=1)
        seen = rng.random() < 0.6
        depths = start[1] + rng.uniform(-1, 4), end[2] + rng.normal(1.5, 2.0)
        root = Strand(smooth(line.astype(np.float32)), depths, 2.6,
                      radius * float(np.exp(rng.normal(0, 0.45))), "nerve", float(rng.uniform(0.2, 0.7)))  # fmt: skip
        return root if seen else None

    @staticmethod
    def _thread(rng: np.random.Generator) -> Strand:
        """A faint thread along the lower canal, further from its middle the further down."""
        y, aside = rng.uniform(15, 75), rng.uniform(-1, 1)
        t = np.linspace(0, 1, 4)
        line = np.stack([aside * (6 + 4 * t) + rng.normal(0, 0.5, 4), y + rng.uniform(8, 22) * t], axis=1)
        depth = rng.uniform(27, 39)
        return Strand(smooth(line.astype(np.float32)), (depth, depth + rng.normal(0, 1.5)), 2.5,
                      float(rng.uniform(0.25, 0.7)), "ligament", float(rng.uniform(0.1, 0.4)))  # fmt: skip

    def _vein(self, rng: np.random.Generator) -> Strand:
        """A short winding vein of the plexus beside the sac, most of them ventrally."""
        row = int(rng.uniform(30, len(ROWS) - 1))
        sign = rng.choice((-1, 1))
        turn = rng.uniform(-0.9, 0.5)  # of the place round the sac, from straight sideways: ventral is negative
        reach = max(float(self._sac.half[row].mean()), 4.0) + rng.uniform(0.8, 3.0)
        x = self._sac.centre[row, 0] + sign * reach * np.cos(turn)
        depth = self._sac.centre[row, 1] + max(float(self._sac.deep[row]), 2.0) * np.sin(turn)
        heading = np.pi / 2 + np.cumsum(rng.normal(0, 0.45, 7))
        step = rng.uniform(0.7, 2.2) * np.stack([np.cos(heading), np.sin(heading)], axis=1)
        line = np.cumsum(step, axis=0) + np.array([x, ROWS[row]])
        return Strand(smooth(line.astype(np.float32)), (depth, depth + rng.normal(0, 2)), float(rng.uniform(1.0, 2.2)),
                      float(rng.uniform(0.3, 0.7)), "vein", float(rng.uniform(0.15, 0.55)))  # fmt: skip

    def fat(self, canvas: Canvas, points: Points, z: float, m: Materials) -> None:
        """Paint the canal's fat within its thin wall, the lower roots and the veins about the sac."""
        middle, y = points[:, 0].mean(), points[:, 1]
        side = (points[:, 0] > middle).astype(int)
        low = np.clip((y - 15) / 30, 0, 1)
        ragged = self._edge[np.clip(np.rint(y - ROWS[0]).astype(int), 0, len(ROWS) - 1), side]
        across = (points[:, 0] - middle) * (0.9 + (self._wide[side] - 0.9) * low) + np.where(side, ragged, -ragged)
        wall = m.taut(even(np.stack([middle + across, y], axis=1)), canvas.grid)
        canvas.outline(offset(wall, -0.5), "cortex", None, 1.0, 0.4, soft_mm=SLANT)
        filled = canvas.outline(wall, "deep_fat", 0.9, m.deep_pd + np.float32(LOBULES) * m.rough, 0.9, soft_mm=SLANT)
        if filled is None:
            return
        mask, (rows, columns) = filled
        before = canvas.planes.copy()
        for drawn in (self._threads, self._veins, self._lower):
            strands(canvas, self._body, drawn, z, m)
        within = mask * np.float32(1 / 255)  # none in the bone about it
        before[:, rows, columns] += within * (canvas.planes[:, rows, columns] - before[:, rows, columns])
        canvas.planes[:] = before

    def sac(self, canvas: Canvas, z: float, m: Materials) -> None:
        """Paint the thecal sac in its dura, with its rootlets."""
        depth, s = self._body.depth(z), self._sac
        half = s.section(depth)
        for part in stretches(half.sum(1) > 0.8):
            one, other = (
                np.stack([s.centre[part, 0] + sign * half[part, k], ROWS[part]], axis=1)
                for k, sign in enumerate((1, -1))
            )
            ring = self._body.place(np.vstack([one, other[::-1]]), depth)
            dura = m.taut(ring, canvas.grid)
            canvas.outline(offset(dura, -0.5), "ligament", None, 0.6, 0.7, soft_mm=SLANT)
            canvas.outline(dura, "csf", soft_mm=SLANT)
        inside = half.min(1) > 1.5
        if not inside.any():
            return
        axis = m.taut(self._body.place(np.stack([s.centre[:, 0], ROWS], axis=1), depth), canvas.grid)
        cover = np.zeros((canvas.grid.size, canvas.grid.size), np.uint8)
        for path, radius, opacity in self._rootlets:
            away = (depth - s.centre[:, 1] - path[:, 1] * s.deep) / 2.0
            width = radius * np.sqrt(np.maximum(1 - np.nan_to_num(away, nan=2.0) ** 2, 0)) * inside
            for part in stretches(width[::3] > 0.1):
                line = axis[::3][part].copy()
                line[:, 0] += path[::3, 0][part] * half[::3][part].mean(1)
                pixels = canvas.grid.to_pixels(tube(line, width[::3][part])) * (1 << SHIFT)
                cv2.fillPoly(cover, [np.rint(pixels).astype(np.int32)], 255 * opacity, cv2.LINE_AA, SHIFT)
        canvas.dab(cover, "nerve", 1.0)


def even(ring: NDArray[np.floating]) -> Points:
    """Return a closed outline `(n, 2)` without corners."""
    kernel = np.hanning(7)[1:-1] / np.hanning(7).sum()
    padded = np.vstack([ring[-2:], ring, ring[:2]])
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)], axis=1).astype(np.float32)
