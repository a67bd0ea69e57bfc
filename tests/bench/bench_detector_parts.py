"""Where an inference spends its time: each part of the paper's network, packed, against torchvision's on one input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from axspa_lib.detector.packed import PackedHeads, packed
from tests.bench.bench_detector import PAPER, SIZE, generated_network, one_slice
from tests.bench.harness import Benchmark
from tests.bench.stock_torchvision import stock_network


def benchmarks() -> list[Benchmark]:
    """Body, pyramid, proposal head, selection of proposals, box head with its pooling."""
    model = generated_network(PAPER)
    fast, stock = packed(model), cast(Any, stock_network(model, SIZE)).eval()
    with torch.inference_mode():
        batch, sizes = fast.batch([one_slice()[0][2][[0, 1, 1]].float()])
        stages = _body(fast, batch)
        features = list(fast.backbone.fpn(stages).values())
        named = OrderedDict(zip(("0", "1", "2", "3", "pool"), features, strict=True))
        logits, deltas = fast.proposals(features)
        regions = fast.proposals.select(fast.proposals.anchors(features), logits, deltas, sizes, 1000, 1000)
    heads = cast(PackedHeads, fast.roi_heads)
    body = OrderedDict((str(number), value) for number, value in enumerate(stages.values()))
    image = (SIZE, SIZE)

    def stock_box_head() -> object:
        value = stock.roi_heads.box_head(stock.roi_heads.box_roi_pool(named, regions, [image]))
        return stock.roi_heads.box_predictor(value)

    left = len(heads.judge(features[:4], regions, PAPER.store_threshold)[1])
    pairs: list[tuple[str, Callable[[], object], Callable[[], object], str]] = [
        ("body (ResNet-50)", lambda: _body(fast, batch), lambda: stock.backbone.body(batch), ""),
        ("pyramid", lambda: fast.backbone.fpn(stages), lambda: stock.backbone.fpn(body), ""),
        ("proposal head", lambda: fast.proposals(features), lambda: stock.rpn.head(features), ""),
        (f"pooling and box head of {len(regions[0])} proposals",
         lambda: heads.judge(features[:4], regions, PAPER.store_threshold), stock_box_head,
         f"{left} of {len(regions[0])} proposals judged in float32"),
    ]  # fmt: skip
    return [
        Benchmark(
            f"part of the inference: {name}", ours=_inference(ours), reference=_inference(reference), unit="ms",
            repeats=5, ours_name="packed", reference_name="stock torchvision", agreement=agreement,
        )
        for name, ours, reference, agreement in pairs
    ]  # fmt: skip


def _body(network: Any, batch: Tensor) -> OrderedDict[str, Tensor]:
    value, stages = network.backbone.stem(batch), OrderedDict()
    for number in range(2, 6):
        value = getattr(network.backbone, f"res{number}")(value)
        stages[f"p{number}"] = value
    return stages


def _inference(work: Callable[[], object]) -> Callable[[], object]:
    return torch.inference_mode()(work)
