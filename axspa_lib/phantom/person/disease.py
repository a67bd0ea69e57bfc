"""Lesions: what is drawn per patient, where it lies along the joint, its area in each slice and its contrast on STIR.

A lesion is half an ellipse on one side of the joint line (or its mirror in the other bone), whose size falls to zero
at `half_z` millimetres in front of and behind its middle slice; evidence for the readers follows from the same numbers
as the rendered image, without rendering it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from axspa_lib.phantom.person.anatomy import Body, population
from axspa_lib.phantom.physics import tissues
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import LEFT, QUADRANTS, RIGHT

#: Protocol at which the contrast of a lesion is stated (a typical 1.5 T STIR of the cohort).
REFERENCE_STIR = tissues.Sequence(tr=4000, te=60, ti=150)
#: Lesion types, in the order of their painting.
TYPES = ("sclerosis", "fat", "backfill", "oedema", "mechanical", "erosion")
ACTIVE = ("oedema", "mechanical")
_DEPTH_SAMPLES = 3


@dataclass(frozen=True)
class Lesion:
    """One lesion.

    Attributes:
        type: one of `TYPES`; `mechanical` is oedema that is no spondyloarthritis.
        side, bone: the patient's side, "sacral" or "iliac".
        place: where along the joint line its middle is, 0 cranial to 1 caudal.
        z: scanner depth of its middle, mm; `half_z` its half extent along the slices, mm.
        along, depth: half axis along the joint and depth into the bone, mm.
        strength: 0 (invisible) to 1 (full lesion tissue), above 1 towards free water.
        fat, sclerosis: shares of fat and of sclerosis mixed into it.
        ragged: amplitude of the irregularity of its border; `seed` of that irregularity.
    """

    type: str
    side: str
    bone: str
    place: float
    z: float
    half_z: float
    along: float
    depth: float
    strength: float
    fat: float = 0.0
    sclerosis: float = 0.0
    ragged: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ConfigError(f"unknown lesion type {self.type!r}: choose one of {', '.join(TYPES)}")
        if min(self.half_z, self.along, self.depth, self.strength) < 0:
            raise ConfigError("a lesion's extents and strength cannot be negative")
        if not (0 <= self.fat <= 1 and 0 <= self.sclerosis <= 1 and self.fat + self.sclerosis <= 1):
            raise ConfigError("the shares of fat and sclerosis in a lesion lie between 0 and 1 together")

    @property
    def quadrant(self) -> str:
        """The quadrant its middle lies in."""
        return f"{self.bone}_{'upper' if self.place < 0.5 else 'lower'}"

    def size_at(self, z: NDArray[Any] | float) -> NDArray[Any]:
        """Scale of both half axes in the slice plane at `z`: 1 in its middle, 0 beyond `half_z`."""
        if self.half_z == 0:
            return np.zeros_like(np.asarray(z, dtype=float))
        return np.sqrt(np.clip(1 - ((np.asarray(z, dtype=float) - self.z) / self.half_z) ** 2, 0, None))


def mixture(lesion: Lesion) -> list[tuple[str, float]]:
    """Tissues painted one after the other, each with its opacity at the lesion's core."""
    if lesion.type in ACTIVE:
        core = [("oedema", min(1.0, lesion.strength))]
        if lesion.strength > 1:
            core.append(("effusion", min(0.5, 0.2 * (lesion.strength - 1))))
        if lesion.fat:
            core.append(("fat_lesion", lesion.fat))
        if lesion.sclerosis:
            core.append(("sclerosis", lesion.sclerosis))
        return core
    name = {"sclerosis": "sclerosis", "fat": "fat_lesion", "backfill": "fat_lesion", "erosion": "erosion"}[lesion.type]
    return [(name, min(1.0, lesion.strength))]


def contrast(lesion: Lesion, marrow_ff: float, sequence: tissues.Sequence = REFERENCE_STIR) -> float:
    """Signal of the lesion's core over normal marrow of fat fraction `marrow_ff`."""
    known = tissues.tissues()
    fat = tissues.fat(sequence)

    def pools(name: str, ff: float | None = None) -> NDArray[np.float64]:
        tissue = known[name]
        fraction = tissue.ff if ff is None else ff
        return np.array([tissue.pd * (1 - fraction) * tissues.water(sequence, tissue), tissue.pd * fraction * fat])

    normal = pools("marrow", marrow_ff)
    value = normal
    for name, opacity in mixture(lesion):
        value = (1 - opacity) * value + opacity * pools(name)
    return float(abs(value.sum()) / abs(normal.sum()))


