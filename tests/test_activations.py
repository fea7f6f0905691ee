"""The activation functions: their tables, and networks of them, against the oracle."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import (
    ALL_PARTS,
    batch,
    check_all,
    check_forward,
    check_gradient,
    check_step,
    every_parts,
    lr_shifts,
)
from test_observe import check, in_order

import intmlp
import reference
from intmlp import MLP, LayerFormats, Parts, QFormat
from intmlp.nn.tables import activation_table
from support import OVERFLOWS, ROUNDINGS, assert_same, examples, raw_array, twin, twin_network

HARD = [intmlp.hard_tanh(), intmlp.hard_sigmoid()]
SMOOTH = [intmlp.sigmoid(), intmlp.tanh()]
NEW = HARD + SMOOTH
RULES = list(itertools.product(ROUNDINGS, OVERFLOWS))
kinds = pytest.mark.parametrize("activation", NEW, ids=lambda activation: activation.kind)
smooth = pytest.mark.parametrize("kind", ["sigmoid", "tanh"])


# --- Tables -----------------------------------------------------------------------------------


def entries(kind, fmt, raws):
    """Return the oracle's values."""
    function = reference.Activation(kind).fixed
    return [function(z, 0, twin(fmt)) for z in raws]


@smooth
@pytest.mark.parametrize("frac", [*range(13), 15, 16, 20, 31, 32, 47, 48, 62, 63])
def test_tables_of_eight_bits(kind, frac):
    for rule in RULES:
        fmt = QFormat(8, frac, *rule)
        table = activation_table(kind, fmt)
        assert table.dtype == np.int16 and not table.flags.writeable
        assert table.tolist() == entries(kind, fmt, range(-128, 128))


@smooth
@pytest.mark.parametrize("bits", [2, 3, 12, 16])
@pytest.mark.parametrize("frac", [0, 1, 5, 12, 15, 18, 30])
def test_tables_of_other_widths(kind, bits, frac):
    """In part: both ends, both sides of 0, and values in between."""
    state = np.random.RandomState(bits)
    for i in range(3):
        fmt = QFormat(bits, frac, *RULES[(3 * bits + 2 * frac + 3 * i) % len(RULES)])
        table = activation_table(kind, fmt)
        assert len(table) == 1 << bits
        raws = [fmt.raw_min, -1, 0, 1, fmt.raw_max, *state.randint(fmt.raw_min, fmt.raw_max, 20)]
        raws = [int(z) for z in raws]
        assert [int(table[z - fmt.raw_min]) for z in raws] == entries(kind, fmt, raws)


@smooth
def test_tables_where_float64_does_not_tell(kind):
    """Widest fractions, wrapped: what is kept lies below what float64 holds."""
    for rounding in ROUNDINGS:
        fmt = QFormat(6, 63, rounding, "wrap")
        assert activation_table(kind, fmt).tolist() == entries(kind, fmt, range(-32, 32))


def test_tables_are_made_once():
    fmt = QFormat(9, 4)
    assert activation_table("tanh", fmt) is activation_table("tanh", QFormat(9, 4))
    assert MLP([1, 1], fmt, activation=intmlp.tanh()).network.layers[0].table is activation_table(
        "tanh", fmt
    )


# --- The functions ----------------------------------------------------------------------------


def identity(activation, fmt, parts=Parts()):  # noqa: B008 (immutable)
    """Return a network of one layer with the weight 1."""
    weight = QFormat(8, 0)
    net = MLP(
        [1, 1], [LayerFormats(fmt, weight, fmt, fmt)], activation=activation, bias=False,
        parts=parts,
    )  # fmt: skip
    net.set_weights([[[1.0]]])
    return net


