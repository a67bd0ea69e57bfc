"""Random rotation and flip, applied together to image, masks, boxes and sides (section 3.2.1).

Drawing and applying are apart: `draw` makes the parameters, `transform` applies given ones, so that a transformation
can be replayed, tested and inverted. Everything runs on the device of the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from axspa_lib.config import Augmentation
from axspa_lib.labels import LEFT, RIGHT

#: An instance that keeps less than this share of its area inside the image is lost.
MIN_KEPT = 0.25

_OTHER = {RIGHT: LEFT, LEFT: RIGHT}


@dataclass(frozen=True)
class Move:
    """A rotation about the image centre (degrees, counter-clockwise as seen) after an optional horizontal flip."""

    flip: bool = False
    angle: float = 0.0

    def inverse(self) -> Move:
        """The move that undoes this one (up to interpolation and what left the image).

        A flip reverses the sense of rotation, so a flipped move is undone by itself.
        """
        return self if self.flip else Move(False, -self.angle)


def draw(config: Augmentation, rng: np.random.Generator) -> Move:
    """Draw a move: flip with probability one half, angle uniform within plus or minus `rotation_deg`."""
    flip, angle = rng.random() < 0.5, rng.uniform(-config.rotation_deg, config.rotation_deg)
    return Move(bool(flip and config.flip), float(angle))


def transform(
    image: Tensor, masks: Tensor, sides: list[str], move: Move, size: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor, Tensor, list[str], Tensor]:
    """Apply a move, and the change to `size` (rows, columns) in the same interpolation.

    Args:
        image: `(channels, rows, columns)`, any dtype, 0 to 255.
        masks: `(instances, rows, columns)` bool.
        sides: patient's side of each instance.
        move: what to do.
        size: rows and columns of the output; the input's without it.

    Returns:
        Image float32, masks bool, boxes `(instances, 4)` around the masks, sides, and the indices of the instances
        that were kept: those whose mask keeps at least a quarter of its area.
    """
    size = (int(image.shape[-2]), int(image.shape[-1])) if size is None else size
    before = masks.flatten(1).sum(1).float()
    scale = size[0] * size[1] / (image.shape[-2] * image.shape[-1])
    if move == Move() and size == tuple(image.shape[-2:]):
        moved, out = image.float(), masks
    else:
        grid = _grid(move, tuple(image.shape[-2:]), size, image.device)
        stack = torch.cat([image.float(), masks.float()])[None]
        sampled = F.grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        moved, out = sampled[: len(image)], sampled[len(image) :] >= 0.5
    after = out.flatten(1).sum(1).float()
    kept = ((after >= MIN_KEPT * scale * before) & (after > 0)).nonzero()[:, 0]
    out = out[kept]
    sides = [_OTHER[sides[i]] if move.flip else sides[i] for i in kept.tolist()]
    return moved, out, boxes_around(out), sides, kept


def boxes_around(masks: Tensor) -> Tensor:
    """Tight boxes `(n, 4)` around non-empty masks `(n, rows, columns)`, in continuous pixels (x1 is past the last)."""
    boxes = torch.zeros((len(masks), 4), dtype=torch.float32, device=masks.device)
    for axis, (low, high) in ((1, (0, 2)), (2, (1, 3))):
        line = masks.any(axis)
        places = torch.arange(line.shape[1], device=masks.device)
        boxes[:, low] = torch.where(line, places, line.shape[1]).amin(1) if len(masks) else boxes[:, low]
        boxes[:, high] = torch.where(line, places + 1, 0).amax(1).float() if len(masks) else boxes[:, high]
    return boxes


def _grid(move: Move, source: tuple[int, ...], size: tuple[int, int], device: torch.device) -> Tensor:
    """Sampling grid `(1, rows, columns, 2)` in the normalised coordinates of `grid_sample`."""
    angle = math.radians(move.angle)
    cos, sin, aspect = math.cos(angle), math.sin(angle), source[0] / source[1]
    sign = -1.0 if move.flip else 1.0
    theta = torch.tensor([[[sign * cos, -sign * sin * aspect, 0.0], [sin / aspect, cos, 0.0]]])
    return F.affine_grid(theta, [1, 1, *size], align_corners=False).to(device)
