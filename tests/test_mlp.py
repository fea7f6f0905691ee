"""Networks against the oracle: every number of forward, gradient, step and train."""

import copy
import itertools
import linecache
import math
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import intmlp
import reference
from intmlp import MLP, LayerFormats, Parts, QFormat
from support import (
    EVERY_ROUNDING,
    FLAVOURS,
    OVERFLOWS,
    ROUNDINGS,
    assert_same,
    examples,
    formats,
    in_layers,
    raw_array,
    seeds,
    tensors,
    twin,
    twin_network,
)

pytestmark = pytest.mark.usefixtures("backend")

ALL_PARTS = [
    Parts(forward, backward, update)
    for forward in ("fixed", "float")
    for backward in ("fixed", "float")
    for update in ("fixed", "float")
]
FLOATS = Parts("float", "float", "float")
SOME_FLOAT = ALL_PARTS[1:]


def name_of(parts):
    return f"{parts.forward}-{parts.backward}-{parts.update}"


every_parts = pytest.mark.parametrize("parts", ALL_PARTS, ids=name_of)


# Comparison with the oracle


def bits(tensor):
    """Return nested lists in which equal entries are equal bits: -0.0 is not 0.0, NaN is NaN."""
    return reference.each(lambda v: v.hex() if isinstance(v, float) else v, tensor)


def exponent(net, nominal):
    """Return m of section 4."""
    return int(math.log2(nominal)) if net._average else 0


def check_weights(net, model):
    """Assert that the weights are the model's, and that raw ones are the quantized master."""
    assert bits(tensors(net)) == bits(model.tensors)
    if net.network.momentum_shift is not None:
        held = in_layers(net, net.velocities, net.bias_velocities)
        assert bits(held) == bits(model.velocities)
    if net.network.parts.any_fixed:
        for i, (raw, layer) in enumerate(zip(model.fixed(), net.network.layers, strict=True)):
            assert_same(net.weights[i], raw[0], layer.formats.weight.dtype)
            if net.network.bias:
                assert_same(net.biases[i], raw[1], layer.formats.weight.dtype)


def stream_of(net):
    """Return the random numbers of the next step."""
    return intmlp.Stream(net.network.rounding_seed, net.steps)


def check_forward(net, model, x):
    fixed = net.network.parts.forward == "fixed"
    got = net.forward(x, stream=stream_of(net))
    assert got.dtype == (net.network.layers[-1].formats.activation.dtype if fixed else np.float64)
    _, A = model.forward(x.tolist())
    assert bits(got.tolist()) == bits(A[-1])


def check_gradient(net, model, x, y):
    try:
        want = model.gradient(x.tolist(), y.tolist(), exponent(net, len(x)))
    except reference.Diverged:
        with pytest.raises(FloatingPointError):
            net.gradient(x, y, stream=stream_of(net))
        return
    got = net.gradient(x, y, stream=stream_of(net))
    fixed = net.network.parts.backward == "fixed"
    assert len(got.weights) == len(want) and len(got.biases) == len(want) * net.network.bias
    for i, layer in enumerate(net.network.layers):
        dtype = layer.formats.gradient.dtype if fixed else np.float64
        assert got.weights[i].dtype == dtype and bits(got.weights[i].tolist()) == bits(want[i][0])
        if net.network.bias:
            assert got.biases[i].dtype == dtype and bits(got.biases[i].tolist()) == bits(want[i][1])


def check_step(net, model, x, y, lr_shift):
    """Do a step on both; return whether it diverged."""
    before = bits(tensors(net))
    try:
        right, loss = model.step(x.tolist(), y.tolist(), lr_shift, exponent(net, len(x)))
    except reference.Diverged:
        got = net.step(x, y, lr_shift)
        assert (got.right, math.isnan(got.loss), got.diverged) == (0, True, True)
        assert bits(tensors(net)) == before
        return True
    got = net.step(x, y, lr_shift)
    assert (got.right, bits(got.loss), got.diverged) == (right, bits(loss), False)
    assert type(got.right) is int and type(got.loss) is float and type(got.diverged) is bool
    check_weights(net, model)
    return False


def check_all(draw, net, n, lr_shifts):
    """Check a network at its start, its gradient, three steps on n samples, and what it is then."""
    model = twin_network(net)
    check_weights(net, model)
    x, y = batch(draw, net, n)
    check_forward(net, model, x)
    check_gradient(net, model, x, y)
    for _ in range(3):
        check_step(net, model, x, y, draw(lr_shifts))
    check_forward(net, model, x)


def check_training(net, model, x, y, lr_shift, batches, **arguments):
    """Train, with the batches that the model is to take; return the history."""
    right, loss, diverged_at = [], [], None
    m = exponent(net, arguments.get("batch_size", 1))
    for i, rows in enumerate(batches):
        try:
            step = model.step(x[rows].tolist(), y[rows].tolist(), lr_shift, m)
        except reference.Diverged:
            diverged_at = i
            break
        right.append(step[0])
        loss.append(step[1])
    rest = len(batches) - len(right)
    history = net.train(x, y, lr_shift, overflow="ignore", **arguments)
    assert (history.steps, history.diverged_at) == (len(right), diverged_at)
    assert_same(history.right, right + [0] * rest, np.int32)
    assert history.loss.dtype == np.float64
    assert bits(history.loss.tolist()) == bits(loss + [math.nan] * rest)
    check_weights(net, model)
    return history


# Random networks


@st.composite
def plain_formats(draw):
    """Draw a format in which values around one are neither all zero nor all saturated."""
    bits = draw(st.sampled_from([8, 12, 16, 24, 32, 33, 48, 64]))
    frac = draw(st.integers(2, min(bits - 3, 30)))
    rounding, overflow = draw(st.sampled_from(EVERY_ROUNDING)), draw(st.sampled_from(OVERFLOWS))
    random_bits = draw(st.integers(1, 32)) if rounding == "stochastic" else 32
    return QFormat(bits, frac, rounding, overflow, random_bits)


activations = st.one_of(
    st.just(intmlp.linear()),
    st.sampled_from([intmlp.relu(), intmlp.relu(derivative_at_zero=0.5)]),
    st.one_of(st.integers(1, 5), st.integers(1, 63)).map(intmlp.leaky_relu),
    st.sampled_from([intmlp.hard_tanh(), intmlp.hard_sigmoid()]),
)


