"""Nothing of a tested subject reaches the networks of its fold: poisoned annotations change no weight."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from axspa_lib.bones.stage import networks, train_bone_network
from axspa_lib.curation.curate import curate
from axspa_lib.curation.source import Examination
from axspa_lib.detector.network.checkpoint import read_checkpoint
from axspa_lib.detector.slices import prepare_slices
from axspa_lib.detector.stage import train_member
from axspa_lib.joint.stage import segment_cohort
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import Study, load_study
from axspa_lib.study.labels import STIR, SUBSETS, T1, TEST, TRAIN
from axspa_lib.study.layout import Layout
from axspa_lib.study.volume import Volume

PATIENTS = [f"{number}{session}" for number in range(6) for session in ("pre", "post")]
AFFINE = np.array([[0, 0, -1.0, 0], [-3.0, -0.6, 0, 0], [2.0, -0.8, 0, 0], [0, 0, 0, 1]])
AFFINE[:3, 1:3] *= 2


class Drawn:
    """Twelve examinations of six people, two bones on each side; `poisoned` patients have wrong labels and bones."""

    name = "drawn"

    def __init__(self, poisoned: tuple[str, ...] = ()) -> None:
        self.poisoned = poisoned

    def patients(self) -> list[str]:
        return PATIENTS

    def load(self, patient: str) -> Examination:
        random = np.random.default_rng(PATIENTS.index(patient))
        bones = np.zeros((3, 64, 64), np.uint8)
        bones[:, 8:48, 22:42] = 1
        bones[:, 4:44, 4:21] = 2
        bones[:, 4:44, 43:60] = 2
        image = np.array([60, 160, 220])[bones] + random.normal(0, 10, bones.shape)
        stir = image.copy()
        stir[1, 20:30, 15:21] += 150
        if patient in self.poisoned:
            bones = np.roll(bones, 17, axis=1)
        t1 = Volume(image.astype(np.int16), AFFINE)
        sidecar = {T1: {"EchoTime": 0.01}, STIR: {"EchoTime": 0.06}}
        return Examination(
            patient, patient[0], patient[1:], "c", t1, t1.like(stir.astype(np.int16)), sidecar,
            reference_bones=t1.like(bones),
        )  # fmt: skip

    def readings(self) -> pd.DataFrame:
        rows = [
            (p, r, z, s, "iliac_upper", int((z == 1 and s == "R") != (p in self.poisoned)))
            for p in PATIENTS
            for r in "12"
            for z in range(3)
            for s in "RL"
        ]
        return pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "inflammation"])

    def opinions(self) -> None:
        return None


def tiny() -> Study:
    bones = {
        "encoder": "tu-test_resnet",
        "decoder_channels": [24, 16, 8],
        "size": 64,
        "epochs": 2,
        "batch_size": 4,
        "start": "",
    }
    detector = {"start": "scratch", "width": 16, "fpn_channels": 16, "box_head_dim": 16, "mask_head_dim": 8,
                "rois_per_image": 8, "batch_size": 2, "iterations": 4, "validate_every": 2, "warmup": 0,
                "anchor_sizes": [32], "preprocessing": {"pixel_mm": 2.0}}  # fmt: skip
    joint = {"contact_fraction": 0.05, "dilation_radius": 2, "closing_radius": 1, "wing_fraction": 0.25}
    return load_study("public", cohorts=["vhi"], pretraining=None, bones=bones, detector=detector, joint=joint)


def chain(root: Path, monkeypatch: pytest.MonkeyPatch, poisoned: tuple[str, ...], splits: Path | None) -> dict:
    """Run fold 0 from the annotations to the trained networks; every weight by name."""
    monkeypatch.setenv("AXSPA_RUNS", str(root))
    study = tiny()
    layout = Layout.of(study)
    curate(
        Drawn(poisoned), layout.cohort("vhi"), seed=1, bones_split=(8, 2, 2), detection_split=(8, 2, 2), folds=3
    )  # fmt: skip
    if splits is not None:
        shutil.copy(splits, layout.cohort("vhi") / "splits.csv")
    for bone in networks(study):
        train_bone_network(study, bone, 1, 0, progress=False)
    segment_cohort(study, "vhi", 1, 0)
    record = prepare_slices(study, "vhi", 0)
    assert record["metrics"]["instances"] >= 2 * len(PATIENTS), (
        "without joints the detector would have nothing to learn"
    )
    train_member(study, 0, 0, progress=False)
    weights = {}
    for folder in [*(layout.bones(bone, 1, 0) for bone in networks(study)), layout.member("all_included", 0, 0)]:
        state = read_checkpoint(folder / "model.pt")
        weights |= {f"{folder.name}/{name}": value for name, value in state.items() if isinstance(value, torch.Tensor)}
    return weights


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    root = tmp_path_factory.mktemp("clean")
    with pytest.MonkeyPatch.context() as patch:
        return root, chain(root, patch, (), None)


def members_of(root: Path, subset: str) -> tuple[str, ...]:
    return tuple(Cohort(root / "public" / "cohorts" / "vhi").subset("detection", subset, 0))


def test_poisoned_annotations_of_the_tested_subjects_change_no_weight(clean, tmp_path, monkeypatch) -> None:
    root, weights = clean
    splits = root / "public" / "cohorts" / "vhi" / "splits.csv"
    poisoned = chain(tmp_path, monkeypatch, members_of(root, TEST), splits)
    assert weights.keys() == poisoned.keys() and len(weights) > 50
    changed = [name for name, value in weights.items() if not torch.equal(value, poisoned[name])]
    assert changed == []


def test_poisoned_annotations_of_the_training_subjects_change_every_network(clean, tmp_path, monkeypatch) -> None:
    root, weights = clean
    splits = root / "public" / "cohorts" / "vhi" / "splits.csv"
    poisoned = chain(tmp_path, monkeypatch, members_of(root, TRAIN), splits)
    for network in {name.split("/")[0] for name in weights}:
        mine = [name for name in weights if name.startswith(f"{network}/")]
        assert any(not torch.equal(weights[name], poisoned[name]) for name in mine), f"{network} learnt nothing of it"


def test_no_person_lies_in_two_folds_or_in_two_sets_of_a_fold(clean) -> None:
    root, _ = clean
    cohort = Cohort(root / "public" / "cohorts" / "vhi")
    assert (cohort.splits.groupby("subject")["fold"].nunique() == 1).all()
    for fold in range(3):
        for task in ("bones", "detection"):
            people = [{patient[0] for patient in cohort.subset(task, name, fold)} for name in SUBSETS]
            assert all(not a & b for i, a in enumerate(people) for b in people[i + 1 :])
            assert set.union(*people) == set("012345")
