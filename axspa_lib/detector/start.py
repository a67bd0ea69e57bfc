"""Start weights of a training: ImageNet, the authors', a checkpoint or none; never another silently (section 3.2.1)."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from axspa_lib.config import Detector
from axspa_lib.detector.checkpoint import load_weights, read_checkpoint
from axspa_lib.detector.imagenet import DETECTRON2_URL, from_caffe2, from_torchvision, put_body, read_caffe2
from axspa_lib.detector.interface import DetectorNetwork
from axspa_lib.errors import ConfigError, DataError
from axspa_lib.runs import runs_root, sha256

#: The authors' published Mask R-CNN (`data_manifest/weights.yaml`).
AUTHORS_FILE = "weights_mrcnn.pt"


def start_weights(model: DetectorNetwork, config: Detector) -> dict[str, str]:
    """Put the configured start weights into `model` and freeze the configured stages.

    Returns:
        What was used: `start`, and the file's name and SHA-256 where there is one.

    Raises:
        ConfigError: the start weights cannot be those of the configured network.
        DataError: the weights are not at hand or do not fit; says what to do.
    """
    if config.start == "scratch":
        return {"start": "scratch"}
    if config.start in ("imagenet", "imagenet-torchvision"):
        path = _imagenet(model, config)
        used = {"start": config.start}
    else:
        path = _authors_file() if config.start == "authors" else Path(config.start)
        load_weights(model, read_checkpoint(path), path.name)
        used = {"start": "authors" if config.start == "authors" else "checkpoint"}
    model.freeze(config.freeze_at)
    return used | {"file": path.name, "sha256": sha256(path)}


def _authors_file() -> Path:
    path = Path(os.environ.get("AXSPA_WEIGHTS", runs_root() / "weights")) / AUTHORS_FILE
    if not path.is_file():
        raise DataError(
            f"detector.start is 'authors' but {AUTHORS_FILE} is not at hand: download it from the address in "
            "data_manifest/weights.yaml and set AXSPA_WEIGHTS to its folder"
        )
    return path


def _imagenet(model: DetectorNetwork, config: Detector) -> Path:
    """Detectron2's file for ResNet-50 when start is `imagenet`, torchvision's otherwise; returns the file used."""
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    if config.norm != "frozen_bn" or config.width != 64:
        raise ConfigError("parameter detector.start: ImageNet weights need norm 'frozen_bn' and width 64")
    if config.start == "imagenet" and config.backbone == "resnet50":
        path = _download(DETECTRON2_URL)
        put_body(model, from_caffe2(read_caffe2(path)), path.name)
    else:
        chosen = ResNet50_Weights.IMAGENET1K_V1 if config.backbone == "resnet50" else ResNet18_Weights.IMAGENET1K_V1
        path = _download(chosen.url)
        put_body(model, from_torchvision(torch.load(path, map_location="cpu", weights_only=True)), path.name)
    return path


def _download(url: str) -> Path:
    """The file at `url`, from torch's cache or the network."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the ImageNet weights {url} could not be downloaded ({type(error).__name__}): connect once, or put the "
            f"file into {path.parent}, or choose another detector.start"
        ) from None
    return path
