"""Fixed point by hand in NumPy int64, as most do it: exact where every sum stays below 2**63."""

import numpy as np


def product(a, b, shift, bits):
    """Return a function that multiplies, rounds half up and saturates."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    half, low, high = 1 << (shift - 1), -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def run():
        s = a @ b
        s += half
        s >>= shift
        return np.clip(s, low, high, out=s)

    return run


def requantize(s, shift, bits, rounding):
    """Return a function that rounds `s * 2**-shift` and saturates."""
    low, high, half = -(1 << (bits - 1)), (1 << (bits - 1)) - 1, 1 << (shift - 1)
    if rounding == "floor":
        return lambda: np.clip(s >> shift, low, high)
    if rounding == "half_up":
        return lambda: np.clip((s + half) >> shift, low, high)
    # half to even: a tie, which adding less than half leaves below, goes up from odd only
    return lambda: np.clip((s + (half - 1) + ((s >> shift) & 1)) >> shift, low, high)
