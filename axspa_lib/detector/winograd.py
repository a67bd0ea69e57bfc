"""3 x 3 convolutions with a quarter of the multiplications: Winograd's F(4 x 4, 3 x 3), for inference on a CPU.

Sixteen outputs come from 36 products of a channel instead of 144 (Lavin and Gray, "Fast algorithms for convolutional
neural networks", CVPR 2016). The products are 36 dense layers of oneDNN over all tiles of a strip of the image; a
strip is small enough to stay in the cache. The transforms cost precision: about 1e-5 of the largest output in float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Transforms of input, weights and output, for the points 0, 1, -1, 2, -2 and infinity.
_INPUT = [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
          [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]  # fmt: skip
_WEIGHT = [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
           [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]]  # fmt: skip
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
_TILE, _WINDOW = 4, 6
_TILES_OF_A_STRIP = 128


class WinogradConv:
    """A convolution of 3 x 3 cells with stride one and one cell of zeros around, its weights transformed once."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """Transform weights `(channels out, channels in, 3, 3)`; in float64, stored as float32."""
        made = torch.tensor(_WEIGHT, dtype=torch.float64)
        products = torch.einsum("ki,lj,ocij->kloc", made, made, weight.double()).float().flatten(0, 1)
        self.weights = [torch.ops.mkldnn._reorder_linear_weight(part.contiguous()) for part in products]
        self.bias = bias
        self.channels = len(weight)
        self.before = torch.tensor(_INPUT, dtype=torch.float32)
        after = torch.tensor(_OUTPUT, dtype=torch.float32)
        self.after = torch.kron(after, after)

    def __call__(self, value: Tensor) -> Tensor:
        """`(images, channels, rows, columns)` float32 to the same with other channels, channels last in memory."""
        images, _, rows, columns = value.shape
        down, across = -(-rows // _TILE), -(-columns // _TILE)
        ends = (0, 0, 1, _TILE * across + 1 - columns, 1, _TILE * down + 1 - rows)
        padded = F.pad(value.permute(0, 2, 3, 1), ends).contiguous()
        out = value.new_empty(images, _TILE * down, _TILE * across, self.channels)
        step = max(1, _TILES_OF_A_STRIP // across)
        for image in range(images):
            for first in range(0, down, step):
                place = slice(_TILE * first, _TILE * min(first + step, down))
                self._strip(padded[image, place.start : place.stop + 2], out[image, place])
        if self.bias is not None:
            out += self.bias
        return out[:, :rows, :columns].permute(0, 3, 1, 2)

    def _strip(self, rows: Tensor, out: Tensor) -> None:
        """Whole rows of tiles: `rows` with a row more on either side, all contiguous."""
        width, channels = int(rows.shape[1]), int(rows.shape[2])
        down, across = len(out) // _TILE, int(out.shape[1]) // _TILE
        line, start = width * channels, rows.storage_offset()
        windows = rows.as_strided((down, _WINDOW, line), (_TILE * line, line, 1), start)
        value = torch.matmul(self.before, windows)
        shape, strides = (
            (down, _WINDOW, across, _WINDOW, channels),
            (_WINDOW * line, line, _TILE * channels, channels, 1),
        )
        value = torch.matmul(self.before, value.as_strided(shape, strides))
        tiles = value.permute(1, 3, 0, 2, 4).reshape(_WINDOW**2, down * across, channels)
        linear = torch.ops.mkldnn._linear_pointwise
        products = torch.stack([linear(tiles[k], w, None, "none", [], "") for k, w in enumerate(self.weights)])
        made = torch.mm(self.after, products.flatten(1)).view(_TILE, _TILE, down, across, self.channels)
        out.view(down, _TILE, across, _TILE, self.channels).copy_(made.permute(2, 0, 3, 1, 4))
