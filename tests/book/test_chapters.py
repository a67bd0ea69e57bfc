"""In a fresh clone every chapter opens at once, and a changed parameter touches no result."""

from __future__ import annotations

import ast
import json
import os
import resource
import subprocess
from pathlib import Path
from typing import Any

import pytest

from axspa_lib.book.execution import check_executed, execute

pytestmark = pytest.mark.chapters
REPOSITORY = Path(__file__).resolve().parents[2]
CHAPTERS = [
    path for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")) if not path.stem.endswith(("_worker", "_train"))
]
#: Processor time of one chapter: with two cores, no more than the 30 s that a person waits.
SECONDS = 30


def changed_parameter(notebook: Path) -> dict[str, Any]:
    """Another value of the first number among a chapter's parameters."""
    if notebook.stem == "13_this_run":
        return {"planned": "quick"}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            for statement in ast.parse("".join(cell["source"])).body:
                assert isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
                value = ast.literal_eval(statement.value)  # type: ignore[arg-type]
                if type(value) in (int, float):
                    return {statement.target.id: value + 1 if isinstance(value, int) else 1.25 * value or 0.5}
    raise AssertionError(f"{notebook.name} has no parameter that is a number")


def state() -> str:
    return subprocess.run(
        ["git", "status", "--porcelain", "--ignored=no"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A machine without results, where a person works."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("AXSPA_OFFICIAL")
    return tmp_path


def run(chapter: Path, folder: Path, parameters: dict[str, Any]) -> float:
    before, used = state(), resource.getrusage(resource.RUSAGE_CHILDREN)
    execute(chapter, folder / "executed.ipynb", parameters)
    assert check_executed(folder / "executed.ipynb").items() >= parameters.items()
    assert state() == before, "a file of the repository changed"
    written = [path.name for path in (folder / "runs").iterdir()] if (folder / "runs").exists() else []
    assert written in ([], ["scratch"]), "a person's run writes below runs/scratch/ and nowhere else"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_opens_at_once(chapter, fresh):
    assert run(chapter, fresh, {}) < SECONDS


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_runs_with_a_changed_parameter(chapter, fresh):
    run(chapter, fresh, changed_parameter(chapter))


def test_the_test_starts_without_results():
    assert "AXSPA_STORED" not in os.environ and "AXSPA_SAMPLE" not in os.environ
