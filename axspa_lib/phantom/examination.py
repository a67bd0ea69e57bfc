"""One simulated examination: everything drawn for a patient, first as parameters, then as images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.fft import next_fast_len

from axspa_lib.phantom import acquisition, readers
from axspa_lib.phantom.dicom import Geometry, Identity, draw_identity, oblique, uid
from axspa_lib.phantom.drawing.texture import Grid
from axspa_lib.phantom.person import anatomy, disease
from axspa_lib.phantom.person.anatomy import Body, Pose, Subject
from axspa_lib.phantom.person.disease import FollowUp, Lesion
from axspa_lib.phantom.physics import scanner, tissues
from axspa_lib.phantom.physics.scanner import Protocol
from axspa_lib.phantom.scene import Scene
from axspa_lib.study.config import PhantomCohort
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import SIDES, STIR, T1

#: Code of each cohort in every seed, and prefix of its patients.
COHORTS = {"phantom-desir": (1, "D"), "phantom-asas": (2, "A")}
#: Purposes of a patient's generators.
SUBJECT, POSE, DISEASE, SCANNER, READING, NOISE, FAULT, IDENTITY = range(8)
#: Largest pixel of the object's grid, mm.
OBJECT_MM = 0.70


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
    fault_shift: tuple[float, float, int]
    lacking: tuple[int, int]
    session: int = 0

    def rng(self, purpose: int) -> np.random.Generator:
        """This examination's generator of one purpose."""
        return np.random.default_rng([*self.seeds, purpose, self.session] if self.session else [*self.seeds, purpose])

    def person(self) -> Identity:
        """Who it is, the same at every examination but for the date."""
        return draw_identity(
            f"{'-'.join(map(str, self.seeds))}-{self.session}",
            self.body.subject.sex,
            self.body.subject.age,
            np.random.default_rng([*self.seeds, IDENTITY]),
            self.session,
        )


def patient_name(cohort: str, number: int, session: int = 0) -> str:
    """Name of an examination of the n-th patient of a cohort, from 1: `D0001`, the second time `D0001v2`."""
    return f"{COHORTS[cohort][1]}{number:04d}" + (f"v{session + 1}" if session else "")


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
    protocol: Protocol, fault: str, shift: tuple[float, float, int], lacking: tuple[int, int], session: int,
) -> Examination:  # fmt: skip
    depths = protocol.depths()
    evidence = disease.evidence(lesions, body, depths, protocol.thickness)
    present = disease.joint_present(body, depths)
    key = [*seeds, READING, session] if session else [*seeds, READING]
    reading = readers.read_patient(evidence, present, readers.panel(cohort), np.random.default_rng(key))
    return Examination(patient, f"{COHORTS[cohort][1]}S{seeds[2]:04d}", seeds, group, body, lesions, protocol, evidence,
                       present, reading, fault, shift, lacking, session)  # fmt: skip


def follow_up(cohort: str, first: Examination, since: FollowUp) -> Examination:
    """The same person examined a second time, on the same scanner in the same pose, the pair without fault.

    Args:
        cohort: whose readers read it.
        first: the first examination.
        since: what changed in between.
    """
    lesions = disease.follow_up(first.lesions, since)
    session = first.session + 1
    patient = patient_name(cohort, first.seeds[2], session)
    return _complete(cohort, patient, first.seeds, first.group, first.body, lesions, first.protocol, "",
                     (0.0, 0.0, 0), (0, 0), session)  # fmt: skip


def _pose(rng: np.random.Generator) -> Pose:
    p = anatomy.population()["pose"]
    turns = np.deg2rad(rng.normal(0, p["rotation_deg"]))
    shift = rng.normal(0, p["shift_mm"])
    return Pose(float(turns[0]), float(turns[1]), float(turns[2]), (float(shift[0]), float(shift[1]), float(shift[2])))


def _fault(rng: np.random.Generator, spec: PhantomCohort) -> tuple[str, tuple[float, float, int], tuple[int, int]]:
    """Whether the pair is faulty, the shift of a STIR planned anew (x, y mm, slices), slices lacking at each end."""
    place, size, angle = rng.random(), rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    steps = int(rng.choice((-1, 1)))
    lacking = (int(rng.integers(0, 4)), int(rng.integers(1, 4)))
    if place < spec.misregistered:
        return "misregistered", (float(size * np.cos(angle)), float(size * np.sin(angle)), steps), (0, 0)
    if place < spec.misregistered + spec.lacking_slices:
        return "lacking", (0.0, 0.0, 0), lacking
    return "", (0.0, 0.0, 0), (0, 0)


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


def object_grid(protocol: Protocol) -> Grid:
    """Grid on which the object is painted: the field of view, in pixels of at most `OBJECT_MM`."""
    size = next_fast_len(2 * int(np.ceil(protocol.fov / OBJECT_MM / 2)))
    x0, y0 = protocol.centre_xy[0] - protocol.fov / 2, protocol.centre_xy[1] - protocol.fov / 2
    return Grid(size, protocol.fov / size, x0, y0)


def render(examination: Examination) -> Images:
    """Compute both series and the truth of one examination."""
    e, p = examination, examination.protocol
    scene = Scene(e.body, e.lesions)
    noise = e.rng(NOISE)
    grid = object_grid(p)
    identity = e.person()
    origin = e.rng(IDENTITY).normal([0, 60, -80], [8, 12, 25])
    geometry = oblique(p.tilt, p.swing, origin, uid(identity.key, "frame"))
    dx, dy, steps = e.fault_shift
    # A STIR planned anew lies a slice further; both stacks are cut from one longer one.
    wanted = p.first_z + p.spacing * np.arange(min(steps, 0), p.slices + max(steps, 0), dtype=np.float64)
    planes = scene.planes(grid, wanted, p.thickness, p.t1.sequence, p.stir.sequence)
    places = {T1: np.arange(p.slices) + max(-steps, 0), STIR: np.arange(p.slices) + max(steps, 0)}
    if e.fault == "lacking":
        places[STIR] = places[STIR][e.lacking[0] : p.slices - e.lacking[1]]
    depths = {name: wanted[place] for name, place in places.items()}
    corner = {T1: (grid.x0, grid.y0), STIR: (grid.x0 + dx, grid.y0 + dy)}
    second = replace(geometry, frame=uid(identity.key, "frame", "second")) if e.fault == "misregistered" else geometry
    down, across = p.stir.shift_mm
    channels = {T1: p.t1, STIR: replace(p.stir, shift_mm=(down - dy, across - dx))}
    skin = np.stack([np.maximum(e.body.skin(float(z), grid.x), grid.y[0] - 500.0) for z in wanted])
    pixels = {}
    for plane, (name, channel) in enumerate(channels.items()):
        fat = planes[2, places[name]] * np.float32(tissues.fat(channel.sequence))
        image = acquisition.acquire(
            planes[plane, places[name]],
            fat,
            p,
            channel,
            grid.pixel,
            grid.x,
            grid.y,
            depths[name],
            skin[places[name]],
            noise,
        )
        pixels[name] = acquisition.stored(image)
    t1_grid = Grid(p.matrix, p.pixel, *corner[T1])
    bones, joint, lesions = scene.truth(t1_grid, p.depths())
    return Images(pixels, depths, corner, {T1: geometry, STIR: second}, identity, bones, joint, lesions)


__all__ = ["Examination", "Images", "Subject", "draw_examination", "follow_up", "patient_name", "render"]
