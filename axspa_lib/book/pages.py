"""Prepare executed chapters for the book: marks, warnings, pictures for other pages."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

from axspa_lib.book.execution import check_executed
from axspa_lib.study.labels import MARKS
from axspa_lib.study.results import Run
from axspa_lib.study.runs import write_text


def mark_tables(path: Path) -> None:
    """Write below every table of an executed chapter whether it holds phantom or real data, as figures do themselves.

    Cells tagged `mixed` hold both, those tagged `simulated` the phantom alone. Those tagged `unmarked` (parameters,
    published figures) and the provenance (`remove-input`) are left as they are.
    """
    notebook = _read(path)
    whole = Run(check_executed(path).get("profile", "quick")).kind
    for cell in notebook["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        if {"unmarked", "remove-input"} & tags:
            continue
        text = MARKS["both" if "mixed" in tags else "phantom" if "simulated" in tags else whole]
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            html = "".join(data.get("text/html", ""))
            if "<table" in html:
                data["text/html"] = f'{html}<p class="mark-of-data">{text}</p>'
    _write(path, notebook)


def extract_figures(path: Path, folder: Path) -> None:
    """Write the named figures of an executed chapter as `<name>.png`, for the pages that show them once more."""
    folder.mkdir(exist_ok=True)
    for cell in _read(path)["cells"]:
        name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        pictures = [
            output["data"]["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
        ]
        if name and pictures:
            (folder / f"{name}.png").write_bytes(base64.b64decode("".join(pictures[-1])))


def distinguish(path: Path, profile: str) -> None:
    """Name the profile in title and figures of a page whose notebook the book shows for two runs."""
    notebook = _read(path)
    figures = [cell["metadata"].get("mystnb", {}).get("figure", {}) for cell in notebook["cells"]]
    names = [figure["name"] for figure in figures if "name" in figure]
    for figure in figures:
        if "name" in figure:
            figure["name"] += f"-{profile}"
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            text = "".join(cell["source"])
            for name in names:
                text = text.replace(f"{{numref}}`{name}`", f"{{numref}}`{name}-{profile}`")
            cell["source"] = text
    head = notebook["cells"][0]
    head["source"] = re.sub(r"^# (.+)$", rf"# \1: profile `{profile}`", head["source"], count=1, flags=re.MULTILINE)
    _write(path, notebook)


def warn(path: Path, text: str) -> None:
    """Warn at the top of an executed chapter that it does not belong to the stored results."""
    notebook = _read(path)
    text = f"```{{admonition}} Not computed from the results of this book\n:class: warning\n{text}\n```"
    notebook["cells"].insert(1, {"cell_type": "markdown", "id": "warning", "metadata": {}, "source": text})
    _write(path, notebook)


def _read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return notebook


def _write(path: Path, notebook: dict[str, Any]) -> None:
    write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
