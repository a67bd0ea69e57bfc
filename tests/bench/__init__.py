"""Benchmarks against the authors' chain and stock libraries: `python -m tests.bench [name ...]`.

How to add one: a module `tests/bench/bench_<topic>.py` with

    def benchmarks() -> list[Benchmark]:
        return [Benchmark(name="Algorithm 1, 512 x 512", ours=..., reference=..., unit="ms", repeats=15)]

`ours` and `reference` are callables without arguments that do the same work on the same input; whatever they need is
made in `benchmarks()`, outside the measured time, and both should be checked there to agree (`agreement`
says in words how far). A module whose input is absent raises `Unavailable("what is missing")`.

All of it runs in one process on one thread, ours and the reference taking turns, so that a ratio compares two things
that met the same load. Absolute times drift from machine to machine: only ratios of one run are claimed. The results
go to `bench/bench.json` of the results folder.
"""
