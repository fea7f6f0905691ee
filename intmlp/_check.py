"""Checks of arguments: every error names the argument, the value and the allowed range."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any


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
