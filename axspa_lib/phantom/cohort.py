"""Write a simulated cohort as a *source* folder: DICOM, readings, opinions, patients and truth; restartable."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from axspa_lib.phantom import examination, readers
from axspa_lib.phantom.dicom import write_series
from axspa_lib.phantom.examination import Examination, Images
from axspa_lib.phantom.person import anatomy
from axspa_lib.phantom.person.disease import FollowUp, contrast
from axspa_lib.phantom.physics import scanner, tissues
from axspa_lib.study import processes
from axspa_lib.study.config import PhantomCohort, digest
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.identity import module_identity
from axspa_lib.study.labels import SEQUENCES
from axspa_lib.study.progress import Progress
from axspa_lib.study.runs import write_json, write_text
from axspa_lib.study.volume import Volume, write_volume

#: What a folder holds, written before its first patient.
_BEGUN = "simulation.json"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def simulate_cohort(
    cohort: str, spec: PhantomCohort, seed: int, out: Path, *, since: FollowUp | None = None, workers: int = 1,
    progress: bool = False,
) -> None:  # fmt: skip
    """Write a simulated cohort as a source folder (`CONTRIBUTING.md`), `source.json` last.

    The bytes do not depend on `workers`; patients that an earlier call of the same simulation finished are kept.

    Args:
        cohort: "phantom-desir" or "phantom-asas".
        spec: how many patients, and their rates.
        seed: of the whole cohort.
        out: folder of the source; created.
        since: examine everyone a second time (`D0001v2` of `D0001`), changed by this; `None`: once.
        workers: processes, each with one thread.
        progress: draw a progress bar.

    Raises:
        ConfigError: unknown cohort, a negative seed, fewer than one worker, or `out` holds another simulation.
    """
    if cohort not in examination.COHORTS:
        raise ConfigError(f"unknown phantom cohort {cohort!r}: choose one of {', '.join(examination.COHORTS)}")
    if seed < 0 or workers < 1:
        raise ConfigError(f"choose a seed of at least 0, not {seed}, and at least one worker, not {workers}")
    if holds_another(out, cohort, spec, seed, since):
        raise ConfigError(
            f"{out} holds another simulation (seed, parameters or simulator differ): choose another folder or remove it"
        )

    out.mkdir(parents=True, exist_ok=True)
    identity = specification(cohort, spec, seed, since)
    write_json(out / _BEGUN, identity)
    (out / "source.json").unlink(missing_ok=True)
    sessions = range(1 if since is None else 2)
    visits = {n: [examination.patient_name(cohort, n, k) for k in sessions] for n in range(1, spec.patients + 1)}
    numbers = [n for n, names in visits.items() if not all(_record(out, name).exists() for name in names)]
    done = spec.patients - len(numbers)
    bar = Progress(total=spec.patients, initial=done, desc=cohort, unit="patient", disable=not progress)
    simulate = partial(simulate_patient, cohort, spec, seed, out=out, since=since)
    if workers == 1:
        for number in numbers:
            simulate(number)
            bar.update()
    else:
        _in_parallel(numbers, simulate, workers, bar)
    bar.close()
    _collect(cohort, [name for names in visits.values() for name in names], identity, out)


def holds_another(out: Path, cohort: str, spec: PhantomCohort, seed: int, since: FollowUp | None = None) -> bool:
    """Return whether `out` holds a simulation of another seed or specification, or by another simulator."""
    begun = out / _BEGUN
    if not begun.exists():
        return False
    held = json.loads(begun.read_text(encoding="utf-8")).get("id")
    return bool(held != specification(cohort, spec, seed, since)["id"])


def specification(cohort: str, spec: PhantomCohort, seed: int, since: FollowUp | None = None) -> dict[str, Any]:
    """Return what a simulation depends on, with its identity; not its number of patients, which may grow."""
    manifest = [anatomy.population(), scanner.mixes()[cohort], anatomy.template().raw, readers.manifest()[cohort]]
    table = {name: vars(tissue) for name, tissue in tissues.tissues().items()}
    rates = spec.model_dump(mode="json") | {"patients": None}
    value = {"cohort": cohort, "seed": seed, "spec": rates, "code": module_identity(__name__)[:10],
             "manifest": digest(json.loads(json.dumps([manifest, table], default=str))),
             "follow_up": None if since is None else asdict(since)}  # fmt: skip
    return value | {"id": digest(value)}


def simulate_patient(
    cohort: str, spec: PhantomCohort, seed: int, number: int, out: Path, since: FollowUp | None = None
) -> None:
    """Simulate and write what is missing of one patient; each examination's record in `truth/` is written last."""
    exams = [examination.draw_examination(cohort, spec, seed, number)]
    if since is not None:
        exams.append(examination.follow_up(cohort, exams[0], since))
    for exam in exams:
        if not _record(out, exam.patient).exists():
            write_examination(exam, examination.render(exam), readers.panel(cohort).names, out)


