"""Which proposals the box head has to judge exactly: those that a coarse copy of it does not rule out.

Of a thousand proposals nearly all are background, and half the multiplications of a slice go into saying so. The
copy says it faster on a processor that multiplies bfloat16: it pools in bfloat16, its first layer multiplies whole
numbers from -127 to 127, a scale for each region and each output. Whatever it leaves open is pooled and judged in
float32, so every detection is the exact one, as long as no proposal is ruled out wrongly: the copy may err by
`MARGIN` before one is. It is watched on every slice: where it errs by a quarter of that on those judged both ways,
all are judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from axspa_lib.detector.lookup import look_up

#: Largest whole number of the first layer; bins of a pooled region, 7 x 7.
_WHOLE, _BINS = 127, 49
#: Logarithm of a probability by which the copy may be wrong; three trained networks err by up to 0.11.
MARGIN = 1.0
#: Proposals judged both ways at least, so that there is always something to watch the copy by.
WATCHED = 32


class Screen:
    """A coarse copy of a box head and its classifier."""

    def __init__(self, head: nn.Module, classifier: nn.Linear) -> None:
        first, second = cast(nn.Linear, head.fc6), cast(nn.Linear, head.fc7)
        bins = first.weight.detach().unflatten(1, (-1, _BINS)).transpose(1, 2).flatten(1)  # as `look_up` orders them
        self.scale = bins.abs().amax(1).clamp(min=1e-30) / _WHOLE
        self.whole = (bins / self.scale[:, None]).round().to(torch.int8).t()
        self.bias = first.bias.detach()
        self.packs = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.layers = [self._packed(layer) for layer in (second, classifier)]

    def _packed(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight and bias in bfloat16, the weight in the order that the processor multiplies it in, if it has one."""
        weight = layer.weight.detach().bfloat16().contiguous()
        return torch.ops.mkldnn._reorder_linear_weight(weight) if self.packs else weight, layer.bias.detach().bfloat16()

    def chances(self, features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
        """Logarithm of the likelier foreground class's probability of each region, about; in the order of `boxes`."""
        parts, order = look_up([f.bfloat16() for f in features], boxes, size)
        value = self.first([part.flatten(1) for part in parts]).relu_().bfloat16()
        for (weight, bias), attribute in zip(self.layers, ("relu", "none"), strict=True):
            if self.packs:
                value = torch.ops.mkldnn._linear_pointwise(value, weight, bias, attribute, [], "")
            else:
                value = F.linear(value, weight, bias)
                value = value.relu_() if attribute == "relu" else value
        return best_class(value.float())[order.argsort()]

    def first(self, parts: Sequence[Tensor]) -> Tensor:
        """The first layer of parts `(regions, bins * channels)`, about: its products are those of whole numbers."""
        whole = torch.empty((sum(map(len, parts)), len(self.whole)), dtype=torch.int8)
        steps = torch.empty((len(whole), 1))
        start = 0
        for part in parts:  # a part is small enough to stay in the cache
            step = (_WHOLE / part.abs().amax(1, keepdim=True).clamp(min=1e-30)).to(part.dtype)
            stop = start + len(part)
            whole[start:stop] = (part * step).round_().clamp_(-_WHOLE, _WHOLE)
            steps[start:stop] = step
            start = stop
        return torch._int_mm(whole, self.whole).float() / steps * self.scale + self.bias


def best_class(logits: Tensor) -> Tensor:
    """Logarithm of the probability of the likelier foreground class; the background is the last logit."""
    return logits.log_softmax(1)[:, :-1].amax(1)


def left_open(chances: Tensor, floor: float) -> Tensor:
    """Places, ascending, of the proposals that may exceed the probability `floor`, and of the next best to watch by.

    A chance that is not a number rules nothing out.
    """
    order = chances.nan_to_num(nan=math.inf).argsort(descending=True)
    limit = math.log(max(floor, 1e-30)) - MARGIN
    count = int((~(chances < limit)).sum())
    return order[: max(count, WATCHED)].sort().values


def trusted(chances: Tensor, exact: Tensor) -> bool:
    """Whether the copy agrees with the exact chances of the same proposals well within what it may err by."""
    return bool(((chances - exact).abs() <= MARGIN / 4).all())
