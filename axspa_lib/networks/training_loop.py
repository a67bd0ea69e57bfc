"""Resumable, deterministic training of any torch model: rounds, checkpoints, history, best state, progress.

A training is a number of *rounds* (epochs, or a fixed number of iterations), each followed by a validation and a
checkpoint. Every round seeds its random numbers from (seed, round), so a resumed training ends, on a CPU with the same
threads, with the weights of an uninterrupted one, bit for bit.
"""

from __future__ import annotations

import io
import logging
import math
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from axspa_lib.study.errors import DataError
from axspa_lib.study.progress import Progress

log = logging.getLogger(__name__)


def constant(step: int) -> float:
    """Return a learning-rate factor that never changes."""
    return 1.0


@dataclass(frozen=True)
class TrainingPlan:
    """Everything a training needs besides the model.

    Attributes:
        rounds: number of rounds.
        steps: optimiser steps per round (for the progress bar and the schedule).
        batches: round index -> `steps` pairs (name of the batch, batch); must depend on nothing but the round and
            the global random numbers, which are seeded before each call.
        loss: batch -> scalar loss, or named losses that are summed.
        validate: () -> figures of this round, e.g. `{"validation_loss": 0.1, "validation_dice": 0.9}`.
        monitor: the figure of `validate` that decides which round is best.
        mode: whether a larger (`max`) or smaller (`min`) figure is better; the first of equals wins.
        schedule: step in `[0, rounds * steps)` -> factor on every learning rate.
        clip: maximal gradient norm; 0 is off.
        round_name: column of the history that counts rounds, from 1.
    """

    rounds: int
    steps: int
    batches: Callable[[int], Iterable[tuple[str, Any]]]
    loss: Callable[[Any], Tensor | dict[str, Tensor]]
    validate: Callable[[], dict[str, float]]
    monitor: str
    mode: Literal["min", "max"] = "min"
    schedule: Callable[[int], float] = constant
    clip: float = 0.0
    round_name: str = "round"


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: TrainingPlan,
    *,
    folder: Path,
    seed: int,
    identity: str,
    progress: bool = True,
    label: str = "training",
) -> pd.DataFrame:
    """Train `model` in place and write `model.pt` (best round) and `history.parquet` into `folder`.

    `folder/checkpoint.pt` holds the state after the last finished round and is deleted at the end. A checkpoint of
    another `identity` (configuration, seed and data) cannot be continued: a warning says so and training restarts.

    Args:
        model: on its device, in the initial state; ends in the state of the last round.
        optimizer: over the model's parameters.
        plan: see `TrainingPlan`.
        folder: created where absent.
        seed: of every random number drawn in the rounds.
        identity: names what is trained; see `axspa_lib.study.config.digest`.
        progress: draw a bar with the loss and the time left.
        label: name on the bar.

    Returns:
        One row per round: `plan.round_name` (1-based), `train_loss`, the figures of `plan.validate`, `learning_rate`
        and `seconds`.

    Raises:
        DataError: the loss is not finite (names round, step and batch), or no round gave a finite `monitor`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    base_rates = [float(group["lr"]) for group in optimizer.param_groups]
    rows: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    saved = load_checkpoint(checkpoint, identity)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        rows, best = saved["history"], saved["best"]
        log.info("%s resumes after round %d of %d", label, len(rows), plan.rounds)

    shown = {"total": plan.rounds * plan.steps, "initial": len(rows) * plan.steps, "desc": label, "unit": "step"}
    with Progress(**shown, disable=not progress) as bar, deterministic(seed):
        for index in range(len(rows), plan.rounds):
            started = time.monotonic()
            seed_everything(seed, index)
            train_loss = _train_round(model, optimizer, plan, index, base_rates, bar)
            model.eval()
            figures = plan.validate()
            row = {plan.round_name: index + 1, "train_loss": train_loss, **figures}
            row |= {"learning_rate": optimizer.param_groups[0]["lr"], "seconds": time.monotonic() - started}
            rows.append(row)
            if best_round(rows, plan.monitor, plan.mode) == index:
                best = state_dict_cpu(model)
            state = {"identity": identity, "model": state_dict_cpu(model), "optimizer": optimizer.state_dict()}
            save(checkpoint, state | {"history": rows, "best": best})
            write_history(folder / "history.parquet", rows)
    if not best:
        raise DataError(f"{label}: {plan.monitor} was not finite in any round; check the validation set")
    save(folder / "model.pt", best)
    history = write_history(folder / "history.parquet", rows)
    checkpoint.unlink(missing_ok=True)
    return history


def _train_round(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plan: TrainingPlan,
    index: int,
    base_rates: Sequence[float],
    bar: Progress,
) -> float:
    model.train()
    total = 0.0
    for step, (name, batch) in enumerate(plan.batches(index)):
        factor = plan.schedule(index * plan.steps + step)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        losses = plan.loss(batch)
        loss = sum(losses.values(), torch.zeros(())) if isinstance(losses, dict) else losses
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DataError(
                f"the loss is {value} in round {index + 1}, step {step + 1}, batch {name}: "
                f"look at these images or lower the learning rate"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if plan.clip:
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip)
        optimizer.step()
        total += value
        bar.update()
        bar.set_postfix(loss=f"{value:.4f}", refresh=False)
    return total / plan.steps


def best_round(rows: Sequence[dict[str, float]], monitor: str, mode: Literal["min", "max"]) -> int | None:
    """Return the index of the best round, the first of equals; rounds whose figure is not finite do not count.

    >>> best_round([{"dice": 0.5}, {"dice": float("nan")}, {"dice": 0.9}, {"dice": 0.9}], "dice", "max")
    2
    """
    sign = 1 if mode == "max" else -1
    finite = [index for index, row in enumerate(rows) if math.isfinite(row[monitor])]
    return max(finite, key=lambda index: sign * rows[index][monitor], default=None)


def warmup_cosine(steps: int, warmup: int = 0, last: float = 0.02) -> Callable[[int], float]:
    """Return a learning-rate factor by step: a linear rise over `warmup`, then half a cosine from 1 to `last`.

    >>> factor = warmup_cosine(steps=10, warmup=2)
    >>> factor(0), factor(1), factor(2), round(factor(9), 2)
    (0.5, 1.0, 1.0, 0.06)
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return last + (1 - last) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2

    return factor


