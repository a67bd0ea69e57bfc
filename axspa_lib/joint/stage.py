"""Bone masks of a whole cohort, joints by Algorithm 1, and the increment (sections 3.1.2, 3.1.3 and 4.1)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
import torch

from axspa_lib.bones.dice import dice_by_slice
from axspa_lib.bones.unet import build_unet, load_weights, predict_bones
from axspa_lib.joint.algorithm1 import extract_joints
from axspa_lib.joint.increment import accept, widest_window
from axspa_lib.preprocessing.steps import preprocess_volume
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import SIDES
from axspa_lib.study.layout import Layout
from axspa_lib.study.progress import Progress
from axspa_lib.study.runs import read_run, record_stage
from axspa_lib.study.volume import Volume, read_volume, write_volume

log = logging.getLogger(__name__)


def segment_cohort(
    study: Study, cohort: str, round_number: int = 1, fold: int | None = None, *, progress: bool = False
) -> dict[str, Any]:
    """Segment every patient with the networks of a fold, extract the joints and decide who joins the annotated set.

    Writes `<patient>_desc-bones_dseg.nii.gz` (prediction), `<patient>_desc-joint_dseg.nii.gz` (1 patient right,
    2 left; from the manual mask where there is one), `dice.csv`, `joints.csv`, `increment.csv` and `failures.csv`.
    """
    layout = Layout.of(study)
    curated = Cohort(layout.cohort(cohort))
    folder = layout.segmentation(cohort, round_number, fold)
    config = {
        "joint": study.joint.model_dump(),
        "increment": study.increment.model_dump(),
        "cohort": cohort,
        "fold": fold,
    }
    with record_stage(folder, config) as record:
        nets, thresholds = _networks(study, layout, round_number, fold)
        read = set(curated.half_slices["patient"])
        manual = set(curated.splits.query("bones != ''")["patient"])
        overlap, areas, chosen, failures = [], [], [curated.half_slices], []
        for patient in Progress(curated.patients, desc=f"segment {cohort}", disable=not progress):
            try:
                predicted, joint = _segment(study, curated, patient, nets, thresholds, patient in manual)
            except AxspaError as error:
                log.warning("%s left out: %s", patient, error)
                failures.append({"patient": patient, "reason": str(error)})
                continue
            write_volume(folder / f"{patient}_desc-bones_dseg.nii.gz", predicted)
            write_volume(folder / f"{patient}_desc-joint_dseg.nii.gz", joint)
            areas.append(_areas(patient, joint))
            if patient not in read:
                chosen.append(widest_window(patient, joint))
            reference = curated.reference_bones(patient)
            if reference is not None:
                overlap.append(dice_by_slice(patient, predicted.array, reference.array))
        joints = (
            (table["patient"].iloc[0], read_volume(folder / f"{table['patient'].iloc[0]}_desc-joint_dseg.nii.gz"))
            for table in areas
        )
        grown = accept(joints, pd.concat(chosen, ignore_index=True), manual, study.increment)
        _table(overlap, ["patient", "slice", "bone", "tp", "fp", "fn", "dice"]).to_csv(folder / "dice.csv", index=False)
        _table(areas, ["patient", "slice", "side", "area_mm2"]).to_csv(folder / "joints.csv", index=False)
        grown.to_csv(folder / "increment.csv", index=False)
        pd.DataFrame(failures, columns=["patient", "reason"]).to_csv(folder / "failures.csv", index=False)
        record["metrics"] = {"segmented": len(areas), "failed": len(failures), "accepted": int(grown.accepted.sum())}
    return record


def _networks(
    study: Study, layout: Layout, round_number: int, fold: int | None
) -> tuple[dict[str, torch.nn.Module], dict[str, float]]:
    """The trained networks and the threshold of each, chosen with its epoch on the validation patients."""
    names = ("sacrum", "iliac") if study.bones.networks == "pair" else ("both",)
    nets: dict[str, torch.nn.Module] = {}
    thresholds: dict[str, float] = {}
    for name in names:
        folder = layout.bones(name, round_number, fold)
        thresholds[name] = read_run(folder)["metrics"]["threshold"]
        nets[name] = build_unet(study.bones, classes=3 if name == "both" else 2)
        load_weights(nets[name], folder / "model.pt")
    return nets, thresholds


def _segment(
    study: Study,
    cohort: Cohort,
    patient: str,
    nets: dict[str, torch.nn.Module],
    thresholds: dict[str, float],
    manual: bool,
) -> tuple[Volume, Volume]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    t1 = preprocess_volume(cohort.volume(patient, "T1"), study.bones.preprocessing)
    predicted = predict_bones(nets, t1, study.bones, device=device, thresholds=thresholds)
    reference = cohort.reference_bones(patient) if manual else None
    if reference is not None and study.increment.fill_gaps:
        reference = filled(reference, predicted)
    return predicted, extract_joints(reference if reference is not None else predicted, study.joint)


def filled(reference: Volume, predicted: Volume) -> Volume:
    """Fill the slices that a manual mask leaves out (those whose split is not trusted) with predicted bones."""
    annotated = np.asarray(reference.array.any(axis=(1, 2)))
    return reference.like(np.where(annotated[:, None, None], reference.array, predicted.array))


def _areas(patient: str, joint: Volume) -> pd.DataFrame:
    _, row, column = joint.spacing
    rows = [
        {"patient": patient, "slice": index, "side": side, "area_mm2": float((mask == value).sum() * row * column)}
        for index, mask in enumerate(joint.array)
        for value, side in enumerate(SIDES, start=1)
    ]
    return pd.DataFrame(rows)


def _table(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
