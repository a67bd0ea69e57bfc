"""The paper's network laid out once for inference on a CPU: the same function in float32, in about half the time.

Frozen norms are folded into the convolutions, rectifiers and the sums of residual blocks are fused into them, and
every weight is stored in the order in which oneDNN reads it (what `torch.compile` does when it freezes a module, but
without a compiler). Nothing is left out: every proposal is judged. The operators are torch's own, `torch.ops.mkldnn`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from axspa_lib.config import Detector
from axspa_lib.detector.backbone import FoldedBasicBlock, FoldedBottleneck, Stem
from axspa_lib.detector.interface import DetectorNetwork
from axspa_lib.detector.lookup import pool_by_lookup
from axspa_lib.detector.model import MaskRCNN
from axspa_lib.detector.roi_heads import CLASSES, RoiHeads

_BOX_POOL, _MASK_POOL = 7, 14  # as in `roi_heads`
log = logging.getLogger(__name__)


def for_inference(model: DetectorNetwork, config: Detector, device: str) -> DetectorNetwork:
    """A packed copy where it computes the same faster, else the model as it is.

    That is: our own network with frozen norms, in float32 on a CPU with oneDNN. Mixed precision and group norm gain
    nothing from it. A packed network cannot be trained or saved; keep the model for that.
    """
    fits = isinstance(model, MaskRCNN) and config.norm == "frozen_bn" and config.precision == "float32"
    if not fits or torch.device(device).type != "cpu":
        return model
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        log.info("torch has no oneDNN here: the network runs as it was trained")
        return model
    return packed(cast(MaskRCNN, model))


@torch.no_grad()
def packed(model: MaskRCNN) -> MaskRCNN:
    """A copy of a network whose convolutions and dense layers are packed; frozen norms are folded in, others stay."""
    made = copy.deepcopy(model).eval().cpu()
    _replace(made)
    made.roi_heads = PackedHeads(made.roi_heads)
    return made


class PackedConv(nn.Module):
    """A convolution, with its norm folded in and followed by a rectifier where asked for."""

    def __init__(self, conv: nn.Conv2d, norm: FrozenBatchNorm2d | None = None, relu: bool = False) -> None:
        super().__init__()
        weight, bias = (conv.weight, conv.bias) if norm is None else _folded(conv, norm)
        self.bias = None if bias is None else bias.detach().clone()
        padding, stride, dilation = (list(cast(tuple[int, int], v)) for v in (conv.padding, conv.stride, conv.dilation))
        self.shape: tuple[Any, ...] = (padding, stride, dilation, conv.groups)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight.detach().contiguous(), *self.shape)
        self.activation = "relu" if relu else "none"

    def forward(self, value: Tensor) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(
            value, self.weight, self.bias, *self.shape, self.activation, [], ""
        ))  # fmt: skip

    def added(self, value: Tensor, other: Tensor) -> Tensor:
        """`relu(conv(value) + other)` in one pass."""
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise.binary(
            value, other, self.weight, self.bias, *self.shape, "add", 1.0, "relu", [], None
        ))  # fmt: skip


class PackedLinear(nn.Module):
    """A dense layer."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().contiguous())
        self.bias = layer.bias.detach().clone()

    def forward(self, value: Tensor) -> Tensor:
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(value, self.weight, self.bias, "none", [], ""))


class PackedStem(nn.Module):
    """The first convolution, its rectifier and the pooling."""

    def __init__(self, stem: Stem) -> None:
        super().__init__()
        self.conv = PackedConv(stem.conv1, stem.bn1, relu=True)

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(self.conv(images), 3, 2, 1)


class PackedBlock(nn.Module):
    """A residual block of either kind."""

    def __init__(self, block: FoldedBasicBlock | FoldedBottleneck) -> None:
        super().__init__()
        pairs: list[Any] = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, FoldedBottleneck):
            pairs.append((block.conv3, block.bn3))
        self.first = nn.Sequential(*(PackedConv(conv, norm, relu=True) for conv, norm in pairs[:-1]))
        self.last = PackedConv(*pairs[-1])
        self.shortcut = None if block.downsample is None else PackedConv(*cast(Any, block.downsample))

    def forward(self, value: Tensor) -> Tensor:
        return self.last.added(self.first(value), value if self.shortcut is None else self.shortcut(value))


class PackedHeads(RoiHeads):
    """Box and mask heads that pool by look-up."""

    def __init__(self, heads: RoiHeads) -> None:
        nn.Module.__init__(self)
        self.config, self.coder = heads.config, heads.coder
        for name, child in heads.named_children():
            self.add_module(name, child)

    def box_logits(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        value = self.box_head(pool_by_lookup(features, boxes, _BOX_POOL))
        return self.classifier(value).float(), self.regressor(value).float().unflatten(1, (CLASSES, 4))

    def mask_logits(self, features: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        logits: Tensor = self.mask_predictor(self.mask_head(pool_by_lookup(features, boxes, _MASK_POOL)))
        return logits.float()


def _replace(module: nn.Module) -> None:
    """Put packed parts in the place of those below `module`."""
    for name, child in module.named_children():
        frozen = isinstance(getattr(child, "bn1", None), FrozenBatchNorm2d)
        if isinstance(child, Stem) and frozen:
            module.add_module(name, PackedStem(child))
        elif isinstance(child, FoldedBasicBlock | FoldedBottleneck) and frozen:
            module.add_module(name, PackedBlock(child))
        elif isinstance(child, nn.Conv2d):
            module.add_module(name, PackedConv(child))
        elif isinstance(child, nn.Linear):
            module.add_module(name, PackedLinear(child))
        else:
            _replace(child)


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of the convolution that does what `conv` and then `norm` do."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
