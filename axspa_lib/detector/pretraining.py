"""Pre-training of the detector on simulated patients: their true bones, the consensus of their readers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.slices import write_slices
from axspa_lib.detector.training import train_detector
from axspa_lib.joint.algorithm1 import extract_joints
from axspa_lib.networks.precision import used
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Detector, Joint, Study
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import TRAIN, VALIDATION
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run, record_stage
from axspa_lib.study.volume import Volume

#: One patient in so many chooses the weights.
VALIDATION_EVERY = 8


def pretrain_detector(study: Study, *, progress: bool = True) -> dict[str, Any]:
    """Train the detector that the study's trainings start from, on slices preprocessed as theirs.

    The ROIs come from the simulator's bones by Algorithm 1, the labels from the simulated readers' consensus. No real
    image takes part, so one pre-training serves every fold.

    Raises:
        ConfigError: the study has no pre-training.
    """
    if study.pretraining is None:
        raise ConfigError(f"parameter pretraining: profile {study.profile} has none")
    folder = Layout.of(study).pretrained(study.data_id())
    cohort = Cohort(Layout.of(study).cohort(study.pretraining.cohort))
    config = study.detector.model_copy(update=study.pretraining.model_dump(exclude={"cohort"}))
    with record_stage(folder, config.model_dump(mode="json") | {"cohort": cohort.name, "seed": study.seed}) as record:
        usable = list(cohort.participants.query("has_stir and has_bones")["patient"])
        joint_of = partial(_true_joint, study.joint)
        slices = write_slices(study, cohort, usable, joint_of, folder / "slices", progress=progress)
        training, validation = pretraining_sets(study)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        record["precision"] = used(device, config.precision)
        metrics = train_detector(
            config, training, validation, seed=study.seed, folder=folder, device=device, progress=progress
        )
        record["metrics"] = metrics | slices
        record["patients"] = {TRAIN: len(training.patients), VALIDATION: len(validation.patients)}
    return record


def pretraining_sets(study: Study) -> tuple[DetectionData, DetectionData]:
    """Load the simulated slices to learn from and those that choose the weights: every eighth patient."""
    folder, channels = Layout.of(study).pretrained(study.data_id()) / "slices", study.detector.channels
    everyone = DetectionData.load(folder, folder / "instances.json", channels=channels)
    chosen = set(everyone.patients[::VALIDATION_EVERY])
    return (
        DetectionData(tuple(s for s in everyone.slices if s.patient not in chosen), channels, everyone.skipped),
        DetectionData(tuple(s for s in everyone.slices if s.patient in chosen), channels),
    )


def start_of(study: Study) -> Detector:
    """Return the study's detector with its start resolved: the weights pre-trained on slices preprocessed alike.

    Raises:
        MissingResultError: the pre-training has not finished.
    """
    if study.detector.start != "pretrained":
        return study.detector
    folder = Layout.of(study).pretrained(study.data_id())
    read_run(folder)
    return study.detector.model_copy(update={"start": str(folder / "model.pt")})


def _true_joint(config: Joint, cohort: Cohort, patient: str) -> Volume:
    bones = cohort.reference_bones(patient)
    assert bones is not None
    return extract_joints(bones, config)
