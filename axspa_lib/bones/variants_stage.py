"""One variant of the bone networks: train what it needs, segment the held-out patients, store their Dice (4.1, 5.1)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from axspa_lib.bones.dice import dice_by_patient, dice_by_slice
from axspa_lib.bones.slices import bone_slices
from axspa_lib.bones.stage import accepted_volumes, annotated_volumes, networks, start_weights
from axspa_lib.bones.training import train_bones
from axspa_lib.bones.unet import build_unet, load_weights, predict_bones
from axspa_lib.bones.variants import PHANTOM, BoneVariant, bone_variant
from axspa_lib.networks.precision import used
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import TEST, TRAIN, VALIDATION
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage, write_text

#: One in so many phantom patients chooses the weights of a variant that learns from the phantom.
PHANTOM_VALIDATION = 6


def run_bone_variant(study: Study, name: str, fold: int | None = None, *, progress: bool = True) -> dict[str, Any]:
    """Train the networks of one row of `bone_variants.yaml` and store the Dice of the patients held out.

    Writes `<network>/model.pt`, `<network>/history.parquet`, and `dice.csv` (as `dice_by_slice`).

    Args:
        study: the configuration.
        name: of the row.
        fold: whose patients are held out; None for the single split, and for rows that learn from the phantom only,
            which are tested on every annotated patient of the training cohort.
        progress: show a bar.

    Raises:
        ConfigError: no such row, or it wants more patients than there are.
        MissingResultError: the row it continues, or a cohort, has not been computed.
        DataError: there is no phantom patient to learn from.
    """
    variant = bone_variant(name)
    layout = Layout.of(study)
    own = Cohort(layout.cohort(study.training_cohort))
    fold = fold if variant.folded else None
    folder = layout.bone_variant(name, fold)
    config = {"variant": variant.model_dump(), "bones": study.bones.model_dump(mode="json"), "fold": fold}
    with record_stage(folder, config | {"seed": study.seed}) as record:
        cohort, train, validate, test = _patients(study, layout, own, variant, fold)
        learnt = list(annotated_volumes(study, cohort, train))
        if variant.learns == "grown":
            learnt += accepted_volumes(study, own, 1, fold)
        training = bone_slices(learnt, study.bones.size)
        validation = bone_slices(annotated_volumes(study, cohort, validate), study.bones.size)
        settings = variant.settings(study.bones, len(training), _usual(own, fold))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        record["precision"] = used(device, settings.precision)
        nets: dict[str, torch.nn.Module] = {}
        metrics = {}
        for bone in networks(study.model_copy(update={"bones": settings})):
            start = start_weights(layout, variant.starts_from(study.bones), bone)
            metrics[bone] = train_bones(
                bone, training, validation, settings, study.seed, folder / bone, device, progress, start
            )
            nets[bone] = build_unet(settings, classes=3 if bone == "both" else 2)
            load_weights(nets[bone], folder / bone / "model.pt")
        thresholds: dict[str, float] = {bone: metrics[bone]["threshold"] for bone in metrics}
        tables = [
            dice_by_slice(
                patient, predict_bones(nets, t1, settings, device=device, thresholds=thresholds).array, bones.array
            )
            for patient, t1, bones in annotated_volumes(study, own, test)
        ]
        table = pd.concat(tables, ignore_index=True)
        write_text(folder / "dice.csv", table.to_csv(index=False))
        means = dice_by_patient(table).groupby("bone")["dice"].mean().to_dict()
        record["metrics"] = {"dice": means, "networks": metrics}
        record["patients"] = {TRAIN: [patient for patient, *_ in learnt], VALIDATION: validate, TEST: test}
    return record


def _patients(
    study: Study, layout: Layout, own: Cohort, variant: BoneVariant, fold: int | None
) -> tuple[Cohort, list[str], list[str], list[str]]:
    """The cohort learnt from, its training and validation patients, and the training cohort's patients held out."""
    if variant.folded:
        train, validate, test = (own.subset("bones", name, fold) for name in (TRAIN, VALIDATION, TEST))
        return own, variant.chosen(train, study.seed), validate, test
    phantom = Cohort(layout.cohort(PHANTOM))
    known = list(phantom.participants.query("has_bones")["patient"])
    validate = known[::PHANTOM_VALIDATION]
    train = [patient for patient in known if patient not in validate]
    if not train:
        raise DataError(f"bone variant {variant.name}: too few phantom patients with bones to learn from")
    return phantom, variant.chosen(train, study.seed), validate, list(own.participants.query("has_bones")["patient"])


def _usual(own: Cohort, fold: int | None) -> int:
    """Slices that the study's own networks learn from."""
    masks = (own.reference_bones(patient) for patient in own.subset("bones", TRAIN, fold))
    return sum(int(mask.array.any(axis=(1, 2)).sum()) for mask in masks if mask is not None)
