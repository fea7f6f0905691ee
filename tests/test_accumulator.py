"""Accumulators against the oracle, which adds one product after the other."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import intmlp
import reference
from intmlp import MLP, Accumulator, LayerFormats, Parts, QFormat, _backend
from support import (
    EDGE_SIZES,
    FLAVOURS,
    INT64,
    OVERFLOWS,
    ROUNDINGS,
    assert_same,
    examples,
    formats,
    raw_array,
    seeds,
    tensors,
    twin,
    twin_accumulator,
    twin_network,
)

FLOOR = QFormat(64, 0, "floor")
WIDTHS = (2, 3, 8, 16, 24, 31, 32, 33, 40, 47, 62, 63, 64)
accumulators = st.builds(
    Accumulator,
    st.one_of(st.sampled_from(WIDTHS), st.integers(2, 64)),
    st.sampled_from(OVERFLOWS),
)


def check(a, b, frac_in, fmt, accumulator, bias=None, bias_frac=None):
    """Compare the public call, and each kernel that accepts, with the oracle; return the names."""
    m, k = a.shape
    lists = (a.tolist(), b.tolist()) if k else ([[]] * m, [])
    start = None if bias is None else [int(c) << (frac_in - bias_frac) for c in bias]
    if k:
        sums = reference.products(*lists, twin_accumulator(accumulator), start)
    else:
        sums = [[reference.accumulate(c, [], twin_accumulator(accumulator)) for c in start]] * m
    want = reference.each(reference.requantize, sums, frac_in=frac_in, fmt=twin(fmt))
    given = {"bias": bias, "bias_frac": bias_frac, "accumulator": accumulator}
    assert_same(intmlp.matmul(a, b, frac_in, fmt, **given), want, fmt.dtype)
    served, core = [], _backend.active()
    shift = 0 if bias is None else frac_in - bias_frac
    for kernel in core.matmul_kernels():
        try:
            got = core.matmul(a, b, bias, shift, frac_in, fmt, kernel, accumulator)
        except ValueError:
            continue
        assert_same(got, want, fmt.dtype)
        served.append(kernel)
    return served


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("bits", WIDTHS)
def test_one_place_outside(bits):
    """Sums that reach an end of the accumulator, or leave it by one, and come back."""
    accumulator = Accumulator(bits, "saturate")
    most = 2 ** (bits - 1) - 1
    for start, distance in itertools.product((most, most - 1, -most - 1, -most), (-1, 0, 1)):
        if -(2**63) <= start + distance < 2**63:
            first = 1 if start > 0 else -1
            a, b = np.array([[first, -first]]), np.array([[1, 1], [1, 1]]).T
            bias = np.array([start + distance, start])
            check(a, b, 0, FLOOR, accumulator, bias, 0)


@given(
    seeds,
    st.tuples(*[st.sampled_from([2, 4, 8, 12, 16, 24, 31, 32, 33, 48, 64])] * 2),
    st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(1, 50)),
    st.tuples(st.sampled_from(FLAVOURS), st.sampled_from(FLAVOURS)),
    formats(),
    accumulators,
    st.booleans(),
    st.data(),
)
@examples(150)
def test_matmul(backend, state, bits, sizes, flavours, fmt, accumulator, with_bias, data):
    m, k, n = sizes
    a = raw_array(state, QFormat(bits[0], 0), (m, k), flavours[0])
    b = raw_array(state, QFormat(bits[1], 0), (k, n), flavours[1])
    if data.draw(st.booleans()):
        a, b = np.asfortranarray(a)[::-1], b[:, ::-1]
    near = st.integers(fmt.frac - 3, fmt.frac + accumulator.bits)
    frac_in = data.draw(st.one_of(near, st.integers(-200, 260)))
    bias = bias_frac = None
    if with_bias:
        bias = raw_array(state, INT64, (n,), data.draw(st.sampled_from(FLAVOURS)))
        bias_frac = frac_in - data.draw(st.one_of(st.integers(0, 3), st.sampled_from([63, 126])))
    check(a, b, frac_in, fmt, accumulator, bias, bias_frac)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("bits", [2, 16, 20, 31, 33, 62, 63, 64])
@pytest.mark.parametrize("operand", [8, 16, 32, 64])
def test_shapes(backend, operand, bits, overflow):
    """Each dimension at and around every block of lanes, in every memory order, at every width."""
    state = np.random.RandomState(bits)
    source, accumulator = QFormat(operand, 0), Accumulator(bits, overflow)
    for edge in EDGE_SIZES[::3]:
        for m, k, n in ((edge, 3, 2), (2, edge, 3), (3, 2, edge), (1, edge, 3), (2, 1, edge)):
            a, b = (raw_array(state, source, shape, "uniform") for shape in ((m, k), (k, n)))
            check(a, b, bits // 2, QFormat(bits, 2), accumulator)
            check(np.asfortranarray(a), np.asfortranarray(b), 0, FLOOR, accumulator)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("bits", [2, 9, 32, 64])
def test_empty_sums_are_the_bias_that_enters(backend, bits, overflow):
    a, b = np.zeros((2, 0), np.int32), np.zeros((0, 3), np.int32)
    bias = np.array([5, -(2**40), 2**62])
    for shift in (0, 1, 80):
        check(a, b, shift, FLOOR, Accumulator(bits, overflow), bias, 0)


def test_the_order_of_a_saturating_sum_is_that_of_k(backend):
    a, b = np.array([[7, 7, -7, -7]]), np.ones((4, 1), int)
    held, around = Accumulator(4, "saturate"), Accumulator(4)
    for order in itertools.permutations(range(4)):
        shuffled = a[:, order]
        check(shuffled, b, 0, FLOOR, held)
        assert intmlp.matmul(shuffled, b, 0, FLOOR, accumulator=around).item() == 0
    assert intmlp.matmul(a, b, 0, FLOOR, accumulator=held).item() == -7  # 7, 7, 0, -7
    assert intmlp.matmul(a[:, ::-1], b, 0, FLOOR, accumulator=held).item() == 6  # -7, -8, -1, 6
    with_bias = intmlp.matmul(a, b, 0, FLOOR, bias=[-3], bias_frac=0, accumulator=held)
    assert with_bias.item() == -7  # -3, 4, 7, 0, -7


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("bits", [8, 31, 32, 33, 53, 63, 64])
def test_limits_of_proofs(backend, bits, offset, sign):
    """Bounds at the ends of the accumulator and next to them."""
    for bias in (None, np.array([2**5, 0])):
        k, most = 4, 2 ** (bits - 1) - 1 + offset - (0 if bias is None else 2**6)
        rest = most % k if bits <= 33 else 0
        a = np.full((3, k), sign * ((most - rest) // k))
        b = np.ones((k, 2), np.int64)
        a[:, -1] += sign * rest
        given = () if bias is None else (sign * bias, 3)
        check(a, b, 4, FLOOR, Accumulator(bits, "saturate"), *given)
        check(a.astype(np.int32), b.astype(np.int32), 4, FLOOR, Accumulator(bits), *given)


@pytest.mark.parametrize("bits", [2, 17, 33, 62, 63, 64])
def test_saturated_sums_next_to_the_ends_of_int64(backend, bits):
    """The largest sum and one more product, which just fit into int64 or just do not."""
    limit = 2 ** (bits - 1) - 1
    a = np.array([[1, 1], [-1, -1], [1, -1]])
    for total in range(2**63 - 3, 2**63 + 2):
        product = min(total - limit, 2**63 - 1)
        b = np.array([[product, -product]] * 2)
        check(a, b, 4, FLOOR, Accumulator(bits, "saturate"))


def test_wrapping_at_64_bits_is_plain_numpy(backend):
    state = np.random.RandomState(1)
    a, b = (raw_array(state, INT64, shape, "uniform") for shape in ((9, 30), (30, 17)))
    a[0], b[:, 0] = -(2**63), -(2**63)
    bias = raw_array(state, INT64, (17,), "uniform")
    with np.errstate(over="ignore"):
        want = a @ b
    exact = a.astype(object) @ b.astype(object)
    assert (want != exact).all()
    same = QFormat(64, 5)
    got = intmlp.matmul(a, b, 5, same, accumulator=Accumulator(64))
    assert np.array_equal(got, want)
    got = intmlp.matmul(a, b, 5, same, bias=bias, bias_frac=3, accumulator=Accumulator(64))
    assert np.array_equal(got, want + (bias << 2))


def test_large_products_in_threads(backend):
    """Blocks of several ranges: some are proved not to saturate, the others are added in order."""
    state, before = np.random.RandomState(2), intmlp.get_num_threads()
    size = 40 if backend == "python" else 700
    a, b = (raw_array(state, QFormat(8, 0), (size, size), "uniform") for _ in range(2))
    a[:, : size // 2] //= 64
    b[:, size // 2 :] //= 64
    for overflow, bits in itertools.product(OVERFLOWS, (12, 18)):
        accumulator = Accumulator(bits, overflow)
        results = []
        for threads in (1, 2):
            intmlp.set_num_threads(threads)
            results.append(intmlp.matmul(a, b, 0, FLOOR, accumulator=accumulator))
        intmlp.set_num_threads(before)
        assert np.array_equal(*results)
        some = state.randint(size, size=4)
        want = reference.products(
            a[some].tolist(), b[:, some].tolist(), twin_accumulator(accumulator)
        )
        assert results[0][np.ix_(some, some)].tolist() == want


# What serves


def test_explained(backend):
    a, b = np.full((9, 10), 3), np.full((10, 20), 5)
    plain = intmlp.explain_matmul(a, b, 0, FLOOR)
    around = intmlp.explain_matmul(a, b, 0, FLOOR, accumulator=Accumulator(4))
    assert around == plain._replace(accumulator=f"{plain.accumulator}, then modulo 2**4")
    kept = intmlp.explain_matmul(a, b, 0, FLOOR, accumulator=Accumulator(9, "saturate"))
    assert kept == plain._replace(accumulator=f"{plain.accumulator}, held to 9 bits")
    for bits, operand in ((8, 5), (64, 2**62)):
        b[0, 0] = operand
        held = intmlp.explain_matmul(a, b, 0, FLOOR, accumulator=Accumulator(bits, "saturate"))
        assert held.kernel.startswith("in_order")
        assert held.accumulator.endswith(f", held to {bits} bits at every step")
        assert (held.bound, held.block) == (10 * 3 * operand, 10)


def test_exact_kernels_serve_what_wraps_and_what_is_proved(backend):
    every = list(_backend.active().matmul_kernels())
    a, b = np.array([[1, -2, 3]]), np.array([[1, 2], [-3, 4], [5, -6]])
    assert check(a, b, 1, QFormat(8, 0), Accumulator(3)) == every
    assert check(a, b, 1, QFormat(8, 0), Accumulator(7, "saturate")) == every  # 3 * 3 * 6 < 2**6
    assert check(a, b, 1, QFormat(8, 0), Accumulator(6, "saturate")) == []


# Networks

ALL_PARTS = [Parts(*kinds) for kinds in itertools.product(("fixed", "float"), repeat=3)]


def layer_formats(state):
    """Return formats of up to 33 bits, whose products reach the accumulators' ends."""
    return LayerFormats(
        *(
            QFormat(
                int(state.choice([8, 12, 16, 33])),
                int(state.randint(3, 7)),
                ROUNDINGS[state.randint(5)],
                OVERFLOWS[state.randint(2)],
            )
            for _ in range(4)
        )
    )


