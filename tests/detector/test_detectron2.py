"""Genuine Detectron2 behind the same interface, end to end: trained, killed, resumed, predicted, exchanged with ours.

Runs where Detectron2 is importable; elsewhere its stored vectors stand for it (`test_golden.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from axspa_lib.detector import training
from axspa_lib.detector.data import DetectionData
from axspa_lib.detector.inference import predict, read_predictions, write_predictions
from axspa_lib.detector.network.checkpoint import load_weights, read_checkpoint, to_detectron2
from axspa_lib.detector.network.model import build_network, load_detector
from axspa_lib.detector.training import train_detector, validation_losses
from axspa_lib.study.config import Detector, load_study
from axspa_lib.study.errors import ConfigError, DataError

pytest.importorskip("detectron2", reason="Detectron2 is not installed: its stored vectors are compared only")


def config(implementation: str = "detectron2", **changes: Any) -> Detector:
    overrides = {"implementation": implementation, "width": 64, "fpn_channels": 64, "box_head_dim": 32,
                 "mask_head_dim": 16, "batch_size": 2, "iterations": 4, "validate_every": 2, "warmup": 0,
                 "precision": "float32"} | changes  # fmt: skip
    return load_study("smoke", **{f"detector__{name}": value for name, value in overrides.items()}).detector


@pytest.fixture(scope="module")
def data(synthetic_cohort: tuple[Path, Path]) -> tuple[DetectionData, DetectionData]:
    channels = config().channels
    train = DetectionData.load(*synthetic_cohort, channels, ["p000", "p001", "p002", "p003"])
    return train, DetectionData.load(*synthetic_cohort, channels, ["p004", "p005"])


@pytest.fixture(scope="module")
def trained(data: tuple[DetectionData, DetectionData], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a short training by Detectron2."""
    folder = tmp_path_factory.mktemp("detectron2")
    metrics = train_detector(config(), *data, seed=1, folder=folder, progress=False)
    assert metrics["start_weights"] == {"start": "scratch"} and np.isfinite(metrics["validation_loss"])
    return folder


class Killed(Exception):
    """Stands for a kill signal."""


def test_a_killed_training_goes_on_bit_for_bit(
    data: tuple[DetectionData, DetectionData], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = training.train_step

    def killing(*args: Any) -> dict[str, float]:
        if args[5] == 3:
            raise Killed
        return step(*args)

    monkeypatch.setattr(training, "train_step", killing)
    with pytest.raises(Killed):
        train_detector(config(), *data, seed=1, folder=tmp_path, progress=False)
    monkeypatch.setattr(training, "train_step", step)
    train_detector(config(), *data, seed=1, folder=tmp_path, progress=False)
    assert (tmp_path / "model.pt").read_bytes() == (trained / "model.pt").read_bytes()


def test_what_detectron2_trained_predicts_the_same_here(
    data: tuple[DetectionData, DetectionData], trained: Path, tmp_path: Path
) -> None:
    tables = {}
    for name in ("detectron2", "torchvision"):
        chosen = config(name, store_threshold=0.01)
        table = predict(load_detector(chosen, trained / "model.pt"), data[1], chosen)
        write_predictions(tmp_path / f"{name}.parquet", table)
        tables[name] = read_predictions(tmp_path / f"{name}.parquet")
    theirs, ours = tables["detectron2"], tables["torchvision"]
    assert len(ours) == len(theirs) > 0
    columns = ["patient", "slice", "side", "label"]
    pd.testing.assert_frame_equal(ours[columns], theirs[columns])
    numbers = ["x0", "y0", "x1", "y1", "score", "p_healthy", "p_inflamed"]
    np.testing.assert_allclose(ours[numbers], theirs[numbers], atol=2e-2)


def test_what_was_trained_here_has_the_same_loss_there(
    data: tuple[DetectionData, DetectionData], tmp_path: Path
) -> None:
    train_detector(config("torchvision"), *data, seed=2, folder=tmp_path, progress=False)
    for implementation in ("torchvision", "detectron2"):
        model = load_detector(config(implementation), tmp_path / "model.pt")
        assert to_detectron2(model).keys() == read_checkpoint(tmp_path / "model.pt").keys()
    images = [torch.rand(3, 96, 96) * 255 for _ in range(2)]
    pair = [load_detector(config(name), tmp_path / "model.pt").eval() for name in ("torchvision", "detectron2")]
    ours, theirs = (model.detect(images, 0.0) for model in pair)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.scores[:10], other.scores[:10], atol=1e-4, rtol=0)
    losses = [validation_losses(model, config(), data[1], "cpu")["loss_rpn_cls"] for model in pair]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # other anchors are sampled


def test_the_authors_names_start_a_training_of_detectron2(
    data: tuple[DetectionData, DetectionData], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint as Detectron2's trainer writes it, under the authors' name."""
    monkeypatch.setenv("AXSPA_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    torch.save(
        {"model": read_checkpoint(trained / "model.pt"), "iteration": 7999}, tmp_path / "weights/weights_mrcnn.pt"
    )
    for name in ("detectron2", "torchvision"):
        chosen = config(name, start="authors", iterations=1, validate_every=1)
        metrics = train_detector(chosen, *data, seed=0, folder=tmp_path / name, progress=False)
        assert metrics["start_weights"]["start"] == "authors" and metrics["start_weights"]["file"] == "weights_mrcnn.pt"


def test_mixed_precision_gives_finite_losses_and_detections(data: tuple[DetectionData, DetectionData]) -> None:
    chosen = config(precision="bfloat16")
    torch.manual_seed(0)
    model = build_network(chosen)
    assert all(np.isfinite(v) for v in validation_losses(model, chosen, data[1], "cpu").values())
    assert predict(model, data[1], chosen)["score"].between(0, 1).all()


def test_a_checkpoint_of_another_network_is_refused(trained: Path) -> None:
    with pytest.raises(DataError, match="check detector"):
        load_weights(build_network(config(box_head_dim=16)), read_checkpoint(trained / "model.pt"), "model.pt")


def test_what_detectron2_cannot_build_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"detector\.fpn_channels: .*32 groups"):
        build_network(config(fpn_channels=32))


def test_the_profile_of_that_name_trains_it(data: tuple[DetectionData, DetectionData], tmp_path: Path) -> None:
    chosen = load_study("detectron2").detector.model_copy(update={"iterations": 1, "validate_every": 1})
    metrics = train_detector(chosen, *data, seed=0, folder=tmp_path, progress=False)
    assert type(build_network(chosen)).__name__ == "Detectron2Detector" and np.isfinite(metrics["validation_loss"])
