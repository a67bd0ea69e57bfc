"""Measure contrast, noise, shading and sharpness of a T1 + STIR pair, simulated or real.

Regions are found automatically in canonical arrays `(slice, row, column)` (ventral to dorsal, cranial to caudal,
patient right to left); normal marrow and oedema are given as masks. Every intensity is over muscle
of the same scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from axspa_lib.phantom.dicom import read_stack
from axspa_lib.phantom.person.disease import ACTIVE
from axspa_lib.study.errors import DataError
from axspa_lib.study.volume import read_volume

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Figures of the contrast comparison: muscle elsewhere, deep fat, CSF, normal marrow over muscle, oedema over marrow.
FIGURES = ("muscle", "fat", "csf", "marrow", "oedema")
#: Figures of the image quality comparison.
QUALITY = ("noise", "bias", "edge")
#: Laplacian of white noise of unit variance has this standard deviation.
_LAPLACIAN_GAIN = float(np.sqrt(20.0))


@dataclass(frozen=True)
class Pair:
    """A registered pair with the masks that cannot be found from it.

    Attributes:
        t1, stir: `(slice, row, column)`.
        spacing: mm, `(slice, row, column)`.
        marrow: normal marrow; `oedema` definite oedema, or None; `bones` sacrum and ilia, or None.
    """

    t1: Array
    stir: Array
    spacing: tuple[float, float, float]
    marrow: Mask | None = None
    oedema: Mask | None = None
    bones: Mask | None = None

    def __post_init__(self) -> None:
        if self.t1.shape != self.stir.shape or self.t1.ndim != 3:
            raise DataError(
                f"T1 {self.t1.shape} and STIR {self.stir.shape} are not one registered stack: resample one to the other"
            )


def regions(pair: Pair) -> dict[str, Mask]:
    """Muscle of reference (gluteal), muscle elsewhere (psoas), deep fat and CSF.

    Raises:
        DataError: no muscle is found.
    """
    sigma = (0.0, 0.8 / pair.spacing[1], 0.8 / pair.spacing[2])
    t1 = ndimage.gaussian_filter(pair.t1, sigma)
    stir = ndimage.gaussian_filter(pair.stir, sigma)
    slices, rows, columns = t1.shape
    row, column = np.arange(rows)[:, None] / rows, np.arange(columns)[None, :] / columns
    lateral = np.abs(column - 0.5)
    depth = np.arange(slices)[:, None, None] / max(slices - 1, 1)
    low = np.broadcast_to((row > 0.45) & (lateral > 0.15), t1.shape)
    mode = _muscle_mode(t1, low)
    like_muscle = _erode(np.abs(t1 / mode - 1) < 0.25, pair.spacing, 1.5)
    if pair.bones is not None:
        like_muscle &= ~_dilate(pair.bones, pair.spacing, 3.0)
    muscle = like_muscle & low & (depth < 0.7)
    if muscle.sum() < 200:
        raise DataError("no muscle was found on T1: the pair does not show the pelvis as expected")
    reference = float(np.median(stir[muscle]))
    psoas = like_muscle & (row < 0.4) & (lateral > 0.10) & (lateral < 0.36) & (depth < 0.7) & (stir < 2 * reference)
    central = np.broadcast_to((lateral < 0.33) & (row > 0.1) & (row < 0.65), t1.shape) & (depth < 0.45)
    bright = central & (t1 > 1.75 * mode)
    if pair.bones is not None:
        bright &= ~_dilate(pair.bones, pair.spacing, 3.0)
    fat = np.zeros_like(muscle)
    if bright.sum() > 200:
        peak = _mode(t1[bright])
        fat = _erode(bright & (np.abs(t1 / peak - 1) < 0.2), pair.spacing, 1.2)
    fluid = (stir > 3.2 * reference) & (lateral < 0.12) & (depth > 0.35) & (row < 0.65)
    return {"muscle": muscle, "psoas": psoas, "fat": fat, "csf": _erode(_largest(fluid), pair.spacing, 1.0)}


def measure(pair: Pair) -> dict[str, float]:
    """Return all figures of one pair: `{sequence}_{figure}`; NaN where a region is absent.

    Contrast figures are medians over the region, over the median of muscle (oedema: over normal marrow). `noise` is the
    standard deviation of the acquired pixels (Laplacian in the psoas, zero filling undone) over muscle,
    `bias` the 95th over the 5th percentile of a quadratic fit to the logarithm of muscle, `edge` the lower quartile of
    the Gaussian width (mm) of borders between fat and muscle (T1).
    """
    found = regions(pair)
    out: dict[str, float] = {}
    for name, image in (("T1", pair.t1), ("STIR", pair.stir)):
        muscle = float(np.median(image[found["muscle"]]))
        marrow = _median(image, pair.marrow)
        out |= {
            f"{name}_muscle": _median(image, found["psoas"]) / muscle,
            f"{name}_fat": _median(image, found["fat"]) / muscle,
            f"{name}_csf": _median(image, found["csf"]) / muscle,
            f"{name}_marrow": marrow / muscle,
            f"{name}_oedema": _median(image, pair.oedema) / marrow,
            f"{name}_noise": _noise(image, found["psoas"]) / muscle,
            f"{name}_bias": _bias(image, found["muscle"], pair.spacing),
        }
    out["T1_edge"] = _edge(pair.t1, found["muscle"], pair.spacing)
    return out


def compare(phantom: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Phantom against real scans, one row per figure.

    Args:
        phantom, real: one row per examination, columns as `measure` names them.

    Returns:
        Columns `sequence`, `figure`, medians, the range of the real scans, `in_range`, and `relative` (phantom's median
        over the real one, minus 1).
    """
    rows = []
    for column in real.columns:
        sequence, figure = column.split("_", 1)
        ours, theirs = phantom[column].dropna(), real[column].dropna()
        if ours.empty or theirs.empty:
            continue
        median, low, high = float(theirs.median()), float(theirs.min()), float(theirs.max())
        mine = float(ours.median())
        rows.append(
            {
                "sequence": sequence, "figure": figure, "phantom": mine, "real": median, "real_low": low,
                "real_high": high, "in_range": low <= mine <= high, "relative": mine / median - 1,
                "phantom_n": len(ours), "real_n": len(theirs),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _median(image: Array, mask: Mask | None) -> float:
    return float(np.median(image[mask])) if mask is not None and mask.sum() >= 20 else float("nan")


def _mode(values: Array) -> float:
    counts, edges = np.histogram(values, bins=80, range=tuple(np.percentile(values, [1, 99])))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), 2)
    k = int(np.argmax(smooth))
    return float((edges[k] + edges[k + 1]) / 2)