@st.composite
def networks(draw, parts=None, any_formats=None, optimiser=False):
    """Draw a network, without momentum and decay or with one of them or both."""
    any_format = formats() if any_formats is None else any_formats
    chosen = draw(st.sampled_from([plain_formats(), plain_formats(), any_format]))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    layers = len(sizes) - 1
    if draw(st.booleans()):
        each = draw(chosen)
    else:
        each = [
            LayerFormats(*(draw(chosen) for _ in range(4 + optimiser * draw(st.integers(0, 1)))))
            for _ in range(layers)
        ]
    scale = draw(st.sampled_from([0.5, 1.0, 4.0]))
    momentum, decay = None, None
    if optimiser:
        momentum = draw(st.one_of(st.none(), st.integers(1, 5), st.integers(1, 31)))
        few, many = st.integers(0, 8), st.integers(0, 63)
        decay = draw(few | many if momentum is None else st.none() | few | many)
    return MLP(
        sizes,
        each,
        input_format=draw(st.one_of(st.none(), chosen)),
        activation=[draw(activations) for _ in range(layers)],
        bias=draw(st.booleans()),
        loss=draw(st.sampled_from(["sse", "half_sse"])),
        update=draw(st.sampled_from(["fused", "two_step"])),
        average=draw(st.booleans()),
        momentum_shift=momentum,
        decay_shift=decay,
        parts=draw(st.sampled_from(ALL_PARTS)) if parts is None else parts,
        init=intmlp.uniform(-scale, scale),
        seed=draw(st.integers(0, 2**32 - 1)),
        rounding_seed=draw(st.integers(0, 2**64 - 1)),
    )


@st.composite
def rows(draw, fmt, shape):
    """Draw inputs or targets: float64, float32, or raw."""
    state = draw(seeds)
    kind = draw(st.sampled_from(["float64", "float32", "raw"]))
    if kind == "raw":
        return raw_array(state, fmt, shape, draw(st.sampled_from(FLAVOURS)))
    values = state.uniform(-1, 1, shape) * 2.0 ** draw(st.integers(-3, 5))
    exact = state.random_sample(shape) < 0.3  # zeros and ties
    return np.where(exact, np.rint(4 * values) / 4, values).astype(kind)


def batch(draw, net, n):
    """Draw inputs and targets of n samples."""
    last = net.network.layers[-1]
    x = draw(rows(net.network.input, (n, net.network.layers[0].n_in)))
    return x, draw(rows(last.formats.activation, (n, last.n_out)))


lr_shifts = st.one_of(st.integers(-2, 12), st.sampled_from([-70, 40, 64, 70, 200, 5000, -5000]))


@given(networks(), st.data())
@examples(300)
def test_random_networks(net, data):
    n = data.draw(st.sampled_from([1, 2, 4, 8] if net._average else [1, 2, 3, 5, 8]))
    check_all(data.draw, net, n, lr_shifts)


@every_parts
@given(data=st.data())
@examples(40)
def test_every_combination_of_parts(parts, data):
    net = data.draw(networks(parts=parts, any_formats=plain_formats()))
    model = twin_network(net)
    x, y = batch(data.draw, net, 4)
    check_forward(net, model, x)
    check_gradient(net, model, x, y)
    for _ in range(4):
        check_step(net, model, x, y, data.draw(st.integers(0, 6)))


@given(networks(), st.data())
def test_training_is_a_loop_of_steps(net, data):
    model = twin_network(net)
    n = data.draw(st.integers(1, 9))
    batch_size = data.draw(st.sampled_from([1, 2, 4, 16] if net._average else [1, 2, 3, 10]))
    epochs, shuffle = data.draw(st.integers(0, 3)), data.draw(st.booleans())
    seed = data.draw(st.integers(0, 9))
    x, y = batch(data.draw, net, n)
    state = np.random.RandomState(seed)
    batches = []
    for _ in range(epochs):
        order = state.permutation(n) if shuffle else np.arange(n)
        batches += [order[i : i + batch_size] for i in range(0, n, batch_size)]
    check_training(
        net, model, x, y, data.draw(lr_shifts), batches,
        epochs=epochs, batch_size=batch_size, shuffle=shuffle, seed=seed,
    )  # fmt: skip


@given(data=st.data())
@examples(150)
def test_enormous_floats(data):
    """Overflow in every place: Z, E, D, gradients, steps, masters, losses."""
    net = data.draw(networks(parts=data.draw(st.sampled_from(SOME_FLOAT))))
    model = twin_network(net)
    x, y = batch(data.draw, net, 2)
    powers = st.sampled_from([-1070, -540, -30, 0, 500, 530, 1000, 1015])
    with np.errstate(over="ignore"):
        x, y = (v.astype(np.float64) * 2.0 ** data.draw(powers) for v in (x, y))
    x, y = np.clip(x, -1.7e308, 1.7e308), np.clip(y, -1.7e308, 1.7e308)
    check_forward(net, model, x)
    check_gradient(net, model, x, y)
    for _ in range(3):
        lr_shift = data.draw(st.sampled_from([-1000, -10, 0, 3, 900, 1060, 2000]))
        check_step(net, model, x, y, lr_shift)


@pytest.mark.parametrize("sign", [-1, 1])
def test_float_steps_that_leave_the_normal_numbers_are_rounded_once(sign):
    """(N + 1/2 + 2**-18) * 2**-1074 for an even N: rounded in two goes it would be a tie."""
    fmt, N, floats = QFormat(16, 8), 2**33, Parts("float", "float", "float")
    for lr_shift in range(1023, 1060):
        net = MLP([1, 1], fmt, activation=intmlp.linear(), parts=floats)
        net.set_weights([[[0.0]]], [[0.0]])
        target = math.ldexp(sign * (N + 0.5 + 2**-18), lr_shift - 1074)
        check_step(net, twin_network(net), np.ones((1, 1)), np.full((1, 1), target), lr_shift)
        assert net.master_weights[0][0, 0] == math.ldexp(sign * (N + 1), -1074)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_loss_gradients_as_wide_as_64_bits(rounding):
    """Outputs and targets at the ends of their format, whose difference is beyond it."""
    for bits, loss in itertools.product((61, 62, 63, 64), ("sse", "half_sse")):
        fmt = QFormat(bits, bits - 4, rounding)
        net = MLP([1, 4], fmt, activation=intmlp.linear(), loss=loss)
        ends = [fmt.raw_min, fmt.raw_max, fmt.raw_min + 1, fmt.raw_max]
        net.set_weights([np.zeros((4, 1), np.int64)], [np.array(ends)])
        y = np.array([ends[::-1], ends, [0, 1, -1, 0]])
        check_gradient(net, twin_network(net), np.zeros_like(y[:, :1]), y)


