"""A chapter's parameters as choices: plain scalars, of which 0 and "" are the study's own values."""

from __future__ import annotations

import pandas as pd
import pytest

from axspa_lib.diagnosis.results import choices, format_diagnoses
from axspa_lib.diagnosis.votes import ensemble_vote
from axspa_lib.study.config import load_study
from axspa_lib.study.errors import ConfigError


def test_nothing_set_is_the_study():
    study = load_study("quick")
    found = choices(study)
    assert found.score_threshold == study.detector.score_threshold and found.n_boot == study.diagnosis.bootstrap
    assert found.min_positive == study.diagnosis.min_positive and found.members == ()
    assert (found.vote_tie, found.consensus_tie, found.count_failures) == (0, 1, True)


def test_what_is_set_is_taken():
    found = choices(
        load_study("quick"), score_threshold=0.5, rule=3, members="0, 2", vote_tie="positive",
        consensus_tie="negative", failures="forgiven", n_boot=50,
    )  # fmt: skip
    assert (found.score_threshold, found.min_positive, found.members, found.n_boot) == (0.5, 3, (0, 2), 50)
    assert (found.vote_tie, found.consensus_tie, found.count_failures) == (1, 0, False)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"score_threshold": 7}, "parameter score_threshold: a score lies from 0 to 1"),
        ({"rule": -1}, "parameter rule: give 1 or more"),
        ({"n_boot": -5}, "parameter n_boot: give 1 or more"),
        ({"members": "0;1"}, "parameter members: give seeds separated by commas"),
        ({"vote_tie": "maybe"}, "parameter vote_tie: choose one of negative, positive"),
        ({"failures": "right"}, "parameter failures: choose one of wrong, forgiven"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong, message):
    with pytest.raises(ConfigError, match=message):
        choices(load_study("quick"), **wrong)


def test_diagnoses_as_text():
    table = pd.DataFrame({"patient": ["a", "b"], "positive_rois": [2, 0], "positive": [1, 0], "score": [0.9, 0.1]})
    vote = ensemble_vote({0: table, 1: table.assign(score=[0.8, 0.2], positive=[1, 1])})
    opinions = pd.DataFrame([("a", "1", 1), ("a", "2", 0), ("b", "1", 0), ("b", "2", 0)],
                            columns=["patient", "reader", "asas_positive"])  # fmt: skip
    found = format_diagnoses(vote, opinions)
    assert found["vote: positive"].tolist() == ["yes", "no"] and found["readers: positive"].tolist() == ["yes", "no"]
    assert found["members who say positive"].tolist() == ["100 %", "50 %"]
    assert format_diagnoses(vote, opinions, consensus_tie=0)["readers: positive"].tolist() == ["no", "no"]
    assert len(format_diagnoses(vote, opinions, count=1)) == 1
