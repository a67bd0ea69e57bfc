"""One cohort with every bad input: each has its reason, and the good patients are untouched."""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from axspa_lib.cohort import Cohort
from axspa_lib.curation import curate as module
from axspa_lib.curation import patient as one_patient
from axspa_lib.curation.curate import curate
from axspa_lib.curation.source import open_source
from axspa_lib.errors import DataError

SPLITS: dict[str, Any] = {"seed": 3, "bones_split": (31, 6, 14), "detection_split": (178, 25, 53)}

#: Planted in every field that may identify, and in no other place.
SECRETS = ("Zorglub", "19441231", "Rue-des-Secrets", "ACC99887766", "Hopital-Planque", "1.9.8765.4321")


def plant(ds: Any, index: int) -> Any:
    """Fill identifying fields, standard and private, at the top and nested."""
    from pydicom.dataset import Dataset

    ds.PatientName, ds.PatientBirthDate, ds.PatientAddress = "Zorglub^Anna", "19441231", "Rue-des-Secrets 1"
    ds.AccessionNumber, ds.InstitutionName = "ACC99887766", "Hopital-Planque"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "19441231"
    ds.SeriesDescription, ds.StudyDescription = "t1 Zorglub", "for Zorglub"
    ds.ManufacturerModelName, ds.Manufacturer = "Avanto of Zorglub", "SIEMENS Hopital-Planque"
    ds.OperatorsName = ds.ReferringPhysicianName = "Zorglub"
    ds.ScanOptions = ["FS", "Zorglub"] if ds.get("InversionTime") else ["Zorglub"]
    ds.SOPInstanceUID = f"1.9.8765.4321.{index}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.9.8765.4321.1", ds.SeriesInstanceUID
    ds.FrameOfReferenceUID = f"1.9.8765.4321.{ds.FrameOfReferenceUID}"
    block = ds.private_block(0x0029, "ZORGLUB", create=True)
    block.add_new(1, "LO", "Zorglub private")
    nested = Dataset()
    nested.PatientName = "Zorglub"
    ds.RequestAttributesSequence = [nested]
    return ds


def drop(keyword: str) -> Callable[[Any, int], Any]:
    def edit(ds: Any, index: int) -> Any:
        delattr(ds, keyword)
        return ds

    return edit


def pixels(change: Callable[[np.ndarray, int], np.ndarray]) -> Callable[[Any, int], Any]:
    def edit(ds: Any, index: int) -> Any:
        array = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
        ds.PixelData = change(array, index).astype("<u2").tobytes()
        return ds

    return edit


def enhanced(ds: Any, index: int) -> Any:
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    ds.NumberOfFrames = 1
    return ds


def localizer(ds: Any, index: int) -> Any:
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    return ds


def duplicate(ds: Any, index: int) -> Any:
    if index == 3:
        ds.ImagePositionPatient = [float(v) + 0.001 for v in duplicate.last]  # type: ignore[attr-defined]
    duplicate.last = ds.ImagePositionPatient  # type: ignore[attr-defined]
    return ds


def swap(folder: Path) -> None:
    (folder / "T1").rename(folder / "x")
    (folder / "STIR").rename(folder / "T1")
    (folder / "x").rename(folder / "STIR")


def truncate(folder: Path) -> None:
    file = sorted((folder / "STIR").iterdir())[1]
    file.write_bytes(file.read_bytes()[:-200])


