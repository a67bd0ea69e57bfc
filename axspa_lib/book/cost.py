"""Estimate what a study would cost, from recorded run times; each estimate names its basis.

An estimate rests, in this order, on the job's own last run; on jobs of its kind in this profile; on another profile's,
in proportion to the work, where the same network is trained; or on the time that the paper states.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median

from axspa_lib.study.config import MANIFEST, Study, load_studies, load_study, profiles
from axspa_lib.study.jobs import FIELD_MM, KINDS, NOTHING, OWN, SIBLINGS, STATED, Job, duration, kind_of, recorded


@dataclass(frozen=True)
class Estimate:
    """Jobs of one kind: number, median seconds, total seconds, and the basis of the estimate.

    `seconds` of jobs whose time nothing tells is left out; `unknown` counts them.
    """

    kind: str
    jobs: int
    each: float
    seconds: float
    unknown: int
    basis: str


def work(profile: str, job: str) -> tuple[str, float]:
    """Return the amount of work of a job, under a name that comparable jobs share.

    Patients for the stages before training (times pixels for the slices); slices shown to the network times pixels for
    trainings, whose name holds the network, since another network has another price.
    """
    kind, *parts = job.split("/")
    study = _study(profile)
    if kind in ("sources", "cohorts", "segmentations"):
        return kind, _patients(study, parts[-1])
    if kind == "slices":
        variant = _by_data(profile).get(parts[0], study)
        return kind, _patients(study, parts[-1]) / variant.detector.preprocessing.pixel_mm**2
    if kind in ("bones", "bone_variants"):
        bones = study.bones
        name = f"{kind} {bones.architecture} {bones.encoder} {bones.decoder_channels} {bones.precision}"
        return name, bones.epochs * bones.split[0] * float(bones.size) ** 2
    if kind == "detector":
        net = study.detector
        network = (net.implementation, net.backbone, net.width, net.fpn_channels, net.box_head_dim, net.precision)
        size = net.min_size or FIELD_MM / net.preprocessing.pixel_mm  # 0: the slices keep their own size
        return f"{kind} {network}", net.iterations * net.batch_size * size**2
    return kind, 1.0


def estimate(profile: str, jobs: Iterable[str], records: Callable[[str], list[Job]] = recorded) -> list[Estimate]:
    """Estimate the cost of a profile's jobs, one row per kind in the order of the study.

    Args:
        profile: a key of the profiles.
        jobs: their names.
        records: finished jobs of a profile.
    """
    known = _known(profile, records)
    rows: dict[str, list[tuple[float | None, str]]] = {}
    for job in jobs:
        rows.setdefault(kind_of(job), []).append(_of_job(profile, job, known))
    found = []
    for kind in sorted(rows, key=lambda name: [*KINDS, name].index(name)):
        times = [seconds for seconds, _ in rows[kind] if seconds is not None]
        bases = ", ".join(dict.fromkeys(basis for _, basis in rows[kind]))
        each = median(times) if times else float("nan")
        found.append(Estimate(kind, len(rows[kind]), each, sum(times), len(rows[kind]) - len(times), bases))
    return found


def seconds_by_job(profile: str, jobs: Iterable[str]) -> dict[str, float]:
    """Return estimated seconds by job; jobs of which nothing is recorded are missing."""
    known = _known(profile, recorded)
    found = {job: _of_job(profile, job, known)[0] for job in jobs}
    return {job: seconds for job, seconds in found.items() if seconds is not None}


def stated() -> dict[str, dict[str, str]]:
    """Return the times, memory and device that the paper states, by kind of job (sections 4.1 and 4.2)."""
    with (MANIFEST / "published" / "cost.csv").open(encoding="utf-8") as file:
        return {row["kind"]: row for row in csv.DictReader(file)}


def listed(estimates: Iterable[Estimate]) -> list[list[str]]:
    """Return estimates as rows of text: what, jobs, each, together, estimated from."""
    return [
        [
            KINDS.get(row.kind, row.kind),
            str(row.jobs),
            duration(row.each),
            duration(row.seconds) if row.unknown < row.jobs else "unknown",
            row.basis,
        ]
        for row in estimates
    ]


def _known(profile: str, records: Callable[[str], list[Job]]) -> dict[str, list[Job]]:
    """Return the finished jobs of all profiles, the given one first."""
    return {name: records(name) for name in sorted(profiles(), key=lambda name: name != profile)}


def _of_job(profile: str, job: str, known: Mapping[str, list[Job]]) -> tuple[float | None, str]:
    kind = kind_of(job)
    for name, jobs in known.items():
        own = [found.seconds for found in jobs if name == profile and found.name == job]
        if own:
            return own[0], OWN
        measure, amount = work(profile, job)
        rates = []
        for found in jobs:
            if kind_of(found.name) == kind:
                other, size = work(name, found.name)
                if other == measure and size > 0:
                    rates.append(found.seconds / size)
        if rates:
            return median(rates) * amount, SIBLINGS if name == profile else f"profile {name}, in proportion to the work"
    paper = stated().get(kind)
    if paper is not None and profile == "paper":
        return 60 * float(paper["minutes"]), f"{STATED}: {paper['minutes']} min on {paper['device']}"
    return None, NOTHING


@cache
def _study(profile: str, experiment: str = "all_included") -> Study:
    return load_study(profile, experiment)


@cache
def _by_data(profile: str) -> dict[str, Study]:
    """Return the study of each way to preprocess slices, by its `data_id`."""
    return {variant.data_id(): variant for variant in load_studies(profile).values()}


def _patients(study: Study, cohort: str) -> float:
    phantom = study.phantoms.get(cohort)  # type: ignore[call-overload]
    return float(phantom.patients) if phantom is not None else 1.0
