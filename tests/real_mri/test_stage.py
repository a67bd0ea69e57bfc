"""Lesions on real scans: what is chosen on other subjects does not move with the drawings of the tested one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from axspa_lib.real_mri import stage as measures
from axspa_lib.study.config import Study, load_study
from axspa_lib.study.layout import Layout
from axspa_lib.study.volume import Volume, read_volume, write_volume

PATIENTS = ("a", "b", "c", "d")
READERS = ("R11", "R12", "R21", "R22")
SHAPE = (2, 60, 100)
#: How bright a pixel must be for the readers of each patient, in interquartile ranges of normal marrow.
DRAWN_ABOVE = {"a": 2.0, "b": 2.0, "c": 5.0, "d": 5.0}


def volume(array: np.ndarray) -> Volume:
    return Volume(array, np.diag([4.0, 1.0, 1.0, 1.0]))


def bones() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[:, 10:50, 10:90] = 2
    return array


def joint() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[:, 10:50, 80:90] = 1
    return array


class FourSubjects:
    """A cohort of four subjects in two folds whose marrow spreads over 100 to 110 and whose joints hold all to 200."""

    name = "vhi"

    def __init__(self, poisoned: str = "") -> None:
        self.poisoned = poisoned
        self.participants = pd.DataFrame({"patient": PATIENTS, "subject": PATIENTS, "session": "pre", "has_stir": True})
        self.splits = pd.DataFrame({"patient": PATIENTS, "fold": [0, 1, 0, 1]})
        self.half_slices = pd.DataFrame({"reader": READERS})

    def subset(self, task: str, kind: str, fold: int) -> list[str]:
        return list(self.splits.query("fold == @fold")["patient"])

    def consensus(self) -> pd.DataFrame:
        rows = [(patient, z, "R", 1) for patient in PATIENTS for z in range(SHAPE[0])]
        return pd.DataFrame(rows, columns=["patient", "slice", "side", "inflammation"])

    def volume(self, patient: str, sequence: str) -> Volume:
        random = np.random.default_rng(PATIENTS.index(patient))
        return volume(np.where(joint() > 0, random.uniform(100, 200, SHAPE), random.uniform(100, 110, SHAPE)))

    def truth(self, patient: str, kind: str) -> Volume | None:
        if not kind.startswith("inflammation"):
            return None
        if patient == self.poisoned:
            return volume(np.random.default_rng(99).integers(0, 2, SHAPE).astype(np.uint8))
        above = 107.5 + 5 * DRAWN_ABOVE[patient]
        return volume(((self.volume(patient, "STIR").array >= above) & (joint() > 0)).astype(np.uint8))


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    study = load_study("public", folds=2)
    for fold in study.fold_numbers:
        folder = Layout.of(study).segmentation("vhi", 1, fold)
        for patient in PATIENTS:
            write_volume(folder / f"{patient}_desc-bones_dseg.nii.gz", volume(bones()))
            write_volume(folder / f"{patient}_desc-joint_dseg.nii.gz", volume(joint()))
    everywhere = {patient: volume(np.ones(SHAPE, np.uint8)) for patient in PATIENTS}
    monkeypatch.setattr(measures, "_positive_rois", lambda *_: everywhere)
    monkeypatch.setattr(measures, "extract_joints", lambda *_: volume(joint()))
    return study


def measured(study: Study, monkeypatch: pytest.MonkeyPatch, poisoned: str = "") -> SimpleNamespace:
    monkeypatch.setattr(measures, "Cohort", lambda _: FourSubjects(poisoned))
    measures.measure_real(study)
    out = Layout.of(study).measures
    tables = {name: pd.read_csv(out / f"{name}.csv") for name in ("lesions", "multiples", "change", "failures")}
    found = {patient: read_volume(out / f"{patient}_desc-inflamed_dseg.nii.gz").array for patient in PATIENTS}
    return SimpleNamespace(**tables, found=found)


def test_poisoned_drawings_of_a_tested_subject_move_neither_threshold_nor_area(study, monkeypatch) -> None:
    clean, poisoned = measured(study, monkeypatch), measured(study, monkeypatch, "a")
    chosen = [result.multiples.set_index("fold")["multiple"] for result in (clean, poisoned)]
    assert chosen[0][0] == chosen[1][0], "subject a is tested in fold 0"
    assert np.array_equal(clean.found["a"], poisoned.found["a"]) and clean.found["a"].any()
    dice = [
        result.lesions.query("patient == 'a' and pair == 'model-consensus'")["dice"].item()
        for result in (clean, poisoned)
    ]
    assert dice[0] > dice[1] + 0.2, "the comparison itself must see the poison"


def test_poisoned_drawings_of_a_training_subject_move_the_threshold(study, monkeypatch) -> None:
    clean, poisoned = measured(study, monkeypatch), measured(study, monkeypatch, "b")
    assert clean.multiples["multiple"].between(2.0, 5.0).all()
    fold = clean.multiples["fold"] == 0
    assert clean.multiples.loc[fold, "multiple"].item() != poisoned.multiples.loc[fold, "multiple"].item()


def test_every_subject_is_measured_once_and_nothing_fails(study, monkeypatch) -> None:
    result = measured(study, monkeypatch)
    assert sorted(result.change["patient"]) == sorted(PATIENTS) and result.failures.empty
    assert (result.lesions.query("kind == 'two readers'")["dice"] == 1).all(), "four equal drawings"
    assert set(result.lesions["kind"]) == {
        "two readers",
        "trials of one reader",
        "model and reader",
        "model and majority",
    }
