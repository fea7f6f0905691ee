"""An epoch of 60,000 images by mini-batches of 64, beside float32 and float64 by hand."""

import numpy as np
import pytest

import intmlp
from intmlp import MLP, QFormat, linear, relu
from intmlp.io.datasets import load_stream
from peers import load
from timing import QUICK

SIZES = {"784-100-50-10": [784, 100, 50, 10], "784-1000-1000-10": [784, 1000, 1000, 10]}
FORMATS = {16: QFormat(16, 12), 24: QFormat(24, 16)}
SAMPLES, BATCH, LR_SHIFT = 60_000, 64, 10
CHECKED = 5 * BATCH  # samples for which weights are compared; whole batches

# The rivals that are slow on the large net see a part of the epoch, and so do we beside them.
PART = {"torch_float32": 6, "sklearn_float32": 6, "numpy_float64": 6}

FRAMEWORKS = ("numpy_float32", "torch_float32", "jax_float32", "sklearn_float32")


@pytest.fixture(scope="module")
def samples():
    """Return inputs in [0, 1] and one-hot targets: the packaged MNIST images, six times."""
    images, labels = load_stream()
    times = -(-SAMPLES // len(images))
    return np.tile(images, (times, 1)) / 255, np.tile(np.eye(10)[labels], (times, 1))


def network(name, bits):
    hidden = len(SIZES[name]) - 2
    return MLP(SIZES[name], FORMATS[bits], activation=[relu()] * hidden + [linear()], seed=1)


def real(net, bits):
    """Return weights and biases as floats."""
    return (
        [intmlp.dequantize(v, FORMATS[bits]) for v in tensors]
        for tensors in (net.weights, net.biases)
    )


def train(net, x, y, report=False):
    return net.train(
        x, y, LR_SHIFT, batch_size=BATCH, shuffle=False, overflow="ignore", report=report
    )


def loss(weights, biases, x, y):
    """Return half the summed squared error a sample, in float64."""
    for w, b in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(x @ w.T + b, 0)
    return ((x @ weights[-1].T + biases[-1] - y) ** 2).sum() / 2 / len(x)


@pytest.mark.parametrize("rival", FRAMEWORKS)
@pytest.mark.parametrize(("name", "target"), [("784-100-50-10", 1.0), ("784-1000-1000-10", 1.3)])
def test_framework(versus, backend, samples, name, rival, target):
    """16 bits beside float32: the same network from the same weights, both of which learn."""
    peer = load(rival)
    weights, biases = real(network(name, 16), 16)

    def trainer():
        return peer.Trainer(weights, biases, LR_SHIFT, BATCH)

    reference = load("numpy_float32").Trainer(weights, biases, LR_SHIFT, BATCH)
    theirs = trainer()
    for each in (reference, theirs):
        each.epoch(each.data(*(part[:CHECKED] for part in samples)))
    trained = zip(theirs.parameters(), reference.parameters(), weights + biases, strict=True)
    for a, b, start in trained:
        assert np.abs(a - b).max() < 1e-3 * np.abs(b - start).max()

    measure(versus, backend, samples, name, 16, rival, trainer(), target)


@pytest.mark.parametrize("name", SIZES)
def test_by_hand(versus, backend, samples, name):
    """24 bits beside the same integers held as float64, rounded by `rint` and `clip`."""
    fmt = FORMATS[24]
    peer = load("numpy_float64")

    def trainer(net):
        return peer.Trainer(net.weights, net.biases, LR_SHIFT, BATCH, fmt.bits, fmt.frac)

    net = network(name, 24)
    theirs = trainer(net)
    x, y = (intmlp.quantize(part[:CHECKED], fmt) for part in samples)
    theirs.epoch(theirs.data(x, y))
    train(net, x, y)
    for a, b in zip(theirs.parameters(), net.weights + net.biases, strict=True):
        assert np.array_equal(a, b)

    quantized = [intmlp.quantize(part, fmt) for part in samples]
    measure(versus, backend, quantized, name, 24, "numpy_float64", trainer(network(name, 24)), 2.0)


def assert_same_integers(backend, name, bits, x, y):
    """Train on a few batches, a short one too, and again on portable C: not a bit differs."""
    best = network(name, bits)
    history = train(best, x, y, report=True)
    with backend("c:scalar"):
        scalar = network(name, bits)
        expected = train(scalar, x, y, report=True)
    assert np.array_equal(history.loss, expected.loss)
    assert np.array_equal(history.right, expected.right)
    for a, b in zip(best.weights + best.biases, scalar.weights + scalar.biases, strict=True):
        assert np.array_equal(a, b)


def measure(versus, backend, samples, name, bits, rival, theirs, target):
    """Time an epoch of both, and check that the loss of both has fallen."""
    fmt = FORMATS[bits]
    part = PART.get(rival, 1) if name == "784-1000-1000-10" else 1
    n = 1024 if QUICK else SAMPLES // part
    data = theirs.data(samples[0][:n], samples[1][:n])
    x, y = (
        v if v.dtype == fmt.dtype else intmlp.quantize(v, fmt) for v in (s[:n] for s in samples)
    )
    assert_same_integers(backend, name, bits, x[: CHECKED + 7], y[: CHECKED + 7])
    mine = network(name, bits)
    test = [intmlp.dequantize(v[:1000], fmt) for v in (x, y)]
    before = loss(*real(mine, bits), *test)
    versus(
        lambda: train(mine, x, y),
        lambda: theirs.epoch(data),
        table="an epoch",
        work=f"{name}, {bits} bits" + (f", {n:,} samples" if n < SAMPLES else ""),
        rival=rival,
        target=target,
        rounds=1 if QUICK else 3,
        scale=SAMPLES / n,
    )
    half = len(theirs.parameters()) // 2
    unit = 2.0**-fmt.frac if rival == "numpy_float64" else 1
    learned = [p.astype(np.float64) * unit for p in theirs.parameters()]
    assert loss(*real(mine, bits), *test) < before
    assert loss(learned[:half], learned[half:], *test) < before
