"""From an object to a stored image: receive field, chemical shift, sampled k-space, noise, magnitude."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from axspa_lib.phantom.physics import tissues
from axspa_lib.phantom.physics.scanner import Channel, Protocol

#: Chemical shift of fat, Hz per tesla (3.4 ppm of 42.58 MHz/T).
FAT_HZ_PER_T = 3.4 * 42.58
#: Share of the receive field's logarithm that coil normalisation removes.
NORMALISED = 0.85
#: The public scans' STIR is shaded more than their T1: 1.43 (1.32 to 1.71) against 1.20 across muscle (`measure`).
STIR_SHADING = 1.3
#: Highest stored value of a 12-bit image.
STORED_MAX = 4095


def receive_field(
    protocol: Protocol, x: NDArray[np.float64], y: NDArray[np.float64], z: float, skin: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Sensitivity `(row, column)` of a spine array at depth z: brightest under the dorsal skin, about 1 at the joint.

    Its logarithm rises by `bias` over about 60 mm towards the coil, with a steep part in the last centimetres below the
    skin (`skin`: lower edge of the body, y in mm by column).
    """
    px, py = protocol.bias_place
    toward = (z - 20) / 60 + (y[:, None] - 35) / 150  # dorsal slices and caudal rows lie closer: the stack is tilted
    lateral = -(((x[None, :] - px) / 190) ** 2) + 0.15 * (x[None, :] - px) / 150
    rows = -0.35 * ((y[:, None] - 40 - py) / 117) ** 2
    under = np.clip(skin[None, :] - y[:, None], 0, 300)
    log = protocol.bias * (toward + 0.8 * lateral + rows + 0.45 * np.exp(-under / 22))
    return np.exp(np.clip(log, -1.6, 1.8)).astype(np.float32)


def uneven(channel: Channel, x: NDArray[np.float64], y: NDArray[np.float64], z: float) -> NDArray[np.float32]:
    """Shading `(row, column)` at depth z that no normalisation removes: a slope of its logarithm, 1 amid the joints."""
    across, down, dorsal = channel.uneven
    log = (across * x[None, :] + down * (y[:, None] - 35) + dorsal * (z - 20)) / 100
    return np.exp(log).astype(np.float32)


def acquire(
    water: NDArray[np.float32],
    fat: NDArray[np.float32],
    protocol: Protocol,
    channel: Channel,
    pixel: float,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    depths: NDArray[np.float64],
    skin: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Acquire and reconstruct a stack.

    Args:
        water, fat: `(slice, row, column)` signed signal of each pool on the object's grid, already over the slice.
        protocol, channel: the acquisition.
        pixel: of the object's grid, mm; `x`, `y` its columns and rows in mm, `depths` the slices' z.
        skin: `(slice, column)` lower edge of the body, y in mm.
        rng: noise.

    Returns:
        `(slice, matrix, matrix)` magnitude in units of the signal of muscle times `channel.scale`.
    """
    n = water.shape[1]
    shaded = replace(protocol, bias=protocol.bias * STIR_SHADING) if channel.sequence.ti else protocol
    muscle = abs(tissues.signal(channel.sequence, tissues.tissues()["muscle"]))
    k = np.fft.fftfreq(n, pixel)  # cycles per mm
    rows_read = protocol.phase_rows  # phase along rows of the image means readout along columns (cranio-caudal)
    hz = FAT_HZ_PER_T * protocol.field_t
    shift = hz / channel.bandwidth_hz * channel.read_mm
    ky, kx = k[:, None].astype(np.float32), k[None, :].astype(np.float32)
    fat_phase = np.exp(-2j * np.pi * shift * (ky if rows_read else kx)).astype(np.complex64)
    move = np.exp(-2j * np.pi * (ky * channel.shift_mm[0] + kx * channel.shift_mm[1])).astype(np.complex64)
    read_n, phase_n = _samples(n * pixel, channel.read_mm), _samples(n * pixel, channel.phase_mm)
    rows_n, columns_n = (read_n, phase_n) if rows_read else (phase_n, read_n)
    rows_n, columns_n = min(rows_n, n, protocol.matrix), min(columns_n, n, protocol.matrix)
    window = _taper(rows_n)[:, None] * _taper(columns_n)[None, :]
    sigma = channel.noise * muscle * math.sqrt(rows_n * columns_n)
    out = np.empty((len(depths), protocol.matrix, protocol.matrix), np.float32)
    for s, z in enumerate(depths):
        field = receive_field(shaded, x, y, float(z), skin[s])
        seen = field * uneven(channel, x, y, float(z))
        spectrum = fft.fft2(water[s] * seen) + fft.fft2(fat[s] * seen) * fat_phase
        spectrum *= move
        kept = _crop(spectrum, rows_n, columns_n) * (rows_n * columns_n / n**2)
        if channel.ghost:
            kept = _ghost(kept, channel.ghost, axis=1 if rows_read else 0, rng=rng)
        kept = kept * window
        noise = rng.standard_normal((2, rows_n, columns_n)).astype(np.float32)
        kept = kept + sigma * (noise[0] + 1j * noise[1])
        image = fft.ifft2(_pad(kept, protocol.matrix)) * (protocol.matrix**2 / (rows_n * columns_n))
        out[s] = np.abs(image)
        if protocol.normalised:
            out[s] /= cv2.resize(field, (protocol.matrix, protocol.matrix)) ** NORMALISED
    return out * np.float32(channel.scale / muscle)


def stored(image: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to the stored integers of a 12-bit scanner."""
    return np.clip(np.rint(image), 0, STORED_MAX).astype(np.uint16)


def _samples(length: float, pixel: float) -> int:
    return max(16, 2 * round(length / pixel / 2))


def _taper(count: int) -> NDArray[np.float32]:
    """Mild filter: flat, falling by a cosine to 0.7 in the outer fifth of k-space (centre first, FFT order)."""
    place = np.abs(np.fft.fftfreq(count)) * 2
    edge = np.clip((place - 0.8) / 0.2, 0, 1)
    return (1 - 0.3 * 0.5 * (1 - np.cos(np.pi * edge))).astype(np.float32)


def _index(count: int, of: int) -> NDArray[np.int64]:
    return np.fft.fftfreq(count, 1 / count).astype(int) % of


def _crop(spectrum: NDArray[np.complex64], rows: int, columns: int) -> NDArray[np.complex64]:
    n, m = spectrum.shape
    return spectrum[np.ix_(_index(rows, n), _index(columns, m))]


def _pad(spectrum: NDArray[np.complex64], size: int) -> NDArray[np.complex64]:
    out = np.zeros((size, size), spectrum.dtype)
    out[np.ix_(_index(spectrum.shape[0], size), _index(spectrum.shape[1], size))] = spectrum
    return out


def _ghost(
    spectrum: NDArray[np.complex64], amplitude: float, axis: int, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Periodic motion modulates the lines of k-space: a faint copy is displaced along the phase direction."""
    count = spectrum.shape[axis]
    line = np.fft.fftfreq(count, 1 / count)
    period = rng.uniform(3.0, 9.0)
    wave = 1 + amplitude * np.exp(1j * (2 * np.pi * line / period + rng.uniform(0, 2 * np.pi)))
    shape = (count, 1) if axis == 0 else (1, count)
    return spectrum * wave.reshape(shape).astype(np.complex64)
