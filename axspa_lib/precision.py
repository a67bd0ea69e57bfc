"""Mixed precision where the processor is made for it.

A processor without bfloat16 instructions emulates them: a training step of a small network then takes six times as
long as in float32 (AVX2, torch 2.14). There `bfloat16` in a profile means float32; the run's record says which it was.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch


def multiplies_bfloat16() -> bool:
    """Whether this machine's CPU multiplies bfloat16 faster than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def used(device: str | torch.device, wanted: str) -> str:
    """The precision that a network runs in: `wanted`, but float32 on a CPU that would emulate bfloat16."""
    emulated = torch.device(device).type == "cpu" and not multiplies_bfloat16()
    return "float32" if emulated else wanted


def autocast(device: str | torch.device, wanted: str) -> Any:
    """Context in which a network runs in the precision that `used` names."""
    if used(device, wanted) == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
