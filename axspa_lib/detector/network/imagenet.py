"""ImageNet classifiers as start weights of the body: the file Detectron2 starts from, or torchvision's.

Detectron2's file is the original ResNet-50 of Microsoft Research in Caffe2's names: its stride sits in the 1 x 1
convolution and it takes blue, green, red minus a mean, as the paper's detector does. torchvision's classifiers have
the stride in the 3 x 3 convolution and another normalisation.
"""

from __future__ import annotations

import codecs
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from axspa_lib.detector.network.checkpoint import detectron2_name
from axspa_lib.detector.network.interface import DetectorNetwork
from axspa_lib.study.errors import DataError

#: Prefix of the body in Detectron2's names.
BODY = "backbone.bottom_up."

_TORCHVISION_STD = (58.395, 57.12, 57.375)  # red, green, blue, in units of 0 to 255
_BRANCHES = {"branch1": "shortcut", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_NORM_EPSILON = 1e-5


def from_caffe2(blobs: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    """Return body weights with Detectron2's names from the Caffe2 blobs of an ImageNet classifier.

    Its normalisations are a scale and a shift; mean and variance are set so that frozen batch norm is just these.
    """
    weights: dict[str, Tensor] = {}
    for blob, values in blobs.items():
        found = re.fullmatch(r"(?:res(\d)_(\d+)_(branch\d[abc]?)|(?:res_)?(conv1))_(w|bn_s|bn_b)", blob)
        if found is None:
            continue
        stage, number, branch, _, kind = found.groups()
        layer = f"{BODY}res{stage}.{number}.{_BRANCHES[branch]}" if stage else f"{BODY}stem.conv1"
        value = torch.from_numpy(np.array(values, dtype=np.float32))
        if kind == "w":
            weights[f"{layer}.weight"] = value
            continue
        weights[f"{layer}.norm.{'weight' if kind == 'bn_s' else 'bias'}"] = value
        weights[f"{layer}.norm.running_mean"] = torch.zeros_like(value)
        weights[f"{layer}.norm.running_var"] = torch.ones_like(value) - _NORM_EPSILON
    return weights


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return body weights with Detectron2's names from a torchvision ResNet.

    The first convolution is reordered to blue, green, red and divided by torchvision's standard deviation, so that it
    is the same function of the image.
    """
    weights: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("fc.") or name.endswith("num_batches_tracked"):
            continue
        if name == "conv1.weight":
            value = (value / torch.tensor(_TORCHVISION_STD).view(1, 3, 1, 1)).flip(1)
        head, _, rest = name.partition(".")
        own = f"backbone.res{int(head[5:]) + 1}.{rest}" if head.startswith("layer") else f"backbone.stem.{name}"
        weights[detectron2_name(own)] = value
    return weights


def read_caffe2(path: Path) -> dict[str, NDArray[Any]]:
    """Return the blobs of a pickled Caffe2 model; only arrays are unpickled, nothing in the file is executed.

    Raises:
        DataError: the file is not such a model.
    """
    try:
        content: Any = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        content = content.get("blobs", content)
        return {name: np.asarray(value) for name, value in content.items() if not name.endswith("_momentum")}
    except (OSError, pickle.UnpicklingError, AttributeError, EOFError, ValueError, ImportError) as error:
        raise DataError(
            f"{path}: not a pickled Caffe2 model ({type(error).__name__}); delete it, it is downloaded again"
        ) from None


def put_body(model: DetectorNetwork, weights: Mapping[str, Tensor], source: str) -> None:
    """Put body weights into a detector; pyramid and heads stay as initialised.

    Raises:
        DataError: the weights are not those of the configured body.
    """
    network = model.weights()
    state = network.state_dict()
    by_name = {detectron2_name(name): name for name in state}
    body = {name for name in by_name if name.startswith(BODY)}
    if body != weights.keys():
        raise DataError(
            f"{source}: {sorted(body ^ weights.keys())[0]!r} differs from the body; check detector.backbone"
        )
    network.load_state_dict({by_name[name]: value for name, value in weights.items()}, strict=False)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles containers, text, numbers and numpy arrays, refuses everything else."""

    _ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype"})

    def find_class(self, module: str, name: str) -> Any:
        """Only what an array needs may be unpickled."""
        if module.split(".")[0] == "numpy" and name in self._ALLOWED:
            if name == "_reconstruct":
                return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):  # how protocol 2 writes the bytes of an array
            return codecs.encode
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
