"""matmul against the oracle: every kernel, every worst case, every memory layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import intmlp
import reference
from intmlp import QFormat, _backend
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
    twin,
)

pytestmark = pytest.mark.usefixtures("backend")

WIDE = QFormat(64, 0, "floor", "wrap")
FLOOR = QFormat(64, 0, "floor")


def want_matmul(a, b, frac_in, fmt, bias=None, bias_frac=None):
    """Return the oracle's product of arrays; an empty sum is zero."""
    bias = None if bias is None else bias.tolist()
    (m, k), n = a.shape, b.shape[1]
    a, b = (a.tolist(), b.tolist()) if k else ([[0]] * m, [[0] * n])
    return reference.matmul(a, b, frac_in, twin(fmt), bias, bias_frac)


def by_every_kernel(a, b, frac_in, fmt, bias=None, bias_frac=None):
    """Yield the name and the result of each kernel that is proved to be exact here."""
    bias_shift = 0 if bias is None else frac_in - bias_frac
    for kernel in _backend.active().matmul_kernels():
        try:
            result = _backend.active().matmul(a, b, bias, bias_shift, frac_in, fmt, kernel=kernel)
        except ValueError:
            continue
        yield kernel, result


def check_every_kernel(a, b, frac_in, fmt, bias=None, bias_frac=None):
    """Compare the public call and each kernel that accepts; return the names of those."""
    want = want_matmul(a, b, frac_in, fmt, bias, bias_frac)
    got = intmlp.matmul(a, b, frac_in, fmt, bias=bias, bias_frac=bias_frac)
    assert got.shape == (a.shape[0], b.shape[1])
    assert_same(got, want, fmt.dtype)
    served = []
    for kernel, got in by_every_kernel(a, b, frac_in, fmt, bias, bias_frac):
        assert_same(got, want, fmt.dtype)
        served.append(kernel)
    assert served[-1] == _backend.active().matmul_kernels()[-1]  # the widest is always legal
    return served


operand_bits = st.one_of(st.sampled_from([2, 4, 8, 9, 12, 16, 17, 24, 31, 32, 33, 48, 64]))


@given(
    seeds,
    st.tuples(operand_bits, operand_bits),
    st.tuples(st.integers(1, 9), st.integers(0, 40), st.integers(1, 9)),
    st.tuples(st.sampled_from(FLAVOURS), st.sampled_from(FLAVOURS)),
    formats(),
    st.booleans(),
    st.data(),
)
@examples(300)
def test_matmul(state, bits, sizes, flavours, fmt, with_bias, data):
    m, k, n = sizes
    a = raw_array(state, QFormat(bits[0], 0), (m, k), flavours[0])
    b = raw_array(state, QFormat(bits[1], 0), (k, n), flavours[1])
    near = st.integers(fmt.frac - 3, fmt.frac + sum(bits))  # a result that is not all zeros
    frac_in = data.draw(st.one_of(near, st.integers(-200, 260)))
    bias = bias_frac = None
    if with_bias:
        bias = raw_array(state, INT64, (n,), data.draw(st.sampled_from(FLAVOURS)))
        bias_frac = frac_in - data.draw(st.one_of(st.integers(0, 126), st.sampled_from([0, 126])))
    check_every_kernel(a, b, frac_in, fmt, bias, bias_frac)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("bits", [8, 31, 32, 33, 62, 64])
def test_sums_whose_lower_word_is_small(bits, rounding, overflow):
    """Sums that are beyond int64 when they are shifted; 64 bits of them are inside the format."""
    fmt = QFormat(bits, 0, rounding, overflow)
    for frac_in in (1, 6, 30):
        a = np.array([[2**35, 2**30, 1, -3]])
        column = [s * 2 ** (29 + frac_in) for s in (-1, 0, 1)]  # times 2**35: s * 2**(64 + k)
        rest = [[0, 1, 1], [0, 0, 5], [0, -1, -1], [1, 1, 2]]
        b = np.array([[c, *r] for c in column for r in rest] * 3).T
        check_every_kernel(a, b, frac_in, fmt)
        check_every_kernel(-a, b, frac_in, fmt)


