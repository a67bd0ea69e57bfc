"""Aligned pooling of regions as a weighted look-up of feature vectors: what torchvision's `roi_align` gives, faster.

Aligned pooling is linear and separable: a bin is a weighted sum of the cells under it, and the weights of a cell are
those of its row times those of its column. With the channels last, a cell is one contiguous vector, and the sum of
many weighted vectors is what `embedding_bag` does, there and back. Only for a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def pool_by_lookup(features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """As `roi_heads.pool`, equal within rounding."""
    images = torch.cat([torch.full((len(b),), i) for i, b in enumerate(boxes)])
    flat = torch.cat(list(boxes)).float()
    extent = ((flat[:, 2] - flat[:, 0]) * (flat[:, 3] - flat[:, 1])).sqrt()
    level = torch.floor(4 + torch.log2(extent / 224 + 1e-8)).clamp(2, 1 + len(features)).to(torch.int64) - 2
    vectors = [f.float().permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in features]
    pooled = features[0].new_zeros((len(flat), features[0].shape[1], size, size), dtype=torch.float32)
    scale = 0.5 ** (level + 2).float()[:, None]
    cells = flat * scale - 0.5
    samples = ((cells[:, 2:] - cells[:, :2]) / size).ceil().to(torch.int64).clamp(min=1)  # of a bin, across and down
    for number, across, down in torch.cat([level[:, None], samples], 1).unique(dim=0).tolist():
        index = ((level == number) & (samples[:, 0] == across) & (samples[:, 1] == down)).nonzero()[:, 0]
        rows, columns = (int(v) for v in features[number].shape[-2:])
        part = cells[index]
        column, across_weight = _cells_of_bins(part[:, 0], part[:, 2], size, across, columns)
        row, down_weight = _cells_of_bins(part[:, 1], part[:, 3], size, down, rows)
        line = (images[index, None, None] * rows + row) * columns
        place = line[:, :, None, :, None] + column[:, None, :, None, :]
        weight = down_weight[:, :, None, :, None] * across_weight[:, None, :, None, :]
        taps = row.shape[-1] * column.shape[-1]
        summed = F.embedding_bag(
            place.reshape(-1, taps), vectors[number], per_sample_weights=weight.reshape(-1, taps), mode="sum"
        )
        pooled[index] = summed.reshape(len(index), size, size, -1).permute(0, 3, 1, 2)
    return pooled


def _cells_of_bins(start: Tensor, end: Tensor, size: int, samples: int, extent: int) -> tuple[Tensor, Tensor]:
    """Cells under each of `size` bins between `start` and `end` on one axis, and their weights.

    Both `(regions, size, samples + 1)`. A bin is the mean of `samples` values interpolated at even places; beyond the
    first and last cell a value is that of the cell for one cell more, and zero after that, as in torchvision.
    """
    width = (end - start)[:, None, None] / size
    bins = torch.arange(size)[:, None] + (torch.arange(samples) + 0.5) / samples
    place = start[:, None, None] + bins * width
    inside = ((place >= -1) & (place <= extent)).float() / samples
    place = place.clamp(0, extent - 1)
    low = place.floor().to(torch.int64)
    beyond = place - low
    first = low[..., :1]
    weights = torch.zeros((*low.shape[:2], samples + 1))
    weights.scatter_add_(2, low - first, (1 - beyond) * inside)
    weights.scatter_add_(2, low - first + 1, beyond * inside)
    return (first + torch.arange(samples + 1)).clamp(max=extent - 1), weights
