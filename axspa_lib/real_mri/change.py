"""Bone and joint measurements of an examination, and how well they repeat before and after treatment.

Bones do not grow in months of treatment, so what differs between the two scans of a person is the error of the whole
chain: positioning, scan, segmentation. A true change has to exceed it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from axspa_lib.study.labels import Bone
from axspa_lib.study.volume import Volume

#: Measures and their units.
MEASURES = {"sacrum": "cm³", "iliac": "cm³", "joint": "cm³", "joint_slices": "slices", "joint_signal": "ratio"}


def measure(t1: Volume, bones: Volume, joint: Volume) -> dict[str, float]:
    """Measure one examination on the slices that show a joint, which both scans of a person have.

    Args:
        t1: T1, any scale.
        bones: predicted bones on its grid.
        joint: joint ROIs on its grid.

    Returns:
        Volumes of the bones and of the joint ROIs in cm³, the number of slices with a joint, and the median T1 signal
        of the bone inside the joint ROIs over that of the other bone (not a number where either is missing).
    """
    voxel = float(np.prod(t1.spacing)) / 1000
    with_joint = (joint.array > 0).any(axis=(1, 2))
    bone, image = bones.array[with_joint], t1.array[with_joint]
    near = joint.array[with_joint] > 0
    inside, far = image[(bone > 0) & near], image[(bone > 0) & ~near]
    known = inside.size and far.size and np.median(far)
    return {
        "sacrum": float((bone == Bone.SACRUM).sum()) * voxel,
        "iliac": float((bone == Bone.ILIAC).sum()) * voxel,
        "joint": float(near.sum()) * voxel,
        "joint_slices": float(with_joint.sum()),
        "joint_signal": float(np.median(inside)) / float(np.median(far)) if known else float("nan"),
    }


def pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the two examinations of each subject who has both: `subject, measure, pre, post`.

    Args:
        table: `patient, subject, session` (pre, post) and the measures.
    """
    long = table.melt(["patient", "subject", "session"], list(MEASURES), "measure", "value")
    wide = long.pivot_table(index=["subject", "measure"], columns="session", values="value")
    return wide.reindex(columns=["pre", "post"]).dropna().rename_axis(columns=None).reset_index()


def repeatability(paired: pd.DataFrame) -> pd.DataFrame:
    """Return how far two scans of a person differ, for each measure.

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
        difference, means = part["post"] - part["pre"], (part["post"] + part["pre"]) / 2
        within, mean = float(np.sqrt(np.mean(difference**2) / 2)), means.mean()
        cv = 100 * within / mean if mean else float("nan")
        rows.append((name, len(part), mean, difference.mean(), within, 1.96 * np.sqrt(2) * within, cv, means.std()))
    columns = ["measure", "subjects", "mean", "bias", "within", "coefficient", "cv", "between"]
    return pd.DataFrame(rows, columns=columns)
