"""`exp` and `log` in float64, by the operations of docs/numerics.md, section 7, in their order."""

from __future__ import annotations

import math

import numpy as np

from .arith import Array

_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_EXP = [1.0 / math.factorial(n) for n in range(13, -1, -1)]
_LOG = [1.0 / n for n in range(23, 0, -2)]


def _polynomial(coefficients: list[float], x: Array) -> Array:
    """Return the polynomial with these coefficients, the highest first, at `x`."""
    p: Array = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        p = p * x + c
    return p


def power_of_two(e: int | Array) -> Array:
    """Return ``2**e`` as float64, `e` in -1022..1023."""
    # More than an intc ldexp does not take where a C long has 32 bits, as on Windows.
    return np.asarray(np.ldexp(1.0, np.asarray(e).astype(np.intc)))


def exp(x: Array) -> Array:
    """Return ``exp(x)``."""
    inside = (x >= -745) & (x <= 709.75)
    v = np.where(inside, x, 0.0)
    k = np.rint(v * 1.4426950408889634)
    p = _polynomial(_EXP, (v - k * _LN2_HIGH) - k * _LN2_LOW)
    first = np.floor(k / 2)  # 2**k may be too small for one factor
    p = p * power_of_two(first) * power_of_two(k - first)
    outside = np.where(x < -745, 0.0, np.where(x > 709.75, np.inf, x))
    return np.where(inside, p, outside)


def log(x: Array) -> Array:
    """Return ``log(x)`` of finite positive `x`."""
    m, e = np.frexp(x)
    small = m < 0.70710678118654752440
    m, e = np.where(small, 2 * m, m), (e - small).astype(np.float64)
    f = (m - 1) / (m + 1)
    p = _polynomial(_LOG, f * f)
    total: Array = e * _LN2_HIGH + (e * _LN2_LOW + (2 * f) * p)
    return total
