"""Prose makes nothing stale; code that matters does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from axspa_lib.study import identity
from axspa_lib.study.identity import code_identity, module_identity, reached_modules


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "axspa_lib"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "low.py").write_text('"""Doc."""\ndef f():\n    """Doc."""\n    return 1\n')
    (folder / "mid.py").write_text("def g():\n    from axspa_lib.low import f\n    return f()\n")
    (folder / "other.py").write_text("x = 1\n")
    monkeypatch.setattr(identity, "PACKAGE", folder)
    return folder


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "n.ipynb"
    write(path, "prose", "from axspa_lib.mid import g\ng()")
    return path


def write(path: Path, prose: str, code: str) -> None:
    cells = [{"cell_type": "markdown", "source": [prose]}, {"cell_type": "code", "source": [code]}]
    path.write_text(json.dumps({"cells": cells}))


def test_imports_are_followed_into_functions(package):
    assert reached_modules("from axspa_lib import mid") == ["axspa_lib", "axspa_lib.low", "axspa_lib.mid"]


def test_what_does_not_matter(package, notebook):
    before = code_identity(notebook)
    write(notebook, "other prose", "from axspa_lib.mid import g\n\n# a comment\ng()")
    (package / "low.py").write_text('"""Other doc."""\n\n\ndef f():\n    """Other."""\n    return 1  # comment\n')
    (package / "other.py").write_text("x = 2\n")
    assert code_identity(notebook) == before


@pytest.mark.parametrize("module", ["low", "mid"])
def test_what_matters(package, notebook, module):
    before = code_identity(notebook)
    path = package / f"{module}.py"
    path.write_text(path.read_text() + "y = 2\n")
    assert code_identity(notebook) != before


@pytest.mark.parametrize(
    ("changed", "matters"), [("part/a", True), ("part/b", True), ("part/c", False), ("low", False)]
)
def test_the_identity_of_a_module_is_that_of_its_package(package, changed, matters):
    (package / "part").mkdir()
    (package / "part" / "__init__.py").write_text("")
    (package / "part" / "a.py").write_text("from axspa_lib import low\nfrom axspa_lib.part import b\n")
    for name in ("b", "c"):
        (package / "part" / f"{name}.py").write_text("x = 1\n")
    identity_of = module_identity.__wrapped__
    before = identity_of("axspa_lib.part.a")
    path = package / f"{changed}.py"
    path.write_text(path.read_text() + "# a comment\n")
    assert identity_of("axspa_lib.part.a") == before
    path.write_text(path.read_text() + "y = 2\n")
    assert (identity_of("axspa_lib.part.a") != before) is matters


def test_code_cells_matter(package, notebook):
    before = code_identity(notebook)
    write(notebook, "prose", "from axspa_lib.mid import g\ng() + 1")
    assert code_identity(notebook) != before
