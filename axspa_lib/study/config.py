"""Every number of the paper, once, typed, with the section it comes from; profiles and experiments override it.

A `Study` is the whole configuration. A *profile* (`smoke`, `quick`, `workstation`, ...) is a small set of
overrides in `data_manifest/profiles.yaml`; an *experiment* (a row of Table 4) is another small set on top of
its parent, in `data_manifest/experiments.yaml`. `load_study(profile, experiment, **overrides)` resolves them.

Two identities follow from a resolved study (`shared` design: a new seed reuses the data, a new figure retrains
nothing): `data_id` hashes only what changes preprocessed files, `run_id` the whole configuration with its seed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from yaml import YAMLError

from axspa_lib.study.errors import ConfigError
from axspa_lib.study.overrides import merge, nest, parse_yaml

MANIFEST = Path(__file__).resolve().parents[2] / "data_manifest"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
PhantomName = Literal["phantom-desir", "phantom-asas"]
CohortName = Literal["phantom-desir", "phantom-asas", "vhi", "iaxspa-demo", "desir", "asas"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocessing(_Strict):
    """Slice preprocessing (section 3.1.1, figure 2); each step is a row of Table 4."""

    constant_pixel: bool = Field(True, description="resample to `pixel_mm` (3.2.1); Table 4 'No Constant Pixel'")
    pixel_mm: Positive = Field(0.5, description="pixel size after resampling, mm (3.2.1)")
    remove_bias: bool = Field(True, description="divide by a Gaussian smoothing (3.1.1)")
    bias_sigma: Positive = Field(0.05, le=1, description="sigma as a fraction of the image size (3.1.1; demo: 0.08)")
    local_median: bool = Field(True, description="median over the 4-connected neighbourhood (3.1.1)")
    clahe: bool = Field(True, description="contrast-limited adaptive histogram equalisation (3.1.1)")
    clahe_clip_limit: Fraction = Field(0.01, description="scikit-image default, as in the demo")
    nonzero_minmax: bool = Field(True, description="first min-max over non-zero pixels only (demo, detector input)")


class Augmentation(_Strict):
    """Random flip and rotation (sections 3.1.2 and 3.2.1); Table 4 'No Data Augmentation' switches both off."""

    flip: bool = Field(True, description="random horizontal flip")
    rotation_deg: float = Field(15.0, ge=0, le=180, description="random rotation within plus or minus this angle")


class BoneAugmentation(Augmentation):
    """The same, and what the paper has not: all off unless a profile with few annotated scans asks for it."""

    zoom: Fraction = Field(0.0, lt=1, description="random zoom within 1 plus or minus this share; not in the paper")
    shift: Fraction = Field(0.0, description="random shift within this share of the slice; not in the paper")
    contrast: float = Field(
        0.0, ge=0, le=1, description="random gamma between exp(-this) and exp(this); not in the paper"
    )


class BoneNets(_Strict):
    """Bone U-Nets (sections 3.1.2 and 4.1)."""

    architecture: Literal["smp", "classical"] = Field(
        "classical", description="classical: names of the published weights"
    )
    encoder: str = Field("resnet18", description="encoder of the segmentation-models-pytorch U-Net")
    decoder_channels: tuple[Count, ...] = Field(
        (256, 128, 64, 32, 16), min_length=3, max_length=5, description="widths of that U-Net's decoder, deep first"
    )
    norm_momentum: Fraction = Field(
        0.1, description="weight of a batch in the running statistics; short trainings need more than the usual 0.1"
    )
    networks: Literal["pair", "single"] = Field("pair", description="one network per bone, or one for both (5.1)")
    preprocessing: Preprocessing = Preprocessing(constant_pixel=False, nonzero_minmax=False)
    size: int = Field(256, ge=32, multiple_of=32, description="slices are fed as size x size pixels (demo)")
    augmentation: BoneAugmentation = BoneAugmentation()
    start: str = Field("", description="row of bone_variants.yaml whose weights are continued; the paper: drawn anew")
    learning_rate: Positive = Field(1e-4, description="RMSprop (3.1.2)")
    momentum: Fraction = Field(0.0, description="of RMSprop; not given in the paper, 0 is the library's default")
    weight_decay: float = Field(1e-8, ge=0, description="3.1.2")
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: short trainings, falls to 2 %")
    foreground_weight: Fraction = Field(0.9, description="w_fg of the cross entropy; w_bg = 1 - w_fg (3.1.2)")
    threshold: float | None = Field(
        0.5, gt=0, lt=1, description="probability from which a pixel is bone; paper: arg max; none: best on validation"
    )
    batch_size: Count = 4
    epochs: Count = Field(30, description="not given in the paper; 23 min on a GTX 1080 Ti (4.1)")
    split: tuple[Count, Count, Count] = Field((31, 6, 14), description="patients train, validation, test (4.1)")
    batch_statistics: bool = Field(False, description="predict with the statistics of each slice, as the demo does")
    mirrored: bool = Field(
        False, description="average the prediction with that of the mirrored slice; not in the paper"
    )
    precision: Literal["float32", "bfloat16"] = "float32"


class Joint(_Strict):
    """Algorithm 1; the parameters are those of the authors' demo, in fractions of the columns or in pixels."""

    contact_fraction: Fraction = Field(0.01, description="sacrum within this fraction of the columns: 'next to it'")
    horizontal_fraction: Fraction = Field(0.08, description="horizontal dilation D_H, fraction of the columns")
    dilation_radius: Count = Field(7, description="disk of D(Il), pixels")
    closing_radius: Count = Field(5, description="disk of the closing, pixels")
    wing_fraction: Fraction = Field(0.75, description="opening disk, fraction of the largest inscribed radius")
    horizontal: Literal["box", "line"] = Field("box", description="D_H of the whole box (demo) or of every row")
    reference_pixel_mm: float = Field(0.0, ge=0, description="the radii are pixels of this size; 0: the mask's own")


