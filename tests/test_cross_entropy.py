"""The loss cross_entropy, exp and log against the oracle, and gradients against autograd."""

import itertools
import math

import autograd.numpy as anp
import numpy as np
import pytest
from autograd import grad
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import ALL_PARTS, batch, check_all, check_gradient, check_step, lr_shifts
from test_observe import check, in_order

import intmlp
import reference
from intmlp import MLP, LayerFormats, Parts, QFormat, _backend, dequantize
from intmlp._backend.fallback import real
from intmlp.nn import hard_sigmoid, leaky_relu, linear, relu, sigmoid
from intmlp.nn.tables import exp_table
from support import OVERFLOWS, ROUNDINGS, examples, raw_array, twin_network

RULES = list(itertools.product(ROUNDINGS, OVERFLOWS))
FLOATS = Parts("float", "float", "float")
every_parts = pytest.mark.parametrize(
    "parts", ALL_PARTS, ids=lambda p: f"{p.forward}-{p.backward}-{p.update}"
)


# --- exp and log ------------------------------------------------------------------------------


def test_table():
    """Whole where it is short, else in part; what follows its end is 0."""
    state = np.random.RandomState(1)
    for bits, frac in (
        (2, 0),
        (8, 0),
        (8, 4),
        (8, 7),
        (16, 0),
        (16, 8),
        (16, 12),
        (16, 15),
        (9, 63),
    ):
        table = exp_table(bits, frac)
        assert table.dtype == np.int32 and not table.flags.writeable and table[0] == 2**30
        ends = [*range(40), len(table) - 1, *state.randint(0, len(table), 50)]
        places = range(len(table)) if len(table) < 300 else [int(d) for d in ends]
        wide = reference.Format(64, 30)
        for d in places:
            assert table[d] == reference.rounded_function("exp", -d, frac, wide), (bits, frac, d)
        if len(table) < 1 << bits:
            assert reference.rounded_function("exp", -len(table), frac, wide) == 0


def test_exp_and_log_are_near():
    x = np.concatenate([np.linspace(-745, 709.75, 20001), [0.0, -0.0, 1e-300, -745, 709.75]])
    with np.errstate(under="ignore"):
        want = np.exp(x)
    normal = want > 1e-300
    assert (np.abs(real.exp(x) - want)[normal] <= 4 * np.spacing(want[normal])).all()
    assert real.exp(np.array([0.0, -0.0, -745.1, 709.76])).tolist() == [1.0, 1.0, 0.0, math.inf]
    assert real.exp(np.array([-math.inf, math.inf])).tolist() == [0.0, math.inf]
    x = np.concatenate([np.geomspace(1e-300, 1e300, 20001), np.linspace(0.5, 2, 20001), [1.0]])
    assert (np.abs(real.log(x) - np.log(x)) <= 4 * np.spacing(np.abs(np.log(x)))).all()
    for v in x[::50].tolist():
        assert reference.float_log(v) == real.log(np.array([v]))[0]


@pytest.mark.usefixtures("restored")
def test_exponents_are_those_of_any_platform(monkeypatch):
    """Where a C long has 32 bits, as on Windows, ldexp takes no int64."""
    ldexp, seen = np.ldexp, []

    def narrow(v, exponents):
        seen.append(np.asarray(exponents).dtype)
        return ldexp(v, exponents)

    _backend.use("python")
    monkeypatch.setattr(np, "ldexp", narrow)
    assert real.exp(np.array([0.0, -800.0])).tolist() == [1.0, 0.0]
    functions = [leaky_relu(3), relu(0.5), hard_sigmoid(), sigmoid(), linear()]
    net = MLP([2] * 6, QFormat(16, 8), activation=functions, parts=Parts("float", "float", "float"),
              loss="cross_entropy")  # fmt: skip
    net.train([[0.5, -0.5]], [[0.0, 1.0]], 3)
    assert len(seen) >= 8 and set(seen) == {np.dtype(np.intc)}


# --- Against the oracle -----------------------------------------------------------------------


