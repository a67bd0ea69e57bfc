"""The paper's network laid out once for inference on a CPU: the same detections in less than half the time.

Frozen norms are folded into the convolutions, rectifiers and the sums of residual blocks are fused into them, and
every weight is stored in the order in which oneDNN reads it (what `torch.compile` does when it freezes a module, but
without a compiler). Wide 3 x 3 convolutions run as `winograd` does, wide 1 x 1 ones as dense layers, pooling as in
`lookup`, and the box head judges in float32 what `screen` cannot rule out. The operators are torch's own,
`torch.ops.mkldnn`. What this changes in detections of held-out slices is measured by `savings`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from axspa_lib.config import Detector
from axspa_lib.detector.backbone import FoldedBasicBlock, FoldedBottleneck, Stem
from axspa_lib.detector.interface import DetectorNetwork
from axspa_lib.detector.model import MaskRCNN
from axspa_lib.detector.roi_heads import RoiHeads
from axspa_lib.detector.screen import WATCHED, Screen, best_class, left_open, trusted
from axspa_lib.detector.winograd import WinogradConv
from axspa_lib.precision import multiplies_bfloat16

_BOX_POOL = 7  # as in `roi_heads`
#: Where Winograd pays: channels in and out, and cells of the input; beyond 256 channels its weights outgrow the cache.
_WINOGRAD_CHANNELS, _WINOGRAD_CELLS = 256, 1024
#: oneDNN's 1 x 1 convolution is up to 16 times slower than its dense layer on as many channels as this, or more.
_DENSE_CHANNELS = 2048
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
    screen = Screen(made.roi_heads.box_head, made.roi_heads.classifier) if multiplies_bfloat16() else None
    _replace(made)
    made.roi_heads = PackedHeads(made.roi_heads, screen)
    return made


class PackedConv(nn.Module):
    """A convolution, with its norm folded in and followed by a rectifier where asked for."""

    def __init__(self, conv: nn.Conv2d, norm: FrozenBatchNorm2d | None = None, relu: bool = False) -> None:
        super().__init__()
        weight, bias = (conv.weight, conv.bias) if norm is None else _folded(conv, norm)
        self.bias = None if bias is None else bias.detach().clone()
        padding, stride, dilation = (list(cast(tuple[int, int], v)) for v in (conv.padding, conv.stride, conv.dilation))
        self.shape: tuple[Any, ...] = (padding, stride, dilation, conv.groups)
        self.activation = "relu" if relu else "none"
        weight = weight.detach().contiguous()
        pointwise = conv.kernel_size == (1, 1) and conv.groups == 1 and conv.stride == (1, 1)
        self.dense = pointwise and conv.in_channels >= _DENSE_CHANNELS
        self.winograd = WinogradConv(weight, self.bias, relu) if _suits_winograd(conv) else None
        if self.dense:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.flatten(1))
        else:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.shape)

    def forward(self, value: Tensor) -> Tensor:
        """The convolution, by the way that suits its channels and cells."""
        if self.dense:
            flat = value.permute(0, 2, 3, 1)
            made = torch.ops.mkldnn._linear_pointwise(flat, self.weight, self.bias, self.activation, [], "")
            return cast(Tensor, made.permute(0, 3, 1, 2))
        if self.winograd is not None and value.shape[-2] * value.shape[-1] >= _WINOGRAD_CELLS:
            return self.winograd(value)
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise(
            value, self.weight, self.bias, *self.shape, self.activation, [], ""
        ))  # fmt: skip

    def added(self, value: Tensor, other: Tensor, relu: bool) -> Tensor:
        """`conv(value) + other` in one pass, rectified where asked for."""
        if self.dense:
            made = self(value).add_(other)
            return made.relu_() if relu else made
        return cast(Tensor, torch.ops.mkldnn._convolution_pointwise.binary(
            value, other, self.weight, self.bias, *self.shape, "add", 1.0, "relu" if relu else None, [], None
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
        return self.last.added(self.first(value), value if self.shortcut is None else self.shortcut(value), True)


class PackedPyramid(nn.Module):
    """The feature pyramid; a level's own features and those from above are added where they are made."""

    def __init__(self, fpn: FeaturePyramidNetwork) -> None:
        super().__init__()
        self.inner = nn.ModuleList(PackedConv(block[0]) for block in cast(Any, fpn.inner_blocks))
        self.layers = nn.ModuleList(PackedConv(block[0]) for block in cast(Any, fpn.layer_blocks))

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """Levels p2 to p6 of the stages' features, by name."""
        names, values = list(features), list(features.values())
        value = self.inner[-1](values[-1])
        levels = [value]
        for stage, own in zip(list(self.inner)[-2::-1], values[-2::-1], strict=True):
            above = F.interpolate(value, size=own.shape[-2:], mode="nearest")
            value = cast(PackedConv, stage).added(own, above, False)
            levels.insert(0, value)
        made = [layer(level) for layer, level in zip(self.layers, levels, strict=True)]
        return dict(zip([*names, "pool"], [*made, F.max_pool2d(made[-1], 1, 2, 0)], strict=True))


