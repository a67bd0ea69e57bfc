"""Small synthetic slices with two elongated joints, a bright blob where inflamed: in the files' real formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.ndimage import gaussian_filter

from axspa_lib.study.volume import Volume, write_volume


def joint(shape: tuple[int, int], side: str, rng: np.random.Generator) -> tuple[NDArray[np.bool_], float, float]:
    """An oblique ellipse in one half of the slice, its centre row and column."""
    rows, columns = shape
    away = rng.uniform(0.22, 0.3) * columns
    row = rows * rng.uniform(0.45, 0.55)
    column = columns / 2 + (-away if side == "R" else away)
    y, x = np.mgrid[:rows, :columns]
    tilt = np.deg2rad(rng.uniform(5, 25)) * (1 if side == "R" else -1)
    across = (x - column) * np.cos(tilt) - (y - row) * np.sin(tilt)
    along = (x - column) * np.sin(tilt) + (y - row) * np.cos(tilt)
    return (across / (0.055 * columns)) ** 2 + (along / (0.15 * rows)) ** 2 < 1, row, column


def write_cohort(
    folder: Path, patients: int, slices: int, shape: tuple[int, int] = (96, 96), seed: int = 0
) -> tuple[Path, Path]:
    """Write slices and instances of `patients`; about 40 % of the joints are inflamed. Returns both paths."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(patients):
        patient = f"p{number:03d}"
        pair = {"T1": [], "STIR": []}
        for index in range(slices):
            texture = gaussian_filter(rng.normal(size=shape), 2) * 2
            t1 = 0.4 + 0.3 * texture + 0.05 * rng.normal(size=shape)
            stir = 0.3 + 0.3 * gaussian_filter(rng.normal(size=shape), 2) + 0.05 * rng.normal(size=shape)
            images.append({"id": len(images), "patient": patient, "slice": index, "height": shape[0],
                           "width": shape[1], "spacing_mm": [1.25, 1.25]})  # fmt: skip
            for side in "RL":
                mask, row, column = joint(shape, side, rng)
                t1[mask] -= 0.2
                inflamed = bool(rng.random() < 0.4)
                if inflamed:
                    y, x = np.mgrid[: shape[0], : shape[1]]
                    at = row + rng.uniform(-0.08, 0.08) * shape[0], column + rng.uniform(-0.03, 0.03) * shape[1]
                    stir += 0.5 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * (0.03 * shape[1]) ** 2))
                rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
                annotations.append(
                    {"id": len(annotations), "image_id": images[-1]["id"], "category_id": int(inflamed), "side": side,
                     "bbox": [float(v) for v in coco_mask.toBbox(rle)], "area": int(mask.sum()), "iscrowd": 0,
                     "segmentation": {"size": list(shape), "counts": rle["counts"].decode()}}
                )  # fmt: skip
            for name, image in (("T1", t1), ("STIR", stir)):
                pair[name].append((np.clip(image, 0, 1) * 255).astype(np.uint8))
        for name, stack in pair.items():
            write_volume(folder / f"{patient}_{name}.nii.gz", Volume(np.stack(stack), np.diag([4.0, 1.25, 1.25, 1.0])))
    path = folder / "instances.json"
    categories = [{"id": 0, "name": "healthy"}, {"id": 1, "name": "inflamed"}]
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": annotations, "categories": categories}))
    return folder, path