@kinds
@pytest.mark.parametrize("bits", [2, 5, 12, 16, 32, 33, 61, 62, 63, 64])
def test_values(backend, activation, bits):
    """Around all places at which a function bends, and at the ends, in batches beyond a block."""
    if activation in SMOOTH and bits > 16:
        pytest.skip("no table")
    state = np.random.RandomState(bits)
    fracs = {0, 1, bits // 2, bits - 3, bits - 2, bits - 1, bits + 3, 60, 61, 62, 63}
    for i, frac in enumerate(sorted(f for f in fracs if 0 <= f <= 63)):
        fmt = QFormat(bits, frac, *RULES[(bits + 3 * i) % len(RULES)])
        ends = [s * 2**e + d for s in (-1, 1) for e in (frac, frac + 1) for d in (-1, 0, 1)]
        ends = [z for z in (*ends, -1, 0, 1) if fmt.raw_min <= z <= fmt.raw_max]
        x = np.concatenate(
            [np.array(ends, fmt.dtype), raw_array(state, fmt, (40,), "uniform"),
             raw_array(state, fmt, (10,), "extremes")]
        ).reshape(-1, 1)  # fmt: skip
        net = identity(activation, fmt)
        check_forward(net, twin_network(net), x)
        y = raw_array(state, fmt, x.shape, "uniform")
        check_gradient(net, twin_network(net), x, y)


@kinds
def test_values_in_float64(backend, activation):
    net = identity(activation, QFormat(8, 4), Parts("float", "float", "float"))
    z = np.concatenate([
        [-0.0, 0.0, 1, -1, 2, -2, np.nextafter(1, 0), np.nextafter(2, 0), 1e308, -1e308],
        [5e-324, 709.75, np.nextafter(709.75, 800), 709.8, -709.8, 745, 745.2, 372.5, 1e-9, -1e-9],
        np.random.RandomState(1).normal(0, 10, 600), np.linspace(-40, 40, 401),
    ]).reshape(-1, 1)  # fmt: skip
    check_forward(net, twin_network(net), z)
    check_gradient(net, twin_network(net), z, np.zeros(z.shape))
    with np.errstate(all="ignore"):
        want = {
            "hard_tanh": np.clip(z, -1, 1),
            "hard_sigmoid": np.clip((z + 2) / 4, 0, 1),
            "sigmoid": 1 / (1 + np.exp(-z)),
            "tanh": np.tanh(z),
        }[activation.kind]
    assert np.abs(net.forward(z) - want).max() < 5e-16


def test_float_forward_keeps_what_is_not_finite(backend):
    net = MLP([1, 1, 1], QFormat(8, 4), activation=[intmlp.linear(), intmlp.tanh()], bias=False,
              parts=Parts("float", "float", "float"))  # fmt: skip
    net.set_weights([[[1e300]], [[1e300]]])
    assert net.forward([[1.0], [-1.0]]).tolist() == [[1.0], [-1.0]]
    net.set_weights([[[1e300]], [[0.0]]])
    assert np.isnan(net.forward([[1e300]])).all()


# --- Networks ---------------------------------------------------------------------------------


def some_format(draw, bits):
    return QFormat(
        bits, draw(st.integers(max(0, bits // 2 - 3), min(63, bits + 1))),
        *draw(st.sampled_from(RULES)),
    )  # fmt: skip


@st.composite
def networks(draw, parts=None):
    """Draw a network in which the new functions are mixed with the old."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    layers, activations = [], []
    for _ in sizes[1:]:
        activation = draw(st.sampled_from([*NEW, *SMOOTH, intmlp.relu(), intmlp.linear()]))
        widest = 16 if activation in SMOOTH else 64
        activations.append(activation)
        layers.append(
            LayerFormats(
                some_format(
                    draw, draw(st.sampled_from([4, 8, 12, 16, 32, 64][: 4 + widest // 32]))
                ),
                *(some_format(draw, draw(st.sampled_from([8, 16, 24, 32, 48, 64]))) for _ in "123"),
            )
        )
    return MLP(
        sizes,
        layers,
        activation=activations,
        bias=draw(st.booleans()),
        loss=draw(st.sampled_from(["sse", "half_sse"])),
        update=draw(st.sampled_from(["fused", "two_step"])),
        parts=draw(st.sampled_from(ALL_PARTS)) if parts is None else parts,
        init=intmlp.uniform(-2, 2),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@every_parts
@given(data=st.data())
@examples(12)
def test_networks(backend, parts, data):
    net = data.draw(networks(parts))
    check_all(data.draw, net, data.draw(st.sampled_from([1, 2, 5])), lr_shifts)


@given(networks(), st.data())
@examples(20)
def test_counts(backend, net, data):
    x, y = batch(data.draw, net, 4)
    batch_size = data.draw(st.sampled_from([1, 3]))
    batches = in_order(4, batch_size, 2)
    check(
        net, x, y, data.draw(st.integers(-1, 8)), batches,
        epochs=2, batch_size=batch_size, shuffle=False,
    )  # fmt: skip


@kinds
def test_counts_of_a_delta_that_overflows(backend, activation):
    """A sigmoid that wraps to -1 has the derivative -2; other deltas are at most their error."""
    fmt = QFormat(8, 7, "half_even", "wrap")
    wide = QFormat(16, 3)
    net = MLP(
        [1, 40, 30, 2],
        [LayerFormats(wide, wide, fmt, fmt), LayerFormats(fmt, wide, fmt, fmt),
         LayerFormats(fmt, fmt, fmt, fmt)],
        activation=[intmlp.linear(), activation, intmlp.linear()],
        init=intmlp.uniform(-1, 1),
    )  # fmt: skip
    state = np.random.RandomState(3)
    x, y = state.uniform(-4, 4, (20, 1)), state.uniform(-1, 1, (20, 2))
    check(net, x, y, 4, in_order(20, 20, 1), batch_size=20, shuffle=False)


@kinds
@pytest.mark.parametrize("bits", [8, 16, 33, 62, 64])
def test_larger_than_a_block(backend, activation, bits):
    if activation in SMOOTH and bits > 16:
        pytest.skip("no table")
    state = np.random.RandomState(bits)
    for delta_bits, rule in ((16, RULES[0]), (32, RULES[8]), (64, RULES[5])):
        fmt = QFormat(bits, min(bits - 3, 20), *rule)
        delta = QFormat(delta_bits, delta_bits - 4, *rule)
        net = MLP([7, 33, 5], LayerFormats(fmt, fmt, delta, delta),
                  activation=[activation, activation], seed=1)  # fmt: skip
        model = twin_network(net)
        x, y = state.uniform(-4, 4, (20, 7)), state.uniform(-1, 1, (20, 5))
        check_forward(net, model, x)
        check_gradient(net, model, x, y)
        check_step(net, model, x, y, 3)


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda activation: activation.kind)
def test_large_errors_times_a_derivative(backend, activation):
    """Around all powers of two up to 2**37, times the 2**30 that 1 - tanh(0)**2 has at frac 15."""
    fmt, delta = QFormat(16, 15), QFormat(64, 24)
    for n in range(28, 38):
        net = MLP([1, 6, 1], LayerFormats(fmt, QFormat(32, 8), delta, delta),
                  activation=[activation, intmlp.linear()], bias=False)  # fmt: skip
        ends = [s * 2 ** (n - 14) + d for s in (-1, 1) for d in (-1, 0, 1)]
        net.set_weights([np.zeros((6, 1), np.int32), np.array([ends], np.int32)])
        x, y = np.full((2, 1), 5, np.int32), np.array([[2**14], [-(2**14)]], np.int32)
        check_gradient(net, twin_network(net), x, y)


@every_parts
def test_online_steps(backend, parts):
    """Steps of one sample, more of them than the online path takes as its least."""
    state = np.random.RandomState(5)
    x, y = state.uniform(-2, 2, (12, 4)), state.uniform(0, 1, (12, 3))
    for activation in NEW:
        net = MLP([4, 5, 3], QFormat(14, 9), activation=activation, parts=parts, seed=2)
        model = twin_network(net)
        for i in range(12):
            model.step(x[i : i + 1].tolist(), y[i : i + 1].tolist(), 2)
        net.train(x, y, 2, shuffle=False, overflow="ignore")
        check_forward(net, model, x)


# --- Refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda activation: activation.kind)
def test_wide_formats_are_refused(backend, activation):
    wide = QFormat(17, 8)
    with pytest.raises(ValueError, match=r"layer 2 must have at most 16 bits for (sigmoid|tanh), "
                       r"got QFormat\(bits=17, frac=8"):  # fmt: skip
        MLP([1, 2, 3], wide, activation=[intmlp.relu(), activation])
    for parts in ALL_PARTS:
        if (parts.forward, parts.backward) == ("float", "float"):
            MLP([1, 2, 3], wide, activation=activation, parts=parts)
        else:
            with pytest.raises(ValueError, match="layer 1 must have at most 16 bits"):
                MLP([1, 2, 3], wide, activation=activation, parts=parts)
    MLP([1, 2, 3], wide, activation=HARD)


@pytest.mark.parametrize("activation", SMOOTH, ids=lambda activation: activation.kind)
def test_random_tables_are_refused(activation):
    with pytest.raises(ValueError, match="layer 1 must have a deterministic rounding for"):
        MLP([1, 2], QFormat(8, 4, "stochastic"), activation=activation)


def test_pickle(backend):
    import pickle

    net = MLP([2, 3, 1], QFormat(8, 4), activation=intmlp.sigmoid(), seed=1)
    again = pickle.loads(pickle.dumps(net))
    x = [[0.5, -1.0]]
    assert_same(again.forward(x), net.forward(x).tolist(), np.int32)
