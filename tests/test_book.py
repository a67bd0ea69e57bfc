"""The gates of the book: what would break silently fails the build."""

from __future__ import annotations

import pytest

from axspa_lib import book
from axspa_lib.errors import AxspaError


def page(folder, body: str) -> None:
    (folder / "index.html").write_text(f"<html><body>{body}</body></html>")


def test_a_complete_page_passes(tmp_path):
    (tmp_path / "a b.png").write_bytes(b"x")
    page(tmp_path, '<img src="a%20b.png"><a href="https://example.org">away</a><img src="data:image/png;base64,AA">')
    book.check_site(tmp_path)


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
        book.check_site(tmp_path)


def test_an_empty_site_is_no_book(tmp_path):
    with pytest.raises(AxspaError, match="no book"):
        book.check_site(tmp_path)


def test_a_chapter_that_nobody_executed_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "EXECUTED", tmp_path / "executed")
    monkeypatch.setattr(book, "STORED", tmp_path / "stored")
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    with pytest.raises(AxspaError, match="01_data_curation was never executed"):
        book.assemble("quick")
