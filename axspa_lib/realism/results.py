"""Stored results of the phantom beside real scans (profile `public`): verdicts, readers, networks, the classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.bones.dice import dice_summary
from axspa_lib.bones.results import subjects, variant_slices
from axspa_lib.bones.variants import PHANTOM
from axspa_lib.realism.contrast import FIGURES, Pair, regions
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import read_run, record_input

#: How far the phantom's median may lie from that of the real scans, and how many of the ten contrasts have to comply.
CLOSE, ENOUGH = 0.20, 8
#: How far the agreement of simulated readers may lie from the published one (MCC).
READERS_CLOSE = 0.03
#: Dice that networks which saw only the phantom have to reach on real scans.
AIMS = {"sacrum": 0.5, "iliac": 0.6}
#: The row of `bone_variants.yaml` that learns from the phantom alone.
PHANTOM_ONLY = "phantom_only"


@dataclass(frozen=True)
class Judged:
    """A slice and how the classifier judged it: `score` 0 is surely phantom, 1 surely real; spacing in mm."""

    real: bool
    score: float
    image: NDArray[np.floating]
    spacing: tuple[float, float]


def likeness_table(run: Run, name: str) -> pd.DataFrame:
    """A table of the stage: `figures`, `contrast`, `readers_<cohort>`, `scores`, `looks_at`, `features`, `history`,
    `follow_up` or `failures`.

    Raises:
        MissingResultError: the stage has not run.
    """
    folder = run.layout.likeness
    read_run(folder)
    # in the readers' tables `patient` is a coefficient, elsewhere a name
    return pd.read_csv(
        record_input(folder / f"{name}.csv"), dtype=None if name.startswith("readers") else {"patient": str}
    )


def verdicts(contrast: pd.DataFrame) -> pd.DataFrame:
    """Every figure with its verdict: `sequence, figure, phantom, real, range, relative, verdict, holds`.

    A contrast holds when the phantom's median lies within the range of the real scans and within 20 % of their median;
    noise, shading and sharpness when it lies within the range.

    Args:
        contrast: of `phantom.measure.compare`.
    """
    rows = []
    for row in contrast.to_dict("records"):
        is_contrast = row["figure"] in FIGURES
        near = abs(row["relative"]) <= CLOSE
        said = "in the range" if row["in_range"] else "outside the range"
        if is_contrast:
            said += f", {'within' if near else 'beyond'} {CLOSE:.0%}"
        rows.append(
            {
                "sequence": row["sequence"], "figure": row["figure"], "phantom": row["phantom"], "real": row["real"],
                "range": f"{row['real_low']:.3g}–{row['real_high']:.3g}", "relative": row["relative"],
                "verdict": said, "holds": bool(row["in_range"] and (near or not is_contrast)),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def readers_beside(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of simulated readers beside the published ones: differences, and whether each is within 0.03.

    Args:
        table: of `phantom.calibration.calibration_table`.

    Returns:
        `pair`, then for patients and, where published, half-slices: simulated, published, difference; and `holds`.
    """
    found = pd.DataFrame({"pair": [f"{a}–{b}" for a, b in zip(table["first"], table["second"], strict=True)]})
    kinds = [kind for kind in ("patient", "half_slice") if f"published_{kind}" in table]
    for kind in kinds:
        found[kind] = table[kind].to_numpy()
        found[f"{kind} published"] = table[f"published_{kind}"].to_numpy()
        found[f"{kind} difference"] = found[kind] - found[f"{kind} published"]
    return found.assign(holds=(found[[f"{kind} difference" for kind in kinds]].abs() <= READERS_CLOSE).all(axis=1))


def phantom_only_dice(run: Run) -> pd.DataFrame:
    """Dice on real scans of this run's networks that saw only the phantom (`dice_summary`, intervals by subject)."""
    people = subjects(run.cohort())
    return dice_summary(variant_slices(run, PHANTOM_ONLY), run.study.diagnosis.bootstrap, subjects=people)