class Increment(_Strict):
    """Incremental segmentation (section 4.1)."""

    max_missed: int = Field(1, ge=0, description="failure when the joint is missed on two or more half-slices (4.1)")
    rounds: Count = Field(1, description="rounds of training on the grown set; the paper does one")
    manual_only: bool = Field(False, description="Table 4 'Only manually': train on the manually segmented patients")
    fill_gaps: bool = Field(False, description="predicted bones on slices that a manual mask leaves out (real masks)")


class Detector(_Strict):
    """Mask R-CNN (sections 3.2.1 and 4.2)."""

    implementation: Literal["torchvision", "detectron2"] = "torchvision"
    backbone: Literal["resnet50", "resnet18"] = Field("resnet50", description="ResNet-50 FPN (3.2.1)")
    start: str = Field(
        "imagenet",
        description="'imagenet', 'imagenet-torchvision', 'scratch', 'authors', 'pretrained' (`pretraining`) or a file",
    )
    norm: Literal["frozen_bn", "group_norm"] = Field("frozen_bn", description="group_norm trains from scratch")
    channels: Literal["T1,STIR,STIR", "STIR,STIR,T1"] = Field(
        "T1,STIR,STIR", description="3.2.1; the demo has the other"
    )
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    min_size: int = Field(800, ge=0, description="shortest edge fed to the network, px; 0 keeps the slice's own size")
    max_size: Count = 1333
    width: Count = Field(64, multiple_of=4, description="channels of the ResNet's first stage; smaller is narrower")
    freeze_at: int = Field(2, ge=0, le=5, description="stages kept as loaded: stem and res2 (Detectron2)")
    anchor_sizes: tuple[Positive, ...] = Field(
        (32, 64, 128, 256, 512), min_length=1, max_length=5, description="px, one level each from p2 on (Detectron2)"
    )
    aspect_ratios: tuple[Positive, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="height over width")
    anchors_per_image: Count = Field(256, description="sampled anchors per image in training (Detectron2)")
    positive_fraction: Fraction = Field(0.25, description="largest share of positive ROIs (Detectron2)")
    fpn_channels: Count = Field(256, description="width of the feature pyramid and the RPN")
    box_head_dim: Count = Field(1024, description="width of the box head")
    mask_head_dim: Count = Field(256, description="width of the mask head")
    rois_per_image: Count = Field(128, description="sampled ROIs per image in training (demo)")
    train_candidates: Count = Field(2000, description="anchors per level before NMS in training (Detectron2)")
    test_candidates: Count = Field(1000, description="anchors per level before NMS at inference (Detectron2)")
    proposal_nms: Fraction = Field(0.7, description="overlap above which the weaker proposal is dropped (Detectron2)")
    detection_nms: Fraction = Field(0.5, description="the same for detections of one class (Detectron2)")
    detections_per_image: Count = Field(100, description="Detectron2")
    train_proposals: Count = Field(1000, description="proposals kept after NMS in training")
    test_proposals: Count = Field(1000, description="proposals kept after NMS at inference")
    score_threshold: Fraction = Field(0.7, description="detections below are dropped (demo)")
    store_threshold: Fraction = Field(0.05, description="detections below are not even stored")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="Detectron2's standard solver (3.2.1)")
    learning_rate: Positive = Field(2.5e-4, description="constant (3.2.1)")
    momentum: Fraction = 0.9
    weight_decay: float = Field(1e-4, ge=0)
    warmup: int = Field(0, ge=0, description="iterations of linear warm-up; the paper: constant rate")
    schedule: Literal["constant", "cosine"] = Field("constant", description="of the rate after warm-up (3.2.1)")
    gradient_clip: float = Field(0.0, ge=0, description="maximal gradient norm, 0 is off")
    batch_size: Count = Field(2, description="images per step")
    class_weight: Positive = Field(1.0, description="factor on the class loss of the ROIs; Mask R-CNN has 1")
    inflamed_share: Fraction = Field(0.0, description="share of a batch drawn among inflamed slices; 0: as they come")
    iterations: Count = Field(8000, description="4.2")
    weight_average: Fraction = Field(
        0.0, lt=1, description="decay per iteration of the weights' moving average, which is validated and kept; 0: off"
    )
    validate_every: Count = Field(400, description="iterations between validations; lowest validation loss kept (4.2)")
    split: tuple[Count, Count, Count] = Field((178, 25, 53), description="patients train, validation, test (4.2)")
    precision: Literal["float32", "bfloat16"] = "float32"


