"""What momentum, decay and the look for overflows cost an epoch by mini-batches of 64."""

import numpy as np
import pytest

import intmlp
from intmlp import MLP, QFormat, linear, relu
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from timing import QUICK

FMT, BATCH, LR_SHIFT = QFormat(16, 12), 64, 10
SAMPLES = 1024 if QUICK else 10_000


@pytest.fixture(scope="module")
def samples():
    """Return raw images in [0, 1] and one-hot targets."""
    images, labels = load_stream()
    x, y = images[:SAMPLES] / 255, np.eye(10)[labels[:SAMPLES]]
    return intmlp.quantize(x, FMT), intmlp.quantize(y, FMT)


def epoch(samples, overflow="ignore", **optimiser):
    net = MLP([784, 100, 50, 10], FMT, activation=[relu(), relu(), linear()], seed=1, **optimiser)
    how = {"shuffle": False, "report": False, "overflow": overflow}
    net.train(*samples, LR_SHIFT, batch_size=BATCH, **how)


@pytest.mark.parametrize(
    "optimiser",
    [{"momentum_shift": 4}, {"decay_shift": 10}, {"momentum_shift": 4, "decay_shift": 10}],
    ids="-".join,
)
@pytest.mark.parametrize("update", ["fused", "two_step"])
def test_an_optimiser(versus, samples, update, optimiser):
    """Beside the same epoch without momentum and decay."""
    versus(
        lambda: epoch(samples, update=update, **optimiser),
        lambda: epoch(samples, update=update),
        table="momentum and decay",
        work=f"784-100-50-10, 16 bits, {update}, {' and '.join(optimiser)}",
        rival="without",
        target=1 / 1.5,
    )


@pytest.mark.filterwarnings("ignore::intmlp.OverflowWarning")  # the velocities of the biases do
@pytest.mark.parametrize("optimiser", [{}, {"momentum_shift": 4}], ids=["plain", "momentum"])
def test_looking_for_overflows(versus, samples, optimiser):
    """Every 64th step, as is the default, beside none."""
    versus(
        lambda: epoch(samples, "warn", **optimiser),
        lambda: epoch(samples, **optimiser),
        table="looking for overflows",
        work=f"784-100-50-10, 16 bits, batch 64{', momentum' if optimiser else ''}",
        rival="ignored",
        target=0.97,
    )


def test_looking_for_overflows_in_a_cell(versus):
    """784-10 on MNIST, one image at a time."""
    x, y = (part[:SAMPLES] for part in mnist2017.raw(load_stream(), 16))
    w = mnist2017.initial_network(0).weights[0] * 2.0**-16

    def train(overflow):
        net = MLP([784, 10], QFormat(32, 16, "floor"), bias=False)
        net.set_weights([w])
        net.train(x, y, 10, shuffle=False, overflow=overflow)

    versus(
        lambda: train("warn"),
        lambda: train("ignore"),
        table="looking for overflows",
        work="784-10, 32 bits, online",
        rival="ignored",
        target=0.97,
    )
