"""What saves time at inference, and whether it changes a detection (section 3.2.1).

The reference computes everything: float32, Detectron2's 1000 candidates a level and 1000 proposals, every proposal
judged by the box head. A way of saving is *exact* when it finds the same detections: as many, each with the same
class, within the tolerance by which two implementations of the network count as the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from axspa_lib.config import Detector
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.inference import decode_mask, predict
from axspa_lib.detector.model import MaskRCNN, load_detector
from axspa_lib.detector.packed import packed

#: What a detection may differ by and still be the same: pixels of a corner, score, share of equal pixels of the mask.
PIXELS, SCORE, MASK = 0.01, 1e-4, 0.999

_CORNERS = ["x0", "y0", "x1", "y1"]
_EVERYTHING = {"precision": "float32", "test_candidates": 1000, "test_proposals": 1000}


@dataclass(frozen=True)
class Way:
    """One way to run a trained network: what differs from computing everything."""

    name: str
    config: Detector
    packed: bool = False
    coarse: bool = False  # in bfloat16, on a processor that would emulate it too


def ways(config: Detector) -> list[Way]:
    """Computing everything first, then each saving alone, and last what the configuration does."""
    full = config.model_copy(update=_EVERYTHING)
    few = {"test_candidates": config.test_candidates, "test_proposals": config.test_proposals}
    found = [
        Way("everything computed", full),
        Way("packed for the CPU", full, packed=True),
        Way("bfloat16", full, coarse=True),
    ]
    if few.items() - _EVERYTHING.items():
        name = f"{config.test_proposals} proposals, from {config.test_candidates} candidates a level"
        found.append(Way(name, full.model_copy(update=few)))
    return [*found, Way("as this run predicts", config)]


def detections_by_way(checkpoint: Path, config: Detector, data: DetectionData) -> dict[str, pd.DataFrame]:
    """Detections of a trained network on a CPU, by the name of the way, computing everything first.

    Args:
        checkpoint: the weights, e.g. a member's `model.pt`.
        config: the configuration it was trained with; of our own implementation.
        data: the slices.

    Raises:
        DataError: the checkpoint is missing, damaged or of another network.
    """
    found = {}
    for way in ways(config):
        model = load_detector(way.config.model_copy(update={"implementation": "torchvision"}), checkpoint)
        if way.packed and isinstance(model, MaskRCNN):
            model = packed(model)
        with torch.autocast("cpu", torch.bfloat16, enabled=way.coarse):
            found[way.name] = predict(model, data, way.config)
    return found


def changed(reference: pd.DataFrame, other: pd.DataFrame, threshold: float) -> dict[str, float]:
    """What another way changes in the detections that score more than `threshold`.

    Returns:
        `detections` of the reference, `found` of the other; of the reference's `same` within the tolerance, `gone`
        (no detection of its class in the slice overlaps it by half); of those found again the largest `pixels` and
        `score` and the smallest `mask`; `exact` 1 where all are the same and none is new.
    """
    before, after = (t[t["score"] > threshold].reset_index(drop=True) for t in (reference, other))
    places = after.groupby(["patient", "slice", "label"]).indices
    taken: set[int] = set()
    gone = same = 0
    pixels, score, mask = 0.0, 0.0, 1.0
    for row in before.to_dict("records"):
        near = [int(i) for i in places.get((row["patient"], row["slice"], row["label"]), ()) if int(i) not in taken]
        corners = np.array([row[name] for name in _CORNERS])
        best = max(near, key=lambda i: _overlap(corners, after.loc[i, _CORNERS].to_numpy(float)), default=None)
        if best is None or _overlap(corners, after.loc[best, _CORNERS].to_numpy(float)) < 0.5:
            gone += 1
            continue
        taken.add(best)
        again = after.iloc[best].to_dict()
        apart = (
            float(np.abs(np.array([again[name] for name in _CORNERS]) - corners).max()),
            abs(again["score"] - row["score"]),
            float((decode_mask(again) == decode_mask(row)).mean()),
        )
        pixels, score, mask = max(pixels, apart[0]), max(score, apart[1]), min(mask, apart[2])
        same += apart[0] <= PIXELS and apart[1] <= SCORE and apart[2] >= MASK
    exact = same == len(before) == len(after)
    return {"detections": len(before), "found": len(after), "same": same, "gone": gone,
            "pixels": pixels, "score": score, "mask": mask, "exact": int(exact)}  # fmt: skip


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.clip(high - low, 0, None)))
    both = float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]))
    return shared / (both - shared)
