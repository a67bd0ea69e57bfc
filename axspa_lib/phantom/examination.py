"""One simulated examination: everything drawn for a patient, first as parameters, then as images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from axspa_lib.config import PhantomCohort
from axspa_lib.errors import ConfigError
from axspa_lib.labels import SIDES, STIR, T1
from axspa_lib.phantom import acquisition, anatomy, disease, readers, scanner, tissues
from axspa_lib.phantom.anatomy import Body, Pose, Subject
from axspa_lib.phantom.dicom import Geometry, Identity, draw_identity, oblique, uid
from axspa_lib.phantom.disease import Lesion
from axspa_lib.phantom.scanner import Protocol
from axspa_lib.phantom.scene import Scene
from axspa_lib.phantom.texture import Grid

#: Code of each cohort in every seed, and prefix of its patients.
COHORTS = {"phantom-desir": (1, "D"), "phantom-asas": (2, "A")}
#: Purposes of a patient's generators.
SUBJECT, POSE, DISEASE, SCANNER, READING, NOISE, FAULT, IDENTITY = range(8)
#: Largest pixel of the object's grid, mm.
OBJECT_MM = 0.85


@dataclass(frozen=True)
class Examination:
    """One patient's parameters; images follow from them.

    Attributes:
        patient, subject: names; `session` 0 for the first examination.
        group: "inflamed", "mechanical" or "clear".
        evidence: `(lesion, slice, side, quadrant)` for the readers; `present` `(slice, side)` half-slices with a joint.
        fault: "" or what is wrong with the pair on purpose.
    """

    patient: str
    subject: str
    seeds: tuple[int, int, int]
    group: str
    body: Body
    lesions: list[Lesion]
    protocol: Protocol
    evidence: NDArray[np.float64]
    present: NDArray[np.bool_]
    reading: readers.Reading
    fault: str
    fault_mm: tuple[float, float, float]
    lacking: tuple[int, int]
    session: int = 0

    def rng(self, purpose: int) -> np.random.Generator:
        """This patient's generator of one purpose."""
        return np.random.default_rng([*self.seeds, purpose, self.session] if self.session else [*self.seeds, purpose])


def patient_name(cohort: str, number: int) -> str:
    """Name of the n-th patient of a cohort, from 1."""
    return f"{COHORTS[cohort][1]}{number:04d}"


def draw_examination(cohort: str, spec: PhantomCohort, seed: int, number: int) -> Examination:
    """Draw everything about one patient but the noise of the images; takes milliseconds.

    Raises:
        ConfigError: unknown cohort.
    """
    if cohort not in COHORTS:
        raise ConfigError(f"unknown phantom cohort {cohort!r}: choose one of {', '.join(COHORTS)}")
    seeds = (seed, COHORTS[cohort][0], number)

    def rng(purpose: int) -> np.random.Generator:
        return np.random.default_rng([*seeds, purpose])

    subject = anatomy.draw_subject(rng(SUBJECT))
    body = Body(subject, _pose(rng(POSE)))
    mix = scanner.mixes()[cohort]
    source = rng(SCANNER)
    centre = 1 + int(source.integers(mix["centres"]))
    habit = scanner.centre_protocol(mix, centre, np.random.default_rng([seed, COHORTS[cohort][0], 10**6 + centre]))
    middle = float(np.mean([body.joint_range(side) for side in SIDES]))
    protocol = scanner.patient_protocol(habit, mix, middle, source)
    source = rng(DISEASE)
    draw = source.random(2)
    share = anatomy.population()["disease"]["mechanical_share"]
    group = "inflamed" if draw[0] < spec.prevalence else "mechanical" if draw[1] < share else "clear"
    lesions = disease.draw_lesions(source, body, group, protocol.spacing)
    source = rng(FAULT)
    fault, shift, lacking = _fault(source, spec)
    return _complete(
        cohort, patient_name(cohort, number), seeds, group, body, lesions, protocol, fault, shift, lacking, 0
    )


def _complete(
    cohort: str, patient: str, seeds: tuple[int, int, int], group: str, body: Body, lesions: list[Lesion],
    protocol: Protocol, fault: str, shift: tuple[float, float, float], lacking: tuple[int, int], session: int,
) -> Examination:  # fmt: skip
    depths = protocol.depths()
    evidence, _ = disease.evidence(lesions, body, depths, protocol.thickness)
    present = disease.joint_present(body, depths)
    key = [*seeds, READING, session] if session else [*seeds, READING]
    reading = readers.read_patient(evidence, present, readers.panel(cohort), np.random.default_rng(key))
    return Examination(patient, f"{COHORTS[cohort][1]}S{seeds[2]:04d}", seeds, group, body, lesions, protocol, evidence,
                       present, reading, fault, shift, lacking, session)  # fmt: skip


