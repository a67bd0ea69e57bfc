"""Simulated readers: a latent-threshold model on the evidence of each half-slice, through a window of six slices.

Reader r marks half-slice h of patient i when

    ln Σ_lesions evidence · e^(σ_v v_rl)  +  σ_b b_h  +  k_r (σ_u u_ri + σ_e e_rh)  >  τ_r

with u, v, b, e standard normal: b is in the image and shared, the rest is the reader's. A lapse inverts a decision at a
small rate. Of a marked half-slice the quadrant with most evidence is marked, and every other that passes the threshold
lowered by `quadrant_ease`. Outside the window nothing is read (not: negative).

Who has marked one or two half-slices looks again at the whole joint, since a lesion on one slice alone does not count
(ASAS): when the evidence of all slices read exceeds `e^(τ_r + gestalt)` a single mark gets a second, else the weaker of
two is withdrawn. A panel whose `gestalt` is None does not look again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import QUADRANTS, SIDES

#: Slices every reader chooses (section 2).
WINDOW = 6
#: Evidence of nothing, as a logarithm.
FLOOR = -3.0


@dataclass(frozen=True)
class Panel:
    """The readers of one cohort; one value per reader where there are several."""

    names: tuple[str, ...]
    threshold: NDArray[np.float64]
    noisiness: NDArray[np.float64]
    sigma_patient: float
    sigma_lesion: float
    sigma_slice: float
    sigma_image: float
    sigma_window: float
    lapse: float
    quadrant_ease: float
    gestalt: float | None
    min_positive: int = 2

    def __post_init__(self) -> None:
        spreads = (self.sigma_patient, self.sigma_lesion, self.sigma_slice, self.sigma_image, self.sigma_window)
        if min(spreads) < 0 or not 0 <= self.lapse <= 0.5:
            raise ConfigError(f"the spreads of a panel cannot be negative, nor its lapse rate outside 0 to 0.5: {self}")


@cache
def manifest() -> dict[str, Any]:
    """Load reader parameters by cohort from `data_manifest/phantom/readers.yaml`."""
    return yaml.safe_load((MANIFEST / "phantom" / "readers.yaml").read_text(encoding="utf-8"))


def panel(cohort: str) -> Panel:
    """Return the readers of a phantom cohort, calibrated to the published agreement.

    Raises:
        ConfigError: unknown cohort.
    """
    known = manifest()
    if cohort not in known:
        raise ConfigError(f"no readers for cohort {cohort!r}: choose one of {', '.join(known)}")
    row = known[cohort]
    return Panel(
        tuple(row["readers"]),
        np.array([float(v["threshold"]) for v in row["readers"].values()]),
        np.array([float(v["noisiness"]) for v in row["readers"].values()]),
        **{k: row[k] for k in row if k != "readers"},
    )


@dataclass(frozen=True)
class Draws:
    """Standard-normal and uniform numbers of one patient; a batch of patients adds a leading axis.

    Shapes: patient `(reader,)`, image `(slice, side)`, slice `(reader, slice, side)`, lapse as slice, lesion
    `(reader, lesion)`, window `(reader,)`, quadrant `(reader, slice, side)` uniform, for a lapse.
    """

    patient: NDArray[np.float64]
    image: NDArray[np.float64]
    slice: NDArray[np.float64]
    lapse: NDArray[np.float64]
    lesion: NDArray[np.float64]
    window: NDArray[np.float64]
    quadrant: NDArray[np.float64]


def draw(rng: np.random.Generator, readers: int, slices: int, lesions: int) -> Draws:
    """Draw all random numbers that reading one patient needs, in a fixed order."""
    shape = (readers, slices, 2)
    return Draws(
        rng.standard_normal(readers), rng.standard_normal((slices, 2)), rng.standard_normal(shape), rng.random(shape),
        rng.standard_normal((readers, lesions)), rng.standard_normal(readers), rng.random(shape),
    )  # fmt: skip


def perceived(evidence: NDArray[np.float64], draws: Draws, sigma_lesion: float) -> NDArray[np.float64]:
    """Return what each reader sees, `(reader, slice, side, quadrant)`, of `(lesion, slice, side, quadrant)`."""
    return np.einsum("rl,lshq->rshq", np.exp(sigma_lesion * draws.lesion), evidence)


def decide(seen: NDArray[np.float64], draws: Draws, panel: Panel) -> NDArray[np.bool_]:
    """Return the marks `(…, reader, slice, side, quadrant)` that perceived evidence of the same shape gets."""
    floor = np.exp(FLOOR)
    noise = panel.sigma_image * draws.image[..., None, :, :] + panel.noisiness[:, None, None] * (
        panel.sigma_patient * draws.patient[..., None, None] + panel.sigma_slice * draws.slice
    )
    limit = panel.threshold[:, None, None] - noise
    half = np.log(np.maximum(seen.sum(-1), floor)) > limit
    quadrants = np.log(np.maximum(seen, floor)) > (limit - panel.quadrant_ease)[..., None]
    chosen = np.where(seen.max(-1) > floor, seen.argmax(-1), (draws.quadrant * 4).astype(int))
    most = chosen[..., None] == np.arange(4)
    lapse = (draws.lapse < panel.lapse)[..., None]
    return np.where(lapse, most & ~half[..., None], (quadrants | most) & half[..., None])


def reconcile(
    marks: NDArray[np.bool_], seen: NDArray[np.float64], read: NDArray[np.bool_], panel: Panel
) -> NDArray[np.bool_]:
    """Look again at patients with one or two marked half-slices.

    Args:
        marks, seen: `(…, reader, slice, side, quadrant)`, marks within what was read.
        read: `(…, reader, slice, side)`.
    """
    if panel.gestalt is None:
        return marks
    half = marks.any(-1)
    evidence, count = np.where(read, seen.sum(-1), 0.0), half.sum((-2, -1))
    convinced = np.log(np.maximum(evidence.sum((-2, -1)), np.exp(FLOOR))) > panel.threshold + panel.gestalt
    flat = (*half.shape[:-2], -1)
    unmarked = np.where(half, 0.0, evidence).reshape(flat)
    best, weakest = unmarked.argmax(-1), np.where(half, evidence, np.inf).reshape(flat).argmin(-1)
    there = np.arange(unmarked.shape[-1])
    add = ((count == 1) & convinced & (unmarked.max(-1) > 0))[..., None] & (there == best[..., None])
    drop = ((count == 2) & ~convinced)[..., None] & (there == weakest[..., None])
    quadrant = seen.argmax(-1)[..., None] == np.arange(4)
    added = add.reshape(half.shape)[..., None] & quadrant
    return (marks | added) & ~drop.reshape(half.shape)[..., None]


def joint_middle(present: NDArray[np.bool_]) -> float:
    """Return the slice in the middle of the joint; the middle of the stack where there is none."""
    with_joint = np.flatnonzero(present.any(1))
    return float(with_joint.mean()) if with_joint.size else (present.shape[0] - 1) / 2


def window(
    normals: NDArray[np.float64], panel: Panel, middle: NDArray[np.float64] | float, slices: NDArray[np.int64] | int
) -> NDArray[np.int64]:
    """Return the first of six slices that each reader reads, about the middle of the joint and within the stack."""
    start = np.rint(np.asarray(middle) - (WINDOW - 1) / 2 + panel.sigma_window * normals)
    return np.clip(start, 0, np.maximum(np.asarray(slices) - WINDOW, 0)).astype(np.int64)


@dataclass(frozen=True)
class Reading:
    """A panel's readings of one patient."""

    marks: NDArray[np.bool_]
    read: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    def rows(self, patient: str, names: tuple[str, ...]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the patient's rows of `readings.csv` and of `opinions.csv`."""
        readings = [
            {"patient": patient, "reader": name, "slice": int(s), "side": SIDES[h], "quadrant": quadrant,
             "inflammation": int(self.marks[r, s, h, q])}
            for r, name in enumerate(names)
            for s, h in zip(*np.nonzero(self.read[r]), strict=True)
            for q, quadrant in enumerate(QUADRANTS)
        ]  # fmt: skip
        opinions = zip(names, self.positive, strict=True)
        return readings, [{"patient": patient, "reader": n, "asas_positive": int(positive)} for n, positive in opinions]


def read_patient(
    evidence: NDArray[np.float64], present: NDArray[np.bool_], panel: Panel, rng: np.random.Generator
) -> Reading:
    """Let a panel read one patient.

    Args:
        evidence: `(lesion, slice, side, quadrant)` of `disease.evidence`.
        present: `(slice, side)`, half-slices that have a joint.
        panel: the readers.
        rng: generator of this purpose.
    """
    draws = draw(rng, len(panel.names), present.shape[0], evidence.shape[0])
    seen = perceived(evidence, draws, panel.sigma_lesion)
    start = window(draws.window, panel, joint_middle(present), present.shape[0])
    index = np.arange(present.shape[0])
    inside = (index >= start[:, None]) & (index < start[:, None] + WINDOW)
    read = inside[:, :, None] & present
    marks = reconcile(decide(seen, draws, panel) & read[..., None], seen, read, panel)
    positive = marks.any(-1).sum((1, 2)) >= panel.min_positive
    return Reading(marks, read, positive)
