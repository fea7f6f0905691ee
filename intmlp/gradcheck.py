"""Gradients against automatic differentiation: the second notebook; needs the extra ``study``.

Source: docs/numerics.md, section 8, "Gradient against autograd".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import grad
from numpy.typing import NDArray

from ._check import integer
from .nn import MLP, Parts, relu, uniform
from .ops import dequantize
from .qformat import QFormat

FLOAT = Parts(forward="float", backward="float", update="float")

Arrays = Sequence[NDArray[np.float64]]


def gradient_error(
    sizes: Sequence[int] = (3, 7, 7, 5), fmt: QFormat | None = None, seed: int = 0
) -> float:
    """Return the mean relative error of one gradient against autograd's float64 gradient.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer; each layer is a `relu`.
    fmt : QFormat, optional
        Format of every tensor; without it the gradient is computed in float64. autograd's
        gradient is that of the unquantized values in both cases.
    seed : int
        Seed of weights, biases, input and target noise, 0..2**32 - 1.

    Returns
    -------
    float
        The mean of ``abs((gradient - reference) / reference)`` over a layer's weights, and over
        its biases, averaged over layers, then with each other. 0.01 is one percent.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not valid, see `MLP`.
    FloatingPointError
        Where a gradient is not finite.

    Notes
    -----
    A relative error cannot bear an entry near zero, which a target near its output leaves: there
    ``a - y`` cancels, and all that is left are the rounding errors of ``a``, in float64 too.

    Examples
    --------
    >>> from intmlp import QFormat
    >>> f"{gradient_error():.2%}"
    '0.00%'
    >>> gradient_error(fmt=QFormat(24, 12)) < gradient_error(fmt=QFormat(24, 8))
    True
    """
    net, x, y = case(sizes, seed)
    weights, biases = autograd_gradient(net.master_weights, net.master_biases, x, y)
    if fmt is not None:
        floats, net = net, MLP(sizes, fmt, activation=relu(0.5), loss="sse")
        net.set_weights(floats.master_weights, floats.master_biases)
    own = net.gradient(x, y)
    return (_mean_error(own.weights, weights, fmt) + _mean_error(own.biases, biases, fmt)) / 2


def case(sizes: Sequence[int], seed: int) -> tuple[MLP, NDArray[np.float64], NDArray[np.float64]]:
    """Return a float network with an input and a target, all from one seed.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer.
    seed : int
        0..2**32 - 1.

    Returns
    -------
    net : MLP
        Its weights and biases are uniform in [0, 1).
    x : ndarray of float64, shape (1, n_in)
        Uniform in [0, 1).
    y : ndarray of float64, shape (1, n_out)
        The network's output plus noise that is uniform in [0, 1): an error that is neither
        zero nor large.
    """
    state = np.random.RandomState(integer("seed", seed, 0, 2**32 - 1))
    net = MLP(
        sizes,
        QFormat(64, 0),  # has no effect: every part is float
        activation=relu(0.5),
        loss="sse",
        parts=FLOAT,
        init=uniform(0, 1),
        seed=state,
    )
    x = state.random_sample((1, sizes[0]))
    y = net.forward(x) + state.random_sample((1, sizes[-1]))
    return net, x, y


def autograd_gradient(
    weights: Arrays, biases: Arrays, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[Arrays, Arrays]:
    """Return the gradient of the summed squared error that autograd finds by itself.

    Parameters
    ----------
    weights, biases : sequence of ndarray of float64
        Of shapes (n_out, n_in) and (n_out,), one a layer.
    x, y : ndarray of float64, shapes (n, n_in) and (n, n_out)
        Inputs and targets.

    Returns
    -------
    weights, biases : list of ndarray of float64
    """

    def loss(parameters: tuple[Arrays, Arrays]) -> float:
        a = x
        for w, b in zip(*parameters, strict=True):
            a = anp.maximum(anp.dot(a, w.T) + b, 0.0)
        return anp.sum((a - y) ** 2)

    return grad(loss)((list(weights), list(biases)))


def _mean_error(own: Sequence[NDArray[Any]], reference: Arrays, fmt: QFormat | None) -> float:
    """Return the mean over layers of each layer's mean relative error; `own` is raw in `fmt`."""
    real = own if fmt is None else [dequantize(raw, fmt) for raw in own]
    return float(
        np.mean([np.mean(np.abs((a - b) / b)) for a, b in zip(real, reference, strict=True)])
    )
