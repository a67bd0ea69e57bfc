"""Train a small classifier to distinguish phantom slices from real ones, and show what it uses.

Each slice becomes a few numbers in the manner of radiomics (sharpness and power spectrum, histogram, gradients, texture
at three scales, symmetry), measured on one grid in millimetres and free of the scanner's scale. A random forest
classifies them, cross-validated by patient. An area under the curve of 0.5 would be a phantom that these numbers cannot
tell from a scan; 1 one that always gives itself away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage, stats

from axspa_lib.study.config import MANIFEST
from axspa_lib.study.errors import DataError

#: Grid on which slices are compared: pixel and field of view, mm; the largest that all real scans cover.
PIXEL_MM, FIELD_MM = 1.0, 180.0
#: Part of the stack that is compared: where the joint is.
MIDDLE = (0.30, 0.75)
#: What the features look at, and which belong to it.
GROUPS: dict[str, tuple[str, ...]] = {
    "power spectrum": ("spectrum_slope", "spectrum_fine"),
    "histogram": ("dark", "bright", "skewness", "entropy"),
    "gradients": ("gradient", "gradient_steep", "gradient_tail"),
    "texture": ("texture_3mm", "texture_7mm", "texture_15mm", "streaks"),
    "symmetry": ("symmetry",),
}
FEATURES = tuple(name for names in GROUPS.values() for name in names)
#: Where the Dice of networks that saw only the phantom is written down, one row per change of the phantom.
HISTORY = MANIFEST / "phantom" / "likeness.csv"


@dataclass(frozen=True)
class Verdict:
    """Findings of the classifier.

    Attributes:
        slices: AUC over slices; `patients` over the mean score of each patient's slices. Both out of fold.
        scores: `patient, real, slice, score` per slice, 1 for surely real, out of fold.
        groups: `looks_at, auc`: the same classifier given one group of features alone, best first.
    """

    slices: float
    patients: float
    scores: pd.DataFrame
    groups: pd.DataFrame


def features(image: NDArray[np.floating], spacing: tuple[float, float]) -> dict[str, float]:
    """Return the numbers of one slice, independent of its pixel size and intensity scale.

    Args:
        image: `(row, column)` magnitude.
        spacing: of its pixels, mm.

    Raises:
        DataError: the slice is smaller than the compared field, or empty there.
    """
    height, width = (size * mm for size, mm in zip(image.shape, spacing, strict=True))
    if min(height, width) < FIELD_MM - 1:
        raise DataError(f"a slice of {height:.0f} x {width:.0f} mm does not cover the {FIELD_MM:.0f} mm compared")
    size = (round(width / PIXEL_MM), round(height / PIXEL_MM))
    plane = cv2.resize(np.asarray(image, dtype=np.float32), size, interpolation=cv2.INTER_AREA)
    side = round(FIELD_MM / PIXEL_MM)
    top, left = (plane.shape[0] - side) // 2, (plane.shape[1] - side) // 2
    plane = plane[max(top, 0) :, max(left, 0) :][:side, :side]
    inside = plane > 0.15 * np.percentile(plane, 90)
    if inside.mean() < 0.2:
        raise DataError("the compared field of the slice is nearly empty")
    plane = plane / np.median(plane[inside])
    values = plane[inside]
    slope = np.hypot(*np.gradient(plane))[ndimage.binary_erosion(inside, iterations=2)]
    fall, fine = _spectrum(plane)
    share = np.histogram(values, bins=48, range=(0, 4))[0] / values.size
    out = {
        "spectrum_slope": fall,
        "spectrum_fine": fine,
        "dark": float(np.percentile(values, 10)),
        "bright": float(np.percentile(values, 95)),
        "skewness": float(stats.skew(values)),
        "entropy": float(stats.entropy(share)),
        "gradient": float(np.median(slope)),
        "gradient_steep": float(np.percentile(slope, 95)),
        "gradient_tail": float(stats.kurtosis(slope)),
        "streaks": _streaks(plane, inside),
        "symmetry": float(np.corrcoef(plane.ravel(), plane[:, ::-1].ravel())[0, 1]),
    }
    for mm in (3, 7, 15):
        box = round(mm / PIXEL_MM)
        mean = cv2.blur(plane, (box, box))
        spread = np.sqrt(np.maximum(cv2.blur(plane**2, (box, box)) - mean**2, 0))
        out[f"texture_{mm}mm"] = float(np.median(spread[inside] / np.maximum(mean[inside], 0.05)))
    return {name: out[name] for name in FEATURES}


def _spectrum(plane: NDArray[np.float32]) -> tuple[float, float]:
    """Slope of the logarithmic radial power between 0.03 and 0.3 cycles per mm; share of power beyond 0.2."""
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    k = np.hypot(np.fft.fftfreq(plane.shape[0], PIXEL_MM)[:, None], np.fft.fftfreq(plane.shape[1], PIXEL_MM))
    edges = np.geomspace(0.03, 0.3, 13)
    ring = np.digitize(k, edges)
    radial = [power[ring == i].mean() for i in range(1, len(edges))]
    middle = np.sqrt(edges[1:] * edges[:-1])
    fall = np.polyfit(np.log(middle), np.log(radial), 1)[0]
    return float(fall), float(np.log10(power[k > 0.2].sum() / power[k > 0.02].sum()))


def _streaks(plane: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Median coherence of the structure tensor over 4 mm: 0 without direction, 1 where everything runs one way."""
    gy, gx = np.gradient(plane)
    xx, yy, xy = (ndimage.gaussian_filter(v, 4 / PIXEL_MM) for v in (gx * gx, gy * gy, gx * gy))
    coherence = np.hypot(xx - yy, 2 * xy) / np.maximum(xx + yy, 1e-9)
    return float(np.median(coherence[inside]))


