"""A result counts only with its `run.json`, which is written last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from axspa_lib.study.errors import MissingResultError
from axspa_lib.study.runs import provenance, read_run, record_stage, sha256, write_json, write_text


def test_a_failed_stage_leaves_no_record(tmp_path):
    with pytest.raises(ZeroDivisionError), record_stage(tmp_path / "stage", {"a": 1}):
        raise ZeroDivisionError
    with pytest.raises(MissingResultError, match="make book"):
        read_run(tmp_path / "stage")


def test_a_repeated_stage_is_unfinished_until_it_ends(tmp_path):
    with record_stage(tmp_path, {}):
        pass
    with record_stage(tmp_path, {}):
        assert not (tmp_path / "run.json").exists()
    assert read_run(tmp_path)["metrics"] == {}


def test_the_record_holds_what_is_needed_to_repeat(tmp_path):
    source = tmp_path / "input.csv"
    source.write_text("a\n1\n")
    with record_stage(tmp_path / "stage", {"sigma": 0.05}, inputs=[source]) as record:
        record["metrics"]["dice"] = 0.9
    stored = read_run(tmp_path / "stage")
    assert stored["config"] == {"sigma": 0.05} and stored["metrics"] == {"dice": 0.9}
    assert stored["inputs"] == {"input.csv": sha256(source)}
    assert stored["provenance"]["versions"]["numpy"]


def test_the_record_says_what_was_used(tmp_path):
    """Against what a fresh process is known to use: 300 MB written and half a second of arithmetic."""
    code = (
        "import sys, time; from pathlib import Path; from axspa_lib.study.runs import record_stage\n"
        "with record_stage(Path(sys.argv[1]), {}):\n"
        "    block, end = bytearray(b'1') * 300_000_000, time.process_time() + 0.5\n"
        "    while time.process_time() < end: pass\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=os.environ | {"OMP_NUM_THREADS": "3"})
    used = read_run(tmp_path)["resources"]
    assert 300 < used["peak_memory_mb"] < 500 and 0.5 <= used["cpu_seconds"] < 5 and used["threads"] == 3


def test_provenance_names_no_person_and_no_place():
    text = json.dumps(provenance())
    assert str(Path.home()) not in text and "/" not in text.replace("https://", "").replace("AMD/", "")


def test_writing_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"x": 1})
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == {"x": 1}
    write_text(path, "new")
    assert [each.name for each in path.parent.iterdir()] == ["b.json"]