def _muscle_mode(t1: Array, low: Mask) -> float:
    """T1 of muscle: the most frequent value well above air and below fat in the caudal lateral part."""
    values = t1[low]
    high = np.percentile(values, 97)
    inner = values[(values > 0.10 * high) & (values < 0.55 * high)]
    if inner.size < 200:
        raise DataError("no muscle was found on T1: the image is nearly empty")
    return _mode(inner)


def _largest(mask: Mask) -> Mask:
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())[1:]
    return labels == 1 + int(np.argmax(sizes))


def _disk(spacing: tuple[float, float, float], radius: float) -> NDArray[np.bool_]:
    r = max(1, round(radius / spacing[1]))
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return (x**2 + y**2 <= r**2)[None]


def _erode(mask: Mask, spacing: tuple[float, float, float], radius: float) -> Mask:
    return ndimage.binary_erosion(mask, _disk(spacing, radius))


def _dilate(mask: Mask, spacing: tuple[float, float, float], radius: float) -> Mask:
    return ndimage.binary_dilation(mask, _disk(spacing, radius))


def support(image: Array) -> tuple[float, float]:
    """Acquired part of k-space along (rows, columns), 1 where nothing was zero-filled.

    The sharpest fall of the smoothed logarithmic power profile beyond a quarter of Nyquist, when it falls by more
    than a factor of 5 within 6 % of the axis.
    """
    power = (np.abs(np.fft.fft2(image)) ** 2).mean(0)
    out = []
    for axis in (0, 1):
        profile = power.mean(1 - axis)
        half = len(profile) // 2
        log = ndimage.gaussian_filter1d(np.log(profile[1:half] + profile[:half:-1][: half - 1] + 1e-9), 1.0)
        step = max(2, round(0.06 * half))
        fall = log[:-step] - log[step:]
        first = half // 4
        k = first + int(np.argmax(fall[first:]))
        out.append(min(1.0, (k + step / 2 + 1) / half) if fall[k] > np.log(5) else 1.0)
    return out[0], out[1]


