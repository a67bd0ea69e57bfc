"""Mixed precision where the processor is made for it.

A processor without bfloat16 instructions emulates them: a training step of a small network then takes six times as
long as in float32 (AVX2, torch 2.14). One that has them in its vector unit only (AVX-512) gains in large products and
loses in small layers: a step of profile `quick`'s detector took 0.165 s against 0.122 s in float32, an epoch of its
bone network 22 s against 16 s (one core). So on a CPU `bfloat16` in a profile means float32 unless it multiplies in
tiles (AMX); the run's record says which it was.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch


def multiplies_in_tiles() -> bool:
    """Return whether this machine's CPU multiplies tiles (AMX), so that small layers gain by bfloat16 too."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def used(device: str | torch.device, wanted: str) -> str:
    """Return the precision that a network runs in: `wanted`, but float32 on a CPU where bfloat16 would be slower."""
    slower = torch.device(device).type == "cpu" and not multiplies_in_tiles()
    return "float32" if slower else wanted


def autocast(device: str | torch.device, wanted: str) -> Any:
    """Return a context in which a network runs in the precision that `used` names."""
    if used(device, wanted) == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)
