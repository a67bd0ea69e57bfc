"""The gates of the book: what would break silently fails the build."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from axspa_lib.book import render as book
from axspa_lib.book.check import check_site
from axspa_lib.book.execution import execute, inputs
from axspa_lib.book.pages import distinguish, extract_figures, mark_tables
from axspa_lib.book.stored import StoredResultError, write_manifest
from axspa_lib.detector.inference import read_predictions, write_predictions
from axspa_lib.study.errors import AxspaError
from axspa_lib.study.labels import MARKS


def page(folder, body: str) -> None:
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>")


def glued(path: Path) -> dict[str, dict]:
    """Values that an executed notebook glues, by key."""
    outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
    keys = [output.get("metadata", {}).get("scrapbook", {}).get("name") for output in outputs]
    return {key.removeprefix("application/papermill.record/"): output["data"]
            for key, output in zip(keys, outputs, strict=True) if key}  # fmt: skip


def test_a_complete_page_passes(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"x")
    page(tmp_path, '<img src="a%20b.png"><a href="https://example.org">away</a><img src="data:image/png;base64,AA">')
    check_site(tmp_path)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ('<img src="gone.png">', "misses gone.png"),
        ('<script src="https://example.org/x.js"></script>', "fetches https://example.org"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "fetches //example.org"),
        ("<p>MCC <code>{glue:text}</code>x::y:s</p>", "not rendered"),
        ('<iframe src="viewer/case.html"></iframe>', "misses viewer/case.html"),
    ],
)
def test_missing_and_foreign_files_fail(tmp_path, body, told):
    page(tmp_path, body)
    with pytest.raises(AxspaError, match=told):
        check_site(tmp_path)


def test_a_page_or_a_site_that_is_too_large_fails(tmp_path, monkeypatch):
    page(tmp_path, "x" * 2000)
    monkeypatch.setattr("axspa_lib.book.check.PAGE_BYTES", 1000)
    with pytest.raises(AxspaError, match=r"index\.html has 0\.0 MB, at most"):
        check_site(tmp_path)
    monkeypatch.setattr("axspa_lib.book.check.PAGE_BYTES", 3000)
    check_site(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"x" * 2000)
    monkeypatch.setattr("axspa_lib.book.check.SITE_BYTES", 3000)
    with pytest.raises(AxspaError, match="the site has"):
        check_site(tmp_path)


def test_an_empty_site_is_no_book(tmp_path):
    with pytest.raises(AxspaError, match="no book"):
        check_site(tmp_path)


def test_a_chapter_that_nobody_executed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "EXECUTED", tmp_path / "executed")
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    with pytest.raises(AxspaError, match=r"01_data_curation, .* `make book PROFILE=quick`"):
        book.assemble("quick")


PAGES = """
{numref}`fig-a` in {glue:text}`count:d` patients
"""
COUNT = """
from myst_nb import glue
from axspa_lib.study.runs import record_input, runs_root
glue("count", len(record_input(runs_root() / "quick" / "detector" / "predictions.csv").read_text().splitlines()))
"""
PICTURE = """
from axspa_lib.study.runs import record_input, runs_root
record_input(runs_root() / "quick" / "slices" / "T1.nii.gz").read_bytes()
"""


def chapter(path: Path, *sources: str) -> None:
    path.parent.mkdir(exist_ok=True)
    first = new_code_cell('profile: str = "quick"', metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell(f"# {path.stem}"), first, *(new_code_cell(source) for source in sources)]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), path)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A run with both chapters executed; `runs/`, `notebooks/`."""
    root = tmp_path_factory.mktemp("book")
    chapter(root / "notebooks" / "05_shows.ipynb", COUNT, PICTURE)
    chapter(root / "notebooks" / "06_counts.ipynb", COUNT)
    for name, text in {"detector/predictions.csv": "a\nb\n", "slices/T1.nii.gz": "image"}.items():
        path = root / "runs" / "quick" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AXSPA_RUNS", str(root / "runs"))
        for name in ("05_shows.ipynb", "06_counts.ipynb"):
            execute(root / "notebooks" / name, root / "runs" / "quick" / "notebooks" / name, {"profile": "quick"})
    return root


