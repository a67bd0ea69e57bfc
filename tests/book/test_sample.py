"""The sample of images: made from a finished run, read where stored results have no image, phantoms only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from axspa_lib.book import sample
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import AxspaError, MissingResultError
from axspa_lib.study.labels import TEST, TRAIN
from axspa_lib.study.layout import Layout
from axspa_lib.study.provenance import provenance_text
from axspa_lib.study.results import Run
from axspa_lib.study.runs import REPOSITORY, found, record_input, record_stage, sample_root, stored_root, write_text
from axspa_lib.study.volume import Volume, read_volume, write_volume

#: Patient, bones, detection, positive, maker, rows.
PEOPLE = [
    ("a", "test", "train", False, "X", 32),
    ("b", "train", "train", False, "X", 16),
    ("c", "", "test", True, "X", 16),
    ("d", "", "test", True, "Y", 32),
    ("e", "", "test", False, "Y", 16),
    ("f", "", "test", False, "Z", 32),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished smoke run of six patients with images, bones and slices."""
    for name in ("RUNS", "STORED", "SAMPLE"):
        monkeypatch.setenv(f"AXSPA_{name}", str(tmp_path / name.lower()))
    study = load_study("smoke")
    layout, cohort = Layout.of(study), Layout.of(study).cohort("phantom-desir")
    rows = []
    for patient, _, _, positive, maker, size in PEOPLE:
        files = {key: f"sub-{patient}/{patient}_{key}.nii.gz" for key in ("t1_file", "stir_file")}
        volume = Volume(np.full((2, size, size), ord(patient), np.int16), np.eye(4))
        for file in files.values():
            write_volume(cohort / file, volume, {"Manufacturer": maker})
        bones = f"derivatives/reference/{patient}_desc-bones_dseg.nii.gz"
        for path in (cohort / bones, layout.segmentation("phantom-desir") / f"{patient}_desc-joint_dseg.nii.gz"):
            write_volume(path, volume)
        write_volume(layout.slices(study.data_id(), "phantom-desir") / f"{patient}_T1.nii.gz", volume)
        rows.append({"patient": patient, "subject": patient, "session": "", "centre": "1", "status": "included"}
                    | {"positive": positive, "has_stir": True, "has_bones": True, "slices": 2, "rows": size}
                    | {f"spacing_{axis}_mm": 1.0 for axis in ("slice", "row", "column")}
                    | files | {"bones_file": bones, "notes": "", "manufacturer": maker})  # fmt: skip
    pd.DataFrame(rows).to_csv(cohort / "participants.csv", index=False)
    splits = pd.DataFrame([person[:3] for person in PEOPLE], columns=["patient", "bones", "detection"])
    splits.assign(subject=splits["patient"]).to_csv(cohort / "splits.csv", index=False)
    write_text(cohort / "curation.json", "{}")
    write_text(layout.slices(study.data_id(), "phantom-desir") / "instances.json", "{}")
    table = pd.DataFrame({"patient": [person[0] for person in PEOPLE], "accepted": [True] * 6})
    with record_stage(layout.segmentation("phantom-desir"), {}):
        table.to_csv(layout.segmentation("phantom-desir") / "increment.csv", index=False)
    with record_stage(cohort, {}):
        pass
    return Run("smoke")


def store(run: Run) -> None:
    """Keep the tables only, as `axspa store` does, and lose the run."""
    for path in run.layout.root.rglob("*"):
        if path.suffix in (".csv", ".json") and "sub-" not in str(path):
            write_text(stored_root() / "smoke" / path.relative_to(run.layout.root), path.read_text())
    run.layout.root.rename(run.layout.root.with_name("gone"))


def test_every_case_is_there_and_other_makers_come_first(run):
    assert sample.choose(run, 3) == ["a", "d", "f"], "held out from the bones and learnt from; positive; negative"
    assert sample.choose(run, 4) == ["a", "c", "d", "f"]


def test_images_are_read_from_the_sample_where_there_is_no_run(run):
    folder, chosen = sample.make_sample("smoke", 3)
    assert folder == sample_root() / "smoke" and (folder / "cohorts/phantom-desir/sub-a/a_t1_file.json").is_file()
    store(run)
    run = Run("smoke")
    cohort = run.cohort()
    assert cohort.path == stored_root() / "smoke" / "cohorts" / "phantom-desir"
    assert cohort.with_images == chosen and not cohort.has_images("b")
    assert cohort.volume("d", "STIR").array[0, 0, 0] == ord("d")
    assert cohort.reference_bones("d").array.shape == (2, 32, 32) and cohort.sidecar("d", "T1")["Manufacturer"] == "Y"
    with pytest.raises(MissingResultError, match=r"is not in the sample of images, which has a, d, f: .*PROFILE=smoke"):
        cohort.volume("b", "T1")
    with pytest.raises(MissingResultError, match=r"b_desc-joint_dseg.nii.gz is not in the sample.*PROFILE=smoke"):
        read_volume(run.layout.segmentation("phantom-desir") / "b_desc-joint_dseg.nii.gz")
    joints = run.layout.segmentation("phantom-desir") / "d_desc-joint_dseg.nii.gz"
    assert record_input(joints).is_relative_to(sample_root()) and run.cohort().subset("bones", TEST) == ["a"]
    assert cohort.subset("detection", TRAIN) == ["a", "b"], "tables hold everyone"


def test_a_run_never_takes_an_image_from_the_sample(run):
    sample.make_sample("smoke", 3)
    path = run.cohort().path / "sub-d" / "d_t1_file.nii.gz"
    path.unlink()
    assert found(path) == path and not run.cohort().has_images("d")


def test_real_patients_are_refused(run):
    with pytest.raises(AxspaError, match=r"holds real patients \(vhi"):
        sample.make_sample("public")
    with pytest.raises(AxspaError, match="ask for three or more"):
        sample.make_sample("smoke", 2)


def test_a_sample_that_is_too_large_is_refused(run, monkeypatch):
    monkeypatch.setattr(sample, "LARGEST", 1000)
    with pytest.raises(AxspaError, match="at most 15 are kept"):
        sample.make_sample("smoke", 3)
    assert not (sample_root() / "smoke").exists()


def test_a_page_says_that_its_images_are_a_sample(run):
    sample.make_sample("smoke", 3)
    store(run)
    assert "images: sample of 3 patients" in provenance_text(Run("smoke"))


@pytest.mark.parametrize("folder", sorted((REPOSITORY / "book" / "sample").glob("*")), ids=lambda path: path.name)
def test_the_sample_in_the_repository_belongs_to_its_stored_run(folder):
    size = sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file())
    assert size < sample.LARGEST
    study = load_study(folder.name)
    assert set(study.cohorts) <= set(study.phantoms)
    cohort = Cohort(REPOSITORY / "book" / "stored" / folder.name / "cohorts" / study.training_cohort)
    for patient in cohort.with_images:
        assert cohort.volume(patient, "T1").array.shape[0] == cohort.rows[patient]["slices"]
    assert len(cohort.with_images) == len(list((folder / "cohorts" / study.training_cohort).glob("sub-*")))
