"""How good stored joint regions are: by the place of the slice, over the parameters, and whom they let in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.bones import results as bones_results
from axspa_lib.bones.dice import dice
from axspa_lib.bones.results import candidates_of
from axspa_lib.joint.algorithm1 import SIDE_VALUE, extract_joints
from axspa_lib.joint.figures import Examined
from axspa_lib.study.config import Joint
from axspa_lib.study.errors import DataError
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
    """Patients with reference bones whom no bone network learnt from or was chosen on, in the order of the cohort."""
    cohort = run.cohort()
    tested = {patient for fold in run.study.fold_numbers for patient in cohort.subset("bones", TEST, fold)}
    return [patient for patient in cohort.patients if patient in tested and cohort.reference_bones(patient) is not None]


def joint_quality(run: Run, params: Joint) -> pd.DataFrame:
    """The regions from predicted bones beside those from reference bones and, where it is known, the true joint space.

    Args:
        run: the results; their held-out annotated patients count, on slices whose reference shows bone.
        params: of Algorithm 1, for both.

    Returns:
        `patient, slice, place, side, expected, found, dice, covered`: `place` from 0 (anterior) to 1 (posterior);
        `expected` and `found` whether the reference's and the predicted bones give a region; `dice` of the two, where
        either does; `covered` the share of the true joint space inside the predicted region, where it is known.
    """
    cohort, parts = run.cohort(), []
    for patient in held_out(run):
        bones = cohort.reference_bones(patient)
        if bones is not None:
            expected, found = (
                extract_joints(volume, params).array for volume in (bones, bones_results.bones(run, patient))
            )
            parts.append(_half_slices(patient, bones, expected, found, cohort.truth(patient, "joint")))
    return pd.concat(parts, ignore_index=True)


def _half_slices(
    patient: str, bones: Volume, expected: NDArray[np.uint8], found: NDArray[np.uint8], truth: Volume | None
) -> pd.DataFrame:
    last = max(len(bones.array) - 1, 1)
    rows = []
    for index in np.flatnonzero(bones.array.any(axis=(1, 2))):
        for side, value in SIDE_VALUE.items():
            mine, theirs = found[index] == value, expected[index] == value
            line = np.zeros(0, bool) if truth is None else truth.array[index] == value
            rows.append(
                {
                    "patient": patient,
                    "slice": int(index),
                    "place": index / last,
                    "side": side,
                    "expected": bool(theirs.any()),
                    "found": bool(mine.any()),
                    "dice": float(dice((mine & theirs).sum(), (mine & ~theirs).sum(), (~mine & theirs).sum())),
                    "covered": float((mine & line).sum() / line.sum()) if line.any() else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def sensitivity(run: Run, params: Joint, patients: int = 3, every: int = 2) -> pd.DataFrame:
    """What each parameter of Algorithm 1 does to the region, one changed at a time (`TRIED`).

    Args:
        run: the results; predicted bones of held-out patients are taken.
        params: the others keep these values.
        patients: how many, those first in the cohort.
        every: of their slices one in so many.

    Returns:
        `parameter, value, area_mm2, covered, lost`: mean area of a region, share of the true joint space inside the
        regions (missing where it is not known), and share of the half-slices that lose the region they have under
        `params`.
    """
    cohort = run.cohort()
    chosen = [(bones_results.bones(run, name), cohort.truth(name, "joint")) for name in held_out(run)[:patients]]
    if not chosen:
        raise DataError("no held-out patient has predicted bones: run the segmentation first")
    usual = [extract_joints(_thin(bones, every), params).array for bones, _ in chosen]
    rows = []
    for parameter, values in TRIED.items():
        for value in values:
            changed = Joint.model_validate(params.model_dump() | {parameter: value})
            areas, inside, line, lost, had = [], 0, 0, 0, 0
            for (bones, truth), before in zip(chosen, usual, strict=True):
                few = _thin(bones, every)
                regions = extract_joints(few, changed).array
                for side in SIDE_VALUE.values():
                    pixels = (regions == side).sum(axis=(1, 2))
                    areas += list(pixels[pixels > 0] * few.spacing[1] * few.spacing[2])
                    there = (before == side).any(axis=(1, 2))
                    had, lost = had + int(there.sum()), lost + int((there & (pixels == 0)).sum())
                    if truth is not None:
                        space = _thin(truth, every).array == side
                        inside, line = inside + int((space & (regions == side)).sum()), line + int(space.sum())
            rows.append(
                {
                    "parameter": parameter,
                    "value": value,
                    "area_mm2": float(np.mean(areas)) if areas else 0.0,
                    "covered": inside / line if line else float("nan"),
                    "lost": lost / had if had else float("nan"),
                }
            )
    return pd.DataFrame(rows)


def _thin(volume: Volume, every: int) -> Volume:
    """One in `every` slices; the in-plane grid, which alone matters here, is the same."""
    return Volume(volume.array[::every], volume.affine)


def candidates(run: Run) -> list[Examined]:
    """Every examination that the increment judged, on the slice with the largest joint region, the refused first."""
    judged, accepted = candidates_of(run)
    missed = bones_results.increment(run).set_index("patient")["missed"]
    cohort, cases = run.cohort(), []
    for patient in sorted(judged, key=lambda name: (name in accepted, name)):
        t1, roi, bones = cohort.volume(patient, "T1"), joint(run, patient), bones_results.bones(run, patient)
        place = int((roi.array > 0).sum(axis=(1, 2)).argmax()) if roi.array.any() else len(roi.array) // 2
        chosen = t1.array[place], roi.array[place], bones.array[place], t1.spacing[1:]
        cases.append(Examined(patient, patient in accepted, int(missed[patient]), *chosen))
    return cases


def joint(run: Run, patient: str, cohort: str | None = None, round_number: int | None = None) -> Volume:
    """Joint ROI of a patient on the T1's grid: 1 patient right, 2 patient left."""
    return bones_results.mask(run, patient, "joint", cohort, round_number)


def joints(run: Run, cohort: str | None = None) -> pd.DataFrame:
    """Area of the joint ROI by patient, slice and side."""
    return bones_results.segmentation_table(run, "joints.csv", cohort, None)
