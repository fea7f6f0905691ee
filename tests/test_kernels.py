"""Every kernel of every instruction set, forced by name: exact up to its limit, refused beyond.

The sums are Python's integers, computed once for all kernels; which kernel must serve follows
from `proved`, the limits of src/gemm/select.c written down again. A kernel that serves where it
is not proved, or refuses where it is, fails as one does that computes another integer.
"""

import itertools

import numpy as np
import pytest

import intmlp
from intmlp import MLP, LayerFormats, Parts, QFormat, _backend
from support import BACKENDS, PURE, each_backend, raw_array, tensors, twin_network

pytestmark = [
    pytest.mark.usefixtures("restored"),
    pytest.mark.skipif(PURE, reason="a pure wheel is under test: it has no kernels"),
]

COMPILED = [name for name in BACKENDS if name.startswith("c:")]


def every_kernel():
    """Yield each instruction set with each of its kernels, as the backend that serves."""
    for backend in each_backend(COMPILED):
        for kernel in _backend.active().matmul_kernels():
            yield backend, kernel


def magnitude(array):
    return max((abs(int(v)) for v in (array.min(initial=0), array.max(initial=0))), default=0)


def proved(a, b, bias=None, bias_shift=0):
    """Return, for each kernel, whether it is proved to be exact."""
    k, product = a.shape[1], magnitude(a) * magnitude(b)
    shifted = 0 if bias is None else magnitude(bias) << bias_shift
    int64 = k * product + shifted < 2**63
    int128 = ((product >> 64) + 1) * k < 2**62 and shifted < 2**64 - 1

    def fit(bits):
        return all(
            -(2 ** (bits - 1)) <= x.min(initial=0) and x.max(initial=0) < 2 ** (bits - 1)
            for x in (a, b)
        )

    def limbs(split, whole):
        """Whether int32 sums a pair of products of 12-bit limbs of `split` with `whole`."""
        limb = max(2048, (magnitude(split) + 2048) >> 12)
        within = all(
            -(2 ** (bits - 1)) <= x.min(initial=0) and x.max(initial=0) < 2 ** (bits - 1)
            for x, bits in ((split, 24), (whole, 16))
        )
        return int64 and within and 2 * limb * magnitude(whole) < 2**31

    return {
        "i8": int64 and fit(8),
        "i16": int64 and fit(16) and 2 * product < 2**31,
        "i16madd": int64 and fit(16) and 2 * product < 2**31,
        "i16split": int64 and fit(16) and 2 * product < 2**31,
        "i16any": int64 and fit(16),
        "i24": int64 and fit(24),
        "i24x16": limbs(a, b),
        "i16x24": limbs(b, a),
        "f64": int64 and product <= 2**53,
        "i32": int64 and fit(32),
        "i32any": int128 and fit(32),
        "i64": int64,
        "i128": int128,
        "wide": True,
    }


def exact(a, b):
    """Return a @ b in Python's integers, by int64 where that holds every partial sum."""
    if a.shape[1] * magnitude(a) * magnitude(b) < 2**63:
        return (a.astype(np.int64) @ b.astype(np.int64)).astype(object)
    return a.astype(object) @ b.astype(object)


def words(sums):
    """Return sums >> shift, modulo 2**64, for shifts which together show all of 190 bits."""
    return {s: (((sums >> s) + 2**63) % 2**64 - 2**63).astype(np.int64) for s in (0, 63, 126)}