def draw_lesions(
    rng: np.random.Generator, body: Body, group: str, slice_mm: float, rates: dict[str, Any] | None = None
) -> list[Lesion]:
    """Draw all lesions of a patient.

    Args:
        rng: generator of this purpose.
        body: the person; its joint says where lesions can lie.
        group: "inflamed" (spondyloarthritis), "mechanical" (mimic) or "clear".
        slice_mm: distance of slices, the unit in which extents along z were published.
        rates: section `disease` of `population.yaml`.
    """
    p = population()["disease"] if rates is None else rates
    lesions: list[Lesion] = []
    if group == "inflamed":
        for _ in range(1 + rng.poisson(p["oedema"]["extra"])):
            lesions.append(_active(rng, body, "oedema", p["oedema"], p, slice_mm))
        if rng.random() < p["oedema"]["bilateral_pair"]:  # the opposite bone of one lesion is inflamed too
            lesions.append(_across(rng, lesions[0]))
    elif group == "mechanical":
        for _ in range(1 + rng.poisson(p["mechanical"]["extra"])):
            lesions.append(_active(rng, body, "mechanical", p["mechanical"], p, slice_mm))
    for name, rate in p["structural"]["inflamed" if group == "inflamed" else "other"].items():
        if rng.random() < rate:
            for _ in range(1 + rng.poisson(p["structural_extra"][name])):
                lesions.append(_structural(rng, body, name, p, slice_mm))
    return sorted(lesions, key=lambda lesion: TYPES.index(lesion.type))


def _where(rng: np.random.Generator, body: Body, p: dict[str, Any], kind: str) -> tuple[str, str, float, float]:
    side = (RIGHT, LEFT)[int(rng.integers(2))]
    shares = p["quadrants"][kind]
    quadrant = str(rng.choice(QUADRANTS, p=np.array([shares[q] for q in QUADRANTS])))
    bone, half = quadrant.split("_")
    place = float(rng.uniform(0.08, 0.48) if half == "upper" else rng.uniform(0.52, 0.92))
    low, high = body.joint_range(side)
    fifth = rng.choice(5, p=np.array(p["fifths"]))
    return side, bone, place, float(low + (high - low) * (fifth + rng.random()) / 5)


def _active(
    rng: np.random.Generator, body: Body, kind: str, own: dict[str, Any], p: dict[str, Any], slice_mm: float
) -> Lesion:
    side, bone, place, z = _where(rng, body, p, kind)
    area = float(rng.lognormal(np.log(own["area_mm2"][0]), own["area_mm2"][1]))
    slim = float(np.clip(rng.lognormal(np.log(0.55), 0.35), 0.2, 1.4))
    product = 2 * area / np.pi
    depth = float(min(np.sqrt(product * slim), 24.0))
    along = float(min(product / depth, 30.0))
    half = float(rng.lognormal(np.log(own["half_slices"][0]), own["half_slices"][1]) * slice_mm)
    excess = own["contrast"][0] + rng.gamma(own["contrast"][1]) * own["contrast"][2]
    fat = float(rng.uniform(0.05, 0.35)) if rng.random() < own["mixed_fat"] else 0.0
    hard = float(rng.uniform(0.05, 0.3)) if rng.random() < own["mixed_sclerosis"] else 0.0
    return Lesion(kind, side, bone, place, z, half, along, depth, min(excess / p["oedema_excess"], 2.2), fat, hard,
                  float(rng.uniform(0.15, 0.4)), int(rng.integers(2**31)))  # fmt: skip


def _across(rng: np.random.Generator, lesion: Lesion) -> Lesion:
    factor = float(rng.uniform(0.4, 0.9))
    other = "iliac" if lesion.bone == "sacral" else "sacral"
    return replace(lesion, bone=other, along=lesion.along * factor, depth=lesion.depth * factor,
                   seed=int(rng.integers(2**31)))  # fmt: skip


