"""Training of one bone network (sections 3.1.2 and 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from axspa_lib.bones.accepted import accepted_bones
from axspa_lib.bones.slices import BoneSlices, bone_slices
from axspa_lib.bones.training import train_bones
from axspa_lib.bones.unet import Network
from axspa_lib.networks.precision import used
from axspa_lib.preprocessing.steps import preprocess_volume
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.labels import TRAIN, VALIDATION
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run, record_stage
from axspa_lib.study.volume import Volume


def networks(study: Study) -> tuple[Network, ...]:
    """Return the names of the networks the study trains: one per bone, or one for both."""
    return ("sacrum", "iliac") if study.bones.networks == "pair" else ("both",)


def annotated_sets(study: Study, round_number: int = 1, fold: int | None = None) -> tuple[BoneSlices, BoneSlices]:
    """Load the training and validation slices of a round; from round 2 on, accepted patients train too.

    Args:
        study: the configuration.
        round_number: of the increment.
        fold: whose patients are the test set, neither learnt from nor used to choose the weights; None: single split.
    """
    cohort = Cohort(Layout.of(study).cohort(study.training_cohort))
    training = list(annotated_volumes(study, cohort, cohort.subset("bones", TRAIN, fold)))
    if round_number > 1:
        training += accepted_volumes(study, cohort, round_number - 1, fold)
    validation = annotated_volumes(study, cohort, cohort.subset("bones", VALIDATION, fold))
    return bone_slices(training, study.bones.size), bone_slices(validation, study.bones.size)


def train_bone_network(
    study: Study,
    bone: Network,
    round_number: int = 1,
    fold: int | None = None,
    *,
    sets: tuple[BoneSlices, BoneSlices] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one network and write it, with its record, to the run's folder.

    Args:
        study: the configuration.
        bone: which network.
        round_number: of the increment.
        fold: as in `annotated_sets`.
        sets: from `annotated_sets`; loaded when None.
        progress: show a bar.
    """
    layout = Layout.of(study)
    folder = layout.bones(bone, round_number, fold)
    config = {"bones": study.bones.model_dump(mode="json"), "bone": bone, "round": round_number, "fold": fold}
    with record_stage(folder, config | {"seed": study.seed}) as record:
        training, validation = sets or annotated_sets(study, round_number, fold)
        start = start_weights(layout, study.bones.start, bone)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        record["precision"] = used(device, study.bones.precision)
        record["metrics"] = train_bones(
            bone, training, validation, study.bones, study.seed, folder, device, progress, start
        )
        record["patients"] = {"train": len(set(training.patients)), "validation": len(set(validation.patients))}
    return record


def start_weights(layout: Layout, row: str, bone: Network) -> Path | None:
    """Weights of a finished row of `bone_variants.yaml` to go on from; None for no row.

    Raises:
        MissingResultError: the row has not been computed.
    """
    if not row:
        return None
    folder = layout.bone_variant(row)
    read_run(folder)
    return folder / bone / "model.pt"


def annotated_volumes(study: Study, cohort: Cohort, patients: Iterable[str]) -> Iterator[tuple[str, Volume, Volume]]:
    """Yield patient, preprocessed T1 and reference bones of patients with reference bones."""
    for patient in patients:
        bones = cohort.reference_bones(patient)
        if bones is not None:
            yield patient, preprocess_volume(cohort.volume(patient, "T1"), study.bones.preprocessing), bones


def accepted_volumes(
    study: Study, cohort: Cohort, round_number: int, fold: int | None
) -> Iterator[tuple[str, Volume, Volume]]:
    """Yield patient, preprocessed T1 and predicted bones of patients that a round accepted."""
    for patient, bones in accepted_bones(study, round_number, fold):
        yield patient, preprocess_volume(cohort.volume(patient, "T1"), study.bones.preprocessing), bones
