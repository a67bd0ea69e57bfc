"""Slices to measure on: body-like images of the published patient's size, made from a seed, without any file."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom


def slice_pair(size: int = 256, seed: int = 2022) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """T1 and STIR, `(row, column)` integers, and their spacing in mm (a field of view of 250 mm).

    Tissue of random blobs inside an ellipse, a bias that grows towards the coil, noise in the air.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    body = (rows / 0.85) ** 2 + (columns / 0.95) ** 2 < 1
    pair = []
    for _ in range(2):
        tissue = np.digitize(gaussian_filter(rng.normal(size=(size, size)), size / 40), [-0.02, 0, 0.02]) + 1
        image = body * tissue * 120 * np.exp(0.8 * rows) + gaussian_filter(rng.normal(size=(size, size)), 0.6) * 12
        pair.append(np.abs(image).astype(np.uint16))
    return pair[0], pair[1], (250 / size, 250 / size)


def bone_mask(size: int = 256, seed: int = 0) -> np.ndarray:
    """A semi-coronal slice of bones `(row, column)`: sacrum between two iliac blades with thin wings above."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:1:256j, 0:1:256j]
    wave = 0.012 * np.sin(rows * rng.uniform(15, 30) + rng.uniform(0, 6, (2, 1, 1)))
    half = 0.23 - 0.16 * (rows - 0.3)
    sacrum = (np.abs(columns - 0.5) < half - 0.012 + wave[0]) & (rows > 0.3) & (rows < 0.8)
    mask = np.where(sacrum, 1, 0)
    for side in (-1, 1):
        beside = side * (columns - 0.5) - half + wave[1]
        blade = (beside > 0.012) & (beside < 0.14 - 0.35 * np.abs(rows - 0.5)) & (rows > 0.28) & (rows < 0.78)
        wing = (np.abs(beside - 0.06 - 0.5 * (0.35 - rows)) < 0.022) & (rows > 0.05) & (rows < 0.4)
        mask[(blade | wing) & ~sacrum] = 2
    return zoom(mask, size / 256, order=0).astype(np.uint8)
