"""Training of one Mask R-CNN (section 4.2): constant rate, lowest validation loss kept, resumable at any kill.

Every random draw of iteration i comes from (seed, i), so a training that was killed and resumed is, on the CPU, bit
for bit the one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from axspa_lib.config import Detector
from axspa_lib.detector.augment import Move, draw, transform
from axspa_lib.detector.checkpoint import load_weights, save_checkpoint, to_detectron2, write_torch
from axspa_lib.detector.data import DetectionData, Slice, three_channels
from axspa_lib.detector.inference import autocast
from axspa_lib.detector.interface import DetectorNetwork, Target
from axspa_lib.detector.model import build_detector
from axspa_lib.detector.resize import fed_size
from axspa_lib.errors import DataError

LOSSES = ("loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc")


def train_detector(
    config: Detector,
    training: DetectionData,
    validation: DetectionData,
    *,
    seed: int,
    folder: Path,
    device: str = "cpu",
    progress: bool = True,
) -> dict[str, Any]:
    """Train one detector into `folder` and return its metrics.

    Writes `model.pt` (weights of the lowest validation loss, Detectron2's names), `history.parquet` (one row per
    iteration) and, while running, `checkpoint.pt`, from which a killed training goes on.

    Args:
        config: the detector's configuration.
        training: slices to learn from.
        validation: slices whose loss chooses the weights.
        seed: of weights, order, augmentation and sampling.
        folder: where everything goes.
        device: `cpu` or a CUDA device.
        progress: show a bar.

    Raises:
        DataError: a loss became infinite or not a number; names the iteration and its slices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = build_detector(config)
    model.to(device)
    optimizer = make_optimizer(model, config)
    state = _resume(folder, model, optimizer, device)
    history: list[dict[str, float]] = state["history"]
    best, best_at = state["best"], state["best_at"]
    bar = tqdm(total=config.iterations, initial=state["iteration"], desc="Mask R-CNN", disable=not progress)
    for iteration in range(state["iteration"], config.iterations):
        started = time.perf_counter()
        row = train_step(model, optimizer, config, training, seed, iteration, device)
        row["seconds"] = time.perf_counter() - started
        done = iteration + 1
        if done % config.validate_every == 0 or done == config.iterations:
            row |= {f"validation_{k}": v for k, v in validation_losses(model, config, validation, device).items()}
            if row["validation_total"] < best:
                best, best_at = row["validation_total"], done
                save_checkpoint(folder / "model.pt", model)
            history.append(row)
            write_torch(
                folder / "checkpoint.pt",
                {"model": to_detectron2(model), "optimizer": optimizer.state_dict(), "iteration": done,
                 "history": history, "best": best, "best_at": best_at, "seed": seed},
            )  # fmt: skip
        else:
            history.append(row)
        bar.update()
        bar.set_postfix(loss=f"{row['total']:.3f}", best=f"{best:.3f}")
    bar.close()
    table = pd.DataFrame(history)
    table.to_parquet(folder / "history.parquet", index=False)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return {
        "start_weights": model.started_from,
        "iterations": config.iterations,
        "best_iteration": best_at,
        "validation_loss": best,
        "final_training_loss": float(table["total"].tail(max(1, len(table) // 10)).mean()),
        "seconds_per_iteration": float(table["seconds"].median()),
        "training_slices": len(training),
        "validation_slices": len(validation),
        "training_skipped": training.skipped,
        "validation_skipped": validation.skipped,
    }


def train_step(
    model: DetectorNetwork,
    optimizer: torch.optim.Optimizer,
    config: Detector,
    data: DetectionData,
    seed: int,
    iteration: int,
    device: str,
) -> dict[str, float]:
    """One iteration; returns its losses, rate and gradient norm."""
    model.train()
    rate = config.learning_rate * min(1.0, (iteration + 1) / max(config.warmup, 1))
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = [data.slices[i] for i in batch_indices(len(data), config.batch_size, seed, iteration)]
    rng = np.random.default_rng((seed, iteration))
    images, targets = [], []
    for item in batch:
        image, target = prepare(item, data.channels, config, draw(config.augmentation, rng), device)
        images.append(image)
        targets.append(target)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    with autocast(device, config.precision):
        losses = model.losses(images, targets, generator)
    total = sum_losses(losses)
    _refuse_infinite(total, batch, iteration)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    norm = nn.utils.clip_grad_norm_(
        [p for p in model.parameters() if p.requires_grad], config.gradient_clip or float("inf")
    )
    _refuse_infinite(norm, batch, iteration)
    optimizer.step()
    row = {
        "iteration": float(iteration + 1),
        "rate": rate,
        "gradient_norm": float(norm),
        "total": float(total.detach()),
    }
    return row | {name: float(value.detach()) for name, value in losses.items()}


@torch.no_grad()
def validation_losses(model: DetectorNetwork, config: Detector, data: DetectionData, device: str) -> dict[str, float]:
    """Mean losses over all slices without augmentation; the sampling of anchors and ROIs is the same every time."""
    model.train()
    sums = dict.fromkeys((*LOSSES, "total"), 0.0)
    generator = torch.Generator(device).manual_seed(0)
    for start in range(0, len(data), config.batch_size):
        batch = data.slices[start : start + config.batch_size]
        pairs = [prepare(item, data.channels, config, Move(), device) for item in batch]
        with autocast(device, config.precision):
            losses = model.losses([p[0] for p in pairs], [p[1] for p in pairs], generator)
        for name in LOSSES:
            sums[name] += float(losses[name]) * len(batch)
        sums["total"] += float(sum_losses(losses)) * len(batch)
    return {name: value / len(data) for name, value in sums.items()}


def prepare(item: Slice, channels: str, config: Detector, move: Move, device: str) -> tuple[Tensor, Target]:
    """Network input `(3, rows, columns)` float32 and target of one slice, augmented and resized on the device."""
    rows, columns = item.image.shape[-2:]
    size = fed_size(int(rows), int(columns), config.min_size, config.max_size)
    masks = np.stack([i.mask() for i in item.instances]) if item.instances else np.zeros((0, rows, columns), bool)
    image, out, boxes, _, kept = transform(
        item.image.to(device), torch.from_numpy(masks).to(device), [i.side for i in item.instances], move, size
    )
    labels = torch.tensor([int(i.label) for i in item.instances], dtype=torch.int64, device=device)[kept]
    return three_channels(image, channels), Target(boxes, labels, out)


def batch_indices(count: int, size: int, seed: int, iteration: int) -> list[int]:
    """Slices of one iteration: epochs are fresh permutations, laid end to end.

    >>> sorted(batch_indices(4, 2, 0, 0) + batch_indices(4, 2, 0, 1))
    [0, 1, 2, 3]
    """
    orders: dict[int, np.ndarray] = {}
    chosen = []
    for place in range(iteration * size, (iteration + 1) * size):
        epoch, within = divmod(place, count)
        if epoch not in orders:
            orders[epoch] = np.random.default_rng((seed, 7919, epoch)).permutation(count)
        chosen.append(int(orders[epoch][within]))
    return chosen


def make_optimizer(model: DetectorNetwork, config: Detector) -> torch.optim.Optimizer:
    """SGD with momentum (Detectron2's standard solver) or AdamW; norm layers are not decayed, as in Detectron2."""
    norms = {id(p) for m in model.modules() if isinstance(m, nn.GroupNorm) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in norms], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def sum_losses(losses: dict[str, Tensor]) -> Tensor:
    """Sum of the five losses in a fixed order."""
    return torch.stack([losses[name] for name in LOSSES]).sum()


def _refuse_infinite(value: Tensor, batch: Sequence[Slice], iteration: int) -> None:
    if not torch.isfinite(value):
        named = ", ".join(f"{s.patient} slice {s.index}" for s in batch)
        raise DataError(
            f"iteration {iteration + 1}: the loss is not finite on the batch {named}; look at these slices, lower "
            "detector.learning_rate or set detector.gradient_clip"
        )


def _resume(folder: Path, model: DetectorNetwork, optimizer: torch.optim.Optimizer, device: str) -> dict[str, Any]:
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return {"iteration": 0, "history": [], "best": float("inf"), "best_at": 0}
    state = torch.load(path, map_location=device, weights_only=True)
    load_weights(model, state["model"], path.name)
    optimizer.load_state_dict(state["optimizer"])
    return state
