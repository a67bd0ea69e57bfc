"""Pointwise 95 % bands of ROC and precision-recall curves, by resampling patients."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from axspa_lib.stats import Floats, weights
from axspa_lib.study.errors import DataError


def band(
    reference: ArrayLike,
    score: ArrayLike,
    patients: ArrayLike,
    kind: Literal["roc", "precision_recall"] = "roc",
    n: int = 1000,
    seed: int = 0,
    points: int = 51,
    level: float = 0.95,
) -> Floats:
    """Where a curve may lie, at each abscissa by itself: rows `x, low, high`.

    Sensitivity over 1 - specificity as the step function that `agreement.roc` draws, or precision over recall; in each
    resample of the patients the curve is drawn anew.

    Args:
        reference: 0 or 1 of each case.
        score: higher means more likely inflamed.
        patients: the patient of each case; patients are resampled, resamples of one class are left out.
        kind: of the curve.
        n: resamples.
        seed: of the resamples.
        points: abscissae from 0 to 1.
        level: of the band.

    Raises:
        DataError: only one class is present.
    """
    truth, values = np.asarray(reference, float), np.asarray(score, float)
    if set(np.unique(truth)) != {0.0, 1.0}:
        raise DataError("a curve needs inflamed and healthy cases: this subset has one class only")
    names, owner = np.unique(np.asarray(patients).astype(str), return_inverse=True)
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) != 0])
    each = weights(len(names), n, seed)[:, owner[order]]
    hits = np.cumsum(np.add.reduceat(each * truth[order], starts, axis=1), axis=1)
    false = np.cumsum(np.add.reduceat(each * (1 - truth[order]), starts, axis=1), axis=1)
    both = (hits[:, -1] > 0) & (false[:, -1] > 0)
    hits, false = hits[both], false[both]
    grid = np.linspace(0, 1, points)
    recall, fallout = hits / hits[:, -1:], false / false[:, -1:]
    if kind == "roc":
        drawn = [_last_before(grid, x, y) for x, y in zip(fallout, recall, strict=True)]
    else:
        called = hits + false
        precision = np.divide(hits, called, out=np.ones_like(hits), where=called > 0)
        drawn = [_first_after(grid, x, y) for x, y in zip(recall, precision, strict=True)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(drawn), [tail, 1 - tail], axis=0)
    return np.stack([grid, low, high], axis=1)


def _last_before(grid: Floats, x: Floats, y: Floats) -> Floats:
    """The step function through (0, 0) and the points at `grid`: the value of the last point not right of it."""
    return np.concatenate([[0.0], y])[np.searchsorted(x, grid + 1e-12, side="right")]


def _first_after(grid: Floats, x: Floats, y: Floats) -> Floats:
    """The value of the first point not left of `grid`."""
    return y[np.minimum(np.searchsorted(x, grid - 1e-12, side="left"), len(y) - 1)]
