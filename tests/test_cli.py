"""Bad input at the command line: one clear sentence, a non-zero exit, no traceback."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pandas as pd
import pytest

from axspa_lib import cli


def axspa(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "axspa_lib.cli", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["study", "--profile", "fast"], "unknown profile 'fast'"),
        (["render", "--profile", "fast"], "unknown profile 'fast'"),
        (["curate", "no/such/folder", "out"], "no folder no/such/folder"),
        (["curate", ".", "./below"], "lie in each other"),
        (["download", "vhj", "out"], "no public collection is called 'vhj': choose one of vhi"),
        (["download", "vhi", "out", "--mirror", "no/such"], "the mirror no/such is not a folder"),
        (["phantom", "out", "--prevalence", "1.5"], "prevalence"),
        (["phantom", "out", "--patients", "0"], "at least 1"),
        (["phantom", "out", "--follow-up", "-1"], "cannot be negative"),
        (["phantom", "out", "--progression", "0.2"], "give --follow-up too"),
        (["study", "--cores", "none"], "invalid"),
        (["dance"], "invalid choice"),
    ],
)
def test_one_sentence_and_a_non_zero_exit(tmp_path, arguments, told):
    result = axspa(*arguments)
    assert result.returncode != 0
    assert told in result.stderr and "Traceback" not in result.stderr + result.stdout


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """A phantom export curated from the command line, with one patient whose STIR is gone."""
    folder = tmp_path_factory.mktemp("command line")
    assert axspa("phantom", str(folder / "lab"), "--patients", "3", "--workers", "1").returncode == 0
    for file in (folder / "lab" / "D0002" / "STIR").iterdir():
        file.unlink()
    command = ("curate", str(folder / "lab"), str(folder / "out"), "--workers", "1", "--keep-disagreement")
    return folder, axspa(*command), command


def test_curation_ends_with_what_was_included_and_where_the_report_lies(curated):
    folder, result, _ = curated
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "100%" in result.stderr  # the progress bar, apart from the answer
    statuses = pd.read_csv(folder / "out" / "participants.csv").set_index("patient")["status"]
    included = int((statuses == "included").sum())
    assert result.stdout.startswith(f"{included} of 3 patients included in ") and statuses["D0002"] == "excluded"
    assert "1 left out: T1 or STIR not usable" in result.stdout
    assert (folder / "out" / "exclusions.csv").is_file() and str(folder / "out" / "exclusions.csv") in result.stdout


def test_tables_that_were_not_found_are_named(curated):
    """A spreadsheet saved as opinions.xlsx would otherwise switch the inclusion criterion off without a word."""
    folder, result, command = curated
    assert "were found" not in result.stdout
    (folder / "lab" / "opinions.csv").rename(folder / "lab" / "opinions.xlsx")
    without = axspa(*command)
    (folder / "lab" / "opinions.xlsx").rename(folder / "lab" / "opinions.csv")
    assert without.returncode == 0 and "no opinions were found: nobody is left out for disagreement" in without.stdout
    assert "no readings were found" not in without.stdout


def test_refinement_is_asked_for_and_is_in_the_report(curated):
    folder, _, command = curated
    result = axspa(*command[:2], str(folder / "refined"), *command[3:], "--refine")
    assert result.returncode == 0
    assert "mutual information" in (folder / "refined" / "participants.csv").read_text()
    assert "mutual information" not in (folder / "out" / "participants.csv").read_text()


def test_a_dry_run_counts_and_writes_nothing(curated):
    folder, _, command = curated
    result = axspa(*command[:2], str(folder / "nothing"), *command[3:], "--dry-run")
    assert result.returncode == 0 and "excluded: {'images': 1" in result.stdout and not (folder / "nothing").exists()


def test_a_collection_comes_from_a_mirror_and_says_what_is_missing(tmp_path, real_data):
    if not (real_data / "iaxspa-demo").is_dir():
        pytest.skip("iaxspa-demo is not there")
    (tmp_path / "mirror" / "iaxspa-demo").mkdir(parents=True)
    files = sorted((real_data / "iaxspa-demo").rglob("I*"))
    for file in files[:-1]:
        target = tmp_path / "mirror" / file.relative_to(real_data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    result = axspa("download", "iaxspa-demo", str(tmp_path / "got"), "--mirror", str(tmp_path / "mirror"))
    assert result.returncode == 0 and "1 missing" in result.stdout and "not in the mirror" in result.stdout
    assert len(list((tmp_path / "got").rglob("I*"))) == len(files) - 1


def test_every_argument_of_every_command_says_what_it_is():
    parser = cli._parser()
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    silent = [(name, each.dest) for name, one in commands.choices.items() for each in one._actions if not each.help]
    assert len(commands.choices) >= 6 and not silent
    for one in commands.choices.values():
        assert "%(" not in one.format_help()
