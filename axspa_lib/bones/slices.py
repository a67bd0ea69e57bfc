"""Slices on the grid of the bone networks, and their augmentation (section 3.1.2)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from axspa_lib.bones.dice import check_bones
from axspa_lib.study.config import BoneAugmentation
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import Volume


@dataclass(frozen=True)
class Frame:
    """Where a slice of a volume lies on the square grid of a network: scaled alike in mm, centred, zero around it.

    A square slice with square pixels fills the whole grid; another one keeps its proportions.
    """

    size: int
    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, volume: Volume, size: int) -> Frame:
        """Return the frame of `volume`'s slices on a grid of `size` x `size` pixels."""
        _, rows, columns = volume.array.shape
        _, row_mm, column_mm = volume.spacing
        scale = size / max(rows * row_mm, columns * column_mm)
        height, width = (max(1, round(length * scale)) for length in (rows * row_mm, columns * column_mm))
        return cls(size, rows, columns, height, width)

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the network's grid that the slice covers."""
        top, left = (self.size - self.height) // 2, (self.size - self.width) // 2
        return slice(top, top + self.height), slice(left, left + self.width)

    def put(self, slices: NDArray[np.uint8], labels: bool = False) -> NDArray[np.uint8]:
        """Resample `(n, rows, columns)` onto `(n, size, size)`: by area or linearly, masks (`labels`) by nearest."""
        canvas = np.zeros((len(slices), self.size, self.size), np.uint8)
        shrinks = self.height * self.width < self.rows * self.columns
        how = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        for target, source in zip(canvas, slices, strict=True):
            target[self.window] = cv2.resize(np.ascontiguousarray(source), (self.width, self.height), interpolation=how)
        return canvas

    def restore(self, scores: Tensor) -> Tensor:
        """Resample scores `(n, classes, size, size)` linearly to `(n, classes, rows, columns)`."""
        scores = scores[..., self.window[0], self.window[1]]
        if scores.shape[-2:] == (self.rows, self.columns):
            return scores
        return F.interpolate(scores, size=(self.rows, self.columns), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class BoneSlices:
    """Slices on the network's grid, with their masks.

    Attributes:
        images: uint8 `(n, size, size)`, preprocessed T1.
        masks: uint8 `(n, size, size)`, 0 background, 1 sacrum, 2 iliac.
        patients: of each slice.
        slices: index of each in its volume.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    patients: list[str] = field(default_factory=list)
    slices: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """Identity of the content."""
        content = hashlib.sha256(self.images.tobytes() + self.masks.tobytes())
        content.update(repr((self.patients, self.slices)).encode())
        return content.hexdigest()[:10]


def bone_slices(volumes: Iterable[tuple[str, Volume, Volume]], size: int) -> BoneSlices:
    """Resample volumes onto the network's grid (see `axspa_lib.bones.unet.Frame`).

    A slice whose mask shows no bone at all counts as not annotated and is left out.

    Args:
        volumes: patient, preprocessed T1 (uint8), bone mask on the same grid.
        size: of the network's grid, pixels.

    Raises:
        DataError: an image is not uint8, a mask is not a bone mask, or their grids differ; names the patient.
    """
    images: list[NDArray[np.uint8]] = []
    masks: list[NDArray[np.uint8]] = []
    patients: list[str] = []
    slices: list[int] = []
    for patient, t1, bones in volumes:
        check_bones(bones.array, f"bone mask of patient {patient}")
        if t1.array.dtype != np.uint8 or t1.array.shape != bones.array.shape:
            raise DataError(
                f"patient {patient}: T1 ({t1.array.dtype}, {t1.array.shape}) must be preprocessed to uint8 "
                f"and lie on the grid of its bone mask {bones.array.shape}"
            )
        frame = Frame.of(t1, size)
        annotated = np.flatnonzero(bones.array.any(axis=(1, 2)))
        images.append(frame.put(t1.array[annotated]))
        masks.append(frame.put(bones.array[annotated], labels=True))
        patients += [patient] * len(annotated)
        slices += annotated.tolist()
    if not images:
        return BoneSlices(np.zeros((0, size, size), np.uint8), np.zeros((0, size, size), np.uint8))
    return BoneSlices(np.concatenate(images), np.concatenate(masks), patients, slices)


@dataclass(frozen=True)
class Pose:
    """Drawn augmentation of a batch of `n` slices.

    Attributes:
        flips: `(n,)` of 1 or -1.
        angles: `(n,)` in radians, counter-clockwise.
        zooms: `(n,)`, larger than 1 magnifies; none when not given.
        shifts: `(n, 2)` along columns and rows in half sizes of the slice; none when not given.
        gammas: `(n,)` exponents of the intensities; none when not given.
    """

    flips: Tensor
    angles: Tensor
    zooms: Tensor | None = None
    shifts: Tensor | None = None
    gammas: Tensor | None = None


def draw_pose(n: int, augmentation: BoneAugmentation, generator: torch.Generator | None = None) -> Pose:
    """Draw flips (probability one half), rotations and what else is switched on (uniform) for `n` slices."""

    def spread(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=generator) - 1

    coins = torch.rand(n, generator=generator) < 0.5
    flips = torch.where(coins & augmentation.flip, -1.0, 1.0)
    return Pose(
        flips,
        spread(n) * math.radians(augmentation.rotation_deg),
        1 + spread(n) * augmentation.zoom if augmentation.zoom else None,
        2 * spread(n, 2) * augmentation.shift if augmentation.shift else None,
        torch.exp(spread(n) * augmentation.contrast) if augmentation.contrast else None,
    )


def apply_pose(images: Tensor, masks: Tensor, pose: Pose) -> tuple[Tensor, Tensor]:
    """Rotate, flip, zoom and shift each slice about its centre with one resampling; outside is zero.

    Args:
        images: float `(n, 1, size, size)`, resampled linearly.
        masks: integer `(n, size, size)`, resampled by nearest neighbour.
        pose: see `draw_pose`.
    """
    zooms = torch.ones_like(pose.angles) if pose.zooms is None else pose.zooms
    shifts = torch.zeros(len(zooms), 2) if pose.shifts is None else pose.shifts
    cos, sin = torch.cos(pose.angles) / zooms, torch.sin(pose.angles) / zooms
    rows = torch.stack([cos * pose.flips, -sin, shifts[:, 0]], 1)
    columns = torch.stack([sin * pose.flips, cos, shifts[:, 1]], 1)
    grid = F.affine_grid(torch.stack([rows, columns], 1).to(images.device), list(images.shape), align_corners=False)
    turned = F.grid_sample(images, grid, mode="bilinear", align_corners=False)
    if pose.gammas is not None:
        turned = turned.clamp(min=0) ** pose.gammas.to(turned)[:, None, None, None]
    labels = F.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)
    return turned.contiguous(memory_format=torch.channels_last), labels[:, 0].to(masks.dtype)
