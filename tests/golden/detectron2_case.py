"""The case both implementations of the detector are run on: weights, slices and instances from fixed seeds.

Nothing large is stored: weights are drawn over the sorted list of names and shapes, slices are smoothed noise with
two bright ellipses. Used by the script that makes the golden vectors (genuine Detectron2) and by the tests.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from axspa_lib.detector.network.interface import Target
from axspa_lib.study.config import Detector

#: The paper's network and numbers, fed smaller so that the test takes seconds.
CONFIG = Detector(start="scratch", min_size=256, max_size=448)

#: Sizes (rows, columns) of the two slices before resizing; different, so that padding is tested.
SIZES = ((200, 232), (184, 230))

#: Seed of the random sampling of anchors and regions in the losses.
SAMPLING_SEED = 5


def generated_weights(shapes: dict[str, tuple[int, ...]], seed: int = 2022) -> dict[str, torch.Tensor]:
    """A checkpoint with Detectron2's names: seeded values scaled so that activations keep their size."""
    rng = np.random.RandomState(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        values = rng.standard_normal(shape).astype(np.float64)
        weights[name] = torch.from_numpy(_scaled(name, values).astype(np.float32))
    return weights


def _scaled(name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if name.endswith("running_var"):
        return 1 + 0.2 * np.tanh(values)
    if ".norm." in name:
        if not name.endswith(".weight"):
            return 0.1 * values
        return (0.25 if ".conv3." in name else 1.0) + 0.05 * values
    if name.endswith(".bias"):
        return 0.05 * values
    fan_in = math.prod(values.shape[1:])
    gain = {
        "stem.conv1": 0.02,
        "fpn_lateral": 0.7,
        "fpn_output": 0.5,
        "objectness_logits": 1.5,
        "anchor_deltas": 0.5,
        "cls_score": 2.0,
        "bbox_pred": 1.0,
        "mask_head.predictor": 3.0,
    }
    return values * next((g for part, g in gain.items() if part in name), math.sqrt(2.0)) / math.sqrt(fan_in)


def slices() -> list[NDArray[np.uint8]]:
    """The two slices `(3, rows, columns)` as the network takes them: T1, STIR, STIR."""
    return [pair[[0, 1, 1]] for pair in pairs()]


def pairs() -> list[NDArray[np.uint8]]:
    """Two slices `(2, rows, columns)`, T1 and STIR."""
    made = []
    for number, (rows, columns) in enumerate(SIZES):
        rng = np.random.RandomState(10 + number)
        channels = [sum(gaussian_filter(rng.standard_normal((rows, columns)), s) * s for s in (1, 4, 16)) for _ in "01"]
        image = np.stack(channels) + 1.5 * sum(joints(number))
        image = (image - image.min()) / (image.max() - image.min())
        made.append((image * 255).astype(np.uint8))
    return made


def joints(number: int) -> list[NDArray[np.bool_]]:
    """The two instances of a slice: oblique ellipses `(rows, columns)`."""
    rows, columns = SIZES[number]
    y, x = np.mgrid[:rows, :columns]
    masks = []
    for side in (-1, 1):
        cy, cx = 0.5 * rows + 4 * number, (0.5 + side * (0.22 + 0.03 * number)) * columns
        across, along = (x - cx) + 0.3 * side * (y - cy), (y - cy) - 0.3 * side * (x - cx)
        masks.append((across / 16.0) ** 2 + (along / 38.0) ** 2 < 1)
    return masks


def training_batch() -> tuple[list[torch.Tensor], list[Target]]:
    """The slices at their own size and their instances, for the losses; classes inflamed, healthy; healthy, healthy."""
    targets = []
    for number in range(len(SIZES)):
        masks = torch.from_numpy(np.stack(joints(number)))
        boxes = []
        for mask in masks:
            y, x = mask.nonzero(as_tuple=True)
            boxes.append([float(x.min()), float(y.min()), float(x.max()) + 1, float(y.max()) + 1])
        labels = torch.tensor([1, 0] if number == 0 else [0, 0])
        targets.append(Target(torch.tensor(boxes), labels, masks))
    return [torch.from_numpy(s).float() for s in slices()], targets


def sampled(values: torch.Tensor, count: int = 400) -> NDArray[np.float32]:
    """Up to `count` values of a tensor at fixed pseudo-random places."""
    flat = values.detach().float().flatten().numpy()
    if len(flat) <= count:
        return flat
    places = np.random.RandomState(len(flat) % 2**31).choice(len(flat), count, replace=False)
    return flat[np.sort(places)]