def check(a, b, bias=None, bias_shift=0, copies=()):
    """Compare every kernel on these operands, and on `copies` of them, which have equal values."""
    sums = exact(a, b)
    if bias is not None:
        sums = sums + bias.astype(object) * 2**bias_shift
    want, may = words(sums), proved(a, b, bias, bias_shift)
    if magnitude(sums) < 2**126:
        del want[126]
    served = set()
    for backend, kernel in every_kernel():
        for (x, y), shift in itertools.product(((a, b), *copies), want):
            arguments = (x, y, bias, bias_shift, shift, QFormat(64, 0, "floor", "wrap"), kernel)
            where = f"{backend} {kernel} {x.shape} @ {y.shape} >> {shift}"
            if not may[kernel]:
                with pytest.raises(ValueError):
                    pytest.fail(f"{where} served: {_backend.active().matmul(*arguments)}")
                continue
            got = _backend.active().matmul(*arguments)
            assert np.array_equal(got, want[shift]), where
            served.add(kernel)
    return served


def test_every_kernel_has_a_limit_here():
    names = {kernel for _, kernel in every_kernel()}
    assert names <= proved(np.zeros((1, 1), int), np.zeros((1, 1), int)).keys()
    assert check(np.array([[1, -2]]), np.array([[3], [4]])) == names


# Sizes ------------------------------------------------------------------------------------------

BITS = (7, 8, 15, 16, 24, 32, 64)
LANES = (*range(1, 10), 15, 16, 17)
COLUMNS = (1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 95, 96, 97)
STEPS = (*range(6), 7, 8, 9, 15, 16, 17, 31, 32, 33, 127, 128, 129, *range(253, 259))
LONG = (*range(2045, 2051), 4093, *range(8191, 8197), 16383, 16384, 16385)


def operands(m, k, n, bits):
    state = np.random.RandomState([m, k, n, bits])
    fmt = QFormat(bits, 0)
    flavour = ("uniform", "extremes")[(m + n + k) % 2]
    return raw_array(state, fmt, (m, k), flavour), raw_array(state, fmt, (k, n), flavour)


def transposes(a, b):
    """Yield the other three orders in memory; int64 and strided copies."""
    columns = [np.asfortranarray(x) for x in (a, b)]
    yield from ((columns[0], b), (a, columns[1]), columns)
    wide = [x.astype(np.int64) for x in (a, b)]
    yield wide
    yield [np.asfortranarray(x) for x in wide]
    yield [np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3] for x in (a, b)]
    yield a[::-1, ::-1].copy()[::-1, ::-1], wide[1]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("k", [1, 7, 8, 9, 16, 18, 33])
def test_sizes_of_tiles_and_panels(k, bits):
    for m, n in [(m, 18) for m in LANES] + [(3, n) for n in COLUMNS]:
        a, b = operands(m, k, n, bits)
        check(a, b, copies=transposes(a, b))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("k", [*STEPS, *LONG])
def test_lengths_of_sums(k, bits):
    a, b = operands(3, k, 5 if k < 300 else 2, bits)
    check(a, b, copies=transposes(a, b) if k < 300 else ())
    check(*operands(1, k, 1, bits))


@pytest.mark.parametrize("bits", BITS)
def test_blocks_of_columns(bits):
    """More columns than a block of any kernel holds, by several blocks and a rest."""
    a, b = operands(2, 700, 1003, bits)
    check(a, b, copies=[(a, np.asfortranarray(b))] if bits <= 32 else ())


@pytest.mark.parametrize("bits", [7, 8, 15, 16, 24, 32])
@pytest.mark.parametrize("n", [12, 20, 50])
def test_blocks_of_steps(bits, n):
    """Longer sums than a block of any kernel, in tiles of one vector, two and three, and a lane."""
    check(*operands(9, 8197, n, bits))


def test_blocks_of_rows():
    a, b = operands(226, 20_000, 2, 7)
    check(a, b)


# Extremes ---------------------------------------------------------------------------------------


def pattern(k, *values):
    """Return `values`, repeated along k steps."""
    return np.resize(np.array(values), (1, k))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("k", [1, 2, 130, 258, 2048, 2051, 8197])
