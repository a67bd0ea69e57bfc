"""A messy export: series found by parameters, examinations by study, people by pseudonym."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from axspa_lib.curation.curate import curate
from axspa_lib.curation.dicom_sources import DicomSource
from axspa_lib.curation.identity import MAX_VISITS, Pseudonyms
from axspa_lib.curation.open import open_source
from axspa_lib.curation.series import Candidate, judge
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.errors import DataError
from tests.curation.corpus import SHIPPED

SPLITS: dict[str, Any] = {"seed": 0, "bones_split": None, "detection_split": None}


def export(make: Any, root: Path, person: str, study: str, **changes: Any) -> None:
    """One study as a PACS exports it: T1, STIR, localizer, axial T1, T1 with contrast agent, T2, a report."""
    series = [
        ("T1", {"series": f"{study}.1", "description": "cor obl"}),
        ("STIR", {"series": f"{study}.2", "description": "cor obl"}),
        ("T1", {"series": f"{study}.3", "tilt": 88.0}),
        ("T1", {"series": f"{study}.4", "extra": {"ContrastBolusAgent": "yes"}, "description": "t1 gd"}),
        ("T2", {"series": f"{study}.5", "extra": {"ScanningSequence": "SE", "RepetitionTime": 4000, "EchoTime": 90}}),
        ("T1", {"series": f"{study}.6", "slices": 3, "edit": localizer}),
    ]
    for number, (sequence, fields) in enumerate(series):
        fields = (
            {"patient": person, "study": study, "prefix": f"S{number}-", "offset": int(study.split(".")[-1])}
            | fields
            | changes.get(sequence, {})
        )
        make.Series(sequence, **fields).write(root / f"{person} {study}" / f"folder {number % 2}")
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0\0\0\0\0")
    (root / "autorun.inf").write_text("[autorun]")


def localizer(ds: Any, index: int) -> Any:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return ds


def test_a_messy_export_is_sorted(make: Any, tmp_path: Path) -> None:
    root = tmp_path / "export"
    export(make, root, "Dupont^Jeanne 19500101", "1.2.840.1.77")
    export(make, root, "Dupont^Jeanne 19500101", "1.2.840.1.78")
    export(make, root, "Martin", "1.2.840.1.79")
    source = open_source(root)
    assert isinstance(source, DicomSource)
    cohort = Cohort(curate(source, tmp_path / "out" / "lab", **SPLITS))
    assert cohort.patients == ["P0001", "P0001-2", "P0002"]
    assert list(cohort.participants["subject"]) == ["P0001", "P0001", "P0002"]
    notes = cohort.participants["notes"][0]
    assert "repetition 550 ms" in notes and "inversion time 150 ms nulls fat" in notes and "4 other series" in notes
    assert len({tuple(cohort.volume(p, "T1").array.shape) for p in cohort.patients}) == 1
    mapping = (tmp_path / "out" / "pseudonyms.csv").read_text()
    assert "Dupont" in mapping and (tmp_path / "out" / "pseudonyms.csv").stat().st_mode & 0o077 == 0
    for file in (tmp_path / "out" / "lab").rglob("*"):
        assert "dupont" not in str(file).lower()
        if file.is_file():
            assert b"Dupont" not in file.read_bytes() and b"1.2.840.1.77" not in file.read_bytes()


def test_one_flat_folder_without_extensions_and_with_a_dicomdir(make: Any, tmp_path: Path) -> None:
    """As on a CD: two people, all their series and a real DICOMDIR in one folder, files only numbered."""
    root = tmp_path / "cd"
    for number, person in enumerate(("A", "B")):
        export(make, tmp_path / "sorted", person, f"1.2.3.{number}")
    root.mkdir()
    files = [file for file in (tmp_path / "sorted").rglob("*") if file.is_file() and file.parent.name != "sorted"]
    for number, file in enumerate(sorted(files, key=lambda file: file.name[::-1])):
        shutil.copy(file, root / f"{number:08d}")
    shutil.copy(SHIPPED / "dicomdirtests" / "DICOMDIR", root / "DICOMDIR")
    flat = Cohort(curate(open_source(root), tmp_path / "flat", **SPLITS))
    nested = Cohort(curate(open_source(tmp_path / "sorted"), tmp_path / "nested", **SPLITS))
    assert flat.patients == nested.patients == ["P0001", "P0002"]
    for patient in flat.patients:
        for sequence in ("T1", "STIR"):
            one, two = flat.volume(patient, sequence), nested.volume(patient, sequence)
            np.testing.assert_array_equal(one.array, two.array)
            np.testing.assert_allclose(one.affine, two.affine)


def test_a_localizer_filed_under_the_series_of_the_t1_is_told_apart(make: Any, tmp_path: Path) -> None:
    make.Series("T1", series="1.2.1", prefix="L", slices=3, right=(0.0, 1.0, 0.0), down=(0.0, 0.0, -1.0)).write(
        tmp_path / "in" / "x"
    )
    make.Series("T1", series="1.2.1").write(tmp_path / "in" / "x")
    make.Series("STIR").write(tmp_path / "in" / "y")
    cohort = Cohort(curate(open_source(tmp_path / "in"), tmp_path / "out", **SPLITS))
    assert cohort.volume("P0001", "T1").array.shape == (6, 24, 20)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda ds, i: set_fields(ds, Modality="CT"), "is not an MR image"),
        (lambda ds, i: set_fields(ds, NumberOfFrames=12), "multi-frame"),
        (lambda ds, i: set_fields(ds, ImagePositionPatient=None), "no usable ImagePositionPatient"),
    ],
)
def test_a_study_without_a_usable_file_is_in_the_report(make: Any, tmp_path: Path, edit: Any, reason: str) -> None:
    """It must not vanish: the flow counts it among the assessed, with its reason."""
    export(make, tmp_path / "in", "A", "1.2.3.1")
    make.Series("T1", patient="B", study="1.2.3.2", edit=edit).write(tmp_path / "in" / "other")
    cohort = Cohort(curate(open_source(tmp_path / "in"), tmp_path / "out", **SPLITS))
    assert cohort.patients == ["P0001"] and list(cohort.everyone["patient"]) == ["P0001", "P0002"]
    row = cohort.exclusions.set_index("patient").loc["P0002"]
    assert row["reason"].startswith("no file of it is usable, most often: ") and reason in row["reason"]


def set_fields(ds: Any, **fields: Any) -> Any:
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    return ds


def test_readings_name_people_as_the_export_does_and_no_name_is_repeated(make: Any, tmp_path: Path) -> None:
    root = tmp_path / "in"
    export(make, root, "Dupont^Jeanne", "1.2.3.1")
    export(make, root, "Twice", "1.2.3.2")
    export(make, root, "Twice", "1.2.3.3")
    rows = ["Dupont^Jeanne,1,3,L,iliac_upper,1", "Martin^Paul,1,3,L,iliac_upper,1", "Twice,1,3,L,iliac_upper,1",
            "1.2.3.3,1,3,L,iliac_upper,0", "P0001,2,3,L,iliac_upper,1"]  # fmt: skip
    (root / "readings.csv").write_text("\n".join(["patient,reader,slice,side,quadrant,inflammation", *rows]))
    cohort = Cohort(curate(open_source(root), tmp_path / "out" / "lab", **SPLITS))
    assert cohort.readings[["patient", "reader"]].to_numpy().tolist() == [
        ["P0001", "1"],
        ["P0001", "2"],
        ["P0002-2", "1"],
    ]
    left_out = cohort.exclusions.set_index("patient")["reason"]
    assert list(left_out.index) == ["P0002 (several examinations)", "unknown (first in row 2)"]
    assert left_out.str.contains("name a patient without images").all()
    written = b"".join(file.read_bytes() for file in (tmp_path / "out" / "lab").rglob("*.*s*") if file.is_file())
    assert b"patient" in written and not any(name in written for name in (b"Dupont", b"Martin", b"Twice", b"1.2.3.3"))


def test_folders_without_permission_are_reported(make: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """By a system that refuses to list them, because a superuser may read everything."""
    for name in ("locked", "locked-t1", "good"):
        make.pair(tmp_path / "layout" / name)
        export(make, tmp_path / "export", name, f"1.2.3.{len(name)}")
    locked = {tmp_path / "layout" / "locked", tmp_path / "layout" / "locked-t1" / "T1"}
    locked |= {tmp_path / "export" / "locked 1.2.3.6", tmp_path / "whole"}
    (tmp_path / "whole").mkdir()
    for function in ("scandir", "listdir"):
        real = getattr(os, function)

        def refuse(path: Any = ".", real: Any = real) -> Any:
            if Path(path) in locked:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, function, refuse)
    cohort = Cohort(curate(open_source(make.vouch(tmp_path / "layout")), tmp_path / "one", **SPLITS))
    reasons = cohort.exclusions.query("excludes").set_index("patient")
    assert cohort.patients == ["good"] and set(reasons.index) == {"locked", "locked-t1"}
    assert reasons["reason"].str.contains("cannot be read (PermissionError)", regex=False).all()
    assert reasons["remedy"].str.contains("permissions").all()
    cohort = Cohort(curate(open_source(tmp_path / "export"), tmp_path / "two", **SPLITS))
    notes = cohort.curation["notes"]
    assert len(cohort.patients) == 2 and notes == [
        "1 folders left out, a folder cannot be read; check its permissions and curate again"
    ]
    with pytest.raises(DataError, match="a folder cannot be read"):
        open_source(tmp_path / "whole")


def test_pseudonyms_stay_when_people_are_added(make: Any, tmp_path: Path) -> None:
    root = tmp_path / "export"
    export(make, root, "Martin", "1.2.3.79")
    curate(open_source(root), tmp_path / "out", **SPLITS)
    export(make, root, "Abel", "1.2.3.80")
    cohort = Cohort(curate(open_source(root), tmp_path / "out", **SPLITS))
    assert cohort.patients == ["P0001", "P0002"]
    with (tmp_path / "pseudonyms.csv").open() as file:
        lines = file.read().splitlines()
    assert lines[1].startswith("P0001") and len(lines) == 3


def test_pseudonym_map_survives_awkward_identifiers(tmp_path: Path) -> None:
    studies = [('a "quoted", one', "1.2"), ("two\nlines", "1.3"), ("é", "1.4"), ("é", "1.5")]
    first = Pseudonyms(tmp_path / "pseudonyms.csv")
    given = first.assign(studies)
    assert [name for _, name in given.values()] == ["P0001", "P0002", "P0003", "P0003-2"]
    first.save()
    assert Pseudonyms(tmp_path / "pseudonyms.csv").assign(studies[::-1]) == dict(reversed(given.items()))
    (tmp_path / "pseudonyms.csv").write_text("some,other\n1,2\n")
    with pytest.raises(DataError, match="not a map of pseudonyms"):
        Pseudonyms(tmp_path / "pseudonyms.csv")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"STIR": {"extra": {"InversionTime": 2200}}}, "none of the 6 series is a .*coronal STIR"),
        ({"T1": {"extra": {"EchoTime": 90}}}, "none of the 6 series is a .*coronal T1"),
    ],
)
def test_a_study_without_the_pair_says_so(make: Any, tmp_path: Path, changes: Any, reason: str) -> None:
    export(make, tmp_path / "in", "x", "1.2.9", **changes)
    with pytest.raises(DataError, match=reason):
        source = open_source(tmp_path / "in")
        source.load(source.patients()[0])


def test_an_export_of_multi_frame_files_only_says_what_to_do(make: Any, tmp_path: Path) -> None:
    def enhanced(ds: Any, index: int) -> Any:
        ds.NumberOfFrames = 12
        return ds

    make.Series("T1", edit=enhanced).write(tmp_path / "in" / "x")
    with pytest.raises(DataError, match=r"none of 6 DICOM files is usable.*multi-frame.*one file per slice"):
        curate(open_source(tmp_path / "in"), tmp_path / "out", **SPLITS)


def test_two_equal_candidates_are_not_guessed_between(make: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        make.Series("T1", series=f"1.2.{number}", prefix=f"T{number}", offset=number).write(tmp_path / "in" / "x")
    make.Series("STIR").write(tmp_path / "in" / "y")
    source = open_source(tmp_path / "in")
    with pytest.raises(DataError, match=r"2 series can be the T1: series .* or series .*; sort"):
        source.load(source.patients()[0])


def test_the_series_in_the_plane_of_the_stir_is_taken(make: Any, tmp_path: Path) -> None:
    make.Series("T1", series="1.2.1", tilt=5.0, prefix="A").write(tmp_path / "in" / "x")
    make.Series("T1", series="1.2.2", prefix="B").write(tmp_path / "in" / "x")
    make.Series("STIR").write(tmp_path / "in" / "x")
    source = open_source(tmp_path / "in")
    examination = source.load(source.patients()[0])
    np.testing.assert_allclose(examination.t1.affine, examination.stir.affine)


@pytest.mark.parametrize(
    ("fields", "description", "expected"),
    [
        ({"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.011}, "", "T1"),
        ({"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.011}, "stir", "T1"),
        (
            {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 5.0, "EchoTime": 0.06, "InversionTime": 0.22},
            "",
            "STIR",
        ),
        ({"ScanningSequence": "IR", "RepetitionTime": 5.0, "EchoTime": 0.06}, "cor stir", "STIR"),
        ({"ScanningSequence": "SE", "RepetitionTime": 5.0, "EchoTime": 0.06}, "cor tirm", "STIR"),
        ({"ScanningSequence": "SE", "RepetitionTime": 5.0, "EchoTime": 0.06}, "cor t2", None),
        (
            {"ScanningSequence": ["SE", "IR"], "RepetitionTime": 9.0, "EchoTime": 0.12, "InversionTime": 2.5},
            "flair",
            None,
        ),
        ({"ScanningSequence": "GR", "RepetitionTime": 0.4, "EchoTime": 0.009}, "t1 vibe", None),
        ({"ScanningSequence": "SE", "RepetitionTime": 0.6, "EchoTime": 0.011, "ScanOptions": "FS"}, "t1 fs", None),
        ({}, "cor t1", "T1"),
        ({}, "cor t1 gd", None),
        ({}, "cor stir", "STIR"),
        ({}, "t1 stir", None),
        ({}, "", None),
    ],
)
def test_sequences_by_parameters_first(fields: Any, description: str, expected: str | None) -> None:
    found, reason = judge(Candidate(0, fields, description))
    assert found == expected and reason and (not description or description not in reason)


def test_layout_tables_group_examinations(make: Any, tmp_path: Path) -> None:
    for patient in ("A1", "A2"):
        make.pair(tmp_path / "in" / patient, {"patient": "same"}, {"patient": "same"})
    (tmp_path / "in" / "patients.csv").write_text("patient;subject;centre;session\nA1;A;C1;pre\nA2;A;C1;post\n")
    source = open_source(tmp_path / "in", "phantom")
    assert isinstance(source, DicomSource)
    cohort = Cohort(curate(source, tmp_path / "out", **SPLITS))
    assert list(cohort.participants["subject"]) == ["A", "A"]
    assert [f.split("/")[1] for f in cohort.participants["t1_file"]] == ["ses-pre", "ses-post"]
    (tmp_path / "in" / "patients.csv").write_text("patient,subject,centre\nA1,A,1\nA1,B,1\n")
    with pytest.raises(DataError, match="listed more than once"):
        open_source(tmp_path / "in")


def test_linked_folders_are_followed_once(make: Any, tmp_path: Path) -> None:
    make.pair(tmp_path / "store" / "P1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "P1").symlink_to(tmp_path / "store" / "P1")
    (tmp_path / "store" / "P1" / "T1" / "loop").symlink_to(tmp_path / "store" / "P1" / "T1")
    assert Cohort(curate(open_source(tmp_path / "in"), tmp_path / "out", **SPLITS)).patients == ["P0001"]


def test_folders_that_are_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_source(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no images"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="unknown kind"):
        open_source(tmp_path, "nrrd")  # type: ignore[arg-type]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no patients"):
        curate(open_source(tmp_path / "empty", "dicom"), tmp_path / "out", **SPLITS)


@pytest.mark.real
def test_the_demo_in_a_heap_is_recognised(real_data: Path, tmp_path: Path) -> None:
    """The demo's files without their folders: the export source finds the same pair as the layout source."""
    demo = real_data / "iaxspa-demo"
    if not demo.is_dir():
        pytest.skip("iaxspa-demo is not there")
    (tmp_path / "heap").mkdir()
    for file in (demo / "Patient1").rglob("I*"):
        shutil.copy(file, tmp_path / "heap" / f"{file.parent.name}{file.name}")
    heap = open_source(tmp_path / "heap")
    found = heap.load(heap.patients()[0])
    expected = open_source(demo).load("P0001")
    for one, two in ((found.t1, expected.t1), (found.stir, expected.stir)):
        np.testing.assert_array_equal(one.array, two.array)
        np.testing.assert_allclose(one.affine, two.affine)


