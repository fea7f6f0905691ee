"""What a training counts of rounding, overflow and dead units."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._counts import TENSORS, new_rows, unpack
from ..qformat import QFormat
from .network import Layer, Network

# Where the sums stand: docs/numerics.md, section 9.
_SCALED_STEP_FRAC = 40
_ERROR_BITS = 62


@dataclass(frozen=True)
class Observation:
    """Exact counts of one tensor of one layer over all steps of a training.

    Attributes
    ----------
    layer : int
        1 for the first layer.
    tensor : str
        ``Z``, ``E``, ``D``, with momentum ``VW`` and ``Vb``, ``W`` or ``b``. What a tensor does not
        have counts 0.
    entries : int
        Values that entered the tensor's format; for `W` and `b` weights that were offered a
        step.
    exact_zeros : int
        Steps that are exactly 0.
    lost_steps : int
        Steps that are not 0 and round to 0.
    artefact_steps : int
        Steps of less than half a unit of the last place that round to -1 or 1.
    overflows : int
        Values outside the format, which saturate or wrap.
    widest_bits : int
        Width, sign included, of the widest value before the overflow rule.
    step_sum, error_sum : int
        Sum of the magnitudes of the steps before the shift by the learning rate, and of the
        rounding errors of the shifted ones.
    step_frac, error_frac : int
        Their fraction widths: the real sums are ``step_sum * 2**-step_frac`` and
        ``error_sum * 2**-error_frac``.
    inactive : int
        Of a relu layer's `Z`: entries whose derivative was 0.
    units, dead_units : int
        Of a relu layer's `Z`: its units, and how many of them were active in none of the last
        steps.

    Notes
    -----
    Source: docs/numerics.md, section 9. A share or mean of nothing is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import intmlp
    >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4), bias=False)
    >>> net.set_weights([np.array([[1.0, 0.5]])])
    >>> history = net.train([[1.0, 0.0]], [[0.5]], lr_shift=5, observe=True)
    >>> z, d, w = history.observed
    >>> w.tensor, w.entries, w.exact_zeros, w.lost_steps  # one step is -0.5 * 2**-5, and not 0
    ('W', 2, 1, 1)
    >>> w.lost_share, w.mean_step, w.mean_error
    (1.0, 0.5, 0.015625)
    """

    layer: int
    tensor: str
    entries: int
    exact_zeros: int
    lost_steps: int
    artefact_steps: int
    overflows: int
    widest_bits: int
    step_sum: int
    step_frac: int
    error_sum: int
    error_frac: int
    inactive: int
    units: int
    dead_units: int

    @property
    def rounded_steps(self) -> int:
        """The steps of weights and biases that are not exactly 0."""
        return self.entries - self.exact_zeros if self.tensor in ("W", "b") else 0

    @property
    def lost_share(self) -> float:
        """The share of these `rounded_steps` that round to 0."""
        return _ratio(self.lost_steps, self.rounded_steps)

    @property
    def artefact_share(self) -> float:
        """The share of these steps that round to -1 or 1 though they are less than a half."""
        return _ratio(self.artefact_steps, self.rounded_steps)

    @property
    def mean_step(self) -> float:
        """The mean magnitude of these steps before the shift by the learning rate, a real value."""
        return _ratio(self.step_sum, self.rounded_steps << self.step_frac)

    @property
    def mean_error(self) -> float:
        """The mean magnitude of their rounding errors after it, a real value."""
        return _ratio(self.error_sum, self.rounded_steps << self.error_frac)

    @property
    def overflow_share(self) -> float:
        """The share of the entries that lay outside the format."""
        return _ratio(self.overflows, self.entries)

    @property
    def inactive_share(self) -> float:
        """The share of the entries of a relu layer's `Z` whose derivative was 0."""
        return _ratio(self.inactive, self.entries) if self.units else math.nan

    @property
    def dead_share(self) -> float:
        """The share of a relu layer's units that are dead."""
        return _ratio(self.dead_units, self.units)


