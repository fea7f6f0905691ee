"""A training epoch and the whole 2017 grid beside the NumPy int64 way."""

import os
from time import perf_counter

import numpy as np
import pytest
from joblib import Parallel, delayed

import intmlp
from intmlp import MLP, QFormat
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from numpy_int64 import numpy_epoch, published_cell


def test_epoch(versus):
    samples = load_stream()
    frac, lr_shift, batch_size = 12, 12, 64
    x, y = (part[:2048] for part in mnist2017.raw(samples, frac))
    wide_x, wide_y = x.astype(np.int64), y.astype(np.int64)
    net = MLP([784, 100, 50, 10], QFormat(32, frac, "floor"), bias=False, seed=0)
    start = [w.astype(np.int64) for w in net.weights]

    theirs = [w.copy() for w in start]
    numpy_epoch(theirs, wide_x, wide_y, frac, lr_shift, batch_size)
    net.train(x, y, lr_shift, batch_size=batch_size, shuffle=False)
    for ours, rival in zip(net.weights, theirs, strict=True):
        assert np.array_equal(ours, rival)

    versus(
        lambda: net.train(x, y, lr_shift, batch_size=batch_size, shuffle=False, report=False),
        lambda: numpy_epoch(theirs, wide_x, wide_y, frac, lr_shift, batch_size),
        rounds=3,
        samples=len(x),
    )


def our_cell(x, y, fraction, lr_shift):
    """Train one cell with intmlp; return its accuracy and seconds."""
    start = perf_counter()
    accuracy = mnist2017.train(mnist2017.initial_network(fraction), x, y, lr_shift)
    return accuracy, perf_counter() - start


@pytest.mark.skipif(
    intmlp.show_config()["backend"] == "python", reason="the grid is timed on the compiled core"
)
def test_grid(benchmark):
    """All 240 cells on two cores, ours in threads and the published loop in processes."""
    samples, jobs = load_stream(), min(2, os.cpu_count() or 1)
    cells = [(lr, f) for f in mnist2017.FRACTIONS for lr in mnist2017.LR_SHIFTS]
    inputs = {f: mnist2017.raw(samples, f) for f in mnist2017.FRACTIONS}

    def grid(cell, kind):
        start = perf_counter()
        results = Parallel(n_jobs=jobs, prefer=kind)(
            delayed(cell)(*inputs[f], f, lr) for lr, f in cells
        )
        return results, perf_counter() - start

    theirs, their_seconds = grid(published_cell, "processes")
    ours, our_seconds = benchmark.pedantic(
        lambda: grid(our_cell, "threads"), rounds=1, warmup_rounds=0
    )
    assert max(abs(a - b) for (a, _), (b, *_) in zip(ours, theirs, strict=True)) < 1e-12
    benchmark.extra_info["rival_s"] = round(their_seconds, 2)
    benchmark.extra_info["times_faster"] = round(their_seconds / our_seconds, 2)
    for name, of_group in (
        ("mostly_active", lambda active: active >= 5),
        ("mostly_inactive", lambda active: active < 5),
    ):
        group = [
            (mine, his)
            for (_, mine), (_, his, active) in zip(ours, theirs, strict=True)
            if of_group(active)
        ]
        benchmark.extra_info[f"cells_{name}"] = len(group)
        if group:
            benchmark.extra_info[f"times_faster_{name}"] = round(
                sum(his for _, his in group) / sum(mine for mine, _ in group), 2
            )
