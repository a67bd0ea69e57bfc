"""Every number of the paper, once, typed, with the section it comes from; profiles and experiments override it.

A `Study` is the whole configuration. A *profile* (`smoke`, `quick`, `workstation`, ...) is a small set of overrides in
`data_manifest/profiles.yaml`; an *experiment* (a row of Table 4) another on top of its parent, in `experiments.yaml`.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from axspa_lib.study.errors import ConfigError
from axspa_lib.study.overrides import MANIFEST as MANIFEST
from axspa_lib.study.overrides import experiments, merge, merged, nest, profiles
from axspa_lib.study.parameters import Augmentation as Augmentation
from axspa_lib.study.parameters import BoneAugmentation as BoneAugmentation
from axspa_lib.study.parameters import (
    BoneNets,
    Count,
    Detector,
    Diagnosis,
    Fraction,
    Increment,
    Joint,
    Positive,
    Strict,
)
from axspa_lib.study.parameters import Preprocessing as Preprocessing

#: The experiment that the others are compared with.
BASE = "all_included"

PhantomName = Literal["phantom-desir", "phantom-asas"]
CohortName = Literal["phantom-desir", "phantom-asas", "vhi", "iaxspa-demo", "desir", "asas"]


class PhantomCohort(Strict):
    """One simulated cohort."""

    patients: Count = Field(..., description="patients simulated, before any exclusion")
    prevalence: Fraction = Field(0.33, description="share of patients with inflammation of spondyloarthritis")
    misregistered: Fraction = Field(0.44, description="share of pairs with STIR planned anew: 288 of 689 remain (2)")
    lacking_slices: Fraction = Field(0.06, description="share of pairs whose STIR lacks slices")

    @model_validator(mode="after")
    def _shares_fit(self) -> PhantomCohort:
        if self.misregistered + self.lacking_slices > 1:
            raise ValueError("misregistered and lacking_slices are shares of the same pairs: their sum is at most 1")
        return self


class Pretraining(Strict):
    """Training on simulated patients before the training on a real cohort."""

    cohort: PhantomName = Field("phantom-desir", description="with its true bones and the consensus of its readers")
    iterations: Count = Field(8000, description="of the pre-training")
    validate_every: Count = 400
    learning_rate: Positive = Field(2.5e-4, description="of the pre-training; the one on the real cohort may be lower")
    start: str = Field("imagenet", description="as detector.start, of the pre-training itself")


def _phantoms() -> dict[PhantomName, PhantomCohort]:
    """Return the paper's sizes: 689 patients with three readers, 47 with six (sections 2 and 5.2)."""
    return {
        "phantom-desir": PhantomCohort(patients=689),
        "phantom-asas": PhantomCohort(patients=47, prevalence=0.25, misregistered=0, lacking_slices=0),
    }


TABLE_4 = ("all_included", "no_constant_pixel", "no_remove_gaussian_bias", "no_local_median", "no_clahe",
           "no_data_augmentation", "only_manually")  # fmt: skip


