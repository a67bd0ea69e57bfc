"""Training of one bone network (sections 3.1.2 and 4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from axspa_lib.bones.accepted import accepted_bones
from axspa_lib.bones.training import bone_slices, train_bones
from axspa_lib.networks.precision import used
from axspa_lib.preprocessing.steps import preprocess_volume
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.labels import TRAIN, VALIDATION
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run, record_stage
from axspa_lib.study.volume import Volume

BoneName = Literal["sacrum", "iliac", "both"]


def networks(study: Study) -> tuple[BoneName, ...]:
    """Names of the networks the study trains: one per bone, or one for both."""
    return ("sacrum", "iliac") if study.bones.networks == "pair" else ("both",)


def train_bone_network(
    study: Study, bone: BoneName, round_number: int = 1, fold: int | None = None, *, progress: bool = True
) -> dict[str, Any]:
    """Train one network on the manually segmented patients, and from round 2 on also on those accepted before.

    Args:
        study: the configuration.
        bone: which network.
        round_number: of the increment.
        fold: whose patients are the test set, neither learnt from nor used to choose the weights; None: single split.
        progress: show a bar.
    """
    layout = Layout.of(study)
    cohort = Cohort(layout.cohort(study.training_cohort))
    folder = layout.bones(bone, round_number, fold)
    config = {
        "bones": study.bones.model_dump(mode="json"),
        "bone": bone,
        "round": round_number,
        "fold": fold,
        "seed": study.seed,
    }
    with record_stage(folder, config) as record:
        training = bone_slices(_annotated(study, cohort, TRAIN, round_number, fold), study.bones.size)
        validation = bone_slices(_annotated(study, cohort, VALIDATION, 1, fold), study.bones.size)
        start = start_weights(layout, study.bones.start, bone)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        record["precision"] = used(device, study.bones.precision)
        record["metrics"] = train_bones(
            bone, training, validation, study.bones, study.seed, folder, device, progress, start
        )
        record["patients"] = {"train": len(set(training.patients)), "validation": len(set(validation.patients))}
    return record


def start_weights(layout: Layout, row: str, bone: BoneName) -> Path | None:
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
    """Patient, preprocessed T1 and reference bones, of those patients that have reference bones."""
    for patient in patients:
        bones = cohort.reference_bones(patient)
        if bones is not None:
            yield patient, preprocess_volume(cohort.volume(patient, "T1"), study.bones.preprocessing), bones


def _annotated(
    study: Study, cohort: Cohort, subset: str, round_number: int, fold: int | None
) -> Iterator[tuple[str, Volume, Volume]]:
    yield from annotated_volumes(study, cohort, cohort.subset("bones", subset, fold))
    if round_number > 1:
        for patient, bones in accepted_bones(study, round_number - 1, fold):
            yield patient, preprocess_volume(cohort.volume(patient, "T1"), study.bones.preprocessing), bones
