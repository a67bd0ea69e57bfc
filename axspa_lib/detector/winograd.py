"""3 x 3 convolutions with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3), for inference on a CPU.

Sixteen outputs come from 36 products of a channel instead of 144 (Lavin and Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016). The products are 36 dense layers of oneDNN over all tiles of a strip of the image; a
strip is small enough to stay in the cache. The transforms cost precision: about 1e-5 of the largest output in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Transform of the weights, for the points 0, 1, -1, 2, -2 and infinity.
_WEIGHT = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
           [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_TILE, _WINDOW = 4, 6
_TILES_OF_A_STRIP = 256


class WinogradConv:
    """A convolution of 3 x 3 cells with stride one and one cell of zeros around, its weights transformed once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, relu: bool = False) -> None:
        """Transform weights `(channels out, channels in, 3, 3)`; in float64, stored as float32."""
        made = torch.tensor(_WEIGHT, dtype=torch.float64)
        products = torch.einsum("ki,lj,ocij->lkoc", made, made, weight.double()).float().flatten(0, 1)
        self.weights = [torch.ops.mkldnn._reorder_linear_weight(part.contiguous()) for part in products]
        self.bias, self.relu = bias, relu
        self.channels = len(weight)

    def __call__(self, value: Tensor) -> Tensor:
        """`(images, channels, rows, columns)` float32 to the same with other channels, channels last in memory."""
        images, channels, rows, columns = value.shape
        down, across = -(-rows // _TILE), -(-columns // _TILE)
        value = value.permute(0, 2, 3, 1)
        out = value.new_empty(images, _TILE * down, _TILE * across, self.channels)
        step = max(1, _TILES_OF_A_STRIP // across)
        padded = value.new_zeros(_TILE * step + 2, _TILE * across + 2, channels)
        for image in range(images):
            for first in range(0, down, step):
                start, stop = _TILE * first, _TILE * min(first + step, down)
                top, bottom = max(start - 1, 0), min(stop + 1, rows)
                inside = slice(top - start + 1, bottom - start + 1)
                padded[: inside.start].zero_()
                padded[inside.stop :].zero_()
                padded[inside, 1 : columns + 1] = value[image, top:bottom]
                self._strip(padded[: stop - start + 2], out[image, start:stop])
        return out[:, :rows, :columns].permute(0, 3, 1, 2)

    def _strip(self, rows: Tensor, out: Tensor) -> None:
        """Whole rows of tiles: `rows` with a row more on either side, contiguous, to `out`."""
        width, channels = int(rows.shape[1]), int(rows.shape[2])
        down, across = len(out) // _TILE, int(out.shape[1]) // _TILE
        line = width * channels
        windows = rows.as_strided((_WINDOW, down, width, channels), (line, _TILE * line, channels, 1))
        value = _before(windows)
        shape = (_WINDOW, _WINDOW, down, across, channels)
        value = _before(value.as_strided(shape, (channels, down * line, line, _TILE * channels, 1)))
        linear = torch.ops.mkldnn._linear_pointwise
        tiles = value.view(_WINDOW**2, down * across, channels)
        products = [linear(tiles[k], weight, None, "none", [], "") for k, weight in enumerate(self.weights)]
        halves = [_after(products[k : k + _WINDOW]) for k in range(0, _WINDOW**2, _WINDOW)]
        target = out.view(down, _TILE, across, _TILE, self.channels)
        for row in range(_TILE):
            for column, made in enumerate(_after([half[row] for half in halves])):
                if self.bias is not None:
                    made += self.bias
                if self.relu:
                    made.relu_()
                target[:, row, :, column] = made.view(down, across, self.channels)


def _before(value: Tensor) -> Tensor:
    """Transform of the input along the first axis, six cells to six; plane by plane, in the cache."""
    made = value.new_empty(value.shape)
    near, far = torch.sub(value[4], value[2]), torch.sub(value[3], value[1])
    torch.add(near, far, alpha=2, out=made[3])
    torch.sub(near, far, alpha=2, out=made[4])
    near.sub_(value[2], alpha=3)
    far.sub_(value[1], alpha=3)
    torch.add(near, far, out=made[1])
    torch.sub(near, far, out=made[2])
    torch.sub(value[4], value[2], alpha=5, out=made[0]).add_(value[0], alpha=4)
    torch.sub(value[5], value[3], alpha=5, out=made[5]).add_(value[1], alpha=4)
    return made


def _after(products: list[Tensor]) -> list[Tensor]:
    """Transform of the output, six products to four cells."""
    first, second = products[1] + products[2], products[1] - products[2]
    third, fourth = products[3] + products[4], products[3] - products[4]
    return [
        (first + third).add_(products[0]),
        torch.add(second, fourth, alpha=2),
        torch.add(first, third, alpha=4),
        torch.add(second, fourth, alpha=8).add_(products[5]),
    ]