@pytest.mark.parametrize(("gradient", "weight"), [(31, 31), (32, 31), (31, 32), (32, 32)])
def test_the_largest_gradients_at_the_ends_of_a_weight(gradient, weight):
    """Two-step updates of 31 bits, which lanes of 32 bits hold, and of 32, which they do not."""
    wide = QFormat(40, 8)
    formats = LayerFormats(
        activation=wide, weight=QFormat(weight, 8), delta=wide, gradient=QFormat(gradient, 8)
    )
    end = 2 ** (weight - 1)
    for lr_shift, target in itertools.product((1, 2, 8), (-(2**39), 2**39 - 1)):
        net = MLP([1, 6], [formats], activation=intmlp.linear(), update="two_step")
        weights = np.array([end - 1, end - 2, 0, 1 - end, -end, 5], np.int32)
        net.set_weights([weights[:, None]], [weights])
        x, y = np.full((2, 1), 2**8), np.full((2, 6), target)
        check_step(net, twin_network(net), x, y, lr_shift)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_steps_that_lose_the_top_bit_of_a_limb(rounding):
    """A sum of 2**(k - 1) + 2**63 and a shift by k: beyond the tie by one bit, in another limb."""
    fmt = QFormat(64, 16, rounding)
    for k, sign in itertools.product((*range(65, 72), 80, 90), (-1, 1)):
        net = MLP([1, 1], fmt, activation=intmlp.linear(), loss="half_sse", bias=False)
        net.set_weights([np.zeros((1, 1), np.int64)])
        x = np.array([[2**31], [0]])
        y = np.array([[sign * (2 ** (k - 32) + 2**32)], [0]])
        check_step(net, twin_network(net), x, y, k - 16)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_steps_that_lose_two_limbs(rounding):
    """A sum of 2**127 + 2**63, the first from four samples, around a shift by 128."""
    fmt = QFormat(64, 16, rounding)
    for k, sign in itertools.product((127, 128, 129), (-1, 1)):
        net = MLP([1, 1], fmt, activation=intmlp.linear(), loss="sse", bias=False, decay_shift=9)
        net.set_weights([np.zeros((1, 1), np.int64)])
        x = np.array([[-(2**63)]] * 4 + [[-(2**31)]])
        y = sign * np.array([[2**61]] * 4 + [[2**31]])
        check_step(net, twin_network(net), x, y, k - 16)


