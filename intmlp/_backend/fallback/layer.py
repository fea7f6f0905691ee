"""A layer's forward pass beside its backward pass.

Each function computes in the arithmetic of the arrays that it gets: fixed point on raw
integers, or float64. Source: docs/numerics.md, sections 3, 4 and 7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ...qformat import Accumulator, QFormat
from .arith import Array, add, enter_rounded, multiply
from .gemm import accumulated, dot
from .random import Words
from .real import exp, power_of_two

if TYPE_CHECKING:
    from ...nn.network import Layer


def pre_activation(
    layer: Layer,
    below: QFormat,
    a: Array,
    w: Array,
    b: Array | None,
    accumulator: Accumulator | None,
    words: Words,
) -> Array:
    """Return Z (n, n_out) of a layer over `a` (n, n_in) in the format `below`."""
    if a.dtype.kind == "f":
        return dot(a, w.T) if b is None else dot(a, w.T) + b
    frac_in = below.frac + layer.formats.weight.frac
    total = accumulated(a, w.T, accumulator, b, below.frac)
    return enter_rounded(total, frac_in, layer.formats.activation, words)


def activate(layer: Layer, z: Array, words: Words) -> Array:
    """Return A, the activation function of Z."""
    activation, fmt = layer.activation, layer.formats.activation
    if activation.kind == "linear":
        return z
    if activation.kind == "relu":
        return np.where(z > 0, z, z.dtype.type(0))
    if z.dtype.kind == "f":
        return _activate_real(layer, z)
    if activation.kind == "leaky_relu":
        return np.where(z >= 0, z, enter_rounded(z, fmt.frac + activation.slope_shift, fmt, words))
    if activation.kind == "hard_tanh":
        return _held(z, -1 << fmt.frac, 1 << fmt.frac, fmt)
    if activation.kind == "hard_sigmoid":
        quarter = enter_rounded(add(z, np.array(2 << fmt.frac)), fmt.frac + 2, fmt, words)
        return _held(quarter, 0, 1 << fmt.frac, fmt)
    assert layer.table is not None
    return layer.table[z - fmt.raw_min].astype(z.dtype)


def _held(a: Array, low: int, high: int, fmt: QFormat) -> Array:
    """Return raw values of `fmt` held to ``low..high``."""
    return np.clip(a, max(low, fmt.raw_min), min(high, fmt.raw_max)).astype(a.dtype)


def _activate_real(layer: Layer, z: Array) -> Array:
    """Return the function of float64 `z`, for all that are not linear or relu."""
    kind = layer.activation.kind
    if kind == "leaky_relu":
        return np.where(z >= 0, z, z * math.ldexp(1.0, -layer.activation.slope_shift))
    if kind == "hard_tanh":
        return np.clip(z, -1.0, 1.0)
    if kind == "hard_sigmoid":
        return np.clip((z + 2) * 0.25, 0.0, 1.0)
    if kind == "sigmoid":
        return np.asarray(1 / (1 + exp(-z)))
    assert kind == "tanh"
    return np.asarray(1 - 2 / (exp(2 * z) + 1))


def derivative(layer: Layer, z: Array, a: Array) -> tuple[Array, int | Array]:
    """Return (slope, halvings): f' is ``slope * 2**-halvings``, exact, or rounded for floats.

    `z` and `a` are both raw or both float64, and so is `slope`.
    """
    activation, fmt = layer.activation, layer.formats.activation
    real = z.dtype.kind == "f"
    dtype = np.float64 if real else np.int64
    if activation.kind == "linear":
        return np.ones(z.shape, dtype), 0
    if activation.kind == "leaky_relu":
        return np.ones(z.shape, dtype), np.where(z >= 0, 0, activation.slope_shift)
    if activation.kind == "relu":
        if activation.half_at_zero:
            return (z >= 0).astype(dtype), (z == 0).astype(np.int64)
        return (z > 0).astype(dtype), 0
    if activation.kind in ("hard_tanh", "hard_sigmoid"):
        end, halvings = (1, 0) if activation.kind == "hard_tanh" else (2, 2)
        last = (end << fmt.frac) - 1
        low, high = max(-last, fmt.raw_min), min(last, fmt.raw_max)
        inside = np.abs(z) < end if real else (z >= low) & (z <= high)
        return inside.astype(dtype), halvings
    if real:
        return (a * (1 - a) if activation.kind == "sigmoid" else 1 - a * a), 0
    a, one = a.astype(object), 1 << fmt.frac
    return (a * (one - a) if activation.kind == "sigmoid" else one * one - a * a), 2 * fmt.frac


def delta(layer: Layer, z: Array, a: Array, e: Array, frac: int, words: Words) -> Array:
    """Return D (n, n_out), which is f'(Z) times the error ``e * 2**-frac``.

    `e` is the gradient of the loss (an exact array or float64) in the last layer, else E.
    """
    slope, halvings = derivative(layer, z, a)
    if e.dtype.kind == "f":
        slope = slope * power_of_two(-halvings)
        return np.where(slope != 0, slope * e, 0.0)
    return enter_rounded(multiply(slope, e), frac + halvings, layer.formats.delta, words)


def error(
    layer: Layer, d: Array, w: Array, fmt: QFormat, accumulator: Accumulator | None, words: Words
) -> Array:
    """Return E (n, n_in) of the layer below, whose delta format is `fmt`, from D of this one."""
    if d.dtype.kind == "f":
        return dot(d, w)
    frac_in = layer.formats.delta.frac + layer.formats.weight.frac
    return enter_rounded(accumulated(d, w, accumulator), frac_in, fmt, words)
