"""ResNet body and feature pyramid of the detector (section 3.2.1), built from torchvision's blocks.

With `backbone="resnet50"`, `width=64` and frozen batch norm it is Detectron2's `R_50_FPN`: the stride of a bottleneck
sits in its first 1 x 1 convolution, the pyramid's levels are p2 to p5 and p6 is p5 subsampled by two.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from axspa_lib.study.config import Detector


def normalised(value: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Apply a convolution, then a norm; a frozen batch norm is folded into the weights, which saves two passes."""
    if not isinstance(norm, FrozenBatchNorm2d):
        return norm(conv(value))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    return F.conv2d(value, conv.weight * scale.view(-1, 1, 1, 1), shift, conv.stride, conv.padding)


class Stem(nn.Module):
    """First convolution and pooling of a ResNet: a quarter of the resolution."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = norm(width)

    def forward(self, images: Tensor) -> Tensor:
        """Return `(images, width, rows / 4, columns / 4)` of `(images, 3, rows, columns)`."""
        value = F.relu(normalised(images, self.conv1, self.bn1), inplace=True)
        if value.device.type != "cpu" or not value.is_contiguous():
            return F.max_pool2d(value, 3, 2, 1)
        # a CPU pools three times faster with the channels last, there and back, and finds the same
        return F.max_pool2d(value.contiguous(memory_format=torch.channels_last), 3, 2, 1).contiguous()


class FoldedBasicBlock(BasicBlock):
    """torchvision's block of ResNet-18, its norms folded where they are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, norms folded in."""
        out = self.relu(normalised(x, self.conv1, self.bn1))
        out = normalised(out, self.conv2, self.bn2)
        out += x if self.downsample is None else normalised(x, *self.downsample)
        return self.relu(out)


class FoldedBottleneck(Bottleneck):
    """torchvision's block of ResNet-50, its norms folded where they are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, norms folded in."""
        out = self.relu(normalised(x, self.conv1, self.bn1))
        out = self.relu(normalised(out, self.conv2, self.bn2))
        out = normalised(out, self.conv3, self.bn3)
        out += x if self.downsample is None else normalised(x, *self.downsample)
        return self.relu(out)


Block = type[FoldedBasicBlock] | type[FoldedBottleneck]
Norm = Callable[[int], nn.Module]

#: Block class and blocks per stage res2 to res5.
_LAYOUT: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet50": (FoldedBottleneck, (3, 4, 6, 3)),
    "resnet18": (FoldedBasicBlock, (2, 2, 2, 2)),
}


def group_norm(channels: int) -> nn.GroupNorm:
    """Return group norm with 32 groups as in Detectron2, fewer where a group would hold less than two channels."""
    return nn.GroupNorm(min(32, channels // 2), channels)


class Backbone(nn.Module):
    """ResNet with a feature pyramid.

    Input `(images, 3, rows, columns)` with rows and columns multiples of 32; output one tensor
    `(images, fpn_channels, rows / 2**k, columns / 2**k)` for each level k = 2 to 6.
    """

    def __init__(self, config: Detector) -> None:
        super().__init__()
        frozen, (block, counts) = config.norm == "frozen_bn", _LAYOUT[config.backbone]
        norm: Norm = FrozenBatchNorm2d if frozen else group_norm
        self.stem = Stem(config.width, norm)
        channels, outputs = config.width, []
        for number, count in enumerate(counts):
            planes, stride = config.width * 2**number, 1 if number == 0 else 2
            self.add_module(f"res{number + 2}", _stage(block, channels, planes, count, stride, norm))
            channels = planes * block.expansion
            outputs.append(channels)
        self.fpn = FeaturePyramidNetwork(
            outputs, config.fpn_channels, LastLevelMaxPool(), None if frozen else group_norm
        )
        _initialise(self.stem)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return levels p2, p3, ... of a batch of images."""
        features: OrderedDict[str, Tensor] = OrderedDict()
        value = self.stem(images)
        for number in range(2, 6):
            value = getattr(self, f"res{number}")(value)
            features[f"p{number}"] = value
        return list(self.fpn(features).values())

    def freeze(self, stages: int) -> None:
        """Freeze the stem (`stages >= 1`) and res2, res3, … (`stages >= 2, 3, …`), as Detectron2 does."""
        for number, module in enumerate([self.stem, self.res2, self.res3, self.res4, self.res5], start=1):
            if number <= stages:
                module.requires_grad_(False)


def _stage(block: Block, channels: int, planes: int, count: int, stride: int, norm: Norm) -> nn.Sequential:
    """Build one stage; its first block changes the number of channels and the resolution."""
    blocks: list[nn.Module] = []
    wide = planes * block.expansion
    for step in [stride] + [1] * (count - 1):
        downsample = None
        if not blocks and (stride != 1 or channels != wide):
            downsample = nn.Sequential(conv1x1(channels, wide, step), norm(wide))
        made = block(channels, planes, step, downsample, norm_layer=norm)
        if isinstance(made, Bottleneck):
            made.conv1.stride, made.conv2.stride = (step, step), (1, 1)
        _initialise(made)
        blocks.append(made)
        channels = wide
    return nn.Sequential(*blocks)


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
