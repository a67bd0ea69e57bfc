"""Reading a curated cohort: tables without images, one sentence for everything that is missing or wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from axspa_lib.curation.curate import curate
from axspa_lib.curation.source import Examination
from axspa_lib.study.cohort import Cohort, bids_label, consensus, file_label
from axspa_lib.study.errors import DataError, MissingResultError
from axspa_lib.study.volume import Volume


class Made:
    """A source in memory: four patients of three people, readings, opinions, a mask."""

    name = "made"

    def patients(self) -> list[str]:
        return ["A1", "A2", "B", "C é"]

    def load(self, patient: str) -> Examination:
        rng = np.random.default_rng(len(patient))
        affine = np.array([[0, 0, -1.0, 0], [-3.0, -0.6, 0, 0], [2.0, -0.8, 0, 0], [0, 0, 0, 1]])
        t1 = Volume(rng.integers(1, 99, (5, 12, 10)).astype(np.int16), affine)
        stir = None if patient == "B" else t1.like(t1.array * 0.5)
        bones = t1.like((np.arange(600) % 3).reshape(5, 12, 10).astype(np.int64)) if patient in ("A1", "B") else None
        truth = {"lesions_of_R1": t1.like(np.eye(12, 10, dtype=np.int64)[None].repeat(5, 0))} if patient == "A1" else {}
        sidecar = {"T1": {"EchoTime": 0.01}, "STIR": {"EchoTime": 0.06}}
        return Examination(patient, patient[0], "", "c", t1, stir, sidecar, ["a note"], bones, truth)

    def readings(self) -> pd.DataFrame:
        rows = [
            (p, r, z, s, "iliac_upper", int(z == 1))
            for p in self.patients()
            for r in "12"
            for z in (1, 2)
            for s in "LR"
        ]
        return pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "inflammation"])

    def opinions(self) -> pd.DataFrame:
        rows = [(p, r, int(p == "A1" or (p == "C é" and r == "1"))) for p in self.patients() for r in "12"]
        return pd.DataFrame(rows, columns=["patient", "reader", "asas_positive"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohorts") / "made"
    return curate(Made(), out, seed=1, bones_split=(1, 1, 0), detection_split=(2, 1, 1), require_agreement=False)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "made")


def test_tables_and_volumes(folder: Path) -> None:
    cohort = Cohort(folder)
    assert cohort.name == "made" and cohort.patients == ["A1", "A2", "B", "C é"]
    stir = cohort.volume("A1", "STIR")
    assert stir.array.dtype == np.float32
    np.testing.assert_allclose(stir.array, Made().load("A1").t1.array * 0.5)  # type: ignore[union-attr]
    assert cohort.sidecar("A1", "STIR")["EchoTime"] == 0.06
    bones = cohort.reference_bones("A1")
    assert bones is not None and bones.array.dtype == np.uint8 and set(np.unique(bones.array)) == {0, 1, 2}
    assert cohort.reference_bones("A2") is None
    truth = cohort.truth("A1", "lesions_of_R1")
    assert truth is not None and truth.array.sum() == 50
    assert cohort.truth("A2", "lesions_of_R1") is None
    assert list(cohort.participants["positive"]) == [True, False, False, False]  # a tie is negative
    assert cohort.participants["notes"].str.contains("a note").all()


def test_folds_make_each_subject_test_once_and_keep_sets_apart(tmp_path: Path) -> None:
    out = tmp_path / "folds"
    curate(Made(), out, seed=1, bones_split=(1, 1, 0), detection_split=(2, 1, 1), folds=3, require_agreement=False)
    cohort = Cohort(out)
    subjects = dict(zip(cohort.participants["patient"], cohort.participants["subject"], strict=True))
    tested = []
    for fold in range(3):
        sets = {name: cohort.subset("detection", name, fold) for name in ("train", "validation", "test")}
        people = {name: {subjects[patient] for patient in patients} for name, patients in sets.items()}
        assert not people["test"] & (people["train"] | people["validation"])
        assert not people["train"] & people["validation"]
        assert sorted(patient for patients in sets.values() for patient in patients) == ["A1", "A2", "C é"], (
            "B has no STIR, so it is in no set"
        )
        assert len(people["validation"]) == (1 if people["test"] != {"A", "C"} else 0)
        tested += sets["test"]
    assert sorted(tested) == ["A1", "A2", "C é"]
    assert sorted(patient for fold in range(3) for patient in cohort.subset("bones", "test", fold)) == ["A1", "B"]
    with pytest.raises(DataError, match="has no fold 3"):
        cohort.subset("detection", "test", 3)


def test_an_edited_fold_that_leaks_is_refused(folder: Path, copy: Path) -> None:
    with pytest.raises(DataError, match="has no fold 0"):
        Cohort(folder).subset("bones", "train", 0)
    splits = pd.read_csv(copy / "splits.csv", dtype=str, keep_default_na=False)
    splits["fold"] = [0, 1, 1, 0]  # A1 and A2 are the same person
    splits.to_csv(copy / "splits.csv", index=False)
    with pytest.raises(DataError, match="'A' lies in several folds"):
        Cohort(copy).subset("detection", "train", 0)
    splits.assign(fold="one").to_csv(copy / "splits.csv", index=False)
    with pytest.raises(DataError, match=r"splits\.csv"):
        _ = Cohort(copy).splits


def test_subsets_keep_people_together_and_pairs_only_in_detection(folder: Path) -> None:
    cohort = Cohort(folder)
    used = [patient for name in ("train", "validation", "test") for patient in cohort.subset("detection", name)]
    assert "B" not in used and len(used) == len(set(used))
    assert sorted(p for name in ("train", "validation") for p in cohort.subset("bones", name)) == ["A1", "B"]
    merged = cohort.splits[cohort.splits["subject"] == "A"]
    assert merged["detection"].nunique() == 1
    with pytest.raises(DataError, match="no subset"):
        cohort.subset("detection", "exam")


def test_consensus_is_of_included_patients(folder: Path) -> None:
    table = Cohort(folder).consensus()
    assert len(table) == 4 * 2 * 2 and table["inflammation"].sum() == 8
    rows = [("P", 1, "L", str(r), v) for r, v in enumerate([1, 1, 0])] + [("P", 1, "R", "1", 1)]
    rows += [("P", 2, "L", "1", 1), ("P", 2, "L", "2", 0)]
    halves = pd.DataFrame(rows, columns=["patient", "slice", "side", "reader", "inflammation"])
    assert consensus(halves).values.tolist() == [["P", 1, "L", 1, 3], ["P", 2, "L", 0, 2]]


def test_tables_are_read_without_images(copy: Path) -> None:
    for image in copy.rglob("*.nii.gz"):
        image.unlink()
    cohort = Cohort(copy)
    assert len(cohort.readings) and len(cohort.splits) and len(cohort.consensus())
    with pytest.raises(MissingResultError, match=r"T1w.nii.gz is gone: run `axspa curate`"):
        cohort.volume("A1", "T1")


def test_what_is_not_there_is_one_sentence(copy: Path) -> None:
    cohort = Cohort(copy)
    with pytest.raises(DataError, match="no included patient 'Z'"):
        cohort.volume("Z", "T1")
    with pytest.raises(DataError, match="patient 'B' has no STIR"):
        cohort.volume("B", "STIR")
    with pytest.raises(DataError, match="no sequence 'T2'"):
        cohort.volume("A1", "T2")
    (copy / "readings.csv").unlink()
    with pytest.raises(MissingResultError, match=r"readings.csv is gone"):
        _ = cohort.readings
    (copy / "curation.json").unlink()
    with pytest.raises(MissingResultError, match="no finished cohort"):
        Cohort(copy)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("participants", lambda t: t.assign(status="maybe")),
        ("participants", lambda t: pd.concat([t, t])),
        ("half_slices", lambda t: t.assign(inflammation=2)),
        ("half_slices", lambda t: t.assign(side="M")),
        ("readings", lambda t: t.drop(columns="quadrant")),
        ("readings", lambda t: pd.concat([t, t])),
        ("opinions", lambda t: t.assign(asas_positive="x")),
        ("splits", lambda t: t.assign(detection="exam")),
        ("splits", lambda t: t.assign(patient=[f"X{i}" for i in range(len(t))])),
        ("splits", lambda t: t.assign(bones=["train", "test", "", ""], subject=["A", "x", "B", "C"])),
    ],
)
def test_broken_tables_are_refused(copy: Path, table: str, change: object) -> None:
    path = copy / f"{table}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"made/{table}.csv"):
        getattr(Cohort(copy), table)


def test_codes_keep_their_zeros(copy: Path) -> None:
    table = pd.read_csv(copy / "participants.csv", dtype=str)
    table["centre"] = "007"
    table.to_csv(copy / "participants.csv", index=False)
    assert set(Cohort(copy).participants["centre"]) == {"007"}


def test_a_patient_may_be_called_na(copy: Path) -> None:
    table = pd.read_csv(copy / "participants.csv", dtype=str, keep_default_na=False)
    table.loc[0, "patient"] = "NA"
    table.to_csv(copy / "participants.csv", index=False)
    assert Cohort(copy).patients[0] == "NA"


def test_labels_stay_distinct() -> None:
    names = ["A-1", "A1", "A 1", "é1", "e1", "a/1"]
    assert len({bids_label(name) for name in names}) == len(names)
    assert all(label.isalnum() for label in map(bids_label, names))
    assert file_label("P-01.b_c") == "P-01.b_c" and "/" not in file_label("a/1")
