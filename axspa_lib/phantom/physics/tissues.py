"""Tissues and their signal: water and fat pools under T1 TSE and STIR (the signed sum, then the magnitude)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import yaml

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import ConfigError

#: Field strengths at which the relaxation times are tabulated, tesla.
TABULATED_T = (1.5, 3.0)


@dataclass(frozen=True)
class Tissue:
    """One row of `data_manifest/phantom/tissues.yaml`; times in ms at 1.5 T and 3 T."""

    pd: float
    ff: float
    t1: tuple[float, float]
    t2: tuple[float, float]
    mt: float

    def __post_init__(self) -> None:
        if min(*self.t1, *self.t2) <= 0:
            raise ConfigError(f"relaxation times must be positive, not T1 {self.t1} and T2 {self.t2} ms")
        if not (0 <= self.ff <= 1 and 0 <= self.mt <= 1 and self.pd >= 0):
            raise ConfigError("fat fraction and MT factor lie between 0 and 1, and proton density is not negative")


@dataclass(frozen=True)
class Sequence:
    """Contrast parameters of one acquisition; times in ms. `ti` 0 is T1 TSE, positive is STIR."""

    tr: float
    te: float
    ti: float = 0.0
    field_t: float = 1.5

    def __post_init__(self) -> None:
        times = f"TR {self.tr}, TE {self.te}, TI {self.ti} ms"
        if self.tr <= 0 or self.te <= 0 or self.ti < 0:
            raise ConfigError(f"TR and TE must be positive and TI not negative: {times}")
        if max(self.ti, self.te) >= self.tr:
            raise ConfigError(f"the echo time and the inversion time must be shorter than the repetition time: {times}")
        if not 0.2 <= self.field_t <= 7:
            raise ConfigError(f"a field strength of {self.field_t} T is not one this model describes (0.2 to 7 T)")


def at_field(values: tuple[float, float], field_t: float) -> float:
    """Return a relaxation time in ms at `field_t`: power law through the two tabulated fields."""
    low, high = values
    return low * (field_t / TABULATED_T[0]) ** (math.log(high / low) / math.log(TABULATED_T[1] / TABULATED_T[0]))


def pool(sequence: Sequence, t1: float, t2: float) -> float:
    """Return one pool's signed signal per proton density: `(1 − e^(−TR/T1)) e^(−TE/T2)`, STIR with inversion."""
    recovery = 1 - math.exp(-sequence.tr / t1)
    if sequence.ti:
        recovery = 1 - 2 * math.exp(-sequence.ti / t1) + math.exp(-sequence.tr / t1)
    return recovery * math.exp(-sequence.te / t2)


def water(sequence: Sequence, tissue: Tissue) -> float:
    """Return the signed signal of a tissue's water, with MT (its root under STIR), per unit of water."""
    mt = math.sqrt(tissue.mt) if sequence.ti else tissue.mt
    return mt * pool(sequence, at_field(tissue.t1, sequence.field_t), at_field(tissue.t2, sequence.field_t))


def fat(sequence: Sequence) -> float:
    """Return the signed signal of the fat pool, per unit of fat."""
    return water(sequence, tissues()["fat_pool"])


def signal(sequence: Sequence, tissue: Tissue, ff: float | None = None) -> float:
    """Return the magnitude of a whole tissue; `ff` replaces its fat fraction."""
    fraction = tissue.ff if ff is None else ff
    return tissue.pd * abs((1 - fraction) * water(sequence, tissue) + fraction * fat(sequence))


@cache
def tissues() -> dict[str, Tissue]:
    """Load all tissues by name, the fat pool among them."""
    values = yaml.safe_load((MANIFEST / "phantom" / "tissues.yaml").read_text(encoding="utf-8"))
    rows = values["tissues"] | {"fat_pool": {"pd": 1.0, "ff": 1.0, "mt": 1.0} | values["fat_pool"]}
    return {
        name: Tissue(row["pd"], row["ff"], tuple(row["t1"]), tuple(row["t2"]), row["mt"]) for name, row in rows.items()
    }