def _noise(image: Array, mask: Mask) -> float:
    """Noise of the acquired pixels: Laplacian of the image brought back to its acquired matrix, within the mask."""
    rows, columns = (max(16, 2 * int(s * n / 2)) for s, n in zip(support(image), image.shape[1:], strict=True))
    n, m = image.shape[1:]
    index = np.ix_(np.fft.fftfreq(rows, 1 / rows).astype(int) % n, np.fft.fftfreq(columns, 1 / columns).astype(int) % m)
    nearest = np.ix_(np.arange(rows) * n // rows, np.arange(columns) * m // columns)
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    responses = []
    for plane, inside in zip(image, mask, strict=True):
        if inside.any():
            small = np.fft.ifft2(np.fft.fft2(plane)[index]).real * (rows * columns / (n * m))
            responses.append(ndimage.convolve(small, kernel)[inside[nearest]])
    response = np.concatenate(responses)
    return float(1.4826 * np.median(np.abs(response - np.median(response))) / _LAPLACIAN_GAIN)


def _bias(image: Array, mask: Mask, spacing: tuple[float, float, float]) -> float:
    where = np.argwhere(mask & (image > 0))
    if len(where) < 500:
        return float("nan")
    where = where[:: max(1, len(where) // 20000)]
    z, y, x = ((where - where.mean(0)) * np.array(spacing) / 100).T
    design = np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
    log = np.log(image[tuple(where.T)].astype(float))
    fit = design @ np.linalg.lstsq(design, log, rcond=None)[0]
    low, high = np.percentile(fit, [5, 95])
    return float(np.exp(high - low))


def _edge(t1: Array, muscle: Mask, spacing: tuple[float, float, float]) -> float:
    """Lower quartile of step / (slope √(2π)) over borders that run from muscle to fat within 8 mm."""
    mode = float(np.median(t1[muscle]))
    size = (1, 2 * round(4 / spacing[1]) + 1, 2 * round(4 / spacing[2]) + 1)
    low, high = ndimage.minimum_filter(t1, size), ndimage.maximum_filter(t1, size)
    slope = np.hypot(np.gradient(t1, spacing[1], axis=1), np.gradient(t1, spacing[2], axis=2))
    steepest = (slope == ndimage.maximum_filter(slope, size)) & (np.abs(low / mode - 1) < 0.3)
    steepest &= (high > 2.0 * mode) & (high < 4.0 * mode)
    if steepest.sum() < 50:
        return float("nan")
    width = (high - low)[steepest] / (slope[steepest] * np.sqrt(2 * np.pi))
    return float(np.percentile(width, 25))


def pair_of_source(folder: Path, patient: str) -> Pair:
    """Return the pair of a simulated patient with its truth; normal marrow is bone 4 mm inside, 8 mm off the joint.

    Args:
        folder: source folder written by `simulate_cohort`.
        patient: a patient whose pair is registered.
    """
    t1, _ = read_stack(folder / patient / "T1")
    stir, _ = read_stack(folder / patient / "STIR")
    bones, joint, lesions = (
        read_volume(folder / "truth" / f"{patient}_{k}.nii.gz") for k in ("bones", "joint", "lesions")
    )
    table = pd.read_csv(folder / "truth" / "lesions.csv", dtype={"patient": str})
    active = table[(table["patient"] == patient) & table["type"].isin(ACTIVE)]["lesion"]
    bone = bones.array > 0
    spacing = bones.spacing
    keep = (
        _erode(bone, spacing, 4.0) & ~_dilate(joint.array > 0, spacing, 8.0) & ~_dilate(lesions.array > 0, spacing, 4.0)
    )
    oedema = np.isin(lesions.array, active.to_numpy())
    return Pair(t1, stir, spacing, keep, oedema if oedema.any() else None, bone)
