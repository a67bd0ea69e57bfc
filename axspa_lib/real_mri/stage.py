"""Lesions and change on real scans, from out-of-fold results (profile `public`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from axspa_lib.detector.inference import decode_mask, read_predictions
from axspa_lib.diagnosis.rules import half_slice_results
from axspa_lib.diagnosis.votes import ensemble_vote
from axspa_lib.joint.algorithm1 import SIDE_VALUE, extract_joints
from axspa_lib.preprocessing.steps import resample_mask
from axspa_lib.real_mri import change, lesions
from axspa_lib.real_mri.lesions import Mask, Reference
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import SIDES, TEST, Inflammation
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage
from axspa_lib.study.volume import Volume, read_volume, write_volume

log = logging.getLogger(__name__)

MODEL, CONSENSUS = "model", "consensus"


@dataclass(frozen=True)
class _Drawn:
    """An examination with drawings: STIR, the readers' drawings, predicted bones and their joints, on one grid."""

    patient: str
    stir: Volume
    drawings: dict[str, Mask]
    bones: Volume
    joint: Volume
    reference: Reference


def measure_real(study: Study, *, progress: bool = False) -> dict[str, Any]:
    """Compare areas with the readers' drawings, recompute the published measure, and measure pre/post pairs.

    Writes `lesions.csv` (`patient, pair, kind, first, second, dice, similarity, inside`), `volumes.csv` (`patient,
    reading, voxels, mm3`), `multiples.csv` (chosen threshold by fold), `change.csv` (measures by examination),
    `failures.csv` and the areas found as `<patient>_desc-inflamed_dseg.nii.gz`.
    """
    layout = Layout.of(study)
    cohort = Cohort(layout.cohort(study.training_cohort))
    out = layout.measures
    with record_stage(out, {"score_threshold": study.detector.score_threshold, "folds": study.folds}) as record:
        failures: list[dict[str, str]] = []
        overlaps, volumes, multiples = [], [], []
        for fold in study.fold_numbers:
            tested = set(cohort.subset("detection", TEST, fold))
            everyone = list(_drawn(study, layout, cohort, fold, failures))
            others = [case for case in everyone if case.patient not in tested]
            multiple = lesions.choose_multiple(_choice(cohort, case) for case in others)
            multiples.append({"fold": fold, "multiple": multiple, "subjects": len(others)})
            rois = _positive_rois(study, layout, cohort, fold)
            for case in (case for case in everyone if case.patient in tested):
                region = resample_mask(rois[case.patient], case.stir).array > 0
                found = lesions.hyperintense(case.stir.array, region, case.reference.threshold(multiple))
                area = case.stir.like(found.astype(np.uint8))
                write_volume(out / f"{case.patient}_desc-inflamed_dseg.nii.gz", area)
                overlaps += _overlaps(case, found, region)
                volumes += _volumes(cohort, case, found)
        columns = ["patient", "pair", "kind", "first", "second", "dice", "similarity", "inside"]
        _write(out / "lesions.csv", overlaps, columns)
        _write(out / "volumes.csv", volumes, ["patient", "reading", "voxels", "mm3"])
        _write(out / "multiples.csv", multiples, ["fold", "multiple", "subjects"])
        rows = list(_change(study, layout, cohort, failures))
        _write(out / "change.csv", rows, ["patient", "subject", "session", *change.MEASURES])
        _write(out / "failures.csv", failures, ["patient", "reason"])
        record["metrics"] = {"drawn": len({row["patient"] for row in overlaps}), "measured": len(rows)}
    return record


def _drawn(
    study: Study, layout: Layout, cohort: Cohort, fold: int | None, failures: list[dict[str, str]]
) -> Iterator[_Drawn]:
    segmented = layout.segmentation(study.training_cohort, study.increment.rounds, fold)
    readers = sorted(set(cohort.half_slices["reader"]))
    for patient in cohort.participants.query("has_stir")["patient"]:
        masks = {reader: cohort.truth(patient, f"inflammation_{reader}") for reader in readers}
        drawings = {reader: mask.array > 0 for reader, mask in masks.items() if mask is not None}
        if len(drawings) < 2:
            continue
        try:
            stir = cohort.volume(patient, "STIR")
            bones = read_volume(segmented / f"{patient}_desc-bones_dseg.nii.gz")
            joint = extract_joints(bones, study.joint)  # never from a manual mask: a new patient has none
            reference = lesions.reference_of(stir.array[lesions.normal_marrow(bones, joint)])
            yield _Drawn(patient, stir, drawings, bones, joint, reference)
        except AxspaError as error:
            log.warning("%s left out: %s", patient, error)
            failures.append({"patient": patient, "reason": str(error)})


