"""The spine behind the bodies: the rough dorsal surface of the sacrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.paint import Canvas, fill, offset
from axspa_lib.phantom.drawing.texture import Field, Grid, Noise, smoothstep
from axspa_lib.phantom.painters.materials import Materials
from axspa_lib.phantom.painters.organs import Strand, strands
from axspa_lib.phantom.painters.tubes import smooth
from axspa_lib.phantom.person.anatomy import SIGN, Body, Points, template

#: Depth of the laminae on the midline by y, mm: (y, depth). The sacrum is most dorsal at S3.
LAMINAE = ((-5.0, 20.0, 45.0, 62.0, 80.0, 98.0, 112.0), (35.5, 37.5, 39.0, 40.0, 37.5, 34.0, 31.0))
#: Spinous tubercles of the median crest and articular tubercles beside it: y, mm.
SPINES, TUBERCLES = (12.0, 34.0, 56.0), (4.0, 28.0, 50.0, 68.0)
#: Small vessels between the muscles of the back; the public scans show 6 to 20 bright dots in a STIR slice.
VESSELS = 50
#: Depth before which the slice does not meet the surface, mm.
_FIRST = 26.0


class Spine:
    """One person's dorsal sacrum, cut by slices."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 23])
        self._body = body
        self._relief = rng.uniform(0.7, 1.3)
        self._rough = Noise(rng, 9.0, 9)
        self._vessels = [self._vessel(rng) for _ in range(VESSELS)]
        self._holes = rng.normal((4.0, 0.0, 0.0), (2.0, 1.5, 2.0), (len(self._sides()), 3))
        self._surface: tuple[Grid, Field] | None = None

    @staticmethod
    def _vessel(rng: np.random.Generator) -> Strand:
        """A short stretch of a small vessel beside the spinous processes or between multifidus and longissimus."""
        sign, lateral = rng.choice((-1.0, 1.0)), rng.random() < 0.6
        depth = rng.uniform(40, 70)
        start = (rng.normal(33, 2.5) if lateral else rng.normal(11, 4), rng.normal(12, 12) - 0.9 * (depth - 45))
        turns = rng.normal(1.4, 0.5) + np.cumsum(rng.normal(0, 0.3, 4))
        steps = rng.uniform(0.5, 2) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        line = (np.vstack([[0, 0], np.cumsum(steps, axis=0)]) + start) * (sign, 1)
        tissue = "vein" if rng.random() < 0.75 else "artery"
        return Strand(smooth(line.astype(np.float32)), (depth, depth + rng.normal(0, 3)), float(rng.uniform(1.2, 2.5)),
                      float(rng.uniform(0.35, 0.8)), tissue, float(rng.uniform(0.2, 0.75)))  # fmt: skip

    def vessels(self, canvas: Canvas, z: float, m: Materials) -> None:
        """Paint the small vessels between the muscles of the back."""
        strands(canvas, self._body, self._vessels, z, m)

    def dorsum(self, canvas: Canvas, sacrum: Points | None, z: float, m: Materials) -> None:
        """Paint muscle and fat where the slice has left the sacrum's rough dorsal surface, behind cortex."""
        depth = self._body.depth(z)
        filled = None if sacrum is None or depth < _FIRST else fill(offset(sacrum, -0.6), canvas.grid)
        if filled is None:
            return
        mask, region = filled
        inside = mask.astype(np.float32) * np.float32(1 / 255)
        above = np.float32(depth) - self.surface(canvas.grid)[region]
        canvas.cover(inside * np.exp(-((above / 1.6) ** 2)) * np.float32(0.45), region, canvas.value("cortex"))
        patch = 0.8 * np.exp(-(((above - 2.2) / 3.0) ** 2))
        ff = np.maximum(m.back_ff[region], patch).astype(np.float32)
        soft = inside * smoothstep(above, -0.5, 2.0)
        canvas.cover(soft, region, canvas.value("muscle", ff, m.muscle_pd[region]))
        canvas.cover(soft * m.collagen[region], region, canvas.value("ligament"))

    def surface(self, grid: Grid) -> Field:
        """Return the depth (mm, mean anatomy) of the sacrum's dorsal surface at each pixel of the slice."""
        if self._surface is None or self._surface[0] != grid:
            self._surface = (grid, self._relieved(grid))
        return self._surface[1]

    def _relieved(self, grid: Grid) -> Field:
        s, pose = self._body.subject, self._body.pose
        x, y = (grid.x - pose.shift[0]) / s.size, (grid.y - pose.shift[1]) / s.size
        away = np.abs(x)

        def bump(places: NDArray[np.float64], centre: float, half: float) -> NDArray[np.float64]:
            return np.exp(-(((places - centre) / half) ** 2))

        below = np.clip((y - 13) / 17, 0, 1)[:, None]  # above, the ligaments behind the joints fill a fossa
        out = np.interp(y, *LAMINAE)[:, None] - 3.0 * bump(away, 21, 7) + 14.0 * below * np.clip((away - 30) / 12, 0, 1)
        out -= 12.0 * (1 - below) * np.clip((away - 15) / 10, 0, 1)
        out += np.outer(sum(bump(y, at, 6.0) for at in SPINES), 6.0 * bump(x, 0, 2.6))
        out += np.outer(sum(bump(y, at, 5.0) for at in TUBERCLES), 2.5 * bump(away, 13, 3.5))
        for hole, (deep, right, down) in zip(self._sides(), self._holes, strict=True):
            out -= np.outer(bump(y, hole[1] + down, 4.0), deep * bump(x, hole[0] + right, 4.0))
        out += self._relief * (1.5 * self._rough.plane(0.0, grid))
        row, column = grid.y[:, None], grid.x[None, :]
        tilt = pose.about_y * column + pose.about_x * (row - 35)
        tilt = tilt + s.curve_mm * np.clip((row - 40) / 50, -0.8, 1.6) ** 2
        return (out + tilt / (s.depth_scale * s.size)).astype(np.float32)

    @staticmethod
    def _sides() -> list[tuple[float, float]]:
        """Where the dorsal foramina of both sides open: (x, y) in mm."""
        ends = [hole["path"][max(hole["path"])] for hole in template().raw["foramina"].values()]
        return [(sign * x, y) for x, y in ends for sign in SIGN.values()]