# Larger than every block of a kernel


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48])
@pytest.mark.parametrize("batch_size", [1, 16, 33])
def test_larger_networks(bits, batch_size):
    state = np.random.RandomState(bits)
    fmt = QFormat(bits, bits // 2)
    net = MLP(
        [65, 33, 17, 9], fmt, activation=[intmlp.leaky_relu(3), intmlp.relu(), intmlp.linear()],
        seed=1,
    )  # fmt: skip
    model = twin_network(net)
    x, y = state.uniform(-2, 2, (batch_size, 65)), state.uniform(-2, 2, (batch_size, 9))
    check_forward(net, model, x)
    check_gradient(net, model, x, y)
    check_step(net, model, x, y, 5)
    check_step(net, model, x, y, 3)


@pytest.mark.parametrize("bits", [16, 32, 40])
def test_wide_layers_one_sample_at_a_time(bits):
    state = np.random.RandomState(bits)
    net = MLP([3, 290, 60, 2], QFormat(bits, 10), activation=intmlp.relu(0.5), seed=3)
    x, y = state.uniform(-2, 2, (2, 3)), state.uniform(-2, 2, (2, 2))
    check_training(net, twin_network(net), x, y, 4, [[0], [1]], shuffle=False)


@every_parts
def test_larger_networks_in_all_parts(parts):
    state = np.random.RandomState(7)
    net = MLP([33, 18, 17], QFormat(20, 12), parts=parts, seed=2)
    model = twin_network(net)
    x, y = state.uniform(-1, 1, (19, 33)), state.uniform(-1, 1, (19, 17))
    check_forward(net, model, x)
    check_gradient(net, model, x, y)
    check_step(net, model, x, y, 5)
    check_step(net, model, x, y, 5)


LAYERS = [intmlp.linear(), intmlp.relu(), intmlp.relu(0.5), intmlp.leaky_relu(3)]


@pytest.mark.parametrize("activation", LAYERS, ids=repr)
@pytest.mark.parametrize("bits", [12, 26, 32, 33, 61, 62, 64])
def test_batches_longer_than_a_block(bits, activation):
    """Every loop over elements, on more of them than it takes at a time, zeros among them."""
    state = np.random.RandomState(bits)
    rules = itertools.cycle(itertools.product(ROUNDINGS, OVERFLOWS))
    for _, x_flavour, y_flavour in itertools.product(range(2), *[("small", "uniform")] * 2):
        fmt = QFormat(bits, bits // 2, *next(rules))
        delta = QFormat(bits - state.randint(4), bits // 2 + state.randint(-1, 2), fmt.rounding)
        net = MLP(
            [1, 6, 6],
            LayerFormats(fmt, fmt, delta, fmt),
            input_format=fmt,
            activation=activation,
            bias=False,
            loss=("sse", "half_sse")[state.randint(2)],
            update="two_step",
        )
        net.set_weights([raw_array(state, fmt, shape, "small") for shape in ((6, 1), (6, 6))])
        x, y = raw_array(state, fmt, (90, 1), x_flavour), raw_array(state, fmt, (90, 6), y_flavour)
        check_step(net, twin_network(net), x, y, 3)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize(("bits", "lr_shift"), [(12, 2), (32, 9)])
def test_online_training_of_one_layer(bits, lr_shift, rounding, overflow):
    """The published experiment's shape, into saturation or wrapping."""
    state = np.random.RandomState(bits + lr_shift)
    fmt = QFormat(bits, bits - 4, rounding, overflow)
    net = MLP([21, 10], fmt, bias=False, init=intmlp.normal(500, unit="raw"), seed=state)
    model = twin_network(net)
    x = np.where(state.random_sample((12, 21)) < 0.6, 0.0, state.random_sample((12, 21)))
    y = np.eye(10)[state.randint(10, size=12)]
    batches = [[i] for i in range(12)] * 3
    check_training(net, model, x, y, lr_shift, batches, epochs=3, shuffle=False)


def test_online_training_784_10():
    state = np.random.RandomState(0)
    fmt = QFormat(32, 16, "floor")
    net = MLP([784, 10], fmt, bias=False, init=intmlp.normal(500, unit="raw"), seed=state)
    model = twin_network(net)
    x, y = state.randint(0, 256, (8, 784)) / 255, np.eye(10)[state.randint(10, size=8)]
    check_training(net, model, x, y, 8, [[i] for i in range(8)], shuffle=False)


@pytest.mark.parametrize("update", ["fused", "two_step"])
@pytest.mark.parametrize("bits", [8, 31, 32, 33, 61, 62, 63, 64])
@pytest.mark.parametrize("n", [1, 3])
def test_every_shift_of_an_update(bits, n, update):
    """Weights and sums at their extremes, shifted by every amount that a code path may end at."""
    state = np.random.RandomState(bits)
    for narrow in (QFormat(16, 4), QFormat(32, 8), QFormat(64, 8)):
        # frac_in - frac is lr_shift for the weights (fused); the others lie near it.
        for lr_shift in (-70, -64, -63, -1, 0, 1, 2, 30, 31, 32, 33, *range(60, 67), 127, 128):
            rule = ROUNDINGS[(lr_shift + n) % 5], OVERFLOWS[lr_shift // 5 % 2]
            weight = QFormat(bits, 2 * narrow.frac, *rule)
            each = LayerFormats(narrow, weight, narrow, QFormat(40, 6))
            linear = intmlp.linear()
            net = MLP([3, 4], [each], activation=linear, update=update, seed=1)
            flavour = FLAVOURS[lr_shift % len(FLAVOURS)]
            net.set_weights(
                [raw_array(state, weight, (4, 3), "extremes")],
                [raw_array(state, weight, (4,), "extremes")],
            )
            x = raw_array(state, narrow, (n, 3), flavour)
            y = raw_array(state, narrow, (n, 4), "extremes")
            check_step(net, twin_network(net), x, y, lr_shift)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", EVERY_ROUNDING)
@pytest.mark.parametrize("bits", [8, 32, 40])
@pytest.mark.parametrize("n", [1, 3])
def test_every_rule_of_an_update(bits, rounding, overflow, n):
    """Operands of each width, whose sums every kind of kernel adds, by weights of one rule."""
    state = np.random.RandomState(bits)
    weight = QFormat(bits, 6, rounding, overflow)
    for operand, lr_shift in itertools.product((8, 16, 32, 64), (1, 3, 9)):
        fmt = QFormat(operand, 4)
        each = LayerFormats(fmt, weight, fmt, fmt)
        net = MLP([3, 4], each, activation=intmlp.linear(), seed=1, rounding_seed=2)
        model = twin_network(net)
        for flavour in ("small", "uniform"):
            x, y = raw_array(state, fmt, (n, 3), flavour), raw_array(state, fmt, (n, 4), flavour)
            check_step(net, model, x, y, lr_shift)


def test_a_stored_gradient_whose_negative_int64_does_not_hold():
    fmt = QFormat(16, 4)
    net = MLP(
        [1, 1],
        LayerFormats(fmt, fmt, fmt, QFormat(64, 63)),
        activation=intmlp.linear(),
        bias=False,
        update="two_step",
    )
    net.set_weights([np.array([[0]], np.int32)])
    x, y = np.array([[1.0]]), np.array([[1.0]])
    assert net.gradient(x, y).weights[0].tolist() == [[-(2**63)]]
    assert net.step(x, y, 0).right == 1
    assert net.weights[0].tolist() == [[16]]


# Inputs


def test_worked_examples():
    """Numbers of numerics.md, sections 3 to 5, by hand."""
    net = MLP([2, 1], QFormat(8, 4), activation=intmlp.leaky_relu(2))
    net.set_weights([np.array([[1.5, -2.0]])], [np.array([0.25])])
    x, y = np.array([[0.5, 0.125], [0.0, 0.375]]), np.array([[0.5], [-0.25]])
    assert net.forward(x).tolist() == [[12], [-2]]
    gradient = net.gradient(x, y)
    assert gradient.weights[0].tolist() == [[2, 0]] and gradient.biases[0].tolist() == [4]
    assert net.step(x, y, 0) == intmlp.Step(right=2, loss=0.0390625, diverged=False)
    assert net.weights[0].tolist() == [[22, -32]] and net.biases[0].tolist() == [0]


@every_parts
def test_raw_inputs_are_their_values(parts):
    fmt = QFormat(20, 10)
    nets = [MLP([3, 4, 2], fmt, parts=parts, seed=3) for _ in range(3)]
    state = np.random.RandomState(0)
    x, y = raw_array(state, fmt, (5, 3), "uniform"), raw_array(state, fmt, (5, 2), "uniform")
    real = intmlp.dequantize(x, fmt), intmlp.dequantize(y, fmt)
    steps = [
        nets[0].step(x, y, 8),
        nets[1].step(*real, 8),
        nets[2].step(*(v.astype(np.float32) for v in real), 8),  # 20 bits: exact
    ]
    assert steps[0] == steps[1] == steps[2] and not steps[0].diverged
    assert bits(tensors(nets[0])) == bits(tensors(nets[1])) == bits(tensors(nets[2]))


def test_float_inputs_round_by_the_input_format():
    coarse = QFormat(8, 0, "floor")
    net = MLP([1, 1], QFormat(16, 4), input_format=coarse, activation=intmlp.linear(), bias=False)
    net.set_weights([[[1.0]]])
    assert net.forward([[1.99], [-0.01], [500.0]]).tolist() == [[16], [-16], [127 * 16]]


@every_parts
def test_memory_layout_cannot_be_seen(parts):
    state = np.random.RandomState(4)
    x, y = state.uniform(-1, 1, (6, 5)), state.uniform(-1, 1, (6, 3))
    for kind, bits in ((np.float64, 16), (np.float32, 16), (np.int32, 16), (np.int64, 40)):
        fmt = QFormat(bits, 8)
        if kind in (np.int32, np.int64):
            u, v = intmlp.quantize(x, fmt), intmlp.quantize(y, fmt)
            assert u.dtype == v.dtype == kind
        else:
            u, v = x.astype(kind), y.astype(kind)
        results = []
        for layout in LAYOUTS:
            net = MLP([5, 4, 3], fmt, parts=parts, seed=1)
            a, b = layout(u), layout(v)
            assert np.array_equal(a, u) and np.array_equal(b, v)
            out, gradient = net.forward(a), net.gradient(a, b)
            history = net.train(a, b, 3, batch_size=4, epochs=2, overflow="ignore")
            results.append((
                out.tolist(), [g.tolist() for g in gradient.weights + gradient.biases],
                history.right.tolist(), history.loss.tolist(), tensors(net),
            ))  # fmt: skip
        assert all(result == results[0] for result in results)


def unaligned(array):
    raised = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raised[...] = array
    return raised


def frozen(array):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = [
    np.ascontiguousarray,
    np.asfortranarray,
    lambda v: np.repeat(np.repeat(v, 2, axis=0), 3, axis=1)[::2, ::3],
    lambda v: v[::-1, ::-1].copy()[::-1, ::-1],
    lambda v: v.astype(v.dtype.newbyteorder()),
    unaligned,
    frozen,
]


def test_broadcast_inputs():
    net = MLP([3, 2], QFormat(16, 8), seed=1)
    row, target = np.array([0.5, -0.25, 1.0]), np.array([1.0, 0.0])
    x, y = np.broadcast_to(row, (4, 3)), np.broadcast_to(target, (4, 2))
    gradient, same = net.gradient(x, y), net.gradient(x.copy(), y.copy())
    assert np.array_equal(gradient.weights[0], same.weights[0])
    assert np.array_equal(net.forward(x), np.tile(net.forward(row[None]), (4, 1)))


def test_inputs_are_left_alone():
    net = MLP([3, 2], QFormat(16, 8), seed=1)
    x, y = np.ones((4, 3)), np.zeros((4, 2))
    net.train(x, y, 2, epochs=3)
    assert np.array_equal(x, np.ones((4, 3))) and np.array_equal(y, np.zeros((4, 2)))


@every_parts
def test_forward_of_nothing(parts):
    out = MLP([3, 2], QFormat(16, 8), parts=parts).forward(np.zeros((0, 3)))
    assert out.shape == (0, 2)
    assert out.dtype == (np.int32 if parts.forward == "fixed" else np.float64)


@every_parts
def test_forward_of_many_rows_is_row_by_row(parts):
    net = MLP([7, 5, 3], QFormat(16, 8), parts=parts, seed=1)
    x = np.random.RandomState(0).uniform(-2, 2, (2501, 7))
    out = net.forward(x)
    assert out.shape == (2501, 3) and len(np.unique(out)) > 100
    order = np.random.RandomState(1).permutation(2501)
    assert np.array_equal(out[order], net.forward(x[order]))
    for i in (0, 1, 255, 256, 2500):
        assert np.array_equal(out[i : i + 1], net.forward(x[i : i + 1]))


# Weights


INITS = {
    "uniform": (intmlp.uniform(), lambda n_in: (-1 / math.sqrt(n_in), 1 / math.sqrt(n_in))),
    "uniform_bounds": (intmlp.uniform(-0.3, 2.7), lambda n_in: (-0.3, 2.7)),
    "uniform_raw": (intmlp.uniform(-700.0, 900.0, unit="raw"), lambda n_in: (-700.0, 900.0)),
    "normal": (intmlp.normal(0.7), None),
    "normal_raw": (intmlp.normal(500, unit="raw"), None),
}


@every_parts
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", INITS)
def test_initial_values(name, bias, parts):
    """Draws layer by layer, W before b, in C order; from a seed or from a state."""
    fmt = QFormat(10, 6, "floor", "wrap")
    init, bounds = INITS[name]
    sizes = [5, 4, 3]
    state = np.random.RandomState(11)
    want = []
    for n_in, n_out in itertools.pairwise(sizes):
        tensors_of_layer = []
        for shape in [(n_out, n_in), (n_out,)][: 1 + bias]:
            if bounds is None:
                drawn = state.normal(0, init.std, shape).tolist()
            else:
                low, high = bounds(n_in)
                drawn = reference.each(
                    lambda u, low=low, high=high: low + (high - low) * u,
                    state.random_sample(shape).tolist(),
                )
            if init.unit == "raw":
                drawn = reference.each(lambda v: round(v) / 2**fmt.frac, drawn)
            tensors_of_layer.append(drawn)
        want.append(tensors_of_layer)
    raw = reference.each(lambda v: reference.quantize(v, twin(fmt)), want)
    for seed in (11, np.random.RandomState(11)):
        net = MLP(sizes, fmt, bias=bias, init=init, seed=seed, parts=parts)
        assert bits(tensors(net)) == bits(want if parts.update == "float" else raw)
        if parts.any_fixed:
            assert [w.tolist() for w in net.weights] == [layer[0] for layer in raw]


def test_a_state_is_drawn_on():
    state = np.random.RandomState(1)
    first, second = (MLP([4, 3], QFormat(16, 12), seed=state) for _ in range(2))
    assert not np.array_equal(first.weights[0], second.weights[0])
    again = np.random.RandomState(1)
    again.random_sample(4 * 3 + 3)
    assert np.array_equal(second.weights[0], MLP([4, 3], QFormat(16, 12), seed=again).weights[0])


def test_raw_units_shrink_with_frac():
    init = intmlp.normal(500, unit="raw")
    coarse, fine = (MLP([4, 3], QFormat(32, f), init=init, seed=1) for f in (8, 20))
    assert np.array_equal(coarse.weights[0], fine.weights[0])


@every_parts
def test_set_weights(parts):
    fmt = QFormat(8, 4)
    net = MLP([2, 1], fmt, parts=parts, seed=1)
    real = np.array([[0.7, 100.0]]), np.array([-0.3])
    net.set_weights([real[0]], [real[1]])
    if parts.any_fixed:
        assert_same(net.weights[0], [[11, 127]], np.int32)
        assert_same(net.biases[0], [-5], np.int32)
    if parts.update == "float":
        assert np.array_equal(net.master_weights[0], real[0])
        assert np.array_equal(net.master_biases[0], real[1])
    raw = np.array([[-128, 5]], np.int32), np.array([3], np.int32)
    net.set_weights([raw[0]], [raw[1]])
    if parts.any_fixed:
        assert_same(net.weights[0], [[-128, 5]], np.int32)
    if parts.update == "float":
        assert np.array_equal(net.master_weights[0], [[-8.0, 0.3125]])
        assert np.array_equal(net.master_biases[0], [0.1875])
    raw[0][...] = 0
    real[0][...] = 0
    if parts.any_fixed:
        assert_same(net.weights[0], [[-128, 5]], np.int32)


@every_parts
def test_raw_weights_beyond_53_bits(parts):
    """A float64 master cannot hold them; what a fixed part reads is the quantized master."""
    fmt = QFormat(64, 62)
    net = MLP([2, 1], fmt, bias=False, parts=parts)
    net.set_weights([np.array([[2**61 + 1, -(2**61) - 255]])])
    check_weights(net, twin_network(net))
    check_step(net, twin_network(net), np.array([[0.5, -0.75]]), np.array([[0.25]]), 4)


def test_float_lists_and_float32_weights():
    net = MLP([2, 1], QFormat(8, 4), bias=False)
    net.set_weights([[[0.5, 1.0]]])
    assert net.weights[0].tolist() == [[8, 16]]
    net.set_weights((np.array([[1.5, -1.0]], np.float32),))
    assert net.weights[0].tolist() == [[24, -16]]


@every_parts
def test_views_are_read_only(parts):
    net = MLP([3, 4, 2], QFormat(16, 8), activation=intmlp.linear(), parts=parts, seed=1)
    names = ["weights", "biases"] if parts.any_fixed else []
    names += ["master_weights", "master_biases"] if parts.update == "float" else []
    for name in names:
        views = getattr(net, name)
        assert isinstance(views, tuple) and len(views) == 2
        for view in views:
            assert not view.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                view[...] = 0
        before = views[0].copy()
        net.step(np.ones((1, 3)), np.full((1, 2), 9.0), 0)
        assert not np.array_equal(views[0], before)  # a view, not a copy
        assert np.array_equal(views[0], getattr(net, name)[0])


@every_parts
def test_which_weights_there_are(parts):
    net = MLP([3, 2], QFormat(16, 8), parts=parts)
    there = {
        "weights": parts.any_fixed,
        "biases": parts.any_fixed,
        "master_weights": parts.update == "float",
        "master_biases": parts.update == "float",
    }
    for name, present in there.items():
        assert hasattr(net, name) == present
        if not present:
            with pytest.raises(AttributeError, match=name):
                getattr(net, name)


@every_parts
def test_without_biases(parts):
    net = MLP([3, 2], QFormat(16, 8), bias=False, parts=parts)
    assert net.gradient(np.ones((1, 3)), np.ones((1, 2))).biases == ()
    if parts.any_fixed:
        assert net.biases == ()
    if parts.update == "float":
        assert net.master_biases == ()


@every_parts
def test_gradient_changes_nothing_and_is_its_own(parts):
    net = MLP([3, 4, 2], QFormat(16, 8), parts=parts, seed=1)
    before = tensors(net)
    x, y = np.ones((2, 3)), np.full((2, 2), 3.0)
    first = net.gradient(x, y)
    values = [g.copy() for g in first.weights + first.biases]
    second = net.gradient(-x, y)
    assert tensors(net) == before
    assert all(
        np.array_equal(g, v) for g, v in zip(first.weights + first.biases, values, strict=True)
    )
    assert not np.array_equal(first.weights[0], second.weights[0])


# Averages


@every_parts
@pytest.mark.parametrize("update", ["fused", "two_step"])
def test_a_short_last_batch_is_divided_by_the_nominal_size(parts, update):
    fmt = QFormat(24, 12)
    net = MLP([3, 4, 2], fmt, average=True, parts=parts, update=update, seed=1)
    model = twin_network(net)
    state = np.random.RandomState(0)
    x, y = state.uniform(-1, 1, (10, 3)), state.uniform(-1, 1, (10, 2))
    batches = [list(range(0, 4)), list(range(4, 8)), [8, 9]] * 2
    check_training(net, model, x, y, 1, batches, epochs=2, batch_size=4, shuffle=False)


def test_an_average_is_a_slower_rate():
    """Fused, fixed: m is added to lr_shift, and nothing is rounded twice."""
    x, y = np.random.RandomState(0).uniform(-1, 1, (2, 8, 3))
    mean, total = (MLP([3, 3], QFormat(16, 8), average=a, seed=1) for a in (True, False))
    assert mean.step(x, y, 1) == total.step(x, y, 4)
    assert tensors(mean) == tensors(total)


# History


def small_task(n=6):
    state = np.random.RandomState(5)
    return state.uniform(-1, 1, (n, 3)), state.uniform(-1, 1, (n, 2))


def test_history_without_a_report():
    x, y = small_task()
    silent, loud = (MLP([3, 2], QFormat(16, 8), seed=1) for _ in range(2))
    history = silent.train(x, y, 3, epochs=2, report=False, overflow="ignore")
    assert history == intmlp.History(steps=12, right=None, loss=None, diverged_at=None)
    loud.train(x, y, 3, epochs=2)
    assert tensors(silent) == tensors(loud)


def test_no_epochs():
    x, y = small_task()
    net = MLP([3, 2], QFormat(16, 8), seed=1)
    before = tensors(net)
    history = net.train(x, y, 3, epochs=0)
    assert (history.steps, history.right.shape, history.loss.shape) == (0, (0,), (0,))
    assert history.diverged_at is None and tensors(net) == before


def test_a_state_orders_on():
    """One state over all epochs, and on over calls."""
    x, y = small_task()
    linear = intmlp.linear()
    nets = [MLP([3, 2], QFormat(24, 18), activation=linear, seed=1) for _ in range(3)]
    nets[0].train(x, y, 1, epochs=4, seed=9)
    state = np.random.RandomState(9)
    nets[1].train(x, y, 1, epochs=1, seed=state)
    nets[1].train(x, y, 1, epochs=3, seed=state)
    nets[2].train(x, y, 1, epochs=4, seed=8)
    assert tensors(nets[0]) == tensors(nets[1]) != tensors(nets[2])


def test_right_counts_first_arg_maxima():
    net = MLP([1, 3], QFormat(8, 0), activation=intmlp.linear(), bias=False)
    net.set_weights([np.array([[1], [1], [0]], np.int32)])  # output 1, 1, 0
    x = np.ones((4, 1), np.int32)
    y = np.array([[5, 4, 5], [4, 5, 5], [5, 5, 5], [0, 0, 1]], np.int32)
    assert net.step(x, y, 100) == intmlp.Step(2, 80.0, False)
    # half of (16 + 9 + 25) + (9 + 16 + 25) + (16 + 16 + 25) + (1 + 1 + 1); 2**-100 moves nothing
    assert net.weights[0].tolist() == [[1], [1], [0]]


def test_the_loss_is_correctly_rounded():
    """Its exact sum has more than 53 bits, and more than 64."""
    fmt = QFormat(64, 0, overflow="wrap")
    for loss, extra in (("sse", 1), ("half_sse", 1), ("sse", 3)):
        net = MLP([1, 2], fmt, activation=intmlp.linear(), bias=False, loss=loss)
        net.set_weights([np.array([[-(2**63)], [2**63 - 1]])])
        x, y = np.array([[1], [1]]), np.array([[2**63 - 1, -(2**63)], [extra, extra]])
        check_step(net, twin_network(net), x, y, 300)


# Divergence


def float_net(*weights):
    """Return an all-float linear network of single neurons."""
    sizes = [1] * (len(weights) + 1)
    net = MLP(sizes, QFormat(16, 8), activation=intmlp.linear(), bias=False, parts=FLOATS)
    net.set_weights(weights)
    return net


@pytest.mark.parametrize(
    ("weights", "x", "y", "lr_shift"),
    [
        ([[[1e200]]], 1e200, 0.0, 2000),  # Z
        ([[[1e200]], [[1e-200]]], 1e200, 0.0, 2000),  # Z of a hidden layer
        ([[[0.0]], [[1e200]]], 1.0, 1e200, 2000),  # E
        ([[[0.0]], [[1.0]], [[1e200]]], 1.0, 1e200, 2000),  # E of the upper hidden layer
        ([[[-1.0]]], 1.7e308, 1.7e308, 2000),  # D: -1.7e308 - 1.7e308
        ([[[-1.0]]], 1e200, 1e200, 2000),  # the gradient
        ([[[1.0]]], 1.0, 3.0, -1023),  # the step
        ([[[1.7e308]]], 1e-154, 2.7e154, -1023),  # the master: 1.7e308 + 9e307
    ],
)
def test_what_is_not_finite_stops_a_step(weights, x, y, lr_shift):
    net = float_net(*weights)
    assert check_step(net, twin_network(net), np.array([[x]]), np.array([[y]]), lr_shift)


def test_a_gradient_of_biases_that_is_not_finite_stops_a_step():
    """That of the weights is zero, as the inputs are."""
    net = MLP([1, 1], QFormat(16, 8), activation=intmlp.linear(), parts=FLOATS, seed=1)
    x, y = np.zeros((2, 1)), np.full((2, 1), 1.6e308)  # D is -1.6e308, twice
    check_gradient(net, twin_network(net), x, y)
    assert check_step(net, twin_network(net), x, y, 2000)


def test_a_velocity_that_is_not_finite_stops_a_step():
    net = MLP([1, 1], QFormat(16, 8), activation=intmlp.linear(), bias=False, parts=FLOATS,
              momentum_shift=1, seed=1)  # fmt: skip
    model = twin_network(net)
    x, y = np.array([[1.0]]), np.array([[1.6e308]])
    assert [check_step(net, model, x, y, 2000) for _ in range(3)] == [False, True, True]


def test_the_largest_float_stops_no_step():
    parts = Parts("float", "float", "float")
    net = MLP([1, 1], QFormat(8, 4), activation=intmlp.linear(), bias=False, parts=parts)
    net.set_weights([[[1.0]]])
    x = np.array([[np.finfo(np.float64).max]])
    assert net.step(x, x, 0) == intmlp.nn.mlp.Step(1, 0.0, False)


def test_an_error_that_is_not_finite_stops_a_step_also_where_relu_is_off():
    """E overflows; its D would be zero, and so would every gradient."""
    functions = [intmlp.relu(), intmlp.linear()]
    net = MLP([1, 1, 1], QFormat(16, 8), activation=functions, parts=FLOATS, bias=False)
    net.set_weights([[[-1.0]], [[1e200]]])
    assert check_step(net, twin_network(net), np.array([[1.0]]), np.array([[-1e200]]), 0)


def test_where_the_derivative_is_zero_the_delta_is_zero():
    """The difference overflows, but relu is off there: D is +0.0 and training goes on."""
    net = MLP([1, 1], QFormat(16, 8), parts=FLOATS, bias=False)
    net.set_weights([[[-1.0]]])
    x, y = np.array([[1.0]]), np.array([[-1.7e308]])
    assert not check_step(net, twin_network(net), x, y, 0)


def test_a_loss_that_overflows_is_infinite():
    net = float_net([[1.0]])
    model = twin_network(net)
    got = net.step(np.array([[1.0]]), np.array([[1e200]]), 700)
    assert got == intmlp.Step(1, math.inf, False)
    model.step([[1.0]], [[1e200]], 700)
    check_weights(net, model)


@pytest.mark.parametrize("parts", SOME_FLOAT, ids=name_of)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_divergence_in_training(parts, batch_size):
    """Steps before it count; it and the rest are wrong, and the weights are those before it."""
    x, y = small_task(4)
    x[2] *= 1e308
    y[2] *= 1e308
    linear, init = intmlp.linear(), intmlp.uniform(-8, 8)
    net = MLP([3, 4, 2], QFormat(24, 12), activation=linear, parts=parts, init=init, seed=1)
    model = twin_network(net)
    batches = [list(range(i, i + batch_size)) for i in range(0, 4, batch_size)] * 2
    history = check_training(
        net, model, x, y, 2, batches, epochs=2, batch_size=batch_size, shuffle=False
    )
    if parts.forward == "float":
        assert history.diverged_at == 2 // batch_size


def test_divergence_without_a_report():
    net = float_net([[1.0]])
    x, y = np.array([[1.0], [1e200]]), np.array([[0.5], [-1e200]])
    history = net.train(x, y, 3, epochs=2, shuffle=False, report=False)
    assert (history.steps, history.diverged_at) == (1, 1)
    assert net.master_weights[0].item() == 1.0 - 0.5 / 8


# Progress, interrupts, threads


def test_progress():
    x, y = small_task(40)
    net = MLP([3, 2], QFormat(16, 8), seed=1)
    calls = []
    history = net.train(x, y, 3, epochs=50, progress=lambda *counts: calls.append(counts))
    done = [count for count, _ in calls]
    assert {total for _, total in calls} == {2000}
    assert done == sorted(set(done)) and done[-1] == history.steps == 2000


def test_progress_changes_nothing():
    x, y = small_task(40)
    nets = [MLP([3, 2], QFormat(16, 8), seed=1) for _ in range(2)]
    nets[0].train(x, y, 3, epochs=20, progress=lambda done, total: None)
    nets[1].train(x, y, 3, epochs=20)
    assert tensors(nets[0]) == tensors(nets[1])


def restless(seed=0):
    """Return a network whose weights are never twice the same, and its training data."""
    state = np.random.RandomState(seed)
    fmt = QFormat(32, 16, overflow="wrap")
    net = MLP([20, 30, 20], fmt, activation=intmlp.linear(), init=intmlp.uniform(-4, 4), seed=seed)
    return net, state.uniform(-4, 4, (7, 20)), state.uniform(-4, 4, (7, 20))


def raw_bytes(net):
    return [tensor.tobytes() for tensor in net.weights + net.biases]


def steps_done(net, limit, seed=0):
    """Return how many whole steps the weights of `net` are away from the start."""
    other, x, y = restless(seed)
    want = raw_bytes(net)
    for done in range(limit):
        if raw_bytes(other) == want:
            return done
        row = done % len(x)
        other.step(x[row : row + 1], y[row : row + 1], 0)
    raise AssertionError(f"no whole number of steps below {limit} gives these weights")


@pytest.mark.parametrize("exception", [KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_in_progress_leaves_whole_steps(exception):
    net, x, y = restless()
    seen = []

    def progress(done, total):
        seen.append(done)
        if done >= 30:
            raise exception

    with pytest.raises(exception):
        net.train(x, y, 0, epochs=1000, shuffle=False, progress=progress, overflow="ignore")
    assert steps_done(net, 7001) == seen[-1]


@pytest.mark.parametrize("milliseconds", [1, 3, 10, 30, 100])
def test_ctrl_c_leaves_whole_steps(milliseconds):
    net, x, y = restless()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(milliseconds / 1000, os.kill, (os.getpid(), signal.SIGINT))
    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            net.train(x, y, 0, epochs=200_000, shuffle=False, report=False, overflow="ignore")
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, previous)
    assert time.perf_counter() - started < milliseconds / 1000 + 2
    steps_done(net, 100_000)
    assert not net.step(x, y, 4).diverged  # the network still serves


def test_an_interrupt_at_any_line_leaves_whole_steps():
    """What a signal hits by luck alone, a trace function hits surely: between two writes.

    Not at the lines of `with`: CPython takes no signal between the body and the exit.
    """
    package = os.path.dirname(intmlp.__file__)
    start, x, y = restless()
    before_and_after = [raw_bytes(start)]
    start.step(x[:1], y[:1], 0)
    before_and_after.append(raw_bytes(start))

    def interrupted_at(line):
        net, _, _ = restless()
        left = line

        def trace(frame, event, argument):
            nonlocal left
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
            if event == "line" and not line.lstrip().startswith("with "):
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return trace

        def calls(frame, event, argument):
            return trace if frame.f_code.co_filename.startswith(package) else None

        before = sys.gettrace()
        sys.settrace(calls)
        try:
            net.train(x[:1], y[:1], 0, overflow="count")
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert raw_bytes(net) in before_and_after
        net.step(x, y, 4)  # the network still serves
        return left <= 0

    lines = itertools.takewhile(interrupted_at, itertools.count(1))
    assert sum(1 for _ in lines) > 20


def test_networks_train_side_by_side():
    def trained(seed):
        net, x, y = restless(seed)
        history = net.train(x, y, 0, epochs=30, batch_size=3, seed=seed, overflow="ignore")
        return tensors(net), history.loss.tolist()

    one_by_one = [trained(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(trained, range(6))) == one_by_one


def test_calls_on_one_network_take_turns():
    """All steps are on the same batch: in whatever turn, they are those of one long training."""

    def train(net, epochs):
        net.train(x, y, 0, epochs=epochs, batch_size=len(x), shuffle=False, overflow="ignore")

    net, x, y = restless(3)
    train(net, 90)
    together, _, _ = restless(3)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(train, [together] * 3, [30] * 3))
    assert together.steps == 90
    assert tensors(together) == tensors(net)


# Copies


@every_parts
def test_pickle_and_copy(parts):
    x, y = small_task()
    net = MLP([3, 4, 2], QFormat(16, 8), parts=parts, average=True, update="two_step", seed=1)
    net.train(x, y, 3)
    copies = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
    at_that_time = tensors(net)
    net.train(x, y, 2, batch_size=2)
    for other in copies:
        assert other.network == net.network
        assert bits(tensors(other)) == bits(at_that_time) != bits(tensors(net))
        assert not other.weights[0].flags.writeable if parts.any_fixed else True
        other.train(x, y, 2, batch_size=2)
        assert bits(tensors(other)) == bits(tensors(net))
        with pytest.raises(ValueError, match="power of two"):
            other.step(x[:3], y[:3], 1)