def write_examination(exam: Examination, images: Images, names: tuple[str, ...], out: Path) -> None:
    """Write one examination: both series, the truth, and its record."""
    p = exam.protocol
    for series, sequence in enumerate(SEQUENCES, 2):
        folder = out / exam.patient / sequence
        for stale in folder.glob("*.dcm"):
            stale.unlink()
        write_series(
            folder, images.pixels[sequence], p, sequence, p.t1 if sequence == "T1" else p.stir,
            images.geometry[sequence], images.identity, images.corner[sequence], images.depths[sequence], series,
        )  # fmt: skip
    affine = images.geometry["T1"].affine(p, *images.corner["T1"])
    for name, array in (("bones", images.bones), ("joint", images.joint), ("lesions", images.lesions)):
        write_volume(out / "truth" / f"{exam.patient}_{name}.nii.gz", Volume(array, affine))
    readings, opinions = exam.reading.rows(exam.patient, names)
    record = {
        "patient": exam.patient, "subject": exam.subject, "centre": p.centre, "group": exam.group, "fault": exam.fault,
        "lesions": lesion_rows(exam, images), "readings": readings, "opinions": opinions,
    }  # fmt: skip
    write_text(_record(out, exam.patient), json.dumps(record) + "\n")


def lesion_rows(exam: Examination, images: Images) -> list[dict[str, Any]]:
    """Return an examination's rows of `truth/lesions.csv`; volumes are those of the drawn voxels."""
    voxel = exam.protocol.pixel**2 * exam.protocol.spacing
    rows = []
    for number, lesion in enumerate(exam.lesions, 1):
        where = np.flatnonzero((images.lesions == number).any((1, 2)))
        count = int((images.lesions == number).sum())
        rows.append({
            "patient": exam.patient, "lesion": number, "type": lesion.type, "side": lesion.side,
            "quadrant": lesion.quadrant, "volume_mm3": round(count * voxel, 2),
            "first_slice": int(where[0]) if where.size else -1, "last_slice": int(where[-1]) if where.size else -1,
            "contrast": round(contrast(lesion, exam.body.subject.marrow_ff), 3),
            "depth_mm": round(lesion.depth, 2), "along_mm": round(2 * lesion.along, 2),
        })  # fmt: skip
    return rows


def _record(out: Path, patient: str) -> Path:
    return out / "truth" / "records" / f"{patient}.json"


def _in_parallel(numbers: list[int], simulate: Callable[[int], None], workers: int, bar: Any) -> None:
    """Simulate in single-threaded processes."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        with processes.pool(workers, method="spawn", initializer=cv2.setNumThreads, initargs=(0,)) as pool:
            for _ in pool.map(simulate, numbers):
                bar.update()
    finally:
        for name in _THREADS:
            os.environ.pop(name, None)
        os.environ.update(before)


def _collect(cohort: str, names: list[str], identity: dict[str, Any], out: Path) -> None:
    records = [json.loads(_record(out, name).read_text(encoding="utf-8")) for name in names]
    tables = {
        "patients.csv": [{k: r[k] for k in ("patient", "subject", "centre")} for r in records],
        "readings.csv": [row for r in records for row in r["readings"]],
        "opinions.csv": [row for r in records for row in r["opinions"]],
        "truth/lesions.csv": [row for r in records for row in r["lesions"]],
        "truth/groups.csv": [{k: r[k] for k in ("patient", "group", "fault")} for r in records],
    }
    for name, rows in tables.items():
        frame = pd.DataFrame(rows, columns=LESION_COLUMNS if name == "truth/lesions.csv" else None)
        write_text(out / name, frame.to_csv(index=False, lineterminator="\n"))
    once = list({r["subject"]: r for r in reversed(records)}.values())  # the first examination of everyone
    faults = [r["fault"] or "none" for r in once]
    write_json(out / "source.json", identity | {
        "patients": len(once), "examinations": len(records), "readers": list(readers.panel(cohort).names),
        "groups": {g: sum(r["group"] == g for r in once) for g in ("inflamed", "mechanical", "clear")},
        "faults": {f: faults.count(f) for f in sorted(set(faults))}, "note": "simulated; no clinical data",
    })  # fmt: skip


#: Columns of `truth/lesions.csv`.
LESION_COLUMNS = ["patient", "lesion", "type", "side", "quadrant", "volume_mm3", "first_slice", "last_slice",
                  "contrast", "depth_mm", "along_mm"]  # fmt: skip