class TestStoredChapters:
    """Two chapters: one counts predictions, the other shows images as well."""

    @pytest.fixture
    def stored(self, built, tmp_path, monkeypatch) -> Path:
        """The same run stored, in a place of its own."""
        shutil.copytree(built / "runs", tmp_path / "runs")
        monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
        monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
        monkeypatch.setattr(book, "EXECUTED", tmp_path / "executed")
        monkeypatch.setattr(book, "NOTEBOOKS", built / "notebooks")
        monkeypatch.setattr(book, "chapters_of_toc", lambda: ["05_shows", "06_counts"])
        return book.store("quick")

    def test_stored_chapters_make_the_book_without_the_run(self, stored):
        names = [path.name for path in book.assemble(None)]
        assert names == ["05_shows.ipynb", "06_counts.ipynb"]
        assert inputs(book.EXECUTED / "06_counts.ipynb").keys() == {"quick/detector/predictions.csv"}
        assert not (stored / "slices").exists()

    def test_named_figures_are_laid_out_for_other_pages(self, tmp_path):
        picture = base64.b64encode(b"a picture").decode()
        shown = new_code_cell("1", metadata={"mystnb": {"figure": {"name": "fig-a"}}})
        shown.outputs = [new_output("stream", text="x"), new_output("display_data", {"image/png": picture})]
        nbformat.write(new_notebook(cells=[shown, new_code_cell("2")]), tmp_path / "a.ipynb")
        extract_figures(tmp_path / "a.ipynb", tmp_path / "figures")
        assert {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()} == {
            "fig-a.png": b"a picture"
        }

    @pytest.mark.parametrize(("profile", "kind"), [("quick", "phantom"), ("public", "real")])
    def test_every_table_says_what_it_holds(self, tmp_path, profile, kind):
        tags = ("hide-input", "mixed", "simulated", "unmarked", "remove-input")
        cells = [new_code_cell("1", metadata={"tags": [tag]}) for tag in tags]
        for count, cell in enumerate(cells, start=1):
            cell.execution_count = count
            cell.outputs = [new_output("display_data", {"text/html": "<table></table>"})]
        metadata = {"papermill": {"parameters": {"profile": profile}}}
        nbformat.write(new_notebook(cells=cells, metadata=metadata), tmp_path / "a.ipynb")
        mark_tables(tmp_path / "a.ipynb")
        shown = json.loads((tmp_path / "a.ipynb").read_text())["cells"]
        html = ["".join(cell["outputs"][0]["data"]["text/html"]) for cell in shown]
        mark = '<table></table><p class="mark-of-data">{}</p>'
        marked = [mark.format(MARKS[name]) for name in (kind, "both", "phantom")]
        assert html == [*marked, "<table></table>", "<table></table>"]

    def test_a_changed_prediction_fails_the_book(self, stored):
        (stored / "detector" / "predictions.csv").write_text("a\nb\nc\n")
        with pytest.raises(
            StoredResultError, match=r"05_shows\.ipynb: was computed from another quick/detector/predictions\.csv"
        ):
            book.assemble(None)

    def test_a_chapter_of_another_run_fails_the_book_by_name(self, stored):
        path = stored / "notebooks" / "06_counts.ipynb"
        notebook = json.loads(path.read_text())
        notebook["metadata"]["axspa"]["inputs"]["quick/detector/predictions.csv"] = "0" * 64
        path.write_text(json.dumps(notebook))
        write_manifest(stored)
        with pytest.raises(StoredResultError, match=r"06_counts\.ipynb: .* another quick/detector/predictions\.csv"):
            book.assemble(None)

    def test_a_changed_prediction_changes_the_number_when_computed_anew(self, stored):
        (stored / "detector" / "predictions.csv").write_text("a\nb\nc\n")
        before = {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()}
        book.assemble(None, recompute=True)
        assert glued(book.EXECUTED / "06_counts.ipynb")["count"]["text/plain"] == ["3"]
        shown = (book.EXECUTED / "05_shows.ipynb").read_text()
        assert "Not computed from the results of this book" in shown and "predictions.csv" in shown
        assert {path: path.read_bytes() for path in stored.rglob("*") if path.is_file()} == before

    def test_a_run_whose_predictions_changed_is_not_stored(self, stored, tmp_path):
        (tmp_path / "runs" / "quick" / "detector" / "predictions.csv").write_text("x")
        with pytest.raises(StoredResultError, match=r"05_shows\.ipynb"):
            book.store("quick")

    def test_the_run_of_this_machine_goes_before_the_stored_one(self, stored, tmp_path):
        (tmp_path / "runs" / "quick" / "detector" / "predictions.csv").write_text("x")
        with pytest.raises(StoredResultError, match=r"05_shows\.ipynb"):
            book.assemble("quick")
        assert book.assemble(None)

    def test_a_chapter_that_reads_another_profile_is_computed_anew_when_that_is_stored(self, stored, tmp_path):
        """`06_counts` of `smoke` reads the predictions of `quick`; another run of `quick` is stored after it."""
        shutil.copytree(stored / "notebooks", tmp_path / "runs" / "smoke" / "notebooks")
        (tmp_path / "runs" / "smoke" / "notebooks" / "05_shows.ipynb").unlink()
        book.store("smoke")
        for name in ("05_shows", "06_counts"):
            (tmp_path / "runs" / "quick" / "notebooks" / f"{name}.ipynb").unlink()
        (tmp_path / "runs" / "quick" / "detector" / "predictions.csv").write_text("a\nb\nc\nd\n")
        path = tmp_path / "runs" / "quick" / "notebooks" / "06_counts.ipynb"
        execute(book.NOTEBOOKS / "06_counts.ipynb", path, {"profile": "quick"})
        book.store("quick")
        shown = tmp_path / "stored" / "smoke" / "notebooks" / "06_counts.ipynb"
        assert glued(shown)["count"]["text/plain"] == ["4"]
        with pytest.raises(AxspaError, match="no run executed the chapters 05_shows"):
            book.assemble(None)

    def test_a_chapter_that_no_run_executed_stops_the_book_and_names_its_command(self, stored, monkeypatch, tmp_path):
        monkeypatch.setattr(book, "chapters_of_toc", lambda: ["05_shows", "06_counts", "07_absent"])
        source = tmp_path / "notebooks"
        shutil.copytree(book.NOTEBOOKS, source)
        monkeypatch.setattr(book, "NOTEBOOKS", source)
        parameters = new_code_cell('profile: str = "public"', metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[new_markdown_cell("# Absent"), parameters]), source / "07_absent.ipynb")
        with pytest.raises(AxspaError, match="07_absent: run `make book PROFILE=public` first"):
            book.assemble(None)

    def test_one_notebook_is_shown_for_two_profiles(self, stored, monkeypatch, tmp_path):
        """`06_counts` is the phantom's, `06_counts_public` the one of the run on real scans, whatever is rendered."""
        monkeypatch.setattr(book, "chapters_of_toc", lambda: ["06_counts", "06_counts_public"])
        run = tmp_path / "runs" / "public"
        (run / "notebooks").mkdir(parents=True)
        shutil.copy(stored / "notebooks" / "06_counts.ipynb", run / "notebooks")
        book.store("public")
        for profile in (None, "public"):
            assert [path.name for path in book.assemble(profile)] == ["06_counts.ipynb", "06_counts_public.ipynb"]
            titles = [json.loads(path.read_text())["cells"][0]["source"] for path in book.assemble(profile)]
            assert titles == [["# 06_counts"], "# 06_counts: profile `public`"]


