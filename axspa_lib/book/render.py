"""Render the book from executed chapters, and refuse what is incomplete or does not belong together.

Chapters come from a run of this machine (`runs/<profile>/notebooks/`) or from those stored with the repository
(`book/stored/<profile>/notebooks/`). Either way a chapter says which results it was computed from, and these must be
the ones that lie there now. `recompute` executes the chapters that read no image again,
from the small results, without a GPU and without leaving a trace in them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import yaml

from axspa_lib.book.check import check_site
from axspa_lib.book.execution import check_executed, execute, inputs
from axspa_lib.book.pages import distinguish, extract_figures, mark_tables, warn
from axspa_lib.book.stored import (
    StoredResultError,
    check_inputs,
    check_manifest,
    is_small,
    keep,
    mirror,
    write_manifest,
)
from axspa_lib.study.config import profiles
from axspa_lib.study.errors import AxspaError, MissingResultError
from axspa_lib.study.runs import REPOSITORY, environment, runs_root, stored_root

BOOK = REPOSITORY / "book"
EXECUTED = BOOK / "executed"
NOTEBOOKS = REPOSITORY / "notebooks"
HTML = BOOK / "_build" / "html"


def render(profile: str | None = None, *, recompute: bool = False) -> Path:
    """Assemble the executed chapters and build the HTML book, warnings as errors.

    Args:
        profile: take this profile's executed chapters; those that it does not execute, and all when it is None, come
            from the repository.
        recompute: execute the chapters that read no image again, from the predictions and tables there now.

    Returns:
        The book's `index.html`.

    Raises:
        MissingResultError: a chapter was executed by no run.
        StoredResultError: a chapter was computed from other results than those stored with it.
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

    A stored chapter that reads the results of several profiles, as the findings do, belongs to what is stored of all of
    them: when another run of one of them is stored, it is computed again.

    Returns:
        The folder.

    Raises:
        MissingResultError: the profile has no executed chapter.
        StoredResultError: a chapter was computed from other results than those of the run, or needs images to be
            computed again.
    """
    source = runs_root() / profile
    found = sorted((source / "notebooks").glob("*.ipynb"))
    if not found:
        raise MissingResultError(f"profile {profile} has no executed chapter: run `make book PROFILE={profile}` first")
    for path in found:
        check_executed(path)
        read = inputs(path)
        own = {name: checksum for name, checksum in read.items() if name.startswith(f"{profile}/")}
        if own or not read:
            check_inputs(path, own, (runs_root(),))
    keep(source, stored_root() / profile)
    for known in profiles():
        _settle(stored_root() / known)
    return stored_root() / profile


def _settle(folder: Path) -> None:
    """Compute a stored profile's chapters again where other results are stored now."""
    for path in sorted(folder.glob("notebooks/*.ipynb")):
        try:
            check_inputs(path, inputs(path), (stored_root(),))
            continue
        except StoredResultError:
            if not needs_no_image(inputs(path)):
                raise
        print(f"== {folder.name}/{path.stem}: computing again from what is stored now", flush=True)
        with small_copy((stored_root(),)) as scratch:
            execute(NOTEBOOKS / path.name, path, check_executed(path))
            tables = scratch / folder.name / "tables"
            if tables.is_dir():
                shutil.copytree(tables, folder / "tables", dirs_exist_ok=True)
        write_manifest(folder)


