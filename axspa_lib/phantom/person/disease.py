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
from axspa_lib.study.labels import QUADRANTS, SIDES

#: Protocol at which the contrast of a lesion is stated (a typical 1.5 T STIR of the cohort).
REFERENCE_STIR = tissues.Sequence(tr=4000, te=60, ti=150)
#: Tissue of each lesion type, in the order of painting.
TYPES = {"sclerosis": "sclerosis", "fat": "fat_lesion", "backfill": "fat_lesion", "oedema": "oedema",
         "mechanical": "oedema", "erosion": "erosion"}  # fmt: skip
ACTIVE = ("oedema", "mechanical")
_DEPTH_SAMPLES = 3


@dataclass(frozen=True)
class Lesion:
    """A lesion beside the joint.

    Attributes:
        type: a key of `TYPES`; `mechanical` is oedema that is no spondyloarthritis.
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
        shares = (self.fat, self.sclerosis, 1 - self.fat - self.sclerosis)
        if min(self.half_z, self.along, self.depth, self.strength, *shares) < 0:
            raise ConfigError(
                f"extents, strength, and shares of fat and sclerosis must not be negative or sum above 1: {self}"
            )

    @property
    def quadrant(self) -> str:
        """Quadrant in which its middle lies."""
        return f"{self.bone}_{'upper' if self.place < 0.5 else 'lower'}"

    def size_at(self, z: NDArray[Any] | float) -> NDArray[Any]:
        """Return the scale of both half axes in the slice at `z`: 1 in its middle, 0 beyond `half_z`."""
        if self.half_z == 0:
            return np.zeros(np.shape(z))
        return np.sqrt(np.clip(1 - ((np.asarray(z, dtype=float) - self.z) / self.half_z) ** 2, 0, None))


def mixture(lesion: Lesion) -> list[tuple[str, float]]:
    """Return the tissues painted one after the other, each with its opacity at the lesion's core."""
    core = [(TYPES[lesion.type], min(1.0, lesion.strength))]
    if lesion.type in ACTIVE:
        free = min(0.5, max(0.2 * (lesion.strength - 1), 0.0))
        core += [("effusion", free), ("fat_lesion", lesion.fat), ("sclerosis", lesion.sclerosis)]
    return [(tissue, share) for tissue, share in core if share or tissue == TYPES[lesion.type]]


def contrast(lesion: Lesion, marrow_ff: float) -> float:
    """Return the STIR signal of the lesion's core over normal marrow of fat fraction `marrow_ff`."""

    def pools(name: str, ff: float | None = None) -> NDArray[np.float64]:
        tissue = tissues.tissues()[name]
        fraction = tissue.ff if ff is None else ff
        wet, fat = tissues.water(REFERENCE_STIR, tissue), tissues.fat(REFERENCE_STIR)
        return np.array([tissue.pd * (1 - fraction) * wet, tissue.pd * fraction * fat])

    value = normal = pools("marrow", marrow_ff)
    for name, opacity in mixture(lesion):
        value = (1 - opacity) * value + opacity * pools(name)
    return float(abs(value.sum()) / abs(normal.sum()))


def draw_lesions(rng: np.random.Generator, body: Body, group: str, slice_mm: float) -> list[Lesion]:
    """Draw all lesions of a patient.

    Args:
        rng: generator of this purpose.
        body: the person; its joint says where lesions can lie.
        group: "inflamed" (spondyloarthritis), "mechanical" (mimic) or "clear".
        slice_mm: distance of slices, the unit in which extents along z were published.
    """
    p = population()["disease"]
    lesions: list[Lesion] = []
    kind = {"inflamed": "oedema", "mechanical": "mechanical"}.get(group)
    if kind is not None:
        lesions = [_active(rng, body, kind, p, slice_mm) for _ in range(1 + rng.poisson(p[kind]["extra"]))]
    if group == "inflamed" and rng.random() < p["oedema"]["bilateral_pair"]:  # in the opposite bone as well
        first, factor = lesions[0], float(rng.uniform(0.4, 0.9))
        lesions.append(replace(
            first, bone="iliac" if first.bone == "sacral" else "sacral", along=first.along * factor,
            depth=first.depth * factor, seed=int(rng.integers(2**31)),
        ))  # fmt: skip
    for name, rate in p["structural"]["inflamed" if group == "inflamed" else "other"].items():
        if rng.random() < rate:
            for _ in range(1 + rng.poisson(p["structural_extra"][name])):
                lesions.append(_structural(rng, body, name, p, slice_mm))
    return sorted(lesions, key=lambda lesion: list(TYPES).index(lesion.type))


