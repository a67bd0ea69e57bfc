"""Which proposals the box head has to judge exactly: those that a bfloat16 copy of it does not rule out.

Of a thousand proposals nearly all are background, and half the multiplications of a slice go into saying so. The
copy says it at twice the speed on a processor that multiplies bfloat16. Whatever it leaves open is judged in float32,
so every detection is the exact one, as long as no proposal is ruled out wrongly: the copy may err by `MARGIN` before
one is. It is watched on every slice: where it errs by a quarter of that on those judged both ways, all are judged.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

#: Logarithm of a probability by which the copy may be wrong; trained networks show errors below a twentieth of it.
MARGIN = 1.0
#: Proposals judged both ways at least, so that there is always something to watch the copy by.
WATCHED = 32


class Screen:
    """A copy of a box head and its classifier in bfloat16."""

    def __init__(self, head: nn.Module, classifier: nn.Linear) -> None:
        layers = [cast(nn.Linear, layer) for layer in (head.fc6, head.fc7, classifier)]
        reorder = torch.ops.mkldnn._reorder_linear_weight
        self.layers = [(reorder(v.weight.detach().bfloat16().contiguous()), v.bias.detach().bfloat16()) for v in layers]

    def chances(self, pooled: Tensor) -> Tensor:
        """Logarithm of the likelier foreground class's probability, about: `(regions,)` for `(regions, ...)`."""
        value = pooled.flatten(1).bfloat16()
        for number, (weight, bias) in enumerate(self.layers):
            attribute = "none" if number + 1 == len(self.layers) else "relu"
            value = torch.ops.mkldnn._linear_pointwise(value, weight, bias, attribute, [], "")
        return best_class(value.float())


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


def worthwhile() -> bool:
    """Whether this processor multiplies bfloat16 faster than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
