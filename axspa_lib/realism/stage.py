"""Compare the phantom with real scans: contrast, readers and a classifier (profile `public`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.bones.variants import PHANTOM
from axspa_lib.curation.stage import source_folder
from axspa_lib.phantom import examination
from axspa_lib.phantom.cohort import lesion_rows
from axspa_lib.phantom.person.disease import ACTIVE, FollowUp
from axspa_lib.realism import classifier as likeness
from axspa_lib.realism import reader_calibration as calibration
from axspa_lib.realism.contrast import Pair, compare, measure, pair_of_source
from axspa_lib.realism.real_scans import pair_of_dicom, pair_of_vhi, patients_of_vhi
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study, load_study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import SEQUENCES
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage

log = logging.getLogger(__name__)

#: Simulated patients that the readers judge, and the seed of that draw: not the one they were calibrated on.
READ_PATIENTS, READ_SEED = 12_000, 101
#: What the person shown twice differs by, and among how many simulated patients that person is chosen.
FOLLOW_UP, CHOSEN_AMONG = FollowUp(0.3, progression=0.1), 40
#: Real cohorts: the public collection with masks, and the published patient without.
VHI, DEMO = "vhi", "iaxspa-demo"


def measure_likeness(study: Study) -> dict[str, Any]:
    """Set the study's phantom beside the real scans that it has.

    Writes `figures.csv` (`kind, patient` and the figures of `phantom.measure.measure`), `contrast.csv` (of `compare`),
    `readers_<cohort>.csv` (of `calibration_table`), `scores.csv` (`sequence, patient, real, slice, score`),
    `looks_at.csv` (`sequence, looks_at, auc`), `features.csv` (`sequence` and the columns of `likeness.compared`),
    `history.csv` and `failures.csv` (`patient, reason`); of one person examined twice, `follow_up.npz` and
    `follow_up.csv` (of `_examine_twice`).

    Raises:
        MissingResultError: a source or a curated cohort is not there.
        DataError: too few scans of either kind for a cross-validated classifier.
    """
    layout = Layout.of(study)
    out = layout.likeness
    with record_stage(out, {"readers": READ_PATIENTS, "seed": READ_SEED, "follow_up": asdict(FOLLOW_UP)}) as record:
        failures: list[dict[str, str]] = []
        phantom = _measured(_phantom_pairs(source_folder(study, PHANTOM)), failures)
        real = _measured(_real_pairs(source_folder(study, VHI), source_folder(study, DEMO)), failures)
        both = pd.concat([phantom.assign(kind="phantom"), real.assign(kind="real")], ignore_index=True)
        _write(out / "figures.csv", both)
        table = compare(phantom.drop(columns="patient"), real.drop(columns="patient"))
        _write(out / "contrast.csv", table)
        for name, spec in load_study("paper").phantoms.items():
            _write(out / f"readers_{name}.csv", calibration.calibration_table(name, spec, READ_SEED, READ_PATIENTS))
        images, course = _examine_twice(study)
        np.savez_compressed(out / "follow_up.npz", allow_pickle=False, **images)
        _write(out / "follow_up.csv", course)
        record["metrics"] = {"phantom": len(phantom), "real": len(real)} | _classify(study, layout, out, failures)
        _write(out / "history.csv", likeness.history())
        _write(out / "failures.csv", pd.DataFrame(failures, columns=["patient", "reason"]))
    return record


def _phantom_pairs(folder: Path) -> Iterator[tuple[str, Callable[[], Pair]]]:
    """Simulated patients without a fault that was put in on purpose."""
    groups = pd.read_csv(folder / "truth" / "groups.csv", dtype=str, keep_default_na=False)
    for patient in groups.query("fault == ''")["patient"]:
        yield patient, lambda patient=patient: pair_of_source(folder, patient)  # type: ignore[misc]


def _real_pairs(vhi: Path, demo: Path) -> Iterator[tuple[str, Callable[[], Pair]]]:
    for patient in patients_of_vhi(vhi):
        yield patient, lambda patient=patient: pair_of_vhi(vhi, patient)  # type: ignore[misc]
    for folder in sorted(path for path in demo.iterdir() if (path / "T1").is_dir()):
        yield folder.name, lambda folder=folder: pair_of_dicom(folder)  # type: ignore[misc]


def _examine_twice(study: Study) -> tuple[dict[str, NDArray[Any]], pd.DataFrame]:
    """The most inflamed of the first simulated patients, and the same person after `FOLLOW_UP`.

    Returns:
        `stir` and `active`: `(time, row, column)` of the slice with most inflammation at first, image and true
        inflammation; `spacing` of a pixel in mm. And `lesion, type, side, quadrant, before, after`, volumes in mm³.
    """
    spec = study.phantoms[PHANTOM]  # type: ignore[index]
    drawn = [examination.draw_examination(PHANTOM, spec, study.seed, n) for n in range(1, CHOSEN_AMONG + 1)]
    first = max((exam for exam in drawn if not exam.fault), key=lambda exam: float(exam.evidence.sum()))
    exams = [first, examination.follow_up(PHANTOM, first, FOLLOW_UP)]
    rendered = [examination.render(exam) for exam in exams]
    active = [n for n, lesion in enumerate(first.lesions, 1) if lesion.type in ACTIVE]
    k = int(np.isin(rendered[0].lesions, active).sum(axis=(1, 2)).argmax())
    found = {
        "stir": np.stack([images.pixels["STIR"][k] for images in rendered]),
        "active": np.stack([np.isin(images.lesions[k], active) for images in rendered]),
        "spacing": np.full(2, first.protocol.pixel),
    }
    before, after = (pd.DataFrame(lesion_rows(e, i)) for e, i in zip(exams, rendered, strict=True))
    columns = ["lesion", "type", "side", "quadrant"]
    return found, before[columns].assign(before=before["volume_mm3"], after=after["volume_mm3"])


def _measured(pairs: Iterable[tuple[str, Callable[[], Pair]]], failures: list[dict[str, str]]) -> pd.DataFrame:
    """One row of figures per pair, `patient` first; a pair that cannot be measured is noted and left out."""
    rows: list[dict[str, Any]] = []
    for patient, pair in pairs:
        try:
            rows.append({"patient": patient} | measure(pair()))
        except AxspaError as error:
            _leave_out(failures, patient, error)
    return pd.DataFrame(rows)


def _classify(study: Study, layout: Layout, out: Path, failures: list[dict[str, str]]) -> dict[str, float]:
    """Train the phantom-or-real classifier on curated volumes of every sequence and write what it found."""
    cohorts = [(Cohort(layout.cohort(name)), name != PHANTOM) for name in (PHANTOM, VHI, DEMO)]
    subjects = {
        str(patient): f"{cohort.name} {subject}"
        for cohort, _ in cohorts
        for patient, subject in zip(cohort.participants["patient"], cohort.participants["subject"], strict=True)
    }
    scores, groups, features = [], [], []
    metrics: dict[str, float] = {}
    for sequence in SEQUENCES:
        table = _slices(cohorts, sequence, failures)
        verdict = likeness.judge(table, seed=study.seed, subjects=subjects)
        scores.append(verdict.scores.assign(sequence=sequence))
        groups.append(verdict.groups.assign(sequence=sequence))
        features.append(likeness.compared(table).assign(sequence=sequence))
        metrics |= {f"{sequence}_slices": verdict.slices, f"{sequence}_patients": verdict.patients}
    for name, parts in (("scores", scores), ("looks_at", groups), ("features", features)):
        _write(out / f"{name}.csv", pd.concat(parts, ignore_index=True))
    return metrics


def _slices(cohorts: Iterable[tuple[Cohort, bool]], sequence: str, failures: list[dict[str, str]]) -> pd.DataFrame:
    parts = []
    for cohort, real in cohorts:
        known = cohort.participants
        for patient in known["patient"] if sequence == "T1" else known[known["has_stir"]]["patient"]:
            try:
                parts.append(likeness.slice_table([_stack(cohort, patient, real, sequence)]))
            except AxspaError as error:
                _leave_out(failures, patient, error)
    return pd.concat(parts, ignore_index=True)


def _stack(
    cohort: Cohort, patient: str, real: bool, sequence: str
) -> tuple[str, bool, NDArray[np.floating], tuple[float, float, float]]:
    volume = cohort.volume(patient, sequence)
    return patient, real, volume.array, volume.spacing


def _leave_out(failures: list[dict[str, str]], patient: str, error: AxspaError) -> None:
    log.warning("%s left out: %s", patient, error)
    failures.append({"patient": patient, "reason": str(error)})


def _write(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, index=False)
