"""From deltas to gradients, and from gradients to new weights and biases.

Source: docs/numerics.md, sections 4, 5 and 7.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...qformat import Accumulator, QFormat
from .arith import (
    Array,
    add,
    enter,
    enter_real,
    enter_rounded,
    finite,
    lift,
    negate,
    real,
    round_raw,
    round_real,
    scale,
)
from .gemm import accumulated, dot
from .random import Words

if TYPE_CHECKING:
    from ...nn.network import Layer


class Gradient(NamedTuple):
    """The gradient ``s * 2**-frac`` of one tensor: an exact array, or float64 with frac 0."""

    s: Array
    frac: int


def weight_gradient(
    layer: Layer,
    below: QFormat,
    d: Array,
    a: Array,
    average_shift: int,
    accumulator: Accumulator | None,
) -> Gradient:
    """Return D.T @ A (n_out, n_in), averaged; it is not yet rounded on raw arrays."""
    if d.dtype.kind == "f":
        return Gradient(finite(real(dot(d.T, a), average_shift)), 0)
    total = accumulated(d.T, a, accumulator)
    return Gradient(total, layer.formats.delta.frac + below.frac + average_shift)


def bias_gradient(
    layer: Layer, d: Array, average_shift: int, accumulator: Accumulator | None
) -> Gradient:
    """Return the sum over the batch of D (n_out,), averaged; not yet rounded on raw arrays."""
    if d.dtype.kind == "f":
        return Gradient(finite(real(dot(np.ones((1, len(d))), d)[0], average_shift)), 0)
    total = accumulated(d.T, np.ones((len(d), 1), np.int32), accumulator)[:, 0]
    return Gradient(total, layer.formats.delta.frac + average_shift)


def stored(gradient: Gradient, fmt: QFormat, words: Words) -> Gradient:
    """Return `gradient` as it is stored: raw in `fmt`, or the float64 that it is."""
    if gradient.s.dtype.kind == "f":
        return gradient
    return Gradient(enter_rounded(gradient.s, gradient.frac, fmt, words), fmt.frac)


def float_step(gradient: Gradient, lr_shift: int) -> Array:
    """Return the step ``-g * 2**-lr_shift`` in float64, each of the two rounded once."""
    return finite(scale(-real(*gradient), -lr_shift))


def fixed_update(
    raw: Array, gradient: Gradient, lr_shift: int, fmt: QFormat, words: Words
) -> Array:
    """Return the new values of `raw`, weights or biases, in the weight format `fmt`."""
    if gradient.s.dtype.kind == "f":
        step = round_real(float_step(gradient, lr_shift), fmt, words)
    else:
        step = round_raw(negate(gradient.s), gradient.frac + lr_shift, fmt, words)
    return enter(add(raw, step), fmt)


def float_update(master: Array, gradient: Gradient, lr_shift: int) -> Array:
    """Return the new values of `master`, float64 weights or biases."""
    return finite(master + float_step(gradient, lr_shift))


def _join(s: Gradient, t: Gradient) -> Gradient:
    """Return the exact sum of two exact arrays at the finer of their fraction widths."""
    frac = max(s.frac, t.frac)
    return Gradient(add(lift(s.s, frac - s.frac), lift(t.s, frac - t.frac)), frac)


def kept_velocity(v: Array, gradient: Gradient, momentum_shift: int, fmt: QFormat) -> Gradient:
    """Return ``V * (1 - 2**-momentum_shift) + g`` of an exact gradient, exact."""
    kept = add(lift(v, momentum_shift), negate(v))
    return _join(Gradient(kept, fmt.frac + momentum_shift), gradient)


def float_velocity(v: Array, gradient: Gradient, momentum_shift: int) -> Gradient:
    """Return the same of a float64 `v` in float64."""
    kept = v * (1 - math.ldexp(1.0, -momentum_shift))
    return Gradient(finite(kept + real(*gradient)), 0)


def decayed(
    gradient: Gradient, raw: Array | None, master: Array | None, decay_shift: int, fmt: QFormat
) -> Gradient:
    """Return ``g + W * 2**-decay_shift``: exact where the gradient and the update are."""
    if gradient.s.dtype.kind != "f" and master is None:
        assert raw is not None
        return _join(gradient, Gradient(raw, fmt.frac + decay_shift))
    w = master
    if w is None:
        assert raw is not None
        w = real(raw, fmt.frac)
    return Gradient(real(*gradient) + w * math.ldexp(1.0, -decay_shift), 0)


def new_values(
    raw: Array | None,
    master: Array | None,
    gradient: Gradient,
    lr_shift: int,
    fmt: QFormat,
    words: Words,
) -> list[tuple[Array, Array]]:
    """Return (array, its new values) for each form in which a tensor is kept.

    `raw` is None where all parts are float, `master` where the update is fixed. `words` are of the
    new master, or of the step.
    """
    if master is None:
        assert raw is not None
        return [(raw, fixed_update(raw, gradient, lr_shift, fmt, words))]
    values = float_update(master, gradient, lr_shift)
    return [(master, values)] + ([] if raw is None else [(raw, enter_real(values, fmt, words))])
