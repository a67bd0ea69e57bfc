"""Differences between people's bones: marrow, the irregularity of their edges, foramina, roots and discs.

Sizes were measured on the public scans. `axspa_lib.phantom.painters.bones` paints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.drawing.texture import Field, Grid, cloud, smoothstep
from axspa_lib.phantom.person.anatomy import SIGN, Points, Subject, template
from axspa_lib.study.labels import SIDES

#: Spread of marrow's proton density from pixel to pixel, and clouds of it: radius (mm), spread. On T1, marrow of seven
#: public scans varies by 2.3 % between 0.4 and 0.8 mm, 3.1 % to 1.6 mm and 4.5 % to 3.2 mm (differences of Gaussians).
GRAIN, TRABECULAE = np.float32(0.09), ((0.6, 0.045), (1.2, 0.03))
#: Clouds of fat in marrow, denser where fatter: radius (mm) and spread of the fat fraction. On T1 marrow of six
#: public scans varies by 4 % between 0.7 and 1.5 mm, 6 % to 3 mm and 8.5 % to 6 mm, where vessels count as well.
CLOUDS = ((1.2, 0.018), (3.0, 0.028))
#: Harmonics of a foramen's outline, by angle.
BEAN = ((2, 0.0), (2, 0.8), (3, 0.4), (3, 1.6), (4, 0.9))


@dataclass(frozen=True)
class Ripple:
    """Smooth irregularity in space, about standard normal: rows of wave numbers (rad/mm) and phases."""

    waves: NDArray[np.float32]

    def at(self, points: Points, z: float, turn: float = 0.0) -> NDArray[np.float32]:
        """Return the value at points `(n, 2)` of the slice at z, all in mm; another `turn` (rad) varies it."""
        w = self.waves
        phase = points @ w[:, :2].T + w[:, 2] * np.float32(z) + w[:, 3] + np.float32(turn) * np.arange(1, len(w) + 1)
        return (np.cos(phase).sum(1) * np.float32(np.sqrt(2 / len(w)))).astype(np.float32)


def draw_ripple(rng: np.random.Generator, lengths: tuple[float, float]) -> Ripple:
    """Draw ten waves of random directions in space, their lengths (mm) between two."""
    direction = rng.normal(size=(10, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    k = direction * (2 * np.pi / rng.uniform(*lengths, size=(10, 1)))
    return Ripple(np.hstack([k, rng.uniform(0, 2 * np.pi, (10, 1))]).astype(np.float32))


@dataclass(frozen=True)
class Root:
    """A sacral root's way from the sac through its foramen.

    Attributes:
        path: axis of its tunnel, `(n, 3)` in mm; `tunnel` and `root` radii (mm) by point.
        aside: how far (mm) the root lies from the axis, by point, laterally and cranially.
        rim, halo, vein: opacities of the tunnel's cortex, of the fatty marrow about it, of the vein beside the root.
        sleeve: half width (mm), by point, of the fluid about the root, which reaches a little way out of the sac.
        ganglion: points of the path where it lies; `wet`, its opacity.
        vessels: small veins that cross the tunnel: where along and across it (-1 to 1), and radius in mm.
    """

    path: NDArray[np.float32]
    tunnel: NDArray[np.float32]
    root: NDArray[np.float32]
    aside: NDArray[np.float32]
    rim: float
    halo: float
    vein: float
    sleeve: NDArray[np.float32]
    ganglion: slice
    wet: float
    vessels: NDArray[np.float64]


@dataclass(frozen=True)
class Hole:
    """A foramen cut across.

    Attributes:
        scale: factors of its half axes; `turn` in rad; `bean` amplitudes of its outline's harmonics.
        rim: how far (mm) its rim lies off the fat's centre.
        root, veins: where they lie, over the half axes; `calibre` is the veins' radius (mm).
        halo, fat, nerve: opacities of the fatty marrow about it, of its fat and of the root.
    """

    scale: NDArray[np.float64]
    turn: float
    bean: NDArray[np.float64]
    rim: NDArray[np.float64]
    halo: float
    root: NDArray[np.float64]
    veins: NDArray[np.float64]
    calibre: NDArray[np.float64]
    fat: float
    nerve: float


@dataclass(frozen=True)
class Build:
    """Skeletal differences between people; drawn from the person's texture seed.

    Attributes:
        islands: fat fraction between fatty patches and islands of red marrow; `skew` which of them prevails.
        under_joint: fat fraction that marrow under the joint has more, sacral and iliac, and the mm it reaches.
        iliac: fat fraction of the ilia over the sacral alae's.
        ventral: how much thicker subchondral sclerosis is in the ventral ilium, where it bears most load.
        coarse: irregularity of 8 to 30 mm.
        hydration: water of the discs, 0 degenerate to 1.
        holes, roots: by side.
        remnants: half height (mm) and water of the remnant discs, fat about them, and how much has not grown through.
        corners: fat in the corners of the vertebral bodies, 0 to 1, by body.
        nodes: of each disc, where across (-1 to 1) and how deep (mm) it bulges into the plate above and below.
        nuclei: of each disc, how far aside (over its width) and how wide (over it) the nucleus is, and the opacity of
            its cleft and of the outer fibres of the annulus.
        basivertebral: opacity of the basivertebral vein, by body.
    """

    islands: float
    skew: float
    under_joint: tuple[float, float, float]
    iliac: float
    ventral: float
    coarse: Ripple
    hydration: NDArray[np.float64]
    holes: dict[str, list[Hole]]
    roots: dict[str, list[Root]]
    remnants: NDArray[np.float64]
    corners: NDArray[np.float64]
    nodes: NDArray[np.float64]
    nuclei: NDArray[np.float64]
    basivertebral: NDArray[np.float64]


def draw_build(subject: Subject) -> Build:
    """Draw the skeleton of one person."""
    rng, inner, nerve = (np.random.default_rng([subject.texture_seed, key]) for key in (17, 42, 62))
    remnants = template().raw["remnants"]
    count, node = len(remnants), rng.random((2, 2)) < 0.12
    return Build(
        islands=0.19 * subject.marrow_grain,
        skew=float(rng.uniform(-0.7, 0.5)),
        under_joint=(float(rng.uniform(0, 0.28)), float(rng.uniform(0, 0.16)), float(rng.uniform(5, 13))),
        iliac=float(rng.normal(0, 0.04)),
        coarse=draw_ripple(rng, (8, 30)),
        hydration=np.clip(rng.normal(0.65 - 0.012 * (subject.age - 25), 0.4, 2), 0, 1),
        holes={side: [_draw_hole(rng) for _ in template().raw["foramina"]] for side in SIDES},
        roots={side: [_draw_root(rng, nerve, root) for root in template().raw["roots"]] for side in SIDES},
        remnants=np.stack(
            [rng.uniform(0.25, 0.9, count) * [d["height"] for d in remnants],
             rng.uniform(0, 1, count), np.maximum(rng.normal(0, 0.35, count), 0),
             np.clip(inner.normal(0.75, 0.3, count), 0.15, 1)], axis=1),
        corners=np.clip(rng.normal(0.1, 0.3, (2, 4)), 0, 0.8),
        ventral=float(max(0.0, rng.normal(0.8, 1.0))),
        nodes=np.stack([rng.uniform(-0.6, 0.6, (2, 2)), np.where(node, rng.uniform(1.5, 4, (2, 2)), 0)], axis=-1),
        nuclei=np.stack([inner.normal(0, 0.05, 2), inner.uniform(0.6, 0.8, 2), np.maximum(inner.normal(0, 0.4, 2), 0),
                         inner.uniform(0.1, 0.4, 2)], axis=1),
        basivertebral=np.clip(inner.normal(0.05, 0.25, 2), 0, 0.5),
    )  # fmt: skip


def _draw_hole(rng: np.random.Generator) -> Hole:
    veins = int(rng.integers(1, 4))
    return Hole(
        rng.uniform(0.55, 1.1, 2), float(rng.normal(0.55, 0.35)), rng.normal(0, 0.12, len(BEAN)),
        rng.normal((-0.4, 0.3), 0.3), float(rng.uniform(0, 0.2)), rng.normal((-0.1, -0.2), 0.2),
        rng.normal((0.35, 0.25), 0.3, (veins, 2)), rng.uniform(0.5, 1.1, veins), float(rng.uniform(0.5, 1.0)),
        float(rng.uniform(0.3, 0.9)),
    )  # fmt: skip


def _draw_root(rng: np.random.Generator, nerve: np.random.Generator, mean: dict[str, Any]) -> Root:
    nodes, along = np.asarray(mean["path"], np.float32), np.linspace(0, 1, 40)
    t, places = np.linspace(0, len(nodes) - 1, 40), np.arange(len(nodes))
    dense = (np.pad(np.interp(t, places, column), 4, mode="edge") for column in nodes.T)
    path = np.stack([np.convolve(column, np.ones(9) / 9, "valid") for column in dense], axis=1)
    path = path + rng.normal(0, (1.2, 1.8, 1.2)) * np.minimum(1, 3 * along)[:, None]
    bulge = np.exp(-(((along - rng.uniform(0.5, 0.7)) / 0.2) ** 2))  # the ganglion, and the widest fat about it
    tunnel = mean["tunnel"] * rng.uniform(0.65, 1.1) * (0.72 + 0.33 * bulge)
    centre = nerve.uniform(0.35, 0.65)
    ganglion = np.exp(-(((along - centre) / 0.11) ** 2))
    root = mean["root"] * rng.uniform(0.8, 1.15) * np.exp(nerve.normal(0, 0.15)) * (0.78 + 0.42 * ganglion)
    sleeve = 0.8 * root * np.clip(1 - along / nerve.uniform(0.1, 0.5), 0, 1) ** 0.5
    path = path + nerve.normal(0, (1.0, 3.0, 1.0)) * ((1 - along) ** 2)[:, None]  # where it leaves the sac
    tunnel = np.maximum(tunnel, root + 0.8)
    aside = (tunnel - root) * rng.choice((-1, 1)) * (0.65 + 0.3 * np.sin(2 * np.pi * (along + rng.random())))
    return Root(path.astype(np.float32), tunnel.astype(np.float32), root.astype(np.float32), aside.astype(np.float32),
                float(rng.uniform(0.4, 0.9)), float(rng.uniform(0, 0.2)), float(rng.uniform(0.2, 0.8)),
                sleeve.astype(np.float32), slice(int(40 * (centre - 0.12)), int(40 * (centre + 0.14))),
                float(rng.uniform(0.1, 0.95)),
                rng.uniform((0.0, -0.8, 0.5), (1.0, 0.8, 1.1), (int(rng.integers(1, 5)), 3)))  # fmt: skip


def marrow(
    b: Build, s: Subject, grid: Grid, joint: dict[str, Points | None], noise: tuple[Field, ...], slice_key: int
) -> tuple[Field, Field, Field, Field]:
    """Return fat fractions of iliac, sacral and vertebral marrow, and their proton density's factor, in one slice.

    Fatty patches and islands of red marrow are centimetres wide with soft borders; the alae are fatter laterally and
    under the joint. Trabeculae, thinner than a pixel, show as a weak grain of proton density.

    Args:
        b, s: the person.
        joint: middle line of the joint by side, in mm.
        noise: of 26, 26, 9 and 9 mm grain.
        slice_key: number of the slice among all depths, which seeds the grain.
    """
    coarse, coarse_2, medium, medium_2 = noise
    rng = np.random.default_rng([s.texture_seed, 41, slice_key])
    grain = rng.standard_normal((grid.size, grid.size), np.float32)
    clouds: Field = np.sum([np.float32(share) * cloud(rng, grid, sigma) for sigma, share in CLOUDS], axis=0)
    level = 0.45 * medium + 0.8 * coarse_2
    patch, middle = (smoothstep(each + np.float32(b.skew), -0.75, 0.95) for each in (level, np.zeros(1, np.float32)))
    blotch = b.islands * (patch - middle) + clouds
    lateral = smoothstep(np.abs(grid.x).astype(np.float32)[None, :] + 7 * coarse + 3 * medium_2, 12, 46)
    patchy = smoothstep(medium_2 + 0.6 * coarse, -0.5, 1.3)
    away = np.full((grid.size, grid.size), 60.0, np.float32)
    for side, line in joint.items():
        if line is not None:
            order = np.argsort(line[:, 1])
            wall = np.interp(grid.y, line[order, 1], line[order, 0]).astype(np.float32)
            from_joint = np.float32(SIGN[side]) * (grid.x[None, :].astype(np.float32) - wall[:, None])
            np.copyto(away, from_joint, where=np.abs(from_joint) < np.abs(away))
    sacral_fat, iliac_fat, reach = b.under_joint
    near = np.exp(-(np.abs(away / np.float32(reach)) ** 1.5)) * patchy
    iliac = s.marrow_ff + b.iliac + blotch + iliac_fat * near
    sacral = s.red_ff + lateral * (s.marrow_ff + 0.05 - s.red_ff) + blotch + sacral_fat * near
    body = s.red_ff + 0.04 + 0.8 * blotch
    trabeculae = np.sum([np.float32(share) * cloud(rng, grid, sigma) for sigma, share in TRABECULAE], axis=0)
    coarser = np.clip(0.95 + 0.22 * medium + 0.15 * coarse_2, 0.5, 1.5)  # trabeculae are denser here than there
    pd = 1 + coarser * (GRAIN * grain + trabeculae) + clouds + np.float32(0.03) * medium_2
    iliac, sacral, body = (np.clip(field, 0.05, 0.92).astype(np.float32) for field in (iliac, sacral, body))
    return iliac, sacral, body, np.clip(pd, 0.3, 1.5).astype(np.float32)
