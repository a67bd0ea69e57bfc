"""Checkpoints with Detectron2's names: both ways for all parameters, refused in one sentence when they do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from axspa_lib.detector.network.checkpoint import (
    detectron2_name,
    load_weights,
    read_checkpoint,
    save_checkpoint,
    to_detectron2,
)
from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.detector.network.model import build_network
from axspa_lib.study.config import Detector
from axspa_lib.study.errors import DataError

NARROW = Detector(start="scratch", backbone="resnet18", norm="group_norm", width=8, fpn_channels=8, box_head_dim=8,
                  mask_head_dim=8, freeze_at=0)  # fmt: skip


@pytest.fixture
def narrow() -> DetectorNetwork:
    torch.manual_seed(0)
    return build_network(NARROW)


def test_all_parameters_of_the_papers_network_go_both_ways(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_network(Detector(start="scratch"))
    save_checkpoint(tmp_path / "model.pt", source)
    weights = read_checkpoint(tmp_path / "model.pt")
    assert len(weights) == 307 and sum(v.numel() for v in weights.values()) == 44_029_660
    target = build_network(Detector(start="scratch"))
    load_weights(target, weights, "model.pt")
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name


def test_names_are_one_to_one_with_group_norm_too(narrow: DetectorNetwork) -> None:
    names = list(narrow.state_dict())
    converted = [detectron2_name(name) for name in names]
    assert len(set(converted)) == len(names)
    assert "backbone.fpn_output3.norm.weight" in converted
    assert "backbone.bottom_up.res2.0.conv1.norm.weight" in converted


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_detectron2_checkpoint_with_its_constants_and_arrays_loads(
    narrow: DetectorNetwork, tmp_path: Path, wrapped: bool
) -> None:
    weights: dict[str, Any] = dict(to_detectron2(narrow))
    weights["pixel_mean"] = torch.zeros(3, 1, 1)
    weights["proposal_generator.anchor_generator.cell_anchors.0"] = torch.zeros(3, 4)
    torch.save({"model": weights, "iteration": 7999} if wrapped else weights, tmp_path / "d2.pth")
    loaded = build_network(NARROW)
    load_weights(loaded, read_checkpoint(tmp_path / "d2.pth"), "d2.pth")
    expected = to_detectron2(narrow)
    assert all(torch.equal(value, expected[name]) for name, value in to_detectron2(loaded).items())


def test_a_checkpoint_of_another_network_is_refused_in_one_sentence(narrow: DetectorNetwork) -> None:
    weights = to_detectron2(narrow)
    name = "roi_heads.box_predictor.cls_score.weight"
    with pytest.raises(DataError, match=rf"x: '{name}' has shape \(81, 8\) where .* needs \(3, 8\)"):
        load_weights(narrow, weights | {name: torch.zeros(81, 8)}, "x")
    with pytest.raises(DataError, match=f"x: has no '{name}'"):
        load_weights(narrow, {k: v for k, v in weights.items() if k != name}, "x")
    with pytest.raises(DataError, match=r"x: has 'backbone\.bottom_up\.res9'"):
        load_weights(narrow, weights | {"backbone.bottom_up.res9": torch.zeros(1)}, "x")
    with pytest.raises(DataError, match="not finite"):
        load_weights(narrow, weights | {name: torch.full((3, 8), float("nan"))}, "x")


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_files_that_are_no_checkpoint_are_refused_and_never_executed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": "text"}, tmp_path / "words.pt")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"model": Evil()}))
    for name in ("text.pt", "list.pt", "words.pt", "evil.pt"):
        with pytest.raises(DataError, match=name):
            read_checkpoint(tmp_path / name)
    assert capsys.readouterr().out == ""


def test_equal_weights_give_equal_bytes(narrow: DetectorNetwork, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "one.pt", narrow)
    save_checkpoint(tmp_path / "another_name.pt", narrow.to(memory_format=torch.channels_last))
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()


def test_arrays_in_a_checkpoint_become_tensors(narrow: DetectorNetwork) -> None:
    weights = {k: torch.from_numpy(np.asarray(v)) for k, v in to_detectron2(narrow).items()}
    loaded = build_network(NARROW)
    load_weights(loaded, weights, "arrays")
    assert all(torch.equal(value, weights[name]) for name, value in to_detectron2(loaded).items())
