"""Start weights of a training: ImageNet, the authors', a checkpoint or none; never another silently (section 3.2.1)."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from axspa_lib.config import Detector
from axspa_lib.detector.checkpoint import detectron2_name, load_weights, read_checkpoint
from axspa_lib.detector.interface import DetectorNetwork
from axspa_lib.errors import DataError
from axspa_lib.runs import runs_root, sha256

#: The authors' published Mask R-CNN (`data_manifest/weights.yaml`).
AUTHORS_FILE = "weights_mrcnn.pt"

#: Standard deviation of ImageNet in red, green, blue, in units of 0 to 255 (torchvision's normalisation).
_IMAGENET_STD = (58.395, 57.12, 57.375)


def start_weights(model: DetectorNetwork, config: Detector) -> dict[str, str]:
    """Put the configured start weights into `model` and freeze the configured stages.

    Returns:
        What was used: `start`, and the file's name and SHA-256 where there is one.

    Raises:
        DataError: the weights are not at hand; says what to do.
    """
    if config.start == "scratch":
        return {"start": "scratch"}
    if config.start == "imagenet":
        used = _imagenet(model, config)
    else:
        path = _authors_file() if config.start == "authors" else Path(config.start)
        load_weights(model, read_checkpoint(path), path.name)
        used = {"start": config.start if config.start == "authors" else "checkpoint", "file": path.name}
        used["sha256"] = sha256(path)
    model.freeze(config.freeze_at)
    return used


def _authors_file() -> Path:
    path = Path(os.environ.get("AXSPA_WEIGHTS", runs_root() / "weights")) / AUTHORS_FILE
    if not path.is_file():
        raise DataError(
            f"detector.start is 'authors' but {AUTHORS_FILE} is not at hand: download it from the address in "
            "data_manifest/weights.yaml and set AXSPA_WEIGHTS to its folder"
        )
    return path


def _imagenet(model: DetectorNetwork, config: Detector) -> dict[str, str]:
    from torchvision.models import ResNet18_Weights, ResNet50_Weights

    if config.norm != "frozen_bn" or config.width != 64:
        raise DataError(
            "detector.start is 'imagenet' but the network is not the published one: needs frozen_bn, width 64"
        )
    chosen = ResNet50_Weights.IMAGENET1K_V1 if config.backbone == "resnet50" else ResNet18_Weights.IMAGENET1K_V1
    try:
        weights = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"the ImageNet weights {chosen.url} could not be downloaded ({type(error).__name__}): connect once, or "
            f"put the file into {torch.hub.get_dir()}/checkpoints, or choose another detector.start"
        ) from None
    put_imagenet(model, weights)
    return {"start": "imagenet", "file": Path(chosen.url).name}


def put_imagenet(model: DetectorNetwork, weights: dict[str, Tensor]) -> None:
    """Put torchvision's ImageNet classifier into the detector's body.

    torchvision normalises red, green, blue by mean and standard deviation; the detector takes blue, green, red minus
    the mean, so the first convolution is reordered and divided: the same function of the image.
    """
    std = torch.tensor(_IMAGENET_STD).view(1, 3, 1, 1)
    renamed = {}
    for name, value in weights.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        if name == "conv1.weight":
            value = (value / std).flip(1)
        head, _, rest = name.partition(".")
        own = f"backbone.res{int(head[5:]) + 1}.{rest}" if head.startswith("layer") else f"backbone.stem.{name}"
        renamed[detectron2_name(own)] = value
    network = model.weights()
    state = network.state_dict()
    by_name = {detectron2_name(k): k for k in state}
    body = {n for n in by_name if n.startswith("backbone.bottom_up.")}
    if body != renamed.keys():
        raise DataError(f"the ImageNet weights do not fit the body: {sorted(body ^ renamed.keys())[0]!r} differs")
    network.load_state_dict({by_name[k]: v for k, v in renamed.items()}, strict=False)