@pytest.mark.parametrize("k", [0, 1, 7, 8, 9, 63, 64, 65, 300])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (3, 17), (17, 3), (33, 16)])
@pytest.mark.parametrize("bits", [8, 16, 24, 32, 64])
def test_shapes(bits, m, k, n):
    state = np.random.RandomState(bits * k + m)
    fmt = QFormat(bits, 4)
    a, b = (raw_array(state, fmt, shape, "uniform") for shape in ((m, k), (k, n)))
    bias = raw_array(state, fmt, (n,), "uniform")
    check_every_kernel(a, b, bits + 3, QFormat(bits, 2), bias, 4)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bits", [8, 16, 24, 32, 48])
@pytest.mark.parametrize(("k", "n"), [(1, 600), (3, 257), (255, 256), (256, 1), (600, 300)])
def test_one_row(k, n, bits, order):
    """Vectors, mostly of zeros as in batches of one; by rows and by columns of the matrix."""
    state = np.random.RandomState(bits + k)
    fmt = QFormat(bits, 0)
    a, b = (raw_array(state, fmt, shape, "uniform") for shape in ((1, k), (k, n)))
    a[state.random_sample(a.shape) < 0.6] = 0
    bias = raw_array(state, fmt, (n,), "uniform")
    b = np.asarray(b, order=order)
    check_every_kernel(a, b, bits + 4, QFormat(bits, 3), bias, bits)
    check_every_kernel(a, b, bits, QFormat(bits, 3))
    check_every_kernel(b.T, a.T, bits, QFormat(bits, 3))


@pytest.mark.parametrize("edge", EDGE_SIZES)
def test_block_edges(edge):
    """Each dimension in turn at, below and above every block and lane width."""
    state = np.random.RandomState(edge)
    for m, k, n in ((edge, 5, 6), (5, edge, 6), (5, 6, edge), (edge, edge, edge)):
        if m * k * n > 40_000:
            m = n = 16
        for bits in (8, 16, 24, 32):
            fmt = QFormat(bits, 0)
            a, b = (raw_array(state, fmt, shape, "uniform") for shape in ((m, k), (k, n)))
            check_every_kernel(a, b, bits, QFormat(bits, 3))


@pytest.mark.parametrize(
    "shape", [(0, 3, 2), (2, 3, 0), (0, 0, 0), (2, 0, 3), (0, 0, 3), (3, 0, 0)]
)
@pytest.mark.parametrize("bits", [8, 64])
@pytest.mark.parametrize("more", [0, 1])
def test_empty(shape, bits, more):
    """Arrays that are empty, and with the strides of larger ones from which they are cut."""
    m, k, n = shape
    fmt = QFormat(bits, 2)
    a = np.zeros((k + more, m), fmt.dtype).T[:, :k]
    b = np.zeros((k + more, n), fmt.dtype)[:k]
    assert_same(intmlp.matmul(a, b, 4, fmt), np.zeros((m, n), int), fmt.dtype)
    bias = np.arange(n).astype(fmt.dtype)
    for kernel in _backend.active().matmul_kernels():
        # What another product leaves behind is no part of a sum of nothing.
        ones = np.ones((9, 9), fmt.dtype)
        _backend.active().matmul(ones, ones, None, 0, 4, fmt, kernel=kernel)
        got = _backend.active().matmul(a, b, bias, 2, 4, fmt, kernel=kernel)
        assert_same(got, np.tile(bias, (m, 1)), fmt.dtype)


# Extremes


@pytest.mark.parametrize("k", [1, 2, 3, 4, 64, 65, 257])
@pytest.mark.parametrize("flavours", [(a, b) for a in FLAVOURS[1:] for b in FLAVOURS[3:]])
@pytest.mark.parametrize("bits", [8, 16, 24, 27, 32, 64])
def test_extremes(bits, flavours, k):
    """All-minimum operands, alternating signs: the largest and the most cancelling sums."""
    state = np.random.RandomState(k)
    fmt = QFormat(bits, 0)
    a = raw_array(state, fmt, (2, k), flavours[0])
    b = raw_array(state, fmt, (k, 3), flavours[1])
    check_every_kernel(a, b, 0, WIDE)
    check_every_kernel(a, b, 2 * bits - 4, QFormat(bits, 0))
    bias = np.full(3, -(2**63))
    check_every_kernel(a, b, 126, QFormat(64, 20, "half_away"), bias, 0)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_far_widths(sign, rounding, overflow):
    """Fraction widths of any size, which no shift reaches."""
    a, b = np.array([[-(2**63), 0], [1, 0]]), np.array([[-(2**63), 1, 0], [5, 5, 5]])
    fmt = QFormat(40, 7, rounding, overflow)
    want = want_matmul(a, b, sign * 5000, fmt, np.array([3, 3, 3]), sign * 5000 - 100)
    for far in (sign * 5000, sign * 10**30):
        got = intmlp.matmul(a, b, far, fmt, bias=[3, 3, 3], bias_frac=far - 100)
        assert_same(got, want, np.int64)


