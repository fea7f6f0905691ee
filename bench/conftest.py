"""What the benchmarks share: a benchmark beside its rival, in turn, in the same run."""

from __future__ import annotations

from statistics import median
from time import perf_counter

import pytest

import intmlp


def seconds(function):
    """Return how long one call takes."""
    start = perf_counter()
    function()
    return perf_counter() - start


@pytest.fixture
def versus(benchmark):
    """Return a function that times `ours` beside `rival` and records the ratio of medians.

    The two run in turn, so that a machine whose speed drifts slows both; the ratio is the
    median over pairs. pytest-benchmark then times `ours` alone for its table.
    """

    def run(ours, rival, rounds=7, **extra):
        ours(), rival()  # caches, lazy imports, frequency
        pairs = [(seconds(ours), seconds(rival)) for _ in range(rounds)]
        benchmark.extra_info["rival_median_s"] = median(theirs for _, theirs in pairs)
        benchmark.extra_info["times_faster"] = round(median(b / a for a, b in pairs), 2)
        benchmark.extra_info.update(extra)
        benchmark.pedantic(ours, rounds=rounds, warmup_rounds=1)

    return run


def pytest_report_header(config):
    """Say what is timed, and where."""
    return [f"{key}: {value}" for key, value in intmlp.show_config().items()]


def pytest_terminal_summary(terminalreporter):
    """Print the ratios below the table."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    rows = [bench for bench in session.benchmarks if bench.extra_info] if session else []
    if rows:
        terminalreporter.section("times faster than NumPy int64, in the same run")
    for bench in rows:
        values = ", ".join(f"{key} {value}" for key, value in bench.extra_info.items())
        terminalreporter.write_line(f"{bench.name}: {values}")
