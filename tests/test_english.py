"""Docstrings and pages read as English: an imperative first, short sentences, none of the habits listed here."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MODULES = sorted((REPOSITORY / "axspa_lib").rglob("*.py"))
PAGES = [
    *sorted((REPOSITORY / "book").glob("*.md")),
    *sorted((REPOSITORY / "notebooks").glob("*.ipynb")),
    *(REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/log.md")),
]
#: Longest first sentence of a docstring, in words.
LONGEST = 20
#: First words of functions' docstrings that are not imperatives.
NO_VERB = re.compile(
    r"(?:The|A|An|All|Each|Every|Both|One|Two|What|Where|Who|Whom|Whether|How|When|Which|By|As|Its?|This|That|These|Those|"
    r"Rows?|Keys|Names|Mean|Median|Mask|Masks|Matrix|Matrices|Slices|Patients?|Points|Numbers?|Counts|Kind|Angle|Depth|"
    r"Factor|Fat|Small|First|Largest|Distance|Noise|Half|Signed|Index|Columns?|Files|Folders|Pixels)\b(?! \()"
)
#: Habits that read as if translated, and what is wrong with them.
HABITS = {
    r"\banew\b": "write 'again' or 'from scratch'",
    r"\b(?:are|is) meant\b": "say what is expected",
    r"^The same (?:of|as|for|with)\b": "say it again, so that it can be read alone",
    r"\A(?:What|How|Whom|Whether) ": "name the thing, or begin with a verb",
    r"\bbeside it\b\.?$": "say what stands there",
    r"\bwhoever\b": "name the person",
    r"\bof whom\b": "start a new sentence",
    r"\btold apart\b|\btells? .{1,30} apart\b": "write 'distinguish'",
    r"\bas far as there (?:are|is)\b": "write 'up to'",
    r"\bwhat is told\b|\bis told (?:of|by)\b": "write 'report' or 'show'",
    r"\bhad stood in for\b": "write 'had been imitating'",
    r"\bmap of the house\b": "write 'guide'",
    r"\bcarries on\b": "write 'contributes' or 'continues'",
}


def docstrings(path: Path) -> Iterator[tuple[str, ast.AST, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield getattr(node, "name", "module"), node, text


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[.:;!?])\s", text.split("\n\n")[0].replace("\n", " "))[0]


def faults(text: str) -> list[str]:
    return [
        f"{found[0]!r}: {advice}" for habit, advice in HABITS.items() if (found := re.search(habit, text, re.M | re.I))
    ]


def prose(path: Path) -> str:
    if path.suffix != ".ipynb":
        return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def is_property(node: ast.AST) -> bool:
    names = {getattr(mark, "id", getattr(mark, "attr", "")) for mark in getattr(node, "decorator_list", [])}
    return bool(names & {"property", "cached_property"})


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_docstrings_read_alone(path):
    wrong = []
    for name, node, text in docstrings(path):
        sentence = first_sentence(text)
        if (words := len(sentence.split())) > LONGEST:
            wrong.append(f"{name}: the first sentence has {words} words, at most {LONGEST} are allowed")
        public = isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not is_property(node)
        if public and NO_VERB.match(sentence):
            wrong.append(f"{name}: begin with an imperative verb: {sentence}")
        wrong += [f"{name}: {fault}" for fault in faults(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_read_as_english(path):
    assert not faults(prose(path))


def test_the_guide_is_short():
    assert len((REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 250


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("The same of one row of `bone_variants.yaml`.", "say it again"),
        ("Two positive lengths are meant.", "say what is expected"),
        ("`count` from there on, as far as there are.", "up to"),
        ("half the noise on STIR, which had stood in for texture", "imitating"),
    ],
)
def test_the_habits_are_found(text, fault):
    assert any(fault in found for found in faults(text))
    assert not faults("Return held-out Dice for one bone-network variant.")