def _structural(rng: np.random.Generator, body: Body, kind: str, p: dict[str, Any], slice_mm: float) -> Lesion:
    side, bone, place, z = _where(rng, body, p, "oedema")
    if kind == "sclerosis" and rng.random() < 0.75:
        bone = "iliac"
    q = p["size"][kind]
    along, depth = (float(rng.lognormal(np.log(q[k]), 0.4)) for k in ("along_mm", "depth_mm"))
    half = float(rng.lognormal(np.log(q["half_slices"]), 0.4) * slice_mm)
    return Lesion(kind, side, bone, place, z, half, along, depth, float(rng.uniform(*q["strength"])), 0.0, 0.0,
                  float(rng.uniform(0.2, 0.5)), int(rng.integers(2**31)))  # fmt: skip


def evidence(
    lesions: list[Lesion], body: Body, slices: NDArray[Any], thickness: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What each active lesion offers to a reader in every quadrant.

    Args:
        lesions: all lesions; only oedema counts.
        body: the person.
        slices: z of the slices, mm; `thickness` of a slice, mm.

    Returns:
        `(lesion, slice, side, quadrant)` area in mm² times (contrast − 1), sides R then L, quadrants as `QUADRANTS`;
        and the indices of these lesions in `lesions`.
    """
    active = [k for k, lesion in enumerate(lesions) if lesion.type in ACTIVE]
    out = np.zeros((len(active), len(slices), 2, 4))
    offsets = (np.arange(_DEPTH_SAMPLES) - (_DEPTH_SAMPLES - 1) / 2) * thickness / _DEPTH_SAMPLES
    for row, k in enumerate(active):
        lesion = lesions[k]
        scale = lesion.size_at(np.asarray(slices)[:, None] + offsets)
        area = 0.5 * np.pi * lesion.along * lesion.depth * (scale**2).mean(1)
        low, high = body.joint_range(lesion.side)
        area = np.where((slices >= low) & (slices <= high), area, 0.0)
        worth = area * max(contrast(lesion, body.subject.marrow_ff) - 1, 0.0)
        reach = lesion.along / 62.0  # the joint line is about 62 mm long
        above = float(np.clip((0.5 - lesion.place) / max(2 * reach, 1e-6) + 0.5, 0, 1))
        side = (RIGHT, LEFT).index(lesion.side)
        upper = QUADRANTS.index(f"{lesion.bone}_upper")
        out[row, :, side, upper] += worth * above
        out[row, :, side, upper + 1] += worth * (1 - above)
    return out, np.array(active, dtype=np.int64)


def joint_present(body: Body, slices: NDArray[Any]) -> NDArray[np.bool_]:
    """Half-slices with a cartilaginous joint: `(slice, side)`, sides R then L."""
    out = np.zeros((len(slices), 2), dtype=bool)
    for column, side in enumerate((RIGHT, LEFT)):
        for row, z in enumerate(slices):
            extent = body.extent(float(z), side)
            out[row, column] = extent is not None and extent[1] - extent[0] > 0.25
    return out


@dataclass(frozen=True)
class FollowUp:
    """What a second time differs by: activity times `change`, structural damage times `1 + progression`.

    A change of 0 clears the inflammation, 1 leaves it as it was.

    Raises:
        ConfigError: a negative change, or a progression below −1.
    """

    change: float
    progression: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.change < np.inf and -1 <= self.progression < np.inf):
            raise ConfigError(
                f"a change of activity cannot be negative or infinite ({self.change}) nor damage fall below nothing "
                f"({self.progression})"
            )


def follow_up(lesions: list[Lesion], since: FollowUp) -> list[Lesion]:
    """The same lesions at a second time. Oedema keeps its place; strength and extents shrink or grow together."""
    out = []
    for lesion in lesions:
        factor, strength = np.sqrt(since.change), lesion.strength * min(since.change, 1.0)
        if lesion.type not in ACTIVE:
            factor, strength = np.sqrt(1 + since.progression), lesion.strength
        out.append(
            replace(
                lesion,
                along=lesion.along * factor,
                depth=lesion.depth * factor,
                half_z=lesion.half_z * factor,
                strength=strength,
            )
        )
    return out
