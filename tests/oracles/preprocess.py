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

from axspa_lib.study.config import Preprocessing


def reference_slice(image: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> np.ndarray:
    """The 8-bit slice of the reference chain for the steps that `p` switches on."""
    image = image.astype(np.float64)
    for step in STEPS:
        image = step(image, spacing, p)
    image = (image - image.min()) / (image.max() - image.min())
    return (image * 255).astype(np.uint8)


def resize(image: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> np.ndarray:
    if not p.constant_pixel:
        return image
    rows = round(image.shape[0] * spacing[0] / p.pixel_mm, 3)
    columns = round(image.shape[1] * spacing[1] / p.pixel_mm, 3)
    return cv2.resize(image, (int(columns), int(rows)), interpolation=cv2.INTER_LINEAR)


def minmax(image: np.ndarray, _: tuple[float, float], p: Preprocessing) -> np.ndarray:
    if not p.nonzero_minmax:
        return (image - image.min()) / (image.max() - image.min())
    result = image.copy()
    values = image[image != 0]
    result[image != 0] = (values - values.min()) / (values.max() - values.min())
    return result


def remove_bias(image: np.ndarray, _: tuple[float, float], p: Preprocessing) -> np.ndarray:
    if not p.remove_bias:
        return image
    sigma = [p.bias_sigma * size for size in image.shape]
    return image / (ndimage.gaussian_filter(image, sigma=sigma) + 1e-6)


def local_median(image: np.ndarray, _: tuple[float, float], p: Preprocessing) -> np.ndarray:
    if not p.local_median:
        return image
    filtered = median(image, disk(1))
    filtered = filtered / filtered.max()
    if p.nonzero_minmax:
        filtered[image == 0] = 0
    return filtered


def clahe(image: np.ndarray, _: tuple[float, float], p: Preprocessing) -> np.ndarray:
    return equalize_adapthist(image, clip_limit=p.clahe_clip_limit) if p.clahe else image


STEPS = (resize, minmax, remove_bias, minmax, local_median, clahe)