def test_largest_and_cancelling_sums(k, bits):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    patterns = [(low,), (high,), (low, high), (low, low, high, high), (low, -1), (high, 1, 0)]
    a = np.concatenate([pattern(k, *p) for p in patterns])
    b = np.concatenate([pattern(k, *p) for p in patterns] + [-pattern(k, high, -high)]).T
    check(a, b)
    half = k // 2  # a sum that grows to its largest and then returns
    b[half:] = np.maximum(-b[half:], low)
    check(a, b)


@pytest.mark.parametrize("j", range(63))
def test_powers_of_two(j):
    """At and next to every power of two: each end of a word, and each tie of a limb."""
    values = [s * 2**j + d for s in (-1, 1) for d in (-1, 0, 1)]
    for k in (6, 300):
        a = np.concatenate([pattern(k, *np.roll(values, i)) for i in range(6)])
        check(a, pattern(k, *values).T)
        check(a, pattern(k, 1, -2, 3, 127, -128).T)


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize(
    ("kernel", "block", "bits", "unit", "highs", "lows"),
    [
        ("i16any", 128, 16, 2**8, (-128, 127, 0), (255, 0, 128)),
        ("i24", 254, 24, 2**12, (-2048, 2048, 2047), (-2048, 2047, -1)),
        ("i32any", 2046, 32, 2**21, (-1024, 1024, 1023), (-(2**20), 2**20 - 1, -1)),
    ],
)
def test_worst_cases_of_split_values(kernel, block, bits, unit, highs, lows, blocks):
    """Every pair of a high and a low part of a, times every one of b, through whole blocks."""
    end = 2 ** (bits - 1)
    values = [high * unit + low for high in highs for low in lows]
    values = sorted({v for v in values if -end <= v < end})
    assert len(values) >= 6
    for k in (block * blocks, block * blocks + 4):
        a = np.array([[v] * k for v in values])
        served = check(a, a.T)
        pairs = np.concatenate([pattern(k, v, w) for v, w in itertools.pairwise(values)])
        check(pairs, a.T)
        check(pairs, pairs.T)
        assert kernel in served or kernel not in {name for _, name in every_kernel()}


@pytest.mark.parametrize("k", [65535 * 2, 65536 * 2, 65540 * 2])
def test_longest_block_of_split_sums(k):
    """i16split: groups that leave 65535, the most, in the low halves; the largest high halves.

    In tiles of one vector and of two.
    """
    a = np.concatenate([pattern(k, 1, 0), pattern(k, -32767), pattern(k, 0, 2)])
    b = np.concatenate([pattern(k, -1, 5), pattern(k, 32767)])
    for columns in (b, np.tile(b, (6, 1))):
        check(a, columns.T)


# The limits of the proofs -----------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "bits"), [("i8", 8), ("i16any", 16), ("i24", 24), ("i32", 32)])
def test_limits_of_words(kernel, bits):
    """One value of an operand, at either end of the word and one beyond."""
    if kernel not in {name for _, name in every_kernel()}:
        pytest.skip(f"no instruction set here has {kernel}")
    ends = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    for value, k in itertools.product((ends[0] - 1, *ends, ends[1] + 1), (1, 40)):
        a, b = np.ones((2, k), np.int64), np.ones((k, 3), np.int64)
        a[1, k - 1] = value
        inside = value in ends
        assert (kernel in check(a, b)) == inside == (kernel in check(b.T, a.T))


@pytest.mark.parametrize("place", range(3))
def test_the_largest_bias_bounds_all_sums(place):
    """In whichever column it is."""
    bias = np.zeros(3, np.int64)
    bias[place] = 2**63 - 1
    served = check(np.array([[1], [2]]), np.array([[1, -1, 1]]), bias)
    assert "i64" not in served and "wide" in served