def identity(n, activation, delta, parts=Parts()):  # noqa: B008 (immutable)
    """Return a layer whose outputs are its inputs, and whose gradient of biases is its deltas'."""
    one = QFormat(8, 0)
    net = MLP(
        [n, n], [LayerFormats(activation, one, delta, delta)], activation=intmlp.linear(),
        loss="cross_entropy", parts=parts,
    )  # fmt: skip
    net.set_weights([np.eye(n)], [np.zeros(n)])
    return net


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_deltas(backend, n):
    """Every rule, delta formats of every width, and fractions on both sides of each other."""
    state = np.random.RandomState(n)
    rules = itertools.cycle(RULES)
    fracs = (0, 1, 7, 15, 18, 19, 20, 31, 40, 63)
    for bits, frac in itertools.product((2, 8, 16), fracs):
        for i in range(3 if n < 4 else 1):
            activation = QFormat(bits, frac, *next(rules))
            width = (8, 16, 31, 32, 33, 64, 2, 24)[state.randint(8)]
            delta = QFormat(width, fracs[state.randint(len(fracs))], *RULES[state.randint(10)])
            net = identity(n, activation, delta)
            model = twin_network(net)
            flavour = ("uniform", "small", "extremes", "uniform")[i]
            x = raw_array(state, activation, (1, n), flavour)
            y = raw_array(state, activation, (1, n), ("small", "uniform")[state.randint(2)])
            check_gradient(net, model, x, y)
            check_step(net, model, x, y, 60)


def test_ties(backend):
    """Equal outputs have the probability 1/2, exactly, and so half the place of a delta."""
    for rounding, shift in itertools.product(ROUNDINGS, range(4)):
        activation = QFormat(8, 3, rounding)
        net = identity(2, activation, QFormat(8, 0, rounding))
        x = np.array([[5, 5]], np.int32)
        for y in ([[0, 8]], [[8 * shift, -8 * shift]], [[4, -4]], [[12, 20]]):
            check_gradient(net, twin_network(net), x, np.array(y, np.int32))


@pytest.mark.parametrize("largest", [1, 2, 4, 16])
def test_beside_a_tie(backend, largest):
    """One output with t = 1 moves probabilities off 0, 1/2, 1/4, by less than all bits kept."""
    for rounding, frac in itertools.product(ROUNDINGS, (0, 1, 2, 20)):
        net = identity(largest + 1, QFormat(8, 2), QFormat(32, frac, rounding))
        x = np.array([[42] * largest + [42 - 84]], np.int32)
        assert reference.exp_bits(-84, 2) >> reference.EXP_BITS - 30 == 0
        for y in (-4, -2, 0, 2, 4):
            y = np.full((1, largest + 1), y, np.int32)
            check_gradient(net, twin_network(net), x, y)


