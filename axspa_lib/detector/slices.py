"""The detector's input: preprocessed T1 and STIR slices on one grid, and COCO instances (section 3.2.1)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from axspa_lib.bones.accepted import increment_table
from axspa_lib.detector.instances import coco, slice_instances, unread_slices
from axspa_lib.preprocessing.steps import preprocess_volume, resample_mask
from axspa_lib.study import processes
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Preprocessing, Study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import SEQUENCES, SIDES
from axspa_lib.study.layout import Layout
from axspa_lib.study.progress import Progress
from axspa_lib.study.runs import record_stage, write_json
from axspa_lib.study.volume import Volume, read_volume, write_volume

log = logging.getLogger(__name__)

#: Images and annotations of one patient (`axspa_lib.detector.instances`).
Entries = tuple[list[dict[str, Any]], list[dict[str, Any]]]

JointOf = Callable[[Cohort, str], Volume]


def prepare_slices(
    study: Study, cohort: str, fold: int | None = None, *, workers: int = 1, progress: bool = False
) -> dict[str, Any]:
    """Preprocess the accepted patients of a cohort and write `instances.json` (COCO) beside the slices.

    Patients whose joints were not found (section 4.1) are left out of the training cohort, as in the paper; of an
    external cohort every patient is kept, since nothing is trained on it. T1-only examinations have nothing to detect.
    A cohort that nobody read has all its slices in `instances.json`, without instances.
    """
    layout = Layout.of(study)
    folder = layout.slices(study.data_id(), cohort, fold)
    curated = Cohort(layout.cohort(cohort))
    table = increment_table(study, cohort, fold=fold)
    pairs = set(curated.participants.loc[curated.participants["has_stir"], "patient"])
    kept = table["patient"][table["accepted"] | (cohort != study.training_cohort)]
    patients = [patient for patient in kept if patient in pairs]
    joints = layout.segmentation(cohort, study.increment.rounds, fold)
    preprocessing = study.detector.preprocessing.model_dump()
    config = {"preprocessing": preprocessing, "data_id": study.data_id(), "cohort": cohort, "fold": fold}
    with record_stage(folder, config) as record:
        joint_of = partial(_predicted_joint, joints)
        record["metrics"] = write_slices(study, curated, patients, joint_of, folder, workers=workers, progress=progress)
    return record


def write_slices(
    study: Study, cohort: Cohort, patients: list[str], joint_of: JointOf, folder: Path,
    *, workers: int = 1, progress: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Preprocess patients into a folder, and write their instances, half-slices and failures beside the slices.

    Args:
        study: its detector's preprocessing counts.
        cohort: whose patients.
        patients: which.
        joint_of: returns a patient's joint mask on the grid of T1, 1 patient right, 2 left.
        folder: of the slices.
        workers: processes at a time.
        progress: show a bar.

    Returns:
        How many patients, slices and instances there are, and how many patients failed.
    """
    consensus = cohort.consensus()
    work = partial(_prepare, cohort.path, joint_of, folder, study.detector.preprocessing, consensus)
    with processes.pool(workers) as pool:
        done = list(Progress(pool.map(work, patients), total=len(patients), desc="slices", disable=not progress))
    failures = [result for result in done if isinstance(result, dict)]
    parts = [result for result in done if not isinstance(result, dict)]
    dataset = coco(parts, {"cohort": cohort.name, "data_id": study.data_id()})
    write_json(folder / "instances.json", dataset)
    _half_slices(dataset, consensus).to_csv(folder / "half_slices.csv", index=False)
    pd.DataFrame(failures, columns=["patient", "reason"]).to_csv(folder / "failures.csv", index=False)
    counts = {"slices": len(dataset["images"]), "instances": len(dataset["annotations"]), "failed": len(failures)}
    return {"patients": len(parts)} | counts


def _half_slices(dataset: dict[str, Any], consensus: pd.DataFrame) -> pd.DataFrame:
    """Return both half-slices of every image: the readers' consensus (empty where none), and whether a ROI is there."""
    images = pd.DataFrame(dataset["images"], columns=["id", "patient", "slice"])
    both = images.merge(pd.DataFrame({"side": SIDES}), how="cross")
    found = pd.DataFrame(dataset["annotations"], columns=["image_id", "side"]).drop_duplicates()
    both = both.merge(found.assign(joint=True), left_on=["id", "side"], right_on=["image_id", "side"], how="left")
    both["joint"] = both["joint"].notna()
    key = ["patient", "slice", "side"]
    return both[[*key, "joint"]].merge(consensus[[*key, "inflammation"]], on=key, how="left")


def _predicted_joint(joints: Path, cohort: Cohort, patient: str) -> Volume:
    return read_volume(joints / f"{patient}_desc-joint_dseg.nii.gz")


def _prepare(
    path: Path, joint_of: JointOf, out: Path, preprocessing: Preprocessing, consensus: pd.DataFrame, patient: str
) -> Entries | dict[str, str]:
    """Preprocess one patient into `out`; return its images and annotations, or why it failed."""
    cohort = Cohort(path)
    try:
        joint = joint_of(cohort, patient)
        for sequence in SEQUENCES:
            slices = preprocess_volume(cohort.volume(patient, sequence), preprocessing)
            write_volume(out / f"{patient}_{sequence}.nii.gz", slices)
        resampled = resample_mask(joint, slices)
        if consensus.empty:
            return unread_slices(patient, resampled), []
        images, annotations, skipped = slice_instances(patient, resampled, consensus[consensus["patient"] == patient])
    except AxspaError as error:
        return {"patient": patient, "reason": str(error)}
    if skipped:
        log.info("%s: %s half-slices without a usable joint", patient, len(skipped))
    return images, annotations
