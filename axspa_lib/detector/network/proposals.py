"""Region proposal network: where in a slice a joint might be (Mask R-CNN's first stage).

Numbers and order of operations are Detectron2's: anchors are not rounded, the objectness loss is a sum over the
sampled anchors divided by their nominal number, the box loss is L1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import batched_nms, clip_boxes_to_image

from axspa_lib.detector.network.sampling import match, sample
from axspa_lib.study.config import Detector

Size = tuple[int, int]


def cell_anchors(size: float, aspect_ratios: Sequence[float]) -> Tensor:
    """Return anchors `(ratios, 4)` around the origin: an area of `size` squared, the given height over width."""
    widths = [(ratio, math.sqrt(size**2 / ratio)) for ratio in aspect_ratios]
    return torch.tensor([[-w / 2, -ratio * w / 2, w / 2, ratio * w / 2] for ratio, w in widths])


class ProposalNetwork(nn.Module):
    """Scores and shifts anchors on the pyramid's levels and keeps the best after non-maximum suppression."""

    def __init__(self, config: Detector) -> None:
        super().__init__()
        self.config = config
        self.head = RPNHead(config.fpn_channels, len(config.aspect_ratios))
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self._grids: dict[tuple[int, int, int, torch.device], Tensor] = {}

    def anchors(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the anchors of each level, `(rows * columns * ratios, 4)`, in pixels of the network's input."""
        return [self._grid(level, int(f.shape[-2]), int(f.shape[-1]), f.device) for level, f in enumerate(features)]

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness logits `(images, anchors)` and deltas `(images, anchors, 4)` of each level, as float32."""
        logits, deltas = self.head(list(features))
        logits = [v.permute(0, 2, 3, 1).flatten(1).float() for v in logits]
        deltas = [v.permute(0, 2, 3, 1).reshape(v.shape[0], -1, 4).float() for v in deltas]
        return logits, deltas

    @torch.no_grad()
    def select(
        self,
        anchors: list[Tensor],
        logits: list[Tensor],
        deltas: list[Tensor],
        sizes: Sequence[Size],
        before: int,
        kept: int,
    ) -> list[Tensor]:
        """Return the best proposals `(at most kept, 4)` of each image, best first, clipped to the image.

        `before` anchors of each level enter the non-maximum suppression.
        """
        scores, boxes, levels = [], [], []
        for level, (anchor, logit, delta) in enumerate(zip(anchors, logits, deltas, strict=True)):
            top, index = logit.topk(min(before, logit.shape[1]), dim=1)
            chosen = delta.gather(1, index[..., None].expand(-1, -1, 4))
            decoded = self.coder.decode_single(chosen.reshape(-1, 4), anchor[index].reshape(-1, 4))
            scores.append(top)
            boxes.append(decoded.reshape(len(index), -1, 4))
            levels.append(torch.full_like(index[0], level))
        all_scores, all_boxes, level_of = torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(levels)
        results = []
        for score, box, size in zip(all_scores, all_boxes, sizes, strict=True):
            finite = box.isfinite().all(1) & score.isfinite()
            box = clip_boxes_to_image(box, size)
            valid = finite & (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
            box, score = box[valid], score[valid]
            results.append(box[batched_nms(box, score, level_of[valid], self.config.proposal_nms)[:kept]])
        return results

    def losses(
        self,
        anchors: list[Tensor],
        logits: list[Tensor],
        deltas: list[Tensor],
        boxes: Sequence[Tensor],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Return losses of the sampled anchors; `boxes` are the instances of each image, `(n, 4)`."""
        anchor, logit, delta = torch.cat(anchors), torch.cat(logits, 1), torch.cat(deltas, 1)
        objectness, location = logit.sum() * 0, delta.sum() * 0
        for image, instances in enumerate(boxes):
            matched = match(instances, anchor, 0.3, 0.7, at_least_one=True)
            positive, negative = sample(matched >= 0, matched == -1, self.config.anchors_per_image, 0.5, generator)
            chosen = torch.cat([positive, negative])
            truth = torch.zeros_like(logit[image, chosen])
            truth[: len(positive)] = 1
            objectness = objectness + F.binary_cross_entropy_with_logits(logit[image, chosen], truth, reduction="sum")
            if len(positive):
                target = self.coder.encode_single(instances[matched[positive]], anchor[positive])
                location = location + (delta[image, positive] - target).abs().sum()
        count = self.config.anchors_per_image * len(boxes)
        return {"loss_rpn_cls": objectness / count, "loss_rpn_loc": location / count}

    def _grid(self, level: int, rows: int, columns: int, device: torch.device) -> Tensor:
        key = (level, rows, columns, device)
        if key in self._grids:
            return self._grids[key]
        with torch.inference_mode(False):  # kept for later trainings too
            stride = 2 ** (level + 2)
            y = torch.arange(rows, dtype=torch.float32) * stride
            x = torch.arange(columns, dtype=torch.float32) * stride
            yy, xx = (v.reshape(-1) for v in torch.meshgrid(y, x, indexing="ij"))
            shifts = torch.stack([xx, yy, xx, yy], 1)
            cell = cell_anchors(self.config.anchor_sizes[level], self.config.aspect_ratios)
            self._grids[key] = (shifts[:, None] + cell[None]).reshape(-1, 4).to(device)
        return self._grids[key]
