"""Inflamed area on STIR: the published intensity rule, the area that follows from detections, and their agreement.

The detector learns half-slices (inflamed or not), never areas. An area follows by a rule: inside the ROIs that it calls
inflamed, the pixels of STIR above a reference of normal marrow of the same examination. The reference is the marrow of
the predicted bones far from the joint; how far above it a pixel must lie is chosen on other subjects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi

from axspa_lib.stats import Interval, bootstrap_by_patient
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.volume import Volume

#: Marrow at least this far from the joint, mm in the plane, is taken as normal.
FAR_MM = 25.0
#: Marrow nearer than this to the edge of a bone, mm, is left out: partial volume with cortex and fat.
EDGE_MM = 3.0
#: Multiples of the interquartile range above the upper quartile of normal marrow, from which one is chosen.
MULTIPLES = tuple(np.arange(0.5, 8.01, 0.5).round(2).tolist())
#: Smallest connected region of a slice that counts, pixels (the published code keeps four).
MIN_PIXELS = 4

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reference:
    """Normal marrow of one examination on STIR: upper quartile and interquartile range."""

    upper_quartile: float
    spread: float

    def threshold(self, multiple: float) -> float:
        """Return the intensity that lies `multiple` interquartile ranges above the upper quartile."""
        return self.upper_quartile + multiple * self.spread


def reference_of(values: ArrayLike) -> Reference:
    """Return upper quartile and interquartile range of the STIR intensities of normal marrow.

    Raises:
        DataError: fewer than twenty values, or all the same.
    """
    array = np.asarray(values, float).ravel()
    if array.size < 20:
        raise DataError(f"{array.size} pixels of normal marrow are too few for a reference: check the bones predicted")
    lower, upper = np.percentile(array, [25, 75])
    if upper <= lower:
        raise DataError("normal marrow has one intensity only: check the STIR")
    return Reference(float(upper), float(upper - lower))


def published_threshold(marrow: ArrayLike) -> float:
    """Return the lower threshold of the published measure, from the intensities of hand-drawn normal marrow.

    It is the upper quartile plus a multiple of the interquartile range; the multiple starts at 1.5 and moves in steps
    of 0.05 until the threshold is less than half an interquartile range below the largest intensity, and below it.

    Source: "Volume of hyperintense inflammation", https://github.com/c-hepburn/Bone_MRI (rule read, code our own).

    Raises:
        DataError: as `reference_of`.

    >>> published_threshold(range(1, 101))
    97.525
    """
    values = np.asarray(marrow, float)
    found, top = reference_of(values), float(values.max())
    steps = 0
    while top - found.threshold(1.5 + 0.05 * steps) >= found.spread / 2:
        steps += 1
    while round(top - found.threshold(1.5 + 0.05 * steps), 3) <= 0 and steps > -200:
        steps -= 1
    return found.threshold(1.5 + 0.05 * steps)


def hyperintense(stir: NDArray[np.floating], region: Mask, threshold: float) -> Mask:
    """Return the pixels of a region at or above a threshold, without residues (`MIN_PIXELS`, 8-connected in a slice).

    Args:
        stir: `(slice, row, column)`.
        region: where to look, the same shape.
        threshold: intensity.
    """
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = True
    labels, count = ndi.label(region & (stir >= threshold), in_slice)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    return sizes[labels] >= MIN_PIXELS


def normal_marrow(bones: Volume, joint: Volume) -> Mask:
    """Return marrow far from the joint and from the edges of predicted bones, on slices with a joint.

    Args:
        bones: bone mask (`labels.Bone`).
        joint: joint ROIs on the same grid.
    """
    spacing = bones.spacing[1:]
    found = np.zeros(bones.array.shape, bool)
    for index in np.flatnonzero(joint.array.any(axis=(1, 2))):
        far = ndi.distance_transform_edt(joint.array[index] == 0, sampling=spacing) >= FAR_MM
        for bone in (Bone.SACRUM, Bone.ILIAC):
            inside = ndi.distance_transform_edt(bones.array[index] == bone, sampling=spacing) >= EDGE_MM
            found[index] |= inside & far
    return found


def choose_multiple(cases: Iterable[tuple[NDArray[np.floating], Mask, Reference, Mask]]) -> float:
    """Return the multiple of `MULTIPLES` with the largest mean Dice against drawings.

    Args:
        cases: STIR, ROIs called inflamed by the readers, reference of normal marrow, and drawing of each examination.

    Raises:
        DataError: no case.
    """
    found = [
        [overlap(hyperintense(stir, roi, reference.threshold(multiple)), drawing)["dice"] for multiple in MULTIPLES]
        for stir, roi, reference, drawing in cases
    ]
    if not found:
        raise DataError("no examination with drawings is left to choose the threshold on: give more subjects")
    return MULTIPLES[int(np.nanargmax(np.nanmean(np.array(found), axis=0)))]


def overlap(first: Mask, second: Mask) -> dict[str, float]:
    """Return the voxels of two masks, their Dice and volume similarity 1 - |a - b| / (a + b); NaN if both are empty."""
    a, b, both = int(first.sum()), int(second.sum()), int((first & second).sum())
    dice, similarity = (2 * both / (a + b), 1 - abs(a - b) / (a + b)) if a + b else (float("nan"), float("nan"))
    return {"first": a, "second": b, "dice": dice, "similarity": similarity}


def majority(drawings: Mapping[str, Mask]) -> Mask:
    """Return the voxels that more than half of the drawings hold: a tie is not inflamed, as for half-slices."""
    stacked = np.stack(list(drawings.values()))
    return 2 * stacked.sum(axis=0) > len(stacked)


def summary(table: pd.DataFrame, value: str, samples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return the mean of a measure by `kind` with its interval by patient: `kind, value, low, high, patients`."""
    rows = []
    for kind, part in table.dropna(subset=[value]).groupby("kind", sort=False):
        found = mean_by_patient(part[value], part["patient"], samples, seed)
        rows.append((kind, found.value, found.low, found.high, found.patients))
    return pd.DataFrame(rows, columns=["kind", "value", "low", "high", "patients"])


