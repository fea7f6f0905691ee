"""Formats from the ranges of a float run: where the bits of each tensor are needed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._check import choice, instance, integer
from ..qformat import ROUNDINGS, QFormat, Rounding
from .mlp import MLP
from .network import LayerFormats

Array = NDArray[Any]

KINDS = tuple(field.name for field in fields(LayerFormats))

# A run is looked at before its first step, and after about so many equal parts of it.
_LOOKS = 16
# Rows that a look takes at least.
_ROWS = 64


@dataclass(frozen=True)
class TensorRange:
    """What a float run saw of one tensor.

    Attributes
    ----------
    layer : int
        0 for the inputs, else 1..L.
    tensor : str
        ``input``, ``activation`` (Z, A and, in the last layer, the targets), ``weight`` (W and b),
        ``delta`` (E and D), ``gradient`` (gW and gb) or ``velocity``.
    largest : float
        The largest magnitude.
    kept : float
        The largest magnitude that the suggested format has to hold: with ``clip=0`` the largest.
    median : float
        The median of the magnitudes that are not zero; NaN where all are.
    fmt : QFormat
        The format suggested.
    lost_share : float
        The share of values other than zero that are less than half a unit of the format's last
        place: to nearest, they become zero. NaN where all are zero.
    """

    layer: int
    tensor: str
    largest: float
    kept: float
    median: float
    fmt: QFormat
    lost_share: float


@dataclass(frozen=True)
class FormatSuggestion:
    """Formats for `MLP`, and what they rest on; ``print`` shows a table.

    Attributes
    ----------
    input_format : QFormat
    formats : tuple of LayerFormats
        Both as `MLP` takes them.
    ranges : tuple of TensorRange
        Layer by layer.
    """

    input_format: QFormat
    formats: tuple[LayerFormats, ...]
    ranges: tuple[TensorRange, ...]

    def __str__(self) -> str:
        """Return one line for each tensor."""
        lines = ["layer  tensor      largest    median    bits  frac  lost"]
        lines += [
            f"{r.layer:5}  {r.tensor:10}  {r.largest:<9.3g}  {r.median:<8.3g}  "
            f"{r.fmt.bits:4}  {r.fmt.frac:4}  {r.lost_share:.1%}"
            for r in self.ranges
        ]
        return "\n".join(lines)


def suggest_formats(
    net: MLP,
    x: ArrayLike,
    y: ArrayLike,
    lr_shift: int,
    *,
    bits: int | Mapping[str, int] = 16,
    epochs: int = 1,
    batch_size: int = 1,
    clip: float = 0.0,
    rounding: Rounding = "half_even",
    seed: int = 0,
) -> FormatSuggestion:
    """Train a float network and return formats that hold the ranges which it needs.

    Of each tensor the fraction is as wide as its range leaves room for.

    Parameters
    ----------
    net : MLP
        A network all of whose parts are float. A copy of it is trained.
    x, y : array_like, shapes (n, n_in) and (n, n_out), float32 or float64
        The samples of the run.
    lr_shift : int
        The learning rate of the run is ``2**-lr_shift``.
    bits : int or mapping
        The width of every tensor, 2..64, or those of ``activation`` (and the inputs), ``weight``,
        ``delta``, ``gradient`` and ``velocity``.
    epochs, batch_size, seed
        As in `MLP.train`; epochs at least 1.
    clip : float
        The share of a tensor's values, 0..0.5, that its format may saturate: with a few rare
        values out of the way the others get more fraction bits.
    rounding : str
        That of all formats.

    Returns
    -------
    FormatSuggestion

    Raises
    ------
    TypeError, ValueError
        Where an argument is not valid, or a range does not fit into its bits without a fraction.
    FloatingPointError
        Where the run diverges.

    Notes
    -----
    Ranges are taken before the first step and after each sixteenth of the run, of up to 64
    samples, or a batch. A fixed-point run does not stay in the float run's ranges to the bit: what
    leaves a format saturates, and `MLP.train` warns of it.

    Examples
    --------
    >>> import numpy as np
    >>> from intmlp import MLP, Parts, QFormat, suggest_formats
    >>> rng = np.random.RandomState(0)
    >>> x = rng.random_sample((64, 4))
    >>> y = np.stack([x[:, 0] > x[:, 1], x[:, 0] <= x[:, 1]], axis=1).astype(float)
    >>> net = MLP([4, 8, 2], QFormat(2, 0), parts=Parts("float", "float", "float"))
    >>> found = suggest_formats(net, x, y, lr_shift=3, bits={"activation": 8, "weight": 12,
    ...                         "delta": 8, "gradient": 12, "velocity": 12}, epochs=8)
    >>> found.formats[0].weight.bits, found.input_format     # the largest is 0.997
    (12, QFormat(bits=8, frac=6, rounding='half_even', overflow='saturate'))
    >>> fixed = MLP([4, 8, 2], found.formats, input_format=found.input_format)
    """
    instance("net", net, MLP)
    parts = net.network.parts
    if parts.any_fixed:
        raise ValueError(f"net must have all parts float, got {parts}")
    widths = _widths(bits)
    epochs = integer("epochs", epochs, 1, 2**31 - 1)
    batch_size = integer("batch_size", batch_size, 1, 2**31 - 1)
    if not 0 <= clip <= 0.5:
        raise ValueError(f"clip must be in 0..0.5, got {clip}")
    choice("rounding", rounding, ROUNDINGS)
    x, y = net._batch(_floats("x", x), _floats("y", y))

    net = copy.deepcopy(net)
    seen: dict[tuple[int, str], _Magnitudes] = {}
    order = np.random.RandomState(seed)
    some = np.random.RandomState(seed)
    for epoch in range(epochs):
        for piece in _pieces(order.permutation(len(x)), batch_size, max(1, _LOOKS // epochs)):
            if epoch == 0 and not seen:
                _look(net, x, y, batch_size, some, seen)
            history = net.train(x[piece], y[piece], lr_shift, batch_size=batch_size, shuffle=False)
            if history.diverged_at is not None:
                raise FloatingPointError(f"the float run diverges with lr_shift {lr_shift}")
            _look(net, x, y, batch_size, some, seen)
    return _suggest(net, seen, widths, clip, rounding)


def _widths(bits: int | Mapping[str, int]) -> dict[str, int]:
    """Return the width of each kind of tensor."""
    if isinstance(bits, Mapping):
        if set(bits) != set(KINDS):
            raise ValueError(f"bits must have the keys {', '.join(KINDS)}; got {sorted(bits)}")
        return {kind: integer(f"bits[{kind!r}]", bits[kind], 2, 64) for kind in KINDS}
    return dict.fromkeys(KINDS, integer("bits", bits, 2, 64))


def _floats(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must be float32 or float64 (real values), got {array.dtype}")
    return array


def _pieces(order: Array, batch_size: int, count: int) -> Iterator[Array]:
    """Yield an epoch's order in about `count` pieces of whole batches."""
    steps = -(-len(order) // batch_size)
    size = max(1, steps // count) * batch_size
    for start in range(0, len(order), size):
        yield order[start : start + size]


# Magnitudes are counted in bins of a sixteenth of an octave: bin b holds
# [1 + b % 16 / 16, 1 + (b % 16 + 1) / 16) * 2**(b // 16 - _LOWEST), down to the least subnormal.
_BINS, _LOWEST = 16, 1075


class _Magnitudes:
    """How often each magnitude was seen of one tensor."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS * (_LOWEST + 1024), np.int64)
        self.zeros = 0
        self.largest = 0.0

    def add(self, values: Array) -> None:
        """Count some values."""
        sizes = np.abs(values[values != 0]).ravel()
        self.zeros += values.size - sizes.size
        self.largest = max(self.largest, float(sizes.max(initial=0.0)))
        fraction, exponent = np.frexp(sizes)  # fraction in 0.5..1
        bins = ((fraction - 0.5) * (2 * _BINS)).astype(np.int64)
        bins += _BINS * (exponent.astype(np.int64) - 1 + _LOWEST)
        np.add.at(self.counts, bins, 1)

    def exceeded_by(self, share: float) -> float:
        """Return the least magnitude that at most `share` of all values exceed."""
        above = np.cumsum(self.counts[::-1])[::-1]  # from each bin on
        beyond = np.flatnonzero(above > share * (above[0] + self.zeros))
        return min(self.largest, _edge(int(beyond[-1]) + 1)) if len(beyond) else 0.0

    def median(self) -> float:
        """Return the median of those that are not zero, to a sixteenth of an octave."""
        total = np.cumsum(self.counts)
        return _edge(int(np.searchsorted(total, total[-1] / 2))) if total[-1] else float("nan")

    def share_below(self, power: int) -> float:
        """Return which share of those that are not zero is less than ``2**power``."""
        total = self.counts.sum()
        below = self.counts[: max(0, _BINS * (power + _LOWEST))].sum()
        return float(below / total) if total else float("nan")


def _edge(index: int) -> float:
    """Return the lower edge of a bin."""
    return float(np.ldexp(1 + index % _BINS / _BINS, index // _BINS - _LOWEST))


def _look(
    net: MLP,
    x: Array,
    y: Array,
    batch_size: int,
    state: np.random.RandomState,
    seen: dict[tuple[int, str], _Magnitudes],
) -> None:
    """Count the magnitudes of all tensors in some batches, with the weights as they are."""
    from .._backend.fallback import Net as Passes  # late: an import of intmlp is to stay short

    network = net.network
    rows = state.permutation(len(x))[: max(batch_size, _ROWS)]
    masters = list(net.master_weights), list(net.master_biases)
    passes = Passes(network, None, None, *masters, None, None, np.zeros(1, np.uint64))
    shift = net._average_shift("batch_size", batch_size)

    def add(layer: int, kind: str, *tensors: Array) -> None:
        for tensor in tensors:
            seen.setdefault((layer, kind), _Magnitudes()).add(tensor)

    for start in range(0, len(rows), batch_size):
        here = rows[start : start + batch_size]
        batch = passes.both(x[here], y[here], shift)
        add(0, "input", x[here])
        for i, (z, a) in enumerate(batch.tape):
            add(i + 1, "activation", z, a)
            add(i + 1, "delta", batch.deltas[i])
            add(i + 1, "gradient", batch.weights[i].s)
            if network.bias:
                add(i + 1, "gradient", batch.biases[i].s)
            if i + 1 < len(network.layers):
                add(i + 1, "delta", batch.deltas[i + 1] @ net.master_weights[i + 1])
        add(len(network.layers), "activation", y[here])
    states = {"weight": [net.master_weights, net.master_biases]}
    if network.momentum_shift is not None:
        states["velocity"] = [net.velocities, net.bias_velocities]
    for kind, groups in states.items():
        for tensors in groups:
            for i, tensor in enumerate(tensors):
                add(i + 1, kind, tensor)


def _format(layer: int, kind: str, magnitude: float, bits: int, rounding: Rounding) -> QFormat:
    """Return the format of `bits` with the widest fraction that holds a magnitude."""
    if magnitude == 0:
        return QFormat(bits, bits - 1, rounding)
    frac = bits - 1 - int(np.frexp(magnitude)[1])
    if np.rint(np.ldexp(magnitude, frac)) > 2 ** (bits - 1) - 1:
        frac -= 1
    if frac < 0:
        raise ValueError(
            f"bits must be at least {bits - frac} for {kind} of layer {layer}, whose values reach "
            f"{magnitude:.3g}, got {bits}"
        )
    return QFormat(bits, min(frac, 63), rounding)


def _suggest(
    net: MLP,
    seen: Mapping[tuple[int, str], _Magnitudes],
    widths: Mapping[str, int],
    clip: float,
    rounding: Rounding,
) -> FormatSuggestion:
    ranges = []
    for (layer, kind), magnitudes in sorted(seen.items(), key=lambda item: _place(item[0])):
        kept = magnitudes.exceeded_by(clip)
        width = widths["activation" if kind == "input" else kind]
        fmt = _format(layer, kind, kept, width, rounding)
        lost = magnitudes.share_below(-fmt.frac - 1)
        median = magnitudes.median()
        ranges.append(TensorRange(layer, kind, magnitudes.largest, kept, median, fmt, lost))
    found = {(r.layer, r.tensor): r.fmt for r in ranges}
    formats = tuple(
        LayerFormats(**{kind: found[i, kind] for kind in KINDS if (i, kind) in found})
        for i in range(1, len(net.network.layers) + 1)
    )
    return FormatSuggestion(found[0, "input"], formats, tuple(ranges))


def _place(key: tuple[int, str]) -> tuple[int, int]:
    layer, kind = key
    return layer, -1 if kind == "input" else KINDS.index(kind)
