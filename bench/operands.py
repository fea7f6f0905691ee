"""Raw integers to multiply, and what unbounded integers make of them."""

import numpy as np

from intmlp import QFormat
from timing import QUICK

TINY = (16, 784, 1000)  # for rivals that need seconds for more
SMALL, MIDDLE, LARGE = (64, 784, 1000), (256, 1000, 1000), (1024, 1024, 1024)
if QUICK:
    MIDDLE = LARGE = SMALL
SHAPES = tuple(dict.fromkeys((SMALL, MIDDLE, LARGE)))

# Largest magnitude of each operand, as a power of two, and the width of the formats. Every
# case holds the magnitude itself, so that no proof of a narrow kernel rests on luck.
OPERANDS = {
    "8 bits": (8, 7, 7),
    "16 bits, small products": (16, 12, 12),  # [-1, 1] at 12 fraction bits
    "16 bits, any values": (16, 15, 15),
    "24 bits, any values": (24, 23, 23),
    "24 by 16 bits, any values": (24, 23, 15),
    "16 by 24 bits, any values": (24, 15, 23),
    "32 bits, bound below 2^63": (32, 30, 22),  # 30 + 22 + log2(1024) = 62
    "32 bits, any values": (32, 31, 31),
    "33 bits": (33, 32, 32),
    "48 bits": (48, 47, 47),
    "64 bits": (64, 63, 63),
}


def raw(state, bits, shape):
    """Return raw integers of `bits` bits, uniform, in the dtype of their format."""
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)
    return state.randint(low, high, shape, np.int64).astype(QFormat(bits, 0).dtype)


def operands(name, shape):
    """Return the raw operands of a case, and the shift that spreads their product over it."""
    bits, a_power, b_power = OPERANDS[name]
    m, k, n = shape
    state = np.random.RandomState(0)
    a, b = raw(state, a_power + 1, (m, k)), raw(state, b_power + 1, (k, n))
    a[0, 0], b[0, 0] = -(1 << a_power), -(1 << b_power)
    dtype = QFormat(bits, 0).dtype
    return a.astype(dtype), b.astype(dtype), a_power + b_power + 5 - (bits - 1), bits


def exact_rows(a, b, shift, bits, rows=2):
    """Return the first rows of the product as unbounded integers give them, half up."""
    product = a[:rows].astype(object) @ b.astype(object)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return np.clip((product + (1 << (shift - 1))) >> shift, low, high)