class Tally:
    """The counts of a training on their way: the arrays that a backend adds to.

    Parameters
    ----------
    network : Network
    every : int
        Steps are counted whose number is a multiple of this.
    stop_on_overflow : bool
        Whether a step in which a value overflows is not done.
    only_overflows : bool
        Whether nothing but entries and overflows is asked for.
    """

    def __init__(
        self, network: Network, every: int, stop_on_overflow: bool, only_overflows: bool
    ) -> None:
        self._how = stop_on_overflow, only_overflows
        self.every = every
        self.counts = new_rows(len(network.layers))
        self.idle: NDArray[np.int64] = np.zeros(
            sum(layer.n_out for layer in network.layers), np.int64
        )

    def arguments(self, before: int) -> tuple[Any, ...]:
        """Return what `Net.train` takes, where `before` steps came before its step 0."""
        return self.counts, self.idle, self.every, before, *self._how

    def read(
        self, network: Network, average_shift: int, steps: int, window: int
    ) -> tuple[Observation, ...]:
        """Return the observations after `steps` steps, with the dead units of the last `window`."""
        observations = []
        below, first = network.input, 0
        for i, layer in enumerate(network.layers):
            idle = self.idle[first : first + layer.n_out]
            dead = int(np.count_nonzero(idle >= min(window, steps))) if steps else 0
            for j, tensor in enumerate(TENSORS):
                if (
                    (tensor == "E" and i + 1 == len(network.layers))
                    or (tensor in ("b", "Vb") and not network.bias)
                    or (tensor in ("VW", "Vb") and network.momentum_shift is None)
                ):
                    continue
                is_relu = tensor == "Z" and layer.activation.kind == "relu"
                is_parameter = tensor in ("W", "b")
                step_frac = 0
                if is_parameter and (
                    "float" in (network.parts.backward, network.parts.update)
                    or network.has_optimiser
                ):
                    step_frac = _SCALED_STEP_FRAC
                elif is_parameter and network.update == "two_step":
                    step_frac = layer.formats.gradient.frac
                elif is_parameter:
                    of_input = below.frac if tensor == "W" else 0
                    step_frac = layer.formats.delta.frac + of_input + average_shift
                observations.append(
                    Observation(
                        layer=i + 1,
                        tensor=tensor,
                        step_frac=step_frac,
                        error_frac=layer.formats.weight.frac + _ERROR_BITS if is_parameter else 0,
                        units=layer.n_out if is_relu else 0,
                        dead_units=dead if is_relu else 0,
                        **unpack(self.counts[i * len(TENSORS) + j]),
                    )
                )
            below, first = layer.formats.activation, first + layer.n_out
        return tuple(observations)


class OverflowWarning(RuntimeWarning):
    """Values lay outside their format in a training, and have saturated or wrapped.

    Examples
    --------
    >>> import warnings
    >>> import intmlp
    >>> net = intmlp.MLP([1, 1], intmlp.QFormat(8, 4), bias=False)
    >>> net.set_weights([[[4.0]]])
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", intmlp.OverflowWarning)
    ...     try:
    ...         net.train([[2.0]], [[1.0]], lr_shift=8)  # Z is 8
    ...     except intmlp.OverflowWarning as warning:
    ...         print(str(warning)[:52])
    layer 1: 100% of the values of Z lay outside QFormat
    """


def warn_of_overflows(network: Network, rows: tuple[Observation, ...], every: int) -> None:
    """Warn the caller's caller of each row that overflowed; every `every`-th step was counted."""
    steps = "all steps" if every == 1 else f"the steps counted, every {every}th"
    for row in rows:
        if row.overflows:
            fmt = _format_of(network.layers[row.layer - 1], row.tensor)
            warnings.warn(
                f"layer {row.layer}: {100 * row.overflow_share:.3g}% of the values of "
                f"{row.tensor} lay outside {fmt} in {steps}, and {_OUTSIDE[fmt.overflow]}",
                OverflowWarning,
                stacklevel=3,
            )


def raise_overflow(
    network: Network, rows: tuple[Observation, ...], step: int, samples: int
) -> None:
    """Raise where a row has overflowed, as no step before `step`, of `samples` samples, has."""
    for row in rows:
        if row.overflows:
            layer = network.layers[row.layer - 1]
            each = {"W": layer.n_in, "VW": layer.n_in, "b": 1, "Vb": 1}.get(row.tensor, samples)
            raise OverflowError(
                f"step {step}, layer {row.layer}: {row.overflows} of the {each * layer.n_out} "
                f"values of {row.tensor} lie outside {_format_of(layer, row.tensor)}; the step "
                "was not done"
            )


_OUTSIDE = {"saturate": "saturated", "wrap": "wrapped"}


def _format_of(layer: Layer, tensor: str) -> QFormat:
    """Return the format that the values of a tensor enter."""
    formats = layer.formats
    by_name = {"Z": formats.activation, "E": formats.delta, "D": formats.delta}
    by_name |= {"W": formats.weight, "b": formats.weight}
    return by_name.get(tensor, layer.velocity)


def _ratio(numerator: int, denominator: int) -> float:
    """Return the correctly rounded quotient, or NaN for a denominator of 0."""
    return numerator / denominator if denominator else math.nan
