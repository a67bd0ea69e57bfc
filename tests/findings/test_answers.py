"""What a run says about the claims: from stored results as the stages write them, also when parts are missing."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from axspa_lib.findings import claims
from axspa_lib.findings.answers import QUESTIONS, answers, verdict_counts
from axspa_lib.findings.claims import CLAIMS
from axspa_lib.findings.evidence import evidence_of
from axspa_lib.stats import Interval
from axspa_lib.study import results


def finished(folder, **tables_):
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables_.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "run.json").write_text(json.dumps({"seconds": 1}))


def dice(values):
    """Rows of `dice_by_slice`, one slice a patient, of the Dice given (counts of 100 pixels)."""
    rows = [(patient, 0, bone, round(50 * v), 100 - 2 * round(50 * v), 0) for patient, pair in values.items()
            for bone, v in zip(("sacrum", "iliac"), pair, strict=True)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["patient", "slice", "bone", "tp", "fp", "fn"])
    return table.assign(dice=2 * table["tp"] / (2 * table["tp"] + table["fp"] + table["fn"]))


@pytest.fixture
def bones_only(tmp_path, monkeypatch):
    """A public run that has bones and the increment, and two folds of the variants, but no detector."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    root = tmp_path / "public"
    finished(root / "cohorts" / "vhi")
    for fold, values in enumerate(({"a": (0.8, 0.9)}, {"b": (0.6, 0.9)})):
        finished(root / "bone_variants" / "pair_anew" / f"fold-{fold}", dice=dice(values))
        finished(root / "bone_variants" / "single" / f"fold-{fold}", dice=dice({p: (0.5, 0.8) for p in values}))
    return results.Run("public")


def test_bones_alone_decide_what_they_can(bones_only):
    found = evidence_of(bones_only)
    assert set(found) == {"iliac_easier", "two_networks"}
    assert found["iliac_easier"].value == pytest.approx((10 + 30) / 2) and found["iliac_easier"].patients == 2
    assert found["two_networks"].value == pytest.approx(100 * ((0.85 + 0.75) / 2 - 0.65))


def test_an_unfinished_variant_does_not_count(bones_only):
    (bones_only.layout.root / "bone_variants" / "single" / "fold-0" / "run.json").unlink()
    assert evidence_of(bones_only)["two_networks"].patients == 1


def test_no_run_is_no_evidence_and_every_verdict_is_open(tmp_path, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path))
    found = claims.findings(evidence_of(results.Run("public")))
    assert verdict_counts(found, "phantom") == {"holds": 0, "does not": 0, "cannot be told": len(CLAIMS)}
    assert set(answers(found)["phantom"]) == {"cannot be told"}


def test_only_the_experiments_of_the_profile_are_asked_for(tmp_path, monkeypatch):
    """Rows of the experiment table that a profile cannot run, as those that start from a pre-training, ask nothing."""
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path))
    finished(tmp_path / "quick" / "cohorts" / "phantom-desir")
    assert evidence_of(results.Run("quick")) == {}


def test_every_claim_answers_a_question_once():
    asked = [key for keys in QUESTIONS.values() for key in keys]
    assert sorted(asked) == sorted(claim.key for claim in CLAIMS)


def test_answers_are_the_verdicts_in_words():
    found = claims.findings({"increment": Interval(95, 90, 99, 9, 9), "iliac_easier": Interval(-5, -9, -1, 9, 9)})
    (answer,) = answers(found).query("question.str.contains('find the joints')")["phantom"]
    assert answer.startswith("yes: the increment grows") and "no: the iliac bone" in answer
    assert "cannot be told: two independent" in answer
    text = claims.format_findings(found).set_index(found["key"])
    assert text.loc["increment", "phantom"] == "95.0 [90.0, 99.0]" and text.loc["increment", "published"] == "86.5"
    assert text.loc["iliac_easier", "phantom"] == "-5.0 [-9.0, -1.0]" and np.isnan(
        found.set_index("key").public.increment
    )
