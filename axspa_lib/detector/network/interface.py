"""Interface of the detector's implementations: inputs and outputs, independent of the library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Target:
    """Instances of one image: `boxes` (n, 4) in pixels, `labels` (n,) 0/1, `masks` (n, rows, columns) bool."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Detections:
    """Detections of one image, best first.

    `boxes` (n, 4) in pixels of the network's input, `scores` (n,), `labels` (n,), `probabilities` (n, classes) of the
    region each came from, `masks` (n, 28, 28) probabilities inside the box.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    probabilities: Tensor
    masks: Tensor


class DetectorNetwork(nn.Module):
    """A Mask R-CNN; images are `(3, rows, columns)` with values 0 to 255, one list item each."""

    #: What the weights were at the start: `start`, and file and checksum where there is one.
    started_from: dict[str, str]

    def losses(
        self, images: Sequence[Tensor], targets: Sequence[Target], generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Return the five losses of Mask R-CNN by Detectron2's names, to be added up.

        Args:
            images: any sizes.
            targets: instances of each image, in its pixels; an image may have none.
            generator: source of the random sampling of anchors and regions; torch's global one without it.
        """
        raise NotImplementedError

    def detect(self, images: Sequence[Tensor], floor: float | None = None) -> list[Detections]:
        """Return detections of each image in its own pixels, scored above `floor` (default: `store_threshold`)."""
        raise NotImplementedError

    def weights(self) -> nn.Module:
        """Return the module that holds the parameters."""
        return self

    def freeze(self, stages: int) -> None:
        """Stop training of the stem (`stages >= 1`) and of res2, res3, … (`stages >= 2, 3, …`)."""
        raise NotImplementedError
