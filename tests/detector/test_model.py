"""Parts of the network against hand-computed cases and torchvision's own; bad input gives no bad number."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou, roi_align

from axspa_lib.detector.network.backbone import Stem
from axspa_lib.detector.network.detectron2_backend import detectron2_config
from axspa_lib.detector.network.interface import Target
from axspa_lib.detector.network.model import build_detector, build_network
from axspa_lib.detector.network.proposals import cell_anchors
from axspa_lib.detector.network.roi_heads import crop_masks, pool
from axspa_lib.detector.network.sampling import match, sample
from axspa_lib.study.config import Detector, load_study
from axspa_lib.study.errors import ConfigError

TINY = load_study("smoke", detector__width=16, detector__fpn_channels=16, detector__precision="float32").detector


def test_anchors_have_the_area_and_shape_asked_for_without_rounding() -> None:
    anchors = cell_anchors(32, (0.5, 1.0, 2.0))
    sides = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(sides.prod(1), 1024, rtol=1e-5)
    np.testing.assert_allclose(sides[:, 1] / sides[:, 0], [0.5, 1, 2], rtol=1e-5)
    np.testing.assert_allclose(anchors[:, :2] + anchors[:, 2:], 0, atol=1e-5)
    assert not torch.equal(anchors, anchors.round())


def test_matching_by_hand() -> None:
    instances = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4], [50, 50, 60, 60], [20, 20, 30, 22]])
    assert match(instances, boxes, 0.5, 0.5, at_least_one=False).tolist() == [0, 0, -1, -1, -1]
    assert match(instances, boxes, 0.3, 0.7, at_least_one=False).tolist() == [0, -2, -2, -1, -1]
    assert match(instances, boxes, 0.3, 0.7, at_least_one=True).tolist() == [0, -2, -2, -1, 1]
    assert match(instances[:0], boxes, 0.3, 0.7, at_least_one=True).tolist() == [-1] * 5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2]), max_size=60), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_sampling_draws_without_repetition_and_fills_with_background(
    kinds: list[int], count: int, fraction: float, seed: int
) -> None:
    kind = torch.tensor(kinds, dtype=torch.int64)
    positive, negative = sample(kind == 1, kind == 0, count, fraction, torch.Generator().manual_seed(seed))
    assert len(set(positive.tolist())) == len(positive) <= int(count * fraction)
    assert len(positive) == min(kinds.count(1), int(count * fraction))
    assert len(negative) == min(kinds.count(0), count - len(positive))
    assert (kind[positive] == 1).all() and (kind[negative] == 0).all()


def test_pooling_takes_each_region_from_the_level_of_its_size() -> None:
    features = [torch.full((1, 2, 128 // 2**k, 128 // 2**k), float(k)) for k in range(4)]
    boxes = torch.tensor([[0.0, 0, 60, 60], [0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 448, 448]])
    assert pool(features, [boxes], 7)[:, 0, 3, 3].tolist() == [0, 1, 2, 3]
    image = torch.rand(1, 1, 32, 32)
    inside = torch.tensor([[8.0, 8, 92, 100]])
    ours = pool([image, *features[1:]], [inside], 7)[:, :1]
    expected = roi_align(image, [inside], 7, 0.25, 0, aligned=True)
    torch.testing.assert_close(ours, expected)


def test_mask_targets_are_the_owners_mask_inside_the_region() -> None:
    masks = torch.zeros(2, 60, 60, dtype=torch.bool)
    masks[1, 10:38, 10:38] = True
    cropped = crop_masks(
        masks, torch.tensor([1, 1, 0]), torch.tensor([[10.0, 10, 38, 38], [24, 10, 52, 38], [0, 0, 28, 28]])
    )
    assert cropped[0].all() and cropped[1, :, :14].all() and not cropped[1, :, 14:].any() and not cropped[2].any()


def target(masks: list[tuple[int, int, int, int]], labels: list[int], size: int = 64) -> Target:
    planes = torch.zeros(len(masks), size, size, dtype=torch.bool)
    for plane, (x0, y0, x1, y1) in zip(planes, masks, strict=True):
        plane[y0:y1, x0:x1] = True
    return Target(
        torch.tensor(masks, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), planes
    )


@pytest.mark.parametrize(
    "targets",
    [
        [target([], []), target([], [])],
        [target([(4, 10, 20, 50), (40, 10, 60, 50)], [0, 1]), target([], [])],
        [target([(30, 30, 31, 31)], [1]), target([(0, 0, 64, 64)], [0])],
    ],
    ids=["no instance", "one slice without", "one pixel and whole slice"],
)
def test_losses_and_gradients_stay_finite(targets: list[Target]) -> None:
    torch.manual_seed(0)
    model = build_detector(TINY)
    images = [torch.rand(3, 64, 64) * 255 for _ in targets]
    losses = model.losses(images, targets, torch.Generator().manual_seed(0))
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(v) for v in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)


def test_sampling_follows_the_generator_only() -> None:
    torch.manual_seed(0)
    model = build_detector(TINY)
    images, targets = [torch.rand(3, 64, 64) * 255], [target([(4, 10, 20, 50)], [0])]
    first, again, other = (
        sum(model.losses(images, targets, torch.Generator().manual_seed(s)).values()).item() for s in (1, 1, 2)
    )
    assert first == again != other


def test_detections_lie_inside_the_slice_best_first_and_apart() -> None:
    torch.manual_seed(0)
    model = build_detector(TINY).eval()
    for found in model.detect([torch.rand(3, 64, 80) * 255, torch.rand(3, 50, 60) * 255], floor=0.0):
        assert len(found.boxes) == len(found.scores) == len(found.masks) <= TINY.detections_per_image
        assert (found.boxes >= 0).all() and (found.boxes[:, 2] <= 80).all() and (found.boxes[:, 3] <= 64).all()
        assert (found.scores.diff() <= 0).all()
        torch.testing.assert_close(found.scores, found.probabilities.gather(1, found.labels[:, None])[:, 0])
        for label in (0, 1):
            boxes = found.boxes[found.labels == label]
            overlap = box_iou(boxes, boxes).fill_diagonal_(0)
            assert len(boxes) == 0 or overlap.max() <= TINY.detection_nms


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_stem_pools_alike_in_either_layout(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    stem = Stem(16, lambda width: torch.nn.GroupNorm(8, width))
    images = torch.rand(2, 3, 50, 46).contiguous(memory_format=layout)
    value = F.relu(stem.bn1(stem.conv1(images)))
    theirs = F.max_pool2d(value, 3, 2, 1)
    ours = stem(images)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    back = [torch.autograd.grad(out.square().sum(), stem.conv1.weight, retain_graph=True)[0] for out in (ours, theirs)]
    torch.testing.assert_close(*back, atol=1e-2, rtol=1e-4)


def test_padding_does_not_change_what_is_found_in_a_slice() -> None:
    torch.manual_seed(0)
    model = build_network(
        Detector(start="scratch", backbone="resnet18", fpn_channels=16, box_head_dim=16, mask_head_dim=8)
    ).eval()
    small, large = torch.rand(3, 64, 64) * 255, torch.rand(3, 64, 64) * 255
    alone, paired = model.detect([small], 0.0)[0], model.detect([small, large], 0.0)[0]
    torch.testing.assert_close(alone.boxes, paired.boxes, atol=1e-3, rtol=0)


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is not None, reason="Detectron2 is installed")
def test_without_detectron2_the_message_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"pip install --no-build-isolation .*detectron2.*setuptools<82"):
        build_network(Detector(implementation="detectron2", start="scratch"))


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is None, reason="Detectron2 is not installed")
def test_detectron2_is_configured_like_the_zoos_network() -> None:
    node = detectron2_config(Detector())
    assert node.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE == 128 and node.MODEL.ROI_HEADS.NUM_CLASSES == 2
    with pytest.raises(ConfigError, match="width"):
        detectron2_config(Detector(width=32))
