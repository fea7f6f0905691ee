"""Online training: the path on transposed weights against single steps and the oracle."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from intmlp import MLP, Accumulator, LayerFormats, Parts, QFormat, leaky_relu, linear, relu
from support import (
    EVERY_ROUNDING,
    FLAVOURS,
    OVERFLOWS,
    ROUNDINGS,
    assert_same,
    examples,
    raw_array,
    seeds,
    twin_network,
)

FUNCTIONS = (relu(), relu(0.5), leaky_relu(3), linear())
RULES = list(itertools.product(EVERY_ROUNDING, OVERFLOWS))
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


def parameters(net):
    """Return all weights and biases, raw and master."""
    parts, found = net.network.parts, []
    if parts.any_fixed:
        found += [*net.weights, *(net.biases if net.network.bias else ())]
    if parts.update == "float":
        found += [*net.master_weights, *(net.master_biases if net.network.bias else ())]
    return found


def parameters_of_oracle(model):
    """Return the same of the oracle."""
    found = []
    for tensors in (model.fixed(), model.tensors):
        weights, *biases = zip(*tensors, strict=True)
        found += [*weights, *itertools.chain(*biases)]
    half = len(found) // 2
    if model.parts.update == "fixed":
        return found[:half]
    return found if "fixed" in model.parts else found[half:]


def train(net, x, y, lr_shift, backend):
    """Train in one call of the backend, proved to take the online path; return the reports."""
    n = len(x)
    assert net._net.trains_online(1, n, lr_shift) == (backend != "python")
    right, loss = np.full(n, -1, np.int32), np.full(n, np.nan)
    order = np.arange(n, dtype=np.int64)
    done = net._net.train(x, y, order, 1, 0, n, lr_shift, 0, right, loss)
    assert (right[done:] == -1).all() and np.isnan(loss[done:]).all()
    return right[:done], loss[:done]


def train_by_steps(net, x, y, lr_shift):
    """Train by calls of one step, which never take that path; return the reports."""
    assert not net._net.trains_online(1, 1, lr_shift)
    steps = (net.step(x[i : i + 1], y[i : i + 1], lr_shift) for i in range(len(x)))
    done = list(itertools.takewhile(lambda step: not step.diverged, steps))
    return [step.right for step in done], [step.loss for step in done]


def train_oracle(model, x, y, lr_shift):
    """Let the oracle train; return the reports."""
    reports = []
    for sample, target in zip(x.tolist(), y.tolist(), strict=True):
        try:
            reports.append(model.step([sample], [target], lr_shift))
        except reference.Diverged:
            break
    return [right for right, _ in reports], [loss for _, loss in reports]


def check(net, x, y, lr_shift, backend, oracle=False):
    """Assert that the online path, single steps and, where asked for, the oracle agree.

    Return the number of steps before one that diverges.
    """
    other = copy.deepcopy(net)
    model = twin_network(net)
    right, loss = train(net, x, y, lr_shift, backend)
    reports = [train_by_steps(other, x, y, lr_shift)]
    wanted = [parameters(other)]
    if oracle:
        reports.append(train_oracle(model, x, y, lr_shift))
        wanted.append(parameters_of_oracle(model))
    for want in reports:
        assert len(right) == len(want[0])
        assert_same(right, list(want[0]), np.int32)
        assert_same(loss, list(want[1]), np.float64)
    for want in wanted:
        for ours, theirs in zip(parameters(net), want, strict=True):
            assert_same(ours, theirs, ours.dtype)
    return len(right)


@st.composite
def narrow_networks(draw, some_float=False):
    """Draw a network and a shift that the path serves."""
    depth = draw(st.integers(1, 4))
    sizes = draw(
        st.lists(st.sampled_from([1, 2, 3, 4, 5, 16, 17]), min_size=depth + 1, max_size=depth + 1)
    )
    lr_shift = draw(st.integers(-3, 12))

    def narrow(most_frac):
        return QFormat(
            draw(st.sampled_from([2, 5, 8, 16, 24, 31, 32])),
            draw(st.integers(0, most_frac)),
            draw(st.sampled_from(ROUNDINGS if some_float else EVERY_ROUNDING)),
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
        parts=draw(st.sampled_from(SOME_FLOAT)) if some_float else Parts(),
    ), lr_shift


@given(narrow_networks(), seeds, st.sampled_from(FLAVOURS), st.sampled_from(FLAVOURS))
@examples(150)
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


@pytest.mark.parametrize("rounding", EVERY_ROUNDING)
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


@pytest.mark.parametrize("rounding", EVERY_ROUNDING)
def test_shifts_beyond_a_word(backend, rounding):
    """By as much as a random word has bits and by more, in layers of every width."""
    state = np.random.RandomState(8)
    fmt = QFormat(32, 20, rounding)
    for k, sizes in itertools.product((31, 32, 33, 45), ([8, 10], [8, 40], [12, 20, 5])):
        for flavour in ("small", "uniform"):
            net = MLP(sizes, fmt, activation=[*[relu()] * (len(sizes) - 2), linear()], seed=3)
            set_raw(net, state, flavour)
            x, y = samples(net, state, STEPS, flavour)
            check(net, x, y, k - fmt.frac, backend)


def test_outputs_shifted_by_more_than_63(backend):
    """Sums of 80 bits below the point, outputs of 4."""
    state = np.random.RandomState(8)
    fine, coarse = QFormat(32, 40), QFormat(16, 4)
    each = LayerFormats(activation=coarse, weight=fine, delta=QFormat(32, 4), gradient=fine)
    net = MLP([7, 5], each, input_format=fine, activation=linear(), bias=False)
    set_raw(net, state, "uniform")
    x, y = samples(net, state, STEPS, "uniform")
    for lr_shift in (-3, 20):
        check(net, x, y, lr_shift, backend, oracle=True)


@pytest.mark.parametrize("n_in", [511, 514, 1030])
def test_more_random_words_than_a_block(backend, n_in):
    """An odd number of inputs, each of whose weights rounds by a word of its own."""
    state = np.random.RandomState(n_in)
    net = MLP([n_in, 3], QFormat(16, 10, "stochastic"), activation=linear(), rounding_seed=4)
    x, y = samples(net, state, 8, "uniform", zeros=0.9)
    check(net, x, y, 8, backend, oracle=True)


@pytest.mark.parametrize(("rounding", "overflow"), RULES)
def test_rules_of_outputs(backend, rounding, overflow):
    """Outputs in one vector and in several, with relu and without."""
    state = np.random.RandomState(9)
    fmt = QFormat(20, 12, rounding, overflow)
    for n_out, activation in itertools.product((10, 20), (relu(), linear())):
        net = MLP([12, n_out], fmt, activation=activation, seed=3)
        x, y = samples(net, state, STEPS, "uniform")
        check(net, x, y, 6, backend)


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


@pytest.mark.parametrize(("rounding", "overflow"), RULES)
def test_limit_of_weights_that_stay_inside(backend, rounding, overflow):
    """One step of 7.5 to the ends of eight bits, next to them and beyond."""
    wide, fmt = QFormat(16, 0), QFormat(8, 0, rounding, overflow)
    formats = LayerFormats(activation=wide, weight=fmt, delta=wide, gradient=wide)
    x = np.array([[1]] + [[0]] * 7, np.int32)
    for sign, size, distance in itertools.product((-1, 1), (119, 120, 121), (119, 120)):
        net = MLP([1, 1], [formats], activation=linear(), bias=False)
        net.set_weights([np.array([[sign * size]], np.int32)])
        check(net, x, sign * (size + distance) * x, 4, backend, oracle=True)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_real_inputs_that_are_rounded_up_bound_a_step(backend, rounding):
    """An input of 0.5 enters as 0 or 1; the weight leaves its format where it is 1."""
    wide = QFormat(16, 0, rounding)
    formats = LayerFormats(activation=wide, weight=QFormat(8, 0), delta=wide, gradient=wide)
    x = np.array([[0.5]] + [[0.0]] * 7)
    for sign in (-1, 1):
        net = MLP([1, 1], [formats], activation=linear(), bias=False, parts=Parts(forward="float"))
        net.set_weights([np.array([[sign * 120]], np.int32)])
        check(net, x, sign * 800 * x, 4, backend, oracle=True)


def test_limit_of_the_forward_sum_of_observed_steps(backend):
    """Sums of 2**63, also after the bound of the weights has been scanned in a step that counts."""
    fmt = QFormat(32, 20)
    net = MLP([2, 1], fmt, activation=linear(), bias=False)
    net.set_weights([np.full((1, 2), fmt.raw_min, np.int32)])
    x, y = np.full((120, 2), fmt.raw_min, np.int32), np.full((120, 1), fmt.raw_max, np.int32)
    history = net.train(x, y, 31, observe=True, overflow="ignore")
    assert history.loss.tolist() == [0.0] * 120


@pytest.mark.parametrize("n", [1, 16, 65])
def test_losses_of_large_differences(backend, n):
    """Squares of up to 2**64, next to where a loop in int64 sums them."""
    fmt = QFormat(32, 20)
    x = np.zeros((8, 1), np.int32)
    for size in (2**28 - 1, 2**28, 2**31, 2**32 - 1):
        for a in (fmt.raw_min, fmt.raw_min + size - 2**31 if size > 2**31 else -1):
            net = MLP([1, n], fmt, activation=linear())
            net.set_weights([np.zeros((n, 1), np.int32)], [np.full(n, a, np.int32)])
            y = np.full((8, n), min(a + size, fmt.raw_max), np.int32)
            check(net, x, y, 31, backend, oracle=n <= 4)


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
    fine = QFormat(32, 31)
    assert served(input_format=QFormat(32, 30)) and not served(input_format=fine)
    assert served(input_format=fine, bias=False)
    assert served(shift=-9) and not served(shift=-10)
    assert served(shift=52) and not served(shift=53)


# Parts in floating point ------------------------------------------------------------------------

SOME_FLOAT = [Parts(*kinds) for kinds in itertools.product(("fixed", "float"), repeat=3)][1:]
every_float = pytest.mark.parametrize(
    "parts", SOME_FLOAT, ids=lambda p: f"{p.forward}-{p.backward}-{p.update}"
)


def real_samples(net, state, n, scale=1.0, dtype=np.float64):
    """Return n inputs, many of them zero, of either sign, and targets."""
    first, last = net.network.layers[0], net.network.layers[-1]
    x = state.normal(0, scale, (n, first.n_in))
    x[state.random_sample(x.shape) < 0.6] = 0
    x[state.random_sample(x.shape) < 0.1] = -0.0
    return x.astype(dtype), state.normal(0, 1, (n, last.n_out)).astype(dtype)


@given(
    narrow_networks(some_float=True),
    seeds,
    st.sampled_from([1e-320, 1e-5, 1.0, 1.0, 1.0, 300.0, 1e100]),
    st.sampled_from(["raw", np.float32, np.float64, np.float64]),
)
@examples(150)
def test_any_network_with_float_parts(backend, drawn, state, scale, source):
    net, lr_shift = drawn
    if source == "raw":
        x, y = samples(net, state, 8, "uniform")
    else:
        x, y = real_samples(net, state, 8, scale if source is np.float64 else 1.0, source)
    check(net, x, y, lr_shift, backend, oracle=True)


@every_float
@pytest.mark.parametrize("bias", [False, True])
def test_edges_of_lanes_with_float_parts(backend, parts, bias):
    """Inputs and outputs around the edges of vectors, and of the eight partial sums."""
    state = np.random.RandomState(1)
    for width in (1, 7, 8, 9, 15, 16, 17, 33, 65, 129):
        net = MLP([width, 19, width], QFormat(24, 12), bias=bias, seed=1, parts=parts)
        x, y = real_samples(net, state, 12)
        assert check(net, x, y, 3, backend) == 12


@every_float
@pytest.mark.parametrize(("rounding", "overflow"), RULES[: 2 * len(ROUNDINGS)])
def test_rules_with_float_parts(backend, parts, rounding, overflow):
    """Weights that stay inside their format and leave it; steps of every size."""
    state = np.random.RandomState(3)
    for bits, frac, lr_shift in ((8, 3, 4), (8, 3, -3), (32, 28, 4), (32, 12, 30), (32, 2, -30)):
        fmt = QFormat(bits, frac, rounding, overflow)
        net = MLP([21, 16, 3], fmt, activation=[leaky_relu(2), linear()], seed=1, parts=parts)
        k = lr_shift if net._net.trains_online(1, 8, lr_shift) or backend == "python" else 1
        check(net, *real_samples(net, state, STEPS), k, backend)


@every_float
def test_sizes_of_values(backend, parts):
    """Subnormal steps; values beyond the lanes of roundings; steps that diverge late or at once."""
    state = np.random.RandomState(4)
    rates = (1, 12) if parts == Parts("float", "fixed", "fixed") else (-1015, -40, 1, 500)
    ends = set()
    for exponent in (-1074, -1060, -1022, -540, -60, 0, 27, 30, 33, 60, 300, 500, 513, 1000, 1021):
        for lr_shift in rates:
            net = MLP([9, 4], QFormat(32, 20), activation=linear(), bias=False, parts=parts)
            net.set_weights([state.uniform(-64, 64, (4, 9))])
            x, y = real_samples(net, state, 12)
            ends.add(check(net, x * 2.0**exponent, y, lr_shift, backend, oracle=True))
    assert {0, 12} <= ends


def test_step_that_diverges_in_the_second_layer_alone(backend):
    """The first layer's step is finite, and yet is not done."""
    parts = Parts("float", "float", "float")
    net = MLP([2, 1, 1], QFormat(8, 4), activation=linear(), bias=False, parts=parts)
    net.set_weights([np.array([[2.0**530, 0.0]]), np.array([[2.0**-530]])])
    x, y = np.ones((8, 2)), np.ones((8, 1))
    y[3] = 2.0**500  # D_2 = -2**500, of which A_1 = 2**530 makes a step; E_1 is -2**-30
    assert check(net, x, y, 0, backend, oracle=True) == 3
    assert net.master_weights[0].tolist() == [[2.0**530, 0.0]]


