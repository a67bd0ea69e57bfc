"""The authors' preprocessing as their demo runs it, step by step, in plain scikit-image, SciPy and OpenCV calls.

Written from the facts of the demo (step order, parameters, treatment of zeros). It inherits the chain's own limits:
a slice without contrast divides by zero here, so it is only asked about slices with contrast.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.exposure import equalize_adapthist
from skimage.filters import median
from skimage.morphology import disk

from axspa_lib.config import Preprocessing


def reference_slice(image: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> np.ndarray:
    """The 8-bit slice of the reference chain for the steps that `p` switches on (`p.arithmetic` is not looked at)."""
    image = image.astype(np.float64)
    if p.constant_pixel:
        rows = round(image.shape[0] * spacing[0] / p.pixel_mm, 3)
        columns = round(image.shape[1] * spacing[1] / p.pixel_mm, 3)
        image = cv2.resize(image, (int(columns), int(rows)), interpolation=cv2.INTER_LINEAR)
    image = _minmax(image, p.nonzero_minmax)
    if p.remove_bias:
        sigma = [p.bias_sigma * size for size in image.shape]
        image = image / (ndimage.gaussian_filter(image, sigma=sigma) + 1e-6)
    image = _minmax(image, p.nonzero_minmax)
    if p.local_median:
        filtered = median(image, disk(1))
        filtered = filtered / filtered.max()
        if p.nonzero_minmax:
            filtered[image == 0] = 0
        image = filtered
    if p.clahe:
        image = equalize_adapthist(image, clip_limit=p.clahe_clip_limit)
    image = (image - image.min()) / (image.max() - image.min())
    return (image * 255).astype(np.uint8)


def _minmax(image: np.ndarray, nonzero: bool) -> np.ndarray:
    if not nonzero:
        return (image - image.min()) / (image.max() - image.min())
    result = image.copy()
    values = image[image != 0]
    result[image != 0] = (values - values.min()) / (values.max() - values.min())
    return result
