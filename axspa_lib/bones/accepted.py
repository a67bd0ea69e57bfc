"""Patients that the increment accepted, with their bones (section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run
from axspa_lib.study.volume import Volume, read_volume


def increment_table(
    study: Study, cohort: str, round_number: int | None = None, fold: int | None = None
) -> pd.DataFrame:
    """`increment.csv` of a finished segmentation (last round unless said otherwise)."""
    folder = Layout.of(study).segmentation(cohort, round_number or study.increment.rounds, fold)
    read_run(folder)
    return pd.read_csv(folder / "increment.csv", dtype={"patient": str})


def accepted_bones(study: Study, round_number: int, fold: int | None = None) -> Iterator[tuple[str, Volume]]:
    """Predicted masks of the patients that a round accepted without a manual mask.

    Only those of the detection training set, and those outside the detection split (scans without STIR) of subjects
    whom no test or validation set of the fold holds.
    """
    layout = Layout.of(study)
    cohort = study.training_cohort
    table = increment_table(study, cohort, round_number, fold)
    training = Cohort(layout.cohort(cohort)).growing(fold)
    for patient in table.query("accepted and source == 'predicted'")["patient"]:
        if patient in training:
            yield (
                patient,
                read_volume(layout.segmentation(cohort, round_number, fold) / f"{patient}_desc-bones_dseg.nii.gz"),
            )
