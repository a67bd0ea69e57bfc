"""Bone networks: a patient's slices through the published pair, and a training step, against single precision."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from axspa_lib.bones.training import weighted_cross_entropy
from axspa_lib.bones.unet import build_unet, forward, network_input, predict_bones
from axspa_lib.preprocessing.steps import preprocess_slice
from axspa_lib.study.config import BoneNets, load_study
from axspa_lib.study.volume import Volume
from tests.bench.harness import Benchmark
from tests.bench.images import slice_pair


def benchmarks() -> list[Benchmark]:
    """The pair on four slices of 256 x 256, as predicted here and as the demo does; a step of the quick profile."""
    return [_prediction(), _training_step()]


def _prediction() -> Benchmark:
    config = BoneNets(precision="bfloat16")
    slices = [preprocess_slice(slice_pair(256, seed)[0], (1.0, 1.0), config.preprocessing) for seed in range(4)]
    t1 = Volume(np.stack(slices), np.diag([4.0, 1.0, 1.0, 1.0]))
    nets = {bone: _started(config, seed) for seed, bone in enumerate(("sacrum", "iliac"))}
    plain = {bone: _started(config) for bone in nets}
    for bone, net in plain.items():
        net.load_state_dict(nets[bone].state_dict())

    @torch.inference_mode()
    def slice_by_slice() -> np.ndarray:
        images = network_input(torch.from_numpy(t1.array)).contiguous()
        claims = [torch.cat([plain[bone](image[None]).argmax(1) for image in images]) for bone in ("sacrum", "iliac")]
        return torch.where(claims[0] == 1, 1, 2 * claims[1]).numpy()

    single, both = slice_by_slice(), predict_bones(nets, t1, config).array
    equal = ((single > 0) == (both > 0)).mean()
    return Benchmark(
        "pair of classical U-Nets, 4 slices of 256 x 256",
        ours=lambda: predict_bones(nets, t1, config),
        reference=slice_by_slice,
        unit="s",
        repeats=3,
        ours_name="bfloat16, channels last, in one batch",
        reference_name="float32, slice by slice (demo)",
        agreement=f"{100 * equal:.1f} % of pixels alike in being bone (untrained weights: the hardest case)",
    )


def _training_step() -> Benchmark:
    config = load_study("quick").bones
    images = network_input(torch.randint(0, 256, (config.batch_size, config.size, config.size), dtype=torch.uint8))
    classes = (images[:, 0] > 0.7).long()
    ours, plain = _started(config).to(memory_format=torch.channels_last).train(), _started(config).train()
    optimizers = [torch.optim.RMSprop(net.parameters(), 1e-6) for net in (ours, plain)]

    def step(net: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    def mixed() -> float:
        loss = weighted_cross_entropy(forward(ours, images, "bfloat16"), classes, config.foreground_weight)
        return step(ours, optimizers[0], loss)

    weight = torch.tensor([1 - config.foreground_weight, config.foreground_weight])
    contiguous = images.contiguous()

    def single() -> float:
        return step(plain, optimizers[1], F.cross_entropy(plain(contiguous), classes, weight))

    return Benchmark(
        f"training step of the quick profile ({config.batch_size} slices of {config.size} x {config.size})",
        ours=mixed,
        reference=single,
        repeats=5,
        ours_name="bfloat16, channels last",
        reference_name="float32, contiguous",
        agreement=f"first losses {mixed():.4f} and {single():.4f}",
    )


def _started(config: BoneNets, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_unet(config, 2).eval()