def dice_history(run: Run) -> pd.DataFrame:
    """The written history of that number and this run's as the last row: `date, change, recipe, sacrum, iliac`."""
    record = read_run(run.layout.bone_variant(PHANTOM_ONLY))
    means = phantom_only_dice(run).set_index("bone")["dice"]
    bones = run.study.bones
    patients = len(record["patients"]["train"])
    now = {
        "date": record["started"][:10], "change": "this run", "sacrum": means["sacrum"], "iliac": means["iliac"],
        "recipe": f"{patients} patients, {bones.size} px, the profile's augmentation",
    }  # fmt: skip
    return pd.concat([likeness_table(run, "history"), pd.DataFrame([now])], ignore_index=True)


def classifier_metrics(run: Run) -> dict[str, float]:
    """Area under the curve of the phantom-or-real classifier: `<sequence>_slices`, `<sequence>_patients`."""
    return dict(read_run(run.layout.likeness)["metrics"])


def examination(run: Run, cohort: str, place: int) -> tuple[
    NDArray[np.floating], NDArray[np.floating], tuple[float, float, float]
]:  # fmt: skip
    """T1, STIR `(slice, row, column)` over the signal of muscle, and spacing of the n-th examination that has both.

    Raises:
        DataError: no muscle is found; names the patient.
    """
    found = run.cohort(cohort)
    patients = list(found.participants.query("has_stir")["patient"])
    patient = patients[place % len(patients)]
    t1, stir = (found.volume(patient, name) for name in ("T1", "STIR"))
    try:
        muscle = regions(Pair(t1.array, stir.array, t1.spacing))["muscle"]
    except DataError as error:
        raise DataError(f"patient {patient} of {cohort}: {error}; choose another to be shown") from error
    return t1.array / np.median(t1.array[muscle]), stir.array / np.median(stir.array[muscle]), t1.spacing


def follow_up(run: Run) -> dict[str, NDArray[np.generic]]:
    """One simulated person at two times: `stir`, `active` `(time, row, column)`, `spacing` of a pixel in mm.

    Raises:
        MissingResultError: the stage has not run.
    """
    read_run(run.layout.likeness)
    with np.load(record_input(run.layout.likeness / "follow_up.npz")) as file:
        return dict(file)


def follow_up_settings(run: Run) -> dict[str, float]:
    """What the second time differs by (`phantom.disease.FollowUp`)."""
    return dict(read_run(run.layout.likeness)["config"]["follow_up"])


def course(table: pd.DataFrame) -> pd.DataFrame:
    """What became of every lesion between both times, the largest first: the table with `after / before`.

    Args:
        table: the stage's `follow_up`: `before`, `after` in mm³. Lesions that fill no voxel at first are left out.
    """
    seen = table[table["before"] > 0]
    return seen.assign(**{"after / before": seen["after"] / seen["before"]}).sort_values("before", ascending=False)


def judged(run: Run, sequence: str, real: bool, count: int = 4) -> list[Judged]:
    """The slices that the classifier took most for the other kind, one per patient.

    Args:
        run: the results.
        sequence: T1 or STIR.
        real: real slices that look simulated; else simulated ones that look real.
        count: how many.
    """
    scores = likeness_table(run, "scores").query("sequence == @sequence and real == @real")
    ordered = scores.sort_values(["score", "patient", "slice"], ascending=[real, True, True])
    cohorts = [run.cohort(name) for name in (run.study.cohorts if real else [PHANTOM])]
    cases = []
    for row in ordered.drop_duplicates("patient").head(count).to_dict("records"):
        volume = _home(cohorts, row["patient"]).volume(row["patient"], sequence)
        cases.append(Judged(real, row["score"], volume.array[row["slice"]], volume.spacing[1:]))
    return cases


def _home(cohorts: list[Cohort], patient: str) -> Cohort:
    return next(cohort for cohort in cohorts if patient in cohort.patients)
