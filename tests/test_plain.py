"""Plain arguments, which the compiled core computes without the checks of the callers."""

import numpy as np
import pytest

import intmlp
from intmlp import MLP, Accumulator, QFormat, Stream, _backend
from support import raw_array

FMT = QFormat(8, 4)
A, B, BIAS = np.array([[1, -2, 3]], np.int32), np.arange(6).reshape(3, 2), np.array([5, 7])


class Subclass(np.ndarray):
    """Arrays whose operators may mean anything."""


def strange(array):
    """Yield the values of `array` in every form that has to be converted or refused."""
    yield array.tolist()
    yield array.view(Subclass)
    yield array.astype(array.dtype.newbyteorder())
    packed = np.zeros(array.size * array.itemsize + 1, np.uint8)[1:].view(array.dtype)
    yield packed.reshape(array.shape)
    yield array.astype(object)
    yield array.astype(np.longdouble)
    yield array.astype(np.complex128)
    for dtype in (np.bool_, np.int8, np.int16, np.uint32, np.uint64, np.float16, "m8[s]"):
        yield array.astype(np.int64).astype(dtype)
    yield None
    yield array[..., np.newaxis]
    yield array[0]


def accepted(call):
    """Return what the compiled core gives; the fallback takes nothing."""
    given = call()
    if _backend.active_name() == "python":
        assert given is None or given is False
        pytest.skip("nothing is plain for the fallback")
    return given


def test_plain_products_are_the_checked_ones(backend):
    core = _backend.active()
    for a in (A, A.astype(np.int64), np.repeat(A, 4, axis=1)[:, ::4], A[:0]):
        for b in (B, B.astype(np.int32), np.asfortranarray(B), B[::-1][::-1]):
            got = accepted(lambda a=a, b=b: core.plain_matmul(a, b, 4, FMT, BIAS, 4, None, None))
            want = (
                intmlp.matmul(a.tolist(), b.tolist(), 4, FMT, bias=BIAS.tolist(), bias_frac=4)
                if len(a)
                else np.zeros((0, 2), np.int32)
            )
            assert np.array_equal(got, want) and got.dtype == want.dtype
            assert np.array_equal(intmlp.matmul(a, b, 4, FMT, bias=BIAS, bias_frac=4), want)


def test_all_that_a_product_refuses_or_converts_is_not_plain(backend):
    core = _backend.active()
    good = {"a": A, "b": B, "frac_in": 4, "fmt": FMT, "bias": BIAS, "bias_frac": 4}
    good |= {"accumulator": Accumulator(8), "stream": None}
    changed = [(name, value) for name in ("a", "b", "bias") for value in strange(good[name])]
    changed += [(name, good[name].astype(np.float64)) for name in ("a", "b", "bias")]
    changed += [("a", A[:, :2]), ("b", B[:2]), ("bias", BIAS[:1]), ("bias", np.arange(3))]
    changed += [("bias", np.arange(4)[::2])]
    numbers = (4.0, "4", None, True, np.int64(4), 4097, -4097, 2**31, 2**64, -(2**64))
    changed += [(name, value) for name in ("frac_in", "bias_frac") for value in numbers]
    changed += [("bias_frac", 5), ("bias_frac", 4 - 127)]
    changed += [("fmt", value) for value in (None, (8, 4), type("Q", (QFormat,), {})(8, 4))]
    changed += [("accumulator", value) for value in (8, "wrap", QFormat(8, 0))]
    changed += [("stream", value) for value in (1, "1", (1, 0, 0))]
    changed += [("fmt", QFormat(8, 4, "stochastic"))]  # without a stream
    assert accepted(lambda: core.plain_matmul(**good)) is not None
    for name, value in changed:
        assert core.plain_matmul(**{**good, name: value}) is None, (name, value)
    assert core.plain_matmul(**{**good, "bias": None, "bias_frac": None}) is not None
    assert core.plain_matmul(**{**good, "bias_frac": 4 - 126}) is not None