def chapters_of_toc() -> list[str]:
    """Return the names of the executed notebooks in the table of contents."""
    toc = yaml.safe_load((REPOSITORY / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    return [Path(entry).name for entry in entries if entry.startswith("executed/")]


def assemble(profile: str | None, *, recompute: bool = False) -> list[Path]:
    """Lay each chapter's executed notebook into `book/executed/`, complete and with the results it belongs to.

    A chapter that the profile's run lacks is taken from the first stored profile that has it, in the order of
    `data_manifest/profiles.yaml`. A chapter `<notebook>_<profile>` is that notebook as this profile executed it, for
    chapters of which the book shows two runs.

    Returns:
        The executed chapters.

    Raises:
        MissingResultError: a chapter was executed by no run; names the command that does.
    """
    EXECUTED.mkdir(exist_ok=True)
    for old in [*EXECUTED.glob("*.ipynb"), *EXECUTED.glob("figures/*.png")]:
        old.unlink()
    roots = (runs_root(), stored_root()) if profile is not None else (stored_root(),)
    names = chapters_of_toc()
    found = {name: _chapter(name, profile, names) for name in names}
    chosen = {name: path for name, path in found.items() if path is not None}
    if lacking := [name for name in names if name not in chosen]:
        wanted = {_split(name)[1] or profile_of(NOTEBOOKS / f"{_split(name)[0]}.ipynb") for name in lacking}
        commands = " and ".join(f"`make book PROFILE={known}`" for known in sorted(wanted))
        raise MissingResultError(f"no run executed the chapters {', '.join(lacking)}: run {commands} first")
    for path in chosen.values():
        check_executed(path)
    if not recompute:
        for path in chosen.values():
            check_inputs(path, inputs(path), (stored_root(),) if path.is_relative_to(stored_root()) else roots)
        for known in sorted({path.parents[1].name for path in chosen.values() if path.is_relative_to(stored_root())}):
            check_manifest(stored_root() / known)
    for name, path in chosen.items():
        shutil.copy(path, EXECUTED / f"{name}.ipynb")
    if recompute:
        _recompute(chosen, roots)
    for name in names:
        page, only = EXECUTED / f"{name}.ipynb", _split(name)[1]
        if only:
            distinguish(page, only)
        extract_figures(page, EXECUTED / "figures")
        mark_tables(page)
    return [EXECUTED / f"{name}.ipynb" for name in chosen]


def profile_of(notebook: Path) -> str:
    """Return the profile that a chapter belongs to: the default of its parameter `profile`.

    Raises:
        ValueError: the notebook has no parameter `profile`.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if found := re.search(r"^profile: str = \"(\w+)\"", "".join(cell["source"]), re.MULTILINE):
            return found[1]
    raise ValueError(f"{notebook.name} has no parameter profile")


def _split(name: str) -> tuple[str, str | None]:
    """Return the notebook and profile of a chapter; no profile where the name gives none."""
    source, _, known = name.rpartition("_")
    return (source, known) if known in profiles() and (NOTEBOOKS / f"{source}.ipynb").exists() else (name, None)


def _chapter(name: str, profile: str | None, names: list[str]) -> Path | None:
    """Return the executed notebook of a chapter, or None."""
    source, only = _split(name)
    folders = [stored_root() / known for known in profiles() if only in (None, known)]
    if profile is not None and only in (None, profile) and (only or f"{name}_{profile}" not in names):
        folders.insert(0, runs_root() / profile)
    paths = [folder / "notebooks" / f"{source}.ipynb" for folder in folders]
    return next((path for path in paths if path.exists()), None)


def _recompute(chosen: dict[str, Path], roots: tuple[Path, ...]) -> None:
    """Execute chapters that need no image on a copy of the small results; mark outdated others."""
    with small_copy(roots) as scratch:
        for name, path in chosen.items():
            page, read = EXECUTED / f"{name}.ipynb", inputs(path)
            if needs_no_image(read):
                print(f"== {name}: computing again from the stored results", flush=True)
                execute(NOTEBOOKS / path.name, page, check_executed(path))
                continue
            try:
                check_inputs(path, read, (scratch,))
            except StoredResultError as error:
                warn(page, str(error))


def needs_no_image(read: Iterable[str]) -> bool:
    """Return whether everything that a chapter read (`<profile>/<file>`) comes with the repository."""
    return all(is_small(PurePosixPath(*PurePosixPath(name).parts[1:])) for name in read)


@contextmanager
def small_copy(roots: tuple[Path, ...]) -> Iterator[Path]:
    """Make a copy of the small results of all profiles the results folder for a while; the first root wins."""
    with tempfile.TemporaryDirectory() as folder:
        for root in reversed(roots):
            for known in profiles():
                mirror(root / known, Path(folder) / known)
        with environment(AXSPA_RUNS=folder, AXSPA_OFFICIAL="1"):
            yield Path(folder)
