"""QFormat: its fields, their ranges, and what follows from them."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given

from intmlp import QFormat
from support import OVERFLOWS, ROUNDINGS, formats


def test_defaults():
    fmt = QFormat(8, 4)
    assert (fmt.bits, fmt.frac, fmt.rounding, fmt.overflow) == (8, 4, "half_even", "saturate")
    assert repr(fmt) == "QFormat(bits=8, frac=4, rounding='half_even', overflow='saturate')"


@pytest.mark.parametrize("bits", range(2, 65))
def test_range_and_dtype(bits):
    fmt = QFormat(bits, 0)
    assert fmt.raw_min == -(2 ** (bits - 1)) and fmt.raw_max == 2 ** (bits - 1) - 1
    assert type(fmt.raw_min) is int and type(fmt.raw_max) is int
    assert fmt.dtype == (np.int32 if bits <= 32 else np.int64)
    assert isinstance(fmt.dtype, np.dtype)


@pytest.mark.parametrize("frac", [0, 7, 8, 63])
def test_frac_may_exceed_bits(frac):
    assert QFormat(8, frac).frac == frac


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_rules(rounding, overflow):
    fmt = QFormat(8, 4, rounding, overflow)
    assert (fmt.rounding, fmt.overflow) == (rounding, overflow)


@pytest.mark.parametrize("integer", [np.int8, np.int64, np.uint16])
def test_numpy_integers_become_ints(integer):
    fmt = QFormat(integer(8), integer(4))
    assert type(fmt.bits) is int and type(fmt.frac) is int
    assert fmt == QFormat(8, 4)


@pytest.mark.parametrize(
    ("bits", "frac", "message"),
    [
        (1, 0, "bits must be in 2..64, got 1"),
        (65, 0, "bits must be in 2..64, got 65"),
        (-8, 0, "bits must be in 2..64, got -8"),
        (8, -1, "frac must be in 0..63, got -1"),
        (8, 64, "frac must be in 0..63, got 64"),
    ],
)
def test_out_of_range(bits, frac, message):
    with pytest.raises(ValueError, match=message):
        QFormat(bits, frac)


@pytest.mark.parametrize("value", [8.0, "8", None, True, np.True_, np.float64(8), [8]])
@pytest.mark.parametrize("field", ["bits", "frac"])
def test_not_an_integer(field, value):
    with pytest.raises(TypeError, match=f"{field} must be an integer"):
        QFormat(**{"bits": 8, "frac": 4, field: value})


@pytest.mark.parametrize("name", ["nearest", "FLOOR", "", None, 0])
def test_unknown_rule(name):
    with pytest.raises(ValueError, match="rounding must be one of floor, toward_zero"):
        QFormat(8, 4, name)
    with pytest.raises(ValueError, match="overflow must be one of saturate, wrap"):
        QFormat(8, 4, overflow=name)


def test_random_bits():
    assert QFormat(8, 4, "stochastic").random_bits == 32
    fmt = QFormat(8, 4, "stochastic", random_bits=np.int64(5))
    assert fmt.is_stochastic and type(fmt.random_bits) is int
    assert eval(repr(fmt)) == fmt and repr(fmt).endswith("overflow='saturate', random_bits=5)")
    assert eval(repr(QFormat(8, 4))) == QFormat(8, 4) and "random" not in repr(QFormat(8, 4))
    for wrong in (0, 33):
        with pytest.raises(ValueError, match=rf"random_bits must be in 1\.\.32, got {wrong}"):
            QFormat(8, 4, "stochastic", random_bits=wrong)
    with pytest.raises(TypeError, match="random_bits must be an integer"):
        QFormat(8, 4, "stochastic", random_bits=8.0)
    with pytest.raises(ValueError, match="random_bits must be 32 where rounding is not 'stoch"):
        QFormat(8, 4, "floor", random_bits=8)


@given(formats())
def test_is_a_value(fmt):
    again = QFormat(fmt.bits, fmt.frac, fmt.rounding, fmt.overflow)
    assert again == fmt and hash(again) == hash(fmt)
    assert pickle.loads(pickle.dumps(fmt)) == copy.deepcopy(fmt) == fmt
    assert dataclasses.replace(fmt, bits=(fmt.bits - 1) % 63 + 2) != fmt
    with pytest.raises(dataclasses.FrozenInstanceError):
        fmt.bits = 8
