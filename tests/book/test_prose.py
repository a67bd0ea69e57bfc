"""Numbers in prose: ours are quoted from a result by name, published ones are those of `data_manifest/published/`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
ENTRIES = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
CHAPTERS = [name for name in NOTEBOOKS if f"executed/{name}" in ENTRIES]
PAGES = [entry for entry in ENTRIES if not entry.startswith("executed/")]

#: Parameters and limits, not results: the widths of the Gaussian of the paper (3.1.1) and of its authors' demo; the
#: distance in pixels within which chapter 05 calls two boxes the same.
PARAMETERS = {"0.05", "0.08", "0.01"}
QUOTED = re.compile(r"\{glue:text\}`(?:executed/(\w+)\.ipynb::)?(\w+)(?::([^`]*))?`")
GLUES = re.compile(r"\bglue\(\s*f?\"(\w+)\"")


def cells(name: str, kind: str) -> str:
    notebook = json.loads(NOTEBOOKS[name].read_text(encoding="utf-8"))
    return "\n\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind)


def prose(entry: str) -> str:
    return cells(entry, "markdown") if entry in NOTEBOOKS else (ROOT / "book" / f"{entry}.md").read_text("utf-8")


def published() -> set[str]:
    """Published figures as a text may print them: MCC as in the tables (× 100) or as a share, Dice, counts."""
    folder = ROOT / "data_manifest" / "published"
    figures = {str(value) for value in pd.read_csv(folder / "numbers.csv")["value"]}
    figures |= {f"{value:.2f}" for value in pd.read_csv(folder / "dice.csv")["dice"]}
    for number in (1, 2, 3, 4):
        table = pd.read_csv(folder / f"table{number}.csv")
        figures |= {f"{float(value) / 100:.2f}" for value in table["value"]} | {str(n) for n in table["n"].dropna()}
    return figures | {str(int(float(figure))) for figure in figures if float(figure).is_integer()}


def test_every_page_of_the_book_is_looked_at():
    assert len(CHAPTERS) >= 10 and {"intro", "tour", "model_card"} <= set(PAGES)


@pytest.mark.parametrize("entry", [*PAGES, *CHAPTERS])
def test_quoted_values_are_glued_where_they_are_quoted_from(entry):
    wrong = []
    for chapter, key, form in QUOTED.findall(prose(entry)):
        source = chapter or entry
        notebook = source if source in NOTEBOOKS else source.rpartition("_")[0]
        if key not in GLUES.findall(cells(notebook, "code")):
            wrong.append(f"{source}::{key} is glued by no cell")
        if chapter and form != "s":
            wrong.append(f"{source}::{key}: quote it as text (`:s`), which holds for `not computed` too")
        if chapter and f"executed/{chapter}" not in ENTRIES:
            wrong.append(f"{chapter} is no chapter of the book")
    assert wrong == []


@pytest.mark.parametrize("entry", [*PAGES, *CHAPTERS])
def test_figures_typed_in_prose_are_published_ones(entry):
    text = re.sub(r"`[^`]*`|\$[^$]*\$|```(?!\{).*?```", "", prose(entry), flags=re.DOTALL)
    known = published() | PARAMETERS
    typed = re.findall(r"(?<![\d.])0\.\d\d\d?(?![\d.])", text)
    typed += [number for pair in re.findall(r"\b(\d+) of (\d+)\b", text) for number in pair]
    assert [figure for figure in typed if figure not in known] == []