def test_two_visits_that_count_as_two_people_are_reported(make: Any, tmp_path: Path) -> None:
    root = tmp_path / "lab"
    visits = (("A", "7"), ("A-later", "7"), ("B", "8"), ("C", "9"), ("C-later", "9"))
    for number, (folder, person) in enumerate(visits, 1):
        for sequence in ("T1", "STIR"):
            series = make.Series(sequence, patient=person, study=f"1.2.{number}", offset=number)
            series.write(root / folder / sequence)
    (root / "patients.csv").write_text("patient,subject,centre\nC,C,\nC-later,C,\n")
    source = DicomSource(root)
    found = source.same_people()
    assert [finding.patient for finding in found] == ["P0001", "P0002"] and not any(f.excludes for f in found)
    assert "P0002" in found[0].reason and "patients.csv" in found[0].remedy and "7" not in found[0].reason
    cohort = Cohort(curate(source, tmp_path / "out", **SPLITS))
    assert set(cohort.exclusions.query("stage == 'people'")["patient"]) == {"P0001", "P0002"}
    people = "".join(f"{folder},{folder[0]},\n" for folder, _ in visits)
    (root / "patients.csv").write_text(f"patient,subject,centre\n{people}")
    assert DicomSource(root).same_people() == []


def test_an_identifier_that_all_share_is_a_placeholder(make: Any, tmp_path: Path) -> None:
    make.Series("T1", patient="All of us").write(tmp_path / "P00" / "T1")
    (tmp_path / "P00" / "STIR").mkdir()
    for number in range(1, MAX_VISITS + 1):
        shutil.copytree(tmp_path / "P00", tmp_path / f"P{number:02d}")
    assert DicomSource(tmp_path).same_people() == []
    shutil.rmtree(tmp_path / "P12")
    assert len(DicomSource(tmp_path).same_people()) == MAX_VISITS
