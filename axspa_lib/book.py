"""Render the book from executed chapters, and refuse what is incomplete or does not belong together.

Chapters come from a run of this machine (`runs/<profile>/notebooks/`) or from those stored with the repository
(`book/stored/<profile>/notebooks/`). Either way a chapter says which results it was computed from, and these must be
the ones that lie there now. `recompute` executes the chapters that read no image anew from the small results, without a
GPU and without leaving a trace in them.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path, PurePosixPath

import yaml

from axspa_lib.config import load_study, profiles
from axspa_lib.errors import AxspaError, MissingResultError
from axspa_lib.execution import check_executed, execute, inputs
from axspa_lib.labels import MARKS
from axspa_lib.pages import check_site
from axspa_lib.runs import REPOSITORY, runs_root, stored_root, write_text
from axspa_lib.stored import StoredResultError, check_inputs, check_manifest, is_small, keep, mirror

BOOK = REPOSITORY / "book"
EXECUTED = BOOK / "executed"
NOTEBOOKS = REPOSITORY / "notebooks"
HTML = BOOK / "_build" / "html"


def render(profile: str | None = None, *, recompute: bool = False) -> Path:
    """Assemble the executed chapters and build the HTML book, warnings as errors.

    Args:
        profile: take this profile's executed chapters; those that it does not execute, and all when it is None, come
            from the repository.
        recompute: execute the chapters that read no image anew, from the predictions and tables there now.

    Returns:
        The book's `index.html`.

    Raises:
        MissingResultError: a chapter was executed by no run.
        StoredResultError: a chapter was computed from other results than those beside it.
        AxspaError: a chapter is incomplete, Sphinx warned, or a page misses an image or fetches from another host.
    """
    clock = time.monotonic()
    chapters = assemble(profile, recompute=recompute)
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


def store(profile: str) -> Path:
    """Keep a profile's executed chapters, predictions and tables with the repository (`book/stored/<profile>/`).

    Returns:
        The folder.

    Raises:
        MissingResultError: the profile has no executed chapter.
        StoredResultError: a chapter was computed from other results than those of the run.
    """
    source = runs_root() / profile
    found = sorted((source / "notebooks").glob("*.ipynb"))
    if not found:
        raise MissingResultError(f"profile {profile} has no executed chapter: run `make book PROFILE={profile}` first")
    for path in found:
        check_executed(path)
        check_inputs(path, inputs(path), (runs_root(), stored_root()))
    keep(source, stored_root() / profile)
    return stored_root() / profile


def chapters_of_toc() -> list[str]:
    """Names of the executed notebooks in the table of contents."""
    toc = yaml.safe_load((REPOSITORY / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [Path(entry).name for entry in entries if entry.startswith("executed/")]


def assemble(profile: str | None, *, recompute: bool = False) -> list[Path]:
    """Lay each chapter's executed notebook into `book/executed/`, complete and with the results it belongs to.

    A chapter that the profile's run lacks is taken from the first stored profile that has it, in the order of
    `data_manifest/profiles.yaml`.
    """
    EXECUTED.mkdir(exist_ok=True)
    for old in [*EXECUTED.glob("*.ipynb"), *EXECUTED.glob("figures/*.png")]:
        old.unlink()
    roots = (runs_root(), stored_root()) if profile is not None else (stored_root(),)
    chosen = [_chapter(name, profile) for name in chapters_of_toc()]
    for path in chosen:
        check_executed(path)
    if not recompute:
        for path in chosen:
            check_inputs(path, inputs(path), (stored_root(),) if path.is_relative_to(stored_root()) else roots)
        for name in sorted({path.parents[1].name for path in chosen if path.is_relative_to(stored_root())}):
            check_manifest(stored_root() / name)
    for path in chosen:
        shutil.copy(path, EXECUTED / path.name)
    if recompute:
        _recompute(chosen, roots)
    for path in chosen:
        extract_figures(EXECUTED / path.name, EXECUTED / "figures")
        mark_tables(EXECUTED / path.name)
    return [EXECUTED / path.name for path in chosen]


def _chapter(name: str, profile: str | None) -> Path:
    folders = [stored_root() / known for known in profiles()]
    if profile is not None:
        folders.insert(0, runs_root() / profile)
    for folder in folders:
        path = folder / "notebooks" / f"{name}.ipynb"
        if path.exists():
            return path
    raise MissingResultError(f"chapter {name} was never executed: run `make book PROFILE={profile or 'quick'}`")


def _recompute(chosen: list[Path], roots: tuple[Path, ...]) -> None:
    """Execute anew, on a copy of the small results, what needs no image; say so on pages that others need."""
    with tempfile.TemporaryDirectory() as scratch:
        for root in reversed(roots):
            for known in profiles():
                mirror(root / known, Path(scratch) / known)
        before = os.environ.get("AXSPA_RUNS")
        os.environ["AXSPA_RUNS"] = scratch
        try:
            for path in chosen:
                read = inputs(path)
                if all(is_small(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in read):
                    print(f"== {path.stem}: computing anew from the stored results", flush=True)
                    execute(NOTEBOOKS / path.name, EXECUTED / path.name, check_executed(path))
                    continue
                try:
                    check_inputs(path, read, (Path(scratch),))
                except StoredResultError as error:
                    _warn(EXECUTED / path.name, str(error))
        finally:
            if before is None:
                del os.environ["AXSPA_RUNS"]
            else:
                os.environ["AXSPA_RUNS"] = before


def _warn(path: Path, told: str) -> None:
    """Say at the top of an executed chapter that it does not belong to the results beside it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    text = f"```{{admonition}} Not computed from the results of this book\n:class: warning\n{told}\n```"
    notebook["cells"].insert(1, {"cell_type": "markdown", "id": "warning", "metadata": {}, "source": text})
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def mark_tables(path: Path) -> None:
    """Write below every table of an executed chapter whether it holds phantom or real data, as figures do themselves.

    Cells tagged `unmarked` (parameters, published figures) and the provenance (`remove-input`) are left as they are.
    """
    notebook = json.loads(path.read_text(encoding="utf-8"))
    study = load_study(check_executed(path).get("profile", "quick"))
    text = MARKS["phantom" if study.training_cohort in study.phantoms else "real"]
    for cell in notebook["cells"]:
        if {"unmarked", "remove-input"} & set(cell["metadata"].get("tags", [])):
            continue
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            html = "".join(data.get("text/html", ""))
            if "<table" in html:
                data["text/html"] = f'{html}<p class="mark-of-data">{text}</p>'
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def extract_figures(notebook: Path, folder: Path) -> None:
    """Write the named figures of an executed chapter as `<name>.png`, for the pages that show them once more."""
    folder.mkdir(exist_ok=True)
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        pictures = [
            output["data"]["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
        ]
        if name and pictures:
            (folder / f"{name}.png").write_bytes(base64.b64decode("".join(pictures[-1])))


def glued(notebook: Path) -> dict[str, object]:
    """Values that an executed notebook glues, by key (for checks of the book's numbers)."""
    found: dict[str, object] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            key = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if key:
                found[key.removeprefix("application/papermill.record/")] = output["data"]
    return found
