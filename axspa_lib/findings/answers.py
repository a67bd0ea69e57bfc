"""What a run says about the claims of the paper, from its stored results: evidence, and answers in plain words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from axspa_lib.bones import results as bones_results
from axspa_lib.bones.dice import dice_by_patient
from axspa_lib.detector import results as detector_results
from axspa_lib.diagnosis import results as diagnosis_results
from axspa_lib.diagnosis.rules import Members
from axspa_lib.findings.claims import FAILS, HOLDS, OPEN
from axspa_lib.findings.evidence import collect
from axspa_lib.stats import Interval
from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import record_input

#: Rows of `bone_variants.yaml`: one network for both bones, and its counterpart where the study's own are continued.
SINGLE, PAIR = "single", "pair_anew"

#: Questions a clinician asks, and the claims that answer them.
QUESTIONS = {
    "Does the computer find the joints, from few outlined patients?": ("increment", "iliac_easier", "two_networks"),
    "Does it mark inflammation as the readers do?": ("half_slices", "patients"),
    "Is a vote of several networks better than one?": ("ensemble", "ensemble_other"),
    "Does it work on patients of other hospitals and scanners?": ("transfer", "transfer_loss", "preprocessing"),
    "Do the joints found by computer help, beyond those outlined by hand?": ("annotations", "annotations_other"),
}


def evidence_of(run: Run) -> dict[str, Interval]:
    """The evidence for each claim, by its key, that the results of a profile allow; what they lack is left out.

    Args:
        run: the results of a profile; without any finished stage nothing is found.
    """
    n, cohorts = run.study.diagnosis.bootstrap, run.study.cohorts
    second = cohorts[1] if len(cohorts) > 1 else None
    evaluated = _at_hand(lambda: detector_results.evaluated(run))
    own = _results(run, cohorts[0])
    other = _results(run, second) if second else {}
    return collect(
        _at_hand(lambda: run.cohort().half_slices),
        _at_hand(lambda: diagnosis_results.half_slices(run)) or None,
        opinions=_opinions(run, cohorts[0]),
        results=own,
        other_opinions=_opinions(run, second) if second and other else None,
        other_results=other,
        patients=None if evaluated is None else list(evaluated["patient"].unique()),
        only=None if evaluated is None else evaluated[evaluated["joint"]],
        dice=_pair(run),
        single_network=_dice_of_variant(run, SINGLE),
        accepted=_accepted(run),
        n=n,
        seed=run.study.seed,
    )


def answers(table: pd.DataFrame) -> pd.DataFrame:
    """Each question of `QUESTIONS` with what the paper says, and what this run shows on phantom and on real MRI.

    Args:
        table: from `tables.findings`.

    Returns:
        `question, published, phantom, public real MRI`, in words: how many of the claims hold, which do not.
    """
    rows = []
    for question, keys in QUESTIONS.items():
        part = table[table["key"].isin(keys)]
        row = {"question": question, "published": _published(part)}
        for source, title in (("phantom", "phantom"), ("public", "public real MRI")):
            row[title] = _in_words(part, f"{source}_verdict")
        rows.append(row)
    return pd.DataFrame(rows)


def verdict_counts(table: pd.DataFrame, source: str) -> dict[str, int]:
    """How many claims hold, do not, and cannot be told, on `phantom` or `public`."""
    found = table[f"{source}_verdict"].value_counts()
    return {verdict: int(found.get(verdict, 0)) for verdict in (HOLDS, FAILS, OPEN)}


def _in_words(part: pd.DataFrame, column: str) -> str:
    texts = part["claim"].str[0].str.lower() + part["claim"].str[1:]
    groups = {verdict: list(texts[part[column] == verdict]) for verdict in (HOLDS, FAILS, OPEN)}
    if len(groups[OPEN]) == len(part):
        return "cannot be told"
    openings = {HOLDS: "yes", FAILS: "no", OPEN: "cannot be told"}
    return "; ".join(f"{openings[verdict]}: {', '.join(claims)}" for verdict, claims in groups.items() if claims)


def _published(part: pd.DataFrame) -> str:
    known = int(part["published"].notna().sum())
    return f"yes, with figures for {known} of {len(part)} claims"


def _at_hand(read: Callable[[], Any]) -> Any:
    """What `read` gives, or nothing where the run has not got there."""
    try:
        return read()
    except (MissingResultError, IndexError):
        return None


def _opinions(run: Run, cohort: str) -> pd.DataFrame | None:
    """Opinions of two readers or more."""
    table = _at_hand(lambda: run.cohort(cohort).opinions)
    return table if table is not None and table["reader"].nunique() > 1 else None


def _results(run: Run, cohort: str) -> dict[str, Members]:
    found = {name: _at_hand(partial(diagnosis_results.patients, run, cohort, name)) for name in run.study.experiments}
    return {name: members for name, members in found.items() if members}


def _pair(run: Run) -> pd.DataFrame | None:
    """Dice of the two networks: of the variant made to be compared where there is one, else of the study's own."""
    variant = _dice_of_variant(run, PAIR)
    slices = _at_hand(lambda: bones_results.dice(run)) if variant is None else None
    return variant if slices is None else _by_bone(slices)


def _dice_of_variant(run: Run, name: str) -> pd.DataFrame | None:
    folder: Path = run.layout.root / "bone_variants" / name
    tables = [pd.read_csv(record_input(path), dtype={"patient": str}) for path in sorted(folder.rglob("dice.csv"))
              if (path.parent / "run.json").is_file()]  # fmt: skip
    return _by_bone(pd.concat(tables, ignore_index=True)) if tables else None


def _by_bone(slices: pd.DataFrame) -> pd.DataFrame:
    table = dice_by_patient(slices)
    return table[table["bone"].isin(["sacrum", "iliac"])]


def _accepted(run: Run) -> pd.Series | None:
    """Whether each patient that was not outlined by hand joined the annotated set."""
    table = _at_hand(lambda: bones_results.increment(run))
    if table is None:
        return None
    grown = table[table["source"] != "manual"]
    return grown.set_index("patient")["accepted"].astype(int) if len(grown) else None
