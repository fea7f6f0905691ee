"""Gradients: against autograd, and against the exact rational gradient."""

from fractions import Fraction

import numpy as np
import pytest

from intmlp import MLP, LayerFormats, QFormat, gradcheck, quantize, relu, uniform
from intmlp.gradcheck import FLOAT, autograd_gradient, case, gradient_error

# --- autograd ---------------------------------------------------------------------------------


def test_case_is_the_published_one():
    """Weights and biases of each layer, the input and the noise come from one state, in turn."""
    net, x, y = case((3, 7, 5), 4)
    state = np.random.RandomState(4)
    for weights, biases in zip(net.master_weights, net.master_biases, strict=True):
        assert weights.tolist() == state.random_sample(weights.shape).tolist()
        assert biases.tolist() == state.random_sample(biases.shape).tolist()
    assert x.tolist() == state.random_sample((1, 3)).tolist()
    assert y.tolist() == (net.forward(x) + state.random_sample((1, 5))).tolist()


def test_mean_error():
    """By hand: layers count equally, and weights as much as biases."""
    own = [np.array([[1.0, 3.0], [4.0, 5.0]]), np.array([[2.0]])]
    reference = [np.array([[2.0, -3.0], [4.0, 4.0]]), np.array([[-8.0]])]
    by_layer = [(0.5 + 2 + 0 + 0.25) / 4, 1.25]
    assert gradcheck._mean_error(own, reference, None) == sum(by_layer) / 2
    raw = [(16 * tensor).astype(np.int32) for tensor in own]
    assert gradcheck._mean_error(raw, reference, QFormat(12, 4)) == sum(by_layer) / 2


def test_defaults(backend):
    assert f"{gradient_error():.2%}" == "0.00%"
    assert f"{gradient_error(fmt=QFormat(24, 12)):.2%}" == "0.14%"


def test_a_thousand_seeds(backend):
    """The distribution that docs/numerics.md, section 8, states.

    A relative error cannot bear an entry near zero, which is left where a target lies near its
    output: there `a - y` cancels, in float64 too. So float64 is held to 1e-12 of the largest
    entry of each tensor, on every seed.
    """
    seeds = range(1000)
    for seed in seeds:
        net, x, y = case((3, 7, 7, 5), seed)
        gradient = net.gradient(x, y)
        weights, biases = autograd_gradient(net.master_weights, net.master_biases, x, y)
        own = (*gradient.weights, *gradient.biases)
        for a, b in zip(own, (*weights, *biases), strict=True):
            assert np.abs(a - b).max() <= 1e-12 * np.abs(b).max()
    floats = np.array([gradient_error(seed=seed) for seed in seeds])
    assert np.quantile(floats, 0.99) < 1e-12
    fixed = np.array([gradient_error(fmt=QFormat(24, 12), seed=seed) for seed in seeds])
    assert 0.002 < np.median(fixed) < 0.003
    assert np.mean(fixed < 0.01) >= 0.9


@pytest.mark.parametrize("sizes", [(1, 1), (4, 3), (9, 20, 17, 8, 2)])
def test_other_sizes(backend, sizes):
    assert gradient_error(sizes, seed=7) < 1e-12
    # A wider fraction is more exact.
    errors = [gradient_error(sizes, QFormat(60, frac), seed=7) for frac in (8, 16, 24)]
    assert errors[0] > errors[1] > errors[2] > 0


def test_derivative_at_zero(backend):
    """Where every pre-activation is zero, the derivative is 1/2 on both sides."""
    zeros = [np.zeros((3, 2)), np.zeros((1, 3))], [np.zeros(3), np.zeros(1)]
    x, y = np.array([[1.0, 2.0]]), np.array([[4.0]])
    weights, biases = autograd_gradient(*zeros, x, y)
    assert biases[1].tolist() == [-4.0]  # 2 * (0 - 4) / 2
    for parts in ({"parts": FLOAT}, {}):
        net = MLP([2, 3, 1], QFormat(16, 4), activation=relu(0.5), loss="sse", **parts)
        net.set_weights(*zeros)
        gradient = net.gradient(x, y)
        scale = 1 if parts else 16
        for own, reference in zip(
            (*gradient.weights, *gradient.biases), (*weights, *biases), strict=True
        ):
            assert (own / scale).tolist() == reference.tolist()


# --- The exact rational gradient --------------------------------------------------------------


def rational(raw, fmt):
    """Return raw integers as the exact numbers that they stand for."""
    exact = [Fraction(value, 2**fmt.frac) for value in raw.ravel().tolist()]
    return np.array(exact, object).reshape(raw.shape)


def rational_pass(weights, biases, x, y):
    """Return A_0 .. A_L, Z_1 .. Z_L and D_1 .. D_L of `sse`, with nothing rounded."""
    A, Z = [x], []
    for W, b in zip(weights, biases, strict=True):
        Z.append(A[-1] @ W.T + b)
        A.append(np.maximum(Z[-1], 0))
    E, D = 2 * (A[-1] - y), []
    for z, W in zip(reversed(Z), reversed(weights), strict=True):
        gate = np.where(z == 0, Fraction(1, 2), np.where(z > 0, Fraction(1), Fraction(0)))
        D.insert(0, gate * E)
        E = D[0] @ W
    return A, Z, D


