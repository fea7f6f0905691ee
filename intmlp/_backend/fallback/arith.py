"""Rounding and overflow on exact integers, and the way between integers and floats.

An *exact array* holds integers without a limit: its dtype is int64 where it is proved that
every value fits, else object with Python's integers. Each rule is written once, for both.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...qformat import QFormat
from ...stream import Stream
from .random import WORDLESS, Words, words_of

Array = NDArray[Any]


def magnitude(s: Array) -> int:
    """Return a bound of the absolute values in `s`: of any int32 array, else the largest."""
    if s.dtype == np.int32:
        return 2**31
    # Not by abs(), which has no int64 for -2**63.
    return max(int(s.max(initial=0)), -int(s.min(initial=0)))


def widen(s: Array, bound: int) -> Array:
    """Return `s` as an exact array that holds ``-bound .. bound``."""
    return s.astype(np.int64 if bound < 2**63 else object, copy=False)


def negate(s: Array) -> Array:
    """Return the exact ``-s``."""
    return -widen(s, magnitude(s))


def add(s: Array, t: Array) -> Array:
    """Return the exact ``s + t``."""
    bound = magnitude(s) + magnitude(t)
    return widen(s, bound) + widen(t, bound)


def multiply(s: Array, t: Array) -> Array:
    """Return the exact ``s * t``."""
    bound = max(magnitude(s), 1) * max(magnitude(t), 1)
    return widen(s, bound) * widen(t, bound)


def lift(s: Array, n: int | Array) -> Array:
    """Return the exact ``s * 2**n`` for ``n >= 0``."""
    # At least 1, so that zeros, too, are never moved by 64 or more in int64.
    bound = max(magnitude(s), 1) << int(np.max(n, initial=0))
    return widen(s, bound) << n


def shift(s: Array, k: int | Array, rounding: str, words: Array | None) -> Array:
    """Return ``s * 2**-k`` as integers, rounded as docs/numerics.md, section 1, says.

    Parameters
    ----------
    s : exact array
    k : int or int array of the shape of `s`
        Any values of either sign.
    rounding : str
        One of the rounding rules of `QFormat`.
    words : int64 array of the shape of `s`, or None
        The random words of ``stochastic``.

    Returns
    -------
    exact array
    """
    if np.all(np.less_equal(k, 0)):
        return lift(s, -k)
    if np.any(np.less_equal(k, 0)):
        # Move what is to grow one place too far: then all of `s` has a bit to discard.
        grow = np.maximum(1 - k, 0)
        s, k = lift(s, grow), k + grow
    exact = s.dtype == object
    s = s if exact else s.astype(np.int64, copy=False)
    # From place 63 upwards an int64 has copies of its sign, and shifts end there.
    below = k - 1 if exact else np.minimum(k - 1, 63)
    top: Array = s >> below
    q: Array = top >> 1
    if rounding == "floor":
        return q
    half = (top & 1) != 0
    mask = ~(np.array(-1, s.dtype) << below)
    sticky = (s & (mask if exact else np.where(np.less(k, 65), mask, -1))) != 0
    if rounding == "toward_zero":
        up = (s < 0) & (half | sticky)
    elif rounding == "half_up":
        up = half
    elif rounding == "half_away":
        up = half & (sticky | (s >= 0))
    elif rounding == "stochastic":
        up = _lost(s, k) + words >= 2**32
    else:
        assert rounding == "half_even"
        up = half & (sticky | ((q & 1) != 0))
    rounded: Array = q + up
    return rounded


def _lost(s: Array, k: int | Array) -> Array:
    """Return the highest 32 of the `k` bits that a shift discards, with zeros below fewer."""
    far = np.maximum(np.subtract(k, 32), 0)
    high = s >> (far if s.dtype == object else np.minimum(far, 63))
    lost: Array = ((high & 0xFFFFFFFF) << np.maximum(np.subtract(32, k), 0)) & 0xFFFFFFFF
    return lost


def enter(s: Array, fmt: QFormat) -> Array:
    """Return the exact array `s` as raw values of `fmt`, by its overflow rule."""
    if fmt.overflow == "saturate":
        s = np.clip(s, fmt.raw_min, fmt.raw_max)
    elif s.dtype == object or fmt.bits < 64:  # any int64 is one of 64 bits
        sign = 1 << (fmt.bits - 1)
        s = ((s & (2 * sign - 1)) ^ sign) - sign
    return s.astype(fmt.dtype)


def round_raw(s: Array, frac_in: int | Array, fmt: QFormat, words: Words) -> Array:
    """Return ``s * 2**-frac_in`` in units of `fmt`, rounded but not yet held to its range."""
    drawn = words.of(s.shape, fmt) if fmt.is_stochastic else None
    return shift(s, frac_in - fmt.frac, fmt.rounding, drawn)


def round_real(v: Array, fmt: QFormat, words: Words) -> Array:
    """Return the finite float64 `v` in units of `fmt`, rounded but not held to its range."""
    fraction, exponent = np.frexp(v)
    mantissa = np.ldexp(fraction, 53).astype(np.int64)
    return round_raw(mantissa, 53 - exponent.astype(np.int64), fmt, words)


def enter_rounded(s: Array, frac_in: int | Array, fmt: QFormat, words: Words) -> Array:
    """Return the raw values of `fmt` to which ``s * 2**-frac_in`` rounds, in the shape of `s`."""
    return enter(round_raw(np.atleast_1d(s), frac_in, fmt, words), fmt).reshape(s.shape)


def enter_real(v: Array, fmt: QFormat, words: Words) -> Array:
    """Return the raw values of `fmt` to which the finite floats `v` round, in its shape."""
    return enter(round_real(np.atleast_1d(v).astype(np.float64), fmt, words), fmt).reshape(v.shape)


def requantize(s: Array, frac_in: int, fmt: QFormat, stream: Stream | None = None) -> Array:
    """Return the raw values of `fmt` to which ``s * 2**-frac_in`` rounds, in the shape of `s`."""
    return enter_rounded(s, frac_in, fmt, words_of(stream))


def quantize(v: Array, fmt: QFormat, stream: Stream | None = None) -> Array:
    """Return the raw values of `fmt` to which the finite floats `v` round, in its shape."""
    return enter_real(v, fmt, words_of(stream))


def dequantize(raw: Array, fmt: QFormat) -> Array:
    """Return ``raw * 2**-frac``, correctly rounded to float64, in the shape of `raw`."""
    return np.asarray(real(raw, fmt.frac))


def real(s: Array, frac: int) -> Array:
    """Return ``s * 2**-frac``, ``0 <= frac <= 1000``, of an exact array or of float64.

    Integers are rounded once: NumPy and Python convert them correctly rounded, and no
    multiple of ``2**-1000`` is too small for its 53 bits.
    """
    return s.astype(np.float64, copy=False) * math.ldexp(1.0, -frac)


def scale(v: Array, e: int) -> Array:
    """Return ``v * 2**e`` of float64, rounded once; any `e`.

    Not by ``ldexp``, which truncates subnormal results in some C libraries.
    """
    while e < -1022:
        # If this product rounds, it is at most 2**-1022, and the 55 or more places that
        # remain make it zero, as they should.
        v, e = v * 2.0**-968, e + 968
    while e > 1023:
        v, e = v * 2.0**1023, e - 1023
    return v * math.ldexp(1.0, e)


def to_raw(source: Array, fmt: QFormat, words: Words) -> Array:
    """Return floats quantized into `fmt`; raw values of `fmt` stay what they are."""
    return enter_real(source, fmt, words) if source.dtype.kind == "f" else source


def to_real(source: Array, fmt: QFormat, words: Words = WORDLESS) -> Array:
    """Return floats as float64, and raw values of `fmt` dequantized."""
    return real(source, 0 if source.dtype.kind == "f" else fmt.frac)


def finite(v: Array) -> Array:
    """Return `v`, or raise FloatingPointError where one of its floats is not finite."""
    if v.dtype.kind == "f" and not np.isfinite(v).all():
        raise FloatingPointError("a value to be stored or quantized is not finite")
    return v
