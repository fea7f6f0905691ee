"""Checks of arguments: every error names the argument, the value and the allowed range."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from .qformat import QFormat

# No int64 is moved by a shift beyond this without becoming its own limit (zero, minus one or
# out of range), so every larger shift gives the same integers.
_SHIFT_LIMIT = 4096


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int, or raise where it is not an integer in ``low..high``.

    Without bounds any integer will do.
    """
    wanted = "an integer" if low is None else f"an integer in {low}..{high}"
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be {wanted}, got {type(value).__name__} {value!r}") from None
    if low is not None and high is not None and not low <= number <= high:
        raise ValueError(f"{name} must be in {low}..{high}, got {number}")
    return number


def choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise where `value` is not one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {value!r}")


def instance(name: str, value: Any, kind: type) -> None:
    """Raise where `value` is not of type `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__} {value!r}")


def integers(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return `value` as an aligned, native int32 or int64 array of any strides."""
    array = np.asarray(value)
    if array.dtype.kind == "O" and all(isinstance(entry, int) for entry in array.flat):
        raise ValueError(f"{name} must hold values in -2**63..2**63 - 1, got larger ones")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be of an integer dtype (raw values), got {array.dtype}")
    native = array.dtype.newbyteorder("=")
    if native == np.uint64 and array.max(initial=0) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must hold values in -2**63..2**63 - 1, got {int(array.max())}")
    narrow = native in (np.int8, np.int16, np.int32, np.uint8, np.uint16)
    return np.require(array, np.int32 if narrow else np.int64, "A")


def within(name: str, raw: Any, fmt: QFormat) -> None:
    """Raise where a value of `raw` lies outside `fmt`."""
    limits = np.iinfo(raw.dtype)
    if raw.size == 0 or (fmt.raw_min <= limits.min and limits.max <= fmt.raw_max):
        return
    low, high = int(raw.min()), int(raw.max())
    if low < fmt.raw_min or high > fmt.raw_max:
        raise ValueError(
            f"{name} must hold raw values in {fmt.raw_min}..{fmt.raw_max} of {fmt}, "
            f"got {low if low < fmt.raw_min else high}"
        )


def finite(name: str, values: Any) -> None:
    """Raise where `values` holds NaN or an infinity; block by block, to keep memory small."""
    for start in range(0, len(values) if values.ndim else 1, 4096):
        block = values[start : start + 4096] if values.ndim else values
        good = np.isfinite(block)
        if not good.all():
            raise ValueError(f"{name} must hold finite values, got {block[~good].flat[0]}")


def shift(name: str, value: int) -> int:
    """Return a fraction width or shift that gives the same integers and is small."""
    number = integer(name, value)
    return max(-_SHIFT_LIMIT, min(_SHIFT_LIMIT, number))
