"""Dice overlap of bone masks, kept as counts so that every ratio can be recomputed (section 4.1; Dice 1945).

Dice = 2 TP / (2 TP + FP + FN). Where a bone is neither drawn nor predicted, Dice is undefined: NaN, and not counted
in a mean. Rows are `patient, slice, bone, tp, fp, fn, dice`; `bone` is `sacrum`, `iliac`, or `any` for their union.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from axspa_lib.stats.resampling import bootstrap_by_patient, paired_difference
from axspa_lib.study.errors import DataError
from axspa_lib.study.labels import Bone

BONES = ("sacrum", "iliac", "any")


def check_bones(mask: NDArray[Any], name: str, dimensions: int = 3) -> None:
    """Refuse anything that is not a bone mask.

    Args:
        mask: expected uint8 with 0 background, 1 sacrum, 2 iliac.
        name: what the message calls it.
        dimensions: 3 for `(slice, row, column)`, 2 for one slice.

    Raises:
        DataError: another dtype, number of dimensions, an empty array, or values other than 0, 1, 2.
    """
    if mask.ndim != dimensions:
        raise DataError(f"{name}: a bone mask with {dimensions} dimensions is needed, this has shape {mask.shape}")
    if mask.size == 0:
        raise DataError(f"{name}: the bone mask is empty (shape {mask.shape})")
    if mask.dtype != np.uint8:
        raise DataError(f"{name}: a bone mask is uint8, this is {mask.dtype}; convert it to 0, 1, 2")
    if int(mask.max()) > Bone.ILIAC:
        values = ", ".join(map(str, np.unique(mask)[:8]))
        raise DataError(f"{name}: a bone mask holds 0 background, 1 sacrum, 2 iliac; this holds {values}")


def dice(tp: Any, fp: Any, fn: Any) -> Any:
    """Dice from counts (scalars or arrays); NaN where all are zero.

    >>> float(dice(8, 2, 2)), bool(np.isnan(dice(0, 0, 0)))
    (0.8, True)
    """
    both = 2 * np.asarray(tp, dtype=float)
    total = both + np.asarray(fp) + np.asarray(fn)
    return np.divide(both, total, out=np.full(np.shape(total), np.nan), where=total > 0)[()]


def dice_by_slice(patient: str, predicted: NDArray[np.uint8], reference: NDArray[np.uint8]) -> pd.DataFrame:
    """Return the counts and Dice of every annotated slice and bone.

    A slice whose reference shows no bone at all counts as not annotated and has no rows.

    Args:
        patient: written into every row.
        predicted: `(slice, row, column)` uint8 0/1/2.
        reference: the same grid.

    Returns:
        `patient, slice, bone, tp, fp, fn, dice`, three rows per annotated slice.

    Raises:
        DataError: not bone masks, or not on one grid; names the patient.
    """
    check_bones(predicted, f"prediction of patient {patient}")
    check_bones(reference, f"reference of patient {patient}")
    if predicted.shape != reference.shape:
        raise DataError(
            f"patient {patient}: prediction {predicted.shape} and reference {reference.shape} lie on different grids"
        )
    annotated = np.flatnonzero(reference.any(axis=(1, 2)))
    predicted, reference = predicted[annotated], reference[annotated]
    parts = []
    for bone in BONES:
        mine, theirs = _of(bone, predicted), _of(bone, reference)
        counts = [(a & b).sum(axis=(1, 2)) for a, b in ((mine, theirs), (mine, ~theirs), (~mine, theirs))]
        table = pd.DataFrame(dict(zip(("tp", "fp", "fn"), counts, strict=True)))
        parts.append(table.assign(patient=patient, slice=annotated, bone=bone))
    table = pd.concat(parts, ignore_index=True)
    table["dice"] = dice(table.tp, table.fp, table.fn)
    return table[["patient", "slice", "bone", "tp", "fp", "fn", "dice"]]


def dice_by_patient(slices: pd.DataFrame) -> pd.DataFrame:
    """Sum counts over each patient's slices and return Dice: `patient, bone, slices, tp, fp, fn, dice`.

    Args:
        slices: rows of `dice_by_slice`, of any number of patients.
    """
    groups = slices.groupby(["patient", "bone"], sort=True)
    table = groups[["tp", "fp", "fn"]].sum().assign(slices=groups.size()).reset_index()
    table["dice"] = dice(table.tp, table.fp, table.fn)
    return table[["patient", "bone", "slices", "tp", "fp", "fn", "dice"]]


def lacking(slices: pd.DataFrame, bone: str) -> pd.DataFrame:
    """Return rows of slices whose reference lacks `bone` (section 5.1: slices without sacrum).

    Args:
        slices: rows of `dice_by_slice`.
        bone: `sacrum` or `iliac`.
    """
    keys = ["patient", "slice"]
    without = slices.loc[(slices["bone"] == bone) & (slices["tp"] + slices["fn"] == 0), keys]
    return slices.merge(without, on=keys)


def dice_summary(
    slices: pd.DataFrame, n: int = 2000, seed: int = 0, subjects: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Return the mean Dice of the patients with its 95 % bootstrap interval, by bone.

    Args:
        slices: rows of `dice_by_slice`, of any number of patients.
        n: bootstrap samples, by patient.
        seed: of the samples.
        subjects: person of each patient, where some have several examinations; whole persons are then resampled.

    Returns:
        `bone, patients, slices, dice, low, high`; patients without the bone do not count.
    """
    rows = []
    for bone, table in _defined(slices).groupby("bone"):
        found = bootstrap_by_patient(_mean, _with_ones(table), _people(table, subjects), n, seed)
        counted = int(table["slices"].sum())
        rows.append((bone, found.n, counted, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["bone", "patients", "slices", "dice", "low", "high"])


def dice_difference(
    first: pd.DataFrame, second: pd.DataFrame, n: int = 2000, seed: int = 0, subjects: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Paired difference of the patients' mean Dice, first minus second, by bone, e.g. two networks against one (5.1).

    Args:
        first: rows of `dice_by_slice`.
        second: rows of another prediction; patients and bones that only one of them has do not count.
        n: bootstrap samples, and as many permutations.
        seed: of both.
        subjects: as in `dice_summary`.

    Returns:
        `bone, patients, difference, low, high, p_value` (95 % bootstrap interval; permutation test by patient).
    """
    both = _defined(first).merge(_defined(second), on=["patient", "bone"], suffixes=("", "_second"))
    rows = []
    for bone, table in both.groupby("bone"):
        other = table[["patient", "dice_second"]].rename(columns={"dice_second": "dice"})
        found = paired_difference(_mean, _with_ones(table), _with_ones(other), _people(table, subjects), n, seed)
        rows.append((bone, len(table), found.value, found.low, found.high, found.p_value))
    return pd.DataFrame(rows, columns=["bone", "patients", "difference", "low", "high", "p_value"])


def _people(table: pd.DataFrame, subjects: Mapping[str, str] | None) -> pd.Series:
    return (
        table["patient"] if subjects is None else table["patient"].map(lambda patient: subjects.get(patient, patient))
    )


def _defined(slices: pd.DataFrame) -> pd.DataFrame:
    return dice_by_patient(slices).dropna(subset="dice")


def _with_ones(table: pd.DataFrame) -> NDArray[np.float64]:
    return np.column_stack([table["dice"].to_numpy(), np.ones(len(table))])


def _mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return sums[..., 0] / sums[..., 1]


def _of(bone: str, mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return mask > 0 if bone == "any" else mask == Bone[bone.upper()]
