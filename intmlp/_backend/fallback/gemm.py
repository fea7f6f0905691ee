"""Matrix products: exact ones of integers, and the ordered ones of floats."""

from __future__ import annotations

import numpy as np

from ..._check import choice
from ...qformat import Accumulator, QFormat
from ...stream import Stream
from .arith import Array, add, enter, lift, requantize, widen

# Each kernel's accumulator, the cheapest first, with what the bound of `product` is below for it.
_KERNELS = {"f64": 2.0**53, "i64": 2.0**62, "unbounded": np.inf}


def matmul_kernels() -> tuple[str, ...]:
    """Return the names of the matrix product kernels, the cheapest first."""
    return tuple(_KERNELS)


def _bound(a: Array, b: Array) -> float:
    """Return B of `product`, in float64."""
    largest_row = np.abs(a.astype(np.float64)).sum(axis=1).max(initial=0.0)
    return float(largest_row * np.abs(b.astype(np.float64)).max(initial=0.0))


def product(a: Array, b: Array, kernel: str | None = None) -> Array:
    """Return the exact ``a @ b`` of exact arrays, shapes (m, k) and (k, n).

    Raises
    ------
    ValueError
        Where `kernel` is unknown, or where its sums are not proved to be exact.

    Notes
    -----
    No product, and no partial sum in whatever order, exceeds

        B = max_i(sum_k abs(a[i, k])) * max(abs(b))

    Where B is zero, so is one operand, and every product. Elsewhere no operand exceeds B. So

    - ``f64`` is exact for ``B < 2**53``: float64 holds every integer up to there, and nothing
      is rounded, fused or not;
    - ``i64`` is exact for ``B < 2**63``: int64 holds every sum;
    - ``unbounded`` is exact: Python's integers have no end.

    B itself is computed in float64. It is exact below ``2**53``, and no rounding takes a larger
    B below that. Above, its ``k + 3`` roundings lose less than half of it, so that ``2**62``
    for the computed B proves ``2**63``.
    """
    exact = [name for name, limit in _KERNELS.items() if _bound(a, b) < limit]
    if kernel is not None:
        choice("kernel", kernel, exact)
    chosen = kernel or exact[0]
    if chosen == "f64":
        return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    dtype = np.int64 if chosen == "i64" else object
    out: Array = a.astype(dtype, copy=False) @ b.astype(dtype, copy=False)
    return out


def accumulated(
    a: Array,
    b: Array,
    accumulator: Accumulator | None,
    bias: Array | None = None,
    bias_shift: int = 0,
    kernel: str | None = None,
) -> Array:
    """Return ``a @ b + bias * 2**bias_shift`` as `accumulator` adds it up; exact without one.

    Parameters are those of `matmul`, which documents them.
    """
    start = None if bias is None else lift(bias, bias_shift)
    if not _saturates_in_order(a, b, accumulator, start):
        exact = product(a, b, kernel)
        exact = exact if start is None else add(exact, start)
        return exact if accumulator is None else enter(exact, _register(accumulator))
    assert accumulator is not None
    if kernel is not None:
        raise ValueError(f"kernel must be None where sums saturate in order, got {kernel!r}")
    register = _register(accumulator)
    bound = register.raw_max + 1 + _largest(a) * _largest(b)  # of a sum and one more product
    a, b = widen(a, bound), widen(b, bound)
    sums = np.zeros((len(a), b.shape[1]), np.int64)
    sums = sums if start is None else sums + enter(start, register)
    for step in range(len(b)):
        sums = enter(widen(sums, bound) + a[:, step, np.newaxis] * b[step], register)
    return sums


def _register(accumulator: Accumulator) -> QFormat:
    """Return the format of integers whose overflow rule is the accumulator's."""
    return QFormat(accumulator.bits, 0, overflow=accumulator.overflow)


def _largest(s: Array) -> int:
    """Return the largest magnitude in `s`."""
    return max(int(s.max(initial=0)), -int(s.min(initial=0)))


def _saturates_in_order(
    a: Array, b: Array, accumulator: Accumulator | None, start: Array | None
) -> bool:
    """Return whether a partial sum may leave an accumulator that saturates.

    Else the sums are the exact ones, or, of an accumulator that wraps, end as they do.
    """
    if accumulator is None or accumulator.overflow == "wrap":
        return False
    bound = len(b) * _largest(a) * _largest(b) + (0 if start is None else _largest(start))
    return bound > _register(accumulator).raw_max


def matmul(
    a: Array,
    b: Array,
    bias: Array | None,
    bias_shift: int,
    frac_in: int,
    fmt: QFormat,
    kernel: str | None = None,
    accumulator: Accumulator | None = None,
    stream: Stream | None = None,
) -> Array:
    """Return ``a @ b + bias * 2**bias_shift``, exact and then requantized once into `fmt`.

    Parameters
    ----------
    a, b : int32 or int64 arrays, shapes (m, k) and (k, n)
    bias : int32 or int64 array, shape (n,), or None
    bias_shift : int
        0..126.
    frac_in : int
        Fraction width of the products.
    fmt : QFormat
        The format of the result.
    kernel : str, optional
        Forces one of `matmul_kernels`.
    accumulator : Accumulator, optional
        In which the sum is added up.
    stream : Stream, optional
        Of stochastic rounding.

    Returns
    -------
    ndarray of ``fmt.dtype``, shape (m, n)

    Raises
    ------
    ValueError
        Where `kernel` is unknown, or where its sums are not proved to be exact.
    """
    total = accumulated(a, b, accumulator, bias, bias_shift, kernel)
    return requantize(total, frac_in, fmt, stream)


def explain_matmul(
    a: Array, b: Array, bias: Array | None, bias_shift: int, accumulator: Accumulator | None
) -> tuple[str, str, tuple[int, int], tuple[int, int], int]:
    """Return kernel, accumulator, ranges of `a` and `b`, steps of a block."""
    kernel = next(name for name, limit in _KERNELS.items() if _bound(a, b) < limit)
    summed_in = {"f64": "float64", "i64": "int64", "unbounded": "Python integers"}[kernel]
    start = None if bias is None else lift(bias, bias_shift)
    if _saturates_in_order(a, b, accumulator, start):
        kernel, summed_in = "in_order", "integers"
    a_range, b_range = ((int(x.min(initial=0)), int(x.max(initial=0))) for x in (a, b))
    return kernel, summed_in, a_range, b_range, a.shape[1]


def dot(a: Array, b: Array) -> Array:
    """Return the float sums of products of `a` (m, k) and `b` (k, n), section 7's way."""
    left, right = a.T[:, :, np.newaxis], b[:, np.newaxis, :]
    partial: Array = np.zeros((8, a.shape[0], b.shape[1]))
    for start in range(0, len(b), 8):
        terms = left[start : start + 8] * right[start : start + 8]
        partial[: len(terms)] += terms
    partial = partial[:4] + partial[4:]
    partial = partial[:2] + partial[2:]
    total: Array = partial[0] + partial[1]
    return total
