"""The loss, its gradient, and what counts as right.

Each function computes in the arithmetic of the arrays that it gets: fixed point on raw
integers, or float64. Source: docs/numerics.md, sections 4 and 7.
"""

from __future__ import annotations

import numpy as np

from .arith import Array, add, negate
from .gemm import dot, product


def difference(a: Array, y: Array) -> Array:
    """Return ``a - y``: an exact array, or float64."""
    return a - y if a.dtype.kind == "f" else add(a, negate(y))


def loss_value(loss: str, a: Array, y: Array, frac: int) -> float:
    """Return the loss of the outputs `a` and the targets `y` of a batch.

    On raw arrays of `frac` fraction bits it is exact and then correctly rounded to float64.
    """
    e = difference(a, y).reshape(1, -1)
    halvings = 1 if loss == "half_sse" else 0
    if e.dtype.kind == "f":
        return float(dot(e, e.T)[0, 0]) * 0.5**halvings
    # Python rounds a quotient of integers correctly.
    return int(product(e, e.T)[0, 0]) / (1 << (2 * frac + halvings))


def loss_gradient(loss: str, a: Array, y: Array, frac: int) -> tuple[Array, int]:
    """Return (e, frac_e): the loss' gradient ``e * 2**-frac_e``; frac_e matters to raw arrays."""
    e = difference(a, y)
    if loss == "half_sse":
        return e, frac
    return (2.0 * e, frac) if e.dtype.kind == "f" else (e, frac - 1)


def count_right(a: Array, y: Array) -> int:
    """Return in how many rows the first arg-max of `a` is the first arg-max of `y`."""
    return int(np.count_nonzero(a.argmax(axis=1) == y.argmax(axis=1)))