class Study(Strict):
    """The whole configuration of one study."""

    profile: str = "paper"
    experiment: str = "all_included"
    seed: int = Field(2022, ge=0, description="seed of the study; a training's own seed is its fold in the ensemble")
    cohorts: tuple[CohortName, ...] = Field(
        ("phantom-desir", "phantom-asas"), min_length=1, description="the first trains; the others only test (5.2)"
    )
    experiments: tuple[str, ...] = Field(TABLE_4, min_length=1, description="rows of the experiment table that are run")
    pretraining: Pretraining | None = Field(None, description="where detector.start is 'pretrained'")
    training_subjects: int = Field(0, ge=0, description="subjects to learn detection from; 0: all (learning curve)")
    fine_tune: bool = Field(True, description="false: the pre-trained detector as it is, as an experiment")
    folds: Count = Field(1, description="1: the paper's single split; more: cross-validation grouped by subject")
    folders: dict[CohortName, str] = Field({}, description="where the user's own copy of a cohort lies")
    phantoms: dict[PhantomName, PhantomCohort] = Field(default_factory=_phantoms)
    bones: BoneNets = BoneNets()
    bone_variants: tuple[str, ...] = Field(
        ("single", "patients_4", "patients_8", "patients_16", "grown"), description="rows of bone_variants.yaml (5.1)"
    )
    joint: Joint = Joint()
    increment: Increment = Increment()
    detector: Detector = Detector()
    diagnosis: Diagnosis = Diagnosis()
    ablation_members: Count = Field(10, description="trained models per row of Table 4 other than the first")

    @model_validator(mode="after")
    def _scratch_needs_trainable_norm(self) -> Study:
        if self.detector.start == "scratch" and self.detector.norm == "frozen_bn":
            raise ValueError("detector.norm must be 'group_norm' when detector.start is 'scratch'")
        return self

    @model_validator(mode="after")
    def _pretrained_needs_pretraining(self) -> Study:
        if self.pretraining is None and (self.detector.start == "pretrained" or not self.fine_tune):
            raise ValueError("pretraining must be given when detector.start is 'pretrained' or fine_tune is false")
        return self

    @property
    def training_cohort(self) -> str:
        """The cohort that is split into training, validation and test."""
        return self.cohorts[0]

    @property
    def fold_numbers(self) -> tuple[int | None, ...]:
        """Numbers of the folds; `(None,)` for the single split."""
        return tuple(range(self.folds)) if self.folds > 1 else (None,)

    def fold(self, number: int) -> int | None:
        """Return the fold of a job: `number`, or None for -1, the single split.

        Raises:
            ConfigError: the study has no such fold.
        """
        fold = None if number == -1 else number
        if fold not in self.fold_numbers:
            known = f"0 to {self.folds - 1}" if self.folds > 1 else "-1, the single split"
            raise ConfigError(f"parameter fold: profile {self.profile} has no fold {number}: choose {known}")
        return fold

    @property
    def member_count(self) -> int:
        """Trained models of the study's experiment (in each fold)."""
        if not self.fine_tune:
            return 1  # the pre-trained network is one, whatever the seed
        full = self.experiment == "all_included" or experiments()[self.experiment].get("full_ensemble", False)
        return self.diagnosis.members if full else self.ablation_members

    def data_id(self) -> str:
        """Return the identity of the detector's preprocessed slices: 10 hex digits over what changes them."""
        return digest({"preprocessing": self.detector.preprocessing.model_dump(mode="json"), "seed": self.seed})


def digest(value: Any) -> str:
    """Return the first 10 hex digits of the SHA-256 of `value` as canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def load_studies(profile: str) -> dict[str, Study]:
    """Return the study of each experiment that a profile runs, in the order of the experiment table.

    Raises:
        ConfigError: as `load_study`.
    """
    wanted = load_study(profile).experiments
    strangers = [name for name in wanted if name not in experiments()]
    if strangers:
        raise ConfigError(f"parameter experiments: {strangers[0]!r} is not a row of data_manifest/experiments.yaml")
    return {name: load_study(profile, name) for name in experiments() if name in wanted}


def load_study(
    profile: str = "quick", experiment: str = "all_included", overrides: str = "", **parameters: Any
) -> Study:
    """Resolve a profile, an experiment and further overrides into a validated study.

    Args:
        profile: a key of `data_manifest/profiles.yaml`.
        experiment: a key of `data_manifest/experiments.yaml`.
        overrides: YAML of parameters that win over the profile's, nested or dotted.
        **parameters: single parameters with `__` for the dot, e.g. `detector__iterations=100`.

    Raises:
        ConfigError: unknown profile, experiment or parameter, or a value out of range; names the field.

    >>> load_study("quick", "no_clahe").detector.preprocessing.clahe
    False
    >>> load_study("quick", overrides="detector.iterations: 100").detector.iterations
    100
    """
    known = profiles()
    if profile not in known:
        raise ConfigError(f"unknown profile {profile!r}: choose one of {', '.join(known)}")
    values = merged(known[profile] or {}, experiment, overrides)
    for name, value in parameters.items():
        merge(values, nest(name.split("__"), value))
    return parse_study(values | {"profile": profile, "experiment": experiment})


def parse_study(values: dict[str, Any]) -> Study:
    """Validate nested values over the paper's defaults.

    Raises:
        ConfigError: names the first offending field and what is allowed.
    """
    merged = json.loads(json.dumps(Study().model_dump(mode="json")))
    merge(merged, values)
    try:
        return Study.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "study"
        given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
        raise ConfigError(f"parameter {field}: {first['msg']}{given}") from None