@pytest.mark.parametrize("update", ["fused", "two_step"])
@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("parts", ALL_PARTS, ids=lambda parts: "-".join(vars(parts).values()))
def test_networks(backend, parts, overflow, update):
    """Forward, gradient, steps and counts, in accumulators that overflow and that hardly do."""
    state = np.random.RandomState(7)
    differ = 0
    for bits, n, bias in ((9, 5, True), (12, 1, True), (14, 8, False), (64, 3, True)):
        net = MLP(
            [5, 7, 3],
            [layer_formats(state) for _ in range(2)],
            activation=[intmlp.leaky_relu(2), intmlp.relu()],
            bias=bias,
            update=update,
            parts=parts,
            accumulator=Accumulator(bits, overflow),
            init=intmlp.uniform(-1, 1),
            seed=state,
        )
        model = twin_network(net)
        x, y = state.uniform(-2, 2, (n, 5)), state.uniform(-2, 2, (n, 3))
        assert net.forward(x).tolist() == model.forward(x.tolist())[1][-1]
        got, want = net.gradient(x, y), model.gradient(x.tolist(), y.tolist())
        assert [w.tolist() for w in got.weights] == [layer[0] for layer in want]
        assert [b.tolist() for b in got.biases] == [layer[1] for layer in want if bias]
        model.accumulator = None
        differ += model.gradient(x.tolist(), y.tolist()) != want
        model.accumulator = twin_accumulator(net.network.accumulator)
        rows, _ = model.observe(x.tolist(), y.tolist(), 2)
        step = model.step(x.tolist(), y.tolist(), 2)
        history = net.train(x, y, 2, batch_size=n, shuffle=False, observe=True, overflow="ignore")
        assert (history.right[0], history.loss[0]) == step
        assert tensors(net) == model.tensors
        for row in history.observed:
            counted = rows[row.layer, row.tensor]
            assert (row.entries, row.overflows) == (counted.entries, counted.overflows)
            assert (row.widest_bits, row.step_sum) == (counted.widest_bits, counted.step_sum)
    float_sums = parts.forward == parts.backward == "float"
    assert differ == 0 if float_sums else differ >= 1


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_what_is_counted_of_z_comes_out_of_the_accumulator(backend, overflow):
    fmt = QFormat(16, 4, "floor", "wrap")  # whose sums are computed again to be counted
    net = MLP([2, 1], fmt, bias=False, accumulator=Accumulator(9, overflow))
    net.set_weights([np.array([[100, 100]], np.int32)])
    x, y = np.array([[9, 9]], np.int32), np.zeros((1, 1), np.int32)
    z = net.train(x, y, 0, observe=True).observed[0]
    # 1800 / 16 = 112 without; -248 / 16 = -15.5, or 255 / 16 = 15.9
    assert (z.tensor, z.entries, z.overflows, z.widest_bits) == ("Z", 1, 0, 5)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_online_training(backend, overflow):
    """Batches of one sample, for so many steps that the exact sums would be those of online.c."""
    state = np.random.RandomState(5)
    x, y = state.uniform(0, 2, (40, 6)), state.uniform(0, 2, (40, 3))
    net = MLP([6, 5, 3], QFormat(12, 5), accumulator=Accumulator(11, overflow), seed=1)
    exact = MLP([6, 5, 3], QFormat(12, 5), seed=1)
    model = twin_network(net)
    for row in range(40):
        model.step(x[row : row + 1].tolist(), y[row : row + 1].tolist(), 3)
    net.train(x, y, 3, shuffle=False, overflow="ignore")
    exact.train(x, y, 3, shuffle=False, overflow="ignore")
    assert tensors(net) == model.tensors != tensors(exact)


# Errors


def test_what_is_refused(backend):
    with pytest.raises(ValueError, match=r"bits must be in 2\.\.64, got 65"):
        Accumulator(65)
    with pytest.raises(ValueError, match=r"bits must be in 2\.\.64, got 1"):
        Accumulator(1)
    with pytest.raises(TypeError, match="bits must be an integer"):
        Accumulator(8.0)
    with pytest.raises(ValueError, match="overflow must be one of saturate, wrap; got 'clip'"):
        Accumulator(8, "clip")
    arrays = np.ones((1, 1), np.int32), np.ones((1, 1), np.int32)
    for wrong in (QFormat(8, 0), 8, "wrap"):
        for call in (intmlp.matmul, intmlp.explain_matmul):
            with pytest.raises(TypeError, match="accumulator must be a Accumulator, got"):
                call(*arrays, 0, FLOOR, accumulator=wrong)
        with pytest.raises(TypeError, match="accumulator must be a Accumulator, got"):
            MLP([1, 1], QFormat(8, 4), accumulator=wrong)
