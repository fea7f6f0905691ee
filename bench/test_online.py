"""The 2017 grid on two cores: 240 networks, each of which sees 10,000 images one by one.

And some of its cells with float parts, as the study of bottlenecks trains them.
"""

import os

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy.signal import savgol_filter

from intmlp import MLP, Parts, QFormat, relu
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from peers import load
from timing import QUICK

CELLS = [(f, lr) for f in mnist2017.FRACTIONS for lr in mnist2017.LR_SHIFTS][:: 16 if QUICK else 1]
JOBS = min(2, os.cpu_count() or 1)


def our_cell(w, x, y, fraction, lr_shift):
    """Train one cell with intmlp from the weights `w`; return which steps were right."""
    net = mnist2017.network(fraction, 0)
    net.set_weights([w])
    return net.train(x, y, lr_shift, shuffle=False, overflow="ignore").right


@pytest.mark.skipif(JOBS < 2, reason="needs two cores")
@pytest.mark.parametrize(("name", "target"), [("published", 100), ("numba_online", 2)])
def test_grid(versus, name, target):
    """Ours in threads; the published loop in processes, the compiled one in threads."""
    samples = load_stream()
    inputs = {f: mnist2017.raw(samples, f) for f in mnist2017.FRACTIONS}
    w = mnist2017.initial_network(0).weights[0]  # in raw units: the same at every fraction
    peer = load(name)
    kind = "processes" if name == "published" else "threads"

    def grid(cell, kind, cells=CELLS):
        parallel = Parallel(n_jobs=2, prefer=kind, max_nbytes=None)
        return parallel(delayed(cell)(w, *inputs[f], f, lr) for f, lr in cells)

    results = {}

    def ours():
        results["ours"] = grid(our_cell, "threads")

    def rival():
        results["theirs"] = grid(peer.cell, kind)

    grid(peer.cell, kind, CELLS[:2])  # starts the processes, or the compiler
    versus(
        ours,
        rival,
        table="online training",
        work=f"the 2017 grid, {len(CELLS)} cells",
        rival=name,
        target=target,
        threads=2,
        rounds=1 if name == "published" or QUICK else 5,
    )
    published = mnist2017.published()
    for right in results.values():
        for (f, lr), series in zip(CELLS, right, strict=True):
            accuracy = savgol_filter(series, 1001, 2, mode="mirror")[-1]
            # scipy's coefficients come from BLAS, whose last bits depend on its kernels
            assert abs(accuracy - published[lr, f]) < 1e-9
    assert np.array_equal(results["ours"], results["theirs"])


@pytest.mark.skipif(JOBS < 2, reason="needs two cores")
@pytest.mark.parametrize(
    "parts", [Parts("float", "float", "float"), Parts("fixed", "float", "float")], ids=str
)
def test_cells_with_float_parts(versus, parts):
    """Ours beside a compiled loop in float64, each in threads."""
    samples = load_stream()
    x, y = samples.images / 255.0, np.eye(10)[samples.labels]
    w = np.random.RandomState(0).normal(0, 0.01, (10, 784))
    lr_shifts = (5, 6, 7, 8)
    peer = load("numba_online")

    def our_cell(lr_shift):
        fmt = QFormat(32, 16, "floor")
        net = MLP([784, 10], fmt, activation=relu(), bias=False, parts=parts)
        net.set_weights([w])
        return net.train(x, y, lr_shift, shuffle=False, overflow="ignore").right

    def their_cell(lr_shift):
        return peer.train_float(w.copy(), x, y, 2.0**-lr_shift)

    results = {}

    def cells(name, cell):
        results[name] = Parallel(n_jobs=2, prefer="threads")(delayed(cell)(k) for k in lr_shifts)

    versus(
        lambda: cells("ours", our_cell),
        lambda: cells("theirs", their_cell),
        table="online training",
        work=f"{len(lr_shifts)} cells, forward {parts.forward}, the other parts float",
        rival="numba_online",
        target=2,
        threads=2,
        rounds=1 if QUICK else 5,
    )
    for ours, theirs in zip(results["ours"], results["theirs"], strict=True):
        assert abs(ours.mean() - theirs.mean()) < 0.01  # the order of its sums is not ours