def mean_by_patient(values: ArrayLike, patients: ArrayLike, samples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean over cases with an interval by resampling patients."""
    array = np.asarray(values, float)
    columns = np.stack([array, np.ones_like(array)], axis=1)
    return bootstrap_by_patient(lambda sums: sums[..., 0] / sums[..., 1], columns, patients, samples, seed)


def published_check(volumes: pd.DataFrame) -> pd.DataFrame:
    """Return the voxels drawn by each reading and the published count: `patient, reading, voxels, published, same`.

    Args:
        volumes: `patient, reading, voxels`.
    """
    both = volumes.merge(published_volumes(), on=["patient", "reading"])
    return both.assign(same=both["voxels"] == both["published"])[["patient", "reading", "voxels", "published", "same"]]


def compare_with_published(volumes: pd.DataFrame) -> pd.DataFrame:
    """Return voxels above the published lower threshold, ours and those published for each reader.

    Args:
        volumes: `patient, reading, voxels`.

    Returns:
        `patient, ours, published_R1, published_R2`.
    """
    ours = volumes.loc[volumes["reading"] == "threshold", ["patient", "voxels"]].rename(columns={"voxels": "ours"})
    published = published_volumes().pivot(index="patient", columns="reading", values="published")
    names = {"threshold_R1": "published_R1", "threshold_R2": "published_R2"}
    return ours.merge(published[list(names)].rename(columns=names).reset_index(), on="patient")


def published_volumes() -> pd.DataFrame:
    """Return the voxel counts published by the collection's authors: `patient, reading, published`."""
    path = MANIFEST / "published" / "vhi_volumes.csv"
    return pd.read_csv(path, dtype={"patient": str, "reading": str}).rename(columns={"voxels": "published"})
