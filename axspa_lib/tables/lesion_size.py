"""What readers and model see of lesions of known size: only where the truth is known, on the phantom."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np
import pandas as pd

from axspa_lib.diagnosis.rules import KEY
from axspa_lib.stats import bootstrap_by_patient, sensitivity
from axspa_lib.study.errors import DataError

#: Lesions of the simulator that count as inflammation.
ACTIVE = ("oedema",)

#: The group of half-slices without such a lesion.
NONE = "none"


def largest_lesion(cases: pd.DataFrame, lesions: pd.DataFrame, types: Collection[str] = ACTIVE) -> pd.Series:
    """Volume (mm³) of the largest lesion that crosses each half-slice, 0 where none does; index as `cases`.

    Args:
        cases: `patient, slice, side`.
        lesions: the simulator's, `patient, type, side, volume_mm3, first_slice, last_slice` (-1: not in any slice).
        types: that count.
    """
    shown = lesions[lesions["type"].isin(set(types)) & (lesions["first_slice"] >= 0)]
    both = cases[KEY].reset_index().merge(shown[["patient", "side", "volume_mm3", "first_slice", "last_slice"]],
                                          on=["patient", "side"])  # fmt: skip
    crossed = both[(both["first_slice"] <= both["slice"]) & (both["slice"] <= both["last_slice"])]
    largest = crossed.groupby("index")["volume_mm3"].max()
    return largest.reindex(cases.index).fillna(0.0).rename("lesion_mm3")


def marked_by_size(
    cases: pd.DataFrame, answers: Mapping[str, str], lesions: pd.DataFrame, bins: int = 4, n: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Share of half-slices marked as inflamed, by the size of the largest lesion there.

    Args:
        cases: `patient, slice, side` and a column of 0 and 1 for each of `answers`.
        answers: who marks → column.
        lesions: as in `largest_lesion`.
        bins: groups of equal numbers of half-slices with a lesion.
        n: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        `group, series, value, low, high, n, patients`: half-slices without a lesion first, where a mark is false; sizes
        in mm³. A group in which all or none are marked has the interval of half a case more and less (Jeffreys).

    Raises:
        DataError: no half-slice shows a lesion.
    """
    size = largest_lesion(cases.reset_index(drop=True), lesions)
    present = size[size > 0]
    if present.empty:
        raise DataError("no half-slice evaluated shows a lesion: there is nothing to group by size")
    edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)))
    names = _names(edges)
    place = np.clip(np.searchsorted(edges, size, side="left") - 1, 0, max(len(names) - 1, 0))
    group = np.where(size > 0, np.asarray(names)[place], NONE)
    rows = []
    for name in [NONE, *names]:
        part = cases.reset_index(drop=True)[group == name]
        for series, column in answers.items():
            mark = part[column].to_numpy(float)
            counts = np.stack([mark, 0 * mark, 0 * mark, 1 - mark], axis=1)  # of which the share is the sensitivity
            found = bootstrap_by_patient(sensitivity, counts, part["patient"], n, seed, "jeffreys")
            rows.append((name, series, found.value, found.low, found.high, found.n, found.patients))
    return pd.DataFrame(rows, columns=["group", "series", "value", "low", "high", "n", "patients"])


def _names(edges: np.ndarray) -> list[str]:
    if len(edges) < 3:
        return ["any"]
    inner = [f"{edge:.0f}" for edge in edges[1:-1]]
    middle = [f"{low} to {high}" for low, high in pairwise(inner)]
    return [f"up to {inner[0]}", *middle, f"above {inner[-1]}"]
