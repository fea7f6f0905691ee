"""A network: its passes, its gradient and its training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..._counts import TENSORS, joined
from ...qformat import QFormat
from ...stream import Stream, tensor_number
from .arith import Array, enter, finite, real, round_raw, round_real, to_raw, to_real
from .layer import activate, delta, derivative, error, pre_activation
from .loss import count_right, loss_gradient, loss_value
from .observe import (
    Counts,
    count_delta,
    count_error,
    count_float_steps,
    count_integer_steps,
    count_pre_activation,
    count_values,
)
from .random import WORDLESS, Words
from .update import (
    Gradient,
    bias_gradient,
    decayed,
    float_step,
    float_velocity,
    kept_velocity,
    new_values,
    stored,
    weight_gradient,
)

if TYPE_CHECKING:
    from ...nn.network import Network

# Rows of a forward pass that are computed at once: bounds its memory.
_BLOCK = 1024

# How a part reads an array, raw or float, of a format.
_Read = Callable[[Array, QFormat, Words], Array]
_READ: dict[str, _Read] = {"fixed": to_raw, "float": to_real}


class _Batch(NamedTuple):
    """What a batch yields: right samples, loss, and the gradients of all layers' tensors.

    Beside these stands what they came from: A_0, (Z, A) and D of each layer, and the gradient
    of the loss.
    """

    right: int
    loss: float
    weights: list[Gradient]
    biases: list[Gradient]
    inputs: Array
    tape: list[tuple[Array, Array]]
    deltas: list[Array]
    loss_gradient: tuple[Array, int]


class _Made(NamedTuple):
    """What a step makes of the weights (`kind` 0) or the biases (1) of a layer.

    `gradient` is what the learning rate scales; `velocity` the new one, and `entering` the same
    rounded but not held to its format: None where there is none.
    """

    layer: int
    kind: int
    gradient: Gradient
    velocity: Array | None
    entering: Array | None


class Net:
    """A network on this backend; it reads and writes the arrays that it is given.

    Parameters
    ----------
    network : Network
        Its descriptor.
    weights, biases : list of int32 or int64 arrays, or None
        Raw, one array a layer; None where all parts are float.
    master_weights, master_biases : list of float64 arrays, or None
        None where the update is fixed. Where it is not, raw arrays hold the quantized master.
        Biases are None where the network has none.
    velocities, bias_velocities : list of arrays, or None
        Raw where the update is fixed, else float64; None without momentum.
    steps : uint64 array (1,)
        How many updates are done.
    """

    def __init__(
        self,
        network: Network,
        weights: list[Any] | None,
        biases: list[Any] | None,
        master_weights: list[Any] | None,
        master_biases: list[Any] | None,
        velocities: list[Any] | None,
        bias_velocities: list[Any] | None,
        steps: NDArray[np.uint64],
    ) -> None:
        none: list[Any] = [None] * len(network.layers)
        self._network = network
        self._steps = steps
        self._stream: Stream | None = None  # of the call, or the step, under way
        self._formats = [network.input, *(layer.formats.activation for layer in network.layers)]
        self._raw = weights or none, biases or none
        self._master = master_weights or none, master_biases or none
        self._velocities = velocities or none, bias_velocities or none
        # What float passes read: the master where the forward pass and the update are float.
        float_weights = network.parts.forward == network.parts.update == "float"
        self._real = self._master if float_weights else self._raw

    def weights_changed(self) -> None:
        """Do nothing: nothing is kept of the weights."""

    def takes_inputs(self, x: object) -> bool:
        """Leave all inputs to the checked way."""
        return False

    def takes_targets(self, y: object) -> bool:
        """Leave all targets to the checked way."""
        return False

    def forward(self, x: Array, stream: Stream | None = None) -> Array:
        """Return the output of the last layer, shape (n, n_out).

        It is raw where the forward pass is fixed, else float64; values that are not
        finite stay in it.
        """
        self._stream = stream
        fixed = self._network.parts.forward == "fixed"
        dtype = self._formats[-1].dtype if fixed else np.dtype(np.float64)
        out = np.empty((len(x), self._network.layers[-1].n_out), dtype)
        with np.errstate(all="ignore"):
            for start in range(0, len(x), _BLOCK):
                *_, (_, a) = self._layers(self._inputs(x[start : start + _BLOCK], start), start)
                out[start : start + _BLOCK] = a
        return out

    def gradient(
        self, x: Array, y: Array, average_shift: int, stream: Stream | None = None
    ) -> tuple[tuple[NDArray[Any], ...], tuple[NDArray[Any], ...]]:
        """Return (gW, gb) a layer: raw where the backward pass is fixed, else float64.

        gb is empty where there are no biases. FloatingPointError where a value that has
        to be stored or quantized is not finite.
        """
        self._stream = stream
        with np.errstate(all="ignore"):
            batch = self.both(x, y, average_shift)
        weights, biases = self._stored(batch.weights, "gW"), self._stored(batch.biases, "gb")
        return tuple(g.s for g in weights), tuple(g.s for g in biases)

    def trains_online(self, batch_size: int, count: int, shift: int) -> bool:
        """Return False: there is one path only."""
        return False

    def train(
        self,
        x: Array,
        y: Array,
        order: NDArray[np.int64],
        batch_size: int,
        first: int,
        count: int,
        lr_shift: int,
        average_shift: int,
        right: NDArray[np.int32] | None,
        loss: NDArray[np.float64] | None,
        counts: NDArray[np.uint64] | None = None,
        idle: NDArray[np.int64] | None = None,
        every: int = 1,
        before: int = 0,
        stop_on_overflow: bool = False,
        only_overflows: bool = False,
    ) -> int:
        """Do the steps ``first .. first + count - 1`` and return how many were done.

        Step ``s`` uses the rows ``order[s * batch_size : (s + 1) * batch_size]`` of `x` and
        `y`. Fewer than `count` steps were done where the next one diverged, which changes
        nothing. `right[s]` gets the number of right samples and `loss[s]` the loss of each
        step done; `counts` and `idle` are added to by steps whose number in the training, which
        had done `before` steps at step 0, is a multiple of `every`. With `stop_on_overflow` a step
        in which a value overflows is counted, but not done; `only_overflows` asks for less than
        is counted here. An interrupt leaves everything as it
        is between two steps.
        """
        with np.errstate(all="ignore"):
            for step in range(first, first + count):
                done = int(self._steps[0])
                self._stream = Stream(self._network.rounding_seed, done)
                rows = order[step * batch_size : (step + 1) * batch_size]
                try:
                    batch = self.both(x[rows], y[rows], average_shift)
                    steps = [*self._made(batch, 0), *self._made(batch, 1)]
                    writes = [write for made in steps for write in self._update(made, lr_shift)]
                    if counts is not None and idle is not None and (before + step) % every == 0:
                        seen, idle_now = self._observe(batch, steps, lr_shift, idle)
                        counted = [(counts[i], joined(counts[i], row)) for i, row in seen.items()]
                        if stop_on_overflow and any(row.get("overflows") for row in seen.values()):
                            _write(counted)
                            return step - first
                        writes += counted + idle_now
                except FloatingPointError:
                    return step - first
                writes.append((self._steps, done + 1))
                if right is not None:
                    writes.append((right[step : step + 1], batch.right))
                if loss is not None:
                    writes.append((loss[step : step + 1], batch.loss))
                try:
                    _write(writes)
                except KeyboardInterrupt:
                    _write(writes)  # all of it, from the start
                    raise
        return count

    def _words(self, number: int, role: str, first: int = 0) -> Words:
        """Return the random words of a tensor of layer `number`, 0 for the inputs."""
        if self._stream is None:
            return WORDLESS
        tensor = tensor_number(number, role)
        return Words(Stream(self._stream.seed, self._stream.step, tensor), first)

    def _inputs(self, x: Array, first_row: int = 0) -> Array:
        """Return the inputs as the passes read them: raw where the forward pass is fixed."""
        if self._network.parts.forward == "float":
            return x
        return to_raw(x, self._formats[0], self._words(0, "source", first_row * x.shape[1]))

    def _parameters(self, i: int, read: _Read) -> tuple[Array, Array | None]:
        """Return W and b of layer `i` as a part reads them; a master is quantized already."""
        fmt = self._network.layers[i].formats.weight
        weights, biases = self._raw if read is to_raw else self._real
        w, bias = read(weights[i], fmt, WORDLESS), biases[i]
        return w, None if bias is None else read(bias, fmt, WORDLESS)

    def _layers(self, inputs: Array, first_row: int = 0) -> Iterator[tuple[Array, Array]]:
        """Yield Z and A of each layer, in the arithmetic of the forward pass."""
        read = _READ[self._network.parts.forward]
        a = read(inputs, self._formats[0], WORDLESS)
        for i, layer in enumerate(self._network.layers):
            w, b = self._parameters(i, read)
            sums_in, first = self._network.accumulator, first_row * layer.n_out
            words = self._words(i + 1, "Z", first)
            z = pre_activation(layer, self._formats[i], a, w, b, sums_in, words)
            a = activate(layer, z, self._words(i + 1, "A", first))
            yield z, a

    def both(self, x: Array, y: Array, average_shift: int) -> _Batch:
        """Return both passes; FloatingPointError where a value to be kept is not finite."""
        network, formats = self._network, self._formats
        inputs = self._inputs(x)
        tape = [(finite(z), finite(a)) for z, a in self._layers(inputs)]
        last = len(network.layers)
        of_targets = self._words(last, "source")
        outputs, targets = tape[-1][1], _READ[network.parts.forward](y, formats[-1], of_targets)
        right = count_right(outputs, targets)
        loss = loss_value(network, outputs, targets)

        read = _READ[network.parts.backward]
        outputs = read(outputs, formats[-1], self._words(last, "A"))
        targets = read(y, formats[-1], of_targets)
        e, frac = of_loss = loss_gradient(network, outputs, targets)
        weights, biases, deltas = [], [], []
        for i in reversed(range(len(network.layers))):
            layer, below = network.layers[i], formats[i]
            z, a = self._read_tape(i, tape)
            d = finite(delta(layer, z, a, e, frac, self._words(i + 1, "D")))
            deltas.append(d)
            a = read(tape[i - 1][1] if i else inputs, below, self._words(i, "A" if i else "source"))
            sums_in = network.accumulator
            weights.append(weight_gradient(layer, below, d, a, average_shift, sums_in))
            if network.bias:
                biases.append(bias_gradient(layer, d, average_shift, sums_in))
            if i:
                w, _ = self._parameters(i, read)
                fmt = network.layers[i - 1].formats.delta
                words = self._words(i, "E")
                e, frac = finite(error(layer, d, w, fmt, sums_in, words)), fmt.frac
        return _Batch(right, loss, weights[::-1], biases[::-1], inputs, tape, deltas[::-1], of_loss)

    def _read_tape(self, i: int, tape: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        """Return Z and A of layer `i` as the backward pass reads them."""
        read, fmt, (z, a) = _READ[self._network.parts.backward], self._formats[i + 1], tape[i]
        of_z, of_a = self._words(i + 1, "Z"), self._words(i + 1, "A")
        return read(z, fmt, of_z), read(a, fmt, of_a)

    def _made(self, batch: _Batch, kind: int) -> Iterator[_Made]:
        """Yield what a step makes of the weights (`kind` 0) or the biases (1), layer by layer."""
        network = self._network
        for i, gradient in enumerate(
            self._used((batch.weights, batch.biases)[kind], ("gW", "gb")[kind])
        ):
            layer = network.layers[i]
            raw, master, v = (each[kind][i] for each in (self._raw, self._master, self._velocities))
            is_float = gradient.s.dtype.kind == "f" or master is not None
            velocity = entering = None
            if network.momentum_shift is not None:
                fmt = layer.velocity
                if is_float:
                    v = v if master is not None else real(v, fmt.frac)
                    gradient = float_velocity(v, gradient, network.momentum_shift)
                else:
                    gradient = kept_velocity(v, gradient, network.momentum_shift, fmt)
                velocity = gradient.s
                if master is None:
                    words = self._words(i + 1, ("V_W", "V_b")[kind])
                    if is_float:
                        rounded = round_real(velocity, fmt, words)
                    else:
                        rounded = round_raw(*gradient, fmt, words)
                    entering, velocity = rounded, enter(rounded, fmt)
                    gradient = Gradient(velocity, fmt.frac)
                    if is_float:
                        gradient = Gradient(real(*gradient), 0)
            if network.decay_shift is not None and kind == 0:
                fmt = layer.formats.weight
                gradient = decayed(gradient, raw, master, network.decay_shift, fmt)
            yield _Made(i, kind, gradient, velocity, entering)

    def _update(self, made: _Made, lr_shift: int) -> list[tuple[Array, Any]]:
        """Return (array, its new values) for one tensor of one layer, and its velocity."""
        i, kind = made.layer, made.kind
        fmt = self._network.layers[i].formats.weight
        raw, master = self._raw[kind][i], self._master[kind][i]
        words = self._words_of_update(i, "Wb"[kind])
        writes = new_values(raw, master, made.gradient, lr_shift, fmt, words)
        if made.velocity is not None:
            writes.append((self._velocities[kind][i], made.velocity))
        return writes

    def _words_of_update(self, i: int, name: str) -> Words:
        """Return the words of the new master of `W` or `b` of layer `i`, or of its step."""
        words = self._words(i + 1, f"step_{name}")
        if self._network.parts.update == "fixed":
            return words
        step = words.stream.step + 1
        return Words(replace(words.stream, step=step, tensor=tensor_number(i + 1, f"real_{name}")))

    def _used(self, gradients: list[Gradient], role: str) -> list[Gradient]:
        """Return the gradients as the update reads them: exact, or stored."""
        return gradients if self._network.update == "fused" else self._stored(gradients, role)

    def _stored(self, gradients: list[Gradient], role: str) -> list[Gradient]:
        """Return the gradients of weights or biases as they are stored."""
        layers = self._network.layers
        return [
            stored(g, layer.formats.gradient, self._words(i, role))
            for i, (g, layer) in enumerate(zip(gradients, layers, strict=False), 1)
        ]

    def _observe(
        self, batch: _Batch, steps: list[_Made], lr_shift: int, idle: NDArray[np.int64]
    ) -> tuple[dict[int, Counts], list[tuple[Array, Any]]]:
        """Return what is to be added to each row of counts, and the new values of `idle`."""
        network = self._network
        seen: dict[tuple[int, str], Counts] = {}
        writes: list[tuple[Array, Any]] = []
        above = 0
        for i, layer in enumerate(network.layers):
            z, active = self._observe_units(i, batch)
            seen[i, "Z"] = z
            if layer.activation.kind == "relu":
                here = slice(above, above + layer.n_out)
                writes.append((idle[here], np.where(active, 0, idle[here] + 1)))
            above += layer.n_out
            if network.parts.backward == "fixed":
                seen |= self._observe_deltas(i, batch)
        for made in steps:
            i, name = made.layer, "Wb"[made.kind]
            raw, master = self._raw[made.kind][i], self._master[made.kind][i]
            layer, gradient = network.layers[i], made.gradient
            fmt, words = layer.formats.weight, self._words_of_update(i, name)
            if made.entering is not None:
                seen[i, f"V{name}"] = count_values(made.entering, layer.velocity)
            if gradient.s.dtype.kind == "f" or master is not None:
                step = float_step(gradient, lr_shift)
                seen[i, name] = count_float_steps(raw, master, step, lr_shift, fmt, words)
            else:
                seen[i, name] = count_integer_steps(
                    raw, *gradient, lr_shift, fmt, words, network.has_optimiser
                )
        rows = {len(TENSORS) * i + TENSORS.index(name): row for (i, name), row in seen.items()}
        return rows, writes

    def _observe_units(self, i: int, batch: _Batch) -> tuple[Counts, Array]:
        """Return the counts of Z of layer `i`, and which of its units were active."""
        layer, fmt, parts = self._network.layers[i], self._formats[i + 1], self._network.parts
        z, words = batch.tape[i][0], self._words(i + 1, "Z")
        counts: Counts = {"entries": z.size}
        if parts.forward == "fixed":
            a = batch.tape[i - 1][1] if i else batch.inputs
            w, b = self._parameters(i, to_raw)
            sums_in = self._network.accumulator
            counts = count_pre_activation(layer, self._formats[i], a, w, b, sums_in, words)
        elif parts.backward == "fixed":
            counts = count_values(round_real(z, fmt, words), fmt)
        if layer.activation.kind != "relu":
            return counts, np.ones(layer.n_out, bool)
        active = derivative(layer, *self._read_tape(i, batch.tape))[0] != 0
        counts["inactive"] = int(np.count_nonzero(~active))
        return counts, np.asarray(active.any(axis=0))

    def _observe_deltas(self, i: int, batch: _Batch) -> dict[tuple[int, str], Counts]:
        """Return the counts of E and D of layer `i` of a fixed backward pass."""
        layer, seen = self._network.layers[i], {}
        e, frac = batch.loss_gradient
        if i + 1 < len(self._network.layers):
            above, d = self._network.layers[i + 1], batch.deltas[i + 1]
            w, _ = self._parameters(i + 1, to_raw)
            fmt, sums_in, words = (
                layer.formats.delta,
                self._network.accumulator,
                self._words(i + 1, "E"),
            )
            seen[i, "E"] = count_error(above, d, w, fmt, sums_in, words)
            e, frac = error(above, d, w, fmt, sums_in, words), fmt.frac
        z, a = self._read_tape(i, batch.tape)
        seen[i, "D"] = count_delta(layer, z, a, e, frac, self._words(i + 1, "D"))
        return seen


def _write(writes: list[tuple[Array, Any]]) -> None:
    """Write new values in place; doing it again does no harm."""
    for target, values in writes:
        target[...] = values