# What p = |a| |b| may be at most for each block length of the kernels that have one.
BLOCKS = (1, 2, 3, 5, 16, 17, 100, 129)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_limits_of_blocks_of_16_bits(block, sign):
    """Values whose products fill int32 in `block` groups, and one more would not fit."""
    for left in (32767, 181, 2 * block + 1):
        right = min((2**31 - 1) // (2 * block * left), 32767)
        for k in (2 * block, 2 * block + 1, 2 * block + 2, 6 * block + 3):
            a, b = np.full((9, k), sign * left), np.full((k, 3), right)
            check(a, b)
            a[:, ::2] = 1
            check(a, b)
    for low in (-32768, -32767):
        check(np.full((2, 5), low), np.full((5, 2), -32768))  # refused: 2 p is 2**31; the last not


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_limits_of_blocks_of_limbs(block, sign):
    """Limbs of -2**11, the low one and the high one, that fill int32 in `block` groups."""
    right = min((2**31 - 1) // (2 * block * 2048), 32767)
    names = {name for _, name in every_kernel()}
    for left in (-2048, -(2**23)):
        for k in (2 * block, 2 * block + 1, 2 * block + 2, 6 * block + 3):
            a, b = np.full((9, k), left), np.full((k, 3), sign * right)
            assert {"i24x16"} & names <= check(a, b)
            assert {"i16x24"} & names <= check(b.T, a.T)


@pytest.mark.parametrize(("split", "whole"), [(23, 15), (22, 15), (23, 10)])
def test_limits_of_limbs(split, whole):
    """Either end of the 24 bits, and of the 16, and one beyond."""
    for v in (-(2**split) - 1, -(2**split), 2**split - 1, 2**split):
        for w in (-(2**whole) - 1, -(2**whole), 2**whole - 1, 2**whole):
            a, b = np.full((5, 37), 1), np.full((37, 3), 1)
            a[4, 36], b[36, 2] = v, w
            check(a, b)
            check(b.T, a.T)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_limits_of_blocks_of_float64(block, sign):
    """Odd products of which `block` reach 2**53: the sum of more of them is rounded."""
    for left in (2**26 - 1, 3, 2**31 - 1):
        right = 2**53 // (block * left)
        for k in (block, block + 1, block + 2, 3 * block + 1):
            a, b = np.full((9, k), sign * left), np.full((k, 3), right)
            b[:, 1] -= 1 - right % 2  # odd
            b[::2, 2] = 1
            check(a, b)
    for product in (2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2):
        check(np.full((2, 3), product), np.array([[1], [-1], [1]]))


def test_limits_of_int64():
    """Sums up to 2**63 - 1 are proved, 2**63 is not: by one step, one value, the bias."""
    for bits in (32, 60, 62):
        k = 2 ** (63 - bits)
        if k > 2**16:
            k = 8
        value = 2 ** (bits // 2)
        b = np.full((k, 1), value)
        other = 2**63 // (k * value)
        for last in (other, other - 1):
            a = np.full((1, k), last)
            served = check(a, b)
            assert ("i64" in served) == (k * value * last < 2**63) == (last < other)
            check(-a, b)
    a, b = np.array([[-(2**31), 5]]), np.array([[-(2**31)], [0]])  # twice 2**62 is 2**63
    assert "i64" not in check(a, b)
    a, b = np.array([[-(2**31)]]), np.array([[2**31 - 1]])
    rest = 2**63 - 1 - 2**31 * (2**31 - 1)
    for bias, shift in ((rest, 0), (rest + 1, 0), (rest >> 7, 7), ((rest >> 7) + 1, 7)):
        for sign in (-1, 1):
            served = check(a, b, np.array([sign * bias]), shift)
            assert ("i64" in served) == (bias << shift <= rest)


def test_limits_of_128_bits():
    has_i128 = "i128" in {name for _, name in every_kernel()}  # as compilers have
    ends = [2**63 - 1, -(2**63)]
    for left, right in ((ends[1], 2**62), (ends[0], ends[0]), (ends[1], ends[1]), (2**33, 2**33)):
        product = abs(left * right)
        last = (2**62 - 1) // ((product >> 64) + 1)  # the most steps that are proved
        for k in (1, 2, 3, 4, 5, last, last + 1):
            if 0 < k < 1000:
                served = check(np.full((2, k), left), np.full((k, 2), right))
                assert "wide" in served and ("i128" in served) == (k <= last and has_i128)
    a, b = np.array([[3, -(2**31)]]), np.array([[2**31 - 1], [-(2**31)]])
    for bias, shift in ((1, 63), (3, 62), (4, 62), (2**32 - 1, 32), (1, 64), (0, 126), (1, 126)):
        for sign in (-1, 1):
            served = check(a, b, np.array([sign * bias]), shift)
            assert ("i32any" in served) == (bias << shift < 2**64 - 1)
    shifted = np.array([-(2**62), 2**62 - 1, 5])
    check(np.full((9, 2100), -(2**31)), np.full((2100, 3), -(2**31)), shifted, 1)


# The choice, which changes while a product is computed --------------------------------------------


def check_choice(a, b):
    """Compare the products that every backend, Python too, makes by its own choice of kernels."""
    sums = exact(a, b)
    want = words(sums)
    for backend in each_backend():
        for shift in want:
            got = intmlp.matmul(a, b, shift, QFormat(64, 0, "floor", "wrap"))
            assert np.array_equal(got, want[shift]), f"{backend} >> {shift}"


def small(*shape):
    return np.random.RandomState(shape).randint(-100, 101, shape)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_values_that_grow_with_the_columns(order, dtype):
    """Columns of 8, 9, ... bits: kernel after kernel takes over, between blocks of columns."""
    a, b = small(9, 400), small(400, 2000)
    for column in range(0, 2000, 40):
        bits = min(7 + column // 40, 31 if dtype == np.int32 else 63)
        b[column % 400, column : column + 40] = 2**bits - 1 - column
    check_choice(a.astype(dtype), np.asarray(b, dtype, order))


@pytest.mark.parametrize("value", [128, 2**15, -(2**15) - 1, 2**23, 2**31 - 1, 2**40, -(2**63)])
@pytest.mark.parametrize("at", [(0, 1), (398, 997), (399, 1998), (399, 1999)])
def test_one_late_large_value(at, value):
    """Whatever the sample saw: one value alone forces another kernel, here in b or in a."""
    dtype = np.int32 if -(2**31) <= value < 2**31 else np.int64
    a, b = small(3, 400).astype(dtype), small(400, 2000).astype(dtype)
    b[at] = value
    check_choice(a, b)
    check_choice(b.T, a.T)


def test_a_late_block_of_rows():
    """The kernel of the first block of rows does not suffice for the second."""
    a, b = small(226, 20_000).astype(np.int32), small(20_000, 2).astype(np.int32)
    a[225, 19_999] = 2**31 - 1
    check_choice(a, b)


@pytest.mark.parametrize("case", ["fused", "two_step", "float"])
def test_a_step_of_training_is_done_once(case):
    """No weight is updated twice, none is left out, where kernels change between its columns."""
    wide = QFormat(32, 8)
    formats = LayerFormats(QFormat(24, 8), QFormat(24, 16), QFormat(24, 10), QFormat(32, 16))
    parts = Parts("fixed", "fixed", "float" if case == "float" else "fixed")
    update = "two_step" if case == "two_step" else "fused"
    rows, columns = 130, 2500
    x, y = small(rows, columns), small(rows, 2).astype(np.int32)
    for column in range(0, columns, 100):
        x[column % rows, column : column + 50] = 2 ** (7 + column // 100) - 1 - column
    x = x.astype(np.int32)

    def network():
        return MLP([columns, 2, 2], formats, input_format=wide, parts=parts, update=update)

    model = twin_network(network())
    model.step(x.tolist(), y.tolist(), 12, 0)
    for backend in each_backend():
        net = network()
        before_step = net.weights[0].copy()
        net.step(x, y, 12)
        assert tensors(net) == model.tensors, backend
        assert np.mean(net.weights[0] != before_step) > 0.2
