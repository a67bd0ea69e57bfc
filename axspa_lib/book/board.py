"""Show how far a study and its running jobs are, from Snakemake's log and the jobs' reports."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from axspa_lib.study.jobs import duration
from axspa_lib.study.progress import read_progress

_RULE = re.compile(r"^(?:local)?rule \w+:")
_FIELD = re.compile(r"^    (output|log|jobid): (.*)$")
_FINISHED = re.compile(r"^Finished jobid: (\d+)")
_FAILED = re.compile(r"^Error in (?:rule|group) \w+")
_STEPS = re.compile(r"^(\d+) of (\d+) steps")


@dataclass
class Running:
    """A job at work: its name, where its report lies, and when it started."""

    name: str
    report: Path
    started: float


@dataclass
class Board:
    """Follow running jobs, steps left and time left.

    Attributes:
        root: the profile's results.
        costs: estimated seconds of every job to run, by name; jobs of which nothing is known are missing.
        cores: cores that jobs share.
        out: a terminal is redrawn every second; a pipe gets a line a minute.
    """

    root: Path
    costs: Mapping[str, float]
    cores: int
    out: TextIO = field(default_factory=lambda: sys.stdout)
    running: dict[str, Running] = field(default_factory=dict)
    finished: set[str] = field(default_factory=set)
    steps: tuple[int, int] | None = None
    _block: dict[str, str] = field(default_factory=dict)
    _drawn: int = 0
    _last: float = field(default_factory=time.monotonic)

    def read(self, line: str) -> None:
        """Take in a line of Snakemake's log."""
        if _RULE.match(line) or _FAILED.match(line):
            self._block = {"failed": ""} if _FAILED.match(line) else {}
        elif match := _FIELD.match(line):
            self._block[match[1]] = match[2].split(", ")[0].split(" (")[0].strip()
            if match[1] == "jobid" and "failed" in self._block:
                self.running.pop(self._block["jobid"], None)
            elif match[1] == "jobid" and {"output", "log"} <= self._block.keys():
                name = job_name(Path(self._block["output"]), self.root)
                report = Path(self._block["log"]).with_suffix(".progress")
                self.running[self._block["jobid"]] = Running(name, report, time.monotonic())
        elif match := _FINISHED.match(line):
            job = self.running.pop(match[1], None)
            self.finished |= {job.name} if job else set()
        elif match := _STEPS.match(line):
            self.steps = int(match[1]), int(match[2])

    def lines(self) -> list[str]:
        """Return a line for each running job, and one for the whole study."""
        rows, left = [], sum(seconds for name, seconds in self.costs.items() if name not in self.finished)
        for job in self.running.values():
            share, rest = read_progress(job.report)
            cost, taken = self.costs.get(job.name), time.monotonic() - job.started
            if rest is None and cost is not None:
                rest = max(cost - taken, 0.0)
                share = min(taken / cost, 0.99) if cost else 0.0
            if cost is not None:
                left += (rest or 0.0) - cost
            told = f"{share:4.0%}, {duration(rest)} left" if rest is not None else f"running for {duration(taken)}"
            rows.append(f"{job.name}: {told}")
        steps = f"{self.steps[0]} of {self.steps[1]} steps done" if self.steps else "no step done yet"
        unknown = "" if self.costs else "; nothing tells how long it takes"
        return [*rows, f"{steps}, about {duration(max(left, 0.0) / self.cores)} left{unknown}"]

    def show(self) -> None:
        """Redraw a terminal after a second, or write to a pipe after a minute."""
        terminal = self.out.isatty()
        if time.monotonic() - self._last < (1 if terminal else 60):
            return
        self._last = time.monotonic()
        rows = self.lines()
        if terminal:
            self.clear()
            print("\n".join(rows), file=self.out, flush=True)
            self._drawn = len(rows)
        else:
            print(f"== {rows[-1]}; {'; '.join(rows[:-1])}", file=self.out, flush=True)

    def say(self, line: str) -> None:
        """Write a line that stays, above what is redrawn."""
        self.clear()
        print(line, file=self.out, flush=True)

    def clear(self) -> None:
        """Take away what was drawn on a terminal."""
        if self._drawn:
            print(f"\x1b[{self._drawn}F\x1b[J", end="", file=self.out)
            self._drawn = 0


def job_name(output: Path, root: Path) -> str:
    """Return the name of the job that makes a file of a profile."""
    name = output.relative_to(root)
    return f"chapters/{name.stem}" if name.suffix == ".ipynb" else name.parent.as_posix()
