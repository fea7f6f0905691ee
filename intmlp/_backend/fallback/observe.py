"""What a step rounds away, counted; docs/numerics.md, section 9.

Each function returns the counts, by name, of one tensor in one step. It changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...qformat import Accumulator, QFormat
from .arith import (
    Array,
    add,
    lift,
    magnitude,
    multiply,
    negate,
    round_raw,
    round_real,
    scale,
    shift,
    widen,
)
from .gemm import accumulated
from .layer import derivative
from .random import Words

if TYPE_CHECKING:
    from ...nn.network import Layer

Counts = dict[str, int]

# Fraction bits that rounding errors have below the last place, and magnitudes of float steps.
_ERROR_BITS = 62
_STEP_BITS = 40
_MOST_FLOAT = 2**62


def count_values(v: Array, fmt: QFormat) -> Counts:
    """Count the rounded values `v`, an exact array, on their way through the overflow rule."""
    outside = (v < fmt.raw_min) | (v > fmt.raw_max)
    longest = max(int(v.max()), ~int(v.min()))
    return {
        "entries": v.size,
        "overflows": int(np.count_nonzero(outside)),
        "widest_bits": longest.bit_length() + 1,
    }


def count_pre_activation(
    layer: Layer,
    below: QFormat,
    a: Array,
    w: Array,
    b: Array | None,
    accumulator: Accumulator | None,
    words: Words,
) -> Counts:
    """Count the entries of Z, of raw arrays."""
    s = accumulated(a, w.T, accumulator, b, below.frac)
    fmt = layer.formats.activation
    return count_values(round_raw(s, below.frac + layer.formats.weight.frac, fmt, words), fmt)


def count_error(
    layer: Layer, d: Array, w: Array, fmt: QFormat, accumulator: Accumulator | None, words: Words
) -> Counts:
    """Count the entries of E of the layer below, whose delta format is `fmt`, of raw arrays."""
    frac = layer.formats.delta.frac + layer.formats.weight.frac
    return count_values(round_raw(accumulated(d, w, accumulator), frac, fmt, words), fmt)


def count_delta(layer: Layer, z: Array, a: Array, e: Array, frac: int, words: Words) -> Counts:
    """Count the entries of D, f'(Z) times the error ``e * 2**-frac``, of raw arrays."""
    slope, halvings = derivative(layer, z, a)
    fmt = layer.formats.delta
    return count_values(round_raw(multiply(slope, e), frac + halvings, fmt, words), fmt)


def count_integer_steps(
    raw: Array,
    g: Array,
    frac: int,
    lr_shift: int,
    fmt: QFormat,
    words: Words,
    optimised: bool,
) -> Counts:
    """Count the steps ``-g * 2**-(frac + lr_shift)`` of `raw`; `g` is an exact array.

    Those of an optimiser are counted by their magnitudes in the units of float steps.
    """
    k = frac + lr_shift - fmt.frac
    rounded = round_raw(negate(g), frac + lr_shift, fmt, words)
    size = np.abs(widen(g, magnitude(g)))
    counts = count_values(add(raw, rounded), fmt)
    counts["step_sum"] = _total(size)
    if optimised:
        scaled = shift(size, frac - _STEP_BITS, "floor", None)
        counts["step_sum"] = _total(np.minimum(scaled, _MOST_FLOAT))
    counts["exact_zeros"] = int(np.count_nonzero(size == 0))
    if k <= 0:
        return counts
    error = np.abs(add(lift(rounded, k), g))
    if k <= _ERROR_BITS:
        counts["error_sum"] = _total(error) << (_ERROR_BITS - k)
    else:
        counts["error_sum"] = _total(error >> (k - _ERROR_BITS))
    small = size < (1 << k - 1) if size.dtype == object or k <= 63 else True
    return counts | _vanished(rounded, size != 0, small)


def count_float_steps(
    raw: Array | None, master: Array | None, step: Array, lr_shift: int, fmt: QFormat, words: Words
) -> Counts:
    """Count the float64 steps `step`; they go to `master` where there is one, else to `raw`.

    `words` are of the new master, or of the step.
    """
    size = scale(np.abs(step), lr_shift + _STEP_BITS)  # too small for float64 is less than 1
    counts = {
        "entries": step.size,
        "exact_zeros": int(np.count_nonzero(step == 0)),
        "step_sum": _total(np.minimum(size, _MOST_FLOAT).astype(np.int64)),
    }
    if master is not None:
        if raw is not None:
            counts |= count_values(round_real(master + step, fmt, words), fmt)
        return counts
    assert raw is not None
    rounded = round_real(step, fmt, words)
    counts |= count_values(add(raw, rounded), fmt)
    exact = np.minimum(scale(np.abs(step), fmt.frac), 2.0**53)  # from there on an integer
    floor = np.floor(exact)
    fraction = (exact - floor) * 2.0**_ERROR_BITS
    whole = np.floor(fraction)
    # Away from zero R leaves what is missing to the next integer, rounded down too.
    away = np.minimum(abs(rounded), 2**53).astype(np.float64) > floor
    missing = 2**_ERROR_BITS - whole.astype(np.int64) - (fraction != whole)
    counts["error_sum"] = _total(np.where(away, missing, whole.astype(np.int64)))
    return counts | _vanished(rounded, step != 0, exact < 0.5)


def _vanished(rounded: Array, some: Array, small: Array | bool) -> Counts:
    """Count steps that are not zero and round to it, and small ones that round to one."""
    return {
        "lost_steps": int(np.count_nonzero((rounded == 0) & some)),
        "artefact_steps": int(np.count_nonzero((abs(rounded) == 1) & small)),
    }


def _total(v: Array) -> int:
    """Return the exact sum of an exact array without negative entries."""
    if v.dtype == object:
        return int(v.sum())
    return (int((v >> 32).sum()) << 32) + int((v & 0xFFFFFFFF).sum())
