"""Mask R-CNN of the paper: inference and a training step against stock torchvision and, where installed, Detectron2.

All have the same ResNet-50 pyramid, two classes and the same weights (those of the golden vectors, with the background
raised until a slice has a few detections, as a trained network finds), 128 sampled regions, slices of 500 x 500 fed at
their own size, 1000 proposals. Where the extra `cpu` is installed, ours runs by OpenVINO (`network.runtime`), and is
compared with plain torch too; what bfloat16 changes in detections is said with its time.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from axspa_lib.detector.inference import predict
from axspa_lib.detector.network.checkpoint import load_weights, to_detectron2
from axspa_lib.detector.network.interface import Detections, DetectorNetwork, Target
from axspa_lib.detector.network.model import MaskRCNN, build_network
from axspa_lib.detector.network.runtime import prepared, runtime_of
from axspa_lib.detector.training import make_optimizer
from axspa_lib.networks.precision import autocast
from axspa_lib.study.config import Detector
from tests.bench.harness import Benchmark
from tests.bench.images import slice_pair
from tests.bench.stock_torchvision import stock_network

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / folder) for folder in ("golden", "detector")]

PAPER = Detector(start="scratch", min_size=0)
MIXED = PAPER.model_copy(update={"precision": "bfloat16"})
SIZE = 500
_BACKGROUND = 11.5  # added to the background's logit: a slice has a few detections above 0.05, not the full hundred


def benchmarks() -> list[Benchmark]:
    """Inference on a slice and a step on two slices, each against every stock library at hand."""
    model = generated_network(PAPER)
    stocks: dict[str, nn.Module] = {"torchvision": stock_network(model, SIZE)}
    if importlib.util.find_spec("detectron2") is not None:
        stocks["Detectron2"] = build_network(PAPER.model_copy(update={"implementation": "detectron2"}))
        load_weights(stocks["Detectron2"], to_detectron2(model), "generated")
    ours = prepared(model, PAPER, "cpu")
    made = [_against_torch(model, config) for config in (PAPER, MIXED)] if ours is not model else []
    for name, stock in stocks.items():
        made += [_inference(ours, stock, name)]
        made += [_step(model, stock, name, precision) for precision in ("float32", "bfloat16")]
    return made


def generated_network(config: Detector) -> MaskRCNN:
    """The paper's network with generated weights that find a few joints in a slice."""
    from detectron2_case import generated_weights

    model = build_network(config)
    assert isinstance(model, MaskRCNN)
    weights = generated_weights({name: tuple(value.shape) for name, value in to_detectron2(model).items()})
    weights["roi_heads.box_predictor.cls_score.bias"][2] += _BACKGROUND
    load_weights(model, weights, "generated")
    model.freeze(config.freeze_at)
    found = predict(model, one_slice(), config)
    assert 1 <= len(found) <= 10, f"{len(found)} detections where a trained network has a few"
    return model


def one_slice() -> list[tuple[str, int, torch.Tensor]]:
    t1, stir, _ = slice_pair(SIZE)
    return [("bench", 0, torch.from_numpy(np.stack([(v / v.max() * 255).astype(np.uint8) for v in (t1, stir)])))]


def _inference(ours: DetectorNetwork, stock: nn.Module, name: str) -> Benchmark:
    return Benchmark(
        f"Mask R-CNN R50-FPN, inference on one slice of {SIZE} x {SIZE}",
        ours=_detects(ours),
        reference=_detects(stock) if isinstance(stock, DetectorNetwork) else _stock_inference(stock),
        unit="s",
        repeats=7,
        ours_name=f"{runtime_of(PAPER, 'cpu')}, float32",
        reference_name=f"stock {name}, float32",
    )


def _against_torch(model: MaskRCNN, config: Detector) -> Benchmark:
    """Compare OpenVINO with plain torch in one precision, and its detections with those of torch in float32."""
    compiled = prepared(model, config, "cpu")
    ours, theirs = (
        _detects(network, precision)() for network, precision in ((compiled, config.precision), (model, "float32"))
    )
    same = len(ours.boxes) == len(theirs.boxes)
    moved = [float((getattr(ours, n) - getattr(theirs, n)).abs().max()) for n in ("boxes", "scores")] if same else []
    change = (
        f"boxes within {moved[0]:.2g} pixels and scores within {moved[1]:.2g}" if same else "another number of boxes"
    )
    return Benchmark(
        f"Mask R-CNN R50-FPN, inference on one slice of {SIZE} x {SIZE}",
        ours=_detects(compiled, config.precision),
        reference=_detects(model, config.precision),
        unit="s",
        repeats=7,
        ours_name=f"openvino, {config.precision}",
        reference_name=f"torch, {config.precision}",
        agreement=f"{change} of torch in float32",
    )


def _detects(network: DetectorNetwork, precision: str = "float32") -> Callable[[], Detections]:
    image = one_slice()[0][2][[0, 1, 1]].float()
    network.eval()

    @torch.inference_mode()
    def run() -> Detections:
        with autocast("cpu", precision):
            return network.detect([image])[0]

    return run


def _with(model: MaskRCNN, config: Detector) -> MaskRCNN:
    """The same weights under another configuration."""
    other = build_network(config)
    assert isinstance(other, MaskRCNN)
    other.load_state_dict(model.state_dict())
    return other


def _stock_inference(stock: nn.Module) -> Callable[[], object]:
    batch = [image[[0, 1, 1]].float() / 255 for _, _, image in one_slice()]

    @torch.inference_mode()
    def run() -> object:
        return stock.eval()(batch)

    return run


def _step(model: MaskRCNN, stock: nn.Module, name: str, precision: str) -> Benchmark:
    """A step on two slices; a rate near zero leaves both networks as they are, so every step is the same work."""
    ours = _with(model, PAPER)
    ours.freeze(PAPER.freeze_at)
    images = [torch.from_numpy(np.stack([one_slice()[0][2][c] for c in (0, 1, 1)])).float() for _ in range(2)]
    targets = [_target() for _ in images]
    solver = make_optimizer(ours, PAPER.model_copy(update={"learning_rate": 1e-9}))
    other = torch.optim.SGD([p for p in stock.parameters() if p.requires_grad], lr=1e-9, momentum=0.9)

    def stock_losses() -> dict[str, torch.Tensor]:
        if isinstance(stock, DetectorNetwork):
            return stock.train().losses(images, targets)
        named = [{"boxes": t.boxes, "labels": t.labels + 1, "masks": t.masks.byte()} for t in targets]
        return stock.train()([image / 255 for image in images], named)

    def our_losses() -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return ours.train().losses(images, targets)

    def step(losses: Callable[[], dict[str, torch.Tensor]], optimizer: torch.optim.Optimizer) -> Callable[[], float]:
        def run() -> float:
            total = torch.stack(list(losses().values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            return float(total.detach())

        return run

    mine, theirs = step(our_losses, solver), step(stock_losses, other)
    return Benchmark(
        f"Mask R-CNN R50-FPN, training step on two slices of {SIZE} x {SIZE}, {precision}",
        ours=mine,
        reference=theirs,
        unit="s",
        repeats=3,
        ours_name=f"{precision}, folded norms, channels last",
        reference_name=f"stock {name}, float32",
        agreement=f"sums of the losses {mine():.3f} and {theirs():.3f}",
        target=1.5 if precision == "bfloat16" else None,
    )


def _target() -> Target:
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, 180:310, 120:200] = masks[1, 180:310, 300:380] = True
    boxes = torch.tensor([[120.0, 180, 200, 310], [300, 180, 380, 310]])
    return Target(boxes, torch.tensor([0, 1]), masks)
