"""One member of the ensemble: train Mask R-CNN, predict the held-out patients of every cohort (sections 3.2, 4.2)."""

from __future__ import annotations

from typing import Any

import torch

from axspa_lib.cohort import Cohort
from axspa_lib.config import Study
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.inference import predict, write_predictions
from axspa_lib.detector.model import build_detector
from axspa_lib.detector.training import train_detector
from axspa_lib.errors import DataError
from axspa_lib.labels import TEST, TRAIN, VALIDATION
from axspa_lib.layout import Layout
from axspa_lib.runs import recording
from axspa_lib.stages.segmentation import increment_table


def patients_of(study: Study, cohort: str, subset: str, fold: int | None = None) -> list[str]:
    """Patients of a subset that have slices; 'Only manually' (Table 4) narrows the training set, never the test set."""
    layout = Layout.of(study)
    table = increment_table(study, cohort, fold=fold)
    if cohort != study.training_cohort:
        return list(table["patient"]) if subset == TEST else []
    accepted = set(table["patient"][table["accepted"]])
    if study.increment.manual_only and subset != TEST:
        accepted &= set(table["patient"][table["source"] == "manual"])
    chosen = Cohort(layout.cohort(cohort)).subset("detection", subset, fold)
    return [patient for patient in chosen if patient in accepted]


def train_member(study: Study, seed: int, fold: int | None = None, *, progress: bool = True) -> dict[str, Any]:
    """Train the member `seed` of the study's experiment and store its predictions of the test patients of a fold.

    Writes `model.pt`, `history.parquet` and, for each cohort, `predictions_<cohort>.parquet`.
    """
    layout = Layout.of(study)
    folder = layout.member(study.experiment, seed, fold)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with recording(folder, study.model_dump(mode="json")) as record:
        record["ids"] = {"data_id": study.data_id(), "run_id": study.run_id(seed)}
        training, validation = (_data(study, study.training_cohort, subset, fold) for subset in (TRAIN, VALIDATION))
        record["metrics"] = train_detector(
            study.detector,
            training,
            validation,
            seed=study.seed * 1000 + seed,
            folder=folder,
            device=device,
            progress=progress,
        )
        record["patients"] = {TRAIN: len(training.patients), VALIDATION: len(validation.patients)}
        model = build_detector(study.detector.model_copy(update={"start": str(folder / "model.pt")}))
        record["tested"] = {}
        for cohort in study.cohorts:
            held_out = _data(study, cohort, TEST, fold)
            record["tested"][cohort] = held_out.patients
            write_predictions(
                folder / f"predictions_{cohort}.parquet", predict(model, held_out, study.detector, device=device)
            )
    return record


def _data(study: Study, cohort: str, subset: str, fold: int | None) -> DetectionData:
    folder = Layout.of(study).slices(study.data_id(), cohort, fold)
    patients = patients_of(study, cohort, subset, fold)
    if not patients:
        raise DataError(f"cohort {cohort}: no patient is left in the {subset} set; enlarge the cohort or its split")
    return DetectionData.load(folder, folder / "instances.json", channels=study.detector.channels, patients=patients)
