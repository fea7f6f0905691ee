"""The oracle against definitions and numbers that were not made by it."""

import decimal
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import reference
from reference import Activation, Format, Layer, Network, Parts
from support import ROUNDINGS

ALL_PARTS = [
    Parts(forward, backward, update)
    for forward in ("fixed", "float")
    for backward in ("fixed", "float")
    for update in ("fixed", "float")
]


def test_shares_no_code_with_the_package():
    script = "import sys, reference; print('intmlp' in sys.modules, 'numpy' in sys.modules)"
    command = [sys.executable, "-S", "-c", script]
    where = Path(reference.__file__).parent
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# The first table of numerics.md, in its shifts and with the decimal module.

SHIFTS = {
    "floor": lambda s, k: s >> k,
    "toward_zero": lambda s, k: (abs(s) >> k) * (1 if s > 0 else -1),
    "half_up": lambda s, k: (s + 2 ** (k - 1)) >> k,
}
DECIMAL = {
    "floor": decimal.ROUND_FLOOR,
    "toward_zero": decimal.ROUND_DOWN,
    "half_away": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
}


@pytest.mark.parametrize("k", range(1, 7))
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_rounding(rounding, k):
    for s in range(-200, 201):
        got = reference.round_by(rounding, Fraction(s, 2**k))
        if rounding in SHIFTS:
            assert got == SHIFTS[rounding](s, k)
        if rounding in DECIMAL:
            exact = decimal.Decimal(s) / 2**k
            assert got == int(exact.quantize(decimal.Decimal(1), DECIMAL[rounding]))


@pytest.mark.parametrize(
    ("rounding", "want"),
    [
        ("floor", [-3, -2, -1, 0, 1, 2]),
        ("toward_zero", [-2, -1, 0, 0, 1, 2]),
        ("half_up", [-2, -1, 0, 1, 2, 3]),
        ("half_away", [-3, -2, -1, 1, 2, 3]),
        ("half_even", [-2, -2, 0, 0, 2, 2]),
    ],
)
def test_ties(rounding, want):
    fmt = Format(8, 0, rounding)
    assert [reference.requantize(s, 4, fmt) for s in (-40, -24, -8, 8, 24, 40)] == want


def test_overflow():
    assert [reference.requantize(s, 0, Format(8, 1)) for s in (100, -100)] == [127, -128]
    wrap = Format(8, 1, overflow="wrap")
    assert [reference.requantize(s, 0, wrap) for s in (100, -100)] == [-56, 56]
    for n in range(-600, 600):
        low_bits = reference.enter(n, Format(8, 0, overflow="wrap"))
        assert low_bits & 255 == n & 255 and -128 <= low_bits <= 127


def test_quantize():
    values = [0.1, -0.15625, 7.97, 100.0]
    assert [reference.quantize(v, Format(8, 4)) for v in values] == [2, -2, 127, 127]
    assert reference.quantize(5e-324, Format(8, 4)) == 0
    assert reference.quantize(-5e-324, Format(8, 4, "floor")) == -1
    assert reference.quantize(1e308, Format(64, 63)) == 2**63 - 1


def test_double():
    assert reference.double(Fraction(2**53 + 1)) == 2.0**53  # a tie, to even
    assert reference.double(Fraction(2**53 + 3)) == 2.0**53 + 4
    assert reference.double(Fraction(2**54 + 3, 2)) == 2.0**53 + 2
    assert reference.double(Fraction(1, 2**1075)) == 0.0
    assert reference.double(Fraction(3, 2**1075)) == 2 * 5e-324
    assert reference.double(Fraction(-(2**1024))) == -math.inf
    assert reference.dequantize(2**63 - 1, Format(64, 63)) == 1.0


def test_scaled():
    assert reference.scaled(3 * 5e-324, -1) == 2 * 5e-324
    assert reference.scaled(1e308, 10) == math.inf
    assert math.copysign(1, reference.scaled(-0.0, 5)) == -1
    assert math.copysign(1, reference.scaled(-5e-324, -5)) == -1


def test_matmul():
    lowest = [[-(2**63)] * 2]
    got = reference.matmul(lowest, reference.transpose(lowest), 126, Format(8, 0))
    assert got == [[2]]
    a, b = [[3, -5]], [[7], [2]]
    assert reference.matmul(a, b, 4, Format(8, 2)) == [[3]]
    assert reference.matmul(a, b, 4, Format(8, 2), [-3], 2) == [[0]]


def test_float_sum():
    big = 2.0**53
    # s0 = big + 1 + 1 loses both ones; in two partial sums they meet before the big term.
    assert reference.float_sum((u, 1.0) for u in [big] + 7 * [0.0] + [1.0] + 7 * [0.0] + [1.0]) == (
        big
    )
    # (s0 + s4) + (s2 + s6): big + 0, then 1 + 1.
    assert reference.float_sum((u, 1.0) for u in (big, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)) == big + 2
    # s0 + s4: big + 1 is lost; s1 + s5 likewise on its own.
    assert reference.float_sum((u, 1.0) for u in (big, 1.0, 0.0, 0.0, 1.0, -1.0)) == big
    # The halves: s0 = big, s1 = 1, s3 = 1 meet as (big) + (1 + 1).
    assert reference.float_sum((u, 1.0) for u in (big, 1.0, 0.0, 1.0)) == big + 2
    # Products are rounded before they are added: (1 + e)**2 - 1 has no e**2 left.
    e = 2.0**-30
    assert reference.float_sum([(1 + e, 1 + e), (-1.0, 1.0)]) == 2 * e
    assert math.copysign(1, reference.float_sum([(-0.0, 1.0)])) == 1


