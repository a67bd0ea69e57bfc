"""Second stage of Mask R-CNN: class, box and mask of each proposal, with Detectron2's conventions.

Classes count from 0 (healthy, inflamed) and the background comes last; ROIs are aligned by half a pixel; mask targets
are cropped with the same aligned pooling and made binary at one half.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import batched_nms, clip_boxes_to_image, roi_align

from axspa_lib.detector.network.interface import Detections, Target
from axspa_lib.detector.network.sampling import match, sample
from axspa_lib.study.config import Detector

CLASSES = 2
BACKGROUND = CLASSES
_BOX_POOL, _MASK_POOL, _MASK_SIZE = 7, 14, 28

#: A region of this many pixels squared belongs to this level (equation 1 of the FPN paper).
_CANONICAL_PIXELS, _CANONICAL_LEVEL = 224.0, 4


def level_of(boxes: Tensor, levels: int) -> Tensor:
    """Return which of the `levels` from p2 on each region `(n, 4)` belongs to by its area, from 0."""
    extent = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(extent / _CANONICAL_PIXELS + 1e-8))
    return level.clamp(2, 1 + levels).to(torch.int64) - 2


def pool(features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """Pool aligned regions, each from the level its area belongs to (equation 1 of the FPN paper).

    Args:
        features: levels p2, p3, … `(images, channels, rows, columns)`.
        boxes: regions of each image `(n, 4)` in pixels of the network's input.
        size: rows and columns of the output.

    Returns:
        `(all regions, channels, size, size)`, image after image.
    """
    images = torch.cat([b.new_full((len(b), 1), i) for i, b in enumerate(boxes)])
    flat = torch.cat(list(boxes))
    regions = torch.cat([images, flat], 1)
    level = level_of(flat, len(features))
    pooled = features[0].new_zeros((len(flat), features[0].shape[1], size, size), dtype=torch.float32)
    for number, feature in enumerate(features):
        index = (level == number).nonzero()[:, 0]
        if len(index):
            taken = roi_align(feature.float(), regions[index], size, 2.0 ** -(number + 2), 0, aligned=True)
            pooled = pooled.index_put((index,), taken)
    return pooled


class RoiHeads(nn.Module):
    """Box head, mask head, their losses and the final selection of detections."""

    def __init__(self, config: Detector) -> None:
        super().__init__()
        self.config = config
        self.coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.box_head = TwoMLPHead(config.fpn_channels * _BOX_POOL**2, config.box_head_dim)
        self.classifier = nn.Linear(config.box_head_dim, CLASSES + 1)
        self.regressor = nn.Linear(config.box_head_dim, CLASSES * 4)
        self.mask_head = MaskRCNNHeads(config.fpn_channels, (config.mask_head_dim,) * 4, 1)
        self.mask_predictor = MaskRCNNPredictor(config.mask_head_dim, config.mask_head_dim, CLASSES)
        for layer in (self.box_head.fc6, self.box_head.fc7):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        for layer, spread in ((self.classifier, 0.01), (self.regressor, 0.001)):
            nn.init.normal_(layer.weight, std=spread)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.mask_predictor.mask_fcn_logits.weight, std=0.001)

    def box_logits(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return class logits `(regions, classes + 1)` and deltas `(regions, classes, 4)`, float32."""
        value = self.box_head(pool(features, boxes, _BOX_POOL))
        return self.classifier(value).float(), self.regressor(value).float().unflatten(1, (CLASSES, 4))

    def mask_logits(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Return mask logits `(regions, classes, 28, 28)`, float32."""
        return self.mask_predictor(self.mask_head(pool(features, boxes, _MASK_POOL))).float()

    def losses(
        self,
        features: Sequence[Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Return the losses of the sampled regions; the instances themselves are among the candidates."""
        regions, labels, owned, wanted = [], [], [], []
        for boxes, target in zip(proposals, targets, strict=True):
            boxes = torch.cat([boxes, target.boxes])
            matched = match(target.boxes, boxes, 0.5, 0.5, at_least_one=False)
            count, fraction = self.config.rois_per_image, self.config.positive_fraction
            positive, negative = sample(matched >= 0, matched == -1, count, fraction, generator)
            index = torch.cat([positive, negative])
            owner = matched[index]
            label = torch.full_like(owner, BACKGROUND)
            label[owner >= 0] = target.labels[owner[owner >= 0]]
            regions.append(boxes[index])
            labels.append(label)
            owned.append(owner[: len(positive)])
            wanted.append(boxes[positive])
        label = torch.cat(labels)
        logits, deltas = self.box_logits(features, regions)
        losses = {"loss_cls": F.cross_entropy(logits, label) if len(label) else logits.sum()}
        foreground = (label != BACKGROUND).nonzero()[:, 0]
        if len(foreground) == 0:
            return losses | {"loss_box_reg": deltas.sum() * 0, "loss_mask": logits.sum() * 0}
        truth = torch.cat([t.boxes[o] for t, o in zip(targets, owned, strict=True)])
        encoded = self.coder.encode_single(truth, torch.cat(wanted))
        chosen_deltas = deltas[foreground, label[foreground]]
        losses["loss_box_reg"] = (chosen_deltas - encoded).abs().sum() / max(len(label), 1)
        mask_logits = self.mask_logits(features, wanted)
        mask_logits = mask_logits[torch.arange(len(foreground), device=label.device), label[foreground]]
        masks = torch.cat([crop_masks(t.masks, o, w) for t, o, w in zip(targets, owned, wanted, strict=True) if len(o)])
        losses["loss_mask"] = F.binary_cross_entropy_with_logits(mask_logits, masks)
        return losses

    @torch.no_grad()
    def detect(
        self, features: Sequence[Tensor], proposals: Sequence[Tensor], sizes: Sequence[tuple[int, int]], floor: float
    ) -> list[Detections]:
        """Return detections scored above `floor` after suppression per class, masks of the kept ones only."""
        logits, deltas = self.box_logits(features, proposals)
        counts = [len(p) for p in proposals]
        probabilities = logits.softmax(1)
        decoded = self.coder.decode_single(deltas.flatten(1), torch.cat(list(proposals))).reshape(-1, CLASSES, 4)
        kept = [
            self._select(boxes, probability, size, floor)
            for boxes, probability, size in zip(decoded.split(counts), probabilities.split(counts), sizes, strict=True)
        ]
        boxes = [k[0] for k in kept]
        labels = torch.cat([k[2] for k in kept])
        masks = decoded.new_zeros((0, _MASK_SIZE, _MASK_SIZE))
        if len(labels):
            masks = self.mask_logits(features, boxes)
            masks = masks[torch.arange(len(labels), device=labels.device), labels].sigmoid()
        return [
            Detections(box, score, label, probability, mask)
            for (box, score, label, probability), mask in zip(kept, masks.split([len(b) for b in boxes]), strict=True)
        ]

    def _select(
        self, boxes: Tensor, probabilities: Tensor, size: tuple[int, int], floor: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        finite = boxes.flatten(1).isfinite().all(1) & probabilities.isfinite().all(1)
        boxes, probabilities = clip_boxes_to_image(boxes[finite], size), probabilities[finite, :CLASSES]
        region, label = (probabilities > floor).nonzero(as_tuple=True)
        box, score = boxes[region, label], probabilities[region, label]
        keep = batched_nms(box, score, label, self.config.detection_nms)[: self.config.detections_per_image]
        return box[keep], score[keep], label[keep], probabilities[region[keep]]


def crop_masks(masks: Tensor, owner: Tensor, boxes: Tensor) -> Tensor:
    """Return mask targets `(regions, 28, 28)`, 0 or 1: the owner's part of `masks` inside each region."""
    regions = torch.cat([owner[:, None].to(boxes), boxes], 1)
    cropped = roi_align(masks[:, None].float(), regions, _MASK_SIZE, 1.0, 0, aligned=True)
    return (cropped[:, 0] >= 0.5).float()
