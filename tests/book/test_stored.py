"""Stored results: what is kept, what is refused, and who belongs to whom."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from axspa_lib.book.stored import StoredResultError, check_inputs, check_manifest, keep
from axspa_lib.study import provenance, runs
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import result_file

KEPT = (
    "tables/table1.csv",
    "cohorts/phantom-desir/opinions.csv",
    "cohorts/phantom-desir/run.json",
    "detector/all_included/seed-0/predictions_phantom-desir.parquet",
    "detector/all_included/seed-0/history.parquet",
    "slices/0123456789/phantom-desir/half_slices.csv",
    "notebooks/07_tables.ipynb",
    "sources/phantom-desir/export/truth/lesions.csv",
)
LEFT = (
    "cohorts/phantom-desir/sub-1/anat/sub-1_acq-cor_T1w.json",
    "cohorts/phantom-desir/derivatives/truth/x.json",
    "cohorts/phantom-desir/.records/D0001.json",
    "detector/all_included/seed-0/model.pt",
    "detector/all_included/seed-0/worker.ipynb",
    "notebooks/failed/07_tables.ipynb",
    "slices/0123456789/phantom-desir/instances.json",
    "slices/0123456789/phantom-desir/D1_T1.nii.gz",
    "sources/phantom-desir/export/readings.csv",
    "sources/phantom-desir/export/truth/groups.csv",
    "identity/bones.json",
)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A run of the profile `quick`, and an empty store."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
    for name in (*KEPT, *LEFT):
        path = tmp_path / "runs" / "quick" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("patient,value\n007,1\n")
    source = tmp_path / "runs" / "quick" / "sources" / "phantom-desir" / "run.json"
    source.write_text(json.dumps({"folder": "../../private", "seconds": 1}))
    return tmp_path


def kept(places: Path) -> Path:
    keep(places / "runs" / "quick", places / "stored" / "quick")
    return places / "stored" / "quick"


def test_small_results_are_kept_and_nothing_else(places):
    root = kept(places)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {*KEPT, "sources/phantom-desir/run.json", "manifest.json"}


def test_where_raw_data_lie_is_not_kept(places):
    record = json.loads((kept(places) / "sources" / "phantom-desir" / "run.json").read_text())
    assert record == {"seconds": 1}


def test_storing_again_forgets_what_is_gone(places):
    kept(places)
    (places / "runs" / "quick" / KEPT[0]).unlink()
    assert not (kept(places) / KEPT[0]).exists()


def test_a_file_too_large_for_a_repository_is_refused(places):
    (places / "runs" / "quick" / KEPT[3]).write_bytes(bytes(3_000_001))
    with pytest.raises(StoredResultError, match=r"predictions_phantom-desir\.parquet: has 3\.0 MB"):
        kept(places)
    assert not (places / "stored" / "quick").exists()


@pytest.mark.parametrize("folder", [sys.prefix, str(runs.REPOSITORY), str(Path.home())])
def test_a_chapter_that_tells_a_folder_of_this_machine_is_refused(places, folder):
    (places / "runs" / "quick" / KEPT[6]).write_text(f"{folder}/lib/x.py:2: SomeWarning")
    with pytest.raises(StoredResultError, match=r"07_tables\.ipynb: shows the folder"):
        kept(places)


def test_chapters_that_come_with_the_repository_tell_no_folder():
    for path in sorted((runs.REPOSITORY / "book" / "stored").rglob("*.ipynb")):
        assert "site-packages" not in path.read_text(encoding="utf-8"), path


def test_a_table_is_read_from_this_machines_run_first(places):
    kept(places)
    own = places / "runs" / "quick" / "tables" / "table1.csv"
    own.write_text("patient,value\n007,2\n")
    assert result_file("quick", "tables/table1.csv") == own
    shutil.rmtree(places / "runs")
    assert result_file("quick", "tables/table1.csv") == places / "stored" / "quick" / "tables" / "table1.csv"


def test_a_table_that_nobody_computed_is_named(places):
    with pytest.raises(MissingResultError, match=r"public/tables/table9\.csv.*make book PROFILE=public"):
        result_file("public", "tables/table9.csv")
    with pytest.raises(MissingResultError, match=r"quick/detector/x"):
        result_file("quick", "detector/x")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda root: (root / KEPT[3]).write_text("x"), r"predictions_phantom-desir\.parquet: is not the file"),
        (lambda root: (root / KEPT[1]).unlink(), r"opinions\.csv: is gone"),
        (lambda root: (root / "tables" / "table9.csv").write_text("x"), r"table9\.csv: was added by hand"),
        (lambda root: (root / "manifest.json").unlink(), r"has no manifest\.json"),
    ],
)
def test_a_changed_store_is_refused(places, damage, told):
    root = kept(places)
    check_manifest(root)
    damage(root)
    with pytest.raises(StoredResultError, match=told):
        check_manifest(root)


class TestInputs:
    def inputs(self, places) -> dict[str, str]:
        """As a notebook would note them."""
        return {
            f"quick/{name}": runs.sha256(places / "runs" / "quick" / name)
            for name in (KEPT[0], KEPT[3], "slices/0123456789/phantom-desir/D1_T1.nii.gz")
        }

    def test_a_chapter_belongs_to_the_results_it_was_computed_from(self, places):
        inputs = self.inputs(places)
        kept(places)
        check_inputs(Path("07_tables.ipynb"), inputs, (places / "runs",))
        check_inputs(Path("07_tables.ipynb"), inputs, (places / "stored",))  # images are not stored, and not asked for

    def test_another_prediction_is_refused_by_name(self, places):
        inputs = self.inputs(places)
        (kept(places) / KEPT[3]).write_text("other")
        with pytest.raises(StoredResultError, match=r"07_tables\.ipynb: .*quick/detector.*predictions_phantom-desir"):
            check_inputs(Path("07_tables.ipynb"), inputs, (places / "stored",))

    def test_a_prediction_that_is_gone_is_refused_by_name(self, places):
        inputs = self.inputs(places)
        (kept(places) / KEPT[3]).unlink()
        with pytest.raises(StoredResultError, match=r"predictions_phantom-desir\.parquet, which is gone"):
            check_inputs(Path("07_tables.ipynb"), inputs, (places / "stored",))

    def test_a_chapter_that_says_nothing_is_refused(self, places):
        with pytest.raises(StoredResultError, match="does not say what it was computed from"):
            check_inputs(Path("07_tables.ipynb"), {}, (places / "stored",))


def test_reading_is_noted_only_when_asked(places, monkeypatch):
    path = places / "runs" / "quick" / KEPT[0]
    assert runs.record_input(path) == path
    notes = places / "notes"
    monkeypatch.setenv("AXSPA_NOTES", str(notes))
    runs.record_input(path)
    runs.record_input(places / "elsewhere.csv")
    assert [json.loads(line) for line in notes.read_text().splitlines()] == [[f"quick/{KEPT[0]}", runs.sha256(path)]]


def test_a_page_of_jobs_depends_on_their_records_but_not_on_its_own(tmp_path, monkeypatch):
    """The record of a chapter is written after it; that of raw data is stored without the place where they lie."""
    record = {"seconds": 1.0, "started": "2026-01-01T00:00:00", "provenance": {"device": "cpu", "commit": "abc"}}
    for job in ("detector/all_included/seed-0", "bones/round-1/iliac", "chapters/13_this_run", "sources/vhi"):
        path = tmp_path / "quick" / job / "run.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    monkeypatch.setenv("AXSPA_NOTES", str(tmp_path / "notes"))
    assert len(provenance.jobs(Run("quick"))) == 4 and not (tmp_path / "notes").exists()
    provenance.jobs(Run("quick"), note=True)
    names = [json.loads(line)[0] for line in (tmp_path / "notes").read_text().splitlines()]
    assert names == ["quick/bones/round-1/iliac/run.json", "quick/detector/all_included/seed-0/run.json"]