Q84 = Format(8, 4)
X, Y = [[0.5, 0.125], [0.0, 0.375]], [[0.5], [-0.25]]


def test_fixed_example():
    layer = Layer((Q84,) * 4, Activation("leaky_relu", slope_shift=2))
    net = Network(Q84, [layer], [[[[24, -32]], [4]]], "half_sse", "fused", Parts())
    assert net.forward(X) == ([[[12], [-8]]], [[[8, 2], [0, 6]], [[12], [-2]]])
    assert net.gradient(X, Y) == [[[[2, 0]], [4]]]
    assert net.step(X, Y, 0) == (2, 0.0390625)
    assert net.tensors == [[[[22, -32]], [0]]]


def test_float_example():
    layer = Layer((Q84,) * 4, Activation("linear"))
    parts = Parts("float", "float", "float")
    net = Network(Q84, [layer], [[[[1.5, -2.0]], [0.25]]], "half_sse", "fused", parts)
    assert net.step(X, Y, 1) == (2, 0.0625)
    assert net.tensors == [[[[1.4375, -1.96875]], [0.25]]]
    with pytest.raises(reference.Diverged):
        net.step([[1e308, 1e308]], [[0.0]], 0)
    assert net.tensors == [[[[1.4375, -1.96875]], [0.25]]]


@pytest.mark.parametrize(
    ("update", "lr_shift", "m", "want"),
    [
        ("fused", 1, 0, -3),  # floor(-5 / 2), the step; not -floor(5 / 2)
        ("two_step", 1, 0, -3),
        ("fused", 0, 1, -3),  # floor(-5 / 2)
        ("two_step", 0, 1, -2),  # gW = rint(5 / 2) = 2
    ],
)
def test_update_rounds_the_step(update, lr_shift, m, want):
    floor, even = Format(8, 0, "floor"), Format(8, 0)
    layer = Layer((floor, floor, floor, even), Activation("linear"))
    net = Network(floor, [layer], [[[[0]]]], "half_sse", update, Parts())
    net.step([[5]], [[-1]], lr_shift, m)  # D = 0 - -1 = 1, D.T @ A = 5
    assert net.tensors == [[[[want]]]]


@pytest.mark.parametrize("update", ["fused", "two_step"])
@pytest.mark.parametrize("parts", ALL_PARTS, ids="-".join)
@pytest.mark.parametrize("loss", ["half_sse", "sse"])
def test_all_parts_agree_where_nothing_is_rounded(parts, loss, update):
    """Two layers by hand, with numbers that every format and double holds.

    x = (1, -2), hidden z = (1.5, -1) + (0.5, 0) = (2, -1), relu: a = (2, 0),
    output z = 2 * 2 + 3 * 0 - 1 = 3, y = 2: the error is 1. Half of its square has the gradient 1:
    D_2 = 1, E_1 = (2, 3), D_1 = (2, 0); gW_2 = (2, 0), gb_2 = 1, gW_1 = ((2, -4), (0, 0)),
    gb_1 = (2, 0). The step is an eighth of that.
    """
    fmt = Format(32, 10)
    layers = [Layer((fmt,) * 4, Activation("relu")), Layer((fmt,) * 4, Activation("linear"))]
    one = 1.0 if parts.update == "float" else 2**10
    unit = int if parts.update == "fixed" else float
    before = [[[[0.5, -0.5], [1.0, 1.0]], [0.5, 0.0]], [[[2.0, 3.0]], [-1.0]]]
    times = 2 if loss == "sse" else 1
    want = [
        [[[0.5 - times / 4, -0.5 + times / 2], [1.0, 1.0]], [0.5 - times / 4, 0.0]],
        [[[2.0 - times / 4, 3.0]], [-1.0 - times / 8]],
    ]
    raw = lambda values: reference.each(lambda v: unit(v * one), values)  # noqa: E731
    net = Network(fmt, layers, raw(before), loss, update, parts)
    assert net.step([[1.0, -2.0]], [[2.0]], 3) == (1, times / 2)
    assert net.tensors == raw(want)


def test_derivative_at_zero_and_average():
    """Two samples, z = 0 and z = 2; D = (1/2) * (0 - 1) and 1 * (2 - 1); the mean of the two."""
    fmt = Format(32, 10)
    layer = Layer((fmt,) * 4, Activation("relu", at_zero=Fraction(1, 2)))
    net = Network(fmt, [layer], [[[[1024]], [0]]], "half_sse", "fused", Parts())
    assert net.gradient([[0.0], [2.0]], [[1.0], [1.0]], m=1) == [[[[1024]], [256]]]
    assert net.step([[0.0], [2.0]], [[1.0], [1.0]], 0, m=1) == (2, 1.0)
    assert net.tensors == [[[[0]], [-256]]]


def test_first_argmax_counts():
    fmt = Format(8, 0)
    layer = Layer((fmt,) * 4, Activation("linear"))
    net = Network(fmt, [layer], [[[[1], [1], [0]]]], "sse", "fused", Parts())
    _, A = net.forward([[1]])
    assert A[-1] == [[1, 1, 0]]
    assert net.report(A[-1], [[5, 4, 5]]) == (1, 16 + 9 + 25)
    assert net.report(A[-1], [[4, 5, 5]]) == (0, 9 + 16 + 25)
