"""Addresses and configuration of one run; each chapter's package reads its own results from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study, load_study
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import read_run, runs_root, stored_root


@dataclass(frozen=True)
class Run:
    """The results of a profile: of this machine's run (`runs/<profile>/`), else those stored with the repository.

    With folds, whatever is read of the training cohort is out of fold: of each patient, what came from the fold in
    which the patient's subject was tested. Of another cohort, the first fold's segmentation is read, and the detectors
    of all folds are members.

    Attributes:
        profile: a key of the profiles.
        score_threshold: detections scoring less do not count; 0 takes the study's (0.7 in the demo).

    Raises:
        ConfigError: the threshold is no score.
    """

    profile: str = "quick"
    score_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold <= 1:
            raise ConfigError(f"parameter score_threshold: a score lies from 0 to 1 (given: {self.score_threshold})")

    @cached_property
    def study(self) -> Study:
        """The study of the profile."""
        return load_study(self.profile)

    @cached_property
    def layout(self) -> Layout:
        """Addresses of the results."""
        own, stored = Layout(runs_root() / self.profile), Layout(stored_root() / self.profile)
        return own if any(own.root.glob("cohorts/*/run.json")) or not stored.root.is_dir() else stored

    @property
    def kind(self) -> str:
        """Kind of patients in figures: `phantom` or `real` (a key of `labels.MARKS`)."""
        return "phantom" if self.study.training_cohort in self.study.phantoms else "real"

    def variant(self, experiment: str) -> Study:
        """Return the study of one row of the experiment table."""
        return load_study(self.profile, experiment)

    def cohort(self, name: str | None = None) -> Cohort:
        """Return a curated cohort; the training cohort when no name is given."""
        return Cohort(self.layout.cohort(name or self.study.training_cohort))

    @property
    def threshold(self) -> float:
        """The score below which a detection does not count."""
        return self.score_threshold or self.study.detector.score_threshold

    def write_table(self, name: str, table: pd.DataFrame) -> Path:
        """Store a table of a page as CSV below `tables/`."""
        path = Layout.of(self.study).tables / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        return path

    @staticmethod
    def finished(folder: Path) -> Path:
        """Return the folder of a finished stage.

        Raises:
            MissingResultError: the stage has not finished.
        """
        read_run(folder)
        return folder

    def first_fold(self, fold: int | None) -> int | None:
        """Return the fold given, or the first (None without folds)."""
        return self.study.fold_numbers[0] if fold is None else fold


def patients_from(names: Sequence[str], position: int, count: int = 1) -> list[str]:
    """Return up to `count` patients starting at `position`.

    Raises:
        ConfigError: there is nobody at that position; names who is first and last.
    """
    if not 0 <= position < len(names):
        there = f"0 ({names[0]}) to {len(names) - 1} ({names[-1]})" if len(names) else "none, since nobody is left"
        raise ConfigError(f"parameter patient: nobody is at position {position}; choose one of {there}")
    return list(names[position : position + count])
