"""What a study has cost and what one would cost: recorded run times, and estimates from them with their basis stated.

The first part of a job's name is its kind (`detector/all_included/seed-0` is of kind `detector`). An estimate rests, in
this order, on the job's own last run; on jobs of its kind in this profile; on another profile's, in proportion to the
work, where the same network is trained; on the time that the paper states for a training of its size; or on nothing,
and then it says so.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

from axspa_lib.config import MANIFEST, Study, load_studies, load_study, profiles
from axspa_lib.runs import runs_root, stored_root

#: Kinds of jobs in the order of the study, and what they are called.
KINDS = {
    "sources": "raw data of a cohort",
    "cohorts": "curation of a cohort",
    "bones": "training of a bone network",
    "segmentations": "bones and joints of a cohort",
    "bone_variants": "variant of the bone networks",
    "slices": "slices for the detector",
    "pretrained": "pre-training of a detector",
    "detector": "training of a detector",
    "measures": "lesions and change",
    "likeness": "the phantom beside real scans",
    "chapters": "chapter",
}
#: Width of a field of view, mm, where slices are not brought to a fixed number of pixels.
FIELD_MM = 250.0
OWN, SIBLINGS, STATED, NOTHING = "its last run", "its like in this profile", "the paper", "nothing recorded yet"


@dataclass(frozen=True)
class Job:
    """A finished job: its name (the folder of its `run.json` below the profile's results) and its record."""

    name: str
    record: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        """Wall-clock time; of a training that was interrupted, of its last part."""
        return float(self.record["seconds"])

    @property
    def kind(self) -> str:
        """The kind, in words."""
        return KINDS.get(kind_of(self.name), kind_of(self.name))


@dataclass(frozen=True)
class Estimate:
    """Jobs of one kind: how many, what one takes in seconds (the median) and all together, and on what that rests.

    `seconds` of jobs whose time nothing tells is left out; `unknown` counts them.
    """

    kind: str
    jobs: int
    each: float
    seconds: float
    unknown: int
    basis: str


def kind_of(job: str) -> str:
    """The kind of a job.

    >>> kind_of("detector/all_included/seed-0")
    'detector'
    """
    return job.partition("/")[0]


def recorded(profile: str) -> list[Job]:
    """Every finished job of a profile, by name: of this machine's own run, else of the one stored with the repository.

    A record that cannot be read, as of a job that is being written, is left out.
    """
    for root in (runs_root() / profile, stored_root() / profile):
        found = []
        for path in sorted(root.rglob("run.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if "seconds" in record:
                found.append(Job(path.parent.relative_to(root).as_posix(), record))
        if found:
            return found
    return []


def work(profile: str, job: str) -> tuple[str, float]:
    """What the time of a job is proportional to: a name (only jobs of the same name compare) and its amount.

    Patients for the stages before training (times pixels for the slices); slices shown to the network times pixels for
    trainings, whose name holds the network, since another network has another price.
    """
    kind, *parts = job.split("/")
    study = _study(profile)
    if kind in ("sources", "cohorts", "segmentations"):
        return kind, _patients(study, parts[-1])
    if kind == "slices":
        known = {variant.data_id(): variant for variant in load_studies(profile).values()}
        variant = known.get(parts[0], study)
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


def estimate(
    profile: str, jobs: Iterable[str], records: Callable[[str], list[Job]] = recorded, source: str | None = None
) -> list[Estimate]:
    """What jobs of a profile would take, one row per kind in the order of the study.

    Args:
        profile: a key of the profiles.
        jobs: their names.
        records: finished jobs of a profile.
        source: estimate from this profile's records only; from the own ones first, then all others', when None.
    """
    sources = [source] if source else [profile, *(name for name in profiles() if name != profile)]
    known = {name: records(name) for name in sources}
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


def stated() -> dict[str, dict[str, str]]:
    """Times, memory and device that the paper states, by kind of job (sections 4.1 and 4.2)."""
    with (MANIFEST / "published" / "cost.csv").open(encoding="utf-8") as file:
        return {row["kind"]: row for row in csv.DictReader(file)}


def duration(seconds: float) -> str:
    """A time as text.

    >>> duration(42.4), duration(300), duration(3 * 3600 + 120), duration(200 * 3600)
    ('42 s', '5.0 min', '3.0 h', '8.3 days')
    """
    for unit, length, least in (("days", 86400, 48 * 3600), ("h", 3600, 5400), ("min", 60, 90)):
        if seconds >= least:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds == seconds else "unknown"


def listed(estimates: Iterable[Estimate]) -> list[list[str]]:
    """Estimates as rows of text: what, jobs, each, together, estimated from."""
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


def _patients(study: Study, cohort: str) -> float:
    phantom = study.phantoms.get(cohort)  # type: ignore[call-overload]
    return float(phantom.patients) if phantom is not None else 1.0
