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

#: Names of the pyramid's levels; level `p{k}` has a stride of 2**k pixels.
LEVELS = ("p2", "p3", "p4", "p5", "p6")


def normalised(value: Tensor, conv: nn.Conv2d, norm: nn.Module) -> Tensor:
    """Convolution, then norm; a frozen batch norm is folded into the convolution's weights.

    The folded form is the same function and differentiable in the weights, and saves two passes over every feature
    map, forward and backward.
    """
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
        """`(images, 3, rows, columns)` to `(images, width, rows / 4, columns / 4)`."""
        value = F.relu(normalised(images, self.conv1, self.bn1), inplace=True)
        if value.device.type != "cpu" or not value.is_contiguous():
            return F.max_pool2d(value, 3, 2, 1)
        # a CPU pools three times faster with the channels last, there and back, and finds the same
        return F.max_pool2d(value.contiguous(memory_format=torch.channels_last), 3, 2, 1).contiguous()


class FoldedBasicBlock(BasicBlock):
    """torchvision's block of ResNet-18, its norms folded where they are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """The block, norms folded in."""
        out = self.relu(normalised(x, self.conv1, self.bn1))
        out = normalised(out, self.conv2, self.bn2)
        out += x if self.downsample is None else normalised(x, *self.downsample)
        return self.relu(out)


class FoldedBottleneck(Bottleneck):
    """torchvision's block of ResNet-50, its norms folded where they are frozen."""

    def forward(self, x: Tensor) -> Tensor:
        """The block, norms folded in."""
        out = self.relu(normalised(x, self.conv1, self.bn1))
        out = self.relu(normalised(out, self.conv2, self.bn2))
        out = normalised(out, self.conv3, self.bn3)
        out += x if self.downsample is None else normalised(x, *self.downsample)
        return self.relu(out)


#: Block class and blocks per stage res2 to res5.
_LAYOUT: dict[str, tuple[type[FoldedBasicBlock] | type[FoldedBottleneck], tuple[int, int, int, int]]] = {
    "resnet50": (FoldedBottleneck, (3, 4, 6, 3)),
    "resnet18": (FoldedBasicBlock, (2, 2, 2, 2)),
}


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm with 32 groups as in Detectron2, fewer where a group would hold less than two channels."""
    return nn.GroupNorm(min(32, channels // 2), channels)


class Backbone(nn.Module):
    """ResNet with a feature pyramid.

    Input `(images, 3, rows, columns)` with rows and columns multiples of 32; output one tensor
    `(images, fpn_channels, rows / 2**k, columns / 2**k)` for each level k = 2 to 6.
    """

    def __init__(self, config: Detector) -> None:
        super().__init__()
        norm: Callable[[int], nn.Module] = FrozenBatchNorm2d if config.norm == "frozen_bn" else group_norm
        block, counts = _LAYOUT[config.backbone]
        width = config.width
        self.stem = Stem(width, norm)
        channels, outputs = width, []
        for number, count in enumerate(counts):
            planes, stride = width * 2**number, 1 if number == 0 else 2
            stage = _stage(block, channels, planes, count, stride, norm)
            self.add_module(f"res{number + 2}", stage)
            channels = planes * block.expansion
            outputs.append(channels)
        self.fpn = FeaturePyramidNetwork(
            outputs, config.fpn_channels, LastLevelMaxPool(), None if config.norm == "frozen_bn" else group_norm
        )
        for module in self.stem.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Levels p2, p3, ... of a batch of images."""
        features: OrderedDict[str, Tensor] = OrderedDict()
        value = self.stem(images)
        for number in range(2, 6):
            value = getattr(self, f"res{number}")(value)
            features[f"p{number}"] = value
        return list(self.fpn(features).values())

    def freeze(self, stages: int) -> None:
        """Stop training of the stem (`stages >= 1`) and of res2, res3, … (`stages >= 2, 3, …`), as Detectron2 does."""
        for number, module in enumerate([self.stem, self.res2, self.res3, self.res4, self.res5], start=1):
            if number <= stages:
                module.requires_grad_(False)


def _stage(
    block: type[FoldedBasicBlock] | type[FoldedBottleneck],
    channels: int,
    planes: int,
    count: int,
    stride: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    """One stage; its first block changes the number of channels and the resolution."""
    blocks: list[nn.Module] = []
    for number in range(count):
        step = stride if number == 0 else 1
        downsample = None
        if number == 0 and (stride != 1 or channels != planes * block.expansion):
            downsample = nn.Sequential(
                conv1x1(channels, planes * block.expansion, step), norm(planes * block.expansion)
            )
        made = block(channels, planes, step, downsample, norm_layer=norm)
        if isinstance(made, Bottleneck):
            made.conv1.stride, made.conv2.stride = (step, step), (1, 1)
        for module in made.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        blocks.append(made)
        channels = planes * block.expansion
    return nn.Sequential(*blocks)
