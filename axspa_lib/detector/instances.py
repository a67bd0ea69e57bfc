"""The detector's ground truth as COCO JSON: each joint ROI with the readers' label of its half-slice (figure 1)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from axspa_lib.joint.algorithm1 import SIDE_VALUE
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import SIDES, Inflammation
from axspa_lib.study.runs import found
from axspa_lib.study.volume import Volume

#: A region of fewer pixels on the detector's grid is no instance: it teaches nothing.
MIN_PIXELS = 4

Entries = list[dict[str, Any]]


def slice_instances(patient: str, joints: Volume, consensus: pd.DataFrame) -> tuple[Entries, Entries, Entries]:
    """COCO entries of one patient: an image per slice with a labelled half-slice, an instance per labelled joint.

    Args:
        patient: name of the examination.
        joints: joint mask on the detector's grid, `(slice, row, column)`, 1 patient right, 2 patient left.
        consensus: `slice, side, inflammation` (0 or 1), one row per half-slice; a column `readers` (how many readers
            agreed on it) is kept with the instance.

    Returns:
        images, annotations and what was skipped (`patient, slice, side, reason`). Identifiers count from 1 within the
        patient; `coco` renumbers them. Boxes are `x, y, width, height` in pixels, masks compressed run-length codes.

    Raises:
        DataError: a half-slice that the volume does not have, an unknown side or label, or a half-slice given twice.
    """
    images: Entries = []
    annotations: Entries = []
    skipped: Entries = []
    labelled = _checked(patient, joints, consensus)
    for index in sorted({int(number) for number in labelled["slice"]}):
        half_slices = labelled[labelled["slice"] == index]
        images.append(_image(len(images) + 1, patient, index, joints))
        for row in half_slices.sort_values("side").to_dict("records"):
            mask = joints.array[index] == SIDE_VALUE[row["side"]]
            pixels = int(np.count_nonzero(mask))
            if pixels < MIN_PIXELS:
                reason = f"joint of fewer than {MIN_PIXELS} pixels" if pixels else "joint not found"
                skipped.append({"patient": patient, "slice": index, "side": row["side"], "reason": reason})
                continue
            code = encode_rle(mask)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": int(row["inflammation"]),
                    "side": row["side"],
                    "bbox": [float(value) for value in coco_mask.toBbox(code)],
                    "area": pixels,
                    "segmentation": code,
                    "iscrowd": 0,
                }
                | ({"readers": int(row["readers"])} if "readers" in row else {})
            )
    return images, annotations, skipped


def unread_slices(patient: str, joints: Volume) -> Entries:
    """Return COCO images of every slice of an unread patient, for prediction only.

    Args:
        patient: name of the examination.
        joints: any volume on the detector's grid.
    """
    return [_image(index + 1, patient, index, joints) for index in range(len(joints.array))]


def coco(parts: Iterable[tuple[Entries, Entries]], info: dict[str, Any]) -> dict[str, Any]:
    """Merge patients' images and annotations into one COCO dataset, renumbered from 1 in the order given.

    Args:
        parts: images and annotations of each patient, as from `slice_instances`.
        info: what the dataset is: its cohort, its `data_id`.
    """
    images: Entries = []
    annotations: Entries = []
    for patient_images, patient_annotations in parts:
        shift_images, shift_annotations = len(images), len(annotations)
        images += [image | {"id": image["id"] + shift_images} for image in patient_images]
        annotations += [
            annotation | {"id": annotation["id"] + shift_annotations, "image_id": annotation["image_id"] + shift_images}
            for annotation in patient_annotations
        ]
    categories = [{"id": int(label), "name": label.name.lower(), "supercategory": "joint"} for label in Inflammation]
    return {"info": dict(info), "images": images, "annotations": annotations, "categories": categories}


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the COCO run-length code of a mask `(row, column)`: `size`, and `counts` as text."""
    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_rle(code: dict[str, Any]) -> NDArray[np.bool_]:
    """Return the mask `(row, column)` of a COCO run-length code."""
    with warnings.catch_warnings():  # pycocotools 2.0.11 and NumPy 2 disagree on a keyword
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
        return coco_mask.decode(code).astype(bool)


def read_instances(path: Path) -> dict[str, Any]:
    """Read and check a dataset written from `coco`.

    Raises:
        DataError: the file cannot be read or is not such a dataset; says what is wrong with which entry.
    """
    try:
        dataset = json.loads(found(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as COCO JSON ({type(error).__name__}): prepare the slices again"
        ) from None
    problem = _problem(dataset)
    if problem:
        raise DataError(f"{path}: {problem}: prepare the slices again")
    return dataset


def _image(number: int, patient: str, index: int, volume: Volume) -> dict[str, Any]:
    _, height, width = volume.array.shape
    return {
        "id": number,
        "patient": patient,
        "slice": index,
        "file_name": f"{patient}#{index}",
        "height": height,
        "width": width,
        "spacing_mm": [round(mm, 6) for mm in volume.spacing[1:]],
    }


def _checked(patient: str, joints: Volume, consensus: pd.DataFrame) -> pd.DataFrame:
    missing = {"slice", "side", "inflammation"} - set(consensus.columns)
    if missing:
        raise DataError(f"patient {patient}: the table of labels lacks the columns {', '.join(sorted(missing))}")
    wrong = consensus[
        ~consensus["slice"].between(0, len(joints.array) - 1)
        | ~consensus["side"].isin(SIDES)
        | ~consensus["inflammation"].isin([int(label) for label in Inflammation])
        | consensus.duplicated(["slice", "side"], keep=False)
    ]
    if len(wrong):
        row = wrong.iloc[0]
        raise DataError(
            f"patient {patient}: the label {row['inflammation']} of half-slice {row['slice']} {row['side']} cannot be "
            f"used (slices 0 to {len(joints.array) - 1}, sides R and L, labels 0 and 1, each half-slice once): correct "
            "the readers' table"
        )
    return consensus


def _problem(dataset: Any) -> str | None:
    """Return in words what is wrong with a dataset, or None."""
    if not isinstance(dataset, dict) or not {"info", "images", "annotations", "categories"} <= dataset.keys():
        return "is not a COCO dataset (info, images, annotations, categories)"
    sizes: dict[int, list[int]] = {}
    for image in dataset["images"]:
        if not {"id", "patient", "slice", "height", "width", "spacing_mm"} <= image.keys() or image["id"] in sizes:
            return f"image {image.get('id')} is incomplete or appears twice"
        sizes[image["id"]] = [image["height"], image["width"]]
    seen: set[int] = set()
    for annotation in dataset["annotations"]:
        name = f"annotation {annotation.get('id')}"
        if not {"id", "image_id", "category_id", "side", "bbox", "area", "segmentation"} <= annotation.keys():
            return f"{name} is incomplete"
        if annotation["id"] in seen or annotation["image_id"] not in sizes:
            return f"{name} appears twice or belongs to no image"
        if annotation["category_id"] not in tuple(Inflammation) or annotation["side"] not in SIDES:
            return f"{name} has an unknown class or side"
        code = annotation["segmentation"]
        if not isinstance(code, dict) or code.get("size") != sizes[annotation["image_id"]]:
            return f"{name} has a mask of another size than its image"
        seen.add(annotation["id"])
    return None
