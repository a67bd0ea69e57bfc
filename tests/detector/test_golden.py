"""The torchvision implementation against genuine Detectron2: at every level of the network, on generated weights.

The stored vectors were made by `tests/golden/make_detectron2_golden.py`; where Detectron2 is importable, the same
tests run a second time against vectors it makes on the spot.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import detectron2_case as case
import numpy as np
import pytest
import torch

from axspa_lib.detector.inference import decode_mask, predict
from axspa_lib.detector.network.checkpoint import detectron2_name, load_weights, read_checkpoint, to_detectron2
from axspa_lib.detector.network.model import MaskRCNN, build_network
from axspa_lib.detector.network.resize import fed_size, resize
from axspa_lib.detector.network.roi_heads import pool

LIVE = importlib.util.find_spec("detectron2") is not None


@pytest.fixture(scope="module", params=["stored", "live"])
def golden(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "stored":
        with np.load(Path(case.__file__).with_name("detectron2.npz")) as stored:
            return dict(stored)
    if not LIVE:
        pytest.skip("Detectron2 is not installed: only its stored vectors are compared")
    import make_detectron2_golden

    return make_detectron2_golden.golden_vectors()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MaskRCNN:
    """The network with the generated weights, through a checkpoint file with Detectron2's names."""
    network = build_network(case.CONFIG)
    shapes = {name: tuple(value.shape) for name, value in to_detectron2(network).items()}
    path = tmp_path_factory.mktemp("weights") / "weights_mrcnn.pt"
    torch.save({"model": case.generated_weights(shapes)}, path)
    load_weights(network, read_checkpoint(path), path.name)
    assert isinstance(network, MaskRCNN)
    return network.eval()


@pytest.fixture(scope="module")
def levels(model: MaskRCNN) -> dict[str, Any]:
    """Every level of inference of our implementation."""
    with torch.inference_mode():
        images = [
            resize(torch.from_numpy(s), fed_size(*s.shape[1:], case.CONFIG.min_size, case.CONFIG.max_size))
            for s in case.slices()
        ]
        batch, sizes = model.batch(images)
        features, logits, deltas = model.first_stage(batch)
        anchors = model.proposals.anchors(features)
        proposals = model.proposals.select(
            anchors, logits, deltas, sizes, case.CONFIG.test_candidates, case.CONFIG.test_proposals
        )
        class_logits, box_deltas = model.roi_heads.box_logits(features[:4], proposals)
        return {
            "images": images, "features": features, "logits": logits, "deltas": deltas, "anchors": anchors,
            "proposals": proposals, "class_logits": class_logits, "box_deltas": box_deltas,
        }  # fmt: skip


