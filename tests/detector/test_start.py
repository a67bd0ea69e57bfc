"""Start weights: what is put where, against the classifiers themselves; and no silent fallback."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models import resnet18, resnet50

from axspa_lib.detector.network.checkpoint import save_checkpoint, to_detectron2
from axspa_lib.detector.network.imagenet import BODY, from_caffe2, from_torchvision, put_body, read_caffe2
from axspa_lib.detector.network.model import MaskRCNN, build_detector, build_network
from axspa_lib.study.config import Detector
from axspa_lib.study.errors import ConfigError, DataError, MissingResultError

AUTHORS_FILE = "weights_mrcnn.pt"
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    for name, value in network.state_dict().items():
        if "running_var" in name or name.endswith("bn1.weight"):
            value.uniform_(0.5, 1.5)
        elif "running_mean" in name:
            value.normal_(0, 0.1)
    return network.eval()


@pytest.mark.parametrize(("backbone", "make"), [("resnet18", resnet18), ("resnet50", resnet50)])
def test_torchvisions_classifier_is_the_same_function_of_the_image(backbone: Any, make: Any) -> None:
    torch.manual_seed(0)
    classifier = randomised(make())
    model = build_network(Detector(start="scratch", backbone=backbone))
    assert isinstance(model, MaskRCNN)
    put_body(model, from_torchvision(classifier.state_dict()), "x")
    if backbone == "resnet50":  # torchvision's stride sits in the 3 x 3 convolution
        for module in model.modules():
            if hasattr(module, "conv3"):
                module.conv2.stride, module.conv1.stride = module.conv1.stride, (1, 1)
    rgb = torch.rand(1, 3, 64, 64)
    batch, _ = model.batch([rgb[0].flip(0) * 255])
    value = model.backbone.stem(batch)
    theirs = classifier.maxpool(
        classifier.relu(classifier.bn1(classifier.conv1((rgb - MEAN[:, None, None]) / STD[:, None, None])))
    )
    for number in range(2, 6):
        value = getattr(model.backbone, f"res{number}")(value)
        theirs = getattr(classifier, f"layer{number - 1}")(theirs)
    torch.testing.assert_close(value, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=0)


def caffe2_blobs() -> dict[str, np.ndarray]:
    """Blobs with the names and shapes of the original ResNet-50, values from a seed."""
    rng = np.random.default_rng(0)
    shapes = {k: tuple(v.shape) for k, v in to_detectron2(build_network(Detector(start="scratch"))).items()}
    branch = {"shortcut": "branch1", "conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c"}
    blobs = {"fc1000_w": rng.normal(size=(4, 4)).astype(np.float32), "conv1_w_momentum": np.zeros(1, np.float32)}
    for name, shape in shapes.items():
        parts = name.removeprefix(BODY).split(".")
        if not name.startswith(BODY) or "running" in name:
            continue
        prefix = "conv1" if parts[0] == "stem" else f"{parts[0]}_{parts[1]}_{branch[parts[2]]}"
        if "norm" not in parts:
            blob = f"{prefix}_w"
        else:
            blob = f"{'res_conv1' if prefix == 'conv1' else prefix}_bn_{'s' if parts[-1] == 'weight' else 'b'}"
        blobs[blob] = rng.normal(size=shape).astype(np.float32)
    return blobs


def test_detectron2s_imagenet_file_fills_the_whole_body(tmp_path: Path) -> None:
    blobs = caffe2_blobs()
    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    model = build_network(Detector(start="scratch"))
    put_body(model, from_caffe2(read_caffe2(path)), path.name)
    weights = to_detectron2(model)
    np.testing.assert_array_equal(weights[f"{BODY}res3.1.conv2.weight"], blobs["res3_1_branch2b_w"])
    np.testing.assert_array_equal(weights[f"{BODY}stem.conv1.norm.bias"], blobs["res_conv1_bn_b"])
    norm = model.backbone.res4[0].bn1
    x = torch.randn(1, 256, 2, 2)
    scale, shift = (torch.from_numpy(blobs[f"res4_0_branch2a_bn_{k}"]).view(1, -1, 1, 1) for k in "sb")
    torch.testing.assert_close(norm(x), x * scale + shift)


@pytest.mark.skipif(importlib.util.find_spec("detectron2") is None, reason="Detectron2 is not installed")
def test_detectron2_reads_the_same_from_its_imagenet_file(tmp_path: Path) -> None:
    from detectron2.checkpoint import DetectionCheckpointer

    path = tmp_path / "R-50.pkl"
    path.write_bytes(pickle.dumps(caffe2_blobs(), protocol=2))
    theirs = build_network(Detector(start="scratch", implementation="detectron2"))
    DetectionCheckpointer(theirs.weights()).load(str(path))
    ours = build_network(Detector(start="scratch"))
    put_body(ours, from_caffe2(read_caffe2(path)), path.name)
    expected, found = (to_detectron2(m) for m in (theirs, ours))
    for name in expected:
        if name.startswith(BODY):
            torch.testing.assert_close(found[name], expected[name], msg=name)


def test_a_pickle_that_wants_to_execute_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("executed",))

    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"conv1_w": Evil()}))
    with pytest.raises(DataError, match=r"R-50\.pkl: not a pickled Caffe2 model"):
        read_caffe2(tmp_path / "R-50.pkl")
    assert capsys.readouterr().out == ""


def test_without_the_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    for name in ("imagenet", "imagenet-torchvision"):
        with pytest.raises(DataError, match=r"could not be downloaded .* choose another detector\.start"):
            build_detector(Detector(start=name))


def test_missing_or_unfit_start_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXSPA_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingResultError, match=r"weights_mrcnn\.pt .* is not there: download https://github\.com/"):
        build_detector(Detector(start="authors"))
    with pytest.raises(DataError, match="no such checkpoint"):
        build_detector(Detector(start=str(tmp_path / "absent.pt")))
    with pytest.raises(ConfigError, match="frozen_bn"):
        build_detector(Detector(start="imagenet", norm="group_norm"))


def test_the_authors_file_and_any_checkpoint_are_loaded_frozen_and_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {"backbone": "resnet18", "fpn_channels": 8, "box_head_dim": 8, "mask_head_dim": 8}
    torch.manual_seed(1)
    source = build_network(Detector(start="scratch", **narrow))
    save_checkpoint(tmp_path / AUTHORS_FILE, source)
    monkeypatch.setenv("AXSPA_WEIGHTS", str(tmp_path))
    for value, kind in (("authors", "authors"), (str(tmp_path / AUTHORS_FILE), "checkpoint")):
        model = build_detector(Detector(start=value, **narrow))
        assert model.started_from["start"] == kind and len(model.started_from["sha256"]) == 64
        assert model.started_from["file"] == AUTHORS_FILE
        assert torch.equal(
            to_detectron2(model)["backbone.fpn_lateral2.weight"], to_detectron2(source)["backbone.fpn_lateral2.weight"]
        )
        assert not model.backbone.res2[0].conv1.weight.requires_grad
        assert model.backbone.res3[0].conv1.weight.requires_grad
