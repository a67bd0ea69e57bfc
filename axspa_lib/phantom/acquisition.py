"""From an object to a stored image: receive field, chemical shift, sampled k-space, noise, magnitude."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from axspa_lib.phantom.drawing.texture import Grid
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


def _receive_field(
    bias: float, place: tuple[float, float], grid: Grid, z: float, skin: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the sensitivity of a spine array at depth z, brightest under the dorsal skin, about 1 at the joint.

    Its logarithm rises by `bias` over about 60 mm towards the coil, with a steep part in the last centimetres below the
    skin.
    """
    x, y = grid.x[None, :], grid.y[:, None]
    toward = (z - 20) / 60 + (y - 35) / 150  # dorsal slices and caudal rows lie closer: the stack is tilted
    lateral = -(((x - place[0]) / 190) ** 2) + 0.15 * (x - place[0]) / 150
    rows = -0.35 * ((y - 40 - place[1]) / 117) ** 2
    under = np.clip(skin[None, :] - y, 0, 300)
    log = bias * (toward + 0.8 * lateral + rows + 0.45 * np.exp(-under / 22))
    return np.exp(np.clip(log, -1.6, 1.8)).astype(np.float32)


def acquire(
    water: NDArray[np.float32], fat: NDArray[np.float32], protocol: Protocol, channel: Channel, grid: Grid,
    depths: NDArray[np.float64], skin: NDArray[np.float64], rng: np.random.Generator,
) -> NDArray[np.float32]:  # fmt: skip
    """Acquire and reconstruct a stack.

    Args:
        water, fat: `(slice, row, column)` signed signal of each pool on the object's grid, already over the slice.
        protocol, channel: the acquisition.
        grid: the object's; `depths` the slices' z, mm.
        skin: `(slice, column)` lower edge of the body, y in mm.
        rng: noise.

    Returns:
        `(slice, matrix, matrix)` magnitude in units of the signal of muscle times `channel.scale`.
    """
    n, pixel = grid.size, grid.pixel
    bias = protocol.bias * STIR_SHADING if channel.sequence.ti else protocol.bias
    across, down, dorsal = channel.uneven
    muscle = abs(tissues.signal(channel.sequence, tissues.tissues()["muscle"]))
    k = np.fft.fftfreq(n, pixel)  # cycles per mm
    rows_read = protocol.phase_rows  # phase along rows of the image means readout along columns (cranio-caudal)
    shift = FAT_HZ_PER_T * protocol.field_t / channel.bandwidth_hz * channel.read_mm
    ky, kx = k[:, None].astype(np.float32), k[None, :].astype(np.float32)
    fat_phase = np.exp(-2j * np.pi * shift * (ky if rows_read else kx)).astype(np.complex64)
    move = np.exp(-2j * np.pi * (ky * channel.shift_mm[0] + kx * channel.shift_mm[1])).astype(np.complex64)
    acquired = (channel.read_mm, channel.phase_mm) if rows_read else (channel.phase_mm, channel.read_mm)
    most = min(n, protocol.matrix)
    rows_n, columns_n = (min(max(16, 2 * round(n * pixel / mm / 2)), most) for mm in acquired)
    window = _taper(rows_n)[:, None] * _taper(columns_n)[None, :]
    sigma = channel.noise * muscle * math.sqrt(rows_n * columns_n)
    out = np.empty((len(depths), protocol.matrix, protocol.matrix), np.float32)
    for s, z in enumerate(depths):
        field = _receive_field(bias, protocol.bias_place, grid, float(z), skin[s])
        slope = (across * grid.x[None, :] + down * (grid.y[:, None] - 35) + dorsal * (float(z) - 20)) / 100
        seen = field * np.exp(slope).astype(np.float32)
        spectrum = fft.fft2(water[s] * seen) + fft.fft2(fat[s] * seen) * fat_phase
        spectrum *= move
        kept = spectrum[_middle(rows_n, columns_n, n)] * (rows_n * columns_n / n**2)
        if channel.ghost:
            kept = _ghost(kept, channel.ghost, axis=1 if rows_read else 0, rng=rng)
        kept = kept * window
        noise = rng.standard_normal((2, rows_n, columns_n)).astype(np.float32)
        kept = kept + sigma * (noise[0] + 1j * noise[1])
        padded = np.zeros((protocol.matrix, protocol.matrix), kept.dtype)
        padded[_middle(rows_n, columns_n, protocol.matrix)] = kept
        image = fft.ifft2(padded) * (protocol.matrix**2 / (rows_n * columns_n))
        out[s] = np.abs(image)
        if protocol.normalised:
            out[s] /= cv2.resize(field, (protocol.matrix, protocol.matrix)) ** NORMALISED
    return out * np.float32(channel.scale / muscle)


def stored(image: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to the stored integers of a 12-bit scanner."""
    return np.clip(np.rint(image), 0, STORED_MAX).astype(np.uint16)


def _taper(count: int) -> NDArray[np.float32]:
    """Return a mild filter in FFT order: flat, falling by a cosine to 0.7 in the outer fifth of k-space."""
    place = np.abs(np.fft.fftfreq(count)) * 2
    edge = np.clip((place - 0.8) / 0.2, 0, 1)
    return (1 - 0.3 * 0.5 * (1 - np.cos(np.pi * edge))).astype(np.float32)


def _middle(rows: int, columns: int, size: int) -> tuple[NDArray[np.int64], ...]:
    """Index the low frequencies of a spectrum of `size` x `size`, zero frequency first."""
    return np.ix_(*(np.fft.fftfreq(count, 1 / count).astype(int) % size for count in (rows, columns)))


def _ghost(
    spectrum: NDArray[np.complex64], amplitude: float, axis: int, rng: np.random.Generator
) -> NDArray[np.complex64]:
    """Modulate the lines of k-space by periodic motion: a faint copy is displaced along the phase direction."""
    count = spectrum.shape[axis]
    line = np.fft.fftfreq(count, 1 / count)
    period = rng.uniform(3.0, 9.0)
    wave = 1 + amplitude * np.exp(1j * (2 * np.pi * line / period + rng.uniform(0, 2 * np.pi)))
    shape = (count, 1) if axis == 0 else (1, count)
    return spectrum * wave.reshape(shape).astype(np.complex64)
