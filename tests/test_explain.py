"""explain_matmul: what it names does serve, with the ranges and the bound of the values."""

import numpy as np
import pytest

import intmlp
from intmlp import QFormat, _backend

FMT = QFormat(64, 0, "floor", "wrap")


@pytest.mark.parametrize("bits", [4, 8, 12, 16, 20, 24, 28, 32, 40, 62])
@pytest.mark.parametrize("rows", [1, 9])
def test_what_serves(backend, bits, rows):
    state = np.random.RandomState(bits)
    limit = 2 ** (bits - 1)
    a, b = (state.randint(-limit, limit, shape) for shape in ((rows, 40), (40, 17)))
    bias = state.randint(-9, 9, 17)
    plan = intmlp.explain_matmul(a, b, 3, FMT, bias=bias, bias_frac=1)
    assert plan.backend == backend
    assert plan.a_range == (min(a.min(), 0), max(a.max(), 0))
    assert plan.b_range == (min(b.min(), 0), max(b.max(), 0))
    largest = int(abs(a).max()) * int(abs(b).max()) * 40 + 4 * int(abs(bias).max())
    assert plan.bound == largest
    assert 1 <= plan.block <= 40
    core = _backend.active()
    if plan.kernel != "vector":
        forced = core.matmul(a, b, bias, 2, 3, FMT, kernel=plan.kernel)
        assert np.array_equal(forced, intmlp.matmul(a, b, 3, FMT, bias=bias, bias_frac=1))


def test_one_row_of_many_zeros_is_a_vector(backend):
    a, b = np.zeros((1, 300), np.int32), np.arange(-300, 300, dtype=np.int32).reshape(300, 2)
    a[0, [3, 200]] = -7, 9
    plan = intmlp.explain_matmul(a, b, 0, FMT)
    assert (plan.a_range, plan.b_range, plan.bound) == ((-7, 9), (-300, 299), 9 * 300 * 300)
    if backend != "python":
        assert (plan.kernel, plan.block) == ("vector", 300)


def test_wider_values_take_other_kernels(backend):
    names = []
    for bits in (8, 24, 32, 62):
        a = np.full((9, 40), -(2 ** (bits - 1)))
        names.append(intmlp.explain_matmul(a, a.T, 0, FMT).kernel)
    assert len(set(names)) >= 2 and names[0] != names[-1], names


def test_its_arguments_are_those_of_matmul():
    with pytest.raises(ValueError, match=r"a and b must fit"):
        intmlp.explain_matmul([[1]], [[1], [2]], 0, FMT)
    with pytest.raises(TypeError, match="fmt must be a QFormat"):
        intmlp.explain_matmul([[1]], [[1]], 0, "16 bits")
