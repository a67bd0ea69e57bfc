"""Matching of boxes to instances and random sampling of the matched ones, as Detectron2 does both."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou


def match(instances: Tensor, boxes: Tensor, low: float, high: float, *, at_least_one: bool) -> Tensor:
    """Return the index of the instance that each box is an example of.

    Args:
        instances: `(instances, 4)`, pixels.
        boxes: `(boxes, 4)`, pixels.
        low: overlap (IoU) below which a box is background.
        high: overlap from which on a box is an example.
        at_least_one: every instance also takes the boxes that overlap it most, however little.

    Returns:
        `(boxes,)` int64: instance index, -1 for background, -2 for an overlap between `low` and `high`.
    """
    if len(instances) == 0 or len(boxes) == 0:
        return boxes.new_full((len(boxes),), -1, dtype=torch.int64)
    return Matcher(high, low, allow_low_quality_matches=at_least_one)(box_iou(instances, boxes))


def sample(
    positive: Tensor, negative: Tensor, count: int, fraction: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw at most `count` examples, at most `fraction` of them positive.

    Args:
        positive: `(boxes,)` bool.
        negative: `(boxes,)` bool.
        count: examples to draw altogether.
        fraction: largest share of positive ones.
        generator: source of the draws, on the device of the masks.

    Returns:
        Indices of the positive and of the negative examples drawn.
    """
    ones, zeros = positive.nonzero()[:, 0], negative.nonzero()[:, 0]
    wanted = min(len(ones), int(count * fraction))
    first = torch.randperm(len(ones), generator=generator, device=ones.device)[:wanted]
    second = torch.randperm(len(zeros), generator=generator, device=zeros.device)[: count - wanted]
    return ones[first], zeros[second]
