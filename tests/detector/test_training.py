"""Training: resumes bit for bit, keeps the lowest validation loss, and refuses what would ruin the weights."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from axspa_lib.detector import training
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.network.checkpoint import read_checkpoint, to_detectron2
from axspa_lib.detector.network.model import MaskRCNN, build_detector, load_detector
from axspa_lib.detector.training import LOSSES, batch_indices, make_optimizer, train_detector, validation_losses
from axspa_lib.study.config import Detector, load_study
from axspa_lib.study.errors import DataError

SMALL = {"width": 16, "fpn_channels": 16, "box_head_dim": 16, "mask_head_dim": 8, "rois_per_image": 8,
         "batch_size": 2, "iterations": 6, "validate_every": 2, "warmup": 0, "gradient_clip": 0.0}  # fmt: skip


def small(**changes: Any) -> Detector:
    overrides = {f"detector__{name}": value for name, value in (SMALL | changes).items()}
    return load_study("smoke", **overrides).detector


@pytest.fixture(scope="module")
def data(synthetic_cohort: tuple[Path, Path]) -> tuple[DetectionData, DetectionData]:
    channels = small().channels
    train = DetectionData.load(*synthetic_cohort, channels, ["p000", "p001", "p002", "p003"])
    return train, DetectionData.load(*synthetic_cohort, channels, ["p004", "p005"])


class Killed(Exception):
    """Stands for a kill signal."""


@pytest.mark.parametrize(("at", "average"), [(1, 0.0), (2, 0.0), (3, 0.0), (5, 0.0), (3, 0.6), (5, 0.6)])
def test_killed_and_resumed_gives_the_same_bytes(
    data: tuple[DetectionData, DetectionData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, average: float
) -> None:
    config = small(weight_average=average)
    straight = train_detector(config, *data, seed=3, folder=tmp_path / "a", progress=False)
    step = training.train_step

    def killing(*args: Any) -> dict[str, float]:
        if args[5] == at:
            raise Killed
        return step(*args)

    monkeypatch.setattr(training, "train_step", killing)
    with pytest.raises(Killed):
        train_detector(config, *data, seed=3, folder=tmp_path / "b", progress=False)
    monkeypatch.setattr(training, "train_step", step)
    torch.rand(7)  # whatever else happened in between
    resumed = train_detector(config, *data, seed=3, folder=tmp_path / "b", progress=False)
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()
    assert resumed["validation_loss"] == straight["validation_loss"]
    first, second = (pd.read_parquet(tmp_path / f / "history.parquet") for f in "ab")
    pd.testing.assert_frame_equal(first[["total", *LOSSES]], second[["total", *LOSSES]], check_exact=True)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["history.parquet", "model.pt"]


_TRAIN = """
import json, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from axspa_lib.study.config import Detector
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.training import train_detector
slices, instances, folder, config = sys.argv[1:]
config = Detector.model_validate_json(config)
train, held_out = (DetectionData.load(Path(slices), Path(instances), config.channels, p)
                   for p in (["p000", "p001", "p002", "p003"], ["p004", "p005"]))
