"""What the chapters choose to show from stored results: cases by rank, overlays, series of slices."""

from __future__ import annotations

import pandas as pd

from axspa_lib.config import MANIFEST
from axspa_lib.figures.bones import Case
from axspa_lib.results import Results


def published_dice() -> dict[str, float]:
    """The paper's Dice by bone (section 4.1)."""
    table = pd.read_csv(MANIFEST / "published" / "dice.csv")
    return dict(zip(table["bone"], table["dice"], strict=True))


def segmentation_cases(stored: Results, slices: pd.DataFrame, rank: str = "worst", count: int = 4) -> list[Case]:
    """Slices to look at, by Dice.

    Args:
        stored: the results.
        slices: rows of `Results.dice`.
        rank: `worst`, `median` or `best`, among slices that show the bone in the reference.
        count: how many, of as many different patients as there are.
    """
    shown = slices[(slices["tp"] + slices["fn"] > 0) & slices["bone"].isin(["sacrum", "iliac"])].dropna(subset="dice")
    ordered = shown.sort_values(["dice", "patient", "slice"], ascending=rank != "best", ignore_index=True)
    if rank == "median":
        ordered = ordered.iloc[(ordered.index - len(ordered) // 2).to_series().abs().argsort(kind="stable")]
    chosen = pd.concat([ordered.drop_duplicates("patient"), ordered]).drop_duplicates(["patient", "slice"]).head(count)
    cohort = stored.cohort()
    cases = []
    for row in chosen.itertuples():
        t1, reference = cohort.volume(row.patient, "T1"), cohort.reference_bones(row.patient)
        cases.append(
            Case(
                f"{row.patient}, slice {row.slice}\n{row.bone} {row.dice:.2f}",
                t1.array[row.slice],
                stored.bones(row.patient).array[row.slice],
                None if reference is None else reference.array[row.slice],
                t1.spacing[1:],
            )
        )
    return cases
