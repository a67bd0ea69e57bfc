"""Scanners and protocols: what a centre has and what it does with one patient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from axspa_lib.phantom.physics.tissues import Sequence
from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import ConfigError

#: Models by vendor, for headers that look like a hospital's.
MODELS = {
    "SIEMENS": ("Avanto", "Symphony", "Espree", "Aera"),
    "GE MEDICAL SYSTEMS": ("Signa HDxt", "SIGNA EXCITE", "Optima MR450w"),
    "Philips Medical Systems": ("Achieva", "Intera", "Ingenia"),
}


#: Stored value of muscle by vendor.
STORED = {"SIEMENS": 200.0, "GE MEDICAL SYSTEMS": 520.0, "Philips Medical Systems": 380.0}


@dataclass(frozen=True)
class Channel:
    """Sampling and contrast of one sequence.

    Attributes:
        read_mm, phase_mm: size of an acquired pixel along readout and phase; `bandwidth_hz` of the receiver per pixel.
        noise: standard deviation of the noise over the signal of muscle, whose stored value is `scale`.
        ghost: amplitude of the ghosts of motion along the phase direction; `etl` is the echo train length.
        shift_mm: where the patient moved between the sequences (row, column).
        uneven: slopes of the logarithm of the sensitivity that no normalisation removes, per 100 mm along x, y and z.
    """

    sequence: Sequence
    read_mm: float
    phase_mm: float
    bandwidth_hz: float
    noise: float
    ghost: float
    scale: float
    etl: int
    shift_mm: tuple[float, float] = (0.0, 0.0)
    uneven: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Protocol:
    """One examination's acquisition, geometry and both sequences; lengths in mm, angles in degrees."""

    vendor: str
    model: str
    centre: int
    field_t: float
    slices: int
    thickness: float
    gap: float
    fov: float
    matrix: int
    tilt: float
    swing: float
    phase_rows: bool
    normalised: bool
    bias: float
    bias_place: tuple[float, float]
    reversed_order: bool
    t1: Channel
    stir: Channel
    first_z: float
    centre_xy: tuple[float, float]

    def __post_init__(self) -> None:
        if self.slices < 1 or self.thickness <= 0 or self.gap < 0:
            raise ConfigError(
                f"choose at least one slice of positive thickness and a gap of at least 0 mm, not {self.slices} slices "
                f"of {self.thickness} mm with a gap of {self.gap} mm"
            )
        if self.fov <= 0 or self.matrix < 16:
            raise ConfigError(
                f"choose a positive field of view and a matrix above 15, not {self.fov} mm, {self.matrix}"
            )

    @property
    def spacing(self) -> float:
        """Distance of slices, mm."""
        return self.thickness + self.gap

    @property
    def pixel(self) -> float:
        """Reconstructed pixel, mm."""
        return self.fov / self.matrix

    def depths(self) -> NDArray[np.float64]:
        """Return z of the slice centres, ventral to dorsal, mm."""
        return self.first_z + self.spacing * np.arange(self.slices, dtype=np.float64)


@cache
def mixes() -> dict[str, Any]:
    """Load the scanner mixes by cohort."""
    return yaml.safe_load((MANIFEST / "phantom" / "scanners.yaml").read_text(encoding="utf-8"))


