"""Random rotation and flip, applied together to image, masks, boxes and sides (section 3.2.1).

Drawing and applying are apart: `draw` makes the parameters, `transform` applies given ones, so that a transformation
can be replayed, tested and inverted. Everything runs on the device of the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import masks_to_boxes

from axspa_lib.study.config import Augmentation
from axspa_lib.study.labels import LEFT, RIGHT

#: An instance that keeps less than this share of its area inside the image is lost.
MIN_KEPT = 0.25

_OTHER = {RIGHT: LEFT, LEFT: RIGHT}


@dataclass(frozen=True)
class Move:
    """A rotation about the image centre (degrees, counter-clockwise as seen) after an optional horizontal flip."""

    flip: bool = False
    angle: float = 0.0

    def inverse(self) -> Move:
        """Return the move that undoes this one, up to interpolation; a flipped move is undone by itself."""
        return self if self.flip else Move(False, -self.angle)


def draw(config: Augmentation, rng: np.random.Generator) -> Move:
    """Draw a move: flip with probability one half, angle uniform within plus or minus `rotation_deg`."""
    flip, angle = rng.random() < 0.5, rng.uniform(-config.rotation_deg, config.rotation_deg)
    return Move(bool(flip and config.flip), float(angle))


def transform(
    image: Tensor, masks: Tensor, sides: list[str], move: Move
) -> tuple[Tensor, Tensor, Tensor, list[str], Tensor]:
    """Apply a move.

    Args:
        image: `(channels, rows, columns)`, any dtype, 0 to 255.
        masks: `(instances, rows, columns)` bool.
        sides: patient's side of each instance.
        move: what to do.

    Returns:
        Image float32, masks bool, boxes `(instances, 4)` around the masks, sides, and the indices of the instances
        that were kept: those whose mask keeps at least a quarter of its area.
    """
    before = masks.flatten(1).sum(1).float()
    moved, out = image.float(), masks
    if move != Move():
        warp = warp_opencv if image.device.type == "cpu" else warp_torch
        planes = warp(torch.cat([moved, masks.float()]), move)
        moved, out = planes[: len(image)], planes[len(image) :] >= 0.5
    after = out.flatten(1).sum(1).float()
    kept = ((after >= MIN_KEPT * before) & (after > 0)).nonzero()[:, 0]
    out = out[kept]
    sides = [_OTHER[sides[i]] if move.flip else sides[i] for i in kept.tolist()]
    return moved, out, boxes_around(out), sides, kept


def boxes_around(masks: Tensor) -> Tensor:
    """Return tight boxes `(n, 4)` around non-empty masks `(n, rows, columns)`, in pixels; x1 is past the last."""
    return masks_to_boxes(masks) + torch.tensor([0.0, 0, 1, 1], device=masks.device)


def warp_opencv(planes: Tensor, move: Move) -> Tensor:
    """Move planes `(n, rows, columns)` about the image centre: bilinear, zero from outside; on a CPU.

    Ten times faster than `warp_torch`, with which it agrees within OpenCV's fixed-point coordinates (1/32 pixel).
    """
    rows, columns = int(planes.shape[-2]), int(planes.shape[-1])
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    turn = _turn(move)
    inverse = np.column_stack([turn, centre - turn @ centre])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = [cv2.warpAffine(plane, inverse, (columns, rows), flags=flags) for plane in planes.numpy()]
    return torch.from_numpy(np.stack(moved))


def warp_torch(planes: Tensor, move: Move) -> Tensor:
    """Move planes `(n, rows, columns)` about the image centre, on any device."""
    rows, columns = int(planes.shape[-2]), int(planes.shape[-1])
    aspect = np.array([[1, rows / columns], [columns / rows, 1]])  # from pixels to the coordinates of `affine_grid`
    theta = torch.from_numpy(np.column_stack([_turn(move) * aspect, [0, 0]])).float()[None]
    grid = F.affine_grid(theta, [1, 1, rows, columns], align_corners=False).to(planes.device)
    return F.grid_sample(planes[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def _turn(move: Move) -> NDArray[np.float64]:
    """Return the matrix `(2, 2)` from places in the moved image to places in the image before, from the centre."""
    angle, sign = math.radians(move.angle), -1.0 if move.flip else 1.0
    return np.array([[sign * math.cos(angle), -sign * math.sin(angle)], [math.sin(angle), math.cos(angle)]])
