"""The paper's own implementation: Detectron2's Mask R-CNN behind this library's interface (section 3.2.1).

Detectron2 has no release on the package index; where it is installed, `implementation="detectron2"` selects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn

from axspa_lib.detector.network.interface import Detections, DetectorNetwork, Target
from axspa_lib.study.config import Detector
from axspa_lib.study.errors import ConfigError

_MODEL = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
INSTALL = (
    "detector.implementation is 'detectron2', which is not installed: run `pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git' 'setuptools<82'`, or choose 'torchvision', the same model"
)


def detectron2_config(config: Detector) -> Any:
    """Return Detectron2's node of the configured detector: its `mask_rcnn_R_50_FPN_3x` with the overrides.

    Raises:
        ConfigError: Detectron2 is not installed, or cannot build this network.
    """
    try:
        from detectron2.config import get_cfg
    except ImportError:
        raise ConfigError(INSTALL) from None
    if config.width != 64:
        raise ConfigError("parameter detector.width: Detectron2 builds its ResNets with 64 only; use 'torchvision'")
    if config.norm == "group_norm" and config.fpn_channels < 64:
        raise ConfigError(
            "parameter detector.fpn_channels: Detectron2's group norm has 32 groups, which is another network below 64 "
            "channels; use 64 or more, or 'torchvision'"
        )
    node = get_cfg()
    node.merge_from_file(str(files("detectron2") / "model_zoo/configs" / _MODEL))
    model, rpn, heads = node.MODEL, node.MODEL.RPN, node.MODEL.ROI_HEADS
    model.WEIGHTS, model.DEVICE = "", "cpu"
    model.BACKBONE.FREEZE_AT = 0  # done by `start_weights`, after loading
    if config.backbone == "resnet18":
        model.RESNETS.DEPTH, model.RESNETS.RES2_OUT_CHANNELS = 18, 64
    if config.norm == "group_norm":
        model.RESNETS.NORM = model.FPN.NORM = "GN"
    model.FPN.OUT_CHANNELS = config.fpn_channels
    model.ANCHOR_GENERATOR.SIZES = [[float(size)] for size in config.anchor_sizes]
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(config.aspect_ratios)]
    rpn.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"][: len(config.anchor_sizes)]
    rpn.BATCH_SIZE_PER_IMAGE, rpn.NMS_THRESH = config.anchors_per_image, config.proposal_nms
    rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST = config.train_candidates, config.test_candidates
    rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST = config.train_proposals, config.test_proposals
    heads.NUM_CLASSES, heads.BATCH_SIZE_PER_IMAGE = 2, config.rois_per_image
    heads.POSITIVE_FRACTION = config.positive_fraction
    heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST = config.store_threshold, config.detection_nms
    model.ROI_BOX_HEAD.FC_DIM, model.ROI_MASK_HEAD.CONV_DIM = config.box_head_dim, config.mask_head_dim
    node.TEST.DETECTIONS_PER_IMAGE = config.detections_per_image
    return node


class Detectron2Detector(DetectorNetwork):
    """Genuine Detectron2 `GeneralizedRCNN`; its parameters are `network`'s, with its own names."""

    def __init__(self, config: Detector) -> None:
        super().__init__()
        node = detectron2_config(config)
        from detectron2.modeling import build_model

        self.config = config
        self.network = build_model(node)

    def weights(self) -> nn.Module:
        return self.network

    def freeze(self, stages: int) -> None:
        self.network.backbone.bottom_up.freeze(stages)

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[Target], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the losses of a batch, by Detectron2."""
        from detectron2.structures import BitMasks, Boxes, Instances
        from detectron2.utils.events import EventStorage

        items = []
        for image, target in zip(images, targets, strict=True):
            instances = Instances(tuple(image.shape[-2:]), gt_boxes=Boxes(target.boxes), gt_classes=target.labels)
            instances.gt_masks = BitMasks(target.masks)
            items.append({"image": image, "instances": instances})
        self.network.train()
        device = self.network.device
        with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=generator is not None):
            if generator is not None:
                drawn = torch.randint(2**31, (1,), generator=generator, device=generator.device)
                torch.manual_seed(int(drawn))
            with EventStorage():
                return self.network(items)

    @torch.no_grad()
    def detect(self, images: Sequence[Tensor], floor: float | None = None) -> list[Detections]:
        """Return the detections of each image, by Detectron2."""
        self.network.eval()
        heads = self.network.roi_heads
        heads.box_predictor.test_score_thresh = self.config.store_threshold if floor is None else floor
        batch = self.network.preprocess_image([{"image": image} for image in images])
        features = self.network.backbone(batch.tensor)
        proposals, _ = self.network.proposal_generator(batch, features, None)
        pooled = heads.box_pooler([features[f] for f in heads.box_in_features], [p.proposal_boxes for p in proposals])
        predictions = heads.box_predictor(heads.box_head(pooled))
        found, regions = heads.box_predictor.inference(predictions, proposals)
        probabilities = heads.box_predictor.predict_probs(predictions, proposals)
        found = heads.forward_with_given_boxes(features, found)
        return [
            Detections(
                f.pred_boxes.tensor, f.scores, f.pred_classes, p[index][:, :-1].float(), f.pred_masks[:, 0].float()
            )
            for f, p, index in zip(found, probabilities, regions, strict=True)
        ]
