"""What the benchmarks share: ours beside a rival, in turn, in the same process."""

from __future__ import annotations

import os

# One thread for every library; all read their number when they are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["APYTYPES_THREAD_COUNT"] = "1"
os.environ["NPROC"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"

from contextlib import contextmanager
from statistics import median
from time import perf_counter, process_time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import intmlp
import peers
from intmlp import _backend
from timing import QUICK, ROUNDS, SECONDS, spread, timed, warm


@pytest.fixture
def versus(benchmark):
    """Return a function that times `ours` beside `rival` and records both, call by call.

    The two run in turn, so that a machine whose speed drifts slows both; a ratio is the median
    over the pairs. With `at_most`, `rival` is None and ours has a limit in seconds.

    Parameters of the returned function
    -----------------------------------
    table, work : str
        Where the report shows it.
    target : float
        How many times as fast as the rival the project wants to be.
    threads : int
        How many each side may use; that neither uses more is checked.
    calls : int
        Calls that are timed together, where one is too short for the clock.
    rounds : int
        Pairs; as many as fit into `SECONDS` where it is not given. One alone is not warmed up.
    """

    def run(ours, rival, /, *, table, work, threads=1, calls=1, rounds=None, **extra):
        sides = [ours] if rival is None else [rival, ours]
        intmlp.set_num_threads(threads)
        if rounds != 1:  # lazy imports, compilers
            first = [timed(side) for side in sides]
        if rounds is None:
            once = sum(
                seconds if seconds > 1 else warm(side, calls)
                for side, seconds in zip(sides, first, strict=True)
            )
            rounds = int(np.clip(SECONDS / (2 * once), *ROUNDS))
        theirs, busy = [], []

        def time_rival():
            start, cpu = perf_counter(), process_time()
            if rival is not None:
                theirs.append(warm(rival, calls))
            warm(ours, calls)
            busy.append((process_time() - cpu) / (perf_counter() - start))

        def repeat_ours():
            for _ in range(calls):
                ours()

        benchmark.pedantic(repeat_ours, setup=time_rival, rounds=rounds)
        assert median(busy) < threads + 0.2, f"{median(busy):.2f} threads run, {threads} may"
        mine = [seconds / calls for seconds in benchmark.stats.stats.data]
        benchmark.extra_info.update(table=table, work=work, threads=threads, ours=mine, **extra)
        if rival is not None:
            ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
            benchmark.extra_info.update(theirs=theirs, ratios=ratios)

    before = intmlp.get_num_threads()
    yield run
    intmlp.set_num_threads(before)


@pytest.fixture
def backend():
    """Return a context manager in which a backend serves; skips where there is none of the name."""

    @contextmanager
    def serving(name):
        if name not in _backend.available():
            pytest.skip(f"this build and processor have no backend {name}")
        before = _backend.active_name()
        _backend.use(name)
        try:
            yield
        finally:
            _backend.use(before)

    return serving


def openblas():
    """Return version and kernels of the OpenBLAS that serves NumPy."""
    found = [lib for lib in threadpool_info() if lib["internal_api"] == "openblas"]
    serving = [lib for lib in found if "numpy" in lib["filepath"]] or found
    if not serving:
        return "none: NumPy uses another BLAS"
    return f"{serving[0]['version']}, kernels for {serving[0]['architecture']}"


def described():
    """Return what is timed, and where."""
    config = intmlp.show_config()
    keys = ("cpu", "platform", "version", "backend", "backends", "build", "python")
    return {**{key: config[key] for key in keys}, "openblas": openblas(), **peers.versions()}


def pytest_configure(config):
    # A benchmark that is skipped, or fails before it times anything, says so itself.
    config.addinivalue_line("filterwarnings", "ignore:Benchmark fixture was not used")


def pytest_report_header(config):
    return [f"{key}: {value}" for key, value in described().items()]


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["intmlp"] = {**described(), "quick": QUICK}


def pytest_terminal_summary(terminalreporter):
    """Print the ratios below the table, each with its quartiles and its target."""
    session = getattr(terminalreporter.config, "_benchmarksession", None)
    if not session or not session.benchmarks:
        return
    terminalreporter.section("times as fast as the rival, in turn in the same run")
    for info in (bench.extra_info for bench in session.benchmarks):
        if "ours" not in info:
            continue  # its test failed, which is reported above
        if "ratios" in info:
            low, high = spread(info["ratios"])
            text = f"{median(info['ratios']):.2f} ({low:.2f}..{high:.2f}) x {info['rival']}"
            if info.get("target"):
                text += f", wanted {info['target']}"
        else:
            text = f"{median(info['ours']):.3g}"
        terminalreporter.write_line(f"{info['table']}, {info['work']}: {text}")
