"""The spine behind the bodies: the sacral canal and its roots, the rough dorsal surface of the sacrum, the facets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from axspa_lib.labels import LEFT, SIDES
from axspa_lib.phantom.anatomy import SIGN, Body, Points, template
from axspa_lib.phantom.materials import Materials
from axspa_lib.phantom.organs import Strand, strands
from axspa_lib.phantom.paint import Canvas, fill, offset
from axspa_lib.phantom.texture import Field, Grid, Noise, smoothstep
from axspa_lib.phantom.tubes import smooth

#: Depth of the laminae on the midline by y, mm: (y, depth). The sacrum is most dorsal at S3.
LAMINAE = ((-5.0, 20.0, 45.0, 62.0, 80.0, 98.0, 112.0), (35.5, 37.5, 39.0, 40.0, 37.5, 34.0, 31.0))
#: Spinous tubercles of the median crest and articular tubercles beside it: y, mm.
SPINES, TUBERCLES = (12.0, 34.0, 56.0), (4.0, 28.0, 50.0, 68.0)
#: Roots of S3 to S5 and the terminal filum in the canal: path (x, y), depth of its ends, radius, mm.
ROOTS = (
    (((4.0, 14.0), (6.5, 36.0), (11.0, 52.0), (17.0, 64.0)), (30.0, 25.0), 1.3),
    (((2.5, 20.0), (4.0, 48.0), (6.5, 66.0), (11.0, 80.0)), (31.0, 28.0), 1.0),
    (((1.2, 28.0), (1.8, 55.0), (2.6, 75.0), (5.0, 92.0)), (33.0, 31.0), 0.8),
    (((0.3, 34.0), (-0.3, 52.0), (0.2, 70.0), (0.0, 88.0)), (34.0, 32.0), 0.5),
)
#: Roots in the sac run along its axis, (y, depth), and lie dorsally and towards the sides; half width of the sac there.
CAUDA = (
    (-64.0, 66.0, 9.0),
    (-45.0, 55.0, 10.0),
    (-27.0, 44.0, 8.5),
    (-6.0, 36.0, 8.0),
    (14.0, 31.5, 6.0),
    (30.0, 28.0, 2.5),
)
CAUDA_ROOTS = 18
#: Small vessels between the muscles of the back; the public scans show 6 to 20 bright dots in a STIR slice.
VESSELS = 50
#: Blur of the canal and the sac along x and y, mm: they cross the slice at a low angle.
SLANT = (0.4, 1.8)
#: Depth before which the slice does not meet the surface, mm.
_FIRST = 26.0
_HARMONICS = np.arange(2, 7)


class Spine:
    """One person's dorsal sacrum and last lumbar arch, cut by slices."""

    def __init__(self, body: Body) -> None:
        rng = np.random.default_rng([body.subject.texture_seed, 23])
        self._body = body
        self._relief = rng.uniform(0.7, 1.3)
        self._width = rng.uniform(0.72, 0.98)
        self._rough = Noise(rng, 9.0, 9)
        self._ragged = rng.normal(0, 0.14, (8, 2, len(_HARMONICS))) / _HARMONICS
        self._tall = rng.uniform((0.7, 0.7), (1.2, 1.5), (8, 2))
        self._lacking = rng.choice(["", "", "spinous", "spinous_s2"])
        self._dense = float(rng.uniform(0.4, 0.9))
        self._roots: list[Strand] = []
        for path, depths, radius in ROOTS:
            for sign in SIGN.values():
                line = np.array(path) * (sign * self._width, 1) + rng.normal(0, 0.5, (len(path), 2))
                shift = rng.normal(0, 0.8)
                self._roots.append(Strand(smooth(line.astype(np.float32)), (depths[0] + shift, depths[1] + shift), 2.6,
                                          radius * rng.uniform(0.7, 1.3), "nerve", 0.85))  # fmt: skip
        self._cauda = [self._filament(rng, sign) for sign in SIGN.values() for _ in range(CAUDA_ROOTS // 2)]
        self._vessels = [self._vessel(rng) for _ in range(VESSELS)]
        self._holes = rng.normal((4.0, 0.0, 0.0), (2.0, 1.5, 2.0), (len(self._sides()), 3))
        self._surface: tuple[Grid, Field] | None = None

    @staticmethod
    def _filament(rng: np.random.Generator, sign: float) -> Strand:
        """A root in the sac, nearer to its wall the further caudally."""
        y, depth, half = np.array(CAUDA).T
        aside = rng.uniform(0.05, 0.7) + np.linspace(0, 0.25, len(y)) + rng.normal(0, 0.04, len(y))
        line = smooth(np.stack([sign * aside * half, y], axis=1).astype(np.float32))
        last = int(rng.uniform(0.5, 1) * len(line))  # it leaves through a sleeve on its way
        dorsal = rng.uniform(-3, 4)
        ends = dorsal + depth[0], dorsal + depth[0] + (depth[-1] - depth[0]) * last / len(line)
        return Strand(line[:last], ends, 3.5, float(rng.uniform(0.22, 0.42)), "nerve",
                      float(rng.uniform(0.3, 0.8)))  # fmt: skip

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
        """Small vessels between the muscles of the back."""
        strands(canvas, self._body, self._vessels, z, m)

    def canal(self, canvas: Canvas, points: Points, z: float, m: Materials) -> None:
        """Fat within the thin wall of the canal, and the sacral roots on their way down."""
        middle = points[:, 0].mean()
        narrow = m.taut(even(middle + (points - (middle, 0)) * (self._width, 1)), canvas.grid)
        canvas.outline(offset(narrow, -0.5), "cortex", None, 1.0, 0.4, soft_mm=SLANT)
        canvas.outline(narrow, "deep_fat", 0.9, 1.0, soft_mm=SLANT)
        strands(canvas, self._body, self._roots, z, m)

    def sac(self, canvas: Canvas, points: Points, z: float, m: Materials) -> None:
        """The thecal sac in its dura, with the roots of the cauda equina."""
        dura = m.taut(even(points), canvas.grid)
        canvas.outline(offset(dura, -0.5), "ligament", None, 0.6, 0.7, soft_mm=SLANT)
        filled = canvas.outline(dura, "csf", soft_mm=SLANT)
        if filled is None:
            return
        mask, (rows, columns) = filled
        before = canvas.planes.copy()
        strands(canvas, self._body, self._cauda, z, m)
        within = mask * np.float32(1 / 255)  # none beyond the dura
        before[:, rows, columns] += within * (canvas.planes[:, rows, columns] - before[:, rows, columns])
        canvas.planes[:] = before

    def dorsum(self, canvas: Canvas, sacrum: Points | None, z: float, m: Materials) -> None:
        """Where the slice has left the rough dorsal surface of the sacrum: muscle and fat, behind a rim of cortex."""
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
        """Depth in the mean anatomy, mm, of the sacrum's dorsal surface at each pixel, seen from the tilted slice."""
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

    def arches(self, canvas: Canvas, z: float, m: Materials) -> None:
        """The arches as one bone: pedicles, processes and laminae in a common cortex, then the lines of the joints."""
        cut = self._body.cut(z)
        pieces = []
        for number, item in enumerate(item for item in template().structures if item.get("role") == "arch"):
            for side in SIDES if item.get("pair") else (None,):
                points = cut[item["name"], side]
                if points is None or item["name"] == self._lacking:
                    continue
                if side is None:
                    points = (points.mean(0) + (points - points.mean(0)) * self._tall[number]).astype(np.float32)
                pieces.append((self._bent(points, 2 * number + (side == LEFT)), item))
        for (bent, _), _ in pieces:
            medially = np.array([-1.6 * np.sign(bent[:, 0].mean()) * (abs(bent[:, 0].mean()) > 4), 0.6], np.float32)
            canvas.outline(offset(bent, -0.8) + medially, "ligament", None, 0.8, 0.8, soft_mm=0.9)
        for (bent, _), _ in pieces:
            canvas.outline(bent, "cortex", None, 1.0, 0.75, soft_mm=0.5)
        for (bent, waves), item in pieces:
            medial = -np.sign(bent[:, :1].mean()) * (bent - bent.mean(0))[:, :1] / np.ptp(bent[:, 0])  # -0.5 to 0.5
            shell = np.maximum(np.float32(item["cortex_mm"]) * (1 + 0.8 * medial + 5 * waves), 0.2)
            canvas.outline(offset(bent, shell), str(item["tissue"]), m.body_ff, 1.0, self._dense, soft_mm=0.7)
            spongy = even(offset(bent, shell + 1.4))
            canvas.outline(spongy, str(item["tissue"]), m.body_ff, 1.0, 0.9, soft_mm=1.2)
        for side in SIDES:
            joint = cut["facet_joint", side]
            if joint is not None:
                canvas.outline(offset(joint, -0.3), "cortex", None, 1.0, 0.6, soft_mm=0.4)
                canvas.outline(joint, "cartilage", None, 1.0, 0.5, soft_mm=0.3)

    def _bent(self, points: Points, number: int) -> tuple[Points, Points]:
        """An outline made a little irregular, and by how much of its radius `(n, 1)`."""
        centre = points.mean(0)
        ray = points - centre
        angle = np.arctan2(ray[:, 1], ray[:, 0])[:, None] * _HARMONICS
        cosine, sine = self._ragged[number % len(self._ragged)]
        waves = (np.cos(angle) @ cosine + np.sin(angle) @ sine)[:, None].astype(np.float32)
        return (centre + ray * (1 + waves)).astype(np.float32), waves


def even(ring: Points) -> Points:
    """A closed outline `(n, 2)` without corners."""
    kernel = np.hanning(11)[1:-1] / np.hanning(11).sum()
    padded = np.vstack([ring[-4:], ring, ring[:4]])
    return np.stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)], axis=1).astype(np.float32)
