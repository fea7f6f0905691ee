"""Rounding, quantizing and reading back, element by element."""

import numpy as np
import pytest

import intmlp
from intmlp import QFormat
from operands import raw
from peers import load

SIZE = 1_000_000


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
def test_requantize(versus, rounding):
    s = raw(np.random.RandomState(0), 48, SIZE)
    s = s >> 14  # most results fit, some saturate
    fmt = QFormat(24, 12, rounding)
    rival = load("numpy_int64").requantize(s, 12, 24, rounding)
    assert np.array_equal(intmlp.requantize(s, 24, fmt), rival())
    versus(
        lambda: intmlp.requantize(s, 24, fmt),
        rival,
        table="element by element",
        work=f"requantize, {rounding}, to 24 bits",
        rival="numpy_int64",
    )


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_quantize(versus, bits):
    v = np.random.RandomState(0).normal(0, 0.3, SIZE)
    fmt = QFormat(bits, bits - 1)
    rival = load("numpy_float64").quantize(v, bits - 1, bits)
    assert np.array_equal(intmlp.quantize(v, fmt), rival())
    versus(
        lambda: intmlp.quantize(v, fmt),
        rival,
        table="element by element",
        work=f"quantize, half_even, to {bits} bits",
        rival="numpy_float64",
    )


def test_dequantize(versus):
    s = raw(np.random.RandomState(0), 24, SIZE)
    fmt = QFormat(24, 12)
    assert np.array_equal(intmlp.dequantize(s, fmt), s * 2.0**-12)
    versus(
        lambda: intmlp.dequantize(s, fmt),
        lambda: s * 2.0**-12,
        table="element by element",
        work="dequantize, 24 bits, every value checked to be in the format",
        rival="numpy_float64",
    )
