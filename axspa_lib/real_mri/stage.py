"""Measure lesions and change on real scans from out-of-fold results (profile `public`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
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
from axspa_lib.study.labels import SIDES, STIR, T1, TEST, Inflammation
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import record_stage
from axspa_lib.study.volume import Volume, read_volume, write_volume

log = logging.getLogger(__name__)

MODEL, CONSENSUS = "model", "consensus"

#: Columns of the tables written.
COLUMNS = {
    "lesions": ["patient", "pair", "kind", "first", "second", "dice", "similarity", "inside"],
    "volumes": ["patient", "reading", "voxels", "mm3"],
    "multiples": ["fold", "multiple", "subjects"],
    "change": ["patient", "subject", "session", *change.MEASURES],
    "failures": ["patient", "reason"],
}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class _Drawn:
    """An examination with drawings: STIR, the readers' drawings, joints of the predicted bones, on one grid."""

    patient: str
    stir: Volume
    drawings: dict[str, Mask]
    joint: Volume
    reference: Reference


def measure_real(study: Study) -> dict[str, Any]:
    """Compare areas with the readers' drawings, recompute the published measure, and measure pre/post pairs.

    Writes the tables of `COLUMNS` (multiples are the thresholds chosen by fold) and the areas found as
    `<patient>_desc-inflamed_dseg.nii.gz`.
    """
    layout = Layout.of(study)
    cohort = Cohort(layout.cohort(study.training_cohort))
    out = layout.measures
    with record_stage(out, {"score_threshold": study.detector.score_threshold, "folds": study.folds}) as record:
        tables: dict[str, Rows] = {name: [] for name in COLUMNS}
        for fold in study.fold_numbers:
            tested = set(cohort.subset("detection", TEST, fold))
            drawn = list(_drawn(study, layout, cohort, fold, tables["failures"]))
            others = [case for case in drawn if case.patient not in tested]
            multiple = lesions.choose_multiple(_choice(cohort, case) for case in others)
            tables["multiples"].append({"fold": fold, "multiple": multiple, "subjects": len(others)})
            rois = _positive_rois(study, layout, cohort, fold)
            for case in (case for case in drawn if case.patient in tested):
                region = resample_mask(rois[case.patient], case.stir).array > 0
                found = lesions.hyperintense(case.stir.array, region, case.reference.threshold(multiple))
                area = case.stir.like(found.astype(np.uint8))
                write_volume(out / f"{case.patient}_desc-inflamed_dseg.nii.gz", area)
                tables["lesions"] += _overlaps(case, found, region)
                tables["volumes"] += _volumes(cohort, case, found)
        tables["change"] += _change(study, layout, cohort, tables["failures"])
        for name, rows in tables.items():
            pd.DataFrame(rows, columns=COLUMNS[name]).to_csv(out / f"{name}.csv", index=False)
        drawn_on = {row["patient"] for row in tables["lesions"]}
        record["metrics"] = {"drawn": len(drawn_on), "measured": len(tables["change"])}
    return record


def _drawn(study: Study, layout: Layout, cohort: Cohort, fold: int | None, failures: Rows) -> Iterator[_Drawn]:
    """Read every examination that two or more readings drew on; one that cannot be read becomes a failure."""
    segmented = layout.segmentation(study.training_cohort, study.increment.rounds, fold)
    readers = sorted(set(cohort.half_slices["reader"]))
    for patient in cohort.participants.query("has_stir")["patient"]:
        masks = {reader: cohort.truth(patient, f"inflammation_{reader}") for reader in readers}
        drawings = {reader: mask.array > 0 for reader, mask in masks.items() if mask is not None}
        if len(drawings) < 2:
            continue
        try:
            stir = cohort.volume(patient, STIR)
            bones = read_volume(segmented / f"{patient}_desc-bones_dseg.nii.gz")
            joint = extract_joints(bones, study.joint)  # never from a manual mask: a new patient has none
            reference = lesions.reference_of(stir.array[lesions.normal_marrow(bones, joint)])
            yield _Drawn(patient, stir, drawings, joint, reference)
        except AxspaError as error:
            log.warning("%s left out: %s", patient, error)
            failures.append({"patient": patient, "reason": str(error)})


def _choice(cohort: Cohort, case: _Drawn) -> tuple[np.ndarray, Mask, Reference, Mask]:
    """Return what the threshold is chosen on: ROIs that the readers' consensus calls inflamed, not the model's."""
    labels = cohort.consensus().query("patient == @case.patient and inflammation == 1")
    region = np.zeros(case.joint.array.shape, bool)
    for index, side in labels[["slice", "side"]].itertuples(index=False):
        region[index] |= case.joint.array[index] == SIDE_VALUE[side]
    return case.stir.array, region, case.reference, lesions.majority(case.drawings)


