"""A simulated cohort on disk: same bytes, restart, geometry, tables, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK as sitk

from axspa_lib.curation.stage import make_source, source_folder
from axspa_lib.phantom import cohort, examination
from axspa_lib.phantom.cohort import simulate_cohort
from axspa_lib.phantom.dicom import read_stack
from axspa_lib.phantom.person.disease import ACTIVE, FollowUp
from axspa_lib.study.config import PhantomCohort, load_study
from axspa_lib.study.errors import ConfigError
from axspa_lib.study.labels import QUADRANTS, READERS_DESIR, SIDES
from axspa_lib.study.volume import read_volume

SPEC = PhantomCohort(patients=2, prevalence=0.9, misregistered=0.4, lacking_slices=0.3)
SEED = 28


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def strict() -> Iterator[None]:
    """Let pydicom refuse any value that its representation does not allow."""
    before = pydicom.config.settings.reading_validation_mode
    pydicom.config.settings.reading_validation_mode = pydicom.config.RAISE
    try:
        yield
    finally:
        pydicom.config.settings.reading_validation_mode = before


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    simulate_cohort("phantom-desir", SPEC, SEED, folder)
    return folder


def test_same_bytes_whatever_the_number_of_workers(source: Path, tmp_path: Path) -> None:
    simulate_cohort("phantom-desir", SPEC, SEED, tmp_path / "again", workers=2)
    assert checksums(source) == checksums(tmp_path / "again")


def test_restart_keeps_finished_patients_and_redoes_the_rest(source: Path) -> None:
    before = checksums(source)
    kept = source / "D0001" / "T1" / "IM0001.dcm"
    stamp = kept.stat().st_mtime_ns
    (source / "truth" / "records" / "D0002.json").unlink()
    (source / "D0002" / "T1" / "IM0001.dcm").write_bytes(b"half written")
    (source / "source.json").unlink()
    simulate_cohort("phantom-desir", SPEC, SEED, source)
    assert kept.stat().st_mtime_ns == stamp
    assert checksums(source) == before


def test_the_workflow_replaces_its_own_earlier_simulation(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    earlier = load_study("smoke", seed=SEED + 1, phantoms={"phantom-desir": {"patients": 1}})
    make_source(earlier, "phantom-desir")
    assert checksums(source_folder(earlier, "phantom-desir")) != checksums(source)

    now = load_study("smoke", seed=SEED, phantoms={"phantom-desir": SPEC.model_dump()})
    make_source(now, "phantom-desir")
    assert checksums(source_folder(now, "phantom-desir")) == checksums(source)


def test_another_simulation_in_the_same_folder_is_refused(source: Path) -> None:
    with pytest.raises(ConfigError, match="another simulation"):
        simulate_cohort("phantom-desir", SPEC, SEED + 1, source)


def test_patients_of_another_simulator_are_not_kept(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort, "module_identity", lambda module: f"another {module}")
    with pytest.raises(ConfigError, match="simulator differ"):
        simulate_cohort("phantom-desir", SPEC, SEED, source)


def test_tables_follow_the_templates(source: Path) -> None:
    readings = pd.read_csv(source / "readings.csv", dtype={"reader": str})
    assert list(readings) == ["patient", "reader", "slice", "side", "quadrant", "inflammation"]
    assert set(readings["reader"]) == set(READERS_DESIR) and set(readings["side"]) <= set(SIDES)
    assert set(readings["quadrant"]) == set(QUADRANTS) and set(readings["inflammation"]) <= {0, 1}
    assert (readings.groupby(["patient", "reader"])["slice"].nunique() <= 6).all()
    assert not readings.duplicated(["patient", "reader", "slice", "side", "quadrant"]).any()
    opinions = pd.read_csv(source / "opinions.csv", dtype={"reader": str})
    half = readings.groupby(["patient", "reader", "slice", "side"])["inflammation"].max().reset_index()
    positive = (half.groupby(["patient", "reader"])["inflammation"].sum() >= 2).astype(int)
    assert positive.equals(opinions.set_index(["patient", "reader"])["asas_positive"].rename("inflammation"))
    patients = pd.read_csv(source / "patients.csv")
    assert list(patients) == ["patient", "subject", "centre"] and len(patients) == 2
    assert json.loads((source / "source.json").read_text())["patients"] == 2


def test_truth_lies_on_the_grid_of_the_t1(source: Path) -> None:
    reader = sitk.ImageSeriesReader()
    for patient in ("D0001", "D0002"):
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source / patient / "T1")))
        image = reader.Execute()
        truth = read_volume(source / "truth" / f"{patient}_bones.nii.gz")
        assert image.GetSize() == truth.array.shape[::-1]
        first = image.TransformContinuousIndexToPhysicalPoint((0.0, 0.0, 0.0))
        last = image.TransformContinuousIndexToPhysicalPoint(tuple(float(n - 1) for n in image.GetSize()))
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ truth.affine
        corners = [(0, 0, 0), tuple(n - 1 for n in truth.array.shape)]
        ours = [(ras @ np.array([*corner, 1.0]))[:3] for corner in corners]
        assert np.allclose([first, last], ours, atol=0.02)


def test_truth_is_where_the_image_shows_it(source: Path) -> None:
    for patient in ("D0001", "D0002"):
        t1, _ = read_stack(source / patient / "T1")
        bones = read_volume(source / "truth" / f"{patient}_bones.nii.gz").array
        joint = read_volume(source / "truth" / f"{patient}_joint.nii.gz").array
        assert set(np.unique(bones)) == {0, 1, 2} and set(np.unique(joint)) == {0, 1, 2}
        assert np.median(t1[joint > 0]) < 0.75 * np.median(t1[bones > 0])
        middle = joint.shape[2] / 2
        assert np.nonzero(joint == 1)[2].mean() < middle < np.nonzero(joint == 2)[2].mean()


def test_headers_are_valid_synthetic_and_carry_an_identity_to_strip(source: Path) -> None:
    files = sorted((source / "D0001" / "STIR").glob("*.dcm"))
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
    first = headers[0]
    with strict():
        strictly = [pydicom.dcmread(path) for path in files]
        assert all(len(list(header.iterall())) > 60 for header in strictly)  # every value is parsed and validated
    assert str(first.PatientName).startswith("PHANTOM-") and first.InstitutionName.startswith("Phantom hospital")
    assert float(first.InversionTime) > 100 and first.MRAcquisitionType == "2D"
    assert len({h.SOPInstanceUID for h in headers}) == len(headers)
    assert len({h.SeriesInstanceUID for h in headers}) == 1
    for header in headers:
        for element in header.iterall():
            if element.VR == "DS":
                assert all(len(str(v)) <= 16 for v in (element.value if element.VM > 1 else [element.value]))
    other = pydicom.dcmread(next((source / "D0001" / "T1").glob("*.dcm")), stop_before_pixels=True)
    assert other.StudyInstanceUID == first.StudyInstanceUID
    assert other.SeriesInstanceUID != first.SeriesInstanceUID


def test_faults_are_in_the_headers_at_the_stated_rate(source: Path) -> None:
    groups = pd.read_csv(source / "truth" / "groups.csv", keep_default_na=False).set_index("patient")
    for patient, row in groups.iterrows():
        t1, stir = (read_stack(source / str(patient) / name)[1] for name in ("T1", "STIR"))
        same_frame = t1[0].FrameOfReferenceUID == stir[0].FrameOfReferenceUID
        assert same_frame == (row["fault"] != "misregistered")
        assert (len(t1) != len(stir)) == (row["fault"] == "lacking")
    draws = [examination.draw_examination("phantom-desir", SPEC, 1, n).fault for n in range(1, 301)]
    assert draws.count("misregistered") / 300 == pytest.approx(0.4, abs=0.09)
    assert draws.count("lacking") / 300 == pytest.approx(0.3, abs=0.08)


def test_a_second_examination_differs_by_the_stated_change_and_noise() -> None:
    first = examination.draw_examination("phantom-desir", SPEC, SEED, 1)
    second = examination.follow_up("phantom-desir", first, FollowUp(0.0))
    assert second.body is first.body and second.protocol == first.protocol
    assert second.subject == first.subject and second.patient != first.patient
    assert first.evidence.sum() > 0 == second.evidence.sum()
    assert examination.follow_up("phantom-desir", first, FollowUp(1.0)).lesions == first.lesions


def test_a_cohort_examined_twice(source: Path, tmp_path: Path) -> None:
    """The first time is the cohort examined once, byte for byte; the second is the same person half a year later."""
    since = FollowUp(0.25, progression=0.5)
    simulate_cohort("phantom-desir", SPEC, SEED, tmp_path, since=since, workers=2)
    for patient in ("D0001", "D0002"):
        assert checksums(tmp_path / patient) == checksums(source / patient)
        first, second = (pydicom.dcmread(tmp_path / f"{patient}{v}" / "T1" / "IM0001.dcm") for v in ("", "v2"))
        for same in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "InstitutionName", "EchoTime"):
            assert first[same].value == second[same].value, same
        for other in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            assert first[other].value != second[other].value, other
        assert first.StudyDate < second.StudyDate
    people = pd.read_csv(tmp_path / "patients.csv").set_index("patient")["subject"]
    assert list(people.index) == ["D0001", "D0001v2", "D0002", "D0002v2"]
    assert people["D0001"] == people["D0001v2"] != people["D0002"]
    lesions = pd.read_csv(tmp_path / "truth" / "lesions.csv").set_index(["patient", "lesion"])
    volumes = pd.concat({n: lesions.loc[f"D0001{n}", ["type", "volume_mm3"]] for n in ("", "v2")}, axis=1)
    active = volumes["", "type"].isin(ACTIVE)
    grown = volumes["v2", "volume_mm3"] / volumes["", "volume_mm3"]
    assert active.any() and (volumes["", "type"] == volumes["v2", "type"]).all()
    large = active & (volumes["", "volume_mm3"] > 500)
    expected = 0.25**1.5  # a quarter the area, over half the slices
    assert large.any() and grown[large].median() == pytest.approx(expected, abs=0.06)
    readings = pd.read_csv(tmp_path / "readings.csv")
    assert set(readings["patient"]) == set(people.index)
    with pytest.raises(ConfigError, match="another simulation"):
        simulate_cohort("phantom-desir", SPEC, SEED, tmp_path, since=FollowUp(0.5))
    before = checksums(tmp_path)
    (tmp_path / "truth" / "records" / "D0001v2.json").unlink()
    kept = (tmp_path / "D0001" / "T1" / "IM0001.dcm").stat().st_mtime_ns
    simulate_cohort("phantom-desir", SPEC, SEED, tmp_path, since=since)
    assert checksums(tmp_path) == before and (tmp_path / "D0001" / "T1" / "IM0001.dcm").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"prevalence": 1.2}, "prevalence"),
        ({"patients": 0}, "patients"),
        ({"misregistered": 0.8, "lacking_slices": 0.4}, "misregistered"),
    ],
)
def test_impossible_cohorts_are_refused_in_one_sentence(change: dict[str, float], word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        load_study("smoke", phantoms={"phantom-desir": change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cohort", "seed", "workers"), [("phantom-moon", 1, 1), ("phantom-desir", -1, 1)])
def test_impossible_calls_are_refused(tmp_path: Path, cohort: str, seed: int, workers: int) -> None:
    with pytest.raises(ConfigError):
        simulate_cohort(cohort, SPEC, seed, tmp_path, workers=workers)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_patients(tmp_path: Path) -> None:
    """Peak of a process of its own, three patients against nine."""
    code = (
        "import resource, sys; from pathlib import Path; from axspa_lib.study.config import PhantomCohort; "
        "from axspa_lib.phantom.cohort import simulate_cohort; count = int(sys.argv[1]); "
        "simulate_cohort('phantom-asas', PhantomCohort(patients=count), 3, Path(sys.argv[2])); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = [
        int(subprocess.run([sys.executable, "-c", code, str(count), str(tmp_path / str(count))], check=True,
                           capture_output=True, text=True).stdout)
        for count in (3, 9)
    ]  # fmt: skip
    assert peaks[1] < 1.15 * peaks[0]
