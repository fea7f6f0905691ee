"""The loss, its gradient, and what counts as right.

Each function computes in the arithmetic of the arrays that it gets: fixed point on raw
integers, or float64. Source: docs/numerics.md, sections 4 and 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...qformat import QFormat
from .arith import Array, add, negate, real
from .gemm import dot, product
from .real import exp, log

if TYPE_CHECKING:
    from ...nn.network import Network


def difference(a: Array, y: Array) -> Array:
    """Return ``a - y``: an exact array, or float64."""
    return a - y if a.dtype.kind == "f" else add(a, negate(y))


def softmax(network: Network, a: Array) -> tuple[Array, Array, Array]:
    """Return (t, s, below): probabilities are ``t / s``, with the column `s`.

    By `below`, `a` is less than the largest of its row. Of raw outputs all are integers.
    """
    below = a.max(axis=1, keepdims=True) - a
    if a.dtype.kind == "f":
        t = exp(-below)
        return t, dot(t, np.ones((t.shape[1], 1))), below
    exps = network.exps
    assert exps is not None
    t = np.where(below < len(exps), exps[np.minimum(below, len(exps) - 1)], 0).astype(np.int64)
    return t, t.sum(axis=1, keepdims=True), below


def _cross_entropy(network: Network, a: Array, y: Array, fmt: QFormat) -> float:
    """Return the loss of a batch, a float sum of products."""
    _, s, below = softmax(network, a)
    if a.dtype.kind != "f":
        s, below, y = real(s, 30), real(below, fmt.frac), real(y, fmt.frac)
    terms = np.where(y == 0, 0.0, log(s) + below)  # an infinite one counts where y is not 0
    return float(dot(y.reshape(1, -1), terms.reshape(-1, 1))[0, 0])


def loss_value(network: Network, a: Array, y: Array) -> float:
    """Return the loss of the outputs `a` and the targets `y` of a batch.

    That of raw arrays is exact, and then correctly rounded to float64, unless it is
    ``cross_entropy``.
    """
    fmt = network.layers[-1].formats.activation
    if network.loss == "cross_entropy":
        return _cross_entropy(network, a, y, fmt)
    e = difference(a, y).reshape(1, -1)
    halvings = 1 if network.loss == "half_sse" else 0
    if e.dtype.kind == "f":
        return float(dot(e, e.T)[0, 0]) * 0.5**halvings
    # Python rounds a quotient of integers correctly.
    return int(product(e, e.T)[0, 0]) / (1 << (2 * fmt.frac + halvings))


def _cross_entropy_gradient(network: Network, a: Array, y: Array) -> tuple[Array, int]:
    """Return (e, frac_e) for which ``e * 2**-frac_e`` rounds as the exact gradient does.

    Below the fraction bits of the deltas the quotient is computed to 32 more, which stochastic
    rounding reads, and one bit tells whether anything follows. Targets are shifted up to that.
    """
    formats = network.layers[-1].formats
    t, s, _ = softmax(network, a)
    if a.dtype.kind == "f":
        return np.asarray(t / s - y), 0
    frac = max(formats.activation.frac, formats.delta.frac + 32)
    t = t.astype(object) << frac
    quotient = t // s
    shifted = y.astype(object) << (frac - formats.activation.frac)
    return 2 * (quotient - shifted) + (t != quotient * s), frac + 1


def loss_gradient(network: Network, a: Array, y: Array) -> tuple[Array, int]:
    """Return (e, frac_e): the loss' gradient ``e * 2**-frac_e``; frac_e matters to raw arrays."""
    if network.loss == "cross_entropy":
        return _cross_entropy_gradient(network, a, y)
    e, frac = difference(a, y), network.layers[-1].formats.activation.frac
    if network.loss == "half_sse":
        return e, frac
    return (2.0 * e, frac) if e.dtype.kind == "f" else (e, frac - 1)


def count_right(a: Array, y: Array) -> int:
    """Return in how many rows the first arg-max of `a` is the first arg-max of `y`."""
    return int(np.count_nonzero(a.argmax(axis=1) == y.argmax(axis=1)))
