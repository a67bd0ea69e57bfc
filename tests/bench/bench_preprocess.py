"""Preprocessing of one detector slice pair and of one U-Net slice against the authors' chain of library calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from axspa_lib.preprocessing.steps import preprocess_slice
from axspa_lib.study.config import BoneNets, Preprocessing
from tests.bench.harness import Benchmark
from tests.bench.images import slice_pair
from tests.oracles.preprocess import STEPS, reference_slice


def benchmarks() -> list[Benchmark]:
    """Detector input with the demo's sigma and with the paper's, and U-Net input."""
    t1, stir, spacing = slice_pair()
    found = []
    for sigma, whose in ((0.08, "demo's sigma"), (0.05, "paper's sigma")):
        p = Preprocessing(bias_sigma=sigma)
        found.append(
            Benchmark(
                f"detector input, 500 x 500, T1 + STIR, {whose}",
                ours=_pair(t1, stir, spacing, p),
                reference=_row(t1, stir, spacing, p),
                ours_name="two channels, STIR duplicated afterwards",
                reference_name="the demo's way: three channels through a table's row",
                agreement=_agreement([t1, stir], spacing, p),
                target=15.0,
            )
        )
        found.append(_one_channel(f"one channel, 500 x 500, {whose}", t1, spacing, p))
    return [*found, _one_channel("U-Net input, 256 x 256", t1, spacing, BoneNets().preprocessing)]


def _one_channel(name: str, t1: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> Benchmark:
    return Benchmark(
        name,
        ours=lambda: preprocess_slice(t1, spacing, p),
        reference=lambda: reference_slice(t1, spacing, p),
        reference_name="scikit-image and SciPy",
        agreement=_agreement([t1], spacing, p),
    )


def _pair(t1: np.ndarray, stir: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> Callable[[], Any]:
    def work() -> np.ndarray:
        first, second = (preprocess_slice(image, spacing, p) for image in (t1, stir))
        return np.stack([second, second, first], axis=-1)

    return work


def _row(t1: np.ndarray, stir: np.ndarray, spacing: tuple[float, float], p: Preprocessing) -> Callable[[], Any]:
    """All three channels, every step over a table with one row, as the demo is built."""

    def work() -> np.ndarray:
        table = pd.DataFrame({"image": [np.stack([stir, stir, t1], axis=-1).astype(float)]})
        for step in STEPS:
            table = table.apply(lambda row, step=step: _apply(row, step, spacing, p), axis=1)
        image = table["image"].iloc[0]
        return ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)

    return work


def _apply(
    row: pd.Series, step: Callable[..., np.ndarray], spacing: tuple[float, float], p: Preprocessing
) -> pd.Series:
    row = row.copy()
    row["image"] = np.stack([step(row["image"][..., channel], spacing, p) for channel in range(3)], axis=-1)
    return row


def _agreement(images: list[np.ndarray], spacing: tuple[float, float], p: Preprocessing) -> str:
    apart = [
        np.abs(preprocess_slice(image, spacing, p).astype(int) - reference_slice(image, spacing, p)) for image in images
    ]
    equal = np.mean([(difference == 0).mean() for difference in apart])
    return (
        f"{equal:.2%} of pixels equal, largest difference {max(int(difference.max()) for difference in apart)} levels"
    )