def centre_protocol(mix: dict[str, Any], centre: int, rng: np.random.Generator) -> Protocol:
    """Draw the habit of one centre."""

    def pick(shares: dict[Any, float]) -> Any:
        weights = np.array(list(shares.values()), dtype=float)
        return list(shares)[int(rng.choice(len(shares), p=weights / weights.sum()))]

    def within(bounds: Any) -> float:
        return float(rng.uniform(*bounds))

    vendor, field = pick(mix["vendors"]), float(pick(mix["fields"]))
    fov, matrix = round(within(mix["fov_mm"]) / 10) * 10.0, int(pick(mix["recon"]))
    read = max(within(mix["acquired_mm"]), fov / matrix)
    ti = within(mix["stir_ti_3t"] if field > 2 else mix["stir"]["ti"])
    scale = STORED[vendor] * rng.uniform(0.7, 1.3)

    def channel(name: str, sequence: Sequence) -> Channel:
        pixel = read * mix[name]["coarser"]
        phase = pixel / within(mix["phase_share"])
        noise = float(rng.lognormal(np.log(mix["noise"][name][0]), mix["noise"][name][1]))
        etl = round(within(mix[name]["etl"]))
        own = scale * (1.0 if name == "t1" else rng.uniform(0.25, 0.5))
        return Channel(sequence, pixel, phase, within(mix["bandwidth_hz"]), noise, within(mix["ghost"]), own, etl)

    t1 = channel("t1", Sequence(round(within(mix["t1"]["tr"])), round(within(mix["t1"]["te"]), 1), 0, field))
    tr, te = round(within(mix["stir"]["tr"]), -1), round(within(mix["stir"]["te"]))
    stir = channel("stir", Sequence(tr, te, round(ti), field))
    habit = Protocol(
        vendor=vendor, model=str(rng.choice(MODELS[vendor])), centre=centre, field_t=field,
        slices=int(rng.integers(mix["slices"][0], mix["slices"][1] + 1)),
        thickness=round(within(mix["thickness_mm"]) * 2) / 2, gap=round(within(mix["gap_mm"]), 1), fov=fov,
        matrix=matrix,
        tilt=within(mix["tilt_deg"]), swing=0.0, phase_rows=bool(rng.random() < 0.6),
        normalised=bool(rng.random() < mix["normalised"]), bias=within(mix["bias"]), bias_place=(0.0, 0.0),
        reversed_order=bool(rng.random() < 0.3), t1=t1, stir=stir, first_z=0.0, centre_xy=(0.0, 0.0),
    )  # fmt: skip
    # Images that stay as they were received come from flatter arrays; the others hide the coil, but not its noise.
    return habit if habit.normalised else replace(habit, bias=mix["flatter"] * habit.bias)


def patient_protocol(habit: Protocol, mix: dict[str, Any], joint_middle: float, rng: np.random.Generator) -> Protocol:
    """Adjust the habit of a centre to one patient, with what the transmit field leaves of shading."""
    slices = int(np.clip(habit.slices + rng.integers(-1, 2), *mix["slices"]))
    middle = joint_middle + rng.normal(0, 3.0)
    first = middle - habit.spacing * (slices - 1) / 2

    def adjust(channel: Channel, motion_mm: float) -> Channel:
        down, across = rng.normal(0, motion_mm, 2) if motion_mm else (0.0, 0.0)
        return replace(
            channel, noise=channel.noise * float(rng.lognormal(0, 0.12)), 
            scale=channel.scale * float(rng.lognormal(0, 0.15)),
            ghost=channel.ghost * float(rng.uniform(0.3, 1.5)), shift_mm=(float(down), float(across)),
        )  # fmt: skip

    planned = replace(
        habit, slices=slices, first_z=float(first), tilt=float(np.clip(habit.tilt + rng.normal(0, 4), 20, 55)),
        swing=float(rng.normal(0, 1.5)), bias=habit.bias * float(rng.uniform(0.8, 1.2)),
        bias_place=(float(rng.normal(0, 20)), float(rng.normal(0, 15))),
        t1=adjust(habit.t1, 0.0), stir=adjust(habit.stir, mix["stir_motion_mm"]),
        centre_xy=(float(rng.normal(0, 4)), float(rng.normal(27 + 0.06 * (habit.fov - 250), 10))),
    )  # fmt: skip

    def shaded(name: str) -> Channel:
        across, down, dorsal = map(float, rng.normal(*mix["uneven"][name]))
        return replace(getattr(planned, name), uneven=(across, down, dorsal))

    return replace(planned, t1=shaded("t1"), stir=shaded("stir"))
