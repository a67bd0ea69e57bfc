"""One cohort with every bad input: each has its reason, and the good patients are untouched."""

from __future__ import annotations

import gzip
import importlib
import json
import logging
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from axspa_lib.book.execution import execute
from axspa_lib.curation import patient as one_patient
from axspa_lib.curation import workers as module
from axspa_lib.curation.curate import curate
from axspa_lib.curation.open import open_source
from axspa_lib.study import runs
from axspa_lib.study.cohort import Cohort
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import DataError
from axspa_lib.study.layout import Layout
from axspa_lib.study.runs import REPOSITORY, record_stage
from tests.curation.corpus import READ, REFUSED, SECRETS, build, plant

SPLITS: dict[str, Any] = {"seed": 3, "bones_split": (31, 6, 14), "detection_split": (178, 25, 53)}

GOOD = ("Patient 1 é à", "good-2", "good-3", "shifted")


PROVENANCE = runs.provenance


@pytest.fixture(scope="module", autouse=True)
def _one_commit() -> Any:
    """Others commit while this runs; the commit is the one thing that may differ between two curations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "provenance", lambda: {"commit": "c", "python": "p", "versions": {}})
        yield


@pytest.fixture(scope="module")
def source_folder(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = build(make, tmp_path_factory.mktemp("a lab's export é"))
    for name in GOOD:
        moved = {"centre": (4.0, 22.0, -41.0), "slices": 7} if name == "shifted" else {}
        make.pair(root / name, {"edit": plant}, {"edit": plant} | moved)
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
    return make.vouch(root)


@pytest.fixture(scope="module")
def curated(source_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("curated") / "lab"
    return curate(open_source(source_folder), out, **SPLITS)


@pytest.mark.parametrize("name", REFUSED)
def test_a_patient_that_cannot_be_used_has_its_reason(curated: Path, name: str) -> None:
    *_, stage, reason = REFUSED[name]
    rows = Cohort(curated).exclusions.query("stage != 'people'").set_index("patient").loc[[name]]
    assert len(rows) == 1 and rows["excludes"].all()
    assert re.search(reason, rows["reason"].iloc[0]), rows["reason"].iloc[0]
    assert rows["stage"].iloc[0] == stage and "unexpected" not in rows["reason"].iloc[0]
    assert len(rows["remedy"].iloc[0]) > 8


@pytest.mark.parametrize("name", READ)
def test_an_awkward_patient_is_read_as_it_was_written(curated: Path, make: Any, name: str) -> None:
    *_, image = READ[name]
    t1 = Cohort(curated).volume(name, "T1")
    if image is None:
        index = np.stack(np.meshgrid(*map(np.arange, t1.array.shape), indexing="ij"), axis=-1)
        world = (index @ t1.affine[:3, :3].T + t1.affine[:3, 3]) * [-1, -1, 1]
        assert np.abs(t1.array - make.ramp(world)).max() <= 1
    else:
        assert all(np.array_equal(found, image) for found in t1.array.astype(float))


def test_no_patient_is_harmed_by_another(curated: Path) -> None:
    cohort = Cohort(curated)
    assert sorted(cohort.patients) == sorted([*GOOD, *READ])
    assert sorted(cohort.exclusions.query("stage != 'people'")["patient"]) == sorted(REFUSED)


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


def test_planted_identity_is_in_no_executed_notebook(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chapter on curation, executed on cohorts whose headers, folders and free text carry an identity."""
    folders = {}
    for cohort in ("phantom-desir", "phantom-asas"):
        for number in range(3):
            make.pair(tmp_path / "in" / cohort / f"P{number}", {"edit": plant}, {"edit": plant})
        lines = [f"P{n},{reader},1" for n in range(4) for reader in "12"]
        (tmp_path / "in" / cohort / "opinions.csv").write_text("patient,reader,asas_positive\n" + "\n".join(lines))
        make.pair(tmp_path / "in" / cohort / "P3", {"edit": plant}, {"edit": plant, "frame": "9", "centre": (3, 0, 9)})
        folders[cohort] = tmp_path / "in" / cohort
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(runs, "provenance", PROVENANCE)
    for cohort, folder in folders.items():
        with record_stage(Layout.of(load_study("smoke")).cohort(cohort), {"cohort": cohort}):
            curate(
                open_source(folder), Layout.of(load_study("smoke")).cohort(cohort), require_agreement=False, **SPLITS
            )
    notebook = tmp_path / "01_data_curation.ipynb"
    execute(REPOSITORY / "notebooks" / notebook.name, notebook, {"profile": "smoke"})
    text = notebook.read_text().lower()
    assert "image/png" in text and "do not share a frame of reference" in text  # images, and why P3 was left out
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
    assert not set(first) & set(read) and len(first) + len(read) == len(REFUSED) + len(READ) + len(GOOD)
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
    assert f"included: {len(GOOD) + len(READ)}" in capsys.readouterr().out


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
    assert len(cohort.patients) == len(GOOD) + len(READ) - 1
    excluded = cohort.exclusions.query("excludes").set_index("patient")
    assert "unexpected ZeroDivisionError" in excluded.loc["good-2", "reason"]


