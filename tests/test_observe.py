"""Observed training against the oracle: every count, and no other number changed by it."""

import copy
import dataclasses
import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import (
    ALL_PARTS,
    batch,
    bits,
    check_training,
    every_parts,
    exponent,
    lr_shifts,
    networks,
    plain_formats,
)
from test_online import narrow_networks, real_samples, samples, set_raw

import intmlp
import reference
from intmlp import MLP, LayerFormats, Parts, QFormat, _backend, _counts
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

pytestmark = pytest.mark.usefixtures("backend")

COUNTS = [field.name for field in dataclasses.fields(reference.Counts)]


def wanted(net, x, y, lr_shift, batches, m):
    """Return the oracle's counts {(layer, tensor): Counts}, and steps idle {layer: [...]}."""
    model = twin_network(net)
    total, idle = {}, {}
    for rows in batches:
        sample = x[rows].tolist(), y[rows].tolist(), lr_shift, m
        try:
            counts, units = model.observe(*sample)
            model.step(*sample)
        except reference.Diverged:
            break
        for key, of_step in counts.items():
            total.setdefault(key, reference.Counts()).add(of_step)
        for layer, flags in units.items():
            before = idle.get(layer, [0] * len(flags))
            idle[layer] = [n + 1 if flag else 0 for n, flag in zip(before, flags, strict=True)]
    return total, idle


def fraction_widths(net, layer, tensor, m):
    """Return the fraction widths of step_sum and error_sum."""
    if tensor not in ("W", "b"):
        return 0, 0
    network = net.network
    optimised = network.momentum_shift is not None or network.decay_shift is not None
    formats = network.layers[layer - 1].formats
    below = network.layers[layer - 2].formats.activation if layer > 1 else network.input
    step_frac = formats.delta.frac + m + (below.frac if tensor == "W" else 0)
    if network.update == "two_step":
        step_frac = formats.gradient.frac
    if "float" in (network.parts.backward, network.parts.update) or optimised:
        step_frac = 40
    return step_frac, formats.weight.frac + 62


def check(net, x, y, lr_shift, batches, window=3, **arguments):
    """Assert that counting counts what the oracle does, and changes nothing."""
    m = exponent(net, arguments.get("batch_size", 1))
    total, idle = wanted(net, x, y, lr_shift, batches, m)
    plain = copy.deepcopy(net)
    check_training(plain, twin_network(plain), x, y, lr_shift, batches, **arguments)
    history = net.train(x, y, lr_shift, observe=True, window=window, overflow="count", **arguments)
    reports = plain.train(x[:1], y[:1], 0, epochs=0)
    assert reports.observed is None
    weights = [bits(part.tolist()) for part in parameters(net)]
    assert weights == [bits(part.tolist()) for part in parameters(plain)]
    rows = {(row.layer, row.tensor): row for row in history.observed}
    moves = net.network.momentum_shift is not None
    names = ["Z", "E", "D", *(["VW", "Vb"] if moves else []), "W", "b"]
    wanted_rows = [
        (i + 1, name)
        for i, name in itertools.product(range(len(net.network.layers)), names)
        if (name != "E" or i + 1 < len(net.network.layers))
        and (name not in ("b", "Vb") or net.network.bias)
    ]
    assert [(row.layer, row.tensor) for row in history.observed] == wanted_rows
    shares = {key: row.overflow_share for key, row in rows.items() if row.entries}
    assert history.overflows == shares
    for (layer, tensor), row in rows.items():
        want = total.get((layer, tensor), reference.Counts())
        got = {name: getattr(row, name) for name in COUNTS}
        assert got == dataclasses.asdict(want), (layer, tensor)
        assert all(type(value) is int for value in got.values())
        is_relu = tensor == "Z" and net.network.layers[layer - 1].activation.kind == "relu"
        dead = sum(n >= min(window, history.steps) for n in idle.get(layer, ()))
        assert row.units == (net.network.layers[layer - 1].n_out if is_relu else 0)
        assert row.dead_units == (dead if is_relu else 0)
        assert (row.step_frac, row.error_frac) == fraction_widths(net, layer, tensor, m)


