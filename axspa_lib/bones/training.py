"""Training of the bone networks (sections 3.1.2 and 4.1): slices, augmentation, loss, and one call that trains.

Augmentation is a horizontal flip and a rotation within +-15 degrees, RMSprop, cross entropy weighted 0.1 for the
background and 0.9 for bone; the round with the best Dice on the validation patients is kept.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from axspa_lib.bones.dice import check_bones, dice
from axspa_lib.bones.unet import Frame, Network, build_unet, decision, forward, load_weights, network_input
from axspa_lib.networks.training_loop import TrainingPlan, constant, fit, seed_everything, warmup_cosine
from axspa_lib.study.config import BoneAugmentation, BoneNets, digest
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.runs import sha256
from axspa_lib.study.volume import Volume

#: Probabilities among which the validation patients choose, where `bones.threshold` is none.
THRESHOLDS = tuple(hundredths / 100 for hundredths in range(10, 100, 5))

#: Classes of each network beside the background, in the order of its logits.
CLASSES: dict[Network, tuple[Bone, ...]] = {
    "sacrum": (Bone.SACRUM,),
    "iliac": (Bone.ILIAC,),
    "both": (Bone.SACRUM, Bone.ILIAC),
}


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


def weighted_cross_entropy(logits: Tensor, classes: Tensor, foreground_weight: float) -> Tensor:
    """Cross entropy with weight `foreground_weight` on every bone and the rest of one on the background (3.1.2).

    Args:
        logits: `(n, classes, rows, columns)`.
        classes: int64 `(n, rows, columns)`.
    """
    weights = torch.full((logits.shape[1],), foreground_weight, device=logits.device)
    weights[0] = 1 - foreground_weight
    flat = logits.permute(0, 2, 3, 1).reshape(-1, logits.shape[1])  # one-dimensional: deterministic on CUDA
    return F.cross_entropy(flat, classes.reshape(-1), weight=weights)


def train_bones(
    bone: Network,
    training: BoneSlices,
    validation: BoneSlices,
    config: BoneNets,
    seed: int,
    folder: Path,
    device: str = "cpu",
    progress: bool = True,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train one network and keep the epoch with the best Dice on the validation slices.

    Writes `model.pt` (plain state dict), `history.parquet` (`epoch, train_loss, validation_loss, validation_dice,
    threshold, learning_rate, seconds`) and, until it ends, `checkpoint.pt`, from which the same call resumes.

    Args:
        bone: which network: `sacrum`, `iliac`, or `both` in one.
        training: slices to learn from; the other bone counts as background for a network of one bone.
        validation: slices of other patients.
        config: see `axspa_lib.study.config.BoneNets`.
        seed: of weights, order and augmentation.
        folder: where to write.
        device: torch device.
        progress: show a bar with the loss and the time left.
        start: weights to go on from, a plain state dict of the same network; drawn anew when None.

    Returns:
        Counts of patients, slices and parameters, the best epoch, its losses, Dice and threshold (for
        `predict_bones`), and the seconds of this call.

    Raises:
        DataError: a patient in both sets, a set without the bone, another size than configured, or a loss that is
            not finite (names the slices), or `start` cannot be loaded.
    """
    started = time.monotonic()
    _check(bone, training, validation, config)
    seed_everything(seed)
    model = build_unet(config, classes=1 + len(CLASSES[bone]))
    if start is not None:
        load_weights(model, start)
    model = model.to(memory_format=torch.channels_last).to(device)
    optimizer = torch.optim.RMSprop(
        model.parameters(), config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    steps = math.ceil(len(training) / config.batch_size)

    def batches(_: int) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
        return draw_batches(bone, training, config, device)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        return weighted_cross_entropy(forward(model, batch[0], config.precision), batch[1], config.foreground_weight)

    plan = TrainingPlan(
        rounds=config.epochs,
        steps=steps,
        batches=batches,
        loss=loss,
        validate=lambda: validate(model, bone, validation, config, device),
        monitor="validation_dice",
        mode="max",
        round_name="epoch",
        schedule=warmup_cosine(config.epochs * steps, warmup=config.epochs * steps // 20)
        if config.schedule == "cosine"
        else constant,
    )
    data = [training.digest(), validation.digest(), sha256(start) if start is not None else ""]
    identity = digest([bone, seed, config.model_dump(mode="json"), *data])
    history = fit(
        model, optimizer, plan, folder=folder, seed=seed, identity=identity, progress=progress, label=f"U-Net {bone}"
    )
    best = history.iloc[int(history["validation_dice"].argmax())]
    return {
        "bone": bone,
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_patients": len(set(training.patients)),
        "train_slices": len(training),
        "validation_patients": len(set(validation.patients)),
        "validation_slices": len(validation),
        "epochs": len(history),
        "best_epoch": int(best["epoch"]),
        "train_loss": float(best["train_loss"]),
        "validation_loss": float(best["validation_loss"]),
        "validation_dice": float(best["validation_dice"]),
        "threshold": float(best["threshold"]),
        "seconds": round(time.monotonic() - started, 1),
    }


def draw_batches(
    bone: Network, data: BoneSlices, config: BoneNets, device: str = "cpu"
) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Draw the augmented batches of an epoch in random order, each with the names of its slices.

    Yields:
        Names, and `(images, classes)`: float `(n, 1, size, size)` and int64 `(n, size, size)`.
    """
    images, classes = _on_device(bone, data, device)
    for chosen in torch.randperm(len(data)).split(config.batch_size):
        name = ", ".join(f"{data.patients[i]} slice {data.slices[i]}" for i in chosen.tolist())
        pose = draw_pose(len(chosen), config.augmentation)
        chosen = chosen.to(device)
        yield name, apply_pose(network_input(images[chosen]), classes[chosen], pose)


@torch.no_grad()
def predict_slices(
    bone: Network, data: BoneSlices, config: BoneNets, weights: Path, threshold: float
) -> NDArray[np.uint8]:
    """Predict the classes `(n, size, size)` of slices with one trained network: 0 background, then its bones."""
    model = load_weights(build_unet(config, classes=1 + len(CLASSES[bone])), weights)
    parts = torch.from_numpy(data.images).split(config.batch_size)
    logits = [forward(model, network_input(part), config.precision) for part in parts]
    return torch.cat([decision(part, threshold).argmax(1) for part in logits]).numpy().astype(np.uint8)


@torch.no_grad()
def validate(model: nn.Module, bone: Network, data: BoneSlices, config: BoneNets, device: str) -> dict[str, float]:
    """Weighted loss, and Dice (over all pixels of `data`, mean of the network's bones) on the network's grid.

    Returns:
        `validation_loss, validation_dice, threshold`: the probability from which a pixel counted as bone, which is the
        configured one, or the one of `THRESHOLDS` with the best Dice (the lowest of equals).
    """
    images, classes = _on_device(bone, data, device)
    thresholds = THRESHOLDS if config.threshold is None else (config.threshold,)
    counts, total = np.zeros((len(thresholds), len(CLASSES[bone]), 3)), 0.0
    for part in torch.arange(len(data)).split(config.batch_size):
        logits = forward(model, network_input(images[part]), config.precision)
        total += float(weighted_cross_entropy(logits, classes[part], config.foreground_weight)) * len(part)
        for place, threshold in enumerate(thresholds):
            predicted = decision(logits, threshold).argmax(1)
            for index in range(len(CLASSES[bone])):
                mine, theirs = predicted == index + 1, classes[part] == index + 1
                counts[place, index] += [
                    int((a & b).sum()) for a, b in ((mine, theirs), (mine, ~theirs), (~mine, theirs))
                ]
    overlap = dice(*np.moveaxis(counts, -1, 0)).mean(axis=1)
    best = int(np.argmax(overlap))
    return {
        "validation_loss": total / len(data),
        "validation_dice": float(overlap[best]),
        "threshold": thresholds[best],
    }


def _on_device(bone: Network, data: BoneSlices, device: str) -> tuple[Tensor, Tensor]:
    """Images (uint8) and the network's classes (int64) of all slices."""
    classes = np.zeros(data.masks.shape, np.int64)
    for index, value in enumerate(CLASSES[bone], start=1):
        classes[data.masks == value] = index
    return torch.from_numpy(data.images).to(device), torch.from_numpy(classes).to(device)


def _check(bone: Network, training: BoneSlices, validation: BoneSlices, config: BoneNets) -> None:
    shared = sorted(set(training.patients) & set(validation.patients))
    if shared:
        raise DataError(f"patient {shared[0]} is in the training and the validation set; split by subject")
    for name, data in (("training", training), ("validation", validation)):
        if data.images.shape[1:] != (config.size, config.size):
            raise DataError(f"{name} slices have shape {data.images.shape[1:]}; bones.size is {config.size}")
        for value in CLASSES[bone]:
            if not (data.masks == value).any():
                raise DataError(
                    f"no {name} slice shows any {value.name.lower()} bone ({len(data)} slices of "
                    f"{len(set(data.patients))} patients): add annotated patients to the {name} set"
                )
