"""Stored results of the detectors: members, histories, predictions, and the slices that a chapter shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from axspa_lib.bones import results as bones_results
from axspa_lib.detector.figures import DetectionCase, Roi, TrainingView
from axspa_lib.detector.inference import decode_mask, read_predictions
from axspa_lib.detector.instances import decode_rle, read_instances
from axspa_lib.detector.network.runtime import TORCH
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SEQUENCES, TRAIN
from axspa_lib.study.results import Run
from axspa_lib.study.runs import found, read_run, record_input
from axspa_lib.study.volume import read_volume


def detection_cases(
    run: Run,
    half_slices: Mapping[int, pd.DataFrame],
    member: int,
    rank: str = "right",
    count: int = 4,
    cohort: str | None = None,
) -> list[DetectionCase]:
    """Return slices of held-out patients whose images are at hand, with what one member found.

    Args:
        run: the results.
        half_slices: half-slice results by member (`diagnosis.results.half_slices`).
        member: which trained network.
        rank: `right` (both half-slices found once, with the right class), `count` (a wrong number of boxes) or `class`
            (one box each, a wrong class).
        count: how many, of as many different patients as there are.
        cohort: the training cohort when None.
    """
    scored = evaluated(run, cohort).query("joint").dropna(subset="inflammation")
    scored = scored[scored["patient"].isin(run.cohort(cohort).with_images)]
    judged = half_slices[member].merge(scored, on=["patient", "slice", "side"])
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
        _detection_case(run, patient, int(place), member, cohort)
        for patient, place in zip(chosen["patient"], chosen["slice"], strict=True)
    ]


def unscored_cases(run: Run, member: int, patient: str, cohort: str, count: int = 5) -> list[DetectionCase]:
    """Return the slices of an unread patient on which one member is surest; none without the patient's images.

    Args:
        run: the results.
        member: which trained network.
        patient: whose slices.
        cohort: the cohort of the patient.
        count: how many slices at most, in anatomical order.
    """
    if patient not in run.cohort(cohort).with_images:
        return []
    boxes = predictions(run, cohort)[member]
    mine = boxes[(boxes["patient"] == patient) & (boxes["score"] > run.threshold)]
    most = mine.groupby("slice")["score"].sum().nlargest(count).index
    return [_detection_case(run, patient, int(place), member, cohort) for place in sorted(most)]


def training_views(run: Run, draws: int = 3) -> list[TrainingView]:
    """Return what the network is fed: one slice of a training patient, as it is and under `draws` random moves.

    The slice is the first with an inflamed and a healthy joint, else with any, of patients whose images are at hand;
    without any there is no view. The moves are those of the training with the study's seed.
    """
    from axspa_lib.detector.augment import Move, draw
    from axspa_lib.detector.data import DetectionData
    from axspa_lib.detector.training import prepare

    config, folder, cohort = run.study.detector, slices_folder(run), run.cohort()
    patients = [name for name in cohort.subset("detection", TRAIN) if name in cohort.with_images]
    if not patients:
        return []
    known = {image["patient"] for image in read_instances(folder / "instances.json")["images"]}
    patients = [name for name in patients if name in known]
    data = DetectionData.load(folder, folder / "instances.json", config.channels, patients)
    chosen = max(data.slices, key=lambda item: len({instance.label for instance in item.instances}))
    rng = np.random.default_rng(run.study.seed)
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


def judged_boxes(run: Run, member: int, cohort: str | None = None) -> pd.DataFrame:
    """Judge every stored box of the half-slices with a joint and a consensus.

    Returns:
        `patient, slice, side, score, label, right`: a box is right when it overlaps the half-slice's ROI by at least
        half (intersection over union of the boxes) and has the readers' class. No row where the ROIs are not at hand.
    """
    columns = ["patient", "slice", "side", "score", "label", "right"]
    folder = slices_folder(run, cohort)
    if not found(folder / "instances.json").is_file():
        return pd.DataFrame(columns=columns)
    key = ["patient", "slice", "side"]
    scored = evaluated(run, cohort).query("joint").dropna(subset="inflammation")
    boxes = predictions(run, cohort)[member].merge(scored, on=key).merge(_rois(folder), on=key)
    across = np.maximum(0, np.minimum(boxes["x1"], boxes["right"]) - np.maximum(boxes["x0"], boxes["left"]))
    along = np.maximum(0, np.minimum(boxes["y1"], boxes["bottom"]) - np.maximum(boxes["y0"], boxes["top"]))
    roi_area = (boxes["right"] - boxes["left"]) * (boxes["bottom"] - boxes["top"])
    areas = (boxes["x1"] - boxes["x0"]) * (boxes["y1"] - boxes["y0"]) + roi_area
    boxes["right"] = (across * along / (areas - across * along) >= 0.5) & (boxes["label"] == boxes["inflammation"])
    return boxes[columns]


def roi_boxes(run: Run, experiment: str = "all_included") -> pd.DataFrame:
    """Return the box around the ROI of Algorithm 1 of every half-slice that an experiment was tested on.

    Returns:
        `patient, slice, side, left, top, right, bottom` in pixels of the detector's grid, out of fold.
    """
    parts = []
    for fold in run.study.fold_numbers:
        rois = _rois(slices_folder(run, experiment=experiment, fold=fold))
        tested = member_run(run, seeds(run, experiment)[0], experiment, fold)["tested"][run.cohort().name]
        parts.append(rois[rois["patient"].isin(tested)])
    return pd.concat(parts, ignore_index=True)


def _rois(folder: Path) -> pd.DataFrame:
    """Tabulate the boxes of a dataset's instances: `patient, slice, side, left, top, right, bottom`."""
    dataset = read_instances(folder / "instances.json")
    names = {image["id"]: (image["patient"], image["slice"]) for image in dataset["images"]}
    rows = []
    for entry in dataset["annotations"]:
        x, y, wide, high = entry["bbox"]
        rows.append((*names[entry["image_id"]], entry["side"], x, y, x + wide, y + high))
    return pd.DataFrame(rows, columns=["patient", "slice", "side", "left", "top", "right", "bottom"])