def parameters(net):
    """Return all weights and biases, raw ones and masters."""
    parts = net.network.parts
    arrays = []
    if parts.any_fixed:
        arrays += [*net.weights, *(net.biases if net.network.bias else ())]
    if parts.update == "float":
        arrays += [*net.master_weights, *(net.master_biases if net.network.bias else ())]
    return arrays


def in_order(n, batch_size, epochs):
    """Return the batches of a training that is not shuffled."""
    rows = [list(range(i, min(i + batch_size, n))) for i in range(0, n, batch_size)]
    return rows * epochs


@given(networks(), st.data())
@examples(80)
def test_random_networks(net, data):
    batch_size = data.draw(st.sampled_from([1, 2, 4] if net._average else [1, 2, 3, 5]))
    n, epochs = data.draw(st.integers(1, 6)), data.draw(st.integers(0, 2))
    x, y = batch(data.draw, net, n)
    lr_shift, window = data.draw(lr_shifts), data.draw(st.integers(1, 5))
    batches = in_order(n, batch_size, epochs)
    check(
        net, x, y, lr_shift, batches, window,
        epochs=epochs, batch_size=batch_size, shuffle=False,
    )  # fmt: skip


@every_parts
@given(data=st.data())
@examples(15)
def test_every_combination_of_parts(parts, data):
    net = data.draw(networks(parts=parts, any_formats=plain_formats()))
    batch_size = data.draw(st.sampled_from([1, 2]))
    x, y = batch(data.draw, net, 4)
    batches = in_order(4, batch_size, 2)
    check(
        net, x, y, data.draw(st.integers(-1, 8)), batches,
        epochs=2, batch_size=batch_size, shuffle=False,
    )  # fmt: skip


@given(data=st.data())
@examples(50)
def test_enormous_floats(data):
    """Steps too large or too small for every unit, masters far outside their formats."""
    net = data.draw(networks(parts=data.draw(st.sampled_from(ALL_PARTS[1:]))))
    x, y = batch(data.draw, net, 2)
    powers = st.sampled_from([-1070, -540, -30, 0, 500, 530, 1000, 1015])
    with np.errstate(over="ignore"):
        x, y = (v.astype(np.float64) * 2.0 ** data.draw(powers) for v in (x, y))
    x, y = np.clip(x, -1.7e308, 1.7e308), np.clip(y, -1.7e308, 1.7e308)
    lr_shift = data.draw(st.sampled_from([-1000, -10, 0, 3, 900, 1060, 2000]))
    batches = in_order(2, 1, 2)
    check(net, x, y, lr_shift, batches, epochs=2, shuffle=False)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_tiny_float_steps(rounding):
    """Errors with more bits below the last place than are counted."""
    state = np.random.RandomState(6)
    for width, power in itertools.product((32, 62, 63, 64), (0, -20, -40, -45, -80)):
        net = MLP([7, 4], QFormat(width, 20, rounding), parts=Parts("float", "float"), seed=1)
        x, y = state.normal(0, 1, (6, 7)) * 2.0**power, state.normal(0, 1, (6, 4)) * 2.0**power
        check(net, x, y, 3, in_order(6, 2, 1), batch_size=2, shuffle=False)