class Diagnosis(_Strict):
    """Aggregation and ensemble (sections 3.2.2 and 4.2)."""

    min_positive: Count = Field(2, description="patient positive when at least this many ROIs are (3.2.2)")
    members: Count = Field(10, description="trained models per ensemble (4.2)")
    bootstrap: Count = Field(2000, description="bootstrap samples, by patient")


class PhantomCohort(_Strict):
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


class Pretraining(_Strict):
    """Training on simulated patients before the training on a real cohort."""

    cohort: PhantomName = Field("phantom-desir", description="with its true bones and the consensus of its readers")
    iterations: Count = Field(8000, description="of the pre-training")
    validate_every: Count = 400
    learning_rate: Positive = Field(2.5e-4, description="of the pre-training; the one on the real cohort may be lower")
    start: str = Field("imagenet", description="as detector.start, of the pre-training itself")


def _phantoms() -> dict[PhantomName, PhantomCohort]:
    """The paper's sizes: 689 patients with three readers, 47 with six (sections 2 and 5.2)."""
    return {
        "phantom-desir": PhantomCohort(patients=689),
        "phantom-asas": PhantomCohort(patients=47, prevalence=0.25, misregistered=0, lacking_slices=0),
    }


TABLE_4 = ("all_included", "no_constant_pixel", "no_remove_gaussian_bias", "no_local_median", "no_clahe",
           "no_data_augmentation", "only_manually")  # fmt: skip


class Study(_Strict):
    """The whole configuration of one study."""

    profile: str = "paper"
    experiment: str = "all_included"
    seed: int = Field(2022, ge=0, description="seed of the study; a training's own seed is its fold in the ensemble")
    cohorts: tuple[CohortName, ...] = Field(
        ("phantom-desir", "phantom-asas"),
        min_length=1,
        description="the first trains and tests (DESIR, section 2); the others are only tested on (ASAS, section 5.2)",
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
        ("single", "patients_4", "patients_8", "patients_16", "grown"),
        description="rows of bone_variants.yaml to train (5.1)",
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
        """The fold of a job: `number`, or None for -1, the single split.

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
        """Identity of the detector's preprocessed slices: 10 hex digits over what changes them, nothing else."""
        steps = self.detector.preprocessing.model_dump(mode="json") | {
            "arithmetic": "fast"
        }  # as stored results have it
        return digest({"preprocessing": steps, "seed": self.seed})

    def run_id(self, seed: int) -> str:
        """Identity of one training: 10 hex digits over the whole configuration and the member's seed."""
        return digest({"study": self.model_dump(mode="json"), "member": seed})


def digest(value: Any) -> str:
    """First 10 hex digits of the SHA-256 of `value` as canonical JSON.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def load_studies(profile: str) -> dict[str, Study]:
    """The study of each experiment that a profile runs, in the order of the experiment table.

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
    values: dict[str, Any] = {}
    merge(values, _profile(profile))
    for layer in _lineage(experiment):
        merge(values, layer)
    for name, value in _parsed(overrides).items():
        merge(values, nest(name.split("."), value))
    for name, value in parameters.items():
        merge(values, nest(name.split("__"), value))
    values |= {"profile": profile, "experiment": experiment}
    return parse_study(values)


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


def profiles() -> dict[str, dict[str, Any]]:
    """All profiles by name: the repository's, and a lab's own in `data_manifest/profiles.local.yaml`."""
    local = MANIFEST / "profiles.local.yaml"
    return _yaml("profiles.yaml") | (_yaml(local.name) if local.exists() else {})


def experiments() -> dict[str, dict[str, Any]]:
    """All experiments by name, in the order of Table 4: `label`, `parent`, `overrides`."""
    return _yaml("experiments.yaml")


def _yaml(name: str) -> dict[str, dict[str, Any]]:
    try:
        return parse_yaml((MANIFEST / name).read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"data_manifest/{name}: {error}: keep one") from None


def _parsed(overrides: str) -> dict[str, Any]:
    try:
        values = parse_yaml(overrides) or {}
    except YAMLError as error:
        raise ConfigError(
            f"parameter overrides: is not YAML ({error}): write 'detector: {{iterations: 100}}'"
        ) from None
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(
            f"parameter overrides: write names and values, 'detector: {{iterations: 100}}': {overrides!r}"
        )
    for name in ("profile", "experiment"):
        if name in values:
            raise ConfigError(f"parameter overrides: {name} is no override: set the notebook's parameter {name!r}")
    return values


def _profile(name: str) -> dict[str, Any]:
    known = profiles()
    if name not in known:
        raise ConfigError(f"unknown profile {name!r}: choose one of {', '.join(known)}")
    return known[name] or {}


def _lineage(name: str | None) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    known = experiments()
    while name:
        if name not in known:
            raise ConfigError(f"unknown experiment {name!r}: choose one of {', '.join(known)}")
        layers.insert(0, known[name].get("overrides") or {})
        name = known[name].get("parent")
    return layers


BASE = "all_included"