#: Name of the patient: fields of T1, fields of STIR, change of the folder, what the reason says.
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], Callable[[Path], Any] | None, str]] = {
    "empty-folder": ({}, {}, lambda p: [shutil.rmtree(p / s) for s in ("T1", "STIR")], "no folder T1"),
    "empty-series": ({}, {}, lambda p: [f.unlink() for f in (p / "T1").iterdir()], "T1: the folder is empty"),
    "text-file": ({"slices": 0}, {}, lambda p: (p / "T1" / "notes").write_text("x" * 500), "files that are no DICOM"),
    "truncated": ({}, {}, truncate, "STIR: .*truncated or damaged"),
    "uid-names": ({}, {"prefix": "1.9.8765.4321."}, truncate, "STIR: file 2 of 6 by name: .*truncated or damaged"),
    "empty-file": ({}, {}, lambda p: (p / "T1" / "I9999").write_bytes(b""), "T1: I9999: is empty"),
    "header-only": ({"edit": drop("PixelData")}, {}, None, "no pixel data"),
    "no-position": ({"edit": drop("ImagePositionPatient")}, {}, None, "no usable ImagePositionPatient"),
    "no-spacing": ({"edit": drop("PixelSpacing")}, {}, None, "no usable PixelSpacing"),
    "no-orientation": ({}, {"edit": drop("ImageOrientationPatient")}, None, "no usable ImageOrientationPatient"),
    "duplicate": ({"edit": duplicate}, {}, None, "more than once"),
    "missing-slice": ({"edit": lambda d, i: None if i == 3 else d}, {}, None, "missing or uneven"),
    "sheared": ({"edit": lambda d, i: shear(d, i)}, {}, None, "sideways"),
    "two-series": (
        {}, {}, lambda p: _series(p, "T1", series="1.2.9", centre=(3.0, 20.0, 80.0), prefix="Z"), "2 series are mixed",
    ),
    "other-patient": ({}, {"patient": "someone else"}, None, "different patient identifiers"),
    "two-patients": ({"edit": lambda d, i: _set(d, PatientID=str(i // 3))}, {}, None, "slices of different patients"),
    "localizer": ({"edit": localizer}, {}, None, "only localizers"),
    "three-slices": ({"slices": 3}, {}, None, "only 3 slices"),
    "enhanced": ({"edit": enhanced}, {}, None, "multi-frame"),
    "colour": ({"edit": lambda d, i: _set(d, SamplesPerPixel=3)}, {}, None, "colour"),
    "ct": ({"edit": lambda d, i: _set(d, Modality="CT")}, {}, None, "not an MR image"),
    "axial": ({"tilt": 85.0}, {}, None, "axial"),
    "sagittal": ({"right": (0.0, 1.0, 0.0), "down": (0.0, 0.0, -1.0)}, {}, None, "sagittal"),
    "constant": ({"edit": pixels(lambda a, i: a * 0 + 7)}, {}, None, "every slice is constant"),
    "zero-slice": ({}, {"edit": pixels(lambda a, i: a * (i != 2))}, None, "1 of 6 slices are constant"),
    "swapped": ({}, {}, swap, "T1: the folder holds a STIR"),
    "no-stir": ({}, {}, lambda p: shutil.rmtree(p / "STIR"), "no folder STIR"),
    "mixed-orientation": ({"edit": lambda d, i: _tilt(d, i)}, {}, None, "different orientations"),
    "mixed-matrix": ({"edit": lambda d, i: _crop(d, i)}, {}, None, "different matrices"),
    "zero-slope": ({"edit": lambda d, i: _set(d, RescaleSlope=0, RescaleIntercept=0)}, {}, None, "RescaleSlope"),
    "nan-position": (
        {"edit": lambda d, i: _set(d, ImagePositionPatient=["nan", 0, 0])}, {}, None, "no usable ImagePosition",
    ),
    "unregistered": ({}, {"frame": "1.2.3.4", "centre": (3.0, 20.0, -60.0)}, None, "do not share a frame"),
    "other-plane": ({}, {"tilt": 5.0}, None, "different planes"),
    "elsewhere": ({}, {"centre": (3.0, 300.0, -40.0)}, None, "covers only 0%"),
}  # fmt: skip
PAIRING = {"unregistered", "other-plane", "elsewhere"}
GOOD = ("Patient 1 é à", "good-2", "good-3", "shifted")


def shear(ds: Any, index: int) -> Any:
    position = list(ds.ImagePositionPatient)
    position[0] += 2.0 * index
    return _set(ds, ImagePositionPatient=position)


def _set(ds: Any, **fields: Any) -> Any:
    for keyword, value in fields.items():
        setattr(ds, keyword, value)
    return ds


def _tilt(ds: Any, index: int) -> Any:
    return _set(ds, ImageOrientationPatient=[1, 0, 0, 0, 0.6, -0.8]) if index == 2 else ds


def _crop(ds: Any, index: int) -> Any:
    if index == 2:
        ds.Rows, ds.PixelData = ds.Rows - 2, ds.PixelData[: (ds.Rows - 2) * ds.Columns * 2]
    return ds


_MAKE: list[Any] = []


def _series(folder: Path, sequence: str, **fields: Any) -> None:
    _MAKE[0].Series(sequence, **({"patient": folder.name, "edit": plant} | fields)).write(folder / sequence)


def _planted(fields: dict[str, Any]) -> dict[str, Any]:
    own = fields.get("edit")
    both = (lambda d, i: own(plant(d, i), i)) if own else plant
    return fields | {"edit": both}


@pytest.fixture(scope="module", autouse=True)
def _one_commit() -> Any:
    """Others commit while this runs; the commit is the one thing that may differ between two curations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.runs, "provenance", lambda: {"commit": "c", "python": "p", "versions": {}})
        yield


@pytest.fixture(scope="module")
def source_folder(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _MAKE[:] = [make]
    root = tmp_path_factory.mktemp("a lab's export é")
    for name, (t1, stir, change, _) in BAD.items():
        make.pair(root / name, _planted(t1), _planted(stir))
        if change:
            change(root / name)
    for name in GOOD:
        moved = {"centre": (4.0, 22.0, -41.0), "slices": 7} if name == "shifted" else {}
        make.pair(root / name, _planted({}), _planted(moved))
    rows = [
        (patient, reader, slice_, side, "sacral_upper", int(slice_ < 2))
        for patient in GOOD
        for reader in "12"
        for slice_ in range(1, 4)
        for side in "LR"
    ]
    pd.DataFrame(rows, columns=["patient", "reader", "slice", "side", "quadrant", "inflammation"]).to_csv(
        root / "readings.csv", index=False
    )
    return root


@pytest.fixture(scope="module")
def curated(source_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "lab"
    return curate(open_source(source_folder), out, **SPLITS)


def test_every_bad_patient_has_its_reason(curated: Path) -> None:
    cohort = Cohort(curated)
    exclusions = cohort.exclusions.set_index("patient")
    assert sorted(cohort.patients) == sorted(GOOD)
    assert sorted(exclusions.index) == sorted(BAD)
    for name, (_, _, _, reason) in BAD.items():
        row = exclusions.loc[name]
        assert pd.Series([row["reason"]]).str.contains(reason, regex=True).all(), (name, row["reason"])
        assert row["stage"] == ("pairing" if name in PAIRING else "images"), name
        assert len(row["remedy"]) > 8 and "unexpected" not in row["reason"]


def test_good_patients_are_as_written(curated: Path, make: Any) -> None:
    cohort = Cohort(curated)
    for patient in GOOD:
        t1, stir = cohort.volume(patient, "T1"), cohort.volume(patient, "STIR")
        index = np.stack(np.meshgrid(*map(np.arange, t1.array.shape), indexing="ij"), axis=-1)
        world = (index @ t1.affine[:3, :3].T + t1.affine[:3, 3]) * [-1, -1, 1]
        assert np.abs(t1.array - make.ramp(world)).max() <= 1
        assert stir.array.shape == t1.array.shape
        inside = stir.array != 0
        assert np.abs(stir.array - make.ramp(world))[inside].max() <= 1  # a linear ramp survives resampling
        assert inside.mean() > 0.8
    row = cohort.participants.set_index("patient").loc["shifted"]
    assert row["stir_resampled"] and "6 and 7 slices" in row["notes"]
    assert cohort.participants.set_index("patient").loc["good-2", "stir_covered"] == 1.0
    assert cohort.sidecar("good-2", "STIR")["InversionTime"] == 0.15
    assert cohort.sidecar("good-2", "T1")["ManufacturersModelName"] == "Avanto"


def test_planted_identity_is_nowhere(
    curated: Path, source_folder: Path, tmp_path: Path, caplog: Any, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    curate(open_source(source_folder), tmp_path / "again", progress=True, **SPLITS)
    streams = capfd.readouterr()
    said = [caplog.text, streams.out, streams.err]
    for folder in (curated, tmp_path / "again"):
        for file in folder.rglob("*"):
            said.append(file.name)
            if file.is_file():
                raw = file.read_bytes()
                raw = gzip.decompress(raw) if file.suffix == ".gz" else raw
                said.append(raw.decode("latin-1"))
    text = "\n".join(said).lower()
    assert "participants" in text
    for secret in SECRETS:
        assert secret.lower() not in text, secret


def tree(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_interrupted_curation_repeats_no_finished_patient(
    curated: Path, source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "lab"
    read: list[str] = []
    whole = module.curate_patient

    def counted(source: Any, patient: str, *rest: Any) -> Any:
        if len(read) == 12:
            raise KeyboardInterrupt
        read.append(patient)
        return whole(source, patient, *rest)

    monkeypatch.setattr(module, "curate_patient", counted)
    with pytest.raises(KeyboardInterrupt):
        curate(open_source(source_folder), out, **SPLITS)
    assert not (out / "curation.json").exists()
    first, read[:] = list(read), []
    monkeypatch.setattr(module, "curate_patient", lambda *a: (read.append(a[1]), whole(*a))[1])
    curate(open_source(source_folder), out, **SPLITS)
    assert not set(first) & set(read) and len(first) + len(read) == len(BAD) + len(GOOD)
    assert tree(out) == tree(curated)
    read.clear()
    curate(open_source(source_folder), out, **SPLITS)
    assert read == []


def test_workers_change_nothing(curated: Path, source_folder: Path, tmp_path: Path) -> None:
    curate(open_source(source_folder), tmp_path / "lab", workers=2, **SPLITS)
    assert tree(tmp_path / "lab") == tree(curated)


def test_a_changed_file_curates_that_patient_again(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(source_folder, tmp_path / "source")
    curate(open_source(copy), tmp_path / "lab", **SPLITS)
    os.utime(next((copy / "good-2" / "T1").iterdir()), (1, 1))
    (tmp_path / "lab" / "sub-good3xdead" / "anat").mkdir(parents=True)
    (tmp_path / "lab" / "sub-good3xdead" / "anat" / "old.nii.gz").write_bytes(b"")
    read: list[str] = []
    whole = module.curate_patient
    monkeypatch.setattr(module, "curate_patient", lambda *a: (read.append(a[1]), whole(*a))[1])
    curate(open_source(copy), tmp_path / "lab", **SPLITS)
    assert read == ["good-2"]
    assert not (tmp_path / "lab" / "sub-good3xdead").exists()


def test_dry_run_writes_nothing(source_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curate(open_source(source_folder), tmp_path / "lab", dry_run=True, **SPLITS)
    assert list(tmp_path.iterdir()) == []
    assert f"included: {len(GOOD)}" in capsys.readouterr().out


def test_unwritable_places_are_one_sentence(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(source_folder)
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").write_text("")
    with pytest.raises(DataError, match="is not empty and no curated cohort"):
        curate(source, tmp_path / "file", **SPLITS)
    with pytest.raises(DataError, match="is not empty and no curated cohort"):
        curate(source, tmp_path / "other", **SPLITS)
    with pytest.raises(DataError, match="cannot be written"):
        curate(source, tmp_path / "file" / "below", **SPLITS)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(one_patient, "write_volume", full)
    with pytest.raises(DataError, match="no space left; free some"):
        curate(source, tmp_path / "lab", **SPLITS)
    assert not (tmp_path / "lab" / "curation.json").exists()


def test_one_fault_of_ours_stops_one_patient(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(source_folder)
    load = source.load

    def faulty(patient: str) -> Any:
        if patient == "good-2":
            raise ZeroDivisionError("Zorglub")
        return load(patient)

    monkeypatch.setattr(source, "load", faulty)
    cohort = Cohort(curate(source, tmp_path / "lab", **SPLITS))
    assert len(cohort.patients) == len(GOOD) - 1
    assert "unexpected ZeroDivisionError" in cohort.exclusions.set_index("patient").loc["good-2", "reason"]


def test_a_patient_that_kills_its_process_costs_only_itself(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a decoder that crashes, or a file that exhausts memory, would do."""
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from axspa_lib.curation.dicom_sources import LayoutSource\n"
        "class Deadly(LayoutSource):\n"
        "    def load(self, patient):\n"
        "        if patient == 'good-2':\n"
        "            os._exit(9)\n"
        "        return super().load(patient)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    root = tmp_path / "in"
    root.mkdir()
    for name in GOOD[1:]:
        (root / name).symlink_to(source_folder / name)
    source = importlib.import_module("deadly").Deadly(root)
    cohort = Cohort(curate(source, tmp_path / "out", workers=2, **SPLITS))
    assert cohort.patients == ["good-3", "shifted"]
    assert cohort.exclusions.set_index("patient").loc["good-2", "reason"] == "reading the files ends the process"


def test_readings_become_labels(curated: Path) -> None:
    cohort = Cohort(curated)
    assert len(cohort.half_slices) == len(GOOD) * 2 * 3 * 2
    consensus = cohort.consensus()
    assert consensus["inflammation"].sum() == len(GOOD) * 2
    assert (consensus["readers"] == 2).all()
    assert cohort.participants["positive"].all()
    counts = json.loads((curated / "curation.json").read_text())["counts"]
    assert counts["included"] == len(GOOD) and counts["excluded"] == {
        "images": len(BAD) - len(PAIRING),
        "pairing": len(PAIRING),
    }


@pytest.mark.real
def test_the_demo_patient_becomes_a_cohort(real_data: Path, tmp_path: Path) -> None:
    """Oracle: the figures that PHANTOM.md measured on the published files by other code."""
    demo = real_data / "iaxspa-demo"
    if not demo.is_dir():
        pytest.skip("iaxspa-demo is not there")
    cohort = Cohort(curate(open_source(demo), tmp_path / "demo", **SPLITS))
    row = cohort.participants.iloc[0]
    assert cohort.patients == ["Patient1"] and (row["slices"], row["rows"], row["columns"]) == (15, 256, 256)
    assert (row["spacing_slice_mm"], row["tilt_deg"], row["field_t"]) == (5.0, 38.3, 1.5)
    assert not row["stir_resampled"] and cohort.sidecar("Patient1", "STIR")["InversionTime"] == 0.14
    t1, stir = cohort.volume("Patient1", "T1"), cohort.volume("Patient1", "STIR")
    middle = (slice(8, 12), slice(40, 120), slice(115, 141))  # the thecal sac: bright on STIR, dark on T1
    assert np.percentile(stir.array[middle], 90) > 4 * np.median(stir.array)
    assert np.percentile(t1.array[middle], 10) < np.median(t1.array[8:12, 60:200, 60:200])
