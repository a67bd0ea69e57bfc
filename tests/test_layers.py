"""Arrows between modules point one way, importing stays cheap, and nothing is called utils."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import axspa_lib
from axspa_lib.study.identity import imported

PACKAGE = Path(axspa_lib.__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: Packages from the ground up; a package imports only from those before it.
PACKAGES = ["study", "stats", "networks", "phantom", "curation", "preprocessing", "bones", "joint", "detector",
            "diagnosis", "tables", "real_mri", "realism", "findings", "book", "cli"]  # fmt: skip
LEVEL = {name: level for level, name in enumerate(PACKAGES)}
HEAVY = ("torch", "matplotlib", "cv2", "SimpleITK", "sklearn", "skimage", "papermill", "pandas")


def unit(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def graph() -> dict[str, set[str]]:
    packages = {name for name in MODULES if MODULES[name].name == "__init__.py"}
    edges = {}
    for name, path in MODULES.items():
        edges[name] = {other for other in imported(ast.parse(path.read_text())) if other != name} - packages
    return edges


def test_every_module_has_a_layer():
    missing = sorted({unit(name) for name in MODULES} - LEVEL.keys() - {""})
    assert not missing, f"give these modules a layer in tests/test_layers.py: {missing}"


def test_imports_point_down():
    wrong = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in others
        if unit(name) and unit(other) and LEVEL[unit(name)] < LEVEL[unit(other)]
    ]
    assert not wrong, wrong


def test_no_circles():
    edges = graph()
    state: dict[str, int] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert state.get(name) != 1, f"circle: {' -> '.join((*trail, name))}"
        if name not in state:
            state[name] = 1
            for other in edges[name]:
                visit(other, (*trail, name))
            state[name] = 2

    for name in edges:
        visit(name, ())


def test_no_module_is_called_utils():
    assert not [name for name in MODULES if "util" in name or "helper" in name]


@pytest.mark.parametrize(
    "module", ["axspa_lib.study.config", "axspa_lib.cli", "axspa_lib.study.layout", "axspa_lib.book.workflow"]
)
def test_importing_stays_cheap(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
