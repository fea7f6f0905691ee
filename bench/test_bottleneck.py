"""The bottleneck study: the whole of it on two cores, and what it costs beside the training."""

import os
import subprocess
import sys
from time import perf_counter

import pytest

from intmlp import _backend
from intmlp.io.samples import load_samples
from intmlp.study import Grid, Task, run
from timing import QUICK

JOBS = min(2, os.cpu_count() or 1)
FEWER = ["--dataset", "digits", "--fraction", "8:11"] if QUICK else []

# The command in a process of its own, which then says how much memory it took at most, in kB.
COMMAND = """
import resource, sys
from intmlp.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a function that runs the default study from the command line to its report, once.

    It returns its seconds and the bytes of memory that it took.
    """
    taken = []

    def once():
        if not taken:
            folder = tmp_path_factory.mktemp("study")
            arguments = ["bottleneck", "--out", folder, "--jobs", str(JOBS), *FEWER]
            start = perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", COMMAND, *arguments],
                cwd=folder,
                capture_output=True,
                check=True,
                text=True,
            )
            taken.extend((perf_counter() - start, 1024 * int(done.stdout.split()[-1])))
        return taken

    return once


@pytest.mark.skipif(JOBS < 2, reason="needs two cores")
def test_whole_study(benchmark, whole):
    benchmark.pedantic(whole, rounds=1)
    benchmark.extra_info.update(
        table="studies",
        work="intmlp bottleneck: the default study, 10,692 networks, with figures and report",
        threads=2,
        ours=whole()[:1],
        at_most=120,
    )


def test_memory_of_the_whole_study(benchmark, whole):
    benchmark.pedantic(whole, rounds=1)
    benchmark.extra_info.update(
        table="memory",
        work="intmlp bottleneck: the default study, all that the process takes",
        threads=2,
        ours=whole()[1:],
        at_most=1e9,
    )


def test_overhead(benchmark, tmp_path, monkeypatch):
    """All that a study does outside the training loop of the core, for each cell of one seed."""
    samples, lr_shifts = load_samples("mnist-2017"), range(6, 12) if QUICK else range(-2, 20)
    grid = Grid(fractions=range(4, 24, 9 if QUICK else 3), lr_shifts=lr_shifts, seeds=[0])
    core, inside = _backend.active().Net, []

    class Net:
        """The network of the core, which counts its seconds of training."""

        def __init__(self, *arguments):
            self.net = core(*arguments)

        def __getattr__(self, name):
            return getattr(self.net, name)

        def train(self, *arguments):
            start = perf_counter()
            try:
                return self.net.train(*arguments)
            finally:
                inside.append(perf_counter() - start)

    monkeypatch.setattr(_backend.active(), "Net", Net)
    outside, kernel = [], []

    def study():
        store = tmp_path / f"{len(outside)}.sqlite"
        inside.clear()
        start = perf_counter()
        run(Task(), samples, grid, store=store, jobs=1)
        kernel.append(sum(inside) / len(grid))
        outside.append((perf_counter() - start) / len(grid) - kernel[-1])

    benchmark.pedantic(study, rounds=2 if QUICK else 5)
    benchmark.extra_info.update(
        table="studies",
        work="what a study does for a cell beside its training, at most a tenth of it",
        threads=1,
        ours=outside,
        at_most=sorted(kernel)[len(kernel) // 2] / 10,
    )
