"""Stochastic rounding: its random words, every place that rounds, and what must not matter."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import (
    batch,
    check_all,
    check_forward,
    check_gradient,
    check_step,
    every_parts,
    lr_shifts,
    networks,
    stream_of,
)
from test_observe import check as check_counts
from test_observe import check_online, in_order
from test_online import check, real_samples, samples

import intmlp
import reference
from intmlp import MLP, LayerFormats, Parts, QFormat, Stream, _backend
from intmlp._backend.fallback.random import philox
from support import OVERFLOWS, assert_same, examples, raw_array, seeds, twin, twin_network

pytestmark = pytest.mark.usefixtures("backend")

FULL = 2**32 - 1
# Counter, key and words, as published with Random123.
VECTORS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((FULL,) * 4, (FULL,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
def test_published_vectors(counter, key, words):
    assert tuple(reference.philox(counter, key)) == words
    assert philox(tuple(np.array(c, np.uint64) for c in counter), key) == words


def words_of(stream, n):
    """Return the random words of n elements, found by halving: 2**32 less a word goes up."""
    fmt, least = QFormat(64, 0, "stochastic"), np.full(n, 2**32)
    for bit in reversed(range(32)):
        tried = least - 2**bit
        least = np.where(intmlp.requantize(tried, 32, fmt, stream=stream), tried, least)
    return 2**32 - least


def test_words_of_a_stream():
    assert tuple(words_of(Stream(0), 4).tolist()) == VECTORS[0][2]
    for seed, step, tensor in ((0, 0, 1), (1, 0, 0), (2**32, 0, 0), (2**64 - 1, FULL, FULL)):
        want = [reference.Stream(seed, step, tensor).word(i, 32) for i in range(70)]
        assert words_of(Stream(seed, step, tensor), 70).tolist() == want


# Single calls

FORMATS = [
    QFormat(8, 4, "stochastic"),
    QFormat(16, 8, "stochastic", "wrap", 5),
    QFormat(32, 31, "stochastic", "wrap", 31),
    QFormat(40, 20, "stochastic", random_bits=1),
    QFormat(64, 63, "stochastic", "wrap"),
]
STREAM = Stream(0x123456789ABCDEF0, 7, 99)
TWIN = reference.Stream(*vars(STREAM).values())


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_requantize(fmt):
    state = np.random.RandomState(1)
    for k in (-70, -3, 0, 1, 2, 15, 31, 32, 33, 40, 62, 63, 64, 65, 96, 97, 200, 5000):
        s = raw_array(state, QFormat(64, 0), 530, "uniform") >> state.randint(0, 63, 530)
        s[:20] = raw_array(state, QFormat(64, 0), 20, "extremes")
        for source in (s, s.astype(np.int32)):
            got = intmlp.requantize(source, fmt.frac + k, fmt, stream=STREAM)
            want = reference.requantized(source.tolist(), fmt.frac + k, twin(fmt), TWIN)
            assert_same(got, want, fmt.dtype)
    assert intmlp.requantize(np.int32(9), 5000, fmt, stream=STREAM).shape == ()


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_quantize(fmt):
    """Floats of any size: in lanes, above them, above int64, and too small to be seen."""
    state = np.random.RandomState(2)
    for power in (-1074, -200, -40, -33, -8, 0, 8, 45, 49, 51, 53, 62, 64, 140):
        v = np.ldexp(state.uniform(-1, 1, 700), power)
        v[::7] = np.rint(np.ldexp(v[::7], fmt.frac)) / 2.0**fmt.frac
        narrow = v.astype(np.float32) if power < 128 else v
        for source in (v, narrow, v.reshape(70, 10)[:, ::-1]):
            got = intmlp.quantize(source, fmt, stream=STREAM)
            assert_same(got, reference.quantized(source.tolist(), twin(fmt), TWIN), fmt.dtype)


@pytest.mark.parametrize("fmt", [*FORMATS[:2], FORMATS[3]], ids=str)
@pytest.mark.parametrize("width", [5, 12, 24, 31, 48, 62])
def test_every_kernel(fmt, width):
    """Elements of a product are counted in C order, whatever its blocks, layouts and sums."""
    state = np.random.RandomState(width)
    module, served = _backend.active(), 0
    for m, k, n in ((1, 9, 70), (19, 7, 53), (5, 1, 6), (3, 0, 4)):
        a = raw_array(state, QFormat(width, 0), (m, k), "uniform").astype(np.int64)
        b = raw_array(state, QFormat(width, 0), (k, n), "uniform").astype(np.int64)
        bias = raw_array(state, QFormat(width, 0), n, "uniform").astype(np.int64)
        frac_in = fmt.frac + width + 3
        sums = (a.astype(object) @ b + (bias.astype(object) << 3)).tolist()
        want = reference.requantized(sums, frac_in, twin(fmt), TWIN)
        for left, right in itertools.product((a, np.asfortranarray(a)), (b, np.asfortranarray(b))):
            for kernel in (None, *module.matmul_kernels()):
                try:
                    got = module.matmul(left, right, bias, 3, frac_in, fmt, kernel, None, STREAM)
                except ValueError:  # it is not proved to be exact
                    continue
                served += 1
                assert_same(got, want, fmt.dtype)
    assert served >= 4 * 4 * 2
    narrow = a.astype(np.int32) if width < 32 else a
    got = intmlp.matmul(narrow, b, 3, fmt, bias=bias, bias_frac=3, stream=STREAM)
    assert_same(got, reference.requantized([bias.tolist()] * 3, 3, twin(fmt), TWIN), fmt.dtype)


def test_outer_products():
    """Of one sample: vectors of int32, whose zeros are left out elsewhere."""
    a, b = np.array([[3], [0], [-5]], np.int32), np.arange(-300, 301, dtype=np.int32)[None]
    fmt = QFormat(16, 0, "stochastic")
    got = intmlp.matmul(a, b, 6, fmt, stream=STREAM)
    assert_same(got, reference.requantized((a @ b).tolist(), 6, twin(fmt), TWIN), fmt.dtype)


# Networks


def at_random(net, state, share=1.0):
    """Return `net` with stochastic formats, the given share of them."""

    def changed(fmt):
        if state.random_sample() >= share:
            return fmt
        return QFormat(fmt.bits, fmt.frac, "stochastic", fmt.overflow, state.randint(1, 33))

    network = net.network
    formats = [
        LayerFormats(**{name: fmt and changed(fmt) for name, fmt in vars(layer.formats).items()})
        for layer in network.layers
    ]
    other = MLP(
        [network.layers[0].n_in, *(layer.n_out for layer in network.layers)],
        formats,
        input_format=changed(network.input),
        activation=[layer.activation for layer in network.layers],
        bias=network.bias,
        loss=network.loss,
        update=network.update,
        average=net._average,
        parts=network.parts,
        init=intmlp.uniform(-1, 1),
        seed=state,
        rounding_seed=int(state.randint(0, 2**62)) * 4 + 3,
    )
    return other


@given(networks(), seeds, st.sampled_from([0.3, 1.0]), st.data())
@examples(60)
def test_random_networks(net, state, share, data):
    net = at_random(net, state, share)
    n = data.draw(st.sampled_from([1, 2, 4] if net._average else [1, 2, 3, 5]))
    check_all(data.draw, net, n, lr_shifts)


@every_parts
@pytest.mark.parametrize("update", ["fused", "two_step"])
def test_every_role(parts, update):
    """All formats stochastic, coarse ones, so that each role decides some elements."""
    activations = [intmlp.leaky_relu(2), intmlp.relu(0.5), intmlp.leaky_relu(1)]
    for bits, frac, random_bits in ((16, 5, 32), (48, 9, 3)):
        fmt = QFormat(bits, frac, "stochastic", random_bits=random_bits)
        net = MLP(
            [5, 4, 3, 2], fmt, activation=activations, update=update, parts=parts, rounding_seed=5
        )
        model = twin_network(net)
        x, y = np.random.RandomState(1).uniform(-1, 1, (2, 3, 5))
        check_forward(net, model, x)
        check_gradient(net, model, x, y[:, :2])
        for _ in range(3):
            assert not check_step(net, model, x, y[:, :2], 1)


@pytest.mark.parametrize("backward", ["fixed", "float"])
def test_velocities_longer_than_a_block(backward):
    fmt = QFormat(16, 6, "stochastic")
    net = MLP([30, 20], fmt, parts=Parts(backward=backward), momentum_shift=2, rounding_seed=5)
    model = twin_network(net)
    x, y = np.random.RandomState(1).uniform(-1, 1, (2, 2, 30))
    for _ in range(2):
        assert not check_step(net, model, x, y[:, :20], 1)


@given(networks(), seeds, st.data())
@examples(25)
def test_counts(net, state, data):
    net = at_random(net, state)
    batch_size = data.draw(st.sampled_from([1, 2, 4]))
    x, y = batch(data.draw, net, data.draw(st.integers(1, 5)))
    batches = in_order(len(x), batch_size, 2)
    lr_shift = data.draw(lr_shifts)
    check_counts(net, x, y, lr_shift, batches, epochs=2, batch_size=batch_size, shuffle=False)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("sizes", [(8, 20, 3), (7, 17, 12, 5), (516, 2), (3, 520)])
def test_online(backend, sizes, overflow):
    """On transposed weights, whose elements are counted as those of W; rows in fours and others."""
    state = np.random.RandomState(len(sizes))
    for frac, lr_shift, function in (
        (12, 3, intmlp.relu()),
        (6, -2, intmlp.linear()),
        (20, 12, intmlp.leaky_relu(2)),
    ):
        fmt = QFormat(24, frac, "stochastic", overflow, 32 - frac)
        net = MLP(list(sizes), fmt, activation=function, seed=1, rounding_seed=2**63 + 7)
        x, y = real_samples(net, state, 12)
        x[state.random_sample(x.shape) < 0.7] = 0
        check(copy.deepcopy(net), x, y, lr_shift, backend, oracle=sum(sizes) < 50)
        if backend != "python":
            check_online(net, x, y, lr_shift, backend)


def test_online_with_one_stochastic_format(backend):
    """Errors that are gathered while weights are not, and the other way round."""
    plain, drawn = QFormat(20, 9), QFormat(20, 9, "stochastic", random_bits=20)
    for name in ("activation", "weight", "delta"):
        formats = dict.fromkeys(("activation", "weight", "delta", "gradient"), plain)
        net = MLP([9, 12, 8, 4], LayerFormats(**formats | {name: drawn}), rounding_seed=9, seed=3)
        x, y = samples(net, np.random.RandomState(3), 15, "uniform")
        check(net, x >> 8, y >> 8, 2, backend, oracle=True)


@every_parts
def test_what_online_training_serves(backend, parts):
    fmt, plain = QFormat(16, 8, "stochastic"), QFormat(16, 8)
    nets = [
        MLP([3, 2], plain, input_format=fmt, parts=parts),
        MLP([3, 2], fmt, input_format=plain, parts=parts),
    ]
    served = [net._net.trains_online(1, 8, 3) for net in nets]
    assert served == [parts == Parts() and backend != "python"] * 2


# What must not matter


def test_blocks_of_a_forward_pass():
    fmt = QFormat(12, 6, "stochastic")
    net = MLP([3, 2], fmt, activation=intmlp.leaky_relu(1), rounding_seed=3)
    x = np.random.RandomState(3).uniform(-2, 2, (1100, 3))
    check_forward(net, twin_network(net), x)
    assert net.forward(x[:0], stream=stream_of(net)).shape == (0, 2)


def test_threads():
    state, fmt = np.random.RandomState(4), QFormat(16, 8, "stochastic")
    a = raw_array(state, QFormat(12, 0), (300, 200), "uniform")
    b = raw_array(state, QFormat(12, 0), (200, 400), "uniform")
    net = MLP([200, 300, 40], fmt, rounding_seed=4)
    x, y = state.uniform(-1, 1, (2, 300, 200))
    before, results = intmlp.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            intmlp.set_num_threads(threads)
            one = copy.deepcopy(net)
            step = one.step(x, y[:, :40], 4)
            results.append(
                [
                    intmlp.matmul(a, b, 20, fmt, stream=STREAM).tobytes(),
                    one.forward(x, stream=Stream(1)).tobytes(),
                    *(w.tobytes() for w in one.weights),
                    step,
                ]
            )
    finally:
        intmlp.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_steps(batch_size):
    """Steps are counted in every network, in calls of any length, and are kept by a pickle."""
    x, y = np.random.RandomState(5).uniform(-1, 1, (2, 20, 4))
    for rounding in ("floor", "stochastic"):
        net = MLP([4, 4], QFormat(12, 6, rounding), rounding_seed=1)
        other = copy.deepcopy(net)
        assert net.steps == 0
        net.train(x, y, 2, batch_size=batch_size, shuffle=False)
        for i in range(0, 20, batch_size):
            other.step(x[i : i + batch_size], y[i : i + batch_size], 2)
            other = pickle.loads(pickle.dumps(other))
        assert type(net.steps) is int and net.steps == other.steps == -(-20 // batch_size)
        assert_same(net.weights[0], other.weights[0].tolist(), np.int32)


def test_what_decides():
    """Seed, step and tensor; equal ones give equal numbers."""
    fmt, v = QFormat(8, 0, "stochastic"), np.full(64, 0.5)
    streams = [Stream(1), Stream(2), Stream(1, 1), Stream(1, 0, 1), Stream(2**32 + 1)]
    drawn = [intmlp.quantize(v, fmt, stream=stream).tobytes() for stream in streams]
    assert len(set(drawn)) == len(drawn)
    assert drawn == [intmlp.quantize(v, fmt, stream=stream).tobytes() for stream in streams]
    nets = [MLP([4, 4], fmt, init=intmlp.uniform(-3, 3), rounding_seed=i) for i in (0, 0, 1)]
    raws = [net.weights[0].tobytes() for net in nets]
    assert raws[0] == raws[1] != raws[2]
    nets[1].step(np.zeros((1, 4)), np.zeros((1, 4)), 0)  # a later step, other numbers
    for net in nets[:2]:
        net.set_weights([np.full((4, 4), 0.5)], [np.full(4, 0.5)])
    assert nets[0].weights[0].tobytes() != nets[1].weights[0].tobytes()


def test_a_step_that_diverges_is_not_counted():
    net = MLP([2, 2], QFormat(16, 8, "stochastic"), parts=Parts("float", "float", "float"))
    history = net.train([[0.0, 1.0], [1e308, 1e308]] * 2, np.zeros((4, 2)), -1000, shuffle=False)
    assert history.diverged_at == net.steps < 4


def test_most_steps():
    net = MLP([2, 2], QFormat(16, 8, "stochastic"), parts=Parts(update="float"))
    x, y = np.ones((3, 2)), np.ones((3, 2))
    net._steps[0] = FULL - 2
    net.step(x, y, 3)
    model = twin_network(net)
    assert check_step(net, model, x, y, 3) is False and net.steps == FULL
    for call in (lambda: net.step(x, y, 3), lambda: net.train(x, y, 3)):
        with pytest.raises(ValueError, match="at most 4294967295 updates"):
            call()
    assert net.steps == FULL
    net.train(x, y, 3, epochs=0)


# Errors


@every_parts
def test_streams_of_networks(parts):
    """A stream is due where a tensor of the call has a stochastic format, and named then."""
    plain, drawn = QFormat(16, 8), QFormat(16, 8, "stochastic")
    x, y = np.ones((2, 3)), np.ones((2, 2))
    forward, backward = parts.forward == "fixed", parts.backward == "fixed"
    some = forward or backward
    for name, needs in {
        "activation": (forward, some),
        "weight": (False, False),
        "delta": (False, backward),
        "gradient": (False, backward),
    }.items():
        formats = dict.fromkeys(("activation", "weight", "delta", "gradient"), plain)
        net = MLP([3, 2], LayerFormats(**formats | {name: drawn}), input_format=plain, parts=parts)
        calls = (net.forward, [x]), (net.gradient, [x, y])
        for needed, (call, data) in zip(needs, calls, strict=True):
            call(*data, stream=Stream(1))
            with pytest.raises(TypeError, match="stream must be a Stream, got int 1"):
                call(*data, stream=1)
            with pytest.raises(ValueError, match=r"stream\.tensor must be 0, .*, got 3"):
                call(*data, stream=Stream(1, tensor=3))
            if needed:
                with pytest.raises(ValueError, match=r"stream=intmlp\.Stream\(seed\): .* rounded"):
                    call(*data)
            else:
                call(*data)


def test_streams_of_inputs():
    """Raw inputs are not rounded, real ones are."""
    plain, drawn = QFormat(16, 8), QFormat(16, 8, "stochastic")
    net = MLP([3, 2], plain, input_format=drawn)
    net.forward(np.ones((2, 3), np.int32))
    with pytest.raises(ValueError, match=r"x is rounded into QFormat\(bits=16"):
        net.forward(np.ones((2, 3)))


def test_rounding_seed():
    for wrong in (-1, 2**64):
        with pytest.raises(ValueError, match=r"rounding_seed must be in 0\.\.18446744073709551615"):
            MLP([2, 2], QFormat(8, 4), rounding_seed=wrong)
    with pytest.raises(TypeError, match="rounding_seed must be an integer"):
        MLP([2, 2], QFormat(8, 4), rounding_seed=1.5)
