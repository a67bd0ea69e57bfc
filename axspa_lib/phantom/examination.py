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
from axspa_lib.phantom.person.anatomy import Body, Pose
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
        fault: "" or what is wrong with the pair on purpose: STIR planned again, shifted by `fault_shift` (x, y in mm,
            slices), or `lacking` slices at each end.
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
        """Return this examination's generator of one purpose."""
        return _rng(self.seeds, purpose, self.session)


def _rng(seeds: tuple[int, int, int], purpose: int, session: int = 0) -> np.random.Generator:
    return np.random.default_rng([*seeds, purpose, session] if session else [*seeds, purpose])


def patient_name(cohort: str, number: int, session: int = 0) -> str:
    """Name an examination of the n-th patient of a cohort, from 1: `D0001`, the second time `D0001v2`."""
    return f"{COHORTS[cohort][1]}{number:04d}" + (f"v{session + 1}" if session else "")


def draw_examination(cohort: str, spec: PhantomCohort, seed: int, number: int) -> Examination:
    """Draw everything about one patient but the noise of the images; takes milliseconds.

    Raises:
        ConfigError: unknown cohort.
    """
    if cohort not in COHORTS:
        raise ConfigError(f"unknown phantom cohort {cohort!r}: choose one of {', '.join(COHORTS)}")
    seeds = (seed, COHORTS[cohort][0], number)
    body = Body(anatomy.draw_subject(_rng(seeds, SUBJECT)), _pose(_rng(seeds, POSE)))
    mix, source = scanner.mixes()[cohort], _rng(seeds, SCANNER)
    centre = 1 + int(source.integers(mix["centres"]))
    habit = scanner.centre_protocol(mix, centre, np.random.default_rng([seed, COHORTS[cohort][0], 10**6 + centre]))
    middle = float(np.mean([body.joint_range(side) for side in SIDES]))
    protocol = scanner.patient_protocol(habit, mix, middle, source)
    source = _rng(seeds, DISEASE)
    inflamed, mechanical = source.random(2) < (spec.prevalence, anatomy.population()["disease"]["mechanical_share"])
    group = "inflamed" if inflamed else "mechanical" if mechanical else "clear"
    lesions = disease.draw_lesions(source, body, group, protocol.spacing)
    return _read(cohort, seeds, group, body, lesions, protocol, _fault(_rng(seeds, FAULT), spec), 0)


def follow_up(cohort: str, first: Examination, since: FollowUp) -> Examination:
    """Examine the same person again, on the same scanner in the same pose, the pair without fault.

    Args:
        cohort: whose readers read it.
        first: the first examination.
        since: what changed in between.
    """
    lesions = disease.follow_up(first.lesions, since)
    return _read(cohort, first.seeds, first.group, first.body, lesions, first.protocol, _SOUND, first.session + 1)


#: Fault of a pair, its shift, and how many slices STIR lacks at each end.
Fault = tuple[str, tuple[float, float, int], tuple[int, int]]
_SOUND: Fault = ("", (0.0, 0.0, 0), (0, 0))


def _read(
    cohort: str, seeds: tuple[int, int, int], group: str, body: Body, lesions: list[Lesion], protocol: Protocol,
    fault: Fault, session: int,
) -> Examination:  # fmt: skip
    depths = protocol.depths()
    evidence, present = disease.evidence(lesions, body, depths, protocol.thickness), disease.joint_present(body, depths)
    reading = readers.read_patient(evidence, present, readers.panel(cohort), _rng(seeds, READING, session))
    subject = f"{COHORTS[cohort][1]}S{seeds[2]:04d}"
    return Examination(patient_name(cohort, seeds[2], session), subject, seeds, group, body, lesions, protocol,
                       evidence, present, reading, *fault, session)  # fmt: skip


def _pose(rng: np.random.Generator) -> Pose:
    p = anatomy.population()["pose"]
    about_y, about_x, in_plane = np.deg2rad(rng.normal(0, p["rotation_deg"])).tolist()
    x, y, z = rng.normal(0, p["shift_mm"]).tolist()
    return Pose(about_y, about_x, in_plane, (x, y, z))


def _fault(rng: np.random.Generator, spec: PhantomCohort) -> Fault:
    place, size, angle = rng.random(), rng.uniform(3, 12), rng.uniform(0, 2 * np.pi)
    steps = int(rng.choice((-1, 1)))
    lacking = (int(rng.integers(0, 4)), int(rng.integers(1, 4)))
    if place < spec.misregistered:
        return "misregistered", (float(size * np.cos(angle)), float(size * np.sin(angle)), steps), (0, 0)
    if place < spec.misregistered + spec.lacking_slices:
        return "lacking", (0.0, 0.0, 0), lacking
    return _SOUND


@dataclass(frozen=True)
class Images:
    """Stored pixels, depths and position of both series; the truth lies on the grid of T1."""

    pixels: dict[str, NDArray[np.uint16]]
    depths: dict[str, NDArray[np.float64]]
    corner: dict[str, tuple[float, float]]
    geometry: dict[str, Geometry]
    identity: Identity
    bones: NDArray[np.uint8]
    joint: NDArray[np.uint8]
    lesions: NDArray[np.uint8]


def object_grid(protocol: Protocol) -> Grid:
    """Return the grid on which the object is painted: the field of view, in pixels of at most `OBJECT_MM`."""
    size = next_fast_len(2 * int(np.ceil(protocol.fov / OBJECT_MM / 2)))
    x0, y0 = protocol.centre_xy[0] - protocol.fov / 2, protocol.centre_xy[1] - protocol.fov / 2
    return Grid(size, protocol.fov / size, x0, y0)


def render(examination: Examination) -> Images:
    """Compute both series and the truth of one examination."""
    e, p = examination, examination.protocol
    scene = Scene(e.body, e.lesions)
    noise, grid, subject = e.rng(NOISE), object_grid(p), e.body.subject
    key = f"{'-'.join(map(str, e.seeds))}-{e.session}"
    identity = draw_identity(key, subject.sex, subject.age, _rng(e.seeds, IDENTITY), e.session)
    origin = e.rng(IDENTITY).normal([0, 60, -80], [8, 12, 25])
    geometry = oblique(p.tilt, p.swing, origin, uid(identity.key, "frame"))
    dx, dy, steps = e.fault_shift
    # A STIR planned again lies a slice further; both stacks are cut from one longer one.
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
        water, under = planes[plane, places[name]], skin[places[name]]
        image = acquisition.acquire(water, fat, p, channel, grid, depths[name], under, noise)
        pixels[name] = acquisition.stored(image)
    truth = scene.truth(Grid(p.matrix, p.pixel, *corner[T1]), p.depths())
    return Images(pixels, depths, corner, {T1: geometry, STIR: second}, identity, *truth)