def close(ours: torch.Tensor | np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    """Equal within `tolerance` of the largest value."""
    ours = np.asarray(ours, dtype=np.float64)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def test_a_detectron2_checkpoint_has_our_names_and_shapes(model: MaskRCNN, golden: dict[str, Any]) -> None:
    ours = {name: "x".join(map(str, value.shape)) for name, value in to_detectron2(model).items()}
    theirs = dict(line.split(" ") for line in golden["names_and_shapes"])
    assert ours == theirs
    assert sum(value.numel() for value in to_detectron2(model).values()) == 44_029_660


def test_slices_are_resized_as_pillow_does(levels: dict[str, Any], golden: dict[str, Any]) -> None:
    for number, image in enumerate(levels["images"]):
        np.testing.assert_array_equal(image.numpy(), golden[f"resized_{number}"])


def test_features_and_heads_agree(levels: dict[str, Any], golden: dict[str, Any]) -> None:
    for number, feature in enumerate(levels["features"]):
        close(case.sampled(feature.contiguous()), golden[f"feature_p{number + 2}"])
        close(case.sampled(levels["logits"][number].contiguous()), golden[f"rpn_logits_{number}"])
        close(case.sampled(levels["deltas"][number].contiguous()), golden[f"rpn_deltas_{number}"])
        close(case.sampled(levels["anchors"][number]), golden[f"anchors_{number}"], 1e-6)


def test_proposals_are_the_same_set(levels: dict[str, Any], golden: dict[str, Any]) -> None:
    for number, proposals in enumerate(levels["proposals"]):
        theirs = golden[f"proposals_{number}"]
        assert proposals.shape == theirs.shape
        assert _pairing(proposals.numpy(), theirs) is not None


def test_pooled_features_and_box_head_agree(model: MaskRCNN, levels: dict[str, Any], golden: dict[str, Any]) -> None:
    theirs = [torch.from_numpy(golden[f"proposals_{number}"]) for number in range(2)]
    with torch.inference_mode():
        pooled = pool(levels["features"][:4], theirs, 7)
        logits, deltas = model.roi_heads.box_logits(levels["features"][:4], theirs)
    close(case.sampled(pooled, 4000), golden["pooled"])
    close(logits, golden["class_logits"])
    close(deltas.flatten(1), golden["box_deltas"])


def test_mask_head_agrees(model: MaskRCNN, levels: dict[str, Any], golden: dict[str, Any]) -> None:
    boxes = []
    for number, image in enumerate(levels["images"]):
        rows, columns = case.SIZES[number]
        scale = torch.tensor([image.shape[-1] / columns, image.shape[-2] / rows] * 2)
        boxes.append(torch.from_numpy(golden[f"boxes_{number}"]) * scale)
    with torch.inference_mode():
        logits = model.roi_heads.mask_logits(levels["features"][:4], boxes)
    close(case.sampled(logits, 4000), golden["mask_logits"])


def test_final_detections_are_the_same_set(model: MaskRCNN, golden: dict[str, Any]) -> None:
    table = predict(model, _images(), case.CONFIG, batch_size=2)
    for number in range(2):
        ours = table[table["patient"] == f"s{number}"].reset_index(drop=True)
        boxes, scores = golden[f"boxes_{number}"], golden[f"scores_{number}"]
        masks = np.unpackbits(golden[f"masks_{number}"])[: len(boxes) * np.prod(case.SIZES[number])]
        masks = masks.reshape(len(boxes), *case.SIZES[number]).astype(bool)
        assert len(ours) == len(boxes)
        pairing = _pairing(ours[["x0", "y0", "x1", "y1"]].to_numpy(), boxes, ours["label"], golden[f"labels_{number}"])
        assert pairing is not None
        for mine, theirs in enumerate(pairing):
            assert abs(ours["score"][mine] - scores[theirs]) <= 1e-4
            assert (decode_mask(ours.loc[mine]) == masks[theirs]).mean() >= 0.999


def test_losses_and_gradients_agree(model: MaskRCNN, golden: dict[str, Any]) -> None:
    model.train()
    model.freeze(2)
    model.zero_grad()
    losses = model.losses(*case.training_batch(), torch.Generator().manual_seed(case.SAMPLING_SEED))
    for name, value in losses.items():
        assert value.item() == pytest.approx(float(golden[name]), rel=1e-4)
    sum(losses.values()).backward()
    norms = {detectron2_name(n): p.grad.norm().item() for n, p in model.named_parameters() if p.grad is not None}
    theirs = {k.removeprefix("gradient_"): float(v) for k, v in golden.items() if k.startswith("gradient_")}
    assert norms.keys() == theirs.keys()
    for name, value in theirs.items():
        assert norms[name] == pytest.approx(value, rel=1e-2, abs=1e-6), name


@pytest.mark.skipif(not LIVE, reason="Detectron2 is not installed")
def test_one_checkpoint_runs_in_both_implementations(model: MaskRCNN) -> None:
    other = build_network(case.CONFIG.model_copy(update={"implementation": "detectron2"}))
    load_weights(other, to_detectron2(model), "model.pt")
    ours, theirs = (predict(m, _images(), case.CONFIG, batch_size=2) for m in (model, other))
    for patient in ("s0", "s1"):
        a, b = (t[t["patient"] == patient] for t in (ours, theirs))
        corners = ["x0", "y0", "x1", "y1"]
        pairing = _pairing(a[corners].to_numpy(), b[corners].to_numpy(), a["label"], b["label"])
        assert pairing is not None
        for column in ("score", "p_healthy", "p_inflamed"):
            assert np.abs(a[column].to_numpy() - b[column].to_numpy()[pairing]).max() <= 1e-4


def _images() -> list[tuple[str, int, torch.Tensor]]:
    return [(f"s{number}", 0, torch.from_numpy(pair)) for number, pair in enumerate(case.pairs())]


def _pairing(ours: np.ndarray, theirs: np.ndarray, *labels: Any) -> list[int] | None:
    """For each of our boxes its partner in theirs, the same box within 0.01 pixel; None unless it is one to one."""
    distance = np.abs(ours[:, None] - theirs[None]).max(2)
    if labels:
        distance[np.asarray(labels[0])[:, None] != np.asarray(labels[1])[None]] = np.inf
    partner = distance.argmin(1)
    same = len(ours) == len(theirs) == len(set(partner.tolist())) and (distance.min(1) <= 0.01).all()
    return partner.tolist() if same else None
