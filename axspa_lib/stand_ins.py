"""A page in place of a chapter that no run has executed: its prose, empty figures, and a sentence how to get the rest.

Other pages quote numbers of a chapter and refer to its figures and equations. So that a book can be rendered before the
run on real scans has ended (or without it), the chapter's own notebook is shown unexecuted: every target exists, every
number reads *not computed*, every figure is an empty frame that says so, and the page tells at its top what to run.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from axspa_lib.runs import write_text

ABSENT = "not computed"

_GLUED = re.compile(r"\{glue:text\}`(\w+)(?::[^`]*)?`")
_QUOTED = re.compile(r"executed/(\w+)\.ipynb::(\w+)")
_PROFILE = re.compile(r"^profile: str = \"(\w+)\"", re.MULTILINE)


def profile_of(notebook: Path) -> str:
    """The profile that a chapter belongs to, the default of its parameter.

    Raises:
        ValueError: the notebook has no parameter `profile`.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if found := _PROFILE.search("".join(cell["source"])):
            return found[1]
    raise ValueError(f"{notebook.name} has no parameter profile")


def quoted(pages: Iterable[Path]) -> dict[str, set[str]]:
    """Glued values that pages quote from chapters, as chapter → keys."""
    found: dict[str, set[str]] = {}
    for page in pages:
        for chapter, key in _QUOTED.findall(page.read_text(encoding="utf-8")):
            found.setdefault(chapter, set()).add(key)
    return found


def stand_in(source: Path, target: Path, profile: str, keys: Iterable[str]) -> None:
    """Write the page of a chapter that was never executed.

    Args:
        source: the chapter's notebook, without outputs.
        target: the page, a notebook.
        profile: whose run would execute it.
        keys: glued values that other pages quote from it.
    """
    notebook = json.loads(source.read_text(encoding="utf-8"))
    told = (
        f"```{{admonition}} This chapter was not executed\n:class: warning\nNeither this machine nor the repository "
        f"holds it executed: its text is shown without figures and numbers. `make book PROFILE={profile}` computes "
        "them.\n```"
    )
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _GLUED.sub(f"*{ABSENT}*", "".join(cell["source"]))
        else:
            figure = cell["metadata"].get("mystnb", {}).get("figure")
            cell["outputs"] = [_output({"image/png": base64.b64encode(empty_frame()).decode()})] if figure else []
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    first["outputs"] = [_glue(key) for key in sorted(keys)]
    notebook["cells"].insert(1, {"cell_type": "markdown", "id": "stand-in", "metadata": {}, "source": told})
    write_text(target, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


@cache
def empty_frame() -> bytes:
    """A PNG of an empty frame that says that nothing was drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 2), dpi=72)
    FigureCanvasAgg(figure)
    figure.text(0.5, 0.5, "not drawn: this chapter was not executed", ha="center", va="center", color="0.35")
    figure.patch.set(edgecolor="0.6", linewidth=2)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _output(data: dict[str, str], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"output_type": "display_data", "data": data, "metadata": metadata or {}}


def _glue(key: str) -> dict[str, Any]:
    prefix = "application/papermill.record/"
    return _output({f"{prefix}text/plain": repr(ABSENT)}, {"scrapbook": {"mime_prefix": prefix, "name": key}})