def seed_everything(*values: int) -> None:
    """Seed Python's, numpy's and torch's global random numbers from `values`, e.g. (seed, round)."""
    seed = int(np.random.SeedSequence(values).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - dependencies draw from the global generator
    torch.manual_seed(seed)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Run the body with deterministic algorithms where CUDA has them, without changing the caller's random state."""
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            if torch.cuda.is_available():
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
            seed_everything(seed)
            yield
        finally:
            torch.use_deterministic_algorithms(algorithms, warn_only=warn)
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def state_dict_cpu(model: nn.Module) -> dict[str, Tensor]:
    """Copy the model's state to the CPU in plain memory order: equal weights give equal files."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def save(path: Path, value: Any) -> None:
    """Write with `torch.save`, whole or not at all; equal values give equal bytes whatever the file is called."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    _write_bytes(path, buffer.getbuffer())


def write_history(path: Path, rows: Sequence[dict[str, float]]) -> pd.DataFrame:
    """Write the rounds as Parquet, whole or not at all, and return them as a table."""
    table = pd.DataFrame(list(rows))
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    _write_bytes(path, buffer.getbuffer())
    return table


def _write_bytes(path: Path, content: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """Return the state of a killed training with the same identity, or None; a warning names a strange one."""
    if not path.exists():
        return None
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); delete it to train from scratch") from None
    if saved.get("identity") != identity:
        log.warning("%s belongs to another configuration, seed or data: training starts from scratch", path)
        return None
    return saved
