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
from axspa_lib.study.errors import DataError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import read_run, record_input

#: T1, STIR `(slice, row, column)` and spacing in mm.
Stack = tuple[NDArray[np.floating], NDArray[np.floating], tuple[float, float, float]]

#: How far the phantom's median may lie from that of the real scans, and how many of the ten contrasts have to comply.
CLOSE, ENOUGH = 0.20, 8
#: How far the agreement of simulated readers may lie from the published one (MCC).
READERS_CLOSE = 0.03
#: Dice that networks which saw only the phantom have to reach on real scans.
AIMS = {"sacrum": 0.5, "iliac": 0.6}
#: The row of `bone_variants.yaml` that learns from the phantom alone.
PHANTOM_ONLY = "phantom_only"


@dataclass(frozen=True)
class ScoredSlice:
    """A slice with the classifier's score: 0 is surely phantom, 1 surely real; spacing in mm."""

    score: float
    image: NDArray[np.floating]
    spacing: tuple[float, float]


def likeness_table(run: Run, name: str) -> pd.DataFrame:
    """Return a table of the stage.

    Names are `figures`, `contrast`, `readers_<cohort>`, `scores`, `looks_at`, `features`, `history`, `follow_up` and
    `failures`.

    Raises:
        MissingResultError: the stage has not run.
    """
    folder = run.layout.likeness
    read_run(folder)
    # in the readers' tables `patient` is a coefficient, elsewhere a name
    return pd.read_csv(
        record_input(folder / f"{name}.csv"), dtype=None if name.startswith("readers") else {"patient": str}
    )


def interpret_contrast(contrast: pd.DataFrame) -> pd.DataFrame:
    """Return every figure with its verdict: `sequence, figure, phantom, real, range, relative, verdict, holds`.

    A contrast holds when the phantom's median lies within the range of the real scans and within 20 % of their median;
    noise, shading and sharpness when it lies within the range.

    Args:
        contrast: of `realism.contrast.compare`.
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
    """Compare pairs of simulated readers with the published ones: differences, and whether each is within 0.03.

    Args:
        table: of `realism.reader_calibration.calibration_table`.

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
    """Return Dice on real scans of networks that saw only the phantom (`dice_summary`, intervals by subject)."""
    people = subjects(run.cohort())
    return dice_summary(variant_slices(run, PHANTOM_ONLY), run.study.diagnosis.bootstrap, subjects=people)


def dice_history(run: Run) -> pd.DataFrame:
    """Return phantom-only Dice by change of the phantom, this run last: `date, change, recipe, sacrum, iliac`."""
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
    """Return the area under the curve of the phantom-or-real classifier: `<sequence>_slices`, `<sequence>_patients`."""
    return dict(read_run(run.layout.likeness)["metrics"])


def examination(run: Run, cohort: str, index: int) -> Stack | None:
    """Return one examination with T1 and STIR, in units of muscle signal; None where no such images are at hand.

    Args:
        run: the results.
        cohort: its name.
        index: position among the examinations that have both sequences and images.

    Returns:
        T1, STIR `(slice, row, column)` and spacing in mm.

    Raises:
        DataError: no muscle is found; names the patient.
    """
    found = run.cohort(cohort)
    patients = [patient for patient in found.participants.query("has_stir")["patient"] if found.has_images(patient)]
    if not patients:
        return None
    patient = patients[index % len(patients)]
    t1, stir = (found.volume(patient, name) for name in ("T1", "STIR"))
    try:
        muscle = regions(Pair(t1.array, stir.array, t1.spacing))["muscle"]
    except DataError as error:
        raise DataError(f"patient {patient} of {cohort}: {error}; choose another position") from error
    return t1.array / np.median(t1.array[muscle]), stir.array / np.median(stir.array[muscle]), t1.spacing


def follow_up(run: Run) -> dict[str, NDArray[np.generic]] | None:
    """Return one simulated person at two times; None where the images are not stored.

    Returns:
        `stir`, `active` `(time, row, column)` and `spacing` of a pixel in mm.

    Raises:
        MissingResultError: the stage has not run.
    """
    read_run(run.layout.likeness)
    path = run.layout.likeness / "follow_up.npz"
    if not path.is_file():
        return None
    with np.load(record_input(path)) as file:
        return dict(file)


def format_follow_up(run: Run) -> dict[str, str]:
    """Format the stated change between both times (`FollowUp`) and the volumes expected from it.

    Returns:
        `change`, `progression`, `active`, `damage`; "(not stored)" where the results hold no second time.
    """
    settings = read_run(run.layout.likeness)["config"].get("follow_up")
    if settings is None:
        return dict.fromkeys(("change", "progression", "active", "damage"), "(not stored)")
    return {
        "change": f"{settings['change']:.0%}",
        "progression": f"{settings['progression']:.0%}",
        "active": f"{settings['change'] ** 1.5:.2f}",
        "damage": f"{(1 + settings['progression']) ** 1.5:.2f}",
    }


def lesion_course(run: Run) -> pd.DataFrame:
    """Return the volumes of every lesion at both times, largest first; empty where they are not stored.

    Returns:
        `lesion, type, side, quadrant, before, after` (mm³) and `after / before`, of lesions seen at first.
    """
    if not (run.layout.likeness / "follow_up.csv").is_file():
        read_run(run.layout.likeness)
        return pd.DataFrame(columns=["lesion", "type", "side", "quadrant", "before", "after", "after / before"])
    table = likeness_table(run, "follow_up")
    seen = table[table["before"] > 0]
    return seen.assign(**{"after / before": seen["after"] / seen["before"]}).sort_values("before", ascending=False)


def mistaken_slices(run: Run, sequence: str, real: bool, count: int = 4) -> list[ScoredSlice]:
    """Return the slices that the classifier mistook most, one per patient whose images are at hand.

    Args:
        run: the results.
        sequence: T1 or STIR.
        real: True for real slices that look simulated, False for simulated ones that look real.
        count: the largest number of slices.
    """
    cohorts = [run.cohort(name) for name in (run.study.cohorts if real else [PHANTOM])]
    homes = {patient: cohort for cohort in reversed(cohorts) for patient in cohort.with_images}
    scores = likeness_table(run, "scores").query("sequence == @sequence and real == @real")
    ordered = scores[scores["patient"].isin(homes)].sort_values(
        ["score", "patient", "slice"], ascending=[real, True, True]
    )
    cases = []
    for row in ordered.drop_duplicates("patient").head(count).to_dict("records"):
        volume = homes[row["patient"]].volume(row["patient"], sequence)
        cases.append(ScoredSlice(row["score"], volume.array[row["slice"]], volume.spacing[1:]))
    return cases
