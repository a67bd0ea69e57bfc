"""Judge stored joint regions: by slice position, over the parameters of Algorithm 1, and by the increment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from axspa_lib.bones import results as bones_results
from axspa_lib.bones.dice import dice
from axspa_lib.bones.results import candidates_of
from axspa_lib.joint.algorithm1 import SIDE_VALUE, extract_joints
from axspa_lib.joint.figures import Examined
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Joint
from axspa_lib.study.labels import TEST
from axspa_lib.study.results import Run
from axspa_lib.study.volume import Volume

#: Values tried of each parameter of Algorithm 1, the demo's among them.
TRIED: Mapping[str, Sequence[float]] = {
    "dilation_radius": (1, 3, 5, 7, 9, 12),
    "horizontal_fraction": (0.0, 0.04, 0.08, 0.12, 0.2),
    "closing_radius": (1, 3, 5, 8, 12),
    "wing_fraction": (0.5, 0.65, 0.75, 0.85, 0.95),
    "contact_fraction": (0.0, 0.01, 0.03, 0.06),
}


def held_out(run: Run) -> list[str]:
    """Return the patients with reference bones and images at hand that no bone network learnt from or was chosen on."""
    cohort = run.cohort()
    tested = {patient for fold in run.study.fold_numbers for patient in cohort.subset("bones", TEST, fold)}
    known = set(cohort.participants.query("has_bones")["patient"])
    return [patient for patient in cohort.with_images if patient in tested & known]


def patients_to_show(cohort: Cohort) -> list[str]:
    """Return the patients whose images are at hand, those of the detection test set first."""
    tested = set(cohort.subset("detection", TEST))
    return sorted(cohort.with_images, key=lambda patient: (patient not in tested, patient))


def joint_quality(run: Run, params: Joint, patients: Sequence[str]) -> pd.DataFrame:
    """Compare regions from predicted bones with those from reference bones and the true joint space, where it is known.

    Args:
        run: the results.
        params: of Algorithm 1, for both.
        patients: with reference bones (`held_out`); their slices whose reference shows bone count.

    Returns:
        `patient, slice, position, side, expected, found, dice, covered`: `position` from 0 (anterior) to 1 (posterior);
        `expected` and `found` whether the reference's and the predicted bones give a region; `dice` of the two, where
        either does; `covered` the share of the true joint space inside the predicted region, where it is known.
    """
    cohort, rows = run.cohort(), []
    for patient in patients:
        reference, truth = cohort.reference_bones(patient), cohort.truth(patient, "joint")
        if reference is None:
            continue
        expected = extract_joints(reference, params).array
        found = extract_joints(bones_results.bones(run, patient), params).array
        for index, (side, value) in product(np.flatnonzero(reference.array.any(axis=(1, 2))), SIDE_VALUE.items()):
            mine, theirs = found[index] == value, expected[index] == value
            space = np.zeros(0, bool) if truth is None else truth.array[index] == value
            overlap = dice((mine & theirs).sum(), (mine & ~theirs).sum(), (~mine & theirs).sum())
            covered = (mine & space).sum() / space.sum() if space.any() else np.nan
            position = index / max(len(found) - 1, 1)
            rows.append((patient, index, position, side, theirs.any(), mine.any(), float(overlap), float(covered)))
    columns = ["patient", "slice", "position", "side", "expected", "found", "dice", "covered"]
    kinds = {"expected": bool, "found": bool, "dice": float, "covered": float, "position": float}
    return pd.DataFrame(rows, columns=columns).astype(kinds)


def sensitivity(run: Run, params: Joint, patients: Sequence[str], every: int = 2) -> pd.DataFrame:
    """Measure the effect of each parameter of Algorithm 1 on the region, one changed at a time (`TRIED`).

    Args:
        run: the results, whose predicted bones are taken.
        params: the others keep these values.
        patients: whose bones; a few suffice.
        every: of their slices one in so many.

    Returns:
        `parameter, value, area_mm2, covered, lost`: mean area of a region, share of the true joint space inside the
        regions (missing where it is not known), and share of the half-slices that lose the region they have under
        `params`.
    """
    cohort = run.cohort()
    cases = []
    for name in patients:
        bones, truth = _thin(bones_results.bones(run, name), every), cohort.truth(name, "joint")
        cases.append((bones, extract_joints(bones, params).array, truth and _thin(truth, every).array))
    rows = []
    for parameter, value in ((name, value) for name, values in TRIED.items() for value in values):
        changed = Joint.model_validate(params.model_dump() | {parameter: value})
        areas, inside, space, lost, had = [], 0, 0, 0, 0
        for (bones, before, truth), side in product(cases, SIDE_VALUE.values()):
            region = extract_joints(bones, changed).array == side
            pixels, there = region.sum(axis=(1, 2)), (before == side).any(axis=(1, 2))
            areas += list(pixels[pixels > 0] * bones.spacing[1] * bones.spacing[2])
            had, lost = had + int(there.sum()), lost + int((there & (pixels == 0)).sum())
            if truth is not None:
                inside, space = inside + int((region & (truth == side)).sum()), space + int((truth == side).sum())
        shares = inside / space if space else np.nan, lost / had if had else np.nan
        rows.append((parameter, value, float(np.mean(areas)) if areas else 0.0, *shares))
    return pd.DataFrame(rows, columns=["parameter", "value", "area_mm2", "covered", "lost"])


def _thin(volume: Volume, every: int) -> Volume:
    """One in `every` slices; the in-plane grid, which alone matters here, is the same."""
    return Volume(volume.array[::every], volume.affine)


def candidates(run: Run) -> list[Examined]:
    """Return the examinations that the increment judged and whose images are at hand, the refused first.

    Each is shown on the slice with its largest joint region.
    """
    judged, accepted = candidates_of(run)
    missed = bones_results.increment(run).set_index("patient")["missed"]
    cohort, cases = run.cohort(), []
    for patient in sorted(set(judged) & set(cohort.with_images), key=lambda name: (name in accepted, name)):
        t1, roi, bones = cohort.volume(patient, "T1"), joint(run, patient), bones_results.bones(run, patient)
        index = int((roi.array > 0).sum(axis=(1, 2)).argmax()) if roi.array.any() else len(roi.array) // 2
        chosen = t1.array[index], roi.array[index], bones.array[index], t1.spacing[1:]
        cases.append(Examined(patient, patient in accepted, int(missed[patient]), *chosen))
    return cases


def joint(run: Run, patient: str, cohort: str | None = None, round_number: int | None = None) -> Volume:
    """Joint ROI of a patient on the T1's grid: 1 patient right, 2 patient left."""
    return bones_results.mask(run, patient, "joint", cohort, round_number)


def joints(run: Run, cohort: str | None = None) -> pd.DataFrame:
    """Area of the joint ROI by patient, slice and side."""
    return bones_results.segmentation_table(run, "joints.csv", cohort, None)