@pytest.mark.parametrize(
    ("weights", "y"),
    [
        ([1e200, 1.0, 1.0], 1.0),  # Z of the first layer
        ([1e200, 1e-200, 1.0], 1.0),  # the same, of which finite ones would follow
        ([0.0, 1.0, 1e200], 1e200),  # E of the second layer
    ],
)
def test_what_is_not_finite_in_a_hidden_layer_stops_a_step(backend, weights, y):
    parts = Parts("float", "float", "float")
    net = MLP([1, 1, 1, 1], QFormat(8, 4), activation=linear(), bias=False, parts=parts)
    net.set_weights([np.array([[weight]]) for weight in weights])
    samples = np.zeros((8, 1)), np.zeros((8, 1))
    samples[0][3], samples[1][3] = 1e200, y
    assert check(net, *samples, 900, backend, oracle=True) == 3


@pytest.mark.parametrize("tensor", ["activation", "weight", "delta"])
def test_stochastic_rounding_with_float_parts_takes_the_other_path(backend, tensor):
    plain, drawn = QFormat(16, 8), QFormat(16, 8, "stochastic")
    formats = dict.fromkeys(("activation", "weight", "delta", "gradient"), plain)
    for parts, (fmt, refused) in itertools.product(SOME_FLOAT, ((plain, False), (drawn, True))):
        net = MLP([5, 4, 3], LayerFormats(**formats | {tensor: fmt}), input_format=plain,
                  parts=parts)  # fmt: skip
        assert net._net.trains_online(1, 8, 3) == (not refused and backend != "python")


