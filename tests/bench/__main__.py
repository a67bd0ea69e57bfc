"""Runs the benchmarks whose module name holds one of the words given (all without any) and writes `bench.json`."""

from __future__ import annotations

import importlib
import pkgutil
import sys

from axspa_lib.study.runs import provenance, runs_root, write_json
from tests import bench
from tests.bench.harness import Unavailable, in_words, measure


def main(words: list[str]) -> int:
    """Measure, print a line for each result, and write them."""
    names = [name for _, name, _ in pkgutil.iter_modules(bench.__path__) if name.startswith("bench_")]
    chosen = [name for name in names if not words or any(word in name for word in words)]
    if not chosen:
        print(f"no benchmark is called {' or '.join(words)}; there are: {', '.join(names)}")
        return 1
    results, unavailable = [], []
    for number, name in enumerate(chosen, start=1):
        print(f"[{number}/{len(chosen)}] {name.removeprefix('bench_')}", flush=True)
        try:
            for benchmark in importlib.import_module(f"tests.bench.{name}").benchmarks():
                result = measure(benchmark) | {"module": name}
                results.append(result)
                print(f"  {in_words(result)}", flush=True)
        except Unavailable as reason:
            unavailable.append({"module": name, "reason": str(reason)})
            print(f"  not measured: {reason}", flush=True)
    path = runs_root() / "bench" / ("bench.json" if len(chosen) == len(names) else f"{'-'.join(words)}.json")
    write_json(path, {"results": results, "unavailable": unavailable, "provenance": provenance(), "threads": 1})
    print(f"written: {path.relative_to(runs_root().parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
