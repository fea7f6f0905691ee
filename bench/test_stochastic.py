"""Online training that rounds stochastically, beside the same that rounds to nearest."""

import pytest

from intmlp import MLP, QFormat, relu
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from timing import QUICK


@pytest.mark.parametrize("sizes", [[784, 10], [784, 100, 50, 10]], ids=str)
def test_online(versus, sizes):
    """All formats: forward, backward and update."""
    count = 200 if QUICK else 2000
    x, y = (array[:count] for array in mnist2017.raw(load_stream(), 16))

    def train(rounding):
        fmt = QFormat(32, 16, rounding)
        net = MLP(sizes, fmt, activation=relu(), bias=False, seed=1)
        return lambda: net.train(x, y, 10, shuffle=False, overflow="ignore")

    versus(
        train("stochastic"),
        train("half_even"),
        table="stochastic rounding",
        work=f"{count} steps, {'-'.join(map(str, sizes))}",
        rival="half_even",
        target=1 / 2.5,
    )