class PackedProposalHead(nn.Module):
    """The head of the proposals; scores and shifts come from one convolution."""

    def __init__(self, head: RPNHead) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(PackedConv(block[0], relu=True) for block in cast(Any, head.conv)))
        both = nn.Conv2d(head.cls_logits.in_channels, head.cls_logits.out_channels + head.bbox_pred.out_channels, 1)
        both.weight.data = torch.cat([head.cls_logits.weight, head.bbox_pred.weight]).detach()
        both.bias = nn.Parameter(torch.cat([cast(Tensor, v.bias) for v in (head.cls_logits, head.bbox_pred)]).detach())
        self.both, self.count = PackedConv(both), head.cls_logits.out_channels

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness logits and deltas of each level."""
        made = [self.both(self.convs(feature)) for feature in features]
        return [v[:, : self.count] for v in made], [v[:, self.count :] for v in made]


class PackedHeads(RoiHeads):
    """Box and mask heads that pool by look-up and judge exactly what a screen leaves open."""

    def __init__(self, heads: RoiHeads, screen: Screen | None) -> None:
        nn.Module.__init__(self)
        self.config, self.coder = heads.config, heads.coder
        for name, child in heads.named_children():
            self.add_module(name, child)
        self.screen = screen

    def judge(
        self, features: Sequence[Tensor], proposals: Sequence[Tensor], floor: float
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """As the heads judge, of what the screen leaves open."""
        counts = [len(p) for p in proposals]
        if self.screen is None or sum(counts) <= WATCHED:
            return super().judge(features, proposals, floor)
        chances = self.screen.chances(features, proposals, _BOX_POOL)
        chosen = left_open(chances, floor)
        images = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])[chosen]
        flat = torch.cat(list(proposals))[chosen]
        left = [flat[images == i] for i in range(len(counts))]
        logits, deltas = self.box_logits(features, left)
        if not trusted(chances[chosen], best_class(logits)):
            log.warning("the screen before the box head errs too much on a slice: all proposals are judged in float32")
            return super().judge(features, proposals, floor)
        return left, logits, deltas


def _replace(module: nn.Module) -> None:
    """Put packed parts in the place of those below `module`."""
    for name, child in module.named_children():
        frozen = isinstance(getattr(child, "bn1", None), FrozenBatchNorm2d)
        if isinstance(child, Stem) and frozen:
            module.add_module(name, PackedStem(child))
        elif isinstance(child, FoldedBasicBlock | FoldedBottleneck) and frozen:
            module.add_module(name, PackedBlock(child))
        elif isinstance(child, FeaturePyramidNetwork) and all(len(block) == 1 for block in child.inner_blocks):
            module.add_module(name, PackedPyramid(child))
        elif isinstance(child, RPNHead):
            module.add_module(name, PackedProposalHead(child))
        elif isinstance(child, nn.Conv2d):
            module.add_module(name, PackedConv(child))
        elif isinstance(child, nn.Linear):
            module.add_module(name, PackedLinear(child))
        else:
            _replace(child)


def _suits_winograd(conv: nn.Conv2d) -> bool:
    shape = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    plain = shape == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
    return plain and conv.in_channels == conv.out_channels == _WINOGRAD_CHANNELS


def _folded(conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of the convolution that does what `conv` and then `norm` do."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale
