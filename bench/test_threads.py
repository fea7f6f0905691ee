"""Two threads beside one, at 1024^3."""

import os

import numpy as np
import pytest

import intmlp
from intmlp import QFormat
from operands import LARGE, operands


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
@pytest.mark.parametrize(
    "name", ["8 bits", "16 bits, small products", "24 bits, any values", "32 bits, any values"]
)
def test_two_threads(versus, name):
    a, b, shift, bits = operands(name, LARGE)
    fmt = QFormat(bits, 0, "half_up")

    def product(threads):
        intmlp.set_num_threads(threads)
        return intmlp.matmul(a, b, shift, fmt)

    assert np.array_equal(product(1), product(2))
    m, k, n = LARGE
    versus(
        lambda: product(2),
        lambda: product(1),
        table="two threads",
        work=f"{name}, {m}x{k}x{n}",
        rival="one thread",
        threads=2,
        target=1.8,
        gmac=m * k * n / 1e9,
    )
