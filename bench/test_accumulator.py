"""What an accumulator costs: a product in one beside the exact product."""

import numpy as np
import pytest

import intmlp
from intmlp import Accumulator, QFormat
from operands import MIDDLE, operands

NAME = "16 bits, any values"

CASES = {
    "wraps": (Accumulator(24), 0.87),
    "saturates, proved not to": (Accumulator(48, "saturate"), 0.87),
    "saturates in order": (Accumulator(24, "saturate"), None),
}


@pytest.mark.parametrize("case", CASES)
def test_product(versus, case):
    a, b, shift, bits = operands(NAME, MIDDLE)
    accumulator, target = CASES[case]
    fmt = QFormat(bits, 0, "half_up")
    ours = intmlp.matmul(a, b, shift, fmt, accumulator=accumulator)
    for i, j in ((0, 0), (3, 5)):  # in Python's integers
        high, acc = 1 << (accumulator.bits - 1), 0
        for left, right in zip(a[i].tolist(), b[:, j].tolist(), strict=True):
            acc += left * right
            if accumulator.overflow == "wrap":
                acc = (acc + high) % (2 * high) - high
            else:
                acc = max(-high, min(high - 1, acc))
        assert ours[i, j] == intmlp.requantize(np.array([acc]), shift, fmt)[0]
    m, k, n = MIDDLE
    versus(
        lambda: intmlp.matmul(a, b, shift, fmt, accumulator=accumulator),
        lambda: intmlp.matmul(a, b, shift, fmt),
        table="accumulators",
        work=f"{NAME}, {m}x{k}x{n}, {accumulator.bits} bits, {case}",
        rival="exact sums",
        target=target,
        gmac=m * k * n / 1e9,
    )
