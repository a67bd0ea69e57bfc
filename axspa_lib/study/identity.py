"""Identify the code a notebook's result depends on: its cells and the modules it imports.

Prose, docstrings, comments and formatting do not count, so editing them makes nothing stale; a module that the
notebook does not reach does not count either, so a changed figure retrains nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def code_identity(notebook: Path) -> str:
    """Return the SHA-256 over a notebook's code and every `axspa_lib` module it reaches.

    Args:
        notebook: an `.ipynb` file.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    parts = [_normal(ast.parse(source))]
    for module in reached_modules(source):
        parts.append(f"{module}\n{_code(module)}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def module_identity(module: str) -> str:
    """Return the SHA-256 over a module and those of its own package that it reaches.

    Args:
        module: dotted name, e.g. `axspa_lib.phantom.cohort`.
    """
    package = module.rpartition(".")[0]
    within = [name for name in reached_modules(f"import {module}") if name.startswith(f"{package}.")]
    return hashlib.sha256("\n".join(f"{name}\n{_code(name)}" for name in within).encode()).hexdigest()


def reached_modules(source: str) -> list[str]:
    """Return the names of the `axspa_lib` modules that `source` reaches by import, directly or not, sorted.

    >>> "axspa_lib.study.errors" in reached_modules("from axspa_lib.study import config")
    True
    """
    found: set[str] = set()
    queue = sorted(imported(ast.parse(source)))
    while queue:
        module = queue.pop()
        if module not in found:
            found.add(module)
            queue += sorted(_imports(module) - found)
    return sorted(found)


def imported(tree: ast.AST) -> set[str]:
    """`axspa_lib` modules named by the import statements of a tree, function-level ones included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    own = {name for name in names if name.split(".")[0] == PACKAGE.name}
    parents = {".".join(name.split(".")[:depth]) for name in own for depth in range(1, name.count(".") + 2)}
    return {name for name in parents if _file(name) is not None}


def _file(module: str) -> Path | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _code(module: str) -> str:
    return _parsed(_text(module))[0]


def _imports(module: str) -> frozenset[str]:
    return _parsed(_text(module))[1]


@cache
def _parsed(text: str) -> tuple[str, frozenset[str]]:
    """Return the normal form and imports of a module's text: many notebooks reach the same modules."""
    tree = ast.parse(text)
    imports = frozenset(imported(tree))
    return _normal(tree), imports


def _text(module: str) -> str:
    path = _file(module)
    assert path is not None, module
    return path.read_text(encoding="utf-8")


def _normal(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(
                first.value.value, str
            ):  # fmt: skip
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
