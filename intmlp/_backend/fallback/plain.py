"""Calls without checks, of which there are none here: every call takes the checked way."""

from __future__ import annotations


def plain_quantize(v: object, fmt: object, stream: object) -> None:
    """Leave all arguments to the checked way."""


def plain_dequantize(raw: object, fmt: object) -> None:
    """Leave all arguments to the checked way."""


def plain_requantize(s: object, frac_in: object, fmt: object, stream: object) -> None:
    """Leave all arguments to the checked way."""


def plain_matmul(
    a: object,
    b: object,
    frac_in: object,
    fmt: object,
    bias: object,
    bias_frac: object,
    accumulator: object,
    stream: object,
) -> None:
    """Leave all arguments to the checked way."""
