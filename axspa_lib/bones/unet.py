"""Bone segmentation networks (sections 3.1.2 and 4.1) and their prediction on a volume.

Two architectures: segmentation-models-pytorch's `Unet` with a chosen encoder, and the classical U-Net (Ronneberger
2015, with batch norm and bilinear upsampling) whose parameter names and shapes are those of the weights published
with the paper's demo (https://github.com/TheodoreAouad/IAxSpA-demo), so that those load and run as they are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from axspa_lib.bones.slices import Frame
from axspa_lib.networks.precision import autocast
from axspa_lib.study.config import BoneNets
from axspa_lib.study.errors import ConfigError, DataError
from axspa_lib.study.volume import Volume

Network = Literal["sacrum", "iliac", "both"]


class _DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.double_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.maxpool_conv(x)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _DoubleConv(inputs, outputs)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([skip, deep], dim=1))


class _Output(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ClassicalUNet(nn.Module):
    """U-Net of widths 64-128-256-512-512 with batch norm and bilinear upsampling (aligned corners), 13.4 M parameters.

    Maps `(n, 1, rows, columns)` in [0, 1], both sizes multiples of 16, to logits `(n, classes, rows, columns)`.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.inc = _DoubleConv(1, 64)
        self.down1, self.down2 = _Down(64, 128), _Down(128, 256)
        self.down3, self.down4 = _Down(256, 512), _Down(512, 512)
        self.up1, self.up2 = _Up(1024, 256), _Up(512, 128)
        self.up3, self.up4 = _Up(256, 64), _Up(128, 64)
        self.outc = _Output(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each class."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up2(x, x3)
        x = self.up3(x, x2)
        return self.outc(self.up4(x, x1))


def build_unet(config: BoneNets, classes: int) -> nn.Module:
    """Return an untrained network: `(n, 1, size, size)` in [0, 1] to logits `(n, classes, size, size)`.

    Args:
        config: architecture, for `smp` its encoder and the decoder's widths, momentum of the batch norms.
        classes: 2 for one bone (background, bone), 3 for both (background, sacrum, iliac).

    Raises:
        ConfigError: segmentation-models-pytorch knows no such encoder.
    """
    model = ClassicalUNet(classes) if config.architecture == "classical" else _smp_unet(config, classes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = config.norm_momentum
    return model


def _smp_unet(config: BoneNets, classes: int) -> nn.Module:
    import segmentation_models_pytorch as smp

    try:
        return smp.Unet(
            config.encoder,
            encoder_depth=len(config.decoder_channels),
            encoder_weights=None,
            decoder_channels=config.decoder_channels,
            in_channels=1,
            classes=classes,
        )
    except (KeyError, RuntimeError):
        raise ConfigError(f"parameter bones.encoder: no encoder {config.encoder!r} is known; try resnet18") from None


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load a plain state dict into `model` and return it in evaluation mode.

    Raises:
        DataError: the file is missing, unreadable, not a state dict, or of another architecture; one sentence.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such weights; train the bone networks or download the published weights")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path}: cannot be read as torch weights ({type(error).__name__})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path}: holds no plain state dict of weights")
    mine = model.state_dict()
    missing = [name for name in mine if name not in state]
    foreign = [name for name in state if name not in mine]
    reshaped = [name for name in mine if name in state and mine[name].shape != state[name].shape]
    differences = missing + foreign + reshaped
    if differences:
        raise DataError(
            f"{path}: weights of another network than the configured one (first difference {differences[0]}; "
            f"{len(missing)} missing, {len(foreign)} unknown, {len(reshaped)} of another shape): set "
            f"bones.architecture, encoder, decoder_channels and networks as they were when it was trained"
        )
    model.load_state_dict(state)
    return model.eval()


def network_input(slices: Tensor) -> Tensor:
    """Scale each slice of uint8 `(n, size, size)` by its own minimum and maximum to float32 `(n, 1, size, size)`.

    A constant slice becomes zero. Channels-last memory order, which the CPU's and GPU's convolutions prefer.
    """
    images = slices.float()
    low, high = images.amin((1, 2), keepdim=True), images.amax((1, 2), keepdim=True)
    scaled = (images - low) / (high - low).clamp(min=1)
    return scaled[:, None].contiguous(memory_format=torch.channels_last)


def forward(model: nn.Module, images: Tensor, precision: str) -> Tensor:
    """Logits in float32; the network itself runs in bfloat16 where `precision` says so and the processor has it."""
    with autocast(images.device, precision):
        logits = model(images)
    return logits.float()


@torch.inference_mode()
def predict_bones(
    nets: Mapping[str, nn.Module],
    t1: Volume,
    config: BoneNets,
    device: str = "cpu",
    batch: int = 8,
    thresholds: Mapping[str, float] | None = None,
) -> Volume:
    """Segment sacrum and iliac bones of a whole T1 volume.

    Each network's class is its arg max (see `decision`), taken on the volume's own grid from linearly resampled logits
    (the demo runs on that grid already). Where both networks of a pair claim a pixel, the higher foreground probability
    wins; the demo gives it to the sacrum. With `config.batch_statistics` batch norm uses the statistics of each single
    slice, as the demo does by never leaving training mode.

    Args:
        nets: `{"sacrum": net, "iliac": net}`, two classes each, or `{"both": net}` with three; put on `device`.
        t1: preprocessed, uint8, `(slice, row, column)`.
        config: size, precision, threshold and batch statistics.
        device: where to run.
        batch: slices per forward pass.
        thresholds: probability from which a pixel is bone, by network, as `train_bones` returns it; `config.threshold`
            for all when not given.

    Returns:
        uint8 mask on the same grid: 0 background, 1 sacrum, 2 iliac.

    Raises:
        DataError: the volume is not uint8 with three dimensions.
        ConfigError: the networks are neither a pair nor one for both, or one has no threshold.
    """
    if t1.array.dtype != np.uint8 or t1.array.ndim != 3:
        raise DataError(f"a preprocessed uint8 volume is needed, this is {t1.array.dtype} of shape {t1.array.shape}")
    if set(nets) not in ({"sacrum", "iliac"}, {"both"}):
        raise ConfigError(f"networks for sacrum and iliac, or one for both, are needed; given: {', '.join(nets)}")
    limits = {name: (thresholds or {}).get(name, config.threshold) for name in nets}
    certain = {name: limit for name, limit in limits.items() if limit is not None}
    if len(certain) < len(nets):
        raise ConfigError("parameter bones.threshold: none is configured, so every network's own must be given")
    ready = {name: _ready(net, config.batch_statistics).to(device) for name, net in nets.items()}
    frame = Frame.of(t1, config.size)
    slices = torch.from_numpy(frame.put(t1.array))
    mask = np.empty(t1.array.shape, np.uint8)
    step = 1 if config.batch_statistics else batch
    for start in range(0, len(slices), step):
        images = network_input(slices[start : start + step].to(device))
        logits = {name: _forward(net, images, config) for name, net in ready.items()}
        scores = frame.restore(_scores(logits, certain))
        mask[start : start + step] = scores.argmax(1).to(torch.uint8).cpu().numpy()
    return t1.like(mask)


def _forward(net: nn.Module, images: Tensor, config: BoneNets) -> Tensor:
    """Logits; with `config.mirrored` the mean over the slice and its mirror image, mirrored back."""
    logits = forward(net, images, config.precision)
    if config.mirrored:
        logits = (logits + forward(net, images.flip(-1), config.precision).flip(-1)) / 2
    return logits


def decision(logits: Tensor, threshold: float) -> Tensor:
    """Scores whose arg max is bone only from a probability of `threshold` on; at one half, the logits themselves.

    A cross entropy weighted by w on bone and 1 - w on background teaches log odds that are too high by
    log(w / (1 - w)); `threshold` = w takes this off again.

    Args:
        logits: `(n, classes, rows, columns)`, background first.
        threshold: in (0, 1).
    """
    return torch.cat([logits[:, :1], logits[:, 1:] - math.log(threshold / (1 - threshold))], dim=1)


def _scores(logits: Mapping[str, Tensor], thresholds: Mapping[str, float]) -> Tensor:
    """Scores of background, sacrum, iliac; for a pair the log odds of each bone against a background of zero."""
    decided = {name: decision(values, thresholds[name]) for name, values in logits.items()}
    if "both" in decided:
        return decided["both"]
    odds = [decided[name][:, 1] - decided[name][:, 0] for name in ("sacrum", "iliac")]
    return torch.stack([torch.zeros_like(odds[0]), *odds], dim=1)


def _ready(net: nn.Module, batch_statistics: bool) -> nn.Module:
    """The network in evaluation mode; with `batch_statistics` a copy whose batch norms stay in training mode."""
    if not batch_statistics:
        return net.eval()
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train()
    return net
