"""Momentum, decay, schedules, and what a training does about overflow."""

import copy
import itertools
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import (
    ALL_PARTS,
    FLOATS,
    batch,
    bits,
    check_gradient,
    check_step,
    check_training,
    every_parts,
    lr_shifts,
    networks,
    plain_formats,
)
from test_observe import check, in_order

import intmlp
from intmlp import MLP, LayerFormats, OverflowWarning, Parts, QFormat, _counts
from support import FLAVOURS, OVERFLOWS, ROUNDINGS, examples, raw_array, tensors, twin_network

pytestmark = pytest.mark.usefixtures("backend")

BOTH = {"momentum_shift": 3, "decay_shift": 9}
OPTIMISERS = [{"momentum_shift": 3}, {"decay_shift": 9}, BOTH]
each_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS, ids="-".join)


def state_of(net):
    """Return all that a step changes, bit for bit."""
    found = [tensors(net)]
    if net.network.momentum_shift is not None:
        found += [[v.tolist() for v in (*net.velocities, *net.bias_velocities)]]
    return bits(found)


# Momentum and decay against the oracle ------------------------------------------------------------


@given(networks(optimiser=True), st.data())
@examples(80)
def test_random_networks(net, data):
    model = twin_network(net)
    n = data.draw(st.sampled_from([1, 2, 4] if net._average else [1, 2, 3, 5]))
    x, y = batch(data.draw, net, n)
    check_gradient(net, model, x, y)
    for _ in range(3):
        check_step(net, model, x, y, data.draw(lr_shifts))


@every_parts
@given(data=st.data())
@examples(8)
def test_every_combination_of_parts(parts, data):
    net = data.draw(networks(parts=parts, any_formats=plain_formats(), optimiser=True))
    model = twin_network(net)
    x, y = batch(data.draw, net, 4)
    for _ in range(4):
        check_step(net, model, x, y, data.draw(st.integers(0, 6)))


@given(networks(optimiser=True), st.data())
@examples(40)
def test_counted(net, data):
    batch_size = data.draw(st.sampled_from([1, 2, 4] if net._average else [1, 3]))
    x, y = batch(data.draw, net, 5)
    batches = in_order(5, batch_size, 2)
    check(
        net, x, y, data.draw(lr_shifts), batches, 3,
        epochs=2, batch_size=batch_size, shuffle=False,
    )  # fmt: skip


@given(data=st.data())
@examples(30)
def test_enormous_floats(data):
    """Velocities, decayed gradients and steps that are not finite: then nothing changes."""
    parts = data.draw(st.sampled_from(ALL_PARTS[1:]))
    net = data.draw(networks(parts=parts, optimiser=True))
    model = twin_network(net)
    x, y = batch(data.draw, net, 2)
    powers = st.sampled_from([-1070, -30, 0, 500, 530, 1000, 1015])
    with np.errstate(over="ignore"):
        x, y = (v.astype(np.float64) * 2.0 ** data.draw(powers) for v in (x, y))
    x, y = np.clip(x, -1.7e308, 1.7e308), np.clip(y, -1.7e308, 1.7e308)
    for _ in range(3):
        before = state_of(net)
        if check_step(net, model, x, y, data.draw(st.sampled_from([-1000, 0, 3, 900, 2000]))):
            assert state_of(net) == before