def test_sum_beyond_two_to_the_127():
    lowest = np.full((1, 2), -(2**63))
    for k in (2, 3, 4, 1000):
        a = np.full((1, k), -(2**63))
        for fmt in (QFormat(64, 0), QFormat(64, 0, overflow="wrap"), QFormat(8, 0, "half_away")):
            check_every_kernel(a, a.T, 126, fmt)
    assert intmlp.matmul(lowest, lowest.T, 126, QFormat(8, 0)).item() == 2


SHIFTS = [-193, -192, -128, -127, *range(-66, -62), -1, 0, 1, *range(62, 67), *range(126, 130)]


@pytest.mark.parametrize("frac_in", [*SHIFTS, 190, 191, 192, 193, 256, 257])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
def test_shifts_of_wide_sums(frac_in, overflow):
    """Shifts through every limb of the accumulator and beyond it, of sums of either sign."""
    a = np.array([[-(2**63)] * 3, [2**63 - 1] * 3, [-1, 0, 0], [1, 0, 0]])
    b = np.array([[-(2**63), 2**63 - 1, 1], [1, 0, 2**63 - 1], [-(2**63), -(2**63), 3]])
    for rounding in ROUNDINGS:
        for bits in (8, 33, 64):
            check_every_kernel(a, b, frac_in, QFormat(bits, 0, rounding, overflow))


