"""Bone and joint measurements of an examination, and how well they repeat in one person before and after treatment.

Bones do not grow in months of treatment, so what differs between the two scans of a person is, first of all, the error
of the whole chain: positioning, scan, segmentation. That error is what a true change would have to exceed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.study.labels import Bone
from axspa_lib.study.volume import Volume

#: What is measured, and its unit.
MEASURES = {"sacrum": "cm³", "iliac": "cm³", "joint": "cm³", "joint_slices": "slices", "joint_signal": "ratio"}


def measure(t1: Volume, bones: Volume, joint: Volume) -> dict[str, float]:
    """Measurements of one examination on the slices that show a joint, which both scans of a person have.

    Args:
        t1: T1, any scale.
        bones: predicted bones on its grid.
        joint: joint ROIs on its grid.

    Returns:
        Volumes of the bones and of the joint ROIs in cm³, the number of slices with a joint, and the median T1 signal
        of the bone inside the joint ROIs over that of the other bone (marrow near over far from the joint).
    """
    voxel = float(np.prod(t1.spacing)) / 1000
    shown = (joint.array > 0).any(axis=(1, 2))
    bone = bones.array[shown]
    near = joint.array[shown] > 0
    return {
        "sacrum": float((bone == Bone.SACRUM).sum()) * voxel,
        "iliac": float((bone == Bone.ILIAC).sum()) * voxel,
        "joint": float(near.sum()) * voxel,
        "joint_slices": float(shown.sum()),
        "joint_signal": _ratio(t1.array[shown], (bone > 0) & near, (bone > 0) & ~near),
    }


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """The two examinations of each subject who has both: `subject, measure, pre, post`.

    Args:
        table: `patient, subject, session` (pre, post) and the measures.
    """
    long = table.melt(["patient", "subject", "session"], list(MEASURES), "measure", "value")
    wide = long.pivot_table(index=["subject", "measure"], columns="session", values="value")
    wide = wide.reindex(columns=["pre", "post"]).dropna().reset_index()
    wide.columns.name = None
    return wide


def repeatability(paired: pd.DataFrame) -> pd.DataFrame:
    """How far two scans of a person differ, for each measure.

    Returns:
        `measure, subjects, mean, bias` (post - pre), `within` (within-subject standard deviation, root mean square of
        difference / √2), `coefficient` (smallest change beyond error: 1.96 √2 within), `cv` (within over mean, %), and
        `between` (standard deviation of the subjects' means; not a number for one subject).
    """
    rows = []
    for name in MEASURES:
        part = paired[paired["measure"] == name]
        if part.empty:
            continue
        difference = (part["post"] - part["pre"]).to_numpy(float)
        means = ((part["post"] + part["pre"]) / 2).to_numpy(float)
        within = float(np.sqrt(np.mean(difference**2) / 2))
        rows.append(
            {
                "measure": name,
                "subjects": len(part),
                "mean": means.mean(),
                "bias": difference.mean(),
                "within": within,
                "coefficient": 1.96 * np.sqrt(2) * within,
                "cv": 100 * within / means.mean() if means.mean() else float("nan"),
                "between": means.std(ddof=1) if len(means) > 1 else float("nan"),
            }
        )
    columns = ["measure", "subjects", "mean", "bias", "within", "coefficient", "cv", "between"]
    return pd.DataFrame(rows, columns=columns)


def _ratio(image: NDArray[np.floating], near: NDArray[np.bool_], far: NDArray[np.bool_]) -> float:
    reference = float(np.median(image[far])) if far.any() else 0.0
    return float(np.median(image[near])) / reference if near.any() and reference else float("nan")
