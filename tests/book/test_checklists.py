"""The reporting checklists: no item is missing, and each answer leads somewhere or says why it does not apply."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "book"
#: Items that have parts. CLAIM 2024 has 44 items without parts, TRIPOD+AI 27 items in 52 parts.
PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
ITEMS = {
    "claim": [str(number) for number in range(1, 45)],
    "tripod_ai": [f"{number}{part}" for number in range(1, 28) for part in PARTS.get(number, [""])],
}
#: What each published item is about, in the order of the lists (doi 10.1148/ryai.240300; 10.1136/bmj-2023-078378): a
#: stem that our wording of the item must hold, so that none is skipped, doubled or moved.
ABOUT = {
    "claim": "artificial|summary|background|aims|prospective|goal|sources|inclusion|preprocessing|subsets|"
    "de-identification|missing|acquisition|obtained|reason|source of the annotations|test set|variability|assigned|"
    "disjoint|size|description|software|initial|training|selected|ensembl|measures of performance|significance|"
    "robustness|explainab|internal|external|registration|included and excluded|characteristics|all partitions|"
    "diagnostic|failure|limitations|practice|protocol|availability|funding",
    "tripod_ai": "title|abstract|context|population|inequalities|objectives|sources|dates|centres|eligibility|"
    "treatments|preparation|outcome|judge the outcome|blinding|choice|definition|predictors that need judgement|size|"
    "missing|partitioned|handling of predictors|kind of model|heterogeneity|measures|updating|computed|imbalance|"
    "fairness|output|differences|ethics|funding|conflicts|protocol|registration|data|code|public|flow|characteristics|"
    "evaluation beside|events|full model|performance|clusters|results of updating|interpretation|limits|poor|users|"
    "next",
}
LINK = re.compile(r"\{(doc|ref|numref|eq)\}`([^`]+)`")


def rows(name: str) -> list[list[str]]:
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
            if re.match(r"\| \d+[a-z]? \|", line)]  # fmt: skip


def sources() -> str:
    """Everything that may hold a target: pages and the sources of the chapters."""
    files = [*BOOK.glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_the_lists_are_as_long_as_published():
    assert len(ITEMS["claim"]) == 44 and len(ITEMS["tripod_ai"]) == 52


@pytest.mark.parametrize("name", ITEMS)
def test_no_item_is_missing(name):
    assert [row[0] for row in rows(name)] == ITEMS[name]


@pytest.mark.parametrize("name", ITEMS)
def test_each_item_asks_what_the_published_one_asks(name):
    stems = ABOUT[name].split("|")
    assert len(stems) == len(ITEMS[name])
    wrong = [(row[0], row[1], stem) for row, stem in zip(rows(name), stems, strict=True) if stem not in row[1]]
    assert wrong == []


@pytest.mark.parametrize("name", ITEMS)
def test_each_item_is_named_and_answered(name):
    for number, asked, answer in rows(name):
        assert len(asked) >= 4, number
        if answer.startswith("Not applicable"):
            assert re.match(r"Not applicable: .{20,}", answer), f"{number}: say why"
        assert LINK.search(answer), f"{number}: leads nowhere"


@pytest.mark.parametrize("name", ITEMS)
def test_each_link_has_a_target(name):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    pages = {toc["root"], *(entry["file"] for part in toc["parts"] for entry in part["chapters"])}
    text = sources()
    for number, _, answer in rows(name):
        for role, target in LINK.findall(answer):
            if role == "doc":
                assert target in pages, f"{number}: no page {target}"
            elif role == "ref":
                assert f"({target})=" in text, f"{number}: no section {target}"
            elif role == "numref":
                assert f'"name": "{target}"' in text, f"{number}: no figure {target}"
            else:
                assert f":label: {target}" in text, f"{number}: no equation {target}"