@pytest.mark.parametrize("update", ["fused", "two_step"])
@pytest.mark.parametrize("width", [8, 31, 32, 33, 61, 62, 64])
def test_every_shift(width, update):
    """Weights, velocities and sums at their extremes, and what is at the ends of int64."""
    state = np.random.RandomState(width)
    rules = itertools.cycle(itertools.product(ROUNDINGS, OVERFLOWS))
    shifts = itertools.cycle((-4096, -70, -63, -1, 0, 1, 2, 30, 31, 32, 33, 61, 62, 63, 64, 4096))
    momenta, decays = itertools.cycle((1, None, 2, 15, 31)), itertools.cycle((0, 7, None, 40, 63))
    for narrow, fracs in itertools.product(
        (QFormat(16, 4), QFormat(32, 30), QFormat(64, 63), QFormat(64, 0)),
        ((0, 0), (0, 63), (63, 0), (20, 12), (40, 1), (1, 40)),
    ):
        rule, momentum = next(rules), next(momenta)
        weight, velocity = (QFormat(width, frac, *rule) for frac in fracs)
        each = LayerFormats(narrow, weight, narrow, QFormat(40, 6), velocity)
        net = MLP(
            [3, 4], [each], activation=intmlp.linear(), update=update, momentum_shift=momentum,
            decay_shift=next(decays) if momentum is None else next(decays) or 5,
        )  # fmt: skip
        lr_shift, flavour = next(shifts), FLAVOURS[state.randint(len(FLAVOURS))]
        net.set_weights(
            [raw_array(state, weight, (4, 3), "extremes")],
            [raw_array(state, weight, (4,), "extremes")],
        )
        x = raw_array(state, narrow, (2, 3), flavour)
        y = raw_array(state, narrow, (2, 4), "extremes")
        check(net, x, y, lr_shift, in_order(2, 2, 2), epochs=2, batch_size=2, shuffle=False)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("width", [14, 32, 48])