@every_float
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_accumulator_with_float_parts(backend, parts, overflow):
    """Float sums enter none, and take the path; fixed ones take the other."""
    net = MLP([5, 4, 3], QFormat(16, 8), accumulator=Accumulator(9, overflow), parts=parts, seed=1)
    if "fixed" in (parts.forward, parts.backward):
        assert not net._net.trains_online(1, 12, 3)
    else:
        check(net, *real_samples(net, np.random.RandomState(2), 12), 3, backend, oracle=True)


@every_float
def test_sources_with_float_parts(backend, parts):
    """Any kind and strides, rows in any order and more than once; reports not asked for."""
    state = np.random.RandomState(5)
    net = MLP([19, 5], QFormat(16, 8), seed=2, parts=parts)
    x, y = state.random_sample((2, 30, 19)), state.random_sample((30, 5))
    raw, _ = samples(net, state, 60, "uniform")
    order = state.randint(0, 30, 25).astype(np.int64)
    reals = (x[0], x[1][:, ::-1], np.asfortranarray(x[0]), x[0].astype(np.float32))
    for inputs in (*reals, raw[::2], np.asfortranarray(raw)[30:]):
        for targets in (y, y.astype(np.float32), (y * 99).astype(np.int32)):
            one, other = copy.deepcopy(net), copy.deepcopy(net)
            assert one._net.trains_online(1, 25, 4) == (backend != "python")
            assert one._net.train(inputs, targets, order, 1, 3, 20, 4, 0, None, None) == 20
            for i in order[3:23]:
                other.step(inputs[i : i + 1], targets[i : i + 1], 4)
            for ours, theirs in zip(parameters(one), parameters(other), strict=True):
                assert_same(ours, theirs, ours.dtype)


