"""Single operations on raw arrays: checked entry points to the backend.

Each first offers its arguments to the compiled core, which computes where they are plain: then
there is nothing to check or convert, and a small call is not made slow by looking for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _backend
from ._check import finite, instance, integer, integers, shift, within
from .qformat import Accumulator, QFormat
from .stream import Stream, check_stream

Raw = NDArray[np.int32] | NDArray[np.int64]


def quantize(v: ArrayLike, fmt: QFormat, *, stream: Stream | None = None) -> Raw:
    """Return the raw integers to which the exact values of `v` round in `fmt`.

    Parameters
    ----------
    v : array_like of float32 or float64, any shape
        Finite real values.
    fmt : QFormat
        The format; its rounding and overflow rules decide.
    stream : Stream, optional
        Random numbers, due where `fmt` is stochastic; other formats read none.

    Returns
    -------
    ndarray of ``fmt.dtype``, the shape of `v`

    Raises
    ------
    TypeError
        Where `v` is not of a floating dtype (integers may be meant as raw).
    ValueError
        Where `v` holds NaN or an infinity.

    Notes
    -----
    Source: docs/numerics.md, section 1.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.quantize([0.5, -0.3, 9.0], intmlp.QFormat(8, 4))
    array([  8,  -5, 127], dtype=int32)
    """
    if (out := _backend.active().plain_quantize(v, fmt, stream)) is not None:
        return out
    instance("fmt", fmt, QFormat)
    check_stream(stream, "v", fmt)
    values = np.asarray(v)
    if values.dtype.kind != "f" or values.dtype.itemsize not in (4, 8):
        raise TypeError(f"v must be float32 or float64, got {values.dtype}")
    values = np.require(values, values.dtype.newbyteorder("="), ["C", "A"])
    finite("v", values)
    return _backend.active().quantize(values, fmt, stream)


def dequantize(raw: ArrayLike, fmt: QFormat) -> NDArray[np.float64]:
    """Return ``raw * 2**-fmt.frac``, correctly rounded to float64.

    Parameters
    ----------
    raw : array_like of integers, any shape
        Raw values of `fmt`.
    fmt : QFormat
        The format of `raw`.

    Returns
    -------
    ndarray of float64, the shape of `raw`
        Exact where the value has at most 53 significant bits.

    Raises
    ------
    TypeError
        Where `raw` is not of an integer dtype.
    ValueError
        Where a value lies outside the format.

    Notes
    -----
    Source: docs/numerics.md, section 1.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.dequantize([8, -5, 127], intmlp.QFormat(8, 4))
    array([ 0.5   , -0.3125,  7.9375])
    """
    if (out := _backend.active().plain_dequantize(raw, fmt)) is not None:
        return out
    instance("fmt", fmt, QFormat)
    values = integers("raw", raw)
    within("raw", values, fmt)
    return _backend.active().dequantize(_contiguous(values), fmt)


def requantize(s: ArrayLike, frac_in: int, fmt: QFormat, *, stream: Stream | None = None) -> Raw:
    """Return the raw integers to which ``s * 2**-frac_in`` rounds in `fmt`.

    Parameters
    ----------
    s : array_like of integers, any shape
        Any values that int64 holds.
    frac_in : int
        Fraction width of `s`: any integer.
    fmt : QFormat
        The format of the result; its rounding and overflow rules decide.
    stream : Stream, optional
        Random numbers, due where `fmt` is stochastic; other formats read none.

    Returns
    -------
    ndarray of ``fmt.dtype``, the shape of `s`

    Raises
    ------
    TypeError
        Where `s` is not of an integer dtype.
    ValueError
        Where int64 does not hold `s`.

    Notes
    -----
    Source: docs/numerics.md, section 1.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.requantize([100, -24, 24], 6, intmlp.QFormat(8, 2, "floor"))
    array([ 6, -2,  1], dtype=int32)
    """
    if (out := _backend.active().plain_requantize(s, frac_in, fmt, stream)) is not None:
        return out
    instance("fmt", fmt, QFormat)
    values, frac_in = _contiguous(integers("s", s)), shift("frac_in", frac_in)
    check_stream(stream, "s", fmt)
    return _backend.active().requantize(values, frac_in, fmt, stream)


def matmul(
    a: ArrayLike,
    b: ArrayLike,
    frac_in: int,
    fmt: QFormat,
    *,
    bias: ArrayLike | None = None,
    bias_frac: int | None = None,
    accumulator: Accumulator | None = None,
    stream: Stream | None = None,
) -> Raw:
    """Return the exact product ``a @ b (+ bias)``, requantized once into `fmt`.

    Parameters
    ----------
    a : array_like of integers, shape (m, k)
    b : array_like of integers, shape (k, n)
        Any values that int64 holds, in any memory order.
    frac_in : int
        Fraction width of the products: the sum of the operands' fraction widths.
    fmt : QFormat
        The format of the result; its rounding and overflow rules decide.
    bias : array_like of integers, shape (n,), optional
        Added to every row before the one rounding.
    bias_frac : int, optional
        Fraction width of `bias`, with ``0 <= frac_in - bias_frac <= 126``; required with `bias`.
    accumulator : Accumulator, optional
        In which the sums are added up, the bias first; by default they are exact.
    stream : Stream, optional
        Random numbers, due where `fmt` is stochastic; other formats read none.

    Returns
    -------
    ndarray of ``fmt.dtype``, shape (m, n)

    Raises
    ------
    TypeError
        Where an operand is not of an integer dtype.
    ValueError
        Where shapes do not fit, or int64 does not hold a value.

    Notes
    -----
    Without an accumulator no partial sum wraps, saturates or rounds, whatever the values and the
    length of the sum; `explain_matmul` says which kernel serves and why it is exact. Source:
    docs/numerics.md, section 2.

    Examples
    --------
    >>> import intmlp
    >>> a, b = [[3, -5], [2, 4]], [[7], [2]]
    >>> intmlp.matmul(a, b, 4, intmlp.QFormat(8, 2), bias=[1], bias_frac=2)
    array([[4],
           [6]], dtype=int32)
    """
    out = _backend.active().plain_matmul(a, b, frac_in, fmt, bias, bias_frac, accumulator, stream)
    if out is not None:
        return out
    instance("fmt", fmt, QFormat)
    if accumulator is not None:
        instance("accumulator", accumulator, Accumulator)
    left, right, addend, bias_shift = _operands(a, b, frac_in, bias, bias_frac)
    frac = shift("frac_in", frac_in)
    check_stream(stream, "the product", fmt)
    return _backend.active().matmul(
        left, right, addend, bias_shift, frac, fmt, accumulator=accumulator, stream=stream
    )


class MatmulPlan(NamedTuple):
    """How a matrix product is computed, and the proof that its sums are those asked for.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.explain_matmul([[1, 2]], [[3], [4]], 0, intmlp.QFormat(8, 0)).bound
    16
    """

    backend: str
    """The backend that serves, as ``c:avx512``."""
    kernel: str
    """The kernel: ``vector`` where the operands are not packed; ``in_order`` or ``in_order_wide``
    where each sum saturates at every step."""
    accumulator: str
    """What sums the products within a block, and how that serves the accumulator asked for."""
    a_range: tuple[int, int]
    """The least and the largest value of `a`, and 0."""
    b_range: tuple[int, int]
    """The least and the largest value of `b`, and 0."""
    bound: int
    """No exact sum or partial sum is larger in magnitude, bias included, by these ranges."""
    block: int
    """Steps of a sum after which the accumulators are moved into wider ones."""


def explain_matmul(
    a: ArrayLike,
    b: ArrayLike,
    frac_in: int,
    fmt: QFormat,
    *,
    bias: ArrayLike | None = None,
    bias_frac: int | None = None,
    accumulator: Accumulator | None = None,
) -> MatmulPlan:
    """Return which kernel computes ``matmul`` of these arguments, and why it is exact.

    Parameters
    ----------
    a, b, frac_in, fmt, bias, bias_frac, accumulator
        Those of `matmul`.

    Returns
    -------
    MatmulPlan
        Where blocks of a large product are served by several kernels, the last of them, which
        is the widest; the ranges are those of all values.

    Raises
    ------
    TypeError, ValueError
        As `matmul`.

    Notes
    -----
    The product is computed and thrown away, by one thread. The proofs, and the limits of each
    kernel, stand in ``src/gemm/select.c``. No result depends on the kernel.

    Examples
    --------
    >>> import intmlp
    >>> plan = intmlp.explain_matmul([[3, -5], [2, 4]], [[7, 1], [2, 0]], 4, intmlp.QFormat(8, 2))
    >>> plan.a_range, plan.b_range, plan.bound
    ((-5, 4), (0, 7), 70)
    """
    instance("fmt", fmt, QFormat)
    if accumulator is not None:
        instance("accumulator", accumulator, Accumulator)
    left, right, addend, bias_shift = _operands(a, b, frac_in, bias, bias_frac)
    kernel, summed_in, a_range, b_range, block = _backend.active().explain_matmul(
        left, right, addend, bias_shift, accumulator
    )
    largest_a, largest_b = (max(-low, high) for low, high in (a_range, b_range))
    bound = left.shape[1] * largest_a * largest_b
    if addend is not None:
        bound += max((abs(int(value)) for value in addend), default=0) << bias_shift
    if accumulator is not None and accumulator.overflow == "wrap":
        summed_in += f", then modulo 2**{accumulator.bits}"
    elif accumulator is not None:
        each = " at every step" if kernel.startswith("in_order") else ""
        summed_in += f", held to {accumulator.bits} bits{each}"
    return MatmulPlan(_backend.active_name(), kernel, summed_in, a_range, b_range, bound, block)


def _operands(
    a: ArrayLike, b: ArrayLike, frac_in: int, bias: ArrayLike | None, bias_frac: int | None
) -> tuple[Raw, Raw, Raw | None, int]:
    """Return checked operands of a product: `a`, `b`, the bias and its shift."""
    left, right = integers("a", a), integers("b", b)
    for name, operand in (("a", left), ("b", right)):
        if operand.ndim != 2:
            raise ValueError(f"{name} must have 2 dimensions, got {operand.ndim}")
    if left.shape[1] != right.shape[0]:
        raise ValueError(
            f"a and b must fit as (m, k) and (k, n), got shapes {left.shape} and {right.shape}"
        )
    addend, bias_shift = None, 0
    if bias is not None:
        addend = _contiguous(integers("bias", bias))
        if addend.shape != right.shape[1:]:
            raise ValueError(f"bias must have shape {right.shape[1:]}, got {addend.shape}")
        if bias_frac is None:
            raise TypeError("bias_frac must be given with bias, got None")
        frac_in = integer("frac_in", frac_in)
        bias_shift = frac_in - integer("bias_frac", bias_frac)
        if not 0 <= bias_shift <= 126:
            raise ValueError(
                f"bias_frac must be in {frac_in - 126}..{frac_in} (frac_in - 126 .. frac_in), "
                f"got {bias_frac}"
            )
    elif bias_frac is not None:
        raise TypeError(f"bias_frac must be None without a bias, got {bias_frac}")
    return left, right, addend, bias_shift


def _contiguous(array: Raw) -> Raw:
    """Return `array` in C order; unlike `ascontiguousarray`, zero dimensions stay zero."""
    return np.require(array, requirements="C")