train_detector(config, train, held_out, seed=3, folder=Path(folder), progress=False)
"""


@pytest.mark.slow
def test_a_kill_signal_at_a_random_moment_changes_no_byte(synthetic_cohort: tuple[Path, Path], tmp_path: Path) -> None:
    """Three processes are killed where chance wants, also while they write; the fourth ends as an undisturbed one."""
    config = small(iterations=60, validate_every=2).model_dump_json()
    command = [sys.executable, "-c", _TRAIN, *map(str, synthetic_cohort)]
    subprocess.run([*command, str(tmp_path / "a"), config], check=True)
    checkpoint = tmp_path / "b" / "checkpoint.pt"
    rng, killed = np.random.default_rng(), []
    for _ in range(3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen([*command, str(tmp_path / "b"), config]) as process:
            while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            process.kill()
        killed.append(process.returncode)
    assert -signal.SIGKILL in killed
    subprocess.run([*command, str(tmp_path / "b"), config], check=True)
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()
    first, second = (pd.read_parquet(tmp_path / f / "history.parquet") for f in "ab")
    pd.testing.assert_frame_equal(first[["total", *LOSSES]], second[["total", *LOSSES]], check_exact=True)


def test_another_seed_is_another_training_and_starts_anew(
    data: tuple[DetectionData, DetectionData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    train_detector(small(iterations=2), *data, seed=1, folder=tmp_path, progress=False)
    monkeypatch.undo()
    assert (tmp_path / "checkpoint.pt").exists()
    train_detector(small(iterations=2), *data, seed=2, folder=tmp_path, progress=False)
    fresh = train_detector(small(iterations=2), *data, seed=2, folder=tmp_path / "fresh", progress=False)
    assert (tmp_path / "model.pt").read_bytes() == (tmp_path / "fresh" / "model.pt").read_bytes()
    assert fresh["start_weights"] == {"start": "scratch"}


def test_the_kept_weights_are_those_of_the_lowest_validation_loss(
    data: tuple[DetectionData, DetectionData], tmp_path: Path
) -> None:
    config = small(iterations=5)
    metrics = train_detector(config, *data, seed=0, folder=tmp_path, progress=False)
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert len(history) == 5 and history["validation_total"].notna().tolist() == [False, True, False, True, True]
    assert metrics["validation_loss"] == history["validation_total"].min()
    assert metrics["best_iteration"] == history["iteration"][history["validation_total"].idxmin()]
    model = load_detector(config, tmp_path / "model.pt")
    assert validation_losses(model, config, data[1], "cpu")["total"] == metrics["validation_loss"]
    assert {"memory_mb", "seconds", "gradient_norm", "rate", *LOSSES} <= set(history)


@pytest.mark.parametrize("average", [0.0, 0.6])
def test_what_is_kept_is_the_moving_average_of_the_weights(
    data: tuple[DetectionData, DetectionData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: float
) -> None:
    config = small(weight_average=average, iterations=4, validate_every=4)
    step, seen = training.train_step, list[dict[str, torch.Tensor]]()

    def watched(model: MaskRCNN, *args: Any) -> dict[str, float]:
        row = step(model, *args)
        seen.append(to_detectron2(model))
        return row

    monkeypatch.setattr(training, "train_step", watched)
    metrics = train_detector(config, *data, seed=0, folder=tmp_path, progress=False)
    expected = {name: value.double() for name, value in seen[0].items()}
    for weights in seen[1:]:
        expected = {name: average * value + (1 - average) * weights[name] for name, value in expected.items()}
    for name, value in read_checkpoint(tmp_path / "model.pt").items():
        torch.testing.assert_close(value, expected[name].float(), rtol=1e-6, atol=1e-7)
    model = load_detector(config, tmp_path / "model.pt")
    assert validation_losses(model, config, data[1], "cpu")["total"] == metrics["validation_loss"]


def test_the_losses_of_a_fixed_task_go_down(data: tuple[DetectionData, DetectionData], tmp_path: Path) -> None:
    """In the mean of three trainings: how far a single one gets differs from processor to processor."""
    config = small(iterations=60, validate_every=60, learning_rate=1e-3, anchor_sizes=[24])
    fallen = []
    for seed in range(3):
        train_detector(config, *data, seed=seed, folder=tmp_path / str(seed), progress=False)
        history = pd.read_parquet(tmp_path / str(seed) / "history.parquet")
        # the box loss counts matched proposals only, and their number grows from none as the proposals improve
        fixed = history[[name for name in LOSSES if name != "loss_box_reg"]].sum(axis=1)
        fallen.append(fixed.tail(5).mean() / fixed.head(3).mean())
        assert history["loss_rpn_cls"].tail(5).mean() < 0.5 * history["loss_rpn_cls"].head(3).mean()
    assert np.mean(fallen) < 0.75


def test_a_batch_without_any_instance_is_learned_from(
    data: tuple[DetectionData, DetectionData], tmp_path: Path
) -> None:
    empty = dataclasses.replace(data[0], slices=tuple(dataclasses.replace(s, instances=()) for s in data[0].slices))
    metrics = train_detector(small(iterations=2), empty, data[1], seed=0, folder=tmp_path, progress=False)
    assert np.isfinite(metrics["validation_loss"])
    assert all(torch.isfinite(v).all() for v in read_checkpoint(tmp_path / "model.pt").values())


def test_a_loss_that_is_not_finite_stops_and_names_the_batch(
    data: tuple[DetectionData, DetectionData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = MaskRCNN.losses

    def broken(self: MaskRCNN, *args: Any) -> dict[str, torch.Tensor]:
        return losses(self, *args) | {"loss_mask": torch.tensor(float("nan"))}

    monkeypatch.setattr(MaskRCNN, "losses", broken)
    with pytest.raises(DataError, match=r"iteration 1: the loss is not finite on the batch p\d+ slice \d"):
        train_detector(small(), *data, seed=0, folder=tmp_path, progress=False)
    assert not (tmp_path / "model.pt").exists()


def test_every_slice_is_seen_once_an_epoch() -> None:
    seen = [i for iteration in range(7) for i in batch_indices(21, 3, 5, iteration)]
    assert sorted(seen) == list(range(21))
    assert seen != [i for iteration in range(7, 14) for i in batch_indices(21, 3, 5, iteration)]


def test_norm_layers_are_not_decayed_and_the_rate_warms_up(data: tuple[DetectionData, DetectionData]) -> None:
    config = small(optimizer="sgd", warmup=4, learning_rate=1e-3, schedule="constant")
    model = build_detector(config)
    optimizer = make_optimizer(model, config)
    decayed, free = optimizer.param_groups
    assert free["weight_decay"] == 0 and all(p.ndim == 1 for p in free["params"])
    assert sum(len(g["params"]) for g in (decayed, free)) == len(list(model.parameters()))
    rates = [training.train_step(model, optimizer, config, data[0], 0, i, "cpu")["rate"] for i in (0, 1, 3, 9)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3])


def test_the_paper_optimises_with_sgd_and_a_frozen_stem() -> None:
    config = Detector(start="scratch")
    model = build_detector(config)
    model.freeze(config.freeze_at)
    optimizer = make_optimizer(model, config)
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (2.5e-4, 0.9, 1e-4)
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen and all(n.startswith(("backbone.stem.", "backbone.res2.")) for n in frozen)