def test_larger_than_a_block(width, rounding, overflow):
    """Every loop over elements, on more of them than it takes at a time."""
    state = np.random.RandomState(width)
    fmt = QFormat(width, width // 2, rounding, overflow)
    updates = itertools.cycle(["fused", "two_step"])
    for optimiser, flavour in itertools.product(OPTIMISERS, ("small", "uniform")):
        net = MLP([40, 13], fmt, update=next(updates), seed=1, **optimiser)
        x, y = raw_array(state, fmt, (3, 40), flavour), raw_array(state, fmt, (3, 13), flavour)
        check(net, x, y, 5, in_order(3, 2, 1), batch_size=2, shuffle=False)


@every_parts
@each_optimiser
def test_larger_networks(parts, optimiser):
    state = np.random.RandomState(7)
    formats = LayerFormats(*[QFormat(20, 12, "floor")] * 4, QFormat(24, 18, "half_away"))
    net = MLP([33, 18, 3], formats, parts=parts, seed=2, **optimiser)
    x, y = state.uniform(-1, 1, (3, 33)), state.uniform(-1, 1, (3, 3))
    check(net, x, y, 4, in_order(3, 2, 1), batch_size=2, shuffle=False)


@each_optimiser
def test_one_sample_at_a_time(backend, optimiser):
    """Weights whose inputs are zero change too, which online training does not expect."""
    state = np.random.RandomState(5)
    net = MLP([20, 4], QFormat(16, 10), seed=1, **optimiser)
    assert not net._net.trains_online(1, 1000, 3)
    x = state.uniform(-1, 1, (12, 20)) * (state.random_sample((12, 20)) < 0.3)
    y = state.uniform(-1, 1, (12, 4))
    check_training(net, twin_network(net), x, y, 3, in_order(12, 1, 1), shuffle=False)


def test_by_hand():
    net = MLP([1, 1], QFormat(8, 4), bias=False, activation=intmlp.linear(), momentum_shift=1)
    net.set_weights([np.array([[16]], np.int32)])
    x, y = np.array([[16]], np.int32), np.array([[8]], np.int32)
    net.step(x, y, 1)  # g = 8 = V; W = 16 - 4
    assert (net.velocities[0], net.weights[0]) == (8, 12)
    net.step(x, y, 1)  # g = 4, V = 4 + 4; W = 12 - 4
    assert (net.velocities[0], net.weights[0]) == (8, 8)
    net = MLP([1, 1], QFormat(8, 4), bias=False, activation=intmlp.linear(), decay_shift=2)
    net.set_weights([np.array([[16]], np.int32)])
    net.step(x, y, 1)  # (8 + 16 / 4) / 2
    assert net.weights[0] == 10


# Velocities as attributes -------------------------------------------------------------------------


def test_velocities_are_views():
    fmt, velocity = QFormat(16, 8), QFormat(40, 20)
    net = MLP([3, 2], LayerFormats(fmt, fmt, fmt, fmt, velocity), momentum_shift=2)
    assert [v.shape for v in (*net.velocities, *net.bias_velocities)] == [(2, 3), (2,)]
    assert {v.dtype for v in (*net.velocities, *net.bias_velocities)} == {np.dtype(np.int64)}
    assert not net.velocities[0].flags.writeable and not net.bias_velocities[0].flags.writeable
    assert MLP([3, 2], fmt, momentum_shift=2).velocities[0].dtype == np.int32
    floats = MLP([3, 2], fmt, momentum_shift=2, parts=Parts(update="float"), bias=False)
    assert floats.velocities[0].dtype == np.float64 and floats.bias_velocities == ()
    for name in ("velocities", "bias_velocities"):
        with pytest.raises(AttributeError, match=f"no {name}: momentum_shift is None"):
            getattr(MLP([3, 2], fmt, decay_shift=2), name)


def test_set_weights_sets_velocities_to_zero():
    net = MLP([3, 2], QFormat(16, 8), seed=1, activation=intmlp.linear(), **BOTH)
    net.step(np.ones((1, 3)), np.full((1, 2), -9.0), 1)
    velocities = *net.velocities, *net.bias_velocities
    assert all(v.any() for v in velocities)
    net.set_weights(net.weights, net.biases)
    assert not any(v.any() for v in velocities)


@pytest.mark.parametrize("parts", [Parts(), FLOATS])
def test_copies_go_on_with_their_velocities(parts):
    state = np.random.RandomState(3)
    x, y = state.uniform(-1, 1, (8, 3)), state.uniform(-1, 1, (8, 2))
    net = MLP([3, 2], QFormat(16, 8), parts=parts, seed=1, **BOTH)
    net.train(x, y, 2)
    others = [pickle.loads(pickle.dumps(net)), copy.deepcopy(net)]
    net.train(x, y, 2)
    for other in others:
        other.train(x, y, 2)
        assert state_of(other) == state_of(net)


def test_the_velocity_format():
    narrow, wide = QFormat(8, 4), QFormat(16, 12)
    default = LayerFormats(narrow, narrow, narrow, wide)
    assert default.velocity is None and default == LayerFormats(narrow, narrow, narrow, wide, None)
    assert MLP([1, 1], default).network.layers[0].velocity == wide
    given = LayerFormats(narrow, narrow, narrow, wide, velocity=narrow)
    assert MLP([1, 1], given).network.layers[0].velocity == narrow


# Schedules ----------------------------------------------------------------------------------------


def test_a_shift_for_each_epoch():
    state = np.random.RandomState(3)
    x, y = state.uniform(-1, 1, (9, 3)), state.uniform(-1, 1, (9, 2))
    net, other = (MLP([3, 2], QFormat(16, 8), seed=1, momentum_shift=2) for _ in range(2))
    history = net.train(x, y, (1, 2, 5), epochs=3, batch_size=2, shuffle=False)
    losses = [
        other.train(x, y, lr_shift, batch_size=2, shuffle=False).loss for lr_shift in (1, 2, 5)
    ]
    assert np.array_equal(history.loss, np.concatenate(losses))
    assert state_of(net) == state_of(other)
    assert net.train(x, y, np.array([4, 3]), epochs=2).steps == 18
    assert net.train(x, y, [], epochs=0).steps == 0


# Overflow -----------------------------------------------------------------------------------------


def overflowing(update="fixed", **arguments):
    """Return a net of two layers, and samples of which number 70 overflows in D, far from 64."""
    parts = Parts(update=update)
    fmt = QFormat(12, 6)
    x, y = np.full((100, 3), 0.25), np.zeros((100, 2))
    y[70] = [31, -31]
    formats = LayerFormats(fmt, fmt, QFormat(10, 6), fmt)
    net = MLP([3, 4, 2], formats, activation=intmlp.linear(), seed=1, parts=parts, **arguments)
    return net, x, y


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("update", ["fixed", "float"])
@pytest.mark.parametrize("optimiser", [{}, {"momentum_shift": 2}])
def test_raise(batch_size, update, optimiser):
    """The step that overflows is not done, by whatever path."""
    net, x, y = overflowing(update, **optimiser)
    step = 70 // batch_size
    before = copy.deepcopy(net)
    before.train(x[:70], y[:70], 4, batch_size=batch_size, shuffle=False, overflow="ignore")
    wanted = (
        rf"^step {step}, layer 2: 2 of the {2 * batch_size} values of D lie outside QFormat\(bits="
        r"10, frac=6, .*; the step was not done$"
    )
    with pytest.raises(OverflowError, match=wanted):
        net.train(x, y, 4, batch_size=batch_size, shuffle=False, overflow="raise")
    assert state_of(net) == state_of(before)
    history = net.train(x[:70], y[:70], 4, batch_size=batch_size, overflow="raise")
    assert history.diverged_at is None and set(history.overflows.values()) == {0.0}


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("update", ["fixed", "float"])
@pytest.mark.parametrize("optimiser", [{}, {"momentum_shift": 2}])
def test_raise_by_a_parameter(batch_size, update, optimiser):
    """Weights of the first layer leave their format in a step that otherwise does not overflow."""
    fmt, narrow = QFormat(30, 12), QFormat(12, 11)
    formats = LayerFormats(fmt, narrow, fmt, fmt)
    net = MLP([2, 2, 2], formats, activation=intmlp.linear(), parts=Parts(update=update),
              bias=False, **optimiser)  # fmt: skip
    weights = [np.array([[0.5, 0.5], [0.875, -0.5]]), np.array([[0.5, 0.5], [0.5, 0.5]])]
    net.set_weights(weights)
    x, y = np.zeros((40, 2)), np.zeros((40, 2))
    x[36], y[36] = [1, 0], [16, -12]
    before = state_of(net)
    with pytest.raises(OverflowError, match=rf"^step {36 // batch_size}, layer 1: . of the 4 valu"):
        net.train(x, y, 3, batch_size=batch_size, shuffle=False, overflow="raise")
    assert state_of(net) == before
    shares = net.train(x, y, 3, batch_size=batch_size, shuffle=False, overflow="count").overflows
    assert shares[1, "W"] > 0 and not any(share for key, share in shares.items() if key[1] != "W")


def test_divergence_is_no_overflow():
    net = MLP([1, 1], QFormat(8, 4), parts=FLOATS, momentum_shift=1, activation=intmlp.linear())
    history = net.train(np.full((9, 1), 1e200), np.zeros((9, 1)), 0, overflow="raise")
    assert history.diverged_at == 0 and not net.velocities[0].any()


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("parts", [Parts(), Parts(backward="float"), Parts("float", "fixed")])
@pytest.mark.parametrize("optimiser", [{}, {"momentum_shift": 2}])
def test_every_64th_step(batch_size, parts, optimiser):
    """What "warn" counts is what steps 0, 64, 128, ... of all epochs count one by one."""
    state = np.random.RandomState(1)
    x, y = state.uniform(-8, 8, (150, 6)), state.uniform(-8, 8, (150, 3))
    nets = [MLP([6, 5, 3], QFormat(8, 4), seed=3, parts=parts, **optimiser) for _ in range(4)]
    arguments = {"epochs": 3, "batch_size": batch_size, "shuffle": False}
    with pytest.warns(OverflowWarning) as caught:
        history = nets[0].train(x, y, 3, **arguments)
    assert nets[3].train(x, y, 3, overflow="sample", **arguments).overflows == history.overflows
    plain = nets[1].train(x, y, 3, overflow="ignore", **arguments)
    assert plain.overflows is None and np.array_equal(plain.loss, history.loss)
    counts, idle = _counts.new_rows(2), np.zeros(8, np.int64)
    order = np.arange(150, dtype=np.int64)
    per_epoch = 150 // batch_size
    for step in range(3 * per_epoch):
        counting = (counts, idle) if step % 64 == 0 else ()
        nets[2]._net.train(
            x, y, order, batch_size, step % per_epoch, 1, 3, 0, None, None, *counting
        )
    assert state_of(nets[0]) == state_of(nets[1]) == state_of(nets[2])
    wanted = {}
    for (layer, tensor), row in zip(
        itertools.product((1, 2), _counts.TENSORS), counts, strict=True
    ):
        seen = _counts.unpack(row)
        if seen["entries"]:
            wanted[layer, tensor] = seen["overflows"] / seen["entries"]
    assert history.overflows == wanted
    texts = [str(warning.message) for warning in caught]
    overflowed = [(key, share) for key, share in wanted.items() if share]
    assert len(texts) == len(overflowed) > 1
    for text, ((layer, tensor), share) in zip(texts, overflowed, strict=True):
        assert text.startswith(
            f"layer {layer}: {100 * share:.3g}% of the values of {tensor} lay outside"
        )
        assert text.endswith("in the steps counted, every 64th, and saturated")
        assert caught[0].filename == __file__


@pytest.mark.parametrize("batch_size", [1, 2])
def test_counts_in_calls_of_any_length(monkeypatch, batch_size):
    """Which steps are counted, and what, does not depend on how they are cut into calls."""
    state = np.random.RandomState(1)
    x, y = state.uniform(-8, 8, (150, 6)), state.uniform(-8, 8, (150, 3))
    shares = []
    for seconds in (0, 0.001, 10):
        monkeypatch.setattr("intmlp.nn.mlp._SECONDS_PER_CALL", seconds)
        net = MLP([6, 5, 3], QFormat(8, 4), seed=3)
        with pytest.warns(OverflowWarning):
            shares.append(net.train(x, y, 3, epochs=2, batch_size=batch_size).overflows)
    assert shares[0] == shares[1] == shares[2]


def test_steps_of_small_deltas_may_overflow(backend):
    """All deltas are -1, and the weight leaves its format by what they are multiplied with."""
    wide = QFormat(16, 0)
    formats = LayerFormats(activation=wide, weight=QFormat(8, 0), delta=wide, gradient=wide)
    net = MLP([1, 1], [formats], activation=intmlp.linear(), bias=False)
    net.set_weights([np.array([[1]], np.int32)])
    x = np.full((2, 1), 100, np.int32)
    history = net.train(x, x + 1, 0, batch_size=2, overflow="count")
    assert history.overflows == {(1, "Z"): 0.0, (1, "D"): 0.0, (1, "W"): 1.0}
    assert net.weights[0].item() == 127


def test_observed_trainings_count_every_step():
    net, x, y = overflowing()
    with pytest.warns(OverflowWarning, match=r"layer 2: 1% of the values of D .* in all steps"):
        history = net.train(x, y, 4, shuffle=False, observe=True)
    assert history.overflows[2, "D"] == 0.01
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert net.train(x, y, 4, shuffle=False, overflow="count").overflows[2, "D"] == 0.01
        assert net.train(x[:40], y[:40], 4).overflows[2, "D"] == 0
        ignored = net.train(x, y, 4, observe=True, overflow="ignore")
        assert ignored.overflows is None and ignored.observed is not None
        assert net.train(x, y, 4, epochs=0).overflows == {}


@pytest.mark.parametrize("update", ["fixed", "float"])
def test_counted_online_after_steps_that_were_not(backend, update):
    """Rows beyond those of the step's inputs have changed since weights were last looked at."""
    state = np.random.RandomState(2)
    fmt, narrow = QFormat(30, 12), QFormat(9, 8)
    formats = LayerFormats(fmt, narrow, fmt, fmt)
    x = state.uniform(-1, 1, (300, 12)) * (state.random_sample((300, 12)) < 0.4)
    y = state.uniform(-1, 1, (300, 3))
    order = np.arange(300, dtype=np.int64)
    found = []
    for calls in ([300], [1] * 300, [130, 170]):
        net = MLP([12, 3], formats, seed=1, parts=Parts(update=update), init=intmlp.uniform(-1, 1))
        counts, idle, done = _counts.new_rows(1), np.zeros(3, np.int64), 0
        assert net._net.trains_online(1, 300, 3) == (backend != "python")
        for count in calls:
            net._net.train(x, y, order, 1, done, count, 3, 0, None, None, counts, idle, 5, 2)
            done += count
        found.append((counts.tolist(), idle.tolist(), state_of(net)))
    assert found[0] == found[1] == found[2]
    assert counts[0, 0] == 3 * 60  # steps 3, 8, ...: their numbers in the training are 5, 10, ...


# Interrupts and errors ----------------------------------------------------------------------------


@each_optimiser
def test_an_interrupt_leaves_whole_steps(optimiser, monkeypatch):
    monkeypatch.setattr("intmlp.nn.mlp._SECONDS_PER_CALL", 0)
    state = np.random.RandomState(3)
    x, y = state.uniform(-1, 1, (30, 3)), state.uniform(-1, 1, (30, 2))
    net, other = (MLP([3, 2], QFormat(16, 8), seed=1, **optimiser) for _ in range(2))

    def progress(done, total):
        if done >= 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.train(x, y, 2, shuffle=False, progress=progress)
    other.train(x[:17], y[:17], 2, shuffle=False)
    assert state_of(net) == state_of(other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"momentum_shift": 0}, ValueError, r"momentum_shift must be in 1\.\.31, got 0"),
        ({"momentum_shift": 32}, ValueError, r"momentum_shift must be in 1\.\.31, got 32"),
        ({"momentum_shift": 0.5}, TypeError, "momentum_shift must be an integer"),
        ({"decay_shift": -1}, ValueError, r"decay_shift must be in 0\.\.63, got -1"),
        ({"decay_shift": 64}, ValueError, r"decay_shift must be in 0\.\.63, got 64"),
        ({"decay_shift": True}, TypeError, "decay_shift must be an integer"),
    ],
)
def test_wrong_arguments_of_a_network(arguments, error, message):
    with pytest.raises(error, match=message):
        MLP([1, 1], QFormat(8, 4), **arguments)


def test_wrong_velocity_format():
    fmt = QFormat(8, 4)
    with pytest.raises(TypeError, match="velocity must be a QFormat"):
        LayerFormats(fmt, fmt, fmt, fmt, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"overflow": "wrap"}, ValueError, "overflow must be one of warn, sample, count"),
        ({"lr_shift": [1, 2]}, ValueError, "lr_shift must have one entry per epoch, 3, got 2"),
        ({"lr_shift": [1, 2, 0.5]}, TypeError, r"lr_shift\[2\] must be an integer"),
        ({"lr_shift": "123"}, TypeError, "lr_shift must be an integer"),
    ],
)
def test_wrong_arguments_of_train(arguments, error, message):
    net = MLP([1, 1], QFormat(8, 4))
    with pytest.raises(error, match=message):
        net.train(np.ones((1, 1)), np.ones((1, 1)), **{"lr_shift": 1, "epochs": 3, **arguments})


def test_a_step_takes_one_shift():
    with pytest.raises(TypeError, match="lr_shift must be an integer"):
        MLP([1, 1], QFormat(8, 4)).step(np.ones((1, 1)), np.ones((1, 1)), [1])
