"""Parameters of the method, typed, with the paper's values as defaults and the section each comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A group of parameters: unknown names are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Preprocessing(Strict):
    """Slice preprocessing (section 3.1.1, figure 2); each step is a row of Table 4."""

    constant_pixel: bool = Field(True, description="resample to `pixel_mm` (3.2.1); Table 4 'No Constant Pixel'")
    pixel_mm: Positive = Field(0.5, description="pixel size after resampling, mm (3.2.1)")
    remove_bias: bool = Field(True, description="divide by a Gaussian smoothing (3.1.1)")
    bias_sigma: Positive = Field(0.05, le=1, description="sigma as a fraction of the image size (3.1.1; demo: 0.08)")
    local_median: bool = Field(True, description="median over the 4-connected neighbourhood (3.1.1)")
    clahe: bool = Field(True, description="contrast-limited adaptive histogram equalisation (3.1.1)")
    clahe_clip_limit: Fraction = Field(0.01, description="scikit-image default, as in the demo")
    nonzero_minmax: bool = Field(True, description="first min-max over non-zero pixels only (demo, detector input)")


class Augmentation(Strict):
    """Random flip and rotation (sections 3.1.2 and 3.2.1); Table 4 'No Data Augmentation' switches both off."""

    flip: bool = Field(True, description="random horizontal flip")
    rotation_deg: float = Field(15.0, ge=0, le=180, description="random rotation within plus or minus this angle")


class BoneAugmentation(Augmentation):
    """Augmentation of bone slices, with moves beyond the paper that are off by default."""

    zoom: Fraction = Field(0.0, lt=1, description="random zoom within 1 plus or minus this share; not in the paper")
    shift: Fraction = Field(0.0, description="random shift within this share of the slice; not in the paper")
    contrast: float = Field(0.0, ge=0, le=1, description="random gamma, exp(±this); not in the paper")


class BoneNets(Strict):
    """Bone U-Nets (sections 3.1.2 and 4.1)."""

    architecture: Literal["smp", "classical"] = Field("classical", description="names as published weights")
    encoder: str = Field("resnet18", description="encoder of the segmentation-models-pytorch U-Net")
    decoder_channels: tuple[Count, ...] = Field(
        (256, 128, 64, 32, 16), min_length=3, max_length=5, description="decoder widths, deep first"
    )
    norm_momentum: Fraction = Field(0.1, description="weight of a batch; short trainings need more")
    networks: Literal["pair", "single"] = Field("pair", description="one network per bone, or one for both (5.1)")
    preprocessing: Preprocessing = Preprocessing(constant_pixel=False, nonzero_minmax=False)
    size: int = Field(256, ge=32, multiple_of=32, description="slices are fed as size x size pixels (demo)")
    augmentation: BoneAugmentation = BoneAugmentation()
    start: str = Field("", description="row of bone_variants.yaml to continue; the paper: random weights")
    learning_rate: Positive = Field(1e-4, description="RMSprop (3.1.2)")
    momentum: Fraction = Field(0.0, description="of RMSprop; not given in the paper, 0 is the library's default")
    weight_decay: float = Field(1e-8, ge=0, description="3.1.2")
    schedule: Literal["constant", "cosine"] = Field("constant", description="cosine: short trainings, falls to 2 %")
    foreground_weight: Fraction = Field(0.9, description="w_fg of the cross entropy; w_bg = 1 - w_fg (3.1.2)")
    threshold: float | None = Field(0.5, gt=0, lt=1, description="probability of bone; none: best on validation")
    batch_size: Count = 4
    epochs: Count = Field(30, description="not given in the paper; 23 min on a GTX 1080 Ti (4.1)")
    split: tuple[Count, Count, Count] = Field((31, 6, 14), description="patients train, validation, test (4.1)")
    batch_statistics: bool = Field(False, description="predict with the statistics of each slice, as the demo does")
    mirrored: bool = Field(False, description="average with the mirrored slice; not in the paper")
    precision: Literal["float32", "bfloat16"] = "float32"


class Joint(Strict):
    """Algorithm 1; the parameters are those of the authors' demo, in fractions of the columns or in pixels."""

    contact_fraction: Fraction = Field(0.01, description="sacrum within this fraction of the columns: 'next to it'")
    horizontal_fraction: Fraction = Field(0.08, description="horizontal dilation D_H, fraction of the columns")
    dilation_radius: Count = Field(7, description="disk of D(Il), pixels")
    closing_radius: Count = Field(5, description="disk of the closing, pixels")
    wing_fraction: Fraction = Field(0.75, description="opening disk, fraction of the largest inscribed radius")
    horizontal: Literal["box", "line"] = Field("box", description="D_H of the whole box (demo) or of every row")
    reference_pixel_mm: float = Field(0.0, ge=0, description="the radii are pixels of this size; 0: the mask's own")


class Increment(Strict):
    """Incremental segmentation (section 4.1)."""

    max_missed: int = Field(1, ge=0, description="failure when the joint is missed on two or more half-slices (4.1)")
    rounds: Count = Field(1, description="rounds of training on the grown set; the paper does one")
    manual_only: bool = Field(False, description="Table 4 'Only manually': train on the manually segmented patients")
    fill_gaps: bool = Field(False, description="predicted bones on slices that a manual mask leaves out (real masks)")


class Detector(Strict):
    """Mask R-CNN (sections 3.2.1 and 4.2)."""

    implementation: Literal["torchvision", "detectron2"] = "torchvision"
    backbone: Literal["resnet50", "resnet18"] = Field("resnet50", description="ResNet-50 FPN (3.2.1)")
    start: str = Field(
        "imagenet", description="'imagenet', 'imagenet-torchvision', 'scratch', 'authors', 'pretrained' or a file"
    )
    norm: Literal["frozen_bn", "group_norm"] = Field("frozen_bn", description="group_norm trains from scratch")
    channels: Literal["T1,STIR,STIR", "STIR,STIR,T1"] = Field("T1,STIR,STIR", description="3.2.1; demo: the other")
    preprocessing: Preprocessing = Preprocessing()
    augmentation: Augmentation = Augmentation()
    min_size: int = Field(800, ge=0, description="shortest edge fed to the network, px; 0 keeps the slice's own size")
    max_size: Count = 1333
    width: Count = Field(64, multiple_of=4, description="channels of the ResNet's first stage; smaller is narrower")
    freeze_at: int = Field(2, ge=0, le=5, description="stages kept as loaded: stem and res2 (Detectron2)")
    anchor_sizes: tuple[Positive, ...] = Field(
        (32, 64, 128, 256, 512), min_length=1, max_length=5, description="px, one a level (Detectron2)"
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
    weight_average: Fraction = Field(0.0, lt=1, description="decay of the weights' moving average; 0: off")
    validate_every: Count = Field(400, description="iterations between validations; lowest validation loss kept (4.2)")
    split: tuple[Count, Count, Count] = Field((178, 25, 53), description="patients train, validation, test (4.2)")
    precision: Literal["float32", "bfloat16"] = "float32"


class Diagnosis(Strict):
    """Aggregation and ensemble (sections 3.2.2 and 4.2)."""

    min_positive: Count = Field(2, description="patient positive when at least this many ROIs are (3.2.2)")
    members: Count = Field(10, description="trained models per ensemble (4.2)")
    bootstrap: Count = Field(2000, description="bootstrap samples, by patient")