def slice_table(stacks: Iterable[tuple[str, bool, NDArray[np.floating], tuple[float, float, float]]]) -> pd.DataFrame:
    """Features of the middle slices of many stacks.

    Args:
        stacks: patient, whether it is real, `(slice, row, column)`, spacing in mm `(slice, row, column)`.

    Returns:
        `patient, real, slice` and one column per feature.

    Raises:
        DataError: a slice is too small or empty; names the patient.
    """
    rows = []
    for patient, real, stack, spacing in stacks:
        low, high = (round(share * (len(stack) - 1)) for share in MIDDLE)
        for k in range(low, high + 1):
            try:
                rows.append({"patient": patient, "real": real, "slice": k} | features(stack[k], spacing[1:]))
            except DataError as error:
                raise DataError(f"patient {patient}, slice {k}: {error}") from error
    return pd.DataFrame(rows)


def judge(table: pd.DataFrame, folds: int = 5, seed: int = 0, subjects: Mapping[str, str] | None = None) -> Verdict:
    """Tell phantom from real, cross-validated by person.

    Args:
        table: of `slice_table`.
        folds: of persons, stratified; no more than there are persons of either kind.
        seed: of the folds and the forest.
        subjects: person of each patient, where some have several examinations.

    Raises:
        DataError: fewer than `folds` phantom or real persons.
    """
    people = table["patient"] if subjects is None else table["patient"].map(lambda name: subjects.get(name, name))
    counts = people.groupby(table["real"]).nunique()
    if len(counts) < 2 or counts.min() < folds:
        raise DataError(
            f"{folds} folds need at least {folds} phantom and {folds} real persons; there are {dict(counts)}"
        )
    score = _out_of_fold(table, FEATURES, people, folds, seed)
    scored = table[["patient", "real", "slice"]].assign(score=score)
    patients = by_patient(scored)
    groups = [
        (name, _auc(table["real"], _out_of_fold(table, columns, people, folds, seed)))
        for name, columns in GROUPS.items()
    ]
    ranked = pd.DataFrame(groups, columns=["looks_at", "auc"]).sort_values("auc", ascending=False, ignore_index=True)
    return Verdict(_auc(table["real"], score), _auc(patients["real"], patients["score"]), scored, ranked)


def by_patient(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the mean score of each patient's slices: `patient, real, score`, from `Verdict.scores`."""
    return scores.groupby("patient", as_index=False).agg(real=("real", "first"), score=("score", "mean"))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """Compare each feature by itself, the most discriminating first.

    Args:
        table: of `slice_table`.

    Returns:
        `looks_at, feature, phantom, real, auc`: medians over slices, and how well the feature alone tells real from
        phantom, whichever way it points (0.5 not at all, 1 always).
    """
    group = {name: looks_at for looks_at, names in GROUPS.items() for name in names}
    medians = table.groupby("real")[list(FEATURES)].median()
    rows = []
    for name in FEATURES:
        auc = _auc(table["real"], table[name])
        rows.append((group[name], name, medians.loc[False, name], medians.loc[True, name], max(auc, 1 - auc)))
    found = pd.DataFrame(rows, columns=["looks_at", "feature", "phantom", "real", "auc"])
    return found.sort_values("auc", ascending=False, ignore_index=True)


def _out_of_fold(
    table: pd.DataFrame, columns: tuple[str, ...], people: pd.Series, folds: int, seed: int
) -> NDArray[np.float64]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    values, real = table[list(columns)].to_numpy(), table["real"].to_numpy(dtype=bool)
    out = np.full(len(table), np.nan)
    for training, held_out in StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(values, real, people):
        forest = RandomForestClassifier(200, min_samples_leaf=3, class_weight="balanced", random_state=seed)
        out[held_out] = forest.fit(values[training], real[training]).predict_proba(values[held_out])[:, 1]
    return out


def _auc(real: pd.Series, score: NDArray[np.float64] | pd.Series) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(real, score))


def history() -> pd.DataFrame:
    """Dice on real scans of bone networks that saw only the phantom: `date, change, recipe, sacrum, iliac`."""
    return pd.read_csv(HISTORY)
