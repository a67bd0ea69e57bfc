"""Measures two ways to do the same work, taking turns on one thread, and what the ratio of their times is."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from axspa_lib.study.runs import provenance

#: Units a time may be given in, as parts of a second.
UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}


class Unavailable(Exception):
    """The input of a benchmark is absent; says which."""


@dataclass(frozen=True)
class Benchmark:
    """One comparison: the same work done by `ours` and by `reference`.

    Attributes:
        name: what is measured, with the size of the input.
        ours: callable without arguments.
        reference: callable without arguments.
        unit: key of `UNITS` for the times reported.
        repeats: measured runs of each, after one run of each that is not measured.
        ours_name: in words, what ours is.
        reference_name: in words, what the reference is.
        agreement: in words, how far the two results agree, as checked before measuring.
        target: ratio aimed at, if there is one.
    """

    name: str
    ours: Callable[[], object]
    reference: Callable[[], object]
    unit: str = "ms"
    repeats: int = 11
    ours_name: str = "ours"
    reference_name: str = "reference"
    agreement: str = ""
    target: float | None = None


def compare(
    name: str,
    ours: Callable[[], object],
    reference: Callable[[], object],
    unit: str = "ms",
    repeats: int = 11,
    *,
    ours_name: str = "ours",
    reference_name: str = "reference",
) -> dict[str, Any]:
    """Time two callables in turns on one thread.

    Returns:
        `name, unit, repeats`, for `ours` and `reference` each `{name, median, spread}` in `unit` (spread: the middle
        half of the runs, `[25 %, 75 %]`), `ratio` (reference / ours, of the medians), `cpu_ratio` (the same of the
        seconds that the processor worked, which others on the machine hardly change), `ratio_spread` (middle half of
        the ratios of neighbouring runs) and `versions`.
    """
    times: dict[str, list[float]] = {"ours": [], "reference": []}
    worked: dict[str, list[float]] = {"ours": [], "reference": []}
    with one_thread():
        ours(), reference()
        for turn in range(repeats):
            order: Sequence[tuple[str, Callable[[], object]]] = [("ours", ours), ("reference", reference)]
            for key, work in order if turn % 2 == 0 else reversed(order):
                start, busy = time.perf_counter(), time.process_time()
                work()
                times[key].append((time.perf_counter() - start) / UNITS[unit])
                worked[key].append(time.process_time() - busy)
    ratios = np.array(times["reference"]) / np.array(times["ours"])
    return {
        "name": name,
        "unit": unit,
        "repeats": repeats,
        "ours": {"name": ours_name} | _summary(times["ours"]),
        "reference": {"name": reference_name} | _summary(times["reference"]),
        "ratio": round(float(np.median(times["reference"]) / np.median(times["ours"])), 2),
        "cpu_ratio": round(float(np.median(worked["reference"]) / np.median(worked["ours"])), 2),
        "ratio_spread": [round(float(value), 2) for value in np.quantile(ratios, [0.25, 0.75])],
        "versions": provenance()["versions"],
    }


def measure(benchmark: Benchmark) -> dict[str, Any]:
    """`compare` of a `Benchmark`, with its agreement and target."""
    result = compare(
        benchmark.name,
        benchmark.ours,
        benchmark.reference,
        benchmark.unit,
        benchmark.repeats,
        ours_name=benchmark.ours_name,
        reference_name=benchmark.reference_name,
    )
    return result | {"agreement": benchmark.agreement, "target": benchmark.target}


def in_words(result: dict[str, Any]) -> str:
    """One readable line of a result."""
    ours, reference, unit = result["ours"], result["reference"], result["unit"]
    low, high = result["ratio_spread"]
    aimed = f", aim {result['target']:g} ×" if result.get("target") else ""
    return (
        f"{result['name']}: {ours['median']:.3g} {unit} ({ours['name']}) against {reference['median']:.3g} {unit} "
        f"({reference['name']}): {result['ratio']:.1f} × [{low:.1f}, {high:.1f}], of processor time "
        f"{result['cpu_ratio']:.1f} ×{aimed}" + (f"; {result['agreement']}" if result.get("agreement") else "")
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Pin BLAS, OpenMP, OpenCV and torch to one thread and hold back the garbage collector."""
    opencv, torch = sys.modules.get("cv2"), sys.modules.get("torch")
    before = opencv.getNumThreads() if opencv else 0, torch.get_num_threads() if torch else 0
    collecting = gc.isenabled()
    gc.disable()
    try:
        with threadpool_limits(limits=1):
            if opencv:
                opencv.setNumThreads(1)
            if torch:
                torch.set_num_threads(1)
            yield
    finally:
        if opencv:
            opencv.setNumThreads(before[0])
        if torch:
            torch.set_num_threads(before[1])
        if collecting:
            gc.enable()


def _summary(times: list[float]) -> dict[str, Any]:
    low, median, high = (float(f"{value:.4g}") for value in np.quantile(times, [0.25, 0.5, 0.75]))
    return {"median": median, "spread": [low, high]}
