"""Progress of a study, from a fake log and fake reports."""

from __future__ import annotations

import io
import json
import time

import pytest

from axspa_lib.book.board import Board
from axspa_lib.study.progress import Progress, read_progress


def block(root, number: int, job: str) -> list[str]:
    return [
        "localrule train_detector:",
        "    input: a, b",
        f"    output: {root / job / 'run.json'}, {root / job / 'x'}",
        f"    log: {root / job / 'worker.ipynb'}",
        f"    jobid: {number}",
    ]


@pytest.fixture
def board(tmp_path):
    """Two trainings of 100 s each are at work, one of them half-way; a third waits."""
    costs = {f"detector/all_included/seed-{seed}": 100.0 for seed in range(3)}
    board = Board(tmp_path, costs, cores=2, out=io.StringIO())
    for seed in range(2):
        job = f"detector/all_included/seed-{seed}"
        (tmp_path / job).mkdir(parents=True)
        for line in block(tmp_path, 7 + seed, job):
            board.read(line)
    report = {"share": 0.5, "left": 40.0}
    (tmp_path / "detector" / "all_included" / "seed-0" / "worker.progress").write_text(json.dumps(report))
    board.read("3 of 9 steps (33%) done")
    return board


def test_every_running_job_has_its_share_and_time_left(board):
    assert board.lines() == [
        "detector/all_included/seed-0:  50%, 40 s left",
        "detector/all_included/seed-1:   0%, 1.7 min left",
        "3 of 9 steps done, about 2.0 min left",
    ]  # (40 + 100 + 100) s on two cores


def test_a_finished_or_failed_job_is_no_longer_shown(board):
    board.read("Finished jobid: 7 (Rule: train_detector)")
    assert [line.split(":")[0] for line in board.lines()[:-1]] == ["detector/all_included/seed-1"]
    for line in ("Error in rule train_detector:", "    message: None", "    jobid: 8"):
        board.read(line)
    assert board.lines() == ["3 of 9 steps done, about 1.7 min left"], "the failed training is still to be done"


def test_a_job_of_which_nothing_is_known_shows_how_long_it_runs(tmp_path):
    board = Board(tmp_path, {}, cores=1, out=io.StringIO())
    for line in block(tmp_path, 1, "measures"):
        board.read(line)
    running, study = board.lines()
    assert running == "measures: running for 0 s" and study.endswith("; nothing tells how long it takes")


def test_a_pipe_gets_a_line_a_minute_and_a_terminal_is_redrawn(board, monkeypatch):
    clock = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    board.show()
    assert board.out.getvalue() == ""
    clock += 61
    board.show()
    board.show()
    (line,) = board.out.getvalue().splitlines()
    assert line.startswith("== 3 of 9 steps done") and "seed-0:  50%, 40 s left" in line
    board.out.isatty = lambda: True
    clock += 2
    board.show()
    board.say("== something happened")
    assert board.out.getvalue().endswith("\x1b[3F\x1b[J== something happened\n")


def test_a_bar_reports_though_nobody_sees_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AXSPA_PROGRESS", str(tmp_path / "job.progress"))
    assert read_progress(tmp_path / "job.progress") == (0.0, None)
    with Progress(total=4, initial=1, disable=True) as bar:
        time.sleep(0.02)
        bar.update(2)
        bar.refresh()
        share, left = read_progress(tmp_path / "job.progress")
    assert share == 0.75 and left is not None and 0 < left < 1
    assert list(Progress(range(3), disable=True)) == [0, 1, 2]
    assert read_progress(tmp_path / "job.progress")[0] == 1.0
    assert capsys.readouterr().err == ""
