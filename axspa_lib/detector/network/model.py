"""Mask R-CNN as one module: Detectron2's `mask_rcnn_R_50_FPN_3x` with two classes, in torchvision parts (3.2.1).

Images are float tensors with values 0 to 255, channels as the configuration says (fed as Detectron2's B, G, R).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from axspa_lib.detector.network.backbone import Backbone
from axspa_lib.detector.network.checkpoint import load_weights, read_checkpoint
from axspa_lib.detector.network.interface import Detections, DetectorNetwork, Target
from axspa_lib.detector.network.proposals import ProposalNetwork
from axspa_lib.detector.network.roi_heads import RoiHeads
from axspa_lib.detector.network.start import start_weights
from axspa_lib.study.config import Detector

#: Mean of ImageNet in blue, green, red (Detectron2's `MODEL.PIXEL_MEAN`); the standard deviation is one.
PIXEL_MEAN = (103.530, 116.280, 123.675)
_DIVISOR = 32

#: Feature levels from p2, objectness logits and box deltas of the levels with anchors (`ProposalNetwork.forward`).
FirstStage = tuple[list[Tensor], list[Tensor], list[Tensor]]


class MaskRCNN(DetectorNetwork):
    """The detector; `losses` trains it, `detect` runs it."""

    pixel_mean: Tensor

    def __init__(self, config: Detector) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.proposals = ProposalNetwork(config)
        self.roi_heads = RoiHeads(config)
        # group norm is up to 17 times slower in channels-last on a CPU; frozen batch norm and convolutions are faster
        self.memory_format = torch.channels_last if config.norm == "frozen_bn" else torch.contiguous_format
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(1, 3, 1, 1), persistent=False)

    def batch(self, images: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
        """Normalise images `(3, rows, columns)` and pad them with zeros to one size, a multiple of 32."""
        sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
        rows, columns = (-(-max(s[axis] for s in sizes) // _DIVISOR) * _DIVISOR for axis in (0, 1))
        normal = [i.to(self.pixel_mean.device, torch.float32) - self.pixel_mean[0] for i in images]
        padded = [F.pad(i, (0, columns - i.shape[-1], 0, rows - i.shape[-2])) for i in normal]
        return torch.stack(padded).contiguous(memory_format=self.memory_format), sizes

    def first_stage(self, batch: Tensor) -> FirstStage:
        """Return feature levels, objectness logits and box deltas of a normalised batch."""
        features = self.backbone(batch)
        return features, *self.proposals(features[: len(self.config.anchor_sizes)])

    def freeze(self, stages: int) -> None:
        self.backbone.freeze(stages)

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[Target], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of a batch by name, to be summed."""
        batch, sizes = self.batch(images)
        features, logits, deltas = self.first_stage(batch)
        anchors = self.proposals.anchors(features[: len(logits)])
        losses = self.proposals.losses(anchors, logits, deltas, [t.boxes for t in targets], generator)
        proposals = self.proposals.select(
            anchors, logits, deltas, sizes, self.config.train_candidates, self.config.train_proposals
        )
        return losses | self.roi_heads.losses(features[:4], proposals, targets, generator)

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], floor: float | None = None) -> list[Detections]:
        """Return detections of each image that score above `floor` (default: the stored ones)."""
        batch, sizes = self.batch(images)
        features, logits, deltas = self.first_stage(batch)
        anchors = self.proposals.anchors(features[: len(logits)])
        proposals = self.proposals.select(
            anchors, logits, deltas, sizes, self.config.test_candidates, self.config.test_proposals
        )
        floor = self.config.store_threshold if floor is None else floor
        return self.roi_heads.detect(features[:4], proposals, sizes, floor)


def build_detector(config: Detector) -> DetectorNetwork:
    """Return the configured implementation with its start weights; what was loaded is its `started_from`.

    Raises:
        ConfigError: `implementation` is detectron2 and it is not installed; says how to install it.
        DataError: the start weights are not at hand or do not fit; says what to do.
    """
    model = build_network(config)
    model.started_from = start_weights(model, config)
    return model


def load_detector(config: Detector, checkpoint: Path) -> DetectorNetwork:
    """Return the configured implementation with the weights of a checkpoint, e.g. a training's `model.pt`.

    Raises:
        ConfigError: as `build_detector`.
        DataError: the checkpoint is missing, damaged or of another network.
    """
    model = build_network(config)
    load_weights(model, read_checkpoint(checkpoint), checkpoint.name)
    model.started_from = {"start": "checkpoint", "file": checkpoint.name}
    return model


def build_network(config: Detector) -> DetectorNetwork:
    """Return the configured implementation with random weights, drawn from torch's global generator."""
    if config.implementation == "detectron2":
        from axspa_lib.detector.network.detectron2_backend import Detectron2Detector

        return Detectron2Detector(config)
    return MaskRCNN(config)
