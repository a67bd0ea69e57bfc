"""Executed notebooks are believed only when complete."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from axspa_lib.book.execution import NotebookError, check_executed, execute, inputs, main


def write(path: Path, *sources: str) -> Path:
    first = new_code_cell("size: int = 2", metadata={"tags": ["parameters"]})
    body = [new_code_cell(source) for source in sources]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[new_markdown_cell("# T"), first, *body], metadata={"kernelspec": spec}), path)
    return path


@pytest.fixture
def complete(tmp_path):
    executed = tmp_path / "done.ipynb"
    execute(write(tmp_path / "good.ipynb", "print(size * 21)"), executed, {"size": 3})
    return executed


def test_a_good_notebook_runs_with_its_parameters(complete):
    assert "63" in complete.read_text()
    assert check_executed(complete) == {"size": 3}
    assert "start_time" not in complete.read_text(), "times would change the file at every run"


def test_it_records_the_results_that_it_read(tmp_path, monkeypatch):
    monkeypatch.setenv("AXSPA_RUNS", str(tmp_path / "runs"))
    result = tmp_path / "runs" / "quick" / "stage" / "run.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    reading = ["from axspa_lib.study.runs import read_run, runs_root",
               "read_run(runs_root() / 'quick' / 'stage')"]  # fmt: skip
    execute(write(tmp_path / "good.ipynb", *reading), tmp_path / "done.ipynb", {})
    known = hashlib.sha256(b"{}").hexdigest()
    assert inputs(tmp_path / "done.ipynb") == {"quick/stage/run.json": known}
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "good.ipynb", "done.ipynb"}


def test_a_failing_cell_keeps_the_notebook_and_names_the_error(tmp_path):
    bad = write(tmp_path / "bad.ipynb", "from axspa_lib.study.config import load_study", "load_study('nope')")
    with pytest.raises(NotebookError, match=r"^unknown profile 'nope'"):
        execute(bad, tmp_path / "out.ipynb", {})
    (error,) = [output for cell in json.loads((tmp_path / "out.ipynb").read_text())["cells"]
                for output in cell.get("outputs", []) if output["output_type"] == "error"]  # fmt: skip
    assert error["traceback"] == [f"ConfigError: {error['evalue']}"], "one sentence where a person reads it"


def test_a_killed_kernel_is_an_error(tmp_path):
    killed = write(tmp_path / "killed.ipynb", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)", "1 + 1")
    with pytest.raises(NotebookError, match="kernel"):
        execute(killed, tmp_path / "out.ipynb", {})
    assert not (tmp_path / "out.ipynb").exists()


def test_an_unknown_parameter_is_refused(tmp_path):
    with pytest.raises(NotebookError, match=r"no parameter 'sise'.*size"):
        execute(write(tmp_path / "good.ipynb", "1"), tmp_path / "out.ipynb", {"sise": 3})


def test_the_command_line_answers_in_one_line(tmp_path, capsys):
    bad = write(tmp_path / "bad.ipynb", "from axspa_lib.study.config import load_study",
                "load_study('quick', detector__preprocessing__bias_sigma=-1)")  # fmt: skip
    assert main([str(bad), str(tmp_path / "out.ipynb"), "size=4"]) == 1
    output = capsys.readouterr().out
    assert "FAILED: parameter detector.preprocessing.bias_sigma" in output and "Traceback" not in output


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda cell: cell.update(execution_count=None), "not executed in order"),
        (lambda cell: cell.update(execution_count=7), "not executed in order"),
        (lambda cell: cell["metadata"].update(papermill={"status": "running"}), "interrupted"),
        (
            lambda cell: cell["outputs"].append(new_output("error", ename="E", evalue="v", traceback=[])),
            "ended with an error",
        ),
    ],
)
def test_incomplete_notebooks_are_refused(complete, damage, reason):
    notebook = json.loads(complete.read_text())
    damage(notebook["cells"][-1])
    complete.write_text(json.dumps(notebook))
    with pytest.raises(NotebookError, match=reason):
        check_executed(complete)


def test_a_recorded_execution_is_a_job(tmp_path):
    good = write(tmp_path / "good.ipynb", "print(size)")
    record = f"--record={tmp_path / 'job'}"
    assert main([str(good), str(tmp_path / "done.ipynb"), record, "size=4"]) == 0
    job = json.loads((tmp_path / "job" / "run.json").read_text())
    assert job["config"] == {"size": 4} and job["seconds"] > 0 and job["resources"]["peak_memory_mb"] > 10
    bad = write(tmp_path / "bad.ipynb", "1 / 0")
    assert main([str(bad), str(tmp_path / "done.ipynb"), record]) == 1
    assert not (tmp_path / "job" / "run.json").exists(), "a failed chapter is no finished job"