def test_all_that_other_calls_refuse_or_convert_is_not_plain(backend):
    core = _backend.active()
    reals, raws = np.array([[0.5, -1.0], [1.0, 2.0]]), np.array([[3, -1], [5, 127]], np.int32)
    ways = (
        (lambda v, fmt: core.plain_quantize(v, fmt, None), reals),
        (core.plain_dequantize, raws),
        (lambda s, fmt: core.plain_requantize(s, 4, fmt, None), raws),
    )
    for call, good in ways:
        assert accepted(lambda c=call, g=good: c(g, FMT)) is not None
        assert call(np.array(good[1, 1]), FMT).shape == ()
        assert call(good.T, FMT) is None
        assert call(good, None) is None
        for value in list(strange(good))[:-2]:  # other numbers of dimensions are as good
            assert call(value, FMT) is None, value
    assert core.plain_quantize(reals.astype(np.float32), FMT, None) is not None
    assert core.plain_quantize(raws, FMT, None) is None
    drawn = QFormat(8, 4, "stochastic")
    for call in (
        lambda stream: core.plain_quantize(reals, drawn, stream),
        lambda stream: core.plain_requantize(raws, 4, drawn, stream),
    ):
        assert call(Stream(1)) is not None
        assert call(None) is None and call(1) is None
    for frac in (4.0, "4", None, True, np.int64(4), 4097, -4097):
        assert core.plain_requantize(raws, frac, FMT, None) is None, frac


def networks(fmt):
    """Return a network with the format, and a function that says whether it takes an array."""
    net = MLP([3, 5], fmt)
    return lambda x: net._net.takes_inputs(x)


def test_strange_sources_are_not_plain(backend):
    for good in (np.ones((2, 3)), np.ones((2, 3), np.float32), np.ones((2, 3), np.int32)):
        takes = networks(FMT)
        assert accepted(lambda g=good, t=takes: t(g))
        for value in strange(good):
            assert not takes(value), value
        assert not takes(good[:, :2])
        assert not takes(good.astype(np.int64))  # not the dtype of this format
    net = MLP([3, 5], FMT)._net
    assert net.takes_targets(np.ones((2, 5))) and not net.takes_targets(np.ones((2, 3)))


@pytest.mark.parametrize("bits", [2, 8, 31, 32, 33, 63, 64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_raw_value_outside_is_seen(backend, bits, order):
    fmt = QFormat(bits, 0)
    takes = networks(fmt)
    for flavour in ("uniform", "lowest", "highest", "alternating"):
        good = raw_array(np.random.RandomState(bits), fmt, (40, 3), flavour)
        good = np.asarray(good, order=order)
        assert accepted(lambda g=good: takes(g))
        for bad in (fmt.raw_min - 1, fmt.raw_max + 1, *(2**i for i in range(bits, 63, 7))):
            if not np.iinfo(good.dtype).min <= bad <= np.iinfo(good.dtype).max:
                continue
            for at in range(good.size):
                x = good.copy(order)
                x.reshape(-1, order="A")[at] = bad
                assert not takes(x), (bad, at)
                plain = np.ascontiguousarray(x)
                assert _backend.active().plain_dequantize(plain, fmt) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_that_is_not_finite_is_seen(backend, dtype, order):
    takes = networks(FMT)
    limits = np.finfo(dtype)
    ends = np.array([limits.max, limits.min, limits.tiny, limits.smallest_subnormal, -0.0], dtype)
    good = np.asarray(np.resize(np.concatenate([ends, -ends]), (40, 3)), order=order)
    assert accepted(lambda: takes(good))
    assert intmlp.quantize(good, FMT).shape == good.shape
    word, ones = (np.uint32, 0xFF << 23) if dtype == np.float32 else (np.uint64, 0x7FF << 52)
    signalling = np.array([ones + 1], word).view(dtype)
    for bad in (np.inf, -np.inf, np.nan, -np.nan, signalling):
        for at in range(good.size):
            x = good.copy(order)
            x.reshape(-1, order="A")[at : at + 1] = bad
            assert not takes(x), (bad, at)
            with pytest.raises(ValueError, match="v must hold finite values"):
                intmlp.quantize(x, FMT)


def test_no_rows_are_plain(backend):
    takes = networks(FMT)
    assert accepted(lambda: takes(np.ones((0, 3))))
