"""Mask R-CNN of the paper: inference and a training step against stock torchvision and, where installed, Detectron2.

The same ResNet-50 pyramid, two classes, 128 sampled regions, slices of 500 x 500 fed at their own size. Ours runs in
bfloat16 with folded norms and, at inference, keeps 100 proposals where the stock models keep 1000: `agreement` says
what that changes in the detections of ours in float32 with 1000 proposals.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

from axspa_lib.config import Detector
from axspa_lib.detector.inference import predict
from axspa_lib.detector.interface import DetectorNetwork, Target
from axspa_lib.detector.model import build_network
from axspa_lib.detector.training import make_optimizer
from tests.bench.harness import Benchmark
from tests.bench.images import slice_pair

PAPER = Detector(start="scratch", min_size=0)
FAST = PAPER.model_copy(update={"precision": "bfloat16", "test_proposals": 100, "test_candidates": 200})
SIZE = 500


def benchmarks() -> list[Benchmark]:
    """Inference on a slice and a step on two slices, each against every stock library at hand."""
    stocks = {"torchvision": _torchvision()}
    if importlib.util.find_spec("detectron2") is not None:
        stocks["Detectron2"] = build_network(PAPER.model_copy(update={"implementation": "detectron2"}))
    torch.manual_seed(0)
    ours, fast = build_network(PAPER), build_network(FAST)
    fast.load_state_dict(ours.state_dict())
    agreement = _agreement()
    made = []
    for name, stock in stocks.items():
        made += [_inference(fast, stock, name, agreement), _step(ours, stock, name)]
    return made


def _inference(ours: DetectorNetwork, stock: nn.Module, name: str, agreement: str) -> Benchmark:
    t1, stir, _ = slice_pair(SIZE)
    pair = torch.from_numpy(np.stack([(v / v.max() * 255).astype(np.uint8) for v in (t1, stir)]))
    images = [("bench", 0, pair)]
    return Benchmark(
        f"Mask R-CNN R50-FPN, inference on one slice of {SIZE} x {SIZE}",
        ours=lambda: predict(ours, images, FAST),
        reference=_stock_inference(stock, images),
        unit="s",
        repeats=3,
        ours_name="bfloat16, folded norms, channels last, 100 proposals",
        reference_name=f"stock {name}, float32, 1000 proposals",
        agreement=agreement,
        target=2.5,
    )


def _stock_inference(stock: nn.Module, images: list[tuple[str, int, torch.Tensor]]) -> Callable[[], object]:
    if isinstance(stock, DetectorNetwork):
        return lambda: predict(stock, images, PAPER)
    batch = [image[[0, 1, 1]].float() / 255 for _, _, image in images]

    @torch.inference_mode()
    def run() -> object:
        return stock.eval()(batch)

    return run


def _step(ours: DetectorNetwork, stock: nn.Module, name: str) -> Benchmark:
    images = [torch.randint(0, 256, (3, SIZE, SIZE)).float() for _ in range(2)]
    targets = [_target() for _ in images]
    optimizer = make_optimizer(ours, PAPER)
    other = torch.optim.SGD([p for p in stock.parameters() if p.requires_grad], lr=PAPER.learning_rate, momentum=0.9)

    def stock_losses() -> dict[str, torch.Tensor]:
        if isinstance(stock, DetectorNetwork):
            return stock.losses(images, targets)
        named = [{"boxes": t.boxes, "labels": t.labels + 1, "masks": t.masks.byte()} for t in targets]
        return stock.train()([image / 255 for image in images], named)

    def our_losses() -> dict[str, torch.Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            return ours.train().losses(images, targets)

    def step(losses: Callable[[], dict[str, torch.Tensor]], solver: torch.optim.Optimizer) -> Callable[[], float]:
        def run() -> float:
            total = torch.stack(list(losses().values())).sum()
            solver.zero_grad()
            total.backward()
            solver.step()
            return float(total.detach())

        return run

    return Benchmark(
        f"Mask R-CNN R50-FPN, training step on two slices of {SIZE} x {SIZE}",
        ours=step(our_losses, optimizer),
        reference=step(stock_losses, other),
        unit="s",
        repeats=3,
        ours_name="bfloat16, folded norms, channels last",
        reference_name=f"stock {name}, float32",
        target=1.5,
    )


def _target() -> Target:
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[0, 180:310, 120:200] = masks[1, 180:310, 300:380] = True
    boxes = torch.tensor([[120.0, 180, 200, 310], [300, 180, 380, 310]])
    return Target(boxes, torch.tensor([0, 1]), masks)


def _torchvision() -> nn.Module:
    """torchvision's own Mask R-CNN with the paper's numbers of regions, frozen stem and unresized slices."""
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=SIZE, max_size=SIZE, box_score_thresh=0.05,
        rpn_pre_nms_top_n_test=1000, rpn_post_nms_top_n_test=1000, rpn_pre_nms_top_n_train=2000,
        rpn_post_nms_top_n_train=1000, box_batch_size_per_image=128,
    )  # fmt: skip
    for module in (model.backbone.body.conv1, model.backbone.body.layer1):
        module.requires_grad_(False)
    return model


def _agreement() -> str:
    """What the savings of inference change, on held-out slices of a small network trained for a minute."""
    import tempfile
    from pathlib import Path

    from axspa_lib.config import load_study
    from axspa_lib.detector.data import DetectionData
    from axspa_lib.detector.model import load_detector
    from axspa_lib.detector.training import train_detector
    from tests.detector.synthetic import write_cohort

    config = load_study("quick", detector__iterations=80, detector__validate_every=80).detector
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slices, instances = write_cohort(folder / "c", patients=12, slices=4)
        train, held_out = (
            DetectionData.load(slices, instances, config.channels, [f"p{n:03d}" for n in numbers])
            for numbers in (range(8), range(8, 12))
        )
        train_detector(config, train, held_out, seed=0, folder=folder, progress=False)
        full = config.model_copy(update={"precision": "float32", "test_proposals": 1000, "test_candidates": 1000})
        fast = config.model_copy(update={"precision": "bfloat16", "test_proposals": 100, "test_candidates": 200})
        stock, saved = (predict(load_detector(c, folder / "model.pt"), held_out, c) for c in (full, fast))
    stock, saved = (t[t["score"] > config.score_threshold].reset_index(drop=True) for t in (stock, saved))
    keys = ["patient", "slice", "side", "label"]
    both = stock.merge(saved, on=keys, suffixes=("", "_saved"))
    moved = max(float((both[c] - both[f"{c}_saved"]).abs().max()) for c in ("x0", "y0", "x1", "y1"))
    score = float((both["score"] - both["score_saved"]).abs().max())
    return (
        f"on {len(held_out)} held-out slices {len(stock)} detections, {len(both)} of them found again by the savings "
        f"({len(saved)}): boxes within {moved:.2f} px, scores within {score:.3f}"
    )
