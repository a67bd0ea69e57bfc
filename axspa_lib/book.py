"""Render the book from executed notebooks, and refuse to publish one that is incomplete or fetches from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

from axspa_lib.errors import AxspaError, MissingResultError
from axspa_lib.execution import check_executed
from axspa_lib.runs import REPOSITORY, runs_root

BOOK = REPOSITORY / "book"
EXECUTED = BOOK / "executed"
STORED = BOOK / "stored"
HTML = BOOK / "_build" / "html"

#: Elements and attributes through which a page fetches something.
_FETCHES = {"img": "src", "script": "src", "iframe": "src", "link": "href", "source": "src", "video": "src"}


def render(profile: str | None = None) -> Path:
    """Assemble the executed notebooks and build the HTML book, warnings as errors.

    Args:
        profile: take this profile's executed notebooks; chapters that it does not execute, and all chapters
            when it is None, come from the reference runs stored with the repository.

    Returns:
        The book's `index.html`.

    Raises:
        MissingResultError: a chapter was executed by no run.
        AxspaError: a notebook is incomplete, Sphinx warned, or a page misses an image or fetches from another host.
    """
    clock = time.monotonic()
    chapters = assemble(profile)
    print(f"== book: rendering {len(chapters)} executed chapters", flush=True)
    command = [
        sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(BOOK),
        "--config", str(REPOSITORY / "_config.yml"), "--toc", str(REPOSITORY / "_toc.yml"),
        "--path-output", str(BOOK), "--all", "-W", "-n", "--keep-going", "-q",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        warnings = [line for line in (result.stdout + result.stderr).splitlines() if re.search("WARNING|ERROR", line)]
        raise AxspaError("the book does not build cleanly:\n" + "\n".join(warnings[:20] or [result.stderr[-2000:]]))
    check_site(HTML)
    index = HTML / "index.html"
    print(f"== book: {index} ({time.monotonic() - clock:.0f} s)", flush=True)
    return index


def store(profile: str) -> list[Path]:
    """Keep a profile's executed chapters with the repository (`book/stored/`), so that readers need not execute.

    Raises:
        MissingResultError: the profile has no executed chapter.
    """
    found = sorted((runs_root() / profile / "notebooks").glob("*.ipynb"))
    if not found:
        raise MissingResultError(f"profile {profile} has no executed chapter: run `make book PROFILE={profile}` first")
    STORED.mkdir(exist_ok=True)
    for path in found:
        check_executed(path)
    return [Path(shutil.copy(path, STORED / path.name)) for path in found]


def chapters_of_toc() -> list[str]:
    """Names of the executed notebooks in the table of contents."""
    toc = yaml.safe_load((REPOSITORY / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [Path(entry).name for entry in entries if entry.startswith("executed/")]


def assemble(profile: str | None) -> list[Path]:
    """Copy each chapter's executed notebook to `book/executed/`, checked for completeness."""
    EXECUTED.mkdir(exist_ok=True)
    for old in EXECUTED.glob("*.ipynb"):
        old.unlink()
    done = []
    for name in chapters_of_toc():
        candidates = [STORED / f"{name}.ipynb"]
        if profile is not None:
            candidates.insert(0, runs_root() / profile / "notebooks" / f"{name}.ipynb")
        found = next((path for path in candidates if path.exists()), None)
        if found is None:
            raise MissingResultError(f"chapter {name} was never executed: run `make book PROFILE={profile or 'quick'}`")
        check_executed(found)
        done.append(Path(shutil.copy(found, EXECUTED / found.name)))
    return done


def check_site(html: Path) -> None:
    """Check every page: what it shows exists on disk, and it fetches nothing from another host.

    Raises:
        AxspaError: lists the offending pages and addresses.
    """
    if not (html / "index.html").exists():
        raise AxspaError(f"no book in {html}: the build wrote no index.html")
    problems = []
    pages = [page for page in html.rglob("*.html") if page.relative_to(html).parts[0] != "_static"]
    for page in sorted(pages):
        parser = _References()
        text = page.read_text(encoding="utf-8")
        parser.feed(text)
        if "{glue:" in text or "{numref}" in text:
            problems.append(f"{page.relative_to(html)} shows a role that was not rendered")
        for address in parser.addresses:
            parts = urlsplit(address)
            if parts.scheme == "data" or not (parts.path or parts.netloc):
                continue
            if parts.netloc:
                problems.append(f"{page.relative_to(html)} fetches {address}")
            elif not (page.parent / unquote(parts.path)).exists():
                problems.append(f"{page.relative_to(html)} misses {address}")
    if problems:
        raise AxspaError("the book is not complete:\n" + "\n".join(problems[:20]))


class _References(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "link" and values.get("rel") not in ("stylesheet", "preload", "icon", "shortcut icon"):
            return
        address = values.get(_FETCHES.get(tag, ""))
        if address:
            self.addresses.append(address)


def glued(notebook: Path) -> dict[str, object]:
    """Values that an executed notebook glues, by key (for checks of the book's numbers)."""
    found: dict[str, object] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            key = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if key:
                found[key.removeprefix("application/papermill.record/")] = output["data"]
    return found
