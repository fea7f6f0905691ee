"""The multilayer perceptron: forward, gradient, step and train."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _backend
from .._check import choice, finite, instance, integer, shift, within
from .._locks import new_lock
from ..ops import dequantize, quantize
from ..qformat import Accumulator, QFormat
from ..stream import MOST_STEPS, Stream, check_stream, tensor_number
from .initialisation import Initialisation, uniform
from .network import (
    Activation,
    LayerFormats,
    Loss,
    Network,
    Parts,
    Update,
    describe,
    relu,
    tensors,
)
from .observation import Observation, Tally, raise_overflow, warn_of_overflows

Array = NDArray[Any]

# A training loop comes back to Python about this often, for Ctrl-C and the progress callback.
_SECONDS_PER_CALL = 0.05

# What `overflow` of `MLP.train` may be, and which steps each counts; the others follow `observe`.
_EVERY = {"warn": 64, "sample": 64, "count": 1, "raise": 1, "ignore": 1}


@dataclass(frozen=True)
class Gradient:
    """The gradient of a batch, layer by layer.

    Attributes
    ----------
    weights, biases : tuple of ndarray
        Of shapes (n_out, n_in) and (n_out,): raw in the gradient format where the backward
        pass is fixed, else float64. `biases` is empty for a network without.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]


@dataclass(frozen=True)
class Step:
    """What one step saw before its update.

    Attributes
    ----------
    right : int
        Number of samples whose first arg-max was the target's.
    loss : float
        The batch's summed loss.
    diverged : bool
        Whether a value was not finite; then nothing was changed, and nothing counts as right.
    """

    right: int
    loss: float
    diverged: bool


@dataclass(frozen=True)
class History:
    """What a training saw, step by step.

    Attributes
    ----------
    steps : int
        Number of steps done.
    right : ndarray of int32, shape (steps asked for,), or None where no report was asked for
        Number of right samples of each step; 0 where a step was not done.
    loss : ndarray of float64, shape (steps asked for,), or None
        Summed loss of each step's batch; NaN where a step was not done.
    diverged_at : int or None
        The step that diverged, at which training stopped.
    observed : tuple of Observation, or None where it was not asked for
        What rounding and overflow did in the steps done, by layer and tensor.
    overflows : dict, or None where overflow was ignored
        The share of values outside their format, in the steps counted, by (layer, tensor).
    """

    steps: int
    right: NDArray[np.int32] | None
    loss: NDArray[np.float64] | None
    diverged_at: int | None
    observed: tuple[Observation, ...] | None = None
    overflows: dict[tuple[int, str], float] | None = None


@dataclass(frozen=True)
class Checked:
    """Inputs or targets of `MLP.train` for which the caller vouches: they need no check.

    Of many networks that train on one array, each would look at all of it anew, which takes as
    long as a good part of its training.
    """

    array: Array