def test_figures_of_a_page_shown_twice_have_names_of_their_own(tmp_path):
    figure = new_code_cell("1", metadata={"mystnb": {"figure": {"name": "fig-a"}}})
    nbformat.write(new_notebook(cells=[new_markdown_cell("# A\n\nSee {numref}`fig-a`."), figure]), tmp_path / "a.ipynb")
    distinguish(tmp_path / "a.ipynb", "public")
    first, second = json.loads((tmp_path / "a.ipynb").read_text())["cells"]
    assert "{numref}`fig-a-public`" in first["source"] and "profile `public`" in first["source"]
    assert second["metadata"]["mystnb"]["figure"]["name"] == "fig-a-public"


@pytest.fixture
def own_stored(tmp_path, monkeypatch) -> Path:
    """The results that come with the repository, in a place where they may be changed."""
    shutil.copytree(Path(__file__).parents[2] / "book" / "stored" / "quick", tmp_path / "stored" / "quick")
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
    monkeypatch.setattr(book, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(book, "chapters_of_toc", lambda: ["07_tables"])
    return tmp_path / "stored" / "quick"


def all_negative(stored: Path) -> list[Path]:
    """Let every member of the repository's own run find nothing at all in the first cohort."""
    paths = sorted((stored / "detector" / "all_included").rglob("predictions_phantom-desir.parquet"))
    for path in paths:
        write_predictions(path, read_predictions(path).assign(score=0.0))
    return paths


def mcc_ensemble(chapter: Path) -> str:
    value = glued(chapter)["mcc_ensemble"]
    return "".join(next(iter(value.values()))).strip("'")


class TestTheRepositorysOwnResults:
    def test_a_changed_prediction_file_is_refused_by_name(self, own_stored):
        name = all_negative(own_stored)[0].relative_to(own_stored.parent).as_posix()
        with pytest.raises(StoredResultError, match=rf"07_tables\.ipynb: was computed from another {name}"):
            book.assemble(None)

    @pytest.mark.slow
    def test_a_changed_prediction_file_changes_the_numbers_of_the_tables(self, own_stored):
        """Without a single detection every patient is negative, whose MCC with anything is 0."""
        book.assemble(None)
        shown = book.EXECUTED / "07_tables.ipynb"
        assert not mcc_ensemble(shown).startswith("0.00 ")
        all_negative(own_stored)
        book.assemble(None, recompute=True)
        assert mcc_ensemble(shown).startswith("0.00 ")
