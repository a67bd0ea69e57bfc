"""Read the recorded run times of a study's jobs.

The first part of a job's name is its kind (`detector/all_included/seed-0` is of kind `detector`). An estimate rests, in
this order, on the job's own last run; on jobs of its kind in this profile; on another profile's, in proportion to the
work, where the same network is trained; on the time that the paper states for a training of its size; or on nothing,
and then it says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from axspa_lib.study.runs import runs_root, stored_root

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


def kind_of(job: str) -> str:
    """Return the kind of a job.

    >>> kind_of("detector/all_included/seed-0")
    'detector'
    """
    return job.partition("/")[0]


def recorded(profile: str) -> list[Job]:
    """Return the finished jobs of a profile by name, of this machine's run or the stored one.

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


def duration(seconds: float) -> str:
    """Return a time as text.

    >>> duration(42.4), duration(300), duration(3 * 3600 + 120), duration(200 * 3600)
    ('42 s', '5.0 min', '3.0 h', '8.3 days')
    """
    for unit, length, least in (("days", 86400, 48 * 3600), ("h", 3600, 5400), ("min", 60, 90)):
        if seconds >= least:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds == seconds else "unknown"