@st.composite
def networks(draw, parts=None):
    rules = st.sampled_from(RULES)

    def some(bits):
        bits = draw(st.sampled_from(bits))
        return QFormat(bits, draw(st.integers(bits // 3, bits - 2)), *draw(rules))

    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    hidden = [intmlp.relu(), intmlp.tanh(), intmlp.sigmoid(), intmlp.hard_tanh(),
              intmlp.leaky_relu(3)]  # fmt: skip
    return MLP(
        sizes,
        [
            LayerFormats(some([6, 8, 12, 16]), *(some([8, 16, 20, 32, 48, 64]) for _ in "123"))
            for _ in sizes[1:]
        ],
        activation=[*(draw(st.sampled_from(hidden)) for _ in sizes[2:]), intmlp.linear()],
        loss="cross_entropy",
        bias=draw(st.booleans()),
        update=draw(st.sampled_from(["fused", "two_step"])),
        average=draw(st.booleans()),
        parts=draw(st.sampled_from(ALL_PARTS)) if parts is None else parts,
        init=intmlp.uniform(-2, 2),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@every_parts
@given(data=st.data())
@examples(10)
def test_networks(backend, parts, data):
    net = data.draw(networks(parts))
    check_all(data.draw, net, data.draw(st.sampled_from([1, 2, 4])), lr_shifts)


@given(networks(), st.data())
@examples(15)
def test_counts(backend, net, data):
    x, y = batch(data.draw, net, 4)
    size = data.draw(st.sampled_from([1, 2]))
    check(
        net, x, y, data.draw(st.integers(-1, 8)), in_order(4, size, 2),
        epochs=2, batch_size=size, shuffle=False,
    )  # fmt: skip


@every_parts
@pytest.mark.parametrize("n_out", [3, 10])
def test_larger_than_a_block(backend, parts, n_out):
    """More rows than are looked at at once."""
    state = np.random.RandomState(n_out)
    n = 130
    wide = LayerFormats(QFormat(16, 9), QFormat(16, 9), QFormat(40, 25), QFormat(32, 20))
    for formats in (QFormat(16, 11), wide):
        net = MLP([2, n_out], formats, activation=intmlp.linear(), loss="cross_entropy",
                  parts=parts, init=intmlp.uniform(-3, 3))  # fmt: skip
        model = twin_network(net)
        x, y = state.uniform(-2, 2, (n, 2)), state.uniform(-0.2, 1, (n, n_out))
        check_gradient(net, model, x, y)
        check_step(net, model, x, y, 6)


@pytest.mark.parametrize("parts", [Parts(), FLOATS], ids=["fixed", "float"])
def test_rows_longer_than_a_block(backend, parts):
    state = np.random.RandomState(4)
    fmt = QFormat(12, 6)
    net = MLP([2, 530], fmt, activation=intmlp.linear(), loss="cross_entropy", parts=parts)
    x, y = state.uniform(-2, 2, (2, 2)), state.uniform(-0.2, 1, (2, 530))
    check_step(net, twin_network(net), x, y, 3)


@every_parts
def test_online_steps(backend, parts):
    state = np.random.RandomState(5)
    x, y = state.uniform(-2, 2, (12, 4)), np.eye(3)[state.randint(3, size=12)]
    net = MLP([4, 5, 3], QFormat(16, 11), activation=[intmlp.relu(), intmlp.linear()],
              loss="cross_entropy", parts=parts, seed=2)  # fmt: skip
    model = twin_network(net)
    loss = [model.step(x[i : i + 1].tolist(), y[i : i + 1].tolist(), 3)[1] for i in range(12)]
    history = net.train(x, y, 3, shuffle=False, overflow="ignore")
    assert history.loss.tolist() == loss


def test_enormous_floats(backend):
    """A loss may be infinite; a target of 0 has no part in it."""
    net = identity(3, QFormat(8, 4), QFormat(8, 4), FLOATS)
    for scale, y in itertools.product(
        (1.0, 700.0, 1e10, 1e308), ([1, 0, 0], [0, 0, 1], [0, 1, 0], [0.5, 0.5, 0], [0, 0, -1])
    ):
        x = np.array([[-1.5, 0.5, 1.5]]) * scale
        x, y = np.clip(x, -1.7e308, 1.7e308), np.array([y], np.float64)
        check_gradient(net, twin_network(net), x, y)
        check_step(net, twin_network(net), x, y, 2000)
    assert net.step([[-1.7e308, 0.0, 1.7e308]], [[1.0, 0.0, 0.0]], 2000).loss == math.inf
    assert net.step([[-1.7e308, 0.0, 1.7e308]], [[0.0, 0.0, 1.0]], 2000).loss == 0


# --- Against other definitions ----------------------------------------------------------------


def test_reported_loss(backend):
    """That of the usual formula, as near as the table of exp is to exp."""
    state = np.random.RandomState(3)
    fmt = QFormat(16, 9)
    net = identity(10, fmt, fmt)
    x, y = state.normal(0, 4, (50, 10)), np.eye(10)[state.randint(10, size=50)]
    a = dequantize(net.forward(x), fmt)
    want = (np.log(np.exp(a).sum(axis=1)) - (a * y).sum(axis=1)).sum()
    step = net.step(x, y, 60)
    assert abs(step.loss - want) < 1e-6
    assert step.right == (a.argmax(axis=1) == y.argmax(axis=1)).sum()
    for row in range(50):
        probabilities = np.exp(a[row]) / np.exp(a[row]).sum()
        d = net.gradient(x[row : row + 1], y[row : row + 1]).biases[0]
        assert np.abs(d - (probabilities - y[row]) * 2**9).max() < 0.5001


FUNCTIONS = {
    "linear": (intmlp.linear(), lambda z: z),
    "sigmoid": (intmlp.sigmoid(), lambda z: 1 / (1 + anp.exp(-z))),
    "tanh": (intmlp.tanh(), anp.tanh),
    "hard_tanh": (intmlp.hard_tanh(), lambda z: anp.clip(z, -1, 1)),
    "hard_sigmoid": (intmlp.hard_sigmoid(), lambda z: anp.clip((z + 2) / 4, 0, 1)),
}


def cross_entropy(a, y):
    return anp.sum(y * (anp.log(anp.sum(anp.exp(a), axis=1, keepdims=True)) - a))


@pytest.mark.parametrize("loss", ["cross_entropy", "half_sse"])
@pytest.mark.parametrize("kind", ["sigmoid", "tanh", "hard_tanh", "hard_sigmoid"])
def test_autograd(backend, kind, loss):
    """Float64 gradients agree; fixed ones of fine formats come near."""
    last = "linear" if loss == "cross_entropy" else kind
    own = [FUNCTIONS[name][0] for name in (kind, kind, last)]
    theirs = [FUNCTIONS[name][1] for name in (kind, kind, last)]
    sizes = [4, 7, 6, 5]
    fine = LayerFormats(QFormat(16, 13), QFormat(32, 26), QFormat(40, 34), QFormat(40, 34))
    for seed in range(10):
        net = MLP(sizes, QFormat(64, 0), activation=own, loss=loss, parts=FLOATS, seed=seed)
        state = np.random.RandomState(seed)
        x, y = state.uniform(-1, 1, (3, 4)), np.eye(5)[state.randint(5, size=3)]

        def total(parameters, x=x, y=y):
            a = x
            for w, b, f in zip(*parameters, theirs, strict=True):
                a = f(anp.dot(a, w.T) + b)
            return cross_entropy(a, y) if loss == "cross_entropy" else anp.sum((a - y) ** 2) / 2

        parameters = list(net.master_weights), list(net.master_biases)
        want = [part for parts in grad(total)(parameters) for part in parts]
        gradient = net.gradient(x, y)
        got = [*gradient.weights, *gradient.biases]
        for a, b in zip(got, want, strict=True):
            assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()
        assert abs(net.step(x, y, 2000).loss - total(parameters)) < 1e-12

        fixed = MLP(sizes, fine, activation=own, loss=loss)
        fixed.set_weights(*parameters)
        gradient = fixed.gradient(x, y)
        for a, b in zip([*gradient.weights, *gradient.biases], want, strict=True):
            assert np.abs(dequantize(a, fine.gradient) - b).max() <= 2e-3 * max(
                np.abs(b).max(), 0.1
            )


# --- Refused ----------------------------------------------------------------------------------


def test_what_it_needs(backend):
    with pytest.raises(ValueError, match="activation of the last layer must be linear for loss "
                       "'cross_entropy', got relu"):  # fmt: skip
        MLP([1, 2], QFormat(8, 4), loss="cross_entropy", parts=FLOATS)
    wide = QFormat(17, 4)
    for parts in ALL_PARTS:
        arguments = {"activation": [intmlp.relu(), intmlp.linear()], "loss": "cross_entropy"}
        if (parts.forward, parts.backward) == ("float", "float"):
            MLP([1, 2, 2], wide, parts=parts, **arguments)
            continue
        with pytest.raises(ValueError, match=r"activation format of layer 2 must have at most 16 "
                           r"bits for cross_entropy, got QFormat\(bits=17"):  # fmt: skip
            MLP([1, 2, 2], wide, parts=parts, **arguments)
    narrow = LayerFormats(QFormat(16, 4), *(QFormat(64, 20),) * 3)
    MLP([1, 2, 2], [LayerFormats(*(wide,) * 4), narrow], **arguments)
