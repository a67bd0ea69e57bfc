"""The stock library to compare with: torchvision's own Mask R-CNN, unchanged, with the numbers and weights of ours."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FrozenBatchNorm2d

from axspa_lib.detector.network import model as ours

_RENAMED = {
    "backbone.stem.": "backbone.body.",
    **{f"backbone.res{stage}.": f"backbone.body.layer{stage - 1}." for stage in range(2, 6)},
    "proposals.": "rpn.",
    "roi_heads.classifier.": "roi_heads.box_predictor.cls_score.",
    "roi_heads.regressor.": "roi_heads.box_predictor.bbox_pred.",
}


def stock_network(network: ours.MaskRCNN, size: int) -> nn.Module:
    """torchvision's network with the weights of `network`, for images with values from 0 to 1 of the same channels.

    Slices of `size` rows and columns keep their size.

    It keeps what is torchvision's own: rounded anchors, pooling without the half pixel and with two samples a bin.
    """
    config = network.config
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d, trainable_layers=5 - config.freeze_at
    )
    stock = MaskRCNN(
        backbone, 3, min_size=size, max_size=size,
        image_mean=[v / 255 for v in ours.PIXEL_MEAN], image_std=[1 / 255] * 3,
        rpn_pre_nms_top_n_train=config.train_candidates, rpn_post_nms_top_n_train=config.train_proposals,
        rpn_pre_nms_top_n_test=config.test_candidates, rpn_post_nms_top_n_test=config.test_proposals,
        box_batch_size_per_image=config.rois_per_image, box_score_thresh=config.store_threshold,
        box_detections_per_img=config.detections_per_image,
    )  # fmt: skip
    for block in stock.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    stock.load_state_dict(_converted(network))
    return stock


def _converted(network: ours.MaskRCNN) -> dict[str, Tensor]:
    """Weights by torchvision's names; its classes begin with the background."""
    weights = {}
    for name, value in network.state_dict().items():
        new = next((new + name.removeprefix(old) for old, new in _RENAMED.items() if name.startswith(old)), name)
        if "cls_score" in new:
            value = value[[2, 0, 1]]
        elif "bbox_pred" in new and "box_predictor" in new:
            value = torch.cat([torch.zeros_like(value[:4]), value])
        elif "mask_fcn_logits" in new:
            value = torch.cat([torch.zeros_like(value[:1]), value])
        weights[new] = value
    return weights
