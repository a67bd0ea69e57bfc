"""One member of the ensemble: train Mask R-CNN, predict the held-out patients of every cohort (sections 3.2, 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from axspa_lib.bones.accepted import increment_table
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.inference import predict, write_predictions
from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.detector.network.model import build_detector
from axspa_lib.detector.network.runtime import runtime_of
from axspa_lib.detector.pretraining import start_of
from axspa_lib.detector.training import train_detector
from axspa_lib.networks.precision import used
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import TEST, TRAIN, VALIDATION
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage


def patients_of(study: Study, cohort: str, subset: str, fold: int | None = None) -> list[str]:
    """Return a subset's patients with slices; 'Only manually' (Table 4) narrows the training set only."""
    layout = Layout.of(study)
    table = increment_table(study, cohort, fold=fold)
    if cohort != study.training_cohort:
        return list(table["patient"]) if subset == TEST else []
    accepted = set(table["patient"][table["accepted"]])
    if study.increment.manual_only and subset != TEST:
        accepted &= set(table["patient"][table["source"] == "manual"])
    curated = Cohort(layout.cohort(cohort))
    chosen = [patient for patient in curated.subset("detection", subset, fold) if patient in accepted]
    if study.training_subjects and subset == TRAIN:
        subjects = dict(zip(curated.participants["patient"], curated.participants["subject"], strict=True))
        kept = sorted({subjects[patient] for patient in chosen})[: study.training_subjects]
        chosen = [patient for patient in chosen if subjects[patient] in kept]
    return chosen


def training_sets(study: Study, fold: int | None = None) -> tuple[DetectionData, DetectionData]:
    """Load the slices and instances that the members of a fold learn from, and those that choose their weights."""
    training, validation = (data_of(study, study.training_cohort, kind, fold) for kind in (TRAIN, VALIDATION))
    return training, validation


def train_member(
    study: Study,
    seed: int,
    fold: int | None = None,
    *,
    sets: tuple[DetectionData, DetectionData] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one member of the study's experiment and store its predictions of the test patients.

    Writes `model.pt`, `history.parquet` and, for each cohort, `predictions_<cohort>.parquet`.

    Args:
        study: the configuration.
        seed: number of the member.
        fold: whose patients are tested; None: single split.
        sets: from `training_sets`; loaded when None.
        progress: show a bar.
    """
    folder = Layout.of(study).member(study.experiment, seed, fold)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with record_stage(folder, study.model_dump(mode="json")) as record:
        record["precision"] = used(device, study.detector.precision)
        record["runtime"] = runtime_of(study.detector, device)
        record["ids"] = {"data_id": study.data_id()}
        if study.fine_tune:
            training, validation = sets or training_sets(study, fold)
            options: dict[str, Any] = {"folder": folder, "device": device, "progress": progress}
            record["metrics"] = train_detector(
                start_of(study), training, validation, seed=study.seed * 1000 + seed, **options
            )
            record["patients"] = {TRAIN: len(training.patients), VALIDATION: len(validation.patients)}
        model = trained_detector(study, seed, fold)
        record["tested"] = {}
        for cohort in study.cohorts:
            held_out = data_of(study, cohort, TEST, fold)
            record["tested"][cohort] = held_out.patients
            found = predict(model, held_out, study.detector, device=device)
            write_predictions(folder / f"predictions_{cohort}.parquet", found)
    return record


def trained_detector(study: Study, seed: int, fold: int | None = None) -> DetectorNetwork:
    """Return the network of a trained member; of an experiment without fine-tuning, the one that all start from."""
    config = start_of(study)
    if study.fine_tune:
        weights = Layout.of(study).member(study.experiment, seed, fold) / "model.pt"
        config = config.model_copy(update={"start": str(weights)})
    return build_detector(config)


def data_of(study: Study, cohort: str, subset: str, fold: int | None = None) -> DetectionData:
    """Return the slices and instances of a subset, as the detector takes them.

    With `increment.manual_only` a training slice counts only where the manual mask has bones on it.

    Raises:
        DataError: no patient is left.
    """
    layout = Layout.of(study)
    folder = layout.slices(study.data_id(), cohort, fold)
    patients = patients_of(study, cohort, subset, fold)
    if not patients:
        raise DataError(f"cohort {cohort}: no patient is left in the {subset} set; enlarge the cohort or its split")
    data = DetectionData.load(folder, folder / "instances.json", channels=study.detector.channels, patients=patients)
    if not (study.increment.manual_only and study.increment.fill_gaps) or subset == TEST:
        return data
    curated = Cohort(layout.cohort(cohort))
    bones = {patient: curated.reference_bones(patient) for patient in data.patients}
    annotated = {name: np.asarray(mask.array.any(axis=(1, 2))) for name, mask in bones.items() if mask is not None}
    kept = tuple(s for s in data.slices if s.patient in annotated and annotated[s.patient][s.index])
    return DetectionData(kept, data.channels, data.skipped | {"slice without a manual mask": len(data) - len(kept)})
