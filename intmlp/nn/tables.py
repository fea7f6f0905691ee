"""Tables of `sigmoid`, `tanh` and `exp`, correctly rounded in every entry.

Nearly every entry is decided by float64: its value is known up to an error, and lies strictly
within limits that hold for the function. Where an integer lies in between, `decimal` decides with
as many digits as it takes. It always ends: but for 0, these functions of a fraction are
transcendental (Lindemann), so that no value is an integer, or half of one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ops import requantize
from ..qformat import QFormat

_FLOAT: dict[str, Callable[[Any], Any]] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "exp": np.exp,
}
_DECIMAL: dict[str, Callable[[Decimal], Decimal]] = {
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "tanh": lambda x: 1 - 2 / ((2 * x).exp() + 1),
    "exp": Decimal.exp,
}
# The value at 0 is the first integer times 2 to minus the second.
_AT_ZERO = {"sigmoid": (1, 1), "tanh": (0, 0), "exp": (1, 0)}

# No library's float64 functions are as far off, relative to the value or where that is below 1.
_FLOAT_ERROR = 2.0**-40

_EXP = QFormat(32, 30)


@lru_cache(maxsize=64)
def activation_table(kind: str, fmt: QFormat) -> NDArray[np.int16]:
    """Return A of each raw Z of `fmt`, the lowest first; `fmt` has at most 16 bits."""
    raw = np.arange(fmt.raw_min, fmt.raw_max + 1)
    return _kept(_entries(kind, raw, fmt.frac, fmt).astype(np.int16))


@lru_cache(maxsize=64)
def exp_table(bits: int, frac: int) -> NDArray[np.int32]:
    """Return ``exp(-d * 2**-frac)`` in units of ``2**-30`` for ``d = 0, 1, ...``.

    It ends with the largest difference of two integers of `bits` bits, or where all that follows
    rounds to 0: since ``2**31 < exp(22)``, before ``22 * 2**frac``.
    """
    entries = _entries("exp", -np.arange(min(1 << bits, 22 << frac)), frac, _EXP)
    return _kept(entries[: np.count_nonzero(entries)].astype(np.int32))


def _kept(table: NDArray[Any]) -> NDArray[Any]:
    table.flags.writeable = False
    return table


def _entries(kind: str, raw: NDArray[np.int64], frac: int, fmt: QFormat) -> NDArray[Any]:
    """Return what the function of ``raw * 2**-frac`` becomes in `fmt`."""
    offset = 0.0 if fmt.rounding in ("floor", "toward_zero") else 0.5
    with np.errstate(over="ignore"):
        v = _FLOAT[kind](raw * 2.0**-frac) * 2.0**fmt.frac
    error = (np.abs(v) + 1) * _FLOAT_ERROR
    low, high = _limits(kind, raw.astype(np.float64), 2.0**fmt.frac)
    # No v + offset is an integer: its floor lies in down..up.
    down = np.floor(np.maximum(v - error, low) + offset)
    up = np.ceil(np.minimum(v + error, high) + offset) - 1
    unsure = (down != up) & (raw != 0)
    if fmt.overflow == "saturate":
        unsure &= (down <= fmt.raw_max) & (up >= fmt.raw_min - 1)
    rounded = down.astype(np.int64)
    for i in np.flatnonzero(unsure):
        rounded[i] = _floor(kind, int(raw[i]), frac, fmt.frac, offset)
    if fmt.rounding == "toward_zero":
        rounded += v < 0
    entries = requantize(rounded, fmt.frac, fmt)
    at_zero, frac_at_zero = _AT_ZERO[kind]
    entries[raw == 0] = requantize([at_zero], frac_at_zero, fmt)
    return entries


def _limits(kind: str, raw: NDArray[np.float64], one: float) -> tuple[Any, Any]:
    """Return bounds of the value in units of the result, which it does not reach.

    ``tanh(x)`` lies between 0 and `x`, and ends at 1 and -1. The others lie between 0 and 1 (of
    `exp`, arguments are negative). For `tanh`, argument and result are of one format.
    """
    if kind == "tanh":
        return np.maximum(np.minimum(raw, 0), -one), np.minimum(np.maximum(raw, 0), one)
    return 0.0, one


def _floor(kind: str, raw: int, frac: int, frac_out: int, offset: float) -> int:
    """Return ``floor(f(raw * 2**-frac) * 2**frac_out + offset)``."""
    digits = 40
    while True:
        with localcontext(Context(prec=digits)):
            value = _DECIMAL[kind](Decimal(raw) / (1 << frac)) * (1 << frac_out) + Decimal(offset)
            # A few roundings of 1 in 10**(digits - 1), of numbers that are at most 1 * 2**frac_out.
            error = Decimal(1 << frac_out).scaleb(4 - digits)
            down, up = math.floor(value - error), math.floor(value + error)
        if down == up:
            return down
        digits *= 2