def _where(rng: np.random.Generator, body: Body, p: dict[str, Any], kind: str) -> tuple[str, str, float, float]:
    side = SIDES[int(rng.integers(2))]
    shares = p["quadrants"][kind]
    quadrant = str(rng.choice(QUADRANTS, p=np.array([shares[q] for q in QUADRANTS])))
    bone, half = quadrant.split("_")
    place = float(rng.uniform(0.08, 0.48) if half == "upper" else rng.uniform(0.52, 0.92))
    low, high = body.joint_range(side)
    fifth = rng.choice(5, p=np.array(p["fifths"]))
    return side, bone, place, float(low + (high - low) * (fifth + rng.random()) / 5)


def _active(rng: np.random.Generator, body: Body, kind: str, p: dict[str, Any], slice_mm: float) -> Lesion:
    own = p[kind]
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


def _structural(rng: np.random.Generator, body: Body, kind: str, p: dict[str, Any], slice_mm: float) -> Lesion:
    side, bone, place, z = _where(rng, body, p, "oedema")
    if kind == "sclerosis" and rng.random() < 0.75:
        bone = "iliac"
    q = p["size"][kind]
    along, depth = (float(rng.lognormal(np.log(q[k]), 0.4)) for k in ("along_mm", "depth_mm"))
    half = float(rng.lognormal(np.log(q["half_slices"]), 0.4) * slice_mm)
    return Lesion(kind, side, bone, place, z, half, along, depth, float(rng.uniform(*q["strength"])), 0.0, 0.0,
                  float(rng.uniform(0.2, 0.5)), int(rng.integers(2**31)))  # fmt: skip


def evidence(lesions: list[Lesion], body: Body, slices: NDArray[Any], thickness: float) -> NDArray[np.float64]:
    """Return what each active lesion offers to a reader in every quadrant.

    Args:
        lesions: all lesions; only oedema counts.
        body: the person.
        slices: z of the slices, mm; `thickness` of a slice, mm.

    Returns:
        `(active lesion, slice, side, quadrant)`: area in mm² times (contrast − 1), sides R then L.
    """
    active = [lesion for lesion in lesions if lesion.type in ACTIVE]
    out = np.zeros((len(active), len(slices), 2, 4))
    offsets = (np.arange(_DEPTH_SAMPLES) - (_DEPTH_SAMPLES - 1) / 2) * thickness / _DEPTH_SAMPLES
    for row, lesion in enumerate(active):
        scale = lesion.size_at(np.asarray(slices)[:, None] + offsets)
        area = 0.5 * np.pi * lesion.along * lesion.depth * (scale**2).mean(1)
        low, high = body.joint_range(lesion.side)
        area = np.where((slices >= low) & (slices <= high), area, 0.0)
        worth = area * max(contrast(lesion, body.subject.marrow_ff) - 1, 0.0)
        reach = lesion.along / 62.0  # the joint line is about 62 mm long
        above = float(np.clip((0.5 - lesion.place) / max(2 * reach, 1e-6) + 0.5, 0, 1))
        side = SIDES.index(lesion.side)
        upper = QUADRANTS.index(f"{lesion.bone}_upper")
        out[row, :, side, upper] += worth * above
        out[row, :, side, upper + 1] += worth * (1 - above)
    return out


def joint_present(body: Body, slices: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which half-slices `(slice, side)` have a cartilaginous joint, sides R then L."""
    extents = [[body.extent(float(z), side) or (0.0, 0.0) for side in SIDES] for z in slices]
    return np.diff(extents, axis=2)[..., 0] > 0.25


@dataclass(frozen=True)
class FollowUp:
    """Changes until a second examination: activity times `change`, structural damage times `1 + progression`.

    Raises:
        ConfigError: a negative or infinite change, or a progression below −1.
    """

    change: float
    progression: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.change < np.inf and -1 <= self.progression < np.inf):
            raise ConfigError(
                f"a change of activity cannot be negative or infinite ({self.change}), nor a progression be less than "
                f"-1 or infinite ({self.progression}): give 0 or more, and -1 or more"
            )


def follow_up(lesions: list[Lesion], since: FollowUp) -> list[Lesion]:
    """Return the same lesions at a second time, in their places: strength and extents change together."""

    def changed(lesion: Lesion) -> Lesion:
        active = lesion.type in ACTIVE
        factor = np.sqrt(since.change if active else 1 + since.progression)
        return replace(
            lesion, along=lesion.along * factor, depth=lesion.depth * factor, half_z=lesion.half_z * factor,
            strength=lesion.strength * (min(since.change, 1.0) if active else 1.0),
        )  # fmt: skip

    return [changed(lesion) for lesion in lesions]
