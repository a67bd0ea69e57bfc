"""The notebooks in git are thin and without outputs (rules of CONTRIBUTING.md)."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
READERS = [path for path in NOTEBOOKS if not path.stem.endswith(("_worker", "_train"))]


def cells(path: Path, kind: str | None = None) -> list[dict]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if kind in (None, cell["cell_type"])]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_the_chapters_are_there():
    names = {path.stem for path in NOTEBOOKS}
    wanted = {"01_data_curation", "02_preprocessing", "03_bone_unets", "04_joint_extraction", "05_mask_rcnn",
              "06_ensemble", "07_tables", "08_ablations"}  # fmt: skip
    assert wanted <= names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_has_no_outputs(self, path):
        for cell in cells(path, "code"):
            assert cell["outputs"] == [] and cell["execution_count"] is None

    def test_has_one_parameters_cell_of_plain_scalars(self, path):
        tagged = [cell for cell in cells(path, "code") if "parameters" in cell["metadata"].get("tags", [])]
        assert len(tagged) == 1
        for statement in ast.parse(source(tagged[0])).body:
            assert isinstance(statement, ast.AnnAssign), "write `name: type = value`, so that papermill knows the type"
            assert isinstance(ast.literal_eval(statement.value), str | int | float | bool)

    def test_cells_are_short_and_define_nothing(self, path):
        total = 0
        for cell in cells(path, "code"):
            lines = [line for line in source(cell).splitlines() if line.strip()]
            total += len(lines)
            assert len(lines) <= 15, source(cell)
            for node in ast.walk(ast.parse(source(cell))):
                assert not isinstance(node, ast.ClassDef | ast.For | ast.While | ast.AsyncFunctionDef), source(cell)
                assert not isinstance(node, ast.FunctionDef) or node.end_lineno - node.lineno <= 3, source(cell)
        assert total <= 120

    def test_prose_stands_above_every_code_cell(self, path):
        previous = None
        for cell in cells(path):
            if cell["cell_type"] == "code":
                assert previous is not None and previous["cell_type"] == "markdown", source(cell)
            previous = cell

    def test_imports_are_plain(self, path):
        code = "\n".join(source(cell) for cell in cells(path, "code"))
        assert "import *" not in code and "sys.path" not in code
        assert not re.search(r"ipywidgets|tqdm\.auto", code), "widgets fetch scripts from elsewhere"

    def test_no_result_is_typed_as_a_number_in_prose(self, path):
        for cell in cells(path, "markdown"):
            for match in re.finditer(r"(Dice|MCC|accuracy)\s+(of|is|=)\s+0\.\d+", source(cell)):
                line = source(cell)[: match.end()].splitlines()[-1]
                assert re.search(r"paper|published", source(cell)), f"a number that no run computed: {line}"


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_readers_never_train(path):
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    assert not re.search(r"\btrain_\w+\(", code)
    assert "axspa_lib.stages" not in code or "import" in code


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_readers_are_told_what_they_read(path):
    """Question first; what to try, what to take along and where it comes from last."""
    text = "\n\n".join(source(cell) for cell in cells(path, "markdown"))
    assert text.count("\n# ") + text.startswith("# ") == 1
    assert "*Question.*" in source(cells(path, "markdown")[0])
    places = [text.find(part) for part in ("{admonition} What to try", "**What to take along.**", "## Provenance")]
    assert -1 not in places and places == sorted(places), "what to try, what to take along, provenance: in this order"


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_figures_are_captioned_described_and_marked(path):
    for cell in cells(path, "code"):
        shown = cell["metadata"].get("mystnb", {})
        if "figure" in shown:
            assert shown["figure"]["caption"] and shown["figure"]["name"].startswith("fig-"), source(cell)
            assert len(shown["image"]["alt"]) > 20, source(cell)
            assert re.search(r"phantom|simulated|real|published patient", shown["figure"]["caption"], re.I), source(
                cell
            )
