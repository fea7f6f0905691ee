"""requantize and matmul beside the NumPy int64 way."""

import numpy as np
import pytest

import intmlp
from intmlp import QFormat


def raw(state, bits, shape, dtype):
    """Return uniform raw values of `bits` bits."""
    return state.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), shape).astype(dtype)


def enter(s, shift, bits):
    """Round half up and saturate the NumPy way."""
    return np.clip((s + (1 << (shift - 1))) >> shift, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
def test_requantize(versus, rounding):
    s = raw(np.random.RandomState(0), 48, 1_000_000, np.int64)
    fmt = QFormat(24, 12, rounding)
    versus(lambda: intmlp.requantize(s, 24, fmt), lambda: enter(s, 12, 24))


@pytest.mark.parametrize("shape", [(64, 784, 1000), (256, 1000, 1000)], ids=str)
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_matmul(versus, bits, shape):
    m, k, n = shape
    state = np.random.RandomState(0)
    a, b = raw(state, bits, (m, k), np.int32), raw(state, bits, (k, n), np.int32)
    wide_a, wide_b = a.astype(np.int64), b.astype(np.int64)
    frac = bits // 2
    fmt = QFormat(bits, frac, "half_up")

    def ours():
        return intmlp.matmul(a, b, 2 * frac, fmt)

    def rival():
        return enter(wide_a @ wide_b, frac, bits)

    if bits <= 24:  # above, the rival's sums may leave int64
        assert np.array_equal(ours(), rival())
    versus(ours, rival, rounds=5, gmac_per_call=m * k * n / 1e9)
