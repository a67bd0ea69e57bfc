"""Training of one Mask R-CNN (section 4.2): constant rate, lowest validation loss kept, resumable at any kill.

Every random draw of iteration i comes from (seed, i), so a resumed training is, on a CPU, bit for bit the one that was
not killed. `training_loop.fit` records one loss a round where the five losses of every iteration are wanted, and its
deterministic algorithms make aligned pooling on a GPU slow (pytorch/vision issue 8168).
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from axspa_lib.detector.augment import Move, draw, transform
from axspa_lib.detector.data import DetectionData, Slice, three_channels
from axspa_lib.detector.network.checkpoint import load_weights, save_checkpoint, to_detectron2
from axspa_lib.detector.network.interface import DetectorNetwork, Target
from axspa_lib.detector.network.model import build_detector
from axspa_lib.detector.network.resize import fed_size, resize, resize_masks
from axspa_lib.networks.precision import autocast
from axspa_lib.networks.training_loop import load_checkpoint, save, warmup_cosine, write_history
from axspa_lib.study.config import Detector, digest
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Inflammation
from axspa_lib.study.progress import Progress

#: The five losses of Mask R-CNN, by Detectron2's names; their sum is minimised.
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

    Writes `model.pt` (weights of the lowest validation loss, Detectron2's names; with `weight_average` their moving
    average is what is validated and kept), `history.parquet` (one row per iteration) and, while running,
    `checkpoint.pt`, from which a killed training of the same configuration, seed and data goes on.

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
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_detector(config)
    model.to(device)
    optimizer = make_optimizer(model, config)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.weight_average))
    kept = cast(DetectorNetwork, averaged.module)  # what is validated; the weights themselves where the decay is 0
    identity = digest({"config": config.model_dump(mode="json"), "seed": seed, "training": _names(training),
                       "validation": _names(validation)})  # fmt: skip
    history: list[dict[str, float]] = []
    best, best_at = float("inf"), 0
    if saved := load_checkpoint(folder / "checkpoint.pt", identity):
        load_weights(model, saved["model"], "checkpoint.pt")
        optimizer.load_state_dict(saved["optimizer"])
        averaged.load_state_dict(saved["averaged"])
        history, best, best_at = saved["history"], saved["best"], saved["best_at"]
    with Progress(total=config.iterations, initial=len(history), desc="Mask R-CNN", disable=not progress) as bar:
        for iteration in range(len(history), config.iterations):
            row = train_step(model, optimizer, config, training, seed, iteration, device)
            averaged.update_parameters(model)
            history.append(row)
            if (iteration + 1) % config.validate_every == 0 or iteration + 1 == config.iterations:
                found = validation_losses(kept, config, validation, device)
                row |= {f"validation_{name}": value for name, value in found.items()}
                if found["total"] < best:
                    best, best_at = found["total"], iteration + 1
                    save_checkpoint(folder / "model.pt", kept)
                state = {"identity": identity, "model": to_detectron2(model), "optimizer": optimizer.state_dict(),
                         "averaged": averaged.state_dict(), "history": history, "best": best,
                         "best_at": best_at}  # fmt: skip
                save(folder / "checkpoint.pt", state)
                write_history(folder / "history.parquet", history)
            bar.update()
            bar.set_postfix(loss=f"{row['total']:.3f}", best=f"{best:.3f}", refresh=False)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    last = [row["total"] for row in history[-max(1, len(history) // 10) :]]
    return {
        "start_weights": model.started_from,
        "iterations": config.iterations,
        "best_iteration": best_at,
        "validation_loss": best,
        "final_training_loss": float(np.mean(last)),
        "seconds_per_iteration": float(np.median([row["seconds"] for row in history])),
        "peak_memory_mb": max(row["memory_mb"] for row in history),
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
    """Run one iteration (from 0); return its losses, rate, gradient norm, seconds and peak memory in MB."""
    started = time.perf_counter()
    model.train()
    rate = learning_rate(config, iteration)
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch, pairs, generator = draw_batch(data, config, seed, iteration, device)
    with autocast(device, config.precision):
        losses = model.losses([p[0] for p in pairs], [p[1] for p in pairs], generator)
    losses["loss_cls"] = config.class_weight * losses["loss_cls"]
    total = _sum(losses)
    _refuse_infinite(total, batch, iteration)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    norm = nn.utils.clip_grad_norm_(trained, config.gradient_clip or float("inf"))
    _refuse_infinite(norm, batch, iteration)
    optimizer.step()
    row = {"iteration": float(iteration + 1), "rate": rate, "gradient_norm": float(norm)}
    row |= {"total": float(total.detach())} | {name: float(losses[name].detach()) for name in LOSSES}
    return row | {"seconds": time.perf_counter() - started, "memory_mb": _peak_memory(device)}


def draw_batch(
    data: DetectionData, config: Detector, seed: int, iteration: int, device: str = "cpu"
) -> tuple[list[Slice], list[tuple[Tensor, Target]], torch.Generator]:
    """Draw the slices of one iteration, each under a random move.

    Returns:
        The slices, network input and target of each (`prepare`), and the generator of the sampling that follows.
    """
    batch = next_batch(data, config, seed, iteration)
    rng = np.random.default_rng((seed, iteration))
    pairs = [prepare(item, data.channels, config, draw(config.augmentation, rng), device) for item in batch]
    return batch, pairs, torch.Generator(device).manual_seed(int(rng.integers(2**62)))


def learning_rate(config: Detector, iteration: int) -> float:
    """Return the rate of an iteration (from 0): constant as in the paper, or half a cosine; after a warm-up."""
    if config.schedule == "constant":
        return config.learning_rate * min(1.0, (iteration + 1) / max(config.warmup, 1))
    return config.learning_rate * warmup_cosine(config.iterations, config.warmup)(iteration)


@torch.no_grad()
def validation_losses(model: DetectorNetwork, config: Detector, data: DetectionData, device: str) -> dict[str, float]:
    """Return mean losses over all slices without augmentation, with the same sampling every time."""
    model.train()
    sums = dict.fromkeys((*LOSSES, "total"), 0.0)
    generator = torch.Generator(device).manual_seed(0)
    for start in range(0, len(data), config.batch_size):
        batch = data.slices[start : start + config.batch_size]
        pairs = [prepare(item, data.channels, config, Move(), device) for item in batch]
        with autocast(device, config.precision):
            losses = model.losses([p[0] for p in pairs], [p[1] for p in pairs], generator)
        losses["loss_cls"] = config.class_weight * losses["loss_cls"]
        for name, value in (losses | {"total": _sum(losses)}).items():
            sums[name] += float(value) * len(batch)
    return {name: value / len(data) for name, value in sums.items()}


def prepare(item: Slice, channels: str, config: Detector, move: Move, device: str) -> tuple[Tensor, Target]:
    """Return network input `(3, rows, columns)` float32 and target of one slice, resized and moved on the device."""
    rows, columns = int(item.image.shape[-2]), int(item.image.shape[-1])
    size = fed_size(rows, columns, config.min_size, config.max_size)
    masks = torch.from_numpy(np.array([i.mask() for i in item.instances], bool).reshape(-1, rows, columns))
    fed, outlines = resize(item.image.to(device), size), resize_masks(masks.to(device), size)
    image, out, boxes, _, kept = transform(fed, outlines, [i.side for i in item.instances], move)
    labels = torch.tensor([int(i.label) for i in item.instances], dtype=torch.int64, device=device)[kept]
    return three_channels(image, channels), Target(boxes, labels, out)


def next_batch(data: DetectionData, config: Detector, seed: int, iteration: int) -> list[Slice]:
    """Return the slices of one iteration: `inflamed_share` of them with an inflamed joint, the rest as they come."""
    inflamed = [s for s in data.slices if any(i.label == Inflammation.INFLAMED for i in s.instances)]
    chosen = round(config.inflamed_share * config.batch_size) if inflamed else 0
    first = [inflamed[i] for i in batch_indices(len(inflamed), chosen, seed + 1, iteration)] if chosen else []
    return first + [data.slices[i] for i in batch_indices(len(data), config.batch_size - chosen, seed, iteration)]


def batch_indices(count: int, size: int, seed: int, iteration: int) -> list[int]:
    """Return the slices of one iteration, by number: epochs are fresh permutations, laid end to end.

    >>> sorted(batch_indices(4, 2, 0, 0) + batch_indices(4, 2, 0, 1))
    [0, 1, 2, 3]
    """
    places = [divmod(place, count) for place in range(iteration * size, (iteration + 1) * size)]
    orders = {epoch: np.random.default_rng((seed, 7919, epoch)).permutation(count) for epoch, _ in places}
    return [int(orders[epoch][within]) for epoch, within in places]


def make_optimizer(model: DetectorNetwork, config: Detector) -> torch.optim.Optimizer:
    """Return SGD with momentum (Detectron2's solver) or AdamW; norm layers are not decayed, as in Detectron2."""
    norms = {id(p) for m in model.modules() if isinstance(m, nn.GroupNorm) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if id(p) not in norms], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if id(p) in norms], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)


def _sum(losses: dict[str, Tensor]) -> Tensor:
    """Sum the five losses in a fixed order."""
    return torch.stack([losses[name] for name in LOSSES]).sum()


def _names(data: DetectionData) -> list[str]:
    return [f"{s.patient}#{s.index}" for s in data.slices]


def _peak_memory(device: str) -> float:
    """Return the largest memory so far in MB: of the device, or of the process on a CPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _refuse_infinite(value: Tensor, batch: Sequence[Slice], iteration: int) -> None:
    if not torch.isfinite(value):
        named = ", ".join(f"{s.patient} slice {s.index}" for s in batch)
        raise DataError(
            f"iteration {iteration + 1}: the loss is not finite on the batch {named}; look at these slices, lower "
            "detector.learning_rate or set detector.gradient_clip"
        )
