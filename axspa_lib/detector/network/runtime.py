"""Run the first stage of the paper's detector by OpenVINO on a CPU, where the extra `cpu` is installed.

The first stage is backbone, pyramid and proposal head; pooling, heads and suppression stay in torch. Networks with
group norm are small and gain nothing by it, so they run in torch.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.detector.network.model import FirstStage, MaskRCNN
from axspa_lib.networks.precision import used
from axspa_lib.study.config import Detector

OPENVINO, TORCH = "openvino", "torch"


def runtime_of(config: Detector, device: str) -> str:
    """Return which runtime predicts on a device: `openvino` or `torch`."""
    fits = config.implementation == "torchvision" and config.norm == "frozen_bn" and torch.device(device).type == "cpu"
    return OPENVINO if fits and importlib.util.find_spec("openvino") is not None else TORCH


def prepared(model: DetectorNetwork, config: Detector, device: str) -> DetectorNetwork:
    """Return the network ready to predict on a device, by the runtime that `runtime_of` names.

    Args:
        model: trained, left as it is apart from its device and mode; or ready already.
        config: of the detector; its precision holds for OpenVINO as for torch.
        device: `cpu` or a CUDA device.
    """
    model.eval().to(device)
    if type(model) is MaskRCNN and runtime_of(config, device) == OPENVINO:
        return CompiledMaskRCNN(model, used(device, config.precision))
    return model


class CompiledMaskRCNN(MaskRCNN):
    """A detector whose first stage is compiled by OpenVINO; it predicts and cannot be trained or saved."""

    def __init__(self, model: MaskRCNN, precision: str) -> None:
        """Compile the first stage of `model` for images of any size in `float32` or `bfloat16`."""
        nn.Module.__init__(self)
        self.config, self.memory_format = model.config, torch.contiguous_format
        self.proposals, self.roi_heads = model.proposals, model.roi_heads
        self.register_buffer("pixel_mean", model.pixel_mean)
        self.compiled = _compiled(model, precision)

    def first_stage(self, batch: Tensor) -> FirstStage:
        """Return feature levels, objectness logits and box deltas of a normalised batch, by OpenVINO."""
        values = [torch.from_numpy(value) for value in self.compiled(batch.numpy()).to_tuple()]
        levels = len(self.config.anchor_sizes)
        pyramid = len(values) - 2 * levels
        return values[:pyramid], values[pyramid : pyramid + levels], values[pyramid + levels :]


class _Flat(nn.Module):
    """First stage of a network with one flat tuple of tensors as output, as OpenVINO has it."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return features, logits and deltas in a row."""
        features, logits, deltas = self.model.first_stage(batch)
        return (*features, *logits, *deltas)


def _compiled(model: MaskRCNN, precision: str) -> Any:
    import openvino

    example = torch.zeros(1, 3, 64, 64)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch deprecates the tracing by which OpenVINO reads a module
        traced = openvino.convert_model(
            _Flat(model).eval(), example_input=example, input=[openvino.PartialShape([-1, 3, -1, -1])]
        )
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32"}
    hints["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
    return openvino.Core().compile_model(traced, "CPU", hints)
