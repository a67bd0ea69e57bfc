"""What a page may ask of the stored results."""

import pytest

from axspa_lib.study.errors import ConfigError
from axspa_lib.study.results import Run
from axspa_lib.study.runs import write_json


def test_stored_results_are_read_where_there_is_no_own_run(tmp_path, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("AXSPA_STORED", str(tmp_path / "stored"))
    assert Run("public").layout.root == tmp_path / "runs" / "public", "whose error says what to run"
    (tmp_path / "stored" / "public").mkdir(parents=True)
    assert Run("public").layout.root == tmp_path / "stored" / "public"
    write_json(tmp_path / "runs" / "public" / "cohorts" / "vhi" / "run.json", {})
    assert Run("public").layout.root == tmp_path / "runs" / "public"


@pytest.mark.parametrize("score", [-0.1, 7.0, float("nan")])
def test_a_threshold_that_is_no_score_is_refused_by_name(score):
    with pytest.raises(ConfigError, match="parameter score_threshold: a score lies from 0 to 1"):
        Run("quick", score)
