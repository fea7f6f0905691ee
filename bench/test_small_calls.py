"""What a call costs before it computes anything, and what the package costs to import."""

import subprocess
import sys

import numpy as np

import intmlp
from intmlp import MLP, QFormat, relu
from intmlp.gradcheck import case
from peers import load
from timing import QUICK


def test_matmul_call(versus):
    """A product of one term: what is left is the call."""
    a, b, fmt = np.array([[3]], np.int32), np.array([[5]], np.int32), QFormat(16, 8)
    assert intmlp.matmul(a, b, 8, fmt) == 15
    versus(
        lambda: intmlp.matmul(a, b, 8, fmt),
        None,
        table="small calls",
        work="matmul of 1x1x1: the overhead of a call",
        calls=2000,
        at_most=1.5e-6,
    )


def test_gradient(versus):
    """The gradient of the second published experiment, batch 1."""
    sizes, fmt = (3, 7, 7, 5), QFormat(24, 12)
    floats, x, y = case(sizes, 0)
    net = MLP(sizes, fmt, activation=relu(0.5), loss="sse")
    net.set_weights(floats.master_weights, floats.master_biases)
    raw_x, raw_y = intmlp.quantize(x, fmt), intmlp.quantize(y, fmt)
    rival = load("autograd_float64").gradient(floats.master_weights, floats.master_biases, x, y)
    ours = net.gradient(raw_x, raw_y)
    for mine, theirs in zip((ours.weights, ours.biases), rival(), strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert np.median(np.abs(a * 2.0**-12 / b - 1)) < 0.01
    versus(
        lambda: net.gradient(raw_x, raw_y),
        rival,
        table="small calls",
        work="gradient of [3, 7, 7, 5], batch 1",
        rival="autograd_float64",
        calls=100,
        target=30,
        at_most=10e-6,
    )


def test_import(benchmark, tmp_path):
    """`import intmlp` beside `import numpy`, each in a fresh interpreter."""

    def seconds(package):
        code = f"from time import perf_counter as t; s = t(); import {package}; print(t() - s)"
        # elsewhere: a checkout in the working directory must not serve for what is installed
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
        )
        return float(done.stdout)

    numpy, ours = [], []
    rounds = 3 if QUICK else 15
    seconds("intmlp"), seconds("numpy")
    benchmark.pedantic(
        lambda: ours.append(seconds("intmlp")),
        setup=lambda: numpy.append(seconds("numpy")),
        rounds=rounds,
    )
    benchmark.extra_info.update(
        table="small calls",
        work="import intmlp, above import numpy",
        threads=1,
        ours=[b - a for a, b in zip(numpy, ours, strict=True)],
        at_most=15e-3,
    )
