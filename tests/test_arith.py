"""quantize, dequantize and requantize against the oracle."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import intmlp
import reference
from intmlp import QFormat
from support import INT64, OVERFLOWS, ROUNDINGS, assert_same, formats, raw_array, raws, seeds, twin

pytestmark = pytest.mark.usefixtures("backend")

SMALL_FORMATS = [
    QFormat(bits, frac, rounding, overflow)
    for bits in (2, 3, 5)
    for frac in (0, 4)
    for rounding in ROUNDINGS
    for overflow in OVERFLOWS
]

fracs_in = st.one_of(
    st.integers(-200, 200),
    st.sampled_from([63, 64, 65, 127, 128, 10**4, -(10**4), 10**30, -(10**30)]),
)


# requantize


def test_requantize_every_small_number():
    s = np.arange(-70, 71)
    for fmt in SMALL_FORMATS:
        for k in range(-2, 9):
            want = [reference.requantize(v, fmt.frac + k, twin(fmt)) for v in s.tolist()]
            assert_same(intmlp.requantize(s, fmt.frac + k, fmt), want, fmt.dtype)


@given(st.lists(raws(INT64), max_size=40), fracs_in, formats())
@example([-(2**63), 2**63 - 1, -1, 0, 1], 64, QFormat(64, 0, "half_even"))
@example([-(2**63), 2**63 - 1, -1, 0, 1], 64, QFormat(64, 0, "half_up"))
@example([-(2**63), 2**63 - 1, -1, 0, 1], 63, QFormat(64, 0, "half_away"))
@example([-(2**63), 2**63 - 1, -1, 0, 1], 65, QFormat(64, 0, "toward_zero"))
@example([-(2**63), 2**63 - 1, -1, 0, 1], -63, QFormat(64, 0, overflow="wrap"))
@example([-(2**63), 2**63 - 1, -1, 0, 1], -64, QFormat(64, 0, overflow="wrap"))
def test_requantize(s, frac_in, fmt):
    small = max(-500, min(500, frac_in))  # beyond, an int64 is moved out altogether
    want = [reference.requantize(v, small, twin(fmt)) for v in s]
    assert_same(intmlp.requantize(np.array(s, np.int64), frac_in, fmt), want, fmt.dtype)


@given(formats(), st.integers(1, 62), st.data())
def test_requantize_around_ties(fmt, k, data):
    """Half, and one to either side of it, around any integer that int64 holds."""
    limit = 2 ** (63 - k) - 2
    quotient = data.draw(st.one_of(st.integers(-limit, limit), st.integers(-9, 9)))
    quotient = max(-limit, min(limit, quotient))
    s = [quotient * 2**k + 2 ** (k - 1) + offset for offset in (-1, 0, 1)]
    want = [reference.requantize(v, fmt.frac + k, twin(fmt)) for v in s]
    assert_same(intmlp.requantize(s, fmt.frac + k, fmt), want, fmt.dtype)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_requantize_scales_up_next_to_the_ends_of_int64(overflow):
    """Each value alone: a larger one beside it would decide how both are computed."""
    for up in range(64):
        fmt, edge = QFormat(63, 63, overflow=overflow), 2 ** (63 - up)
        for v in {s * edge + offset for s in (-2, -1, 1, 2) for offset in (-1, 0, 1)}:
            if -(2**63) <= v < 2**63:
                want = [reference.requantize(v, 63 - up, twin(fmt))]
                assert_same(intmlp.requantize([v], 63 - up, fmt), want, fmt.dtype)


@given(formats(), formats(), seeds)
def test_requantize_from_format_to_format(source, fmt, state):
    raw = raw_array(state, source, (3, 7), "uniform")
    want = [[reference.requantize(v, source.frac, twin(fmt)) for v in row] for row in raw.tolist()]
    assert_same(intmlp.requantize(raw, source.frac, fmt), want, fmt.dtype)


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4", ">i8"])
def test_requantize_takes_any_integer_dtype(dtype):
    info = np.iinfo(dtype)
    s = np.array([info.min, info.max if info.max < 2**63 else 2**63 - 1, 0, 1, 100], dtype)
    fmt = QFormat(60, 3)
    want = [reference.requantize(v, 5, twin(fmt)) for v in s.tolist()]
    assert_same(intmlp.requantize(s, 5, fmt), want, fmt.dtype)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_requantize_across_blocks(dtype, rounding, overflow):
    """Every shift at which a fast path ends, in arrays that are no multiple of any block."""
    state = np.random.RandomState(1)
    source = QFormat(32 if dtype == np.int32 else 64, 0)
    for bits in (7, 32, 33, 64):
        fmt = QFormat(bits, 33, rounding, overflow)
        for k in (-64, -63, -62, -31, -1, 0, 1, 2, 30, 31, 32, 62, 63, 64):
            last = min(2 ** max(0, 63 + min(k, 0)) - 1, source.raw_max)  # scaled up in int64
            s = np.array([last, last - 1, -last - 1, -last, source.raw_min, *range(-3, 9)], dtype)
            s[10:] = raw_array(state, source, 7, "uniform") >> state.randint(0, source.bits, 7)
            want = [reference.requantize(v, fmt.frac + k, twin(fmt)) for v in s.tolist()]
            many = np.sort(np.r_[state.randint(len(s), size=1025), np.full(512, 3)])
            want = np.array(want, fmt.dtype)[many].tolist()
            assert_same(intmlp.requantize(s[many], fmt.frac + k, fmt), want, fmt.dtype)


# quantize

doubles = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(doubles, max_size=30), formats())
@example([5e-324, -5e-324, 2.0**-1022, -0.0, 1.7976931348623157e308, -1.7e308], QFormat(64, 63))
@example([5e-324, -5e-324, 2.0**-1022, -0.0, 1.7e308], QFormat(8, 0, "floor", "wrap"))
@example([5e-324, -5e-324, 0.5, -0.5, 1.7e308], QFormat(8, 0, "half_away", "wrap"))
@example([2.0**63, -(2.0**63), -(2.0**63) - 2048, 2.0**64 + 2**12], QFormat(64, 0))
@example([2.0**63, -(2.0**63), -(2.0**63) - 2048, 2.0**64 + 2**12], QFormat(64, 0, overflow="wrap"))
@example([2.0**31, 2.0**31 - 0.5, -(2.0**31) - 0.5, -(2.0**31) - 0.75], QFormat(32, 0))
def test_quantize(values, fmt):
    want = [reference.quantize(v, twin(fmt)) for v in values]
    assert_same(intmlp.quantize(np.array(values, np.float64), fmt), want, fmt.dtype)


@given(formats(), st.data())
def test_quantize_around_ties(fmt, data):
    """Half, and the nearest doubles to either side of it."""
    whole = data.draw(st.one_of(st.integers(-9, 9), raws(fmt)))
    tie = math.ldexp(whole, -fmt.frac) + math.ldexp(0.5, -fmt.frac)
    values = [tie, math.nextafter(tie, math.inf), math.nextafter(tie, -math.inf), -tie]
    want = [reference.quantize(v, twin(fmt)) for v in values]
    assert_same(intmlp.quantize(values, fmt), want, fmt.dtype)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)), formats())
def test_quantize_float32(values, fmt):
    want = [reference.quantize(v, twin(fmt)) for v in values]
    assert_same(intmlp.quantize(np.array(values, np.float32), fmt), want, fmt.dtype)


def test_quantize_every_small_number():
    values = np.arange(-80, 81) / 64
    for fmt in SMALL_FORMATS:
        want = [reference.quantize(v, twin(fmt)) for v in values.tolist()]
        assert_same(intmlp.quantize(values, fmt), want, fmt.dtype)


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantize_across_blocks(dtype, rounding, overflow):
    """The neighbours of the powers of two, in blocks that reach up to each of them."""
    state = np.random.RandomState(2)
    ties = np.arange(-9, 10) / 4
    for bits, frac in ((8, 0), (24, 12), (32, 31), (33, 20), (64, 63)):
        fmt = QFormat(bits, frac, rounding, overflow)
        powers = np.ldexp(np.ones(7, dtype), np.array([-2, 20, 31, 49, 52, 62, 63]) - frac)
        near = [np.nextafter(powers, dtype(end)) for end in (0, 1e30)]
        inside = state.standard_normal(9) * powers[1]
        v = np.concatenate([np.ldexp(ties, -frac), inside, powers, *near]).astype(dtype)
        v = np.concatenate([v, -v])
        v = v[np.argsort(abs(v))]
        want = np.array([reference.quantize(x, twin(fmt)) for x in v.tolist()], fmt.dtype)
        for count in range(1, len(v) + 1):
            some = state.randint(count, size=513)  # a block and one element
            some[-2] = count - 1
            assert_same(intmlp.quantize(v[some], fmt), want[some].tolist(), fmt.dtype)


# dequantize


@given(formats(), st.data())
@example(QFormat(64, 63), None)
@example(QFormat(64, 0), None)
def test_dequantize(fmt, data):
    if data is None:  # ties and near ties of doubles
        edge = [2**53 + d for d in range(4)] + [2**62 + 256 + d for d in (-1, 0, 1)]
        raw = edge + [-v for v in edge] + [fmt.raw_min, fmt.raw_max]
    else:
        raw = data.draw(st.lists(raws(fmt), max_size=30))
    want = [reference.dequantize(v, twin(fmt)) for v in raw]
    assert_same(intmlp.dequantize(np.array(raw, fmt.dtype), fmt), want, np.float64)


@given(formats(), seeds)
def test_quantize_inverts_dequantize_up_to_53_bits(fmt, state):
    raw = raw_array(state, fmt, 50, "uniform") >> max(0, fmt.bits - 54)
    assert_same(intmlp.quantize(intmlp.dequantize(raw, fmt), fmt), raw.tolist(), fmt.dtype)


# Arrays of every kind

CALLS = {
    "quantize": (np.float64, lambda v: intmlp.quantize(v, QFormat(24, 3))),
    "dequantize": (np.int64, lambda v: intmlp.dequantize(v, QFormat(40, 3))),
    "requantize": (np.int64, lambda v: intmlp.requantize(v, 4, QFormat(24, 2))),
}


@pytest.mark.parametrize("name", CALLS)
def test_memory_layout_cannot_be_seen(name):
    dtype, call = CALLS[name]
    plain = np.arange(-60, 60, dtype=dtype).reshape(4, 5, 6)
    want = call(plain)
    raised = np.zeros(plain.nbytes + 1, np.uint8)[1:].view(dtype).reshape(plain.shape)
    raised[...] = plain
    assert not raised.flags.aligned
    frozen = plain.copy()
    frozen.flags.writeable = False
    doubled = np.repeat(plain, 2, axis=1)
    for same in (
        np.asfortranarray(plain),
        plain.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        doubled[:, ::2],
        plain[::-1, :, ::-1].copy()[::-1, :, ::-1],
        plain.astype(plain.dtype.newbyteorder()),
        raised,
        frozen,
        plain.tolist(),
    ):
        got = call(same)
        assert got.dtype == want.dtype and np.array_equal(got, want)
        assert got.flags.writeable
    assert np.array_equal(call(plain[::-1, ::2].T), want[::-1, ::2].T)
    broadcast = np.broadcast_to(plain[0, 0], (3, 6))
    assert np.array_equal(call(broadcast), np.broadcast_to(want[0, 0], (3, 6)))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 3), (1, 1, 1, 2)])
def test_any_shape(name, shape):
    dtype, call = CALLS[name]
    assert call(np.zeros(shape, dtype)).shape == shape


@pytest.mark.parametrize("name", CALLS)
def test_arguments_are_left_alone(name):
    dtype, call = CALLS[name]
    values = np.arange(-60, 60, dtype=dtype)
    before = values.copy()
    result = call(values)
    result[...] = 0
    assert np.array_equal(values, before)


@pytest.mark.parametrize(("bits", "dtype"), [(2, "i4"), (32, "i4"), (33, "i8"), (64, "i8")])
def test_dtype_of_results(bits, dtype):
    fmt = QFormat(bits, 1)
    assert intmlp.quantize([0.5], fmt).dtype == dtype
    assert intmlp.requantize(np.array([1], np.int8), 1, fmt).dtype == dtype
    assert intmlp.matmul([[1]], [[1]], 1, fmt).dtype == dtype
