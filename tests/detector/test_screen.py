"""The screen before the box head rules out only what is far below the floor, and is not believed where it errs."""

from __future__ import annotations

import math

import detectron2_case as case
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.detection.faster_rcnn import TwoMLPHead

from axspa_lib.detector import packed as module
from axspa_lib.detector.checkpoint import load_weights, to_detectron2
from axspa_lib.detector.model import MaskRCNN, build_network
from axspa_lib.detector.packed import PackedHeads, packed
from axspa_lib.detector.roi_heads import RoiHeads
from axspa_lib.detector.screen import MARGIN, WATCHED, Screen, best_class, left_open, trusted


def test_best_class_by_hand() -> None:
    logits = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]).log() + 3
    torch.testing.assert_close(best_class(logits), torch.tensor([0.5, 0.1]).log())


def test_what_is_left_open_is_what_may_exceed_the_floor_in_order() -> None:
    limit = math.log(0.05) - MARGIN
    chances = torch.full((200,), limit - 0.01)
    chances[torch.arange(0, 120, 2)] = limit + 0.01
    assert left_open(chances, 0.05).tolist() == list(range(0, 120, 2))


def test_some_are_always_judged_both_ways_and_numbers_that_are_none_rule_nothing_out() -> None:
    chances = -torch.arange(100.0) - 50
    assert left_open(chances, 0.05).tolist() == list(range(WATCHED))
    chances[90:] = math.nan
    assert set(range(90, 100)) <= set(left_open(chances, 0.05).tolist())
    assert len(left_open(torch.full((90,), math.nan), 0.05)) == 90
    assert not trusted(torch.tensor([math.nan]), torch.tensor([-1.0]))


@pytest.fixture(scope="module")
def heads() -> RoiHeads:
    model = build_network(case.CONFIG)
    assert isinstance(model, MaskRCNN)
    shapes = {name: tuple(value.shape) for name, value in to_detectron2(model).items()}
    load_weights(model, case.generated_weights(shapes), "generated")
    return model.eval().roi_heads


def _case() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(3)
    features = [torch.randn(2, 256, 64 // 2**k, 64 // 2**k, generator=generator) for k in range(4)]
    corner = torch.rand(2, 150, 2, generator=generator) * 150
    extent = 10 + torch.rand(2, 150, 2, generator=generator) * 90
    return features, list(torch.cat([corner, corner + extent], 2))


@torch.no_grad()
def test_a_screened_head_judges_the_same_as_one_that_judges_all(heads: RoiHeads) -> None:
    features, boxes = _case()
    screen = Screen(heads.box_head, heads.classifier)
    _, everything, _ = heads.judge(features, boxes, 0.05)
    floor = float(best_class(everything).exp().quantile(0.9))
    kept, logits, deltas = PackedHeads(heads, screen).judge(features, boxes, floor)
    assert WATCHED < len(logits) < 300 and sum(len(k) for k in kept) == len(logits) == len(deltas)
    exact = best_class(everything)
    wanted = torch.cat(boxes)[exact > math.log(floor)]
    found = torch.cat(kept)[best_class(logits) > math.log(floor)]
    assert torch.equal(wanted, found)


@torch.no_grad()
def test_a_screen_that_errs_is_not_believed(heads: RoiHeads, caplog: pytest.LogCaptureFixture) -> None:
    features, boxes = _case()
    wrong = nn.Linear(heads.classifier.in_features, heads.classifier.out_features)
    wrong.load_state_dict(heads.classifier.state_dict())
    wrong.bias[-1] += 5
    kept, logits, _ = PackedHeads(heads, Screen(heads.box_head, wrong)).judge(features, boxes, 0.05)
    assert sum(len(k) for k in kept) == len(logits) == 300
    assert "judged in float32" in caplog.text


def test_without_bfloat16_in_the_processor_all_are_judged(heads: RoiHeads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "multiplies_bfloat16", lambda: False)
    model = build_network(case.CONFIG)
    assert isinstance(model, MaskRCNN)
    features, boxes = _case()
    made = packed(model).roi_heads
    assert isinstance(made, PackedHeads) and made.screen is None
    assert len(made.judge(features, boxes, 0.05)[1]) == 300


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_the_first_layer_errs_by_no_more_than_rounding_allows(seed: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    head = TwoMLPHead(3 * 49, 5)
    head.fc6.weight.data = torch.randn(5, 3 * 49, generator=generator) * spread
    pooled = (torch.randn(40, 3, 7, 7, generator=generator) * torch.rand(40, 1, 1, 1, generator=generator)).bfloat16()
    bins = pooled.permute(0, 2, 3, 1).flatten(1)
    found = Screen(head, nn.Linear(5, 3)).first(bins.split(17))
    exact = F.linear(pooled.double().flatten(1), head.fc6.weight.double(), head.fc6.bias.double())
    value, weight = pooled.double().flatten(1).abs(), head.fc6.weight.double().abs()
    half_step = 0.5 * 1.02 / 127  # of the largest; bfloat16 rounds the step, and the product once more
    bound = (
        half_step * value.amax(1)[:, None] * weight.sum(1)
        + half_step * weight.amax(1) * value.sum(1)[:, None]
        + (half_step**2 * weight.amax(1) * value.amax(1)[:, None]) * weight.shape[1]
        + 2**-8 * value @ weight.T
        + 1e-5 * spread
    )
    assert ((found - exact).abs() <= bound).all()
