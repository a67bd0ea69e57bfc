"""What the chapters choose to show from stored results: cases by rank, overlays, series of slices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib import cost
from axspa_lib.cohort import Cohort
from axspa_lib.config import Preprocessing, load_study
from axspa_lib.detector.inference import decode_mask
from axspa_lib.errors import ConfigError
from axspa_lib.figures.bones import Case
from axspa_lib.figures.detection import DetectionCase, Roi, TrainingView
from axspa_lib.figures.real import AreaCase
from axspa_lib.instances import decode_rle, read_instances
from axspa_lib.labels import SEQUENCES, TRAIN, Bone
from axspa_lib.lesions import majority
from axspa_lib.preprocess import Trace, preprocess_slice, tissue_distances
from axspa_lib.results import Results
from axspa_lib.runs import noted
from axspa_lib.volume import read_volume


def patients_from(names: Sequence[str], position: int, count: int = 1) -> list[str]:
    """The patients that a page's parameter `patient` chooses by position: `count` from there on, as far as there are.

    Raises:
        ConfigError: there is nobody at that position; names who is first and last.
    """
    if not 0 <= position < len(names):
        there = f"0 ({names[0]}) to {len(names) - 1} ({names[-1]})" if len(names) else "none, since nobody is left"
        raise ConfigError(f"parameter patient: nobody is at position {position}; choose one of {there}")
    return list(names[position : position + count])


def preprocessing_of(profile: str, **values: Any) -> Preprocessing:
    """The detector's preprocessing of a profile with a page's parameters in place of the profile's.

    Raises:
        ConfigError: an unknown profile, step or impossible value; names the field.
    """
    overrides = {f"detector__preprocessing__{name}": value for name, value in values.items()}
    return load_study(profile, **overrides).detector.preprocessing


def segmentation_cases(stored: Results, slices: pd.DataFrame, rank: str = "worst", count: int = 4) -> list[Case]:
    """Slices to look at, by Dice.

    Args:
        stored: the results.
        slices: rows of `Results.dice`.
        rank: `worst`, `median` or `best`, among slices that show the bone in the reference.
        count: how many, of as many different patients as there are.
    """
    shown = slices[(slices["tp"] + slices["fn"] > 0) & slices["bone"].isin(["sacrum", "iliac"])].dropna(subset="dice")
    ordered = shown.sort_values(["dice", "patient", "slice"], ascending=rank != "best", ignore_index=True)
    if rank == "median":
        ordered = ordered.iloc[(ordered.index - len(ordered) // 2).to_series().abs().argsort(kind="stable")]
    chosen = pd.concat([ordered.drop_duplicates("patient"), ordered]).drop_duplicates(["patient", "slice"]).head(count)
    cohort = stored.cohort()
    cases = []
    for row in chosen.to_dict("records"):
        patient, place = row["patient"], int(row["slice"])
        t1, reference = cohort.volume(patient, "T1"), cohort.reference_bones(patient)
        cases.append(
            Case(
                f"{patient}, slice {place}\n{row['bone']} {row['dice']:.2f}",
                t1.array[place],
                stored.bones(patient).array[place],
                None if reference is None else reference.array[place],
                t1.spacing[1:],
            )
        )
    return cases


def preprocessing_traces(
    cohort: Cohort, preprocessing: Preprocessing, sequence: str = "T1", first: int = 0, scanners: int = 3
) -> tuple[dict[str, Trace], dict[str, tuple[float, float]]]:
    """Every step on the middle slice of patients from different scanners.

    Args:
        cohort: whose patients.
        preprocessing: the steps.
        sequence: T1 or STIR.
        first: position of the first patient.
        scanners: how many different ones.

    Returns:
        By name of the slice, the images after each step, and the pixel size `(row, column)` in mm.

    Raises:
        ConfigError: there is nobody at `first`.
    """
    names = patients_from(cohort.patients, first, len(cohort.patients))
    known = cohort.participants[cohort.participants["patient"].isin(names)]
    rows = known.drop_duplicates(["manufacturer", "model"]).head(scanners)
    traces: dict[str, Trace] = {}
    spacings: dict[str, tuple[float, float]] = {}
    for row in rows.to_dict("records"):
        volume = cohort.volume(row["patient"], sequence)
        name = ", ".join(part for part in (row["patient"], f"{row['manufacturer']} {row['model']}".strip()) if part)
        traces[name], spacings[name] = {}, volume.spacing[1:]
        preprocess_slice(volume.array[len(volume.array) // 2], spacings[name], preprocessing, traces[name])
    return traces, spacings


def marrow_distances(
    cohort: Cohort, preprocessing: Preprocessing, sequence: str = "T1", most_patients: int = 30
) -> pd.DataFrame:
    """How differently scanners show the marrow of the iliac bones, after each step (`tissue_distances`).

    Args:
        cohort: of which patients with reference bones count, the same number of each manufacturer.
        preprocessing: the steps.
        sequence: T1 or STIR.
        most_patients: patients at most, so that the page stays quick.
    """
    known = cohort.participants.query("has_bones")
    each = max(1, most_patients // max(known["manufacturer"].nunique(), 1))
    slices = []
    for row in known.groupby("manufacturer").head(each).to_dict("records"):
        volume, bones = cohort.volume(row["patient"], sequence), cohort.reference_bones(row["patient"])
        if bones is not None:
            marrow = bones.array == Bone.ILIAC
            place = int(marrow.sum(axis=(1, 2)).argmax())
            slices.append((row["manufacturer"], volume.array[place], volume.spacing[1:], marrow[place]))
    return tissue_distances(slices, preprocessing)


def without_each_step(
    image: NDArray[np.generic], spacing: tuple[float, float], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]:
    """A slice preprocessed, and the same without each of the steps that are switched on, by name (Table 4).

    Args:
        image: `(row, column)`.
        spacing: pixel size `(row, column)` in mm.
        preprocessing: the steps.
    """
    steps = {"remove_bias": "no bias removal", "local_median": "no local median", "clahe": "no CLAHE"}
    without = {
        label: preprocess_slice(image, spacing, preprocessing.model_copy(update={name: False}))
        for name, label in steps.items()
        if getattr(preprocessing, name)
    }
    return preprocess_slice(image, spacing, preprocessing), without


def cohort_distances(stored: Results, preprocessing: Preprocessing, most_patients: int = 4) -> pd.DataFrame:
    """How differently the cohorts of a profile show iliac marrow on T1, after each step (`tissue_distances`).

    Args:
        stored: the results, whose predicted bones say where the marrow is.
        preprocessing: the steps.
        most_patients: of each cohort, those spread evenly over its list.
    """
    slices = []
    for name in stored.study.cohorts:
        cohort = stored.cohort(name)
        for patient in cohort.patients[:: max(1, len(cohort.patients) // most_patients)][:most_patients]:
            volume, marrow = cohort.volume(patient, "T1"), stored.bones(patient, name).array == Bone.ILIAC
            place = int(marrow.sum(axis=(1, 2)).argmax())
            slices.append((name, volume.array[place], volume.spacing[1:], marrow[place]))
    return tissue_distances(slices, preprocessing)


def detection_cases(
    stored: Results, member: int, rank: str = "right", count: int = 4, cohort: str | None = None
) -> list[DetectionCase]:
    """Slices of held-out patients with what one member found.

    Args:
        stored: the results.
        member: which trained network.
        rank: `right` (both half-slices found once, with the right class), `count` (a wrong number of boxes) or `class`
            (one box each, a wrong class).
        count: how many, of as many different patients as there are.
        cohort: the training cohort when None.
    """
    evaluated = stored.evaluated(cohort).query("joint").dropna(subset="inflammation")
    judged = stored.half_slices(cohort)[member].merge(evaluated, on=["patient", "slice", "side"])
    wrong_class = judged["correct_count"] & (judged["positive"] != judged["inflammation"])
    judged = judged.assign(count=~judged["correct_count"], wrong=wrong_class)
    slices = judged.groupby(["patient", "slice"]).agg(
        count=("count", "any"), wrong=("wrong", "any"), inflamed=("inflammation", "max")
    )
    chosen = {
        "right": slices[~slices["count"] & ~slices["wrong"]].sort_values("inflamed", ascending=False, kind="stable"),
        "count": slices[slices["count"]],
        "class": slices[slices["wrong"] & ~slices["count"]],
    }[rank].reset_index()
    chosen = pd.concat([chosen.drop_duplicates("patient"), chosen]).drop_duplicates(["patient", "slice"]).head(count)
    return [
        _detection_case(stored, patient, int(place), member, cohort)
        for patient, place in zip(chosen["patient"], chosen["slice"], strict=True)
    ]


def unscored_cases(stored: Results, member: int, patient: str, cohort: str, count: int = 5) -> list[DetectionCase]:
    """Slices of a patient whom nobody read, with what one member found: those with most boxes, in anatomical order.

    Args:
        stored: the results.
        member: which trained network.
        patient: whose slices.
        cohort: the cohort of the patient.
        count: how many slices at most.
    """
    found = stored.predictions(cohort)[member]
    mine = found[(found["patient"] == patient) & (found["score"] > stored.threshold)]
    most = mine.groupby("slice")["score"].sum().nlargest(count).index
    return [_detection_case(stored, patient, int(place), member, cohort) for place in sorted(most)]


def area_cases(stored: Results, count: int = 5) -> list[AreaCase]:
    """For each examination with drawings, the STIR slice on which most readings drew most (or most was found)."""
    cohort, cases = stored.cohort(), []
    readers = sorted(set(cohort.half_slices["reader"]))
    for patient in stored.measured("lesions")["patient"].drop_duplicates().head(count):
        masks = {reader: cohort.truth(patient, f"inflammation_{reader}") for reader in readers}
        drawn = majority({reader: mask.array > 0 for reader, mask in masks.items() if mask is not None})
        stir, found = cohort.volume(patient, "STIR"), stored.found_area(patient).array > 0
        place = int((drawn if drawn.any() else found).sum(axis=(1, 2)).argmax())
        title = f"{patient}, slice {place}"
        rows, columns = window(drawn if drawn.any() else found, stir.spacing[1:])
        shown, area, drawing = (array[place, rows, columns] for array in (stir.array, found, drawn))
        cases.append(AreaCase(title, shown, area, drawing, stir.spacing[1:]))
    return cases


def window(mask: NDArray[np.bool_], spacing: tuple[float, float], margin_mm: float = 30.0) -> tuple[slice, slice]:
    """Rows and columns that hold a mask `(slice, row, column)` on any slice, with a margin; all if it is empty."""
    found = []
    for axis, mm in zip((1, 2), spacing, strict=True):
        places = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        room = round(margin_mm / mm)
        ends = (places[0] - room, places[-1] + room + 1) if len(places) else (0, mask.shape[axis])
        found.append(slice(max(0, int(ends[0])), min(mask.shape[axis], int(ends[1]))))
    return found[0], found[1]


def training_views(stored: Results, draws: int = 3) -> list[TrainingView]:
    """What the network is fed: one slice of a training patient, as it is and under `draws` random moves.

    The slice is the first one with an inflamed and a healthy joint, else the first with any. The moves are those of
    the training with the study's seed; inputs and instances are made by the training's own `prepare`.
    """
    from axspa_lib.detector.augment import Move, draw
    from axspa_lib.detector.data import DetectionData
    from axspa_lib.detector.training import prepare

    config, folder = stored.study.detector, stored.slices_folder()
    known = {image["patient"] for image in read_instances(folder / "instances.json")["images"]}
    patients = [name for name in stored.cohort().subset("detection", TRAIN) if name in known]
    data = DetectionData.load(folder, folder / "instances.json", config.channels, patients)
    chosen = max(data.slices, key=lambda item: len({instance.label for instance in item.instances}))
    rng = np.random.default_rng(stored.study.seed)
    views = []
    for move in [Move(), *(draw(config.augmentation, rng) for _ in range(draws))]:
        image, target = prepare(chosen, config.channels, config, move, "cpu")
        rois = [
            Roi(int(label), mask.numpy(), (box[0], box[1], box[2], box[3]))
            for label, mask, box in zip(target.labels, target.masks, target.boxes.tolist(), strict=True)
        ]
        turned = f"{move.angle:+.0f}°".replace("-", "−") + (", flipped" if move.flip else "")
        title = "as preprocessed" if move == Move() else turned
        views.append(TrainingView(f"{chosen.patient}, slice {chosen.index}", title, image.numpy(), rois))
    return views


def judged_boxes(stored: Results, member: int, cohort: str | None = None) -> pd.DataFrame:
    """Every stored box of the half-slices with a joint and a consensus, and whether it is right.

    Returns:
        `patient, slice, side, score, label, right`: a box is right when it overlaps the half-slice's ROI by at least
        half (intersection over union of the boxes) and has the readers' class.
    """
    evaluated = stored.evaluated(cohort).query("joint").dropna(subset="inflammation")
    dataset = read_instances(stored.slices_folder(cohort) / "instances.json")
    names = {image["id"]: (image["patient"], image["slice"]) for image in dataset["images"]}
    roi = pd.DataFrame(
        [(*names[a["image_id"]], a["side"], *a["bbox"]) for a in dataset["annotations"]],
        columns=["patient", "slice", "side", "left", "top", "wide", "high"],
    )
    boxes = stored.predictions(cohort)[member].merge(evaluated, on=["patient", "slice", "side"])
    boxes = boxes.merge(roi, on=["patient", "slice", "side"])
    right, bottom = boxes["left"] + boxes["wide"], boxes["top"] + boxes["high"]
    across = np.maximum(0, np.minimum(boxes["x1"], right) - np.maximum(boxes["x0"], boxes["left"]))
    along = np.maximum(0, np.minimum(boxes["y1"], bottom) - np.maximum(boxes["y0"], boxes["top"]))
    area = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"]) + boxes["wide"] * boxes["high"]
    overlap = across * along / (area - across * along)
    boxes["right"] = (overlap >= 0.5) & (boxes["label"] == boxes["inflammation"])
    return boxes[["patient", "slice", "side", "score", "label", "right"]]


def roi_boxes(stored: Results, experiment: str = "all_included") -> pd.DataFrame:
    """Box around the ROI of Algorithm 1 of every half-slice that an experiment was tested on.

    Returns:
        `patient, slice, side, left, top, right, bottom` in pixels of the detector's grid, out of fold.
    """
    rows = []
    for fold in stored.study.fold_numbers:
        dataset = read_instances(stored.slices_folder(experiment=experiment, fold=fold) / "instances.json")
        tested = set(stored.member_run(stored.seeds(experiment)[0], experiment, fold)["tested"][stored.cohort().name])
        names = {image["id"]: (image["patient"], image["slice"]) for image in dataset["images"]}
        for entry in dataset["annotations"]:
            patient, place = names[entry["image_id"]]
            if patient in tested:
                x, y, wide, high = entry["bbox"]
                rows.append((patient, place, entry["side"], x, y, x + wide, y + high))
    return pd.DataFrame(rows, columns=["patient", "slice", "side", "left", "top", "right", "bottom"])


def jobs_by_kind(jobs: pd.DataFrame) -> pd.DataFrame:
    """What the jobs of a run took, by kind, as text: `job, number, one takes, together, peak memory, device`.

    Args:
        jobs: from `Results.jobs`.
    """
    rows = []
    for kind in [name for name in cost.KINDS.values() if name in set(jobs["kind"])]:
        part = jobs[jobs["kind"] == kind]
        peak = part["peak_memory_mb"].max()
        rows.append(
            {
                "job": kind,
                "number": len(part),
                "one takes (median)": cost.duration(part["seconds"].median()),
                "together": cost.duration(part["seconds"].sum()),
                "peak memory": f"{peak / 1024:.1f} GB" if pd.notna(peak) else "not recorded",
                "device": ", ".join(sorted(set(part["device"]))),
            }
        )
    return pd.DataFrame(rows)


def _detection_case(stored: Results, patient: str, place: int, member: int, cohort: str | None) -> DetectionCase:
    found = stored.predictions(cohort)[member]
    rows = found[(found["patient"] == patient) & (found["slice"] == place) & (found["score"] > stored.threshold)]
    rois = [
        Roi(int(row["label"]), decode_mask(row), (row["x0"], row["y0"], row["x1"], row["y1"]), row["score"])
        for row in rows.to_dict("records")
    ]
    folder = stored.slices_folder(cohort, fold=stored.fold_of(patient, cohort))
    truth = _truth(folder, {(patient, place)})[patient, place]
    t1, stir = (read_volume(folder / f"{patient}_{name}.nii.gz").array[place] for name in SEQUENCES)
    return DetectionCase(f"{patient}, slice {place}", t1, stir, truth, rois)


def _truth(folder: Path, wanted: set[tuple[str, int]]) -> dict[tuple[str, int], list[Roi]]:
    dataset = read_instances(folder / "instances.json")
    names = {image["id"]: (image["patient"], image["slice"]) for image in dataset["images"]}
    truth: dict[tuple[str, int], list[Roi]] = {name: [] for name in wanted}
    for entry in dataset["annotations"]:
        name = names[entry["image_id"]]
        if name in truth:
            truth[name].append(Roi(entry["category_id"], decode_rle(entry["segmentation"])))
    return truth