def quantized_case(net, state, signs, n):
    """Set random weights and biases, and return them, an input and a target as rationals too.

    Everything is uniform in [0, 1), or in [-1, 1) where `signs`.
    """
    layers = net.network.layers
    low = -1 if signs else 0

    def draw(*shape):
        return state.uniform(low, 1, shape)

    net.set_weights(
        [draw(layer.n_out, layer.n_in) for layer in layers], [draw(layer.n_out) for layer in layers]
    )
    first, last = net.network.input, layers[-1].formats.activation
    x, y = quantize(draw(n, layers[0].n_in), first), quantize(draw(n, layers[-1].n_out), last)
    weights, biases = (
        [rational(raw, layer.formats.weight) for raw, layer in zip(raws, layers, strict=True)]
        for raws in (net.weights, net.biases)
    )
    return (x, y), (weights, biases, rational(x, first), rational(y, last))


@pytest.mark.parametrize("seed", range(10))
def test_equal_where_nothing_is_rounded(backend, seed):
    """Every tensor has the fraction bits of its exact values, and 64 bits hold them all.

    Inputs and weights have 4 fraction bits. A product adds those of its operands, so A_l has
    4 * (l + 1). A delta has those of the layer above, four of its weights, and one more, for the
    derivative 1/2.
    """
    state = np.random.RandomState(seed)
    sizes = state.randint(1, 8, 4).tolist()
    four = QFormat(64, 4)
    widths, delta = [], 16
    for layer in (3, 2, 1):
        delta += 1
        widths.insert(0, (4 * layer + 4, 4, delta, delta + 4 * layer))
        delta += 4
    net = MLP(
        sizes,
        [LayerFormats(*(QFormat(64, frac) for frac in layer)) for layer in widths],
        input_format=four,
        activation=relu(0.5),
        loss="sse",
    )
    raws, exact = quantized_case(net, state, signs=True, n=3)
    A, _, D = rational_pass(*exact)
    gradient = net.gradient(*raws)
    for i, layer in enumerate(net.network.layers):
        fmt = layer.formats.gradient
        assert (rational(gradient.weights[i], fmt) == D[i].T @ A[i]).all()
        assert (rational(gradient.biases[i], fmt) == D[i].sum(axis=0)).all()


MIXED = LayerFormats(QFormat(32, 10), QFormat(32, 12), QFormat(32, 8), QFormat(40, 9))


def half_ulp(fmt, exact_from):
    """Return the largest error of `half_even` in a format without overflow.

    What has at most as many fraction bits as the format, `exact_from`, is not rounded.
    """
    return Fraction(0) if fmt.frac >= exact_from else Fraction(1, 2 ** (fmt.frac + 1))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "formats", [QFormat(24, 12), QFormat(40, 9), MIXED], ids=["24-12", "40-9", "mixed"]
)
def test_bound_where_it_is_rounded(backend, formats, seed):
    """Elsewhere the difference is below the sum of all rounding errors, each carried to the end.

    Let hats mark computed values, and `h` the half ulp of the format that a value enters; rounding
    to nearest errs by at most `h`, and by nothing where no bit is dropped. All parameters and
    inputs are positive, so that every gate is open, which is asserted: `z > e` implies that the
    computed `z` is positive too. By induction over the layers, for each element:

    * `e_0 = 0`, since the rational network starts from the same quantized inputs.
    * `A_l = A_(l-1) W^T + b`, and the weights are exact, so
      `e_l = |A^_l - A_l| <= e_(l-1) |W|^T + h_A`.
    * `D_L = 2 (A_L - y)`, so `d_L <= 2 e_L + h_D`.
    * `D_l = D_(l+1) W`, so `d_l <= d_(l+1) |W| + h_D`; an open gate multiplies by one.
    * `D^^T A^ - D^T A = (D^ - D)^T A + D^T (A^ - A) + (D^ - D)^T (A^ - A)`, so
      `gW` is off by at most `d^T |A| + |D|^T e + d^T e + h_G`, and `gb` by `sum d + h_G`.
    """
    state = np.random.RandomState(seed)
    sizes = [3, 7, 7, 5]
    net = MLP(sizes, formats, activation=relu(0.5), loss="sse", init=uniform(0, 1))
    raws, exact = quantized_case(net, state, signs=False, n=2)
    A, Z, D = rational_pass(*exact)
    weights = exact[0]
    layers = net.network.layers

    fractions = [net.network.input.frac] + [layer.formats.activation.frac for layer in layers]
    e = [np.zeros(A[0].shape, object)]
    for below, layer, W, z in zip(fractions, layers, weights, Z, strict=False):
        h = half_ulp(layer.formats.activation, below + layer.formats.weight.frac)
        e.append(e[-1] @ W.T + h)
        assert (z > e[-1]).all()
    d, arriving, exact_from = [], 2 * e[-1], fractions[-1]
    for layer, W in zip(reversed(layers), reversed(weights), strict=True):
        d.insert(0, arriving + half_ulp(layer.formats.delta, exact_from))
        arriving, exact_from = d[0] @ W, layer.formats.delta.frac + layer.formats.weight.frac

    gradient = net.gradient(*raws)
    rounded = False
    for i, layer in enumerate(layers):
        fmt, delta = layer.formats.gradient, layer.formats.delta.frac
        off = abs(rational(gradient.weights[i], fmt) - D[i].T @ A[i])
        bound = d[i].T @ A[i] + abs(D[i]).T @ e[i] + d[i].T @ e[i]
        assert (off <= bound + half_ulp(fmt, delta + fractions[i])).all()
        off_biases = abs(rational(gradient.biases[i], fmt) - D[i].sum(axis=0))
        assert (off_biases <= d[i].sum(axis=0) + half_ulp(fmt, delta)).all()
        rounded |= bool((off > 0).any())
    assert rounded
