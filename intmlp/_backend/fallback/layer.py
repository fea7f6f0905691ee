"""A layer's forward pass beside its backward pass.

Each function computes in the arithmetic of the arrays that it gets: fixed point on raw
integers, or float64. Source: docs/numerics.md, sections 3, 4 and 7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...qformat import Accumulator, QFormat
from .arith import Array, requantize
from .gemm import dot, matmul

if TYPE_CHECKING:
    from ...nn.network import Activation, Layer


def pre_activation(
    layer: Layer,
    below: QFormat,
    a: Array,
    w: Array,
    b: Array | None,
    accumulator: Accumulator | None,
) -> Array:
    """Return Z (n, n_out) of a layer over `a` (n, n_in) in the format `below`."""
    if a.dtype.kind == "f":
        return dot(a, w.T) if b is None else dot(a, w.T) + b
    frac_in = below.frac + layer.formats.weight.frac
    fmt = layer.formats.activation
    return matmul(a, w.T, b, below.frac, frac_in, fmt, accumulator=accumulator)


def activate(layer: Layer, z: Array) -> Array:
    """Return A, the activation function of Z."""
    activation, fmt = layer.activation, layer.formats.activation
    if activation.kind == "linear":
        return z
    if activation.kind == "relu":
        return np.where(z > 0, z, z.dtype.type(0))
    if z.dtype.kind == "f":
        return np.where(z >= 0, z, z * math.ldexp(1.0, -activation.slope_shift))
    return np.where(z >= 0, z, requantize(z, fmt.frac + activation.slope_shift, fmt))


def derivative(activation: Activation, z: Array) -> tuple[bool | Array, int | Array]:
    """Return (alive, halvings): f' is ``2**-halvings`` where alive, else 0."""
    if activation.kind == "linear":
        return True, 0
    if activation.kind == "leaky_relu":
        return True, np.where(z >= 0, 0, activation.slope_shift)
    if activation.half_at_zero:
        return z >= 0, (z == 0).astype(np.int64)
    return z > 0, 0


def delta(layer: Layer, z: Array, e: Array, frac: int) -> Array:
    """Return D (n, n_out), which is f'(Z) times the error ``e * 2**-frac``.

    `e` is the gradient of the loss (an exact array or float64) in the last layer, else E.
    """
    alive, halvings = derivative(layer.activation, z)
    if e.dtype.kind == "f":
        return np.where(alive, e * np.ldexp(1.0, -halvings), 0.0)
    return requantize(np.where(alive, e, 0), frac + halvings, layer.formats.delta)


def error(layer: Layer, d: Array, w: Array, fmt: QFormat, accumulator: Accumulator | None) -> Array:
    """Return E (n, n_in) of the layer below, whose delta format is `fmt`, from D of this one."""
    if d.dtype.kind == "f":
        return dot(d, w)
    frac_in = layer.formats.delta.frac + layer.formats.weight.frac
    return matmul(d, w, None, 0, frac_in, fmt, accumulator=accumulator)