@pytest.mark.parametrize("half", [62, 63, 64, 65, 124, 126, 127, 128])
def test_ties_of_wide_sums(half):
    """2**half, alone and with one bit far below it, of either sign: half, and next to half."""

    def terms(sign, power):
        """Return factors in int64 whose products add up to sign * 2**power."""
        count = 1 if power < 64 else 64
        power -= count.bit_length() - 1
        return [(sign * 2 ** (power // 2), 2 ** (power - power // 2))] * count

    for low in (None, 0, 1, 31, 61, 62, 63, 64, 65, 122):
        for sign, low_sign in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            pairs = terms(sign, half) + ([] if low is None else terms(low_sign, low))
            a, b = (np.array(factors) for factors in zip(*pairs, strict=True))
            for rounding in ROUNDINGS:
                check_every_kernel(a[None], b[:, None], half + 1, QFormat(8, 0, rounding))
                check_every_kernel(a[None], b[:, None], half + 1, QFormat(64, 3, rounding))


@pytest.mark.parametrize("bits", [24, 31, 32, 53, 62, 63, 64, 127, 128])
@pytest.mark.parametrize("offset", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("sign", [-1, 1])
def test_limits_of_accumulators(bits, offset, sign):
    """Sums at powers of two and next to them: a kernel is exact there, or refuses."""
    a = np.full((1, 17), sign * 2 ** ((bits - 4) // 2))
    b = np.full((17, 1), 2 ** (bits - 4 - (bits - 4) // 2))
    for last in (0, 8, 16):
        x, y = a.copy(), b.copy()
        x[0, last], y[last, 0] = offset, 1
        assert (x.astype(object) @ y.astype(object)).item() == sign * 2**bits + offset
        check_every_kernel(x, y, 0, WIDE)
        check_every_kernel(x, y, 0, FLOOR)
        check_every_kernel(x, y, 1, QFormat(64, 0))
        if bits <= 64:
            check_every_kernel(x.astype(np.int32), y.astype(np.int32), 0, WIDE)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("limit", [31, 53, 63])
def test_limits_of_proofs(bits, limit):
    """Lengths around the one where products of minima reach 2**31, 2**53 and 2**63."""
    fmt = QFormat(bits, 0)
    reached = 2 ** max(0, limit - 2 * (bits - 1))
    for k in {max(1, reached + offset) for offset in (-1, 0, 1)}:
        if k > 200_000:
            continue
        lowest = np.full((1, k), fmt.raw_min, fmt.dtype)
        for end in (fmt.raw_min, fmt.raw_max):
            b = np.full((k, 1), end, fmt.dtype)
            want = [[reference.enter(k * fmt.raw_min * end, twin(WIDE))]]
            assert_same(intmlp.matmul(lowest, b, 0, WIDE), want, np.int64)
            for _, got in by_every_kernel(lowest, b, 0, WIDE):
                assert_same(got, want, np.int64)


@given(seeds, st.sampled_from([8, 16, 32, 64]), st.integers(2, 200), formats())
def test_order_of_the_sum_cannot_be_seen(state, bits, k, fmt):
    source = QFormat(bits, 0)
    a, b = (raw_array(state, source, shape, "uniform") for shape in ((3, k), (k, 4)))
    order = state.permutation(k)
    frac_in = fmt.frac + bits
    first = intmlp.matmul(a, b, frac_in, fmt)
    assert np.array_equal(first, intmlp.matmul(a[:, order], b[order], frac_in, fmt))
    assert np.array_equal(first, intmlp.matmul(a[:, ::-1], b[::-1], frac_in, fmt))


@given(seeds, st.integers(1, 60), st.sampled_from([16, 32, 64]), st.integers(-2, 2))
def test_cancelling_sums(state, k, bits, rest):
    """Large terms of both signs which leave almost nothing."""
    fmt = QFormat(bits, 0)
    a = raw_array(state, fmt, (1, k), "uniform")
    b = raw_array(state, fmt, (k, 1), "uniform")
    b = np.maximum(b, -fmt.raw_max)  # so that -b is in the format
    a = np.concatenate([a, a, [[1]]], axis=1).astype(fmt.dtype)
    b = np.concatenate([b, -b, [[rest]]]).astype(fmt.dtype)
    check_every_kernel(a, b, 1, QFormat(8, 0))
    check_every_kernel(a[:, ::-1], b[::-1], 1, QFormat(8, 0))


# Bias


@pytest.mark.parametrize("shift", [0, 1, 31, 62, 63, 64, 65, 125, 126])
@pytest.mark.parametrize("value", [-(2**63), -1, 0, 1, 2**63 - 1])
def test_bias_shift(value, shift):
    a, b = np.array([[-(2**63), 1]]), np.array([[-(2**63), 3], [1, 2**63 - 1]])
    bias = np.array([value, -1 - value])
    for fmt in (QFormat(64, 0), QFormat(64, 0, "half_up", "wrap"), QFormat(8, 60, "floor")):
        check_every_kernel(a, b, 130, fmt, bias, 130 - shift)
        check_every_kernel(a, b, 3, fmt, bias, 3 - shift)
    small = np.array([[3, -2]], np.int32), np.array([[1, 2], [3, 4]], np.int32)
    check_every_kernel(*small, 20, QFormat(32, 3), bias, 20 - shift)


def test_bias_may_decide_a_tie():
    a, b = np.array([[1]]), np.array([[1]])
    for bias, want in ((-1, 0), (0, 0), (1, 1), (2, 2), (3, 2), (4, 2)):
        got = intmlp.matmul(a, b, 1, QFormat(8, 0), bias=[bias], bias_frac=1)
        assert got.item() == want  # (1 + bias) / 2, ties to even


# Kernels by name


def test_kernels_have_names():
    names = _backend.active().matmul_kernels()
    assert len(names) >= 1 and len(set(names)) == len(names)
    assert all(isinstance(name, str) for name in names)


def test_unknown_kernel_is_refused():
    a = np.ones((1, 1), np.int32)
    with pytest.raises(ValueError):
        _backend.active().matmul(a, a, None, 0, 0, INT64, kernel="no such kernel")


def test_only_the_widest_kernel_takes_what_128_bits_do_not_hold():
    a = np.full((1, 2), -(2**63))
    *narrow, widest = _backend.active().matmul_kernels()
    assert check_every_kernel(a, a.T, 126, QFormat(8, 0)) == [widest]
    for kernel in narrow:
        with pytest.raises(ValueError):
            _backend.active().matmul(a, a.T, None, 0, 126, QFormat(8, 0), kernel=kernel)


def test_every_kernel_serves_small_operands():
    """Or else a kernel of the list would never be tested."""
    for dtype in (np.int32, np.int64):
        a = np.array([[1, -2, 3]], dtype)
        b = np.array([[1, 2], [-3, 4], [5, -6]], dtype)
        served = check_every_kernel(a, b, 1, QFormat(8, 0))
        assert served == list(_backend.active().matmul_kernels())


# Memory


def layouts(array):
    """Yield arrays equal to `array` in every memory layout."""
    yield np.asfortranarray(array)
    yield np.repeat(np.repeat(array, 2, axis=0), 3, axis=1)[::2, ::3]
    yield array[::-1, ::-1].copy()[::-1, ::-1]
    yield array[::-1].copy()[::-1]
    yield array.T[::-1].copy()[::-1].T
    unaligned = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    yield unaligned
    yield array.astype(array.dtype.newbyteorder())
    frozen = array.copy()
    frozen.flags.writeable = False
    yield frozen
    yield np.pad(array, ((0, 0), (0, 5)))[:, :-5]
    if array.dtype == np.int64:
        yield array.tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("bits", [8, 30])
def test_memory_layout_cannot_be_seen(dtype, bits):
    state = np.random.RandomState(bits)
    fmt = QFormat(bits, 0)
    a = raw_array(state, fmt, (17, 33), "uniform").astype(dtype)
    b = raw_array(state, fmt, (33, 19), "uniform").astype(dtype)
    bias = raw_array(state, fmt, (19,), "uniform").astype(dtype)
    out = QFormat(40, 3)
    want = want_matmul(a, b, 9, out, bias, 4)
    for x in layouts(a):
        assert_same(intmlp.matmul(x, b, 9, out, bias=bias, bias_frac=4), want, np.int64)
        for y in layouts(b):
            got = intmlp.matmul(x, y, 9, out, bias=bias[::-1].copy()[::-1], bias_frac=4)
            assert_same(got, want, np.int64)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_broadcast_operands(dtype):
    """Strides of zero, in either operand and in the bias."""
    row, column = np.arange(-4, 5, dtype=dtype), np.arange(5, 14, dtype=dtype)
    for a in (np.broadcast_to(row, (7, 9)), np.broadcast_to(row[:7, None], (7, 9))):
        for b in (np.broadcast_to(column, (5, 9)).T, np.broadcast_to(column[:5], (9, 5))):
            bias = np.broadcast_to(np.array(3, dtype), (5,))
            want = want_matmul(a, b, 3, QFormat(16, 1), bias, 2)
            got = intmlp.matmul(a, b, 3, QFormat(16, 1), bias=bias, bias_frac=2)
            assert_same(got, want, np.int32)


@pytest.mark.parametrize("steps", [2**56, 2**58])
def test_views_that_no_memory_holds(backend, steps):
    """Their packed sizes in bytes are beyond 64 bits."""
    a = np.broadcast_to(np.int32(1), (2, steps))
    with pytest.raises(MemoryError):
        intmlp.matmul(a, a.T, 0, QFormat(32, 0))


@pytest.mark.parametrize("left", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i2", ">i8"])
@pytest.mark.parametrize("right", ["i1", "i4", "i8", "u4"])
def test_any_integer_dtype(left, right):
    limits = [np.iinfo(left).min, min(np.iinfo(left).max, 2**63 - 1), 1]
    a = np.array([limits, limits[::-1]], left)
    b = np.array([[np.iinfo(right).min], [np.iinfo(right).max], [5]], right)
    assert_same(intmlp.matmul(a, b, 3, FLOOR), want_matmul(a, b, 3, FLOOR), np.int64)


def test_operands_may_be_one_array():
    a = np.arange(-8, 8).reshape(4, 4)
    before = a.copy()
    assert_same(intmlp.matmul(a, a, 0, INT64), before @ before, np.int64)
    assert_same(
        intmlp.matmul(a, a.T, 0, INT64, bias=a[0], bias_frac=0),
        before @ before.T + before[0],
        np.int64,
    )
    assert np.array_equal(a, before)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_one_large_product(bits):
    """Beyond every block of a kernel; NumPy's own integers hold these sums."""
    state = np.random.RandomState(bits)
    fmt = QFormat(bits, 0)
    a = raw_array(state, fmt, (26, 1100), "uniform").astype(np.int64)
    b = raw_array(state, fmt, (1100, 130), "uniform").astype(np.int64)
    sums = a @ b  # |sum| < 1100 * 2**62 may wrap, as WIDE does
    assert np.array_equal(intmlp.matmul(a, b, 0, WIDE), sums)
    narrow = a.astype(fmt.dtype), b.astype(fmt.dtype)
    assert np.array_equal(intmlp.matmul(*narrow, 0, WIDE), sums)
    for _, got in by_every_kernel(*narrow, 0, WIDE):
        assert np.array_equal(got, sums)