def _detection_case(run: Run, patient: str, place: int, member: int, cohort: str | None) -> DetectionCase:
    boxes = predictions(run, cohort)[member]
    rows = boxes[(boxes["patient"] == patient) & (boxes["slice"] == place) & (boxes["score"] > run.threshold)]
    rois = [
        Roi(int(row["label"]), decode_mask(row), (row["x0"], row["y0"], row["x1"], row["y1"]), row["score"])
        for row in rows.to_dict("records")
    ]
    folder = slices_folder(run, cohort, fold=bones_results.fold_of(run, patient, cohort))
    dataset = read_instances(folder / "instances.json")
    shown = {image["id"] for image in dataset["images"] if (image["patient"], image["slice"]) == (patient, place)}
    truth = [
        Roi(entry["category_id"], decode_rle(entry["segmentation"]))
        for entry in dataset["annotations"]
        if entry["image_id"] in shown
    ]
    t1, stir = (read_volume(folder / f"{patient}_{name}.nii.gz").array[place] for name in SEQUENCES)
    return DetectionCase(f"{patient}, slice {place}", t1, stir, truth, rois)


def seeds(run: Run, experiment: str = "all_included") -> list[int]:
    """Return the members of an experiment that have finished, in every fold."""
    folders = [run.layout.member(experiment, 0, fold).parent for fold in run.study.fold_numbers]
    done = [{path.parent.name.removeprefix("seed-") for path in folder.glob("seed-*/run.json")} for folder in folders]
    return sorted(map(int, set.intersection(*done)))


def member_run(run: Run, seed: int = 0, experiment: str = "all_included", fold: int | None = None) -> dict[str, Any]:
    """Return the record of one training, of the first fold unless said otherwise."""
    return read_run(run.layout.member(experiment, seed, run.first_fold(fold)))


def history(run: Run, seed: int = 0, experiment: str = "all_included", fold: int | None = None) -> pd.DataFrame:
    """Return the training history of one member, of the first fold unless said otherwise."""
    folder = run.layout.member(experiment, seed, run.first_fold(fold))
    return pd.read_parquet(record_input(run.finished(folder) / "history.parquet"))


def slices_folder(
    run: Run, cohort: str | None = None, experiment: str = "all_included", fold: int | None = None
) -> Path:
    """Return the folder of the detector's preprocessed slices, of the first fold unless said otherwise."""
    name = cohort or run.study.training_cohort
    return run.finished(run.layout.slices(run.variant(experiment).data_id(), name, run.first_fold(fold)))


def predictions(run: Run, cohort: str | None = None, experiment: str = "all_included") -> dict[int, pd.DataFrame]:
    """Return stored detections of the test patients, by member.

    With folds a member of the training cohort is one seed in every fold; of another cohort each training is a
    member, numbered seed + 100 x fold.

    Raises:
        DataError: members were predicted by different runtimes, whose detections differ slightly.
    """
    name = cohort or run.study.training_cohort
    parts: dict[int, list[pd.DataFrame]] = {}
    runtimes: dict[str, Path] = {}
    for seed in seeds(run, experiment):
        for fold in run.study.fold_numbers:
            folder = run.layout.member(experiment, seed, fold)
            runtimes[read_run(folder, note=False).get("runtime", TORCH)] = folder
            number = seed if name == run.study.training_cohort else seed + 100 * (fold or 0)
            path = folder / f"predictions_{name}.parquet"
            parts.setdefault(number, []).append(read_predictions(record_input(path)))
    if len(runtimes) > 1:
        named = ", ".join(f"{folder.name} by {runtime}" for runtime, folder in runtimes.items())
        raise DataError(
            f"{experiment}: members were predicted by different runtimes ({named}): train one of them again"
        )
    return {number: pd.concat(tables, ignore_index=True) for number, tables in sorted(parts.items())}


def evaluated(run: Run, cohort: str | None = None, experiment: str = "all_included") -> pd.DataFrame:
    """Return the half-slices predicted: `patient, slice, side, joint` (has ROI), `inflammation` (consensus)."""
    name = cohort or run.study.training_cohort
    folds = run.study.fold_numbers if name == run.study.training_cohort else run.study.fold_numbers[:1]
    parts = []
    for fold in folds:
        path = record_input(slices_folder(run, name, experiment, fold) / "half_slices.csv")
        tested = member_run(run, seeds(run, experiment)[0], experiment, fold)["tested"][name]
        table = pd.read_csv(path, dtype={"patient": str})
        parts.append(table[table["patient"].isin(tested)])
    return pd.concat(parts, ignore_index=True)


def training_sizes(run: Run, names: Sequence[str]) -> list[tuple[str, float]]:
    """Return how many patients each experiment learnt detection from, as a mean over the folds."""
    sizes = []
    for name in names:
        if seeds(run, name):
            runs = [member_run(run, seeds(run, name)[0], name, fold) for fold in run.study.fold_numbers]
            sizes.append((name, sum(run["patients"]["train"] for run in runs) / len(runs)))
    return sizes
