"""What a network is: its layers, their formats and functions, and how it trains.

`Network` is the one descriptor that goes through every backend. A feature adds a field to it,
here and in `src/intmlp.h`, not an argument to every function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._check import choice, instance, integer
from ..qformat import Accumulator, QFormat
from .tables import activation_table, exp_table

Part = Literal["fixed", "float"]
Loss = Literal["sse", "half_sse", "cross_entropy"]
Update = Literal["fused", "two_step"]

LOSSES = ("sse", "half_sse", "cross_entropy")
UPDATES = ("fused", "two_step")

# What is served by tables of an activation format, and the most bits that it may have.
_TABULATED = ("sigmoid", "tanh")
_TABLE_BITS = 16


@dataclass(frozen=True)
class LayerFormats:
    """The formats of a layer's kinds of tensor.

    Parameters
    ----------
    activation : QFormat
        Pre-activation ``Z`` and activation ``A``; for the last layer the targets too.
    weight : QFormat
        Weights and biases.
    delta : QFormat
        ``E``, the error that arrives from the layer above, and the delta ``D``.
    gradient : QFormat
        ``gW`` and ``gb`` where they are stored (``two_step`` updates, ``MLP.gradient``).
    velocity : QFormat, optional
        Velocities of weights and biases, with momentum; default: the gradient format.

    Examples
    --------
    >>> from intmlp import LayerFormats, QFormat
    >>> narrow, wide = QFormat(8, 4), QFormat(16, 12)
    >>> LayerFormats(activation=narrow, weight=wide, delta=narrow, gradient=wide).weight.bits
    16
    """

    activation: QFormat
    weight: QFormat
    delta: QFormat
    gradient: QFormat
    velocity: QFormat | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name != "velocity" or self.velocity is not None:
                instance(field.name, getattr(self, field.name), QFormat)


@dataclass(frozen=True)
class Parts:
    """Which parts of training compute in fixed point, and which in float64.

    Parameters
    ----------
    forward, backward, update : {"fixed", "float"}
        See docs/numerics.md, section 7.

    Examples
    --------
    >>> from intmlp import Parts
    >>> Parts(backward="float")
    Parts(forward='fixed', backward='float', update='fixed')
    """

    forward: Part = "fixed"
    backward: Part = "fixed"
    update: Part = "fixed"

    def __post_init__(self) -> None:
        for field in fields(self):
            choice(field.name, getattr(self, field.name), ("fixed", "float"))

    @property
    def any_fixed(self) -> bool:
        """Whether any part reads raw weights."""
        return "fixed" in (self.forward, self.backward, self.update)

    @property
    def any_pass_fixed(self) -> bool:
        """Whether activation formats have an effect."""
        return "fixed" in (self.forward, self.backward)


@dataclass(frozen=True)
class Activation:
    """An activation function; made by `linear`, `relu`, `leaky_relu`, `sigmoid` and so on."""

    kind: Literal["linear", "relu", "leaky_relu", "hard_tanh", "hard_sigmoid", "sigmoid", "tanh"]
    half_at_zero: bool = False
    slope_shift: int = 0

    def __post_init__(self) -> None:
        instance("half_at_zero", self.half_at_zero, bool)
        if self.half_at_zero and self.kind != "relu":
            raise ValueError(f"half_at_zero is for relu alone, got it with {self.kind}")
        shifts = (1, 63) if self.kind == "leaky_relu" else (0, 0)
        object.__setattr__(self, "slope_shift", integer("slope_shift", self.slope_shift, *shifts))


def linear() -> Activation:
    """Return the identity, ``f(z) = z``.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.linear().kind
    'linear'
    """
    return Activation("linear")


def relu(derivative_at_zero: float = 0) -> Activation:
    """Return ``f(z) = max(z, 0)``.

    Parameters
    ----------
    derivative_at_zero : {0, 0.5}
        The derivative where ``z == 0``; automatic differentiation takes 0.5.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.relu(derivative_at_zero=0.5).half_at_zero
    True
    """
    choice("derivative_at_zero", derivative_at_zero, (0, 0.5))
    return Activation("relu", half_at_zero=derivative_at_zero == 0.5)


def leaky_relu(slope_shift: int) -> Activation:
    """Return ``f(z) = z`` for ``z >= 0``, else ``z * 2**-slope_shift``.

    Parameters
    ----------
    slope_shift : int
        1..63.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.leaky_relu(3).slope_shift
    3
    """
    return Activation("leaky_relu", slope_shift=slope_shift)


def hard_tanh() -> Activation:
    """Return ``f(z) = z`` held to -1..1; its derivative is 1 inside, else 0.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([1, 1], intmlp.QFormat(8, 4), activation=intmlp.hard_tanh(), bias=False)
    >>> net.set_weights([[[1.0]]])
    >>> net.forward([[-2.0], [0.5], [2.0]]).ravel()
    array([-16,   8,  16], dtype=int32)
    """
    return Activation("hard_tanh")


def hard_sigmoid() -> Activation:
    """Return ``f(z) = (z + 2) / 4`` held to 0..1; its derivative is 1/4 inside, else 0.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([1, 1], intmlp.QFormat(8, 4), activation=intmlp.hard_sigmoid(), bias=False)
    >>> net.set_weights([[[1.0]]])
    >>> net.forward([[-2.0], [0.5], [2.0]]).ravel()
    array([ 0, 10, 16], dtype=int32)
    """
    return Activation("hard_sigmoid")


def sigmoid() -> Activation:
    """Return ``f(z) = 1 / (1 + exp(-z))``, correctly rounded.

    In fixed point it needs an activation format of at most 16 bits that does not round
    stochastically.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([1, 1], intmlp.QFormat(8, 4), activation=intmlp.sigmoid(), bias=False)
    >>> net.set_weights([[[1.0]]])
    >>> net.forward([[-2.0], [0.5], [2.0]]).ravel()
    array([ 2, 10, 14], dtype=int32)
    """
    return Activation("sigmoid")


def tanh() -> Activation:
    """Return ``f(z) = tanh(z)``, correctly rounded.

    In fixed point it needs an activation format of at most 16 bits that does not round
    stochastically.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([1, 1], intmlp.QFormat(8, 4), activation=intmlp.tanh(), bias=False)
    >>> net.set_weights([[[1.0]]])
    >>> net.forward([[-2.0], [0.5], [2.0]]).ravel()
    array([-15,   7,  15], dtype=int32)
    """
    return Activation("tanh")


@dataclass(frozen=True)
class Layer:
    """One layer: ``n_in`` inputs, ``n_out`` outputs, its formats and its activation."""

    n_in: int
    n_out: int
    formats: LayerFormats
    activation: Activation

    @property
    def velocity(self) -> QFormat:
        """The format of its velocities."""
        return self.formats.velocity or self.formats.gradient

    @property
    def table(self) -> NDArray[np.int16] | None:
        """A of each raw Z, the lowest first, in fixed point; None where f is computed."""
        if self.activation.kind not in _TABULATED:
            return None
        return activation_table(self.activation.kind, self.formats.activation)


@dataclass(frozen=True)
class Network:
    """The descriptor of a network; every backend computes from it alone."""

    input: QFormat
    layers: tuple[Layer, ...]
    bias: bool
    loss: Loss
    update: Update
    parts: Parts
    accumulator: Accumulator | None = None
    momentum_shift: int | None = None
    decay_shift: int | None = None
    rounding_seed: int = 0

    @property
    def has_optimiser(self) -> bool:
        """Whether steps are more than gradients times the learning rate."""
        return self.momentum_shift is not None or self.decay_shift is not None

    @property
    def exps(self) -> NDArray[np.int32] | None:
        """``2**30 * exp`` of minus each raw difference of outputs, up to where it is 0.

        None where the loss needs none, or where no pass is fixed.
        """
        if self.loss != "cross_entropy" or not self.parts.any_pass_fixed:
            return None
        fmt = self.layers[-1].formats.activation
        return exp_table(fmt.bits, fmt.frac)

    def roundings(
        self, real_inputs: bool, real_targets: bool, backward: bool
    ) -> Iterator[tuple[str, QFormat]]:
        """Yield the name and the format of all that a forward pass, or a gradient, rounds."""
        fixed_backward = backward and self.parts.backward == "fixed"
        if self.parts.forward == "float" and not fixed_backward:
            return
        if real_inputs:
            yield "x", self.input
        if real_targets and fixed_backward:
            yield "y", self.layers[-1].formats.activation
        for number, layer in enumerate(self.layers, 1):
            yield f"Z of layer {number}", layer.formats.activation
            if fixed_backward:
                yield f"D of layer {number}", layer.formats.delta
                yield f"the gradient of layer {number}", layer.formats.gradient


@dataclass(frozen=True)
class Tensor:
    """A tensor that a network keeps: its name, its shape, and its format, None for float64."""

    layer: int
    kind: str
    shape: tuple[int, ...]
    fmt: QFormat | None

    @property
    def name(self) -> str:
        """What it is called in a file; layers count from 1."""
        return f"layers.{self.layer}.{self.kind}"

    @property
    def dtype(self) -> np.dtype:
        """Dtype of its array."""
        return np.dtype(np.float64) if self.fmt is None else self.fmt.dtype


def tensors(network: Network) -> Iterator[Tensor]:
    """Yield the tensors that a network keeps and training changes, layer by layer."""
    for number, layer in enumerate(network.layers, 1):
        shapes: dict[str, tuple[int, ...]] = {"weight": (layer.n_out, layer.n_in)}
        if network.bias:
            shapes["bias"] = (layer.n_out,)
        for kind, shape in shapes.items():
            if network.parts.any_fixed:
                yield Tensor(number, kind, shape, layer.formats.weight)
            if network.parts.update == "float":
                yield Tensor(number, f"master_{kind}", shape, None)
            if network.momentum_shift is not None:
                fmt = layer.velocity if network.parts.update == "fixed" else None
                yield Tensor(number, f"{kind}_velocity", shape, fmt)


def describe(
    sizes: Sequence[int],
    formats: QFormat | LayerFormats | Sequence[LayerFormats],
    input_format: QFormat | None,
    activation: Activation | Sequence[Activation],
    bias: bool,
    loss: Loss,
    update: Update,
    parts: Parts,
    accumulator: Accumulator | None,
    momentum_shift: int | None,
    decay_shift: int | None,
    rounding_seed: int,
) -> Network:
    """Check the arguments of `MLP` and return its descriptor.

    Parameters are those of `MLP`, which documents them.
    """
    sizes = [integer(f"sizes[{i}]", n, 1, 2**31 - 1) for i, n in enumerate(sizes)]
    if len(sizes) < 2:
        raise ValueError(f"sizes must have at least 2 entries, got {len(sizes)}")
    count = len(sizes) - 1
    if isinstance(formats, QFormat):
        formats = LayerFormats(formats, formats, formats, formats)
    each_formats = _per_layer("formats", formats, LayerFormats, count)
    each_activation = _per_layer("activation", activation, Activation, count)
    if input_format is None:
        input_format = each_formats[0].activation
    instance("input_format", input_format, QFormat)
    instance("bias", bias, bool)
    instance("parts", parts, Parts)
    if accumulator is not None:
        instance("accumulator", accumulator, Accumulator)
    choice("loss", loss, LOSSES)
    choice("update", update, UPDATES)
    if momentum_shift is not None:
        momentum_shift = integer("momentum_shift", momentum_shift, 1, 31)
    if decay_shift is not None:
        decay_shift = integer("decay_shift", decay_shift, 0, 63)
    layers = tuple(
        Layer(n_in, n_out, layer_formats, layer_activation)
        for n_in, n_out, layer_formats, layer_activation in zip(
            sizes, sizes[1:], each_formats, each_activation, strict=False
        )
    )
    _check_tables(layers, loss, parts)
    rounding_seed = integer("rounding_seed", rounding_seed, 0, 2**64 - 1)
    return Network(
        input_format, layers, bias, loss, update, parts, accumulator, momentum_shift, decay_shift,
        rounding_seed,
    )  # fmt: skip


def _check_tables(layers: Sequence[Layer], loss: Loss, parts: Parts) -> None:
    """Raise where a function or the loss is to be served by a table that cannot be."""
    last = layers[-1].activation.kind
    if loss == "cross_entropy" and last != "linear":
        raise ValueError(
            f"activation of the last layer must be linear for loss 'cross_entropy', got {last}"
        )
    if not parts.any_pass_fixed:
        return
    for number, layer in enumerate(layers, 1):
        kind, fmt = layer.activation.kind, layer.formats.activation
        tabulated = kind in _TABULATED
        of_loss = loss == "cross_entropy" and number == len(layers)
        if (tabulated or of_loss) and fmt.bits > _TABLE_BITS:
            raise ValueError(
                f"the activation format of layer {number} must have at most {_TABLE_BITS} bits "
                f"for {kind if tabulated else loss}, got {fmt}"
            )
        if tabulated and fmt.rounding == "stochastic":
            raise ValueError(
                f"the activation format of layer {number} must have a deterministic rounding "
                f"for {kind}, got {fmt}"
            )


def _per_layer(name: str, value: object, kind: type, count: int) -> list:
    """Return `value` once per layer, or the sequence that it already is."""
    if isinstance(value, kind):
        return [value] * count
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(
            f"{name} must be one {kind.__name__} or a sequence of them, got {type(value).__name__}"
        )
    if len(value) != count:
        raise ValueError(f"{name} must have one entry per layer, {count}, got {len(value)}")
    for i, entry in enumerate(value):
        instance(f"{name}[{i}]", entry, kind)
    return list(value)
