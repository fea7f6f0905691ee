"""What counting costs: an observed training beside the same one unobserved."""

import numpy as np
import pytest

from intmlp import MLP, Parts, QFormat
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from timing import QUICK

STEPS = 1000 if QUICK else 10_000
PARTS = ("fixed fixed fixed", "fixed float fixed", "float float fixed", "float float float")


@pytest.mark.parametrize(
    ("parts", "rounding"), [("fixed fixed fixed", "half_even"), *((p, "floor") for p in PARTS)]
)
def test_a_cell_of_the_grid(versus, parts, rounding):
    """784-10 on MNIST, one image at a time."""
    x, y = mnist2017.raw(load_stream(), 16)
    if "float" in parts:
        x, y = x * 2.0**-16, y * 2.0**-16
    w = mnist2017.initial_network(0).weights[0] * 2.0**-16
    seen = []

    def train(observe):
        net = MLP([784, 10], QFormat(32, 16, rounding), bias=False, parts=Parts(*parts.split()))
        net.set_weights([w])
        history = net.train(
            x[:STEPS], y[:STEPS], 10, shuffle=False, overflow="ignore", observe=observe
        )
        seen.append(history.right)

    versus(
        lambda: train(True),
        lambda: train(False),
        table="observed training",
        work=f"{STEPS} steps of 784-10, {parts}, {rounding}",
        rival="unobserved",
        target=0.5,
    )
    assert all(np.array_equal(right, seen[0]) for right in seen)
