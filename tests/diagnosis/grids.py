"""Tables of half-slices for tests."""

from __future__ import annotations

import pandas as pd

from axspa_lib.study.labels import SIDES


def every_half_slice(patients: list[str], slices: int) -> pd.DataFrame:
    """Return `patient, slice, side` of every half-slice of patients with as many slices each."""
    return pd.DataFrame(
        [(patient, number, side) for patient in patients for number in range(slices) for side in SIDES],
        columns=["patient", "slice", "side"],
    )
