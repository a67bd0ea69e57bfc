"""Inference by OpenVINO: the detections of torch, chosen and recorded openly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from axspa_lib.detector.inference import predict, write_predictions
from axspa_lib.detector.network import runtime
from axspa_lib.detector.network.model import MaskRCNN, build_network
from axspa_lib.detector.results import predictions
from axspa_lib.study.config import Detector, load_study
from axspa_lib.study.errors import DataError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import write_json

FROZEN = load_study("smoke").detector.model_copy(
    update={
        "norm": "frozen_bn",
        "backbone": "resnet50",
        "precision": "float32",
        "store_threshold": 0.0,
        "anchor_sizes": (16, 32, 64, 128, 256),
    }
)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    torch.manual_seed(3)
    model = build_network(FROZEN)
    assert isinstance(model, MaskRCNN)
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):  # as a trained body, whose residual branches do not explode
            value.fill_(3.0)
    with torch.no_grad():
        model.roi_heads.classifier.weight.mul_(30)
        model.roi_heads.regressor.weight.mul_(30)
    return model


def slices() -> list[tuple[str, int, torch.Tensor]]:
    """Slices of two sizes, since a compiled network takes any."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(100, 120), (100, 120), (96, 96)]
    return [
        ("p", i, torch.randint(0, 256, (2, *size), generator=generator, dtype=torch.uint8))
        for i, size in enumerate(sizes)
    ]


def test_only_frozen_norms_on_a_cpu_with_the_package_run_by_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert runtime.runtime_of(Detector(), "cpu") == "openvino"
    assert runtime.runtime_of(Detector(), "cuda") == "torch"
    assert runtime.runtime_of(load_study("quick").detector, "cpu") == "torch"
    assert runtime.runtime_of(Detector(implementation="detectron2"), "cpu") == "torch"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert runtime.runtime_of(Detector(), "cpu") == "torch"


def test_detections_are_those_of_torch(network: MaskRCNN, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra `cpu` is not installed")
    compiled = runtime.prepared(network, FROZEN, "cpu")
    assert isinstance(compiled, runtime.CompiledMaskRCNN)
    theirs = predict(network, slices(), FROZEN)
    monkeypatch.setattr(runtime, "runtime_of", lambda *_: "torch")
    ours = predict(network, slices(), FROZEN)
    assert len(ours) == len(theirs) > 30 and ours["score"].std() > 0.01
    order = ["slice", "label", "x0", "y0", "x1", "y1"]
    ours, theirs = (t.sort_values(order, ignore_index=True) for t in (ours, theirs))
    pd.testing.assert_frame_equal(ours[order[:2]], theirs[order[:2]])
    np.testing.assert_allclose(ours[order[2:]], theirs[order[2:]], atol=0.01)
    scores = ["score", "p_healthy", "p_inflamed"]
    np.testing.assert_allclose(ours[scores], theirs[scores], atol=1e-3)


def test_members_of_different_runtimes_are_not_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    run = Run("smoke")
    write_json(tmp_path / "smoke/cohorts/phantom-desir/run.json", {})
    empty = predict(build_network(load_study("smoke").detector), [], load_study("smoke").detector)
    for seed, record in ((0, {}), (1, {"runtime": "torch"}), (2, {"runtime": "openvino"})):
        folder = run.layout.member("all_included", seed)
        write_predictions(folder / "predictions_phantom-desir.parquet", empty)
        write_json(folder / "run.json", record)
        if seed < 2:
            assert sorted(predictions(run)) == list(range(seed + 1))
    with pytest.raises(DataError, match=r"different runtimes .*seed-1 by torch, seed-2 by openvino"):
        predictions(run)
