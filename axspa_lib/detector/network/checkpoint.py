"""One checkpoint format: a plain state dict with Detectron2's names, converted both ways (section 3.2.1)."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.networks.training_loop import save, state_dict_cpu
from axspa_lib.study.errors import DataError

#: Rules from this library's parameter names to Detectron2's, the first that matches counts.
_RULES: tuple[tuple[str, str], ...] = (
    (r"backbone\.stem\.conv1\.(.+)", r"backbone.bottom_up.stem.conv1.\1"),
    (r"backbone\.stem\.bn1\.(.+)", r"backbone.bottom_up.stem.conv1.norm.\1"),
    (r"backbone\.(res\d\.\d+)\.conv(\d)\.(.+)", r"backbone.bottom_up.\1.conv\2.\3"),
    (r"backbone\.(res\d\.\d+)\.bn(\d)\.(.+)", r"backbone.bottom_up.\1.conv\2.norm.\3"),
    (r"backbone\.(res\d\.\d+)\.downsample\.0\.(.+)", r"backbone.bottom_up.\1.shortcut.\2"),
    (r"backbone\.(res\d\.\d+)\.downsample\.1\.(.+)", r"backbone.bottom_up.\1.shortcut.norm.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.0\.(.+)", r"backbone.fpn_lateral{+2}.\2"),
    (r"backbone\.fpn\.inner_blocks\.(\d)\.1\.(.+)", r"backbone.fpn_lateral{+2}.norm.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.0\.(.+)", r"backbone.fpn_output{+2}.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)\.1\.(.+)", r"backbone.fpn_output{+2}.norm.\2"),
    (r"proposals\.head\.conv\.0\.0\.(.+)", r"proposal_generator.rpn_head.conv.\1"),
    (r"proposals\.head\.cls_logits\.(.+)", r"proposal_generator.rpn_head.objectness_logits.\1"),
    (r"proposals\.head\.bbox_pred\.(.+)", r"proposal_generator.rpn_head.anchor_deltas.\1"),
    (r"roi_heads\.box_head\.fc6\.(.+)", r"roi_heads.box_head.fc1.\1"),
    (r"roi_heads\.box_head\.fc7\.(.+)", r"roi_heads.box_head.fc2.\1"),
    (r"roi_heads\.classifier\.(.+)", r"roi_heads.box_predictor.cls_score.\1"),
    (r"roi_heads\.regressor\.(.+)", r"roi_heads.box_predictor.bbox_pred.\1"),
    (r"roi_heads\.mask_head\.(\d)\.0\.(.+)", r"roi_heads.mask_head.mask_fcn{+1}.\2"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(.+)", r"roi_heads.mask_head.deconv.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(.+)", r"roi_heads.mask_head.predictor.\1"),
)

#: Entries of older Detectron2 checkpoints that are constants of the configuration, not weights.
_CONSTANTS = re.compile(r"pixel_mean|pixel_std|proposal_generator\.anchor_generator\..*|.*\.num_batches_tracked")


def detectron2_name(name: str) -> str:
    """Return Detectron2's name of one of this library's parameters.

    >>> detectron2_name("backbone.res3.0.downsample.1.running_var")
    'backbone.bottom_up.res3.0.shortcut.norm.running_var'
    >>> detectron2_name("backbone.fpn.inner_blocks.0.0.weight")
    'backbone.fpn_lateral2.weight'
    """
    for pattern, template in _RULES:
        if found := re.fullmatch(pattern, name):
            shift = re.search(r"\{\+(\d)\}", template)
            number = str(int(found[1]) + int(shift[1])) if shift else ""
            return found.expand(re.sub(r"\{\+\d\}", number, template))
    return name


def to_detectron2(model: DetectorNetwork) -> dict[str, Tensor]:
    """Return the state dict of a detector with Detectron2's names, on the CPU."""
    return {detectron2_name(name): value for name, value in state_dict_cpu(model.weights()).items()}


def load_weights(model: DetectorNetwork, weights: Mapping[str, Tensor], source: str) -> None:
    """Load a whole state dict with Detectron2's names.

    Raises:
        DataError: a parameter is missing, has another shape, or is not one of this network; names the first.
    """
    network = model.weights()
    own = network.state_dict()
    by_name = {detectron2_name(k): k for k in own}
    weights = {k: v for k, v in weights.items() if not _CONSTANTS.fullmatch(k)}
    for name in sorted(by_name.keys() | weights.keys()):
        if name not in weights:
            raise DataError(f"{source}: has no {name!r}, so it is not a checkpoint of the configured detector")
        if name not in by_name:
            raise DataError(f"{source}: has {name!r}, which the configured detector lacks; check detector.backbone")
        if weights[name].shape != own[by_name[name]].shape:
            raise DataError(
                f"{source}: {name!r} has shape {tuple(weights[name].shape)} where the configured detector needs "
                f"{tuple(own[by_name[name]].shape)}; check detector.backbone, width and heads"
            )
        if not torch.isfinite(weights[name].float()).all():
            raise DataError(f"{source}: {name!r} holds a value that is not finite; the file is damaged")
    network.load_state_dict({by_name[k]: v for k, v in weights.items()})


def save_checkpoint(path: Path, model: DetectorNetwork) -> None:
    """Write a model's weights as a plain state dict with Detectron2's names, whole or not at all."""
    save(path, to_detectron2(model))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict with Detectron2's names: written here, by Detectron2 (`.pth`), or the authors' file.

    Only tensors are unpickled; nothing in the file is executed.

    Raises:
        DataError: the file is missing or is no checkpoint.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DataError(f"{path}: no such checkpoint; give the path of one or another detector.start") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{path}: not a readable checkpoint ({type(error).__name__}); download it again") from None
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: holds no state dict; give a checkpoint with Detectron2's names")
    tensors = {k: torch.as_tensor(np.asarray(v)) if isinstance(v, np.ndarray) else v for k, v in content.items()}
    if not all(isinstance(v, Tensor) for v in tensors.values()):
        raise DataError(f"{path}: holds entries that are no weights; give a plain state dict")
    return tensors