def _choice(cohort: Cohort, case: _Drawn) -> tuple[np.ndarray, Mask, Reference, Mask]:
    """What the threshold is chosen on: ROIs that the readers' consensus calls inflamed, not the model's."""
    labels = cohort.consensus().query("patient == @case.patient and inflammation == 1")
    region = np.zeros(case.joint.array.shape, bool)
    for index, side in labels[["slice", "side"]].itertuples(index=False):
        region[index] |= case.joint.array[index] == SIDE_VALUE[side]
    return case.stir.array, region, case.reference, lesions.majority(case.drawings)


def _positive_rois(study: Study, layout: Layout, cohort: Cohort, fold: int | None) -> dict[str, Volume]:
    """Union of the members' inflamed masks on half-slices that the ensemble calls inflamed, on the detector's grid."""
    name = study.training_cohort
    tested = cohort.subset("detection", TEST, fold)
    members = {
        seed: read_predictions(layout.member("all_included", seed, fold) / f"predictions_{name}.parquet")
        for seed in range(study.diagnosis.members)
    }
    found = {}
    for patient in tested:
        like = read_volume(layout.slices(study.data_id(), name, fold) / f"{patient}_STIR.nii.gz")
        halves = pd.DataFrame([(patient, i, s) for i in range(len(like.array)) for s in SIDES],
                              columns=["patient", "slice", "side"])  # fmt: skip
        mine = {seed: table[table["patient"] == patient] for seed, table in members.items()}
        threshold = study.detector.score_threshold
        results = {seed: half_slice_results(table, halves, threshold) for seed, table in mine.items()}
        positive = ensemble_vote(results, "half_slice").query("positive == 1")[["slice", "side"]]
        rois = np.zeros(like.array.shape, np.uint8)
        for table in mine.values():
            inflamed = table[(table["label"] == Inflammation.INFLAMED) & (table["score"] > threshold)]
            for row in inflamed.merge(positive, on=["slice", "side"]).to_dict("records"):
                rois[row["slice"]] |= decode_mask(row).astype(np.uint8)
        found[patient] = like.like(rois)
    return found


def _overlaps(case: _Drawn, found: Mask, region: Mask) -> list[dict[str, Any]]:
    """Every pair of drawings, and the model's area against each drawing and their majority.

    `inside` is the share of the second drawing that lies in the ROIs called inflamed: no more can be found.
    """
    rows = []
    for first, second in combinations(sorted(case.drawings), 2):
        kind = "trials of one reader" if first[:2] == second[:2] else "two readers"
        rows.append((f"{first}-{second}", kind, case.drawings[first], case.drawings[second]))
    for reader, drawing in sorted(case.drawings.items()):
        rows.append((f"{MODEL}-{reader}", "model and reader", found, drawing))
    rows.append((f"{MODEL}-{CONSENSUS}", "model and majority", found, lesions.majority(case.drawings)))
    return [
        {"patient": case.patient, "pair": pair, "kind": kind}
        | lesions.overlap(first, second)
        | {"inside": (second & region).sum() / max(second.sum(), 1)}
        for pair, kind, first, second in rows
    ]


def _volumes(cohort: Cohort, case: _Drawn, found: Mask) -> list[dict[str, Any]]:
    """Voxels drawn by each reader, found by the model, and by the published rule inside the drawn disease region."""
    counted = {reader: int(drawing.sum()) for reader, drawing in case.drawings.items()}
    counted[CONSENSUS] = int(lesions.majority(case.drawings).sum())
    counted[MODEL] = int(found.sum())
    marrow, region = cohort.truth(case.patient, "marrow"), cohort.truth(case.patient, "region")
    if marrow is not None and region is not None:
        lower, _ = lesions.published_thresholds(case.stir.array[marrow.array > 0])
        counted["threshold"] = int(lesions.hyperintense(case.stir.array, region.array > 0, lower).sum())
    voxel = float(np.prod(case.stir.spacing))
    return [
        {"patient": case.patient, "reading": name, "voxels": count, "mm3": round(count * voxel, 1)}
        for name, count in counted.items()
    ]


def _change(study: Study, layout: Layout, cohort: Cohort, failures: list[dict[str, str]]) -> Iterator[dict[str, Any]]:
    """Measures of every examination, with the networks of the fold in which its subject is tested."""
    for fold in study.fold_numbers:
        folder = layout.segmentation(study.training_cohort, study.increment.rounds, fold)
        rows = cohort.participants
        if fold is not None:
            rows = rows[rows["patient"].isin(cohort.splits.query("fold == @fold")["patient"])]
        for row in rows.to_dict("records"):
            try:
                masks = [
                    read_volume(folder / f"{row['patient']}_desc-{kind}_dseg.nii.gz") for kind in ("bones", "joint")
                ]
                found = change.measure(cohort.volume(row["patient"], "T1"), *masks)
            except AxspaError as error:
                failures.append({"patient": row["patient"], "reason": str(error)})
                continue
            yield {"patient": row["patient"], "subject": row["subject"], "session": row["session"]} | found


def _write(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