def follow_up(cohort: str, first: Examination, change: float, progression: float = 0.0) -> Examination:
    """The same person examined a second time, on the same scanner in the same pose.

    Args:
        cohort: whose readers read it.
        first: the first examination.
        change: factor of the inflammation, 0 clears it, 1 leaves it.
        progression: relative growth of structural damage.
    """
    lesions = disease.follow_up(first.lesions, change, progression)
    return _complete(cohort, f"{first.patient}v2", first.seeds, first.group, first.body, lesions, first.protocol, "",
                     (0.0, 0.0, 0.0), (0, 0), first.session + 1)  # fmt: skip


def _pose(rng: np.random.Generator) -> Pose:
    p = anatomy.population()["pose"]
    turns = np.deg2rad(rng.normal(0, p["rotation_deg"]))
    shift = rng.normal(0, p["shift_mm"])
    return Pose(float(turns[0]), float(turns[1]), float(turns[2]), (float(shift[0]), float(shift[1]), float(shift[2])))


def _fault(rng: np.random.Generator, spec: PhantomCohort) -> tuple[str, tuple[float, float, float], tuple[int, int]]:
    place, size = rng.random(), rng.uniform(4, 14)
    direction = rng.normal(size=3)
    shift = size * direction / np.linalg.norm(direction)
    lacking = (int(rng.integers(0, 4)), int(rng.integers(1, 4)))
    if place < spec.misregistered:
        return "misregistered", (float(shift[0]), float(shift[1]), float(shift[2])), (0, 0)
    if place < spec.misregistered + spec.lacking_slices:
        return "lacking", (0.0, 0.0, 0.0), lacking
    return "", (0.0, 0.0, 0.0), (0, 0)


@dataclass(frozen=True)
class Images:
    """Stored pixels of both series with where they lie.

    `depths` and `corner` are by sequence; the truth lies on the grid of T1.
    """

    pixels: dict[str, NDArray[np.uint16]]
    depths: dict[str, NDArray[np.float64]]
    corner: dict[str, tuple[float, float]]
    geometry: dict[str, Geometry]
    identity: Identity
    bones: NDArray[np.uint8]
    joint: NDArray[np.uint8]
    lesions: NDArray[np.uint8]


def object_grid(protocol: Protocol, dx: float = 0.0, dy: float = 0.0) -> Grid:
    """Grid on which the object is painted: the field of view, in pixels of at most `OBJECT_MM`."""
    size = next_fast_len(2 * int(np.ceil(protocol.fov / OBJECT_MM / 2)))
    x0, y0 = protocol.centre_xy[0] - protocol.fov / 2 + dx, protocol.centre_xy[1] - protocol.fov / 2 + dy
    return Grid(size, protocol.fov / size, x0, y0)


def render(examination: Examination) -> Images:
    """Compute both series and the truth of one examination."""
    e, p = examination, examination.protocol
    scene = Scene(e.body, e.lesions)
    noise = e.rng(NOISE)
    grid = object_grid(p)
    planes = scene.planes(grid, p.depths(), p.thickness, p.t1.sequence, p.stir.sequence)
    key = f"{'-'.join(map(str, e.seeds))}-{e.session}"
    identity = draw_identity(key, e.body.subject.sex, e.body.subject.age, e.rng(IDENTITY))
    origin = e.rng(IDENTITY).normal([0, 60, -80], [8, 12, 25])
    geometry = oblique(p.tilt, p.swing, origin, uid(key, "frame"))
    depths = {T1: p.depths(), STIR: p.depths()}
    corner = {T1: (grid.x0, grid.y0), STIR: (grid.x0, grid.y0)}
    frames = {T1: geometry, STIR: geometry}
    fat_t1, fat_stir = (np.float32(tissues.fat(c.sequence)) for c in (p.t1, p.stir))
    stacks = {
        T1: acquisition.acquire(planes[0], planes[2] * fat_t1, p, p.t1, grid.pixel, grid.x, grid.y, depths[T1], noise)
    }
    if e.fault == "misregistered":  # planned anew after the patient moved: other slices, another frame of reference
        grid = object_grid(p, e.fault_mm[0], e.fault_mm[1])
        depths[STIR] = p.depths() + e.fault_mm[2]
        corner[STIR] = (grid.x0, grid.y0)
        frames[STIR] = replace(geometry, frame=uid(key, "frame", "second"))
        planes = scene.planes(grid, depths[STIR], p.thickness, p.t1.sequence, p.stir.sequence)
    if e.fault == "lacking":
        kept = slice(e.lacking[0], p.slices - e.lacking[1])
        depths[STIR], planes = depths[STIR][kept], planes[:, kept]
    stacks[STIR] = acquisition.acquire(
        planes[1], planes[2] * fat_stir, p, p.stir, grid.pixel, grid.x, grid.y, depths[STIR], noise
    )
    t1_grid = Grid(p.matrix, p.pixel, *corner[T1])
    bones, joint, lesions = scene.truth(t1_grid, p.depths())
    return Images({name: acquisition.stored(stack) for name, stack in stacks.items()}, depths, corner, frames, identity,
                  bones, joint, lesions)  # fmt: skip


__all__ = ["Examination", "Images", "Subject", "draw_examination", "follow_up", "patient_name", "render"]
