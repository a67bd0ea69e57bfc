"""Bad input at the command line: one clear sentence, a non-zero exit, no traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest


def axspa(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "axspa_lib.cli", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["study", "--profile", "fast"], "unknown profile 'fast'"),
        (["render", "--profile", "fast"], "unknown profile 'fast'"),
        (["curate", "no/such/folder", "out"], "no folder no/such/folder"),
        (["phantom", "out", "--prevalence", "1.5"], "prevalence"),
        (["phantom", "out", "--patients", "0"], "at least 1"),
        (["study", "--cores", "none"], "invalid"),
        (["dance"], "invalid choice"),
    ],
)
def test_one_sentence_and_a_non_zero_exit(tmp_path, arguments, told):
    result = axspa(*arguments)
    assert result.returncode != 0
    assert told in result.stderr and "Traceback" not in result.stderr + result.stdout
