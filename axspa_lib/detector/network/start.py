"""Start weights of a training: ImageNet, the authors', a checkpoint or none; never another silently (section 3.2.1)."""

from __future__ import annotations

from pathlib import Path

from axspa_lib.detector.network.checkpoint import load_weights, read_checkpoint
from axspa_lib.detector.network.imagenet import from_caffe2, from_torchvision, put_body, read_caffe2
from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.networks.published_weights import fetch_weights, weights_path
from axspa_lib.study.config import Detector
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.runs import sha256


def start_weights(model: DetectorNetwork, config: Detector) -> dict[str, str]:
    """Put the configured start weights into `model` and freeze the configured stages.

    Returns:
        What was used: `start`, and the file's name and SHA-256 where there is one.

    Raises:
        ConfigError: the start weights cannot be those of the configured network.
        AxspaError: the weights are not at hand or do not fit; says what to do.
    """
    if config.start == "scratch":
        return {"start": "scratch"}
    if config.start in ("imagenet", "imagenet-torchvision"):
        path = _imagenet(model, config)
        used = {"start": config.start}
    else:
        path = weights_path("weights_mrcnn") if config.start == "authors" else Path(config.start)
        load_weights(model, read_checkpoint(path), path.name)
        used = {"start": "authors" if config.start == "authors" else "checkpoint"}
    model.freeze(config.freeze_at)
    return used | {"file": path.name, "sha256": sha256(path)}


def _imagenet(model: DetectorNetwork, config: Detector) -> Path:
    """Detectron2's file for ResNet-50 when start is `imagenet`, torchvision's otherwise; returns the file used."""
    if config.norm != "frozen_bn" or config.width != 64:
        raise ConfigError("parameter detector.start: ImageNet weights need norm 'frozen_bn' and width 64")
    if config.start == "imagenet" and config.backbone == "resnet50":
        path = fetch_weights("imagenet_msra_resnet50")
        put_body(model, from_caffe2(read_caffe2(path)), path.name)
    else:
        path = fetch_weights(f"imagenet_torchvision_{config.backbone}")
        put_body(model, from_torchvision(read_checkpoint(path)), path.name)
    return path
