"""Read stored predictions of a run as half-slices and patients, by choices that a chapter's parameters make."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis.rules import KEY, half_slice_results
from axspa_lib.diagnosis.votes import consensus_opinion
from axspa_lib.study.config import BASE, Study
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_input

TIES = {"negative": 0, "positive": 1}


@dataclass(frozen=True)
class Choices:
    """Choices behind diagnoses and tables: the study's values, or those that a reader sets."""

    score_threshold: float
    min_positive: int
    members: tuple[int, ...]
    vote_tie: int
    consensus_tie: int
    count_failures: bool
    n_boot: int


def choices(
    study: Study,
    *,
    score_threshold: float = 0.0,
    rule: int = 0,
    members: str = "",
    vote_tie: str = "negative",
    consensus_tie: str = "positive",
    failures: str = "wrong",
    n_boot: int = 0,
) -> Choices:
    """Translate a chapter's parameters; 0 and "" stand for the study's own values and all members.

    Raises:
        ConfigError: names the parameter that has no such value.
    """
    if not 0 <= score_threshold <= 1:
        raise ConfigError(f"parameter score_threshold: a score lies from 0 to 1 (given: {score_threshold})")
    for name, number in (("rule", rule), ("n_boot", n_boot)):
        if number < 0:
            raise ConfigError(f"parameter {name}: give 1 or more, or 0 for the study's (given: {number})")
    words = {"vote_tie": (vote_tie, TIES), "consensus_tie": (consensus_tie, TIES),
             "failures": (failures, ("wrong", "forgiven"))}  # fmt: skip
    for name, (word, known) in words.items():
        if word not in known:
            raise ConfigError(f"parameter {name}: choose one of {', '.join(known)} (given: {word!r})")
    seeds = [part.strip() for part in members.split(",") if part.strip()]
    if not all(part.isdigit() for part in seeds):
        raise ConfigError(f'parameter members: give seeds separated by commas, as "0,2" (given: {members!r})')
    return Choices(
        score_threshold or study.detector.score_threshold,
        rule or study.diagnosis.min_positive,
        tuple(int(part) for part in seeds),
        TIES[vote_tie],
        TIES[consensus_tie],
        failures == "wrong",
        n_boot or study.diagnosis.bootstrap,
    )


@dataclass(frozen=True)
class CohortResults:
    """Readings and stored predictions of one cohort.

    Attributes:
        run: the results of the study.
        name: of the cohort; empty where the profile has no such cohort.
        members: seeds that take part; all when empty.
    """

    run: Run
    name: str
    members: tuple[int, ...] = ()

    @cached_property
    def half_slices(self) -> pd.DataFrame:
        """Readings, `patient, slice, side, reader, inflammation`."""
        return self.run.cohort(self.name).half_slices

    @cached_property
    def opinions(self) -> pd.DataFrame:
        """Diagnoses of the readers, `patient, reader, asas_positive`."""
        return self.run.cohort(self.name).opinions

    def predictions(self, experiment: str = BASE) -> dict[int, pd.DataFrame]:
        """Return the stored detections of an experiment by member, of those that take part.

        Raises:
            ConfigError: none of the base experiment's members is chosen.
        """
        found = detector_results.predictions(self.run, self.name, experiment)
        chosen = {seed: table for seed, table in found.items() if not self.members or seed % 100 in self.members}
        if found and not chosen and experiment == BASE:
            raise ConfigError(f"parameter members: choose among {', '.join(map(str, found))} (given: {self.members})")
        return chosen

    def evaluated(self, experiment: str = BASE) -> pd.DataFrame:
        """Return the half-slices of the slices predicted: `patient, slice, side, joint, inflammation`."""
        return detector_results.evaluated(self.run, self.name, experiment)

    @cached_property
    def with_joint(self) -> pd.DataFrame:
        """Half-slices predicted that contain a joint, `patient, slice, side`."""
        return self.evaluated().query("joint")[KEY]

    @cached_property
    def experiments(self) -> list[str]:
        """Rows of the experiment table of which a member that takes part was trained."""
        return [
            name
            for name in self.run.study.experiments
            if set(seeds := detector_results.seeds(self.run, name)) & set(self.members or seeds)
        ]


def half_slices(
    run: Run, cohort: str | None = None, experiment: str = BASE, score_threshold: float | None = None
) -> dict[int, pd.DataFrame]:
    """Return half-slice results by member, on every half-slice predicted; None takes the study's threshold."""
    return half_slice_results(
        detector_results.predictions(run, cohort, experiment),
        detector_results.evaluated(run, cohort, experiment),
        run.study.detector.score_threshold if score_threshold is None else score_threshold,
    )


def format_diagnoses(
    vote: pd.DataFrame, opinions: pd.DataFrame, consensus_tie: int = 1, count: int = 8
) -> pd.DataFrame:
    """Return the first patients with the vote and the readers' consensus as text."""
    both = vote.merge(consensus_opinion(opinions, consensus_tie), on="patient").head(count)
    yes = {0: "no", 1: "yes"}
    return pd.DataFrame(
        {
            "patient": both["patient"],
            "inflamed half-slices (middle member)": both["positive_rois"],
            "members who say positive": [f"{100 * share:.0f} %" for share in both["votes"]],
            "vote: positive": both["positive"].map(yes),
            "mean score": both["score"].map("{:.2f}".format),
            "readers: positive": both["asas_positive"].map(yes),
            "readers asked": both["readers"],
        }
    )


def true_lesions(run: Run, cohort: str | None = None) -> pd.DataFrame | None:
    """Return the lesions of simulated patients (`patient, type, side, volume_mm3, ...`); None for real scans."""
    path = run.layout.source(cohort or run.study.training_cohort) / "export" / "truth" / "lesions.csv"
    return pd.read_csv(record_input(path), dtype={"patient": str}) if path.is_file() else None
