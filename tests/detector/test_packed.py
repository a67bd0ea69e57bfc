"""The network packed for inference on a CPU finds what the network as it is finds: same boxes, scores and masks.

The tolerance is that of the comparison with genuine Detectron2 (`test_golden`): 0.01 pixel, 1e-4, 99.9 % of the pixels.
"""

from __future__ import annotations

import detectron2_case as case
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from axspa_lib.config import Detector, load_study
from axspa_lib.detector.checkpoint import load_weights, to_detectron2
from axspa_lib.detector.inference import decode_mask, predict
from axspa_lib.detector.lookup import pool_by_lookup
from axspa_lib.detector.model import MaskRCNN, build_network
from axspa_lib.detector.packed import for_inference, packed
from axspa_lib.detector.roi_heads import pool_aligned


@pytest.fixture(scope="module", params=[("resnet50", "frozen_bn"), ("resnet18", "group_norm")], ids=str)
def network(request: pytest.FixtureRequest) -> MaskRCNN:
    model = build_network(case.CONFIG.model_copy(update={"backbone": request.param[0], "norm": request.param[1]}))
    shapes = {name: tuple(value.shape) for name, value in to_detectron2(model).items()}
    load_weights(model, case.generated_weights(shapes), "generated")
    assert isinstance(model, MaskRCNN)
    return model.eval()


def test_nothing_is_found_otherwise(network: MaskRCNN) -> None:
    images = [(f"s{number}", 0, torch.from_numpy(pair)) for number, pair in enumerate(case.pairs())]
    plain, fast = (predict(m, images, network.config) for m in (network, packed(network)))
    assert len(plain) == len(fast) > 50
    for key in ("patient", "slice", "label", "side"):
        assert plain[key].tolist() == fast[key].tolist()
    corners = ["x0", "y0", "x1", "y1"]
    assert np.abs(plain[corners] - fast[corners]).max(axis=None) <= 0.01
    assert np.abs(plain[["score", "p_healthy", "p_inflamed"]] - fast[["score", "p_healthy", "p_inflamed"]]).max(
        axis=None
    ) <= 1e-4  # fmt: skip
    for (_, one), (_, other) in zip(plain.iterrows(), fast.iterrows(), strict=True):
        assert (decode_mask(one) == decode_mask(other)).mean() >= 0.999


def test_packing_leaves_the_network_as_it_was(network: MaskRCNN) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    packed(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-8, 300)] * 2, *[st.floats(0.5, 400)] * 2), min_size=1, max_size=12),
       st.sampled_from([7, 14]))  # fmt: skip
def test_looking_up_is_aligned_pooling(places: list[tuple[float, float, float, float]], size: int) -> None:
    boxes = torch.tensor([[x, y, x + wide, y + high] for x, y, wide, high in places])
    generator = torch.Generator().manual_seed(len(places))
    features = [torch.randn(2, 3, 72 // 2**k, 88 // 2**k, generator=generator).requires_grad_() for k in range(4)]
    split = [boxes[::2], boxes[1::2]]
    ours, theirs = (pooled(features, split, size) for pooled in (pool_by_lookup, pool_aligned))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    weights = torch.randn(ours.shape, generator=generator)
    back, expected = (
        torch.autograd.grad((p * weights).sum(), features, materialize_grads=True) for p in (ours, theirs)
    )
    torch.testing.assert_close(back, expected, atol=1e-3, rtol=1e-4)


def test_no_region_is_pooled_to_nothing() -> None:
    features = [torch.randn(1, 3, 8, 8, requires_grad=True)] * 4
    pooled = pool_by_lookup(features, [torch.zeros(0, 4)], 7)
    assert pooled.shape == (0, 3, 7, 7)


def test_looking_up_one_region_is_torchvisions_pooling() -> None:
    feature = torch.rand(1, 2, 40, 40).contiguous(memory_format=torch.channels_last)
    box = torch.tensor([[30.0, 41, 101, 147]])
    expected = roi_align(feature, [box], 7, 0.25, 0, aligned=True)
    torch.testing.assert_close(pool_by_lookup([feature] * 4, [box], 7), expected, atol=1e-5, rtol=0)


def test_only_the_papers_network_in_float32_on_a_cpu_is_packed() -> None:
    torch.manual_seed(0)
    paper = Detector(start="scratch", backbone="resnet18", width=8, fpn_channels=8, box_head_dim=8, mask_head_dim=8)
    model = build_network(paper)
    assert for_inference(model, paper, "cpu") is not model
    assert for_inference(model, paper, "cuda") is model
    assert for_inference(model, paper.model_copy(update={"precision": "bfloat16"}), "cpu") is model
    small = load_study("smoke").detector
    quick = build_network(small)
    assert for_inference(quick, small.model_copy(update={"precision": "float32"}), "cpu") is quick