def test_a_patient_that_kills_its_process_costs_only_itself(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a decoder that crashes, or a file that exhausts memory, would do."""
    (tmp_path / "deadly.py").write_text(
        "import os\n"
        "from axspa_lib.curation.dicom_sources import DicomSource\n"
        "class Deadly(DicomSource):\n"
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
    (root / "patients.csv").symlink_to(source_folder / "patients.csv")
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
    assert cohort.participants.set_index("patient").loc[list(GOOD), "positive"].all()
    counts = json.loads((curated / "curation.json").read_text())["counts"]
    assert counts["included"] == len(GOOD) + len(READ)
    assert counts["excluded"] == Counter(stage for *_, stage, _ in REFUSED.values())


@pytest.fixture(scope="module")
def annotated(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Four examinations of six slices, and readings of which each spoils one of them."""
    root = tmp_path_factory.mktemp("annotated")
    for name in ("good", "slice-beyond-the-last", "contradiction", "stranger-reads"):
        make.pair(root / name)
    (root / "opinions.csv").write_text(
        "patient;reader;asas_positive\n" + "".join(f"{p.name};{r};1\n" for p in sorted(root.iterdir()) for r in "12")
    )
    rows = [f"{p.name};{r};5,0;L;iliac_upper;1" for p in sorted(root.iterdir()) if p.is_dir() for r in "12"]
    rows += ["slice-beyond-the-last;1;6;L;iliac_upper;1", "contradiction;1;5;L;iliac_upper;0",
             "stranger-reads;9;5;L;iliac_upper;1", "nobody;1;5;L;iliac_upper;1"]  # fmt: skip
    text = "patient;reader;slice;side;quadrant;inflammation\n" + "\n".join(rows)
    (root / "readings.csv").write_bytes(text.encode("utf-16"))
    return Cohort(curate(open_source(make.vouch(root)), tmp_path_factory.mktemp("out") / "lab", **SPLITS))


@pytest.mark.parametrize(
    ("name", "reason", "excludes"),
    [
        ("slice-beyond-the-last", "readings name slice 6 of an examination with slices 0 to 5", True),
        ("contradiction", "2 rows contradict each other", True),
        ("stranger-reads", "1 row are by a reader unknown to opinions.csv", False),
        ("unknown (first in row 12)", "1 row name a patient without images", False),
    ],
)
def test_bad_annotations_cost_their_patient_or_their_row(
    annotated: Cohort, name: str, reason: str, excludes: bool
) -> None:
    row = annotated.exclusions.query("stage != 'people'").set_index("patient").loc[name]
    assert re.match(reason, row["reason"]) and row["excludes"] == excludes and row["stage"] == "readings"
    assert annotated.patients == ["good", "stranger-reads"]  # whose own two readers are kept
    kept = annotated.readings[annotated.readings["patient"].isin(annotated.patients)]
    assert len(kept) == 4 and set(kept["reader"]) == {"1", "2"} and kept["slice"].eq(5).all()


def test_opinions_on_others_only_do_not_switch_the_criterion_off(make: Any, tmp_path: Path) -> None:
    make.pair(tmp_path / "in" / "P1")
    make.vouch(tmp_path / "in")
    (tmp_path / "in" / "opinions.csv").write_text("patient,reader,asas_positive\nP01,1,1\nP01,2,1\n")
    with pytest.raises(DataError, match="no patient can be included"):
        curate(open_source(tmp_path / "in"), tmp_path / "out", **SPLITS)
    assert "P1,opinions,no reader gave an opinion" in (tmp_path / "out" / "exclusions.csv").read_text()


@pytest.mark.parametrize("fault", ["vanishes", "grows"])
def test_a_file_that_is_not_still_costs_its_patient(
    source_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """As when curation is started before the export has finished."""
    copy = tmp_path / "in"
    for name in GOOD[1:]:
        shutil.copytree(source_folder / name, copy / name)
    shutil.copy(source_folder / "patients.csv", copy)
    victim = sorted((copy / "good-2" / "STIR").iterdir())[2]
    opened = Path.open

    def touched(self: Path, *arguments: Any, **keywords: Any) -> Any:
        if self != victim:
            return opened(self, *arguments, **keywords)
        if fault == "vanishes":
            self.unlink(missing_ok=True)
        else:
            with opened(self, "ab") as file:
                file.write(b"\0\0")
        return opened(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", touched)
    cohort = Cohort(curate(open_source(copy), tmp_path / "out", **SPLITS))
    reason = cohort.exclusions.set_index("patient").loc["good-2", "reason"]
    assert ("vanished" if fault == "vanishes" else "changed") + " while it was read" in reason
    assert cohort.patients == ["good-3", "shifted"]


@pytest.mark.real
def test_the_demo_patient_becomes_a_cohort(real_data: Path, tmp_path: Path) -> None:
    """Oracle: the figures that PHANTOM.md measured on the published files by other code."""
    demo = real_data / "iaxspa-demo"
    if not demo.is_dir():
        pytest.skip("iaxspa-demo is not there")
    cohort = Cohort(curate(open_source(demo), tmp_path / "demo", **SPLITS))
    row = cohort.participants.iloc[0]
    assert cohort.patients == ["P0001"] and (row["slices"], row["rows"], row["columns"]) == (15, 256, 256)
    assert (row["spacing_slice_mm"], row["tilt_deg"], row["field_t"]) == (5.0, 38.3, 1.5)
    assert not row["stir_resampled"] and cohort.sidecar("P0001", "STIR")["InversionTime"] == 0.14
    t1, stir = cohort.volume("P0001", "T1"), cohort.volume("P0001", "STIR")
    middle = (slice(8, 12), slice(40, 120), slice(115, 141))  # the thecal sac: bright on STIR, dark on T1
    assert np.percentile(stir.array[middle], 90) > 4 * np.median(stir.array)
    assert np.percentile(t1.array[middle], 10) < np.median(t1.array[8:12, 60:200, 60:200])
