"""Training of the bone networks (sections 3.1.2 and 4.1): batches, loss, and one call that trains.

Augmentation is a horizontal flip and a rotation within +-15 degrees, RMSprop, cross entropy weighted 0.1 for the
background and 0.9 for bone; the round with the best Dice on the validation patients is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from axspa_lib.bones.dice import dice
from axspa_lib.bones.slices import BoneSlices, apply_pose, draw_pose
from axspa_lib.bones.unet import Network, build_unet, decision, forward, load_weights, network_input
from axspa_lib.networks.training_loop import TrainingPlan, constant, fit, seed_everything, warmup_cosine
from axspa_lib.study.config import BoneNets, digest
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone
from axspa_lib.study.runs import sha256

#: Probabilities among which the validation patients choose, where `bones.threshold` is none.
THRESHOLDS = tuple(hundredths / 100 for hundredths in range(10, 100, 5))

#: Classes of each network beside the background, in the order of its logits.
CLASSES: dict[Network, tuple[Bone, ...]] = {
    "sacrum": (Bone.SACRUM,),
    "iliac": (Bone.ILIAC,),
    "both": (Bone.SACRUM, Bone.ILIAC),
}


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
        start: weights to go on from, a plain state dict of the same network; random when None.

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
