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

#: A region of this many pixels squared belongs to this level (equation 1 of the FPN paper).
_CANONICAL_PIXELS, _CANONICAL_LEVEL = 224.0, 4


def level_of(boxes: Tensor, levels: int) -> Tensor:
    """Which of the `levels` from p2 on each region `(n, 4)` belongs to by its area, from 0."""
    extent = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    level = torch.floor(_CANONICAL_LEVEL + torch.log2(extent / _CANONICAL_PIXELS + 1e-8))
    return level.clamp(2, 1 + levels).to(torch.int64) - 2


def pool_by_lookup(features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
    """As `roi_heads.pool_aligned`, equal within rounding; channels last in memory."""
    parts, order = look_up([f.float() for f in features], boxes, size)
    return torch.cat(parts)[order.argsort()].unflatten(1, (size, size)).permute(0, 3, 1, 2)


def look_up(features: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> tuple[list[Tensor], Tensor]:
    """The same in the precision of the features and the order that saves copies.

    Returns:
        Parts `(regions, size * size, channels)`, and the region, of all in the order of `boxes`, that each of their
        rows belongs to.
    """
    images = torch.cat([torch.full((len(b),), i) for i, b in enumerate(boxes)])
    flat = torch.cat(list(boxes)).float()
    if not len(flat):
        return [features[0].new_zeros((0, size * size, features[0].shape[1]))], images
    level = level_of(flat, len(features))
    cells = flat * 0.5 ** (level + 2).float()[:, None] - 0.5
    samples = ((cells[:, 2:] - cells[:, :2]) / size).ceil().to(torch.int64).clamp(min=1)  # of a bin, across and down
    kinds, kind, counts = torch.cat([level[:, None], samples], 1).unique(dim=0, return_inverse=True, return_counts=True)
    order = kind.argsort(stable=True)  # regions of one level with as many samples stand together
    images, level, cells, samples = (v[order] for v in (images, level, cells, samples))
    rows, columns = (torch.tensor([int(f.shape[axis]) for f in features])[level] for axis in (2, 3))
    column, across_weight = _cells_of_bins(cells[:, 0], cells[:, 2], size, samples[:, 0], columns)
    row, down_weight = _cells_of_bins(cells[:, 1], cells[:, 3], size, samples[:, 1], rows)
    line = (images[:, None, None] * rows[:, None, None] + row) * columns[:, None, None]
    vectors = [f.permute(0, 2, 3, 1).reshape(-1, f.shape[1]) for f in features]
    parts, start = [], 0
    for (number, across, down), count in zip(kinds.tolist(), counts.tolist(), strict=True):
        part, taps = slice(start, start + count), (down + 1) * (across + 1)
        place = line[part, :, None, : down + 1, None] + column[part, None, :, None, : across + 1]
        weight = down_weight[part, :, None, : down + 1, None] * across_weight[part, None, :, None, : across + 1]
        sums = F.embedding_bag(
            place.reshape(-1, taps), vectors[number], mode="sum",
            per_sample_weights=weight.reshape(-1, taps).to(vectors[number].dtype),
        )  # fmt: skip
        parts.append(sums.view(count, size * size, -1))
        start += count
    return parts, order


def _cells_of_bins(start: Tensor, end: Tensor, size: int, samples: Tensor, extent: Tensor) -> tuple[Tensor, Tensor]:
    """Cells under each of `size` bins between `start` and `end` on one axis, and their weights.

    Both `(regions, size, most samples + 1)`; of a region the first `samples + 1` count. A bin is the mean of `samples`
    values interpolated at even places; beyond the first and last of `extent` cells a value is that of the cell for one
    cell more, and zero after that, as in torchvision.
    """
    start, width, last = start[:, None, None], (end - start)[:, None, None] / size, extent[:, None, None] - 1
    number, count = torch.arange(int(samples.max())), samples[:, None, None]
    place = start + (torch.arange(size)[:, None] + (number + 0.5) / count) * width
    inside = ((place >= -1) & (place <= last + 1) & (number < count)).float() / count
    place = place.clamp(min=0).minimum(last.float())
    low = place.floor().to(torch.int64)
    beyond = place - low
    first = low[..., :1]
    after = (low - first).minimum(count - 1)
    weights = torch.zeros((*low.shape[:2], len(number) + 1))
    weights.scatter_add_(2, after, (1 - beyond) * inside)
    weights.scatter_add_(2, after + 1, beyond * inside)
    return (first + torch.arange(len(number) + 1)).minimum(last), weights