@pytest.mark.parametrize("update", ["fused", "two_step"])
@pytest.mark.parametrize("width", [8, 31, 32, 33, 61, 62, 63, 64])
@pytest.mark.parametrize("n", [1, 3])
def test_every_shift_of_a_step(width, n, update):
    """Weights and sums at their extremes, shifted by every amount that a code path may end at."""
    state = np.random.RandomState(width)
    shifts = (-4096, -70, -64, -63, -1, 0, 1, 2, 30, 31, 32, 33, *range(60, 67), 127, 128, 4096)
    for narrow in (QFormat(16, 4), QFormat(32, 8), QFormat(64, 8)):
        for i, lr_shift in enumerate(shifts):
            rule = ROUNDINGS[(i + n) % 5], OVERFLOWS[i // 5 % 2]
            weight = QFormat(width, 2 * narrow.frac, *rule)
            each = LayerFormats(narrow, weight, narrow, QFormat(40, 6))
            net = MLP([3, 4], [each], activation=intmlp.linear(), update=update, seed=1)
            net.set_weights(
                [raw_array(state, weight, (4, 3), "extremes")],
                [raw_array(state, weight, (4,), "extremes")],
            )
            x = raw_array(state, narrow, (n, 3), FLAVOURS[i % len(FLAVOURS)])
            y = raw_array(state, narrow, (n, 4), "extremes")
            check(net, x, y, lr_shift, [list(range(n))], batch_size=n, shuffle=False)


@pytest.mark.parametrize("rest", [-130, -5, -1, 0, 1, 5, 130])
def test_steps_that_leave_next_to_nothing(rest):
    """A weight of three times 2**8 and a rest, less three times 2**8: as wide as the rest."""
    fmt = QFormat(32, 8, "floor")
    net = MLP([1, 1], fmt, activation=intmlp.linear(), bias=False)
    net.set_weights([np.array([[3 * 2**8 + rest]], np.int32)])
    output = (3 * 2**8 + rest) // 2**8
    x, y = np.array([[1], [0]], np.int32), np.array([[output - 3], [0]], np.int32)
    check(net, x, y, -16, [[0, 1]], batch_size=2, shuffle=False)
    assert net.weights[0][0, 0] == rest


LAYERS = [intmlp.linear(), intmlp.relu(), intmlp.relu(0.5), intmlp.leaky_relu(3)]


@pytest.mark.parametrize("activation", LAYERS, ids=repr)
@pytest.mark.parametrize("width", [12, 32, 33, 61, 62, 64])
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_larger_than_a_block(width, activation, overflow):
    """Every loop over elements, on more of them than it takes at a time."""
    state = np.random.RandomState(width)
    fmt = QFormat(width, width // 2, "floor", overflow)
    for flavour in ("small", "uniform", "extremes"):
        net = MLP([50, 12, 40], fmt, activation=activation, seed=1)
        x, y = raw_array(state, fmt, (16, 50), flavour), raw_array(state, fmt, (16, 40), flavour)
        check(net, x, y, 5, in_order(16, 16, 1), batch_size=16, shuffle=False)


@pytest.mark.parametrize("loss", ["sse", "half_sse"])
@pytest.mark.parametrize("activation", [intmlp.sigmoid(), intmlp.tanh()], ids=repr)
def test_outputs_with_a_smooth_derivative(activation, loss):
    state = np.random.RandomState(4)
    for fmt in (QFormat(12, 8), QFormat(16, 15, "floor", "wrap")):
        net = MLP([5, 7, 40], fmt, activation=[intmlp.relu(), activation], loss=loss, seed=1)
        x, y = raw_array(state, fmt, (16, 5), "uniform"), raw_array(state, fmt, (16, 40), "uniform")
        check(net, x, y, 5, in_order(16, 16, 1), batch_size=16, shuffle=False)


HARD = [intmlp.hard_tanh(), intmlp.hard_sigmoid()]


@pytest.mark.parametrize("activation", [*LAYERS, *HARD], ids=repr)
@pytest.mark.parametrize("loss", ["sse", "half_sse"])
def test_outputs_in_other_formats_than_their_deltas(activation, loss):
    """Coarser deltas, finer ones, and much finer ones; outputs beyond both ends of hard ones."""
    state = np.random.RandomState(5)
    fmt = QFormat(16, 8)
    for delta in (QFormat(12, 2), QFormat(24, 8), QFormat(24, 12), QFormat(50, 45)):
        each = LayerFormats(fmt, fmt, delta, fmt)
        net = MLP([6, 8], each, input_format=fmt, activation=activation, loss=loss, seed=1)
        x, y = raw_array(state, fmt, (9, 6), "uniform"), raw_array(state, fmt, (9, 8), "uniform")
        check(net, x, y, 12, in_order(9, 3, 1), batch_size=3, shuffle=False)


def test_sums_shifted_by_more_than_63():
    state = np.random.RandomState(6)
    fine, coarse = QFormat(32, 40), QFormat(16, 4, "half_even", "wrap")
    each = LayerFormats(coarse, fine, coarse, fine)
    net = MLP([6, 8], each, input_format=fine, activation=intmlp.linear(), bias=False)
    for flavour in ("small", "uniform"):
        net.set_weights([raw_array(state, fine, (8, 6), flavour)])
        x, y = raw_array(state, fine, (9, 6), "small"), raw_array(state, coarse, (9, 8), "small")
        check(net, x, y, 4, in_order(9, 3, 1), batch_size=3, shuffle=False)


@pytest.mark.parametrize("width", [62, 63, 64])
def test_stochastic_steps_of_wide_weights(width):
    """Less than half a unit may be rounded up."""
    state = np.random.RandomState(width)
    narrow = QFormat(16, 8)
    each = LayerFormats(narrow, QFormat(width, 12, "stochastic"), narrow, narrow)
    net = MLP([9, 12], each, input_format=narrow, activation=intmlp.linear(), rounding_seed=3)
    x, y = raw_array(state, narrow, (6, 9), "small"), raw_array(state, narrow, (6, 12), "small")
    check(net, x, y, 6, in_order(6, 2, 2), epochs=2, batch_size=2, shuffle=False)


@pytest.mark.parametrize("update", ["fused", "two_step"])
def test_the_largest_velocities(update):
    """Of 2**62 and more, up to the ends of int64; their sizes are shifted down to be summed."""
    fmt, wide = QFormat(32, 20), QFormat(64, 60)
    each = LayerFormats(fmt, fmt, fmt, gradient=wide, velocity=wide)
    net = MLP([3, 4], [each], input_format=fmt, activation=intmlp.linear(), update=update,
              momentum_shift=1)  # fmt: skip
    net.set_weights([np.zeros((4, 3))], [np.zeros(4)])
    x = np.full((6, 3), 2.0)
    y = np.array([[3.0, -3.0, 1.0, 0.0]]) * np.array([[1], [0], [-2], [3], [1], [2]])
    for lr_shift in (20, 0):  # the first is of 3 * 2**61
        check(net, x, y, lr_shift, in_order(6, 1, 1), shuffle=False)
        check(net, x, y, lr_shift, in_order(6, 2, 1), batch_size=2, shuffle=False)


@pytest.mark.parametrize(
    ("weight", "momentum", "x", "y", "lr_shift", "done"),
    [
        (1.0, 1, 1.0, 1.6e308, 2000, 1),  # the velocity: -1.6e308, and half of it more
        (1.7e308, None, 1e-154, 2.7e154, -1023, 0),  # the master: 1.7e308 + 9e307
    ],
)
def test_a_step_that_is_not_finite_counts_nothing(weight, momentum, x, y, lr_shift, done):
    parts = Parts("float", "float", "float")
    net = MLP([1, 1], QFormat(16, 8), activation=intmlp.linear(), bias=False, parts=parts,
              momentum_shift=momentum)  # fmt: skip
    net.set_weights([[[weight]]])
    x, y = np.full((3, 1), x), np.full((3, 1), y)
    check(net, x, y, lr_shift, in_order(3, 1, 1), shuffle=False)
    assert net.steps == done


@every_parts
def test_larger_networks(parts):
    state = np.random.RandomState(7)
    net = MLP([70, 18, 17], QFormat(20, 12, "floor"), parts=parts, seed=2)
    x, y = state.uniform(-1, 1, (19, 70)), state.uniform(-1, 1, (19, 17))
    check(net, x, y, 7, in_order(19, 8, 1), batch_size=8, shuffle=False)


# Online training, whose path takes calls of at least eight steps ---------------------------------


def observed(net, x, y, lr_shift, calls):
    """Train in calls of so many steps; return the counts, the idle steps, and how many are done."""
    layers = net.network.layers
    counts = _counts.new_rows(len(layers))
    idle = np.zeros(sum(layer.n_out for layer in layers), np.int64)
    order, done = np.arange(len(x), dtype=np.int64), 0
    for count in calls:
        arguments = (order, 1, done, count, lr_shift, 0, None, None, counts, idle)
        steps = net._net.train(x, y, *arguments)
        done += steps
        if steps < count:
            break
    return counts.tolist(), idle.tolist(), done


def check_online(net, x, y, lr_shift, backend):
    """Assert that one call, two calls and calls of one step, which take the other path, agree."""
    if backend == "python":
        pytest.skip("the fallback has one path")
    n = len(x)
    assert net._net.trains_online(1, n, lr_shift)
    nets = [net, *(copy.deepcopy(net) for _ in range(3))]
    want = observed(nets[0], x, y, lr_shift, [1] * n)
    assert observed(nets[1], x, y, lr_shift, [n]) == want
    assert observed(nets[2], x, y, lr_shift, [n // 2, n - n // 2]) == want
    nets[3]._net.train(x, y, np.arange(n, dtype=np.int64), 1, 0, n, lr_shift, 0, None, None)
    for other in nets[1:]:
        for ours, theirs in zip(parameters(net), parameters(other), strict=True):
            assert_same(ours, theirs.tolist(), ours.dtype)
    return want[2]


@given(
    st.booleans().flatmap(narrow_networks),
    seeds,
    st.sampled_from(FLAVOURS),
    st.sampled_from(FLAVOURS),
)
@examples(60)
def test_any_online_network(backend, drawn, state, of_weights, of_samples):
    net, lr_shift = drawn
    if net.network.parts.update == "fixed":
        set_raw(net, state, of_weights)
    check_online(net, *samples(net, state, 16, of_samples), lr_shift, backend)


@given(narrow_networks(some_float=True), seeds, st.sampled_from([1e-320, 1e-5, 1.0, 300.0, 1e100]))
@examples(60)
def test_any_online_network_of_real_samples(backend, drawn, state, scale):
    net, lr_shift = drawn
    check_online(net, *real_samples(net, state, 16, scale), lr_shift, backend)


@every_parts
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_online_weights_that_leave_their_format(backend, parts, rounding):
    state = np.random.RandomState(3)
    for (width, frac, lr_shift), overflow in itertools.product(
        ((8, 3, 4), (8, 3, -2), (32, 28, 4), (32, 12, 30), (32, 2, -30)), OVERFLOWS
    ):
        fmt = QFormat(width, frac, rounding, overflow)
        net = MLP([21, 16, 3], fmt, activation=[intmlp.relu(), intmlp.linear()], parts=parts)
        k = lr_shift if net._net.trains_online(1, 60, lr_shift) else 1
        check_online(net, *real_samples(net, state, 60), k, backend)


@every_parts
@pytest.mark.parametrize("bias", [False, True])
def test_edges_of_lanes(backend, parts, bias):
    state = np.random.RandomState(1)
    for width in (1, 7, 15, 16, 17, 33, 65):
        fmt = QFormat(24, 12, "floor")
        net = MLP([width, 19, width], fmt, bias=bias, seed=1, parts=parts)
        assert check_online(net, *real_samples(net, state, 12), 3, backend) == 12


@every_parts
def test_online_sizes_of_values(backend, parts):
    """Subnormal steps; values beyond the lanes of roundings; steps that diverge late or at once."""
    state = np.random.RandomState(4)
    fixed_steps = parts.backward == parts.update == "fixed"
    for power in (-1074, -540, -60, 0, 27, 33, 60, 300, 513, 1021):
        for lr_shift in (1, 12) if fixed_steps else (-1015, -950, -40, 1, 500, 950):
            net = MLP([9, 4], QFormat(32, 20), activation=intmlp.linear(), bias=False, parts=parts)
            net.set_weights([state.uniform(-64, 64, (4, 9))])
            x, y = real_samples(net, state, 12)
            check_online(net, x * 2.0**power, y, lr_shift, backend)


@pytest.mark.parametrize("rounding", EVERY_ROUNDING)
def test_shift_of_an_online_step(backend, rounding):
    """The first and the last shift that the path serves, with the largest products."""
    fmt = QFormat(32, 30, rounding)
    for k in (1, 2, 40, 41, 61, 62):
        for low, high in ((fmt.raw_min, fmt.raw_max), (fmt.raw_min, fmt.raw_min), (1, -1)):
            net = MLP([3, 3], fmt, activation=intmlp.linear(), bias=False)
            net.set_weights([np.zeros((3, 3), np.int32)])
            x = np.tile(np.array([low, high, 3], np.int32), (8, 1))
            y = np.tile(np.array([low, high, 0], np.int32), (8, 1))
            check_online(net, x, y, k - 30, backend)


@functools.cache
def large_products(backend, threads):
    """Return what is observed where products are large enough to be shared out."""
    before, serving = intmlp.get_num_threads(), _backend.active_name()
    _backend.use(backend)
    intmlp.set_num_threads(threads)
    try:
        state = np.random.RandomState(1)
        net = MLP([700, 200, 30], QFormat(16, 10, "floor"), seed=3)
        x, y = state.uniform(-2, 2, (512, 700)), state.uniform(-1, 1, (512, 30))
        return net.train(x, y, 12, batch_size=512, observe=True, overflow="ignore").observed
    finally:
        intmlp.set_num_threads(before)
        _backend.use(serving)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads(backend, threads):
    assert large_products(backend, threads) == large_products("python", 1)


def test_in_calls_of_any_length(monkeypatch):
    """Counts add up over the calls that a training is made of."""
    state = np.random.RandomState(4)
    x, y = state.uniform(-1, 1, (60, 9)), state.uniform(-1, 1, (60, 3))
    nets = [MLP([9, 5, 3], QFormat(12, 8, "floor"), seed=2) for _ in range(2)]
    one = nets[0].train(x, y, 4, epochs=3, observe=True, window=20)
    monkeypatch.setattr("intmlp.nn.mlp._SECONDS_PER_CALL", 0)
    other = nets[1].train(x, y, 4, epochs=3, observe=True, window=20)
    assert one.observed == other.observed


def test_an_interrupted_training_counts_whole_steps():
    net = MLP([3, 2], QFormat(12, 8), seed=2)
    x, y = np.full((50, 3), 0.5), np.zeros((50, 2))
    counts, idle = _counts.new_rows(1), np.zeros(2, np.int64)
    order = np.arange(50, dtype=np.int64)
    for first, count in ((0, 1), (1, 20), (21, 29)):
        assert net._net.train(x, y, order, 1, first, count, 3, 0, None, None, counts, idle) == count
    whole = MLP([3, 2], QFormat(12, 8), seed=2).train(x, y, 3, shuffle=False, observe=True)
    assert counts[0, 0] == 100 == whole.observed[0].entries


def test_shares_and_means():
    net = MLP([2, 2], QFormat(8, 4, "floor"), bias=False)
    net.set_weights([np.array([[16, 8], [0, -8]], np.int32)])
    x, y = np.array([[16, 0]], np.int32), np.array([[32, 0]], np.int32)
    z, d, w = net.train(x, y, 6, observe=True).observed  # Z = 16, 0; D = -16, 0; step 4 / 16
    assert (w.rounded_steps, w.lost_share, w.artefact_share) == (1, 1.0, 0.0)
    assert (w.mean_step, w.mean_error) == (1.0, 2.0**-6)
    assert (z.inactive_share, z.dead_share, z.overflow_share) == (0.5, 0.5, 0.0)
    assert all(map(math.isnan, (d.dead_share, d.inactive_share, d.lost_share, d.mean_step)))
    nothing = net.train(x, y, 6, epochs=0, observe=True).observed
    assert all(math.isnan(row.overflow_share) for row in nothing)
    assert nothing[0].dead_units == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"observe": 1}, TypeError, "observe must be"),
        ({"observe": True, "window": 0}, ValueError, "window must be in 1..9223372036854775807"),
        ({"observe": True, "window": 1.5}, TypeError, "window must be an integer"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    net = MLP([1, 1], QFormat(8, 4))
    with pytest.raises(error, match=message):
        net.train(np.ones((1, 1)), np.ones((1, 1)), 1, **arguments)
