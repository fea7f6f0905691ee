"""Online training: the path on transposed weights against single steps and the oracle."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intmlp import MLP, LayerFormats, Parts, QFormat, leaky_relu, linear, relu
from support import FLAVOURS, OVERFLOWS, ROUNDINGS, assert_same, raw_array, seeds, twin_network

FUNCTIONS = (relu(), relu(0.5), leaky_relu(3), linear())
RULES = list(itertools.product(ROUNDINGS, OVERFLOWS))
STEPS = 40  # more than the steps for which a bound that was of no use is kept


def set_raw(net, state, flavour):
    """Give `net` weights and biases of a flavour."""
    layers = net.network.layers
    weights = [
        raw_array(state, layer.formats.weight, (layer.n_out, layer.n_in), flavour)
        for layer in layers
    ]
    biases = [raw_array(state, layer.formats.weight, (layer.n_out,), flavour) for layer in layers]
    net.set_weights(weights, biases if net.network.bias else None)


def samples(net, state, n, flavour, zeros=0.5):
    """Return n raw inputs, a part of them zero, and targets."""
    first, last = net.network.layers[0], net.network.layers[-1]
    x = raw_array(state, net.network.input, (n, first.n_in), flavour)
    x[state.random_sample(x.shape) < zeros] = 0
    return x, raw_array(state, last.formats.activation, (n, last.n_out), flavour)


def train(net, x, y, lr_shift, backend):
    """Train in one call of the backend, proved to take the online path; return the reports."""
    n = len(x)
    assert net._net.trains_online(1, n, lr_shift) == (backend != "python")
    right, loss = np.full(n, -1, np.int32), np.full(n, np.nan)
    order = np.arange(n, dtype=np.int64)
    assert net._net.train(x, y, order, 1, 0, n, lr_shift, 0, right, loss) == n
    return right, loss


def train_by_steps(net, x, y, lr_shift):
    """Train by calls of one step, which never take that path; return the reports."""
    assert not net._net.trains_online(1, 1, lr_shift)
    steps = [net.step(x[i : i + 1], y[i : i + 1], lr_shift) for i in range(len(x))]
    return [step.right for step in steps], [step.loss for step in steps]


def check(net, x, y, lr_shift, backend, oracle=False):
    """Assert that the online path, single steps and, where asked for, the oracle agree."""
    other = copy.deepcopy(net)
    model = twin_network(net)
    right, loss = train(net, x, y, lr_shift, backend)
    reports = [train_by_steps(other, x, y, lr_shift)]
    parameters = [[*other.weights, *(other.biases if net.network.bias else ())]]
    if oracle:
        rows = zip(x.tolist(), y.tolist(), strict=True)
        reports.append(list(zip(*(model.step([a], [b], lr_shift) for a, b in rows), strict=True)))
        weights, *biases = zip(*model.tensors, strict=True)
        parameters.append([*weights, *itertools.chain(*biases)])
    for want in reports:
        assert_same(right, list(want[0]), np.int32)
        assert_same(loss, list(want[1]), np.float64)
    for want in parameters:
        got = [*net.weights, *(net.biases if net.network.bias else ())]
        for ours, theirs in zip(got, want, strict=True):
            assert_same(ours, theirs, np.int32)


@st.composite
def narrow_networks(draw):
    """Draw a network and a shift that the path serves."""
    depth = draw(st.integers(1, 4))
    sizes = draw(
        st.lists(st.sampled_from([1, 2, 3, 5, 16, 17]), min_size=depth + 1, max_size=depth + 1)
    )
    lr_shift = draw(st.integers(-3, 12))

    def narrow(most_frac):
        return QFormat(
            draw(st.sampled_from([2, 5, 8, 16, 24, 31, 32])),
            draw(st.integers(0, most_frac)),
            draw(st.sampled_from(ROUNDINGS)),
            draw(st.sampled_from(OVERFLOWS)),
        )

    deltas = [narrow(20) for _ in range(depth)]
    activations = [narrow(20) for _ in range(depth + 1)]
    weights = []
    for below, delta in zip(activations, deltas, strict=False):
        fmt = narrow(20)
        lr_shift = max(lr_shift, fmt.frac + 1 - below.frac - delta.frac)
        weights.append(fmt)
    return MLP(
        sizes,
        [
            LayerFormats(activation=a, weight=w, delta=d, gradient=a)
            for a, w, d in zip(activations[1:], weights, deltas, strict=True)
        ],
        input_format=activations[0],
        activation=[draw(st.sampled_from(FUNCTIONS)) for _ in range(depth)],
        bias=draw(st.booleans()),
        loss=draw(st.sampled_from(["half_sse", "sse"])),
    ), lr_shift


@given(narrow_networks(), seeds, st.sampled_from(FLAVOURS), st.sampled_from(FLAVOURS))
@settings(max_examples=150)
def test_any_network(backend, drawn, state, of_weights, of_samples):
    net, lr_shift = drawn
    set_raw(net, state, of_weights)
    x, y = samples(net, state, 8, of_samples)
    check(net, x, y, lr_shift, backend, oracle=True)


@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 80, 129])
@pytest.mark.parametrize("bias", [False, True])
def test_edges_of_lanes(backend, width, bias):
    """Every layer has outputs and inputs around the edges of vectors and blocks."""
    state = np.random.RandomState(width)
    fmt = QFormat(24, 12)
    net = MLP([width, 33, width, 10], fmt, bias=bias, seed=1)
    x, y = samples(net, state, 12, "uniform", zeros=0.7)
    x, y = x >> 10, y >> 10
    check(net, x, y, 6, backend)


@pytest.mark.parametrize(("rounding", "overflow"), RULES)
@pytest.mark.parametrize("bits", [8, 31, 32])
def test_rules_of_weights(backend, rounding, overflow, bits):
    """Weights that stay inside their format, that leave it, and that come back into it."""
    state = np.random.RandomState(bits)
    fmt = QFormat(bits, bits // 3, rounding, overflow)
    for lr_shift, flavour in itertools.product((1, 5, 12), ("small", "uniform", "extremes")):
        net = MLP([20, 17, 3], fmt, activation=[leaky_relu(2), linear()])
        set_raw(net, state, flavour)
        x, y = samples(net, state, STEPS, "small" if lr_shift == 12 else flavour)
        x[STEPS // 2 :] >>= 3
        check(net, x, y, lr_shift, backend)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_shift_of_a_step(backend, rounding):
    """The first and the last shift that the path serves, with the largest products."""
    fmt = QFormat(32, 30, rounding)
    for k in (1, 2, 61, 62):
        for low, high in ((fmt.raw_min, fmt.raw_max), (fmt.raw_min, fmt.raw_min), (1, -1)):
            net = MLP([3, 3], fmt, activation=linear(), bias=False)
            net.set_weights([np.zeros((3, 3), np.int32)])
            x = np.tile(np.array([low, high, 3], np.int32), (8, 1))
            y = np.tile(np.array([low, high, 0], np.int32), (8, 1))
            check(net, x, y, k - 30, backend, oracle=True)
        for refused in (0, 63):
            assert not net._net.trains_online(1, 8, refused - 30)


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_limit_of_the_forward_sum(backend, last):
    """|A| sums to 2**32 - 1 and less, where int64 holds the sum, and to 2**32 and more."""
    fmt = QFormat(32, 20)
    for sign in (-1, 1):
        net = MLP([4, 2], fmt, activation=linear(), bias=False)
        net.set_weights([np.full((2, 4), fmt.raw_min, np.int32)])
        row = sign * np.array([fmt.raw_max, fmt.raw_max, last, 0], np.int32)
        check(net, np.tile(row, (8, 1)), np.zeros((8, 2), np.int32), 31, backend, oracle=True)


@pytest.mark.parametrize("last", [-1, 0, 1])
def test_limit_of_the_forward_sum_with_a_bias(backend, last):
    fmt = QFormat(32, 20)
    net = MLP([3, 2], fmt, activation=linear())
    net.set_weights([np.full((2, 3), fmt.raw_min, np.int32)], [np.full(2, fmt.raw_min, np.int32)])
    row = np.array([fmt.raw_max, fmt.raw_max - 2**20 + 1, last + 1], np.int32)
    check(net, np.tile(row, (8, 1)), np.zeros((8, 2), np.int32), 31, backend, oracle=True)


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_limit_of_the_backward_sum(backend, last):
    """The same for |D|; the hidden layer is zero, so that D is minus the target."""
    fmt = QFormat(32, 20)
    for sign in (-1, 1):
        net = MLP([2, 2, 3], fmt, activation=linear(), bias=False)
        net.set_weights([np.ones((2, 2), np.int32), np.full((3, 2), fmt.raw_min, np.int32)])
        x = np.tile(np.array([7, -7], np.int32), (8, 1))
        y = np.tile(sign * np.array([fmt.raw_max, fmt.raw_max, last], np.int32), (8, 1))
        check(net, x, y, 21, backend, oracle=True)


def test_sources(backend):
    """Real values, any strides, rows in any order and more than once; reports not asked for."""
    state = np.random.RandomState(5)
    net = MLP([19, 5], QFormat(16, 8), seed=2)
    x, y = state.random_sample((2, 30, 19)).astype(np.float32), state.random_sample((30, 5))
    raw, _ = samples(net, state, 60, "uniform")
    order = state.randint(0, 30, 25).astype(np.int64)
    for inputs in (x[0], x[0].astype(float), x[1][:, ::-1], raw[::2], np.asfortranarray(raw)[30:]):
        one, other = copy.deepcopy(net), copy.deepcopy(net)
        assert one._net.trains_online(1, 25, 4) == (backend != "python")
        assert one._net.train(inputs, y, order, 1, 3, 20, 4, 0, None, None) == 20
        for i in order[3:23]:
            other.step(inputs[i : i + 1], y[i : i + 1], 4)
        assert_same(one.weights[0], other.weights[0], np.int32)
        assert_same(one.biases[0], other.biases[0], np.int32)


def test_what_is_served(backend):
    """The predicate, on both sides of each of its conditions."""
    if backend == "python":
        pytest.skip("the fallback has one path")
    narrow, wide = QFormat(32, 10), QFormat(33, 10)

    def served(fmt=narrow, *, batch=1, count=8, shift=5, **arguments):
        return MLP([3, 2], fmt, **arguments)._net.trains_online(batch, count, shift)

    formats = dict.fromkeys(("activation", "weight", "delta", "gradient"), narrow)
    assert served() and served(LayerFormats(**formats | {"gradient": wide}))
    assert not served(batch=2) and not served(count=7) and not served(update="two_step")
    assert not served(input_format=wide)
    for name in ("activation", "weight", "delta"):
        assert not served(LayerFormats(**formats | {name: wide}), input_format=narrow)
    for part in ("forward", "backward", "update"):
        assert not served(parts=Parts(**{part: "float"}))
    fine = QFormat(32, 31)
    assert served(input_format=QFormat(32, 30)) and not served(input_format=fine)
    assert served(input_format=fine, bias=False)
    assert served(shift=-9) and not served(shift=-10)
    assert served(shift=52) and not served(shift=53)