class MLP:
    """A fixed-point multilayer perceptron, exact to the last integer.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer.
    formats : QFormat, LayerFormats, or a sequence with one LayerFormats a layer
        One format for every tensor, or one for each kind of tensor.
    input_format : QFormat, optional
        Activation format of the inputs; default: that of the first layer.
    activation : Activation, or a sequence with one a layer
        Made by `linear`, `relu`, `leaky_relu`, `hard_tanh`, `hard_sigmoid`, `sigmoid` or `tanh`.
    bias : bool
        Whether the layers have biases.
    loss : {"half_sse", "sse", "cross_entropy"}
        ``sum (a - y)**2 / 2``, ``sum (a - y)**2``, or ``sum -y * log(softmax(a))``. The last needs
        a linear last layer, with an activation format of at most 16 bits where a pass is fixed.
    update : {"fused", "two_step"}
        Whether a step shifts the exact product sum, or the stored gradient.
    average : bool
        Whether a batch's gradient is its mean; then batch sizes must be powers of two.
    momentum_shift : int, optional
        With it, 1..31, each weight and bias has a velocity, which keeps the share
        ``1 - 2**-momentum_shift`` of itself in a step.
    decay_shift : int, optional
        With it, 0..63, a step draws weights, but no biases, to zero by ``2**-decay_shift`` times
        the learning rate.
    parts : Parts
        Which parts of training compute in float64.
    accumulator : Accumulator, optional
        In which the fixed parts add up sums of products; by default their sums are exact.
    init : Initialisation
        Made by `uniform` or `normal`.
    seed : int or numpy.random.RandomState
        Seed of the initial values, 0..2**32 - 1, or the state to draw them from.
    rounding_seed : int
        Seed of stochastic rounding in training, 0..2**64 - 1; other roundings read none.

    Attributes
    ----------
    network : Network
        The descriptor: layers, formats, parts.
    steps : int
        Number of updates done so far.

    Notes
    -----
    Source: docs/numerics.md, sections 3 to 7.

    Networks train side by side in threads. Calls on one network from several threads take turns,
    those of `train` for some steps at a time: two trainings of one network mix, in whole steps. A
    fork waits for the step under way, so that the child has the network as it is after it.

    Inputs ``x`` (n, n_in) and targets ``y`` (n, n_out) are either float32 or float64, real
    values which enter their formats, or raw integers, which must have the format's own dtype
    and lie in the format.

    Examples
    --------
    >>> import numpy as np
    >>> import intmlp
    >>> net = intmlp.MLP([2, 8, 1], intmlp.QFormat(16, 10), seed=1)
    >>> x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([[0.0], [1.0], [1.0], [0.0]])
    >>> history = net.train(x, y, lr_shift=2, epochs=200)
    >>> bool(history.loss[-4:].sum() < history.loss[:4].sum())
    True
    >>> net.weights[0].dtype, net.weights[0].flags.writeable
    (dtype('int32'), False)
    """

    network: Network

    def __init__(
        self,
        sizes: Sequence[int],
        formats: QFormat | LayerFormats | Sequence[LayerFormats],
        *,
        input_format: QFormat | None = None,
        activation: Activation | Sequence[Activation] = relu(),  # noqa: B008 (immutable)
        bias: bool = True,
        loss: Loss = "half_sse",
        update: Update = "fused",
        average: bool = False,
        momentum_shift: int | None = None,
        decay_shift: int | None = None,
        parts: Parts = Parts(),  # noqa: B008 (immutable)
        accumulator: Accumulator | None = None,
        init: Initialisation = uniform(),  # noqa: B008 (immutable)
        seed: int | np.random.RandomState = 0,
        rounding_seed: int = 0,
    ) -> None:
        instance("average", average, bool)
        instance("init", init, Initialisation)
        network = describe(
            sizes, formats, input_format, activation, bias, loss, update, parts, accumulator,
            momentum_shift, decay_shift, rounding_seed,
        )  # fmt: skip
        self._set_up(network, average)
        self._initialise(init, _random_state(seed))
        self._bind()

    # Parameters ---------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Number of updates done so far, the step of the random numbers of the next one."""
        return int(self._steps[0])

    @property
    def weights(self) -> tuple[Array, ...]:
        """Raw weights, a read-only view (n_out, n_in) a layer; absent where all is float."""
        return _views("weights", self._weights, "all parts are float: see master_weights")

    @property
    def biases(self) -> tuple[Array, ...]:
        """Raw biases, a read-only view (n_out,) a layer; empty for a network without."""
        return _views("biases", self._biases, "all parts are float: see master_biases")

    @property
    def master_weights(self) -> tuple[Array, ...]:
        """Float64 weights of a float update, read-only views; absent where it is fixed."""
        return _views("master_weights", self._master_weights, "the update is fixed: see weights")

    @property
    def master_biases(self) -> tuple[Array, ...]:
        """Float64 biases of a float update, read-only views; absent where it is fixed."""
        return _views("master_biases", self._master_biases, "the update is fixed: see biases")

    @property
    def velocities(self) -> tuple[Array, ...]:
        """Velocities of the weights, a read-only view (n_out, n_in) a layer.

        Raw in the velocity format where the update is fixed, else float64; absent without momentum.
        """
        return _views("velocities", self._velocities, "momentum_shift is None")

    @property
    def bias_velocities(self) -> tuple[Array, ...]:
        """Velocities of the biases, a read-only view (n_out,) a layer; empty without biases."""
        return _views("bias_velocities", self._bias_velocities, "momentum_shift is None")

    def set_weights(
        self, weights: Sequence[ArrayLike], biases: Sequence[ArrayLike] | None = None
    ) -> None:
        """Set all weights and biases, and all velocities to 0; the one way to do so.

        Parameters
        ----------
        weights : sequence of array_like, one (n_out, n_in) a layer
        biases : sequence of array_like, one (n_out,) a layer
            Due exactly where the network has biases. Float arrays hold real values, which
            enter the weight format; integer arrays hold raw values of it.

        Raises
        ------
        TypeError, ValueError
            Where an array has the wrong count, shape, dtype or range. Nothing is set then.

        Examples
        --------
        >>> import numpy as np
        >>> import intmlp
        >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4), bias=False)
        >>> net.set_weights([np.array([[0.5, -1.0]])])
        >>> net.weights[0]
        array([[  8, -16]], dtype=int32)
        """
        if (biases is not None) != self.network.bias:
            wanted = "given" if self.network.bias else "None"
            raise TypeError(f"biases must be {wanted}: the network has bias={self.network.bias}")
        pairs = [("weights", weights)] + ([] if biases is None else [("biases", biases)])
        checked = []
        for name, arrays in pairs:
            if len(arrays) != len(self.network.layers):
                raise ValueError(
                    f"{name} must have one array per layer, {len(self.network.layers)}, "
                    f"got {len(arrays)}"
                )
            for i, (array, layer) in enumerate(zip(arrays, self.network.layers, strict=True)):
                shape = (layer.n_out, layer.n_in) if name == "weights" else (layer.n_out,)
                value = _real_or_raw(f"{name}[{i}]", array, shape, layer.formats.weight)
                checked.append((name, i, value))
        with self._lock:
            self._net.weights_changed()
            for name, i, value in checked:
                self._store(name, i, value)
            for velocity in (*(self._velocities or ()), *(self._bias_velocities or ())):
                velocity[...] = 0

    def _set_up(self, network: Network, average: bool, steps: int = 0) -> None:
        """Make what `__init__` and `load` fill: the arrays, raw, master, or both; velocities."""
        self.network = network
        self._average = average
        self._steps = np.array([steps], np.uint64)  # the backend counts in it
        rounded = network.roundings(True, True, True)
        self._is_stochastic = any(fmt.is_stochastic for _, fmt in rounded)

        def arrays(kind: str) -> list[Array]:
            return [np.zeros(t.shape, t.dtype) for t in tensors(self.network) if t.kind == kind]

        parts = self.network.parts
        raw, master = parts.any_fixed, parts.update == "float"
        self._weights = arrays("weight") if raw else None
        self._biases = arrays("bias") if raw else None
        self._master_weights = arrays("master_weight") if master else None
        self._master_biases = arrays("master_bias") if master else None
        moves = self.network.momentum_shift is not None
        self._velocities = arrays("weight_velocity") if moves else None
        self._bias_velocities = arrays("bias_velocity") if moves else None

    def _arrays(self) -> dict[str, Array]:
        """Return all arrays of `tensors`, by name."""
        kinds = {
            "weight": self._weights,
            "bias": self._biases,
            "master_weight": self._master_weights,
            "master_bias": self._master_biases,
            "weight_velocity": self._velocities,
            "bias_velocity": self._bias_velocities,
        }
        return {
            tensor.name: cast(list[Array], kinds[tensor.kind])[tensor.layer - 1]
            for tensor in tensors(self.network)
        }

    def _initialise(self, init: Initialisation, state: np.random.RandomState) -> None:
        """Draw the initial values layer by layer, weights before biases."""
        for i, layer in enumerate(self.network.layers):
            fmt = layer.formats.weight
            for name, shape in (("weights", (layer.n_out, layer.n_in)), ("biases", (layer.n_out,))):
                if name == "biases" and not self.network.bias:
                    continue
                value = init.draw(state, shape, layer.n_in)
                if init.unit == "raw":  # an integer; read as a real value it stays exact
                    value = value * 2.0**-fmt.frac
                self._store(name, i, value)

    def _store(self, name: str, i: int, value: Array) -> None:
        """Write one tensor, real or raw, into the arrays that hold it.

        With a float update the raw weights are always the quantized master, also where float64
        rounds the raw value of a wide format.
        """
        fmt = self.network.layers[i].formats.weight
        held, master = getattr(self, f"_{name}"), getattr(self, f"_master_{name}")
        if master is not None:
            value = value if value.dtype.kind == "f" else dequantize(value, fmt)
            master[i][...] = value
        if held is not None:
            tensor = tensor_number(i + 1, "real_W" if name == "weights" else "real_b")
            stream = Stream(self.network.rounding_seed, self.steps, tensor)
            held[i][...] = quantize(value, fmt, stream=stream) if value.dtype.kind == "f" else value

    # Files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to a file, from which `load` goes on to the last bit.

        The file holds all that the network is: descriptor, weights, biases and what its training
        keeps besides. It is written whole or not at all; one that exists is replaced.

        Parameters
        ----------
        path : path-like
            A file in an existing folder, by custom ``.safetensors``.

        Raises
        ------
        OSError
            Where the file cannot be written; one that exists stays as it was.

        Notes
        -----
        The order of a shuffled training comes from the `RandomState` that its caller owns.
        Source: docs/model_files.md.

        Examples
        --------
        >>> import os, tempfile
        >>> import intmlp
        >>> net = intmlp.MLP([2, 3, 1], intmlp.QFormat(8, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "net.safetensors")
        ...     net.save(path)
        ...     again = intmlp.MLP.load(path)
        >>> again.network == net.network
        True
        """
        from ..io import model  # with safetensors, whose import takes a while

        with self._lock:
            model.write(path, model.State(self.network, self._average, self.steps), self._arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MLP:
        """Return the network that `save` wrote; no code of the file is run.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            Where the file cannot be read.
        ValueError
            Where it is damaged, does not describe a network, holds what its formats do not, or was
            written for another `arithmetic_version`. The error names path and reason.

        Notes
        -----
        `intmlp.io.model.read` gives the arrays of a file without a copy.

        Examples
        --------
        See `save`.
        """
        from ..io import model

        state, arrays = model.read(path)
        net = cls.__new__(cls)
        net._set_up(state.network, state.average, state.steps)
        for name, array in net._arrays().items():
            array[...] = arrays[name]
        net._bind()
        return net

    # Computation --------------------------------------------------------------------------

    def forward(self, x: ArrayLike, *, stream: Stream | None = None) -> Array:
        """Return the output of the last layer.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
            Real values or raw integers of the input format; n may be 0.
        stream : Stream, optional
            Random numbers, due where a tensor of the pass has a stochastic format; others read
            none. Its `tensor` is 0: the tensors of a network have numbers of their own.

        Returns
        -------
        ndarray, shape (n, n_out)
            Raw in the last layer's activation format, or float64 for a float forward pass.

        Examples
        --------
        >>> import intmlp
        >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4), bias=False)
        >>> net.set_weights([[[0.5, 1.0]]])
        >>> net.forward([[1.0, 2.0]])
        array([[40]], dtype=int32)
        """
        inputs = self._inputs(x)
        self._check_stream(stream, inputs, None)
        with self._lock:
            return self._net.forward(inputs, stream)

    def gradient(self, x: ArrayLike, y: ArrayLike, *, stream: Stream | None = None) -> Gradient:
        """Return the gradient of the loss over a batch; nothing is updated.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        y : array_like, shape (n, n_out)
            Real values or raw integers, n at least 1.
        stream : Stream, optional
            Random numbers, due where a tensor of the passes or a gradient has a stochastic format;
            that of the next step is ``Stream(rounding_seed, net.steps)``.

        Returns
        -------
        Gradient
            Raw in the gradient formats, or float64 for a float backward pass.

        Raises
        ------
        FloatingPointError
            Where a float value that must be stored or quantized is not finite.

        Examples
        --------
        >>> import intmlp
        >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4), bias=False)
        >>> net.set_weights([[[0.5, 1.0]]])
        >>> net.gradient([[1.0, 2.0]], [[2.0]]).weights
        (array([[ 8, 16]], dtype=int32),)
        """
        inputs, targets = self._batch(x, y)
        average_shift = self._average_shift("the number of samples in x", len(inputs))
        self._check_stream(stream, inputs, targets)
        with self._lock:
            weights, biases = self._net.gradient(inputs, targets, average_shift, stream)
        return Gradient(weights, biases)

    def step(self, x: ArrayLike, y: ArrayLike, lr_shift: int) -> Step:
        """Update the weights by one step on one batch.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        y : array_like, shape (n, n_out)
            Real values or raw integers, n at least 1.
        lr_shift : int
            The learning rate is ``2**-lr_shift``; any integer.

        Returns
        -------
        Step
            What the step saw before its update.

        Examples
        --------
        >>> import intmlp
        >>> net = intmlp.MLP([2, 1], intmlp.QFormat(8, 4), bias=False)
        >>> net.set_weights([[[0.5, 1.0]]])
        >>> net.step([[1.0, 2.0]], [[2.0]], lr_shift=2)
        Step(right=1, loss=0.125, diverged=False)
        >>> net.weights
        (array([[ 6, 12]], dtype=int32),)
        """
        inputs, targets = self._batch(x, y)
        n = len(inputs)
        average_shift = self._average_shift("the number of samples in x", n)
        right, loss = np.zeros(1, np.int32), np.array([np.nan])
        self._check_steps(1)
        with self._lock:
            done = self._net.train(
                inputs,
                targets,
                np.arange(n, dtype=np.int64),
                n,
                0,
                1,
                shift("lr_shift", lr_shift),
                average_shift,
                right,
                loss,
            )
        return Step(int(right[0]), float(loss[0]), done == 0)

    def train(
        self,
        x: ArrayLike | Checked,
        y: ArrayLike | Checked,
        lr_shift: int | Sequence[int],
        *,
        epochs: int = 1,
        batch_size: int = 1,
        shuffle: bool = True,
        seed: int | np.random.RandomState = 0,
        report: bool = True,
        overflow: Literal["warn", "sample", "count", "raise", "ignore"] = "warn",
        observe: bool = False,
        window: int = 1001,
        progress: Callable[[int, int], object] | None = None,
    ) -> History:
        """Train for whole epochs; the loop runs in the backend.

        Ctrl-C, and an exception in `progress`, leave the weights as they were after a whole
        number of steps.

        Parameters
        ----------
        x : array_like, shape (n, n_in)
        y : array_like, shape (n, n_out)
            Real values or raw integers, n at least 1.
        lr_shift : int or sequence of int
            The learning rate is ``2**-lr_shift``; any integer, or one for each epoch.
        epochs : int
            Passes over the samples, at least 0.
        batch_size : int
            Samples a step; the last batch of an epoch may be shorter.
        shuffle : bool
            Whether each epoch takes a new permutation, or the order of `x`.
        seed : int or numpy.random.RandomState
            Seed of the permutations, 0..2**32 - 1, or the state to draw them from.
        report : bool
            Whether to record `right` and `loss` of each step.
        overflow : {"warn", "sample", "count", "raise", "ignore"}
            What to do about values that lie outside their format, which saturate or wrap. "warn"
            counts every 64th step, and warns after training; "sample" does not warn. "count"
            counts every step. "raise" does, too, and does not do a step in which a value
            overflows. "ignore" counts nothing. With `observe`, every step is counted.
        observe : bool
            Whether to count what rounding and overflow do; it changes no other result, and takes
            at most about as long as the training itself.
        window : int
            Number of last steps, at least 1: a relu unit that was active in none of them counts as
            dead.
        progress : callable, optional
            Called as ``progress(steps done, steps in all)`` some times a second and at the end.

        Returns
        -------
        History

        Raises
        ------
        OverflowError
            With ``overflow="raise"``, where a value lies outside its format. The weights are
            those from before that step.

        Warns
        -----
        OverflowWarning
            With ``overflow="warn"``, once for each tensor of each layer with values outside its
            format.

        Examples
        --------
        >>> import intmlp
        >>> net = intmlp.MLP([2, 1], intmlp.QFormat(16, 8), bias=False)
        >>> net.set_weights([[[0.5, 1.0]]])
        >>> history = net.train([[1.0, 2.0]], [[2.0]], lr_shift=[3, 3, 4], epochs=3)
        >>> history.loss
        array([0.125     , 0.01757812, 0.00247192])
        >>> history.overflows
        {(1, 'Z'): 0.0, (1, 'D'): 0.0, (1, 'W'): 0.0}
        """
        inputs, targets = self._batch(x, y)
        epochs = integer("epochs", epochs, 0, 2**31 - 1)
        batch_size = integer("batch_size", batch_size, 1, 2**31 - 1)
        instance("shuffle", shuffle, bool)
        instance("report", report, bool)
        choice("overflow", overflow, tuple(_EVERY))
        instance("observe", observe, bool)
        window = integer("window", window, 1, 2**63 - 1)
        if progress is not None and not callable(progress):
            raise TypeError(f"progress must be callable or None, got {progress!r}")
        average_shift = self._average_shift("batch_size", batch_size)
        lr_shifts = _each_epoch(lr_shift, epochs)
        _check_seed(seed)
        state = _random_state(seed) if shuffle else None  # making one takes a while

        n = len(inputs)
        per_epoch = -(-n // batch_size)
        total = epochs * per_epoch
        self._check_steps(total)
        right = np.zeros(total, np.int32) if report else None
        loss = np.full(total, np.nan) if report else None
        tally = None
        if observe or overflow != "ignore":
            every = 1 if observe else _EVERY[overflow]
            tally = Tally(self.network, every, overflow == "raise", not observe)
        done, count, stopped = 0, 1, False
        for epoch, lr_shift_now in enumerate(lr_shifts):
            order = (state.permutation(n) if state else np.arange(n)).astype(np.int64, copy=False)
            here = slice(epoch * per_epoch, (epoch + 1) * per_epoch)
            first = 0
            while first < per_epoch and not stopped:
                asked = min(count, per_epoch - first)
                started = perf_counter()
                with self._lock:
                    steps = self._net.train(
                        inputs,
                        targets,
                        order,
                        batch_size,
                        first,
                        asked,
                        lr_shift_now,
                        average_shift,
                        None if right is None else right[here],
                        None if loss is None else loss[here],
                        *(() if tally is None else tally.arguments(epoch * per_epoch)),
                    )
                seconds = perf_counter() - started
                count = max(1, min(16 * count, int(asked * _SECONDS_PER_CALL / (seconds + 1e-9))))
                first += steps
                done += steps
                stopped = steps < asked
                if progress is not None:
                    progress(done, total)
            if stopped:
                break
        rows = None if tally is None else tally.read(self.network, average_shift, done, window)
        overflows = None
        if tally is not None and rows is not None and overflow != "ignore":
            overflows = {(row.layer, row.tensor): row.overflow_share for row in rows if row.entries}
            if overflow == "raise":
                samples = min(batch_size, n - done % per_epoch * batch_size)
                raise_overflow(self.network, rows, done, samples)
            if overflow == "warn":
                warn_of_overflows(self.network, rows, tally.every)
        diverged_at = done if stopped else None
        return History(done, right, loss, diverged_at, rows if observe else None, overflows)

    def _inputs(self, x: ArrayLike | Checked) -> Array:
        """Return `x` checked for the input format; as it is where the backend sees that it fits."""
        if isinstance(x, Checked):
            return x.array
        if self._net.takes_inputs(x):
            return cast(Array, x)
        return _real_or_raw("x", x, (None, self.network.layers[0].n_in), self.network.input)

    def _batch(self, x: ArrayLike | Checked, y: ArrayLike | Checked) -> tuple[Array, Array]:
        """Return `x` and `y` checked, with as many rows and at least one."""
        inputs = self._inputs(x)
        last = self.network.layers[-1]
        if isinstance(y, Checked):
            targets = y.array
        elif self._net.takes_targets(y):
            targets = cast(Array, y)
        else:
            targets = _real_or_raw("y", y, (None, last.n_out), last.formats.activation)
        if len(inputs) != len(targets):
            raise ValueError(
                f"x and y must have equally many rows, got {len(inputs)} and {len(targets)}"
            )
        if len(inputs) == 0:
            raise ValueError("x must have at least 1 row, got 0")
        return inputs, targets

    def _average_shift(self, name: str, batch_size: int) -> int:
        """Return ``m`` of the nominal batch size ``2**m``, or 0 where sums are not averaged."""
        if not self._average:
            return 0
        if batch_size & (batch_size - 1):
            raise ValueError(f"{name} must be a power of two with average=True, got {batch_size}")
        return batch_size.bit_length() - 1

    def _check_stream(self, stream: Stream | None, inputs: Array, targets: Array | None) -> None:
        """Raise where `stream` is not what a forward pass, or a gradient with targets, needs."""
        if stream is None and not self._is_stochastic:
            return
        backward = targets is not None
        real_targets = targets is not None and targets.dtype.kind == "f"
        for what, fmt in self.network.roundings(inputs.dtype.kind == "f", real_targets, backward):
            check_stream(stream, what, fmt)
        if stream is not None:
            instance("stream", stream, Stream)
            if stream.tensor != 0:
                raise ValueError(
                    "stream.tensor must be 0, as a network numbers its tensors itself, "
                    f"got {stream.tensor}"
                )

    def _check_steps(self, count: int) -> None:
        """Raise where `count` more updates are more than a network may do."""
        if self.steps + count > MOST_STEPS:
            raise ValueError(
                f"a network may do at most {MOST_STEPS} updates, got {count} after {self.steps}"
            )

    # The backend's part --------------------------------------------------------------------

    def _bind(self) -> None:
        """Hand the arrays to the backend that serves now."""
        self._lock = new_lock()
        self._net = _backend.active().Net(
            self.network,
            self._weights,
            self._biases,
            self._master_weights,
            self._master_biases,
            self._velocities,
            self._bias_velocities,
            self._steps,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: everything but the lock and the backend's part.

        The arrays are copies: another thread may be training.
        """
        with self._lock:
            return {
                name: copy.deepcopy(value)
                for name, value in self.__dict__.items()
                if name not in ("_lock", "_net")
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickle and bind it to the backend that serves now."""
        self.__dict__.update(state)
        self._bind()


def _each_epoch(lr_shift: int | Sequence[int], epochs: int) -> list[int]:
    """Return the shift of each epoch."""
    if not isinstance(lr_shift, (Sequence, np.ndarray)) or isinstance(lr_shift, str):
        return [shift("lr_shift", lr_shift)] * epochs
    if len(lr_shift) != epochs:
        raise ValueError(f"lr_shift must have one entry per epoch, {epochs}, got {len(lr_shift)}")
    return [shift(f"lr_shift[{i}]", value) for i, value in enumerate(lr_shift)]


def _check_seed(seed: int | np.random.RandomState) -> None:
    """Raise where `seed` is neither a state nor what can seed one."""
    if not isinstance(seed, np.random.RandomState):
        integer("seed", seed, 0, 2**32 - 1)


def _random_state(seed: int | np.random.RandomState) -> np.random.RandomState:
    """Return `seed` itself, or the state that it seeds."""
    _check_seed(seed)
    return seed if isinstance(seed, np.random.RandomState) else np.random.RandomState(seed)


def _views(name: str, arrays: list[Array] | None, reason: str) -> tuple[Array, ...]:
    """Return read-only views of `arrays`, or raise where the network has none."""
    if arrays is None:
        raise AttributeError(f"this network has no {name}: {reason}")
    views = tuple(array.view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views


def _real_or_raw(name: str, value: ArrayLike, shape: tuple[int | None, ...], fmt: QFormat) -> Array:
    """Return `value` as an aligned native array of finite floats or of raw values of `fmt`.

    A None in `shape` is any length.
    """
    array = np.asarray(value)
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        wanted = ", ".join("n" if want is None else str(want) for want in shape)
        raise ValueError(
            f"{name} must have shape ({wanted}{',' if len(shape) == 1 else ''}), got {array.shape}"
        )
    native = array.dtype.newbyteorder("=")
    if native in (np.float32, np.float64):
        array = np.require(array, native, "A")
        finite(name, array)
    elif native == fmt.dtype:
        array = np.require(array, native, "A")
        within(name, array, fmt)
    else:
        raise TypeError(
            f"{name} must be float32 or float64 (real values) or {fmt.dtype} (raw values of "
            f"{fmt}), got {array.dtype}"
        )
    return array