def _positive_rois(study: Study, layout: Layout, cohort: Cohort, fold: int | None) -> dict[str, Volume]:
    """Unite the members' inflamed masks on half-slices that the ensemble calls inflamed, on the detector's grid."""
    name, threshold = study.training_cohort, study.detector.score_threshold
    folders = {seed: layout.member("all_included", seed, fold) for seed in range(study.diagnosis.members)}
    members = {seed: read_predictions(path / f"predictions_{name}.parquet") for seed, path in folders.items()}
    found = {}
    for patient in cohort.subset("detection", TEST, fold):
        like = read_volume(layout.slices(study.data_id(), name, fold) / f"{patient}_STIR.nii.gz")
        keys = [(patient, index, side) for index in range(len(like.array)) for side in SIDES]
        halves = pd.DataFrame(keys, columns=["patient", "slice", "side"])
        own = {seed: table[table["patient"] == patient] for seed, table in members.items()}
        results = {seed: half_slice_results(table, halves, threshold) for seed, table in own.items()}
        positive = ensemble_vote(results, "half_slice").query("positive == 1")[["slice", "side"]]
        rois = np.zeros(like.array.shape, np.uint8)
        for table in own.values():
            inflamed = table[(table["label"] == Inflammation.INFLAMED) & (table["score"] > threshold)]
            for row in inflamed.merge(positive, on=["slice", "side"]).to_dict("records"):
                rois[row["slice"]] |= decode_mask(row).astype(np.uint8)
        found[patient] = like.like(rois)
    return found


def _overlaps(case: _Drawn, found: Mask, region: Mask) -> Rows:
    """Compare every pair of drawings, and the model's area with each drawing and their majority.

    `inside` is the share of the second drawing that lies in the ROIs called inflamed: no more can be found.
    """
    pairs = []
    for a, b in combinations(sorted(case.drawings), 2):
        kind = "trials of one reader" if a[:2] == b[:2] else "two readers"
        pairs.append((f"{a}-{b}", kind, case.drawings[a], case.drawings[b]))
    pairs += [(f"{MODEL}-{name}", "model and reader", found, case.drawings[name]) for name in sorted(case.drawings)]
    pairs.append((f"{MODEL}-{CONSENSUS}", "model and majority", found, lesions.majority(case.drawings)))
    return [
        {"patient": case.patient, "pair": pair, "kind": kind}
        | lesions.overlap(first, second)
        | {"inside": (second & region).sum() / max(second.sum(), 1)}
        for pair, kind, first, second in pairs
    ]


def _volumes(cohort: Cohort, case: _Drawn, found: Mask) -> Rows:
    """Count voxels drawn by each reader, found by the model, and by the published rule in the drawn disease region."""
    masks = case.drawings | {CONSENSUS: lesions.majority(case.drawings), MODEL: found}
    marrow, region = cohort.truth(case.patient, "marrow"), cohort.truth(case.patient, "region")
    if marrow is not None and region is not None:
        lower = lesions.published_threshold(case.stir.array[marrow.array > 0])
        masks["threshold"] = lesions.hyperintense(case.stir.array, region.array > 0, lower)
    voxel = float(np.prod(case.stir.spacing))
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return [
        {"patient": case.patient, "reading": name, "voxels": count, "mm3": round(count * voxel, 1)}
        for name, count in counts.items()
    ]


def _change(study: Study, layout: Layout, cohort: Cohort, failures: Rows) -> Iterator[dict[str, Any]]:
    """Measure every examination with the networks of the fold in which its subject is tested."""
    for fold in study.fold_numbers:
        folder = layout.segmentation(study.training_cohort, study.increment.rounds, fold)
        rows = cohort.participants
        if fold is not None:
            rows = rows[rows["patient"].isin(cohort.splits.query("fold == @fold")["patient"])]
        for patient, subject, session in rows[["patient", "subject", "session"]].itertuples(index=False):
            try:
                masks = [read_volume(folder / f"{patient}_desc-{kind}_dseg.nii.gz") for kind in ("bones", "joint")]
                found = change.measure(cohort.volume(patient, T1), *masks)
            except AxspaError as error:
                failures.append({"patient": patient, "reason": str(error)})
                continue
            yield {"patient": patient, "subject": subject, "session": session} | found
