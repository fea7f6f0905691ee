"""Matrix products of every width, packing and rounding included."""

import numpy as np
import pytest

import intmlp
from intmlp import QFormat, _backend
from operands import MIDDLE, SHAPES, SMALL, TINY, exact_rows, operands, raw
from peers import load
from timing import QUICK

# Operands, rival, the ratio wanted, and the shapes.
DEFAULT = [
    ("8 bits", "sgemm", 3.0, SHAPES),
    ("8 bits", "torch_int64", None, [SMALL]),
    ("16 bits, small products", "sgemm", 1.6, SHAPES),
    ("16 bits, small products", "numpy_float64", None, [SMALL]),
    ("16 bits, any values", "sgemm", 1.1, SHAPES),
    ("24 bits, any values", "dgemm", 1.3, SHAPES),
    ("24 bits, any values", "torch_int64", 2.5, SHAPES),
    ("24 bits, any values", "apytypes_fixed", 7.0, SHAPES),
    ("24 bits, any values", "numpy_float64", None, [SMALL]),
    ("24 bits, any values", "numpy_int64", None, [SMALL]),
    ("24 bits, any values", "fxpmath_fixed", None, [SMALL]),
    ("24 by 16 bits, any values", "dgemm", None, [MIDDLE]),
    ("16 by 24 bits, any values", "dgemm", None, [MIDDLE]),
    ("32 bits, bound below 2^63", "dgemm", 1.0, SHAPES),
    ("32 bits, bound below 2^63", "torch_int64", None, [SMALL]),
    ("32 bits, any values", "dgemm", 0.8, SHAPES),
    *(
        case
        for bits in ("33 bits", "48 bits", "64 bits")
        for case in (
            (bits, "numpy_object", 5.0, [TINY]),
            (bits, "numpy_int64", 1.0, SHAPES),
        )
    ),
]
AVX2 = [
    ("8 bits", "sgemm", None, [MIDDLE]),
    ("16 bits, small products", "sgemm", 0.7, SHAPES),
    ("16 bits, any values", "sgemm", None, [MIDDLE]),
    ("24 bits, any values", "dgemm", None, [MIDDLE]),
    ("32 bits, bound below 2^63", "dgemm", 0.45, SHAPES),
    ("32 bits, any values", "dgemm", None, [MIDDLE]),
    ("64 bits", "numpy_int64", None, [SMALL]),
]
SCALAR = [
    ("8 bits", "sgemm", None, [SMALL]),
    ("16 bits, any values", "sgemm", None, [SMALL]),
    ("24 bits, any values", "dgemm", None, [SMALL]),
    ("32 bits, any values", "dgemm", None, [SMALL]),
    ("64 bits", "numpy_int64", None, [SMALL]),
]


def rival_of(name, a, b, shift, bits):
    """Return the rival's product, once it is shown to be the one asked for."""
    if name in ("sgemm", "dgemm"):
        rival = getattr(load("openblas"), name)(a, b)
        left, right = a.astype(np.float64), b.astype(np.float64)
        error = np.abs(rival()[:2] - left[:2] @ right)
        scale = np.abs(left[:2]) @ np.abs(right)
        assert (error <= np.finfo(rival().dtype).eps * len(b) * scale).all()
        return rival
    peer = load(name)
    if name == "numpy_int64":
        shift = min(shift, 62)  # it has no wider one, and its sums have wrapped long before
    rival = peer.product(a, b, shift, bits)
    bound = len(b) * int(np.abs(a.astype(object)).max()) * int(np.abs(b.astype(object)).max())
    if name == "numpy_object" or bound < 2 ** (53 if name == "numpy_float64" else 63):
        result = getattr(peer, "integers", np.asarray)(rival())
        want = exact_rows(a, b, shift, bits)
        difference = np.abs(np.asarray(result[:2]) - want).max()
        # numpy_float64 rounds half to even, the others half up: one unit, where there is a tie
        assert difference == 0 or (name == "numpy_float64" and difference == 1)
    return rival


@pytest.mark.parametrize(
    ("instruction_set", "name", "rival", "target", "shape"),
    [
        pytest.param(isa, name, rival, target, shape, id=f"{isa}-{name}-{rival}-{shape}")
        for isa, cases in (("best", DEFAULT), ("avx2", AVX2), ("scalar", SCALAR))
        for name, rival, target, shapes in cases
        for shape in shapes
    ],
)
def test_product(versus, backend, instruction_set, name, rival, target, shape):
    best = _backend.active_name()
    with backend(best if instruction_set == "best" else f"c:{instruction_set}"):
        a, b, shift, bits = operands(name, shape)
        fmt = QFormat(bits, 0, "half_up")

        def ours():
            return intmlp.matmul(a, b, shift, fmt)

        assert np.array_equal(ours()[:2], exact_rows(a, b, shift, bits))
        m, k, n = shape
        versus(
            ours,
            rival_of(rival, a, b, shift, bits),
            table=f"products, {instruction_set}",
            work=f"{name}, {m}x{k}x{n}",
            rival=rival,
            target=target,
            gmac=m * k * n / 1e9,
            bytes=a.nbytes + b.nbytes + m * n * fmt.dtype.itemsize,
        )


@pytest.mark.parametrize("bits", range(2, 65, 7 if QUICK else 1))
def test_width(versus, bits):
    """Throughput over width, any values, with the two lines it is compared to."""
    m, k, n = MIDDLE
    state = np.random.RandomState(0)
    a, b = raw(state, bits, (m, k)), raw(state, bits, (k, n))
    a[0, 0] = b[0, 0] = -(1 << (bits - 1))
    fmt, shift = QFormat(bits, 0, "half_up"), bits + 4
    assert np.array_equal(
        intmlp.matmul(a, b, shift, fmt)[:1], exact_rows(a, b, shift, bits, rows=1)
    )
    rival = "sgemm" if bits <= 16 else "dgemm"
    versus(
        lambda: intmlp.matmul(a, b, shift, fmt),
        rival_of(rival, a, b, shift, bits),
        table="width",
        work=f"{bits} bits",
        rival=rival,
        bits=bits,
        gmac=m * k * n / 1e9,
    )
