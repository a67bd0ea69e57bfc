"""Stored measures of lesions and change on real scans."""

from __future__ import annotations

import pandas as pd

from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_input
from axspa_lib.study.volume import Volume, read_volume


def measured(run: Run, name: str) -> pd.DataFrame:
    """A table of the lesions and changes measured: `lesions`, `volumes`, `multiples`, `change` or `failures`."""
    path = record_input(run.finished(run.layout.measures) / f"{name}.csv")
    return pd.read_csv(path, dtype={"patient": str, "subject": str})


def found_area(run: Run, patient: str) -> Volume:
    """Inflamed area found on an examination, on the grid of its STIR."""
    return read_volume(run.finished(run.layout.measures) / f"{patient}_desc-inflamed_dseg.nii.gz")