@every_float
def test_what_is_served_with_float_parts(backend, parts):
    """The predicate, on both sides of each of its conditions."""
    if backend == "python":
        pytest.skip("the fallback has one path")
    narrow, wide = QFormat(32, 10), QFormat(33, 10)
    floats = Parts("float", "float", "float")
    fixed_steps = parts.backward == parts.update == "fixed"

    def served(fmt=narrow, *, batch=1, count=8, shift=5, **arguments):
        net = MLP([3, 2], fmt, parts=parts, **arguments)
        return net._net.trains_online(batch, count, shift)

    formats = dict.fromkeys(("activation", "weight", "delta", "gradient"), narrow)
    assert served() and served(LayerFormats(**formats | {"gradient": wide}))
    assert not served(batch=2) and not served(count=7)
    assert served(update="two_step") == (parts.backward == "float")
    reads_raw = "fixed" in (parts.forward, parts.backward)
    has_effect = {
        "activation": reads_raw,
        "weight": parts != floats,
        "delta": parts.backward == "fixed",
    }
    for name, effect in has_effect.items():
        other = LayerFormats(**formats | {name: wide})
        assert served(other, input_format=narrow) != effect
    assert served(input_format=wide) != reads_raw
    fine = QFormat(32, 31)
    assert served(input_format=fine) != reads_raw and served(input_format=fine, bias=False)
    assert served(shift=-9) and served(shift=52)
    assert [served(shift=s) for s in (-10, 53)] == 2 * [not fixed_steps]
    assert [served(shift=s) for s in (-1023, 1022)] == 2 * [not fixed_steps]
    assert not served(shift=-1024) and not served(shift=1023)
