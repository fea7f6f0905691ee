"""The training of one cell, on samples that all cells share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .._threads import one_thread
from ..nn import MLP, Initialisation
from ..nn.mlp import Checked
from ..ops import quantize
from ..qformat import QFormat
from ..stream import Stream
from .grid import VARIANTS, Cell
from .task import PUBLISHED_FLOATS, WORD, Outcome, Task

if TYPE_CHECKING:
    from ..io.samples import Samples

Array = NDArray[Any]
Value = TypeVar("Value")

PUBLISHED_SAMPLES = 70_000
FLOAT = VARIANTS["float"]


def train_cell(task: Task, samples: Samples, cell: Cell, why: bool = False) -> Outcome:
    """Train one cell, with one thread.

    Parameters
    ----------
    task : Task
    samples : Samples
        What cells read of them is prepared once, and kept for as long as they live.
    cell : Cell
    why : bool
        Whether to observe what rounding and overflow do; no other number depends on it.

    Returns
    -------
    Outcome

    Examples
    --------
    >>> from intmlp.study import load_samples
    >>> train_cell(Task(), load_samples("digits"), Cell("fixed", 12, 6, 0)).steps
    1797
    """
    with one_thread():  # cells run side by side
        return _trained(task, _shared(task, samples), cell, why)


def smoothed(right: NDArray[np.int32], samples: int, batch: int, window: int) -> float:
    """Return the last value of the steps' shares of right samples, smoothed, rounded once.

    A Savitzky-Golay filter of order 2 that mirrors the series behind its end gives the value of
    the least-squares parabola at the window's centre. With ``h = window // 2`` a share `i` places
    off counts ``(3 * (3*h*h + 3*h - 1) - 15*i*i) / ((2*h - 1) * (2*h + 1) * (2*h + 3))``, on both
    sides of the last one (docs/numerics.md, section 8). The last batch of an epoch may be
    shorter, so that its share has a denominator of its own.

    Parameters
    ----------
    right : ndarray of int32
        Number of right samples of each step.
    samples, batch : int
        Samples of an epoch and of a step.
    window : int
        Odd, and at most as long as `right`.

    Returns
    -------
    float
    """
    h = window // 2
    last = right[-(h + 1) :].astype(np.int64)
    last[:-1] *= 2
    places = np.arange(h, -1, -1, dtype=np.int64)
    per_epoch = -(-samples // batch)
    short = (len(right) - 1 - places) % per_epoch == per_epoch - 1
    rest = samples - (per_epoch - 1) * batch

    def weighed(steps: NDArray[np.bool_]) -> int:
        counts, squares = last[steps], places[steps] ** 2
        return 3 * (3 * h * h + 3 * h - 1) * int(counts.sum()) - 15 * int(counts @ squares)

    scale = (2 * h - 1) * (2 * h + 1) * (2 * h + 3)
    return (weighed(~short) * rest + weighed(short) * batch) / (scale * batch * rest)


def _trained(task: Task, shared: _Shared, cell: Cell, why: bool) -> Outcome:
    """Train one cell."""
    parts = VARIANTS[cell.variant]
    start = shared.start(cell.seed)
    x, test_x = start.x, shared.test_x
    if cell.fraction is None:
        net = MLP(shared.sizes, NO_FORMAT, parts=parts, seed=_unused, **shared.options)
        net.set_weights(*start.floats)
    else:
        fmt = task.format(cell.fraction)
        net = MLP(
            shared.sizes,
            fmt,
            input_format=_rounded_to_nearest(fmt),
            parts=parts,
            seed=_unused,
            rounding_seed=cell.seed,
            **shared.options,
        )
        net.set_weights(*(start.drawn if task.init.unit == "real" else start.in_units_of(fmt)))
        if parts.forward == "fixed":
            # Then no part reads float inputs, and those that are quantized serve many cells.
            x, test_x = shared.raw(fmt, cell.seed)

    history = net.train(
        Checked(x),
        Checked(start.y),
        cell.lr_shift,
        epochs=task.epochs,
        batch_size=task.batch_size,
        shuffle=start.state is not None,
        seed=0 if start.state is None else _resumed(start.state),
        overflow="ignore",
        observe=why,
        window=task.window,
    )
    assert history.right is not None  # a report is the default
    if task.accuracy == "online":
        accuracy = smoothed(history.right, len(x), task.batch_size, task.window)
    elif history.diverged_at is not None:
        accuracy = 0.0
    else:
        outputs = net.forward(test_x, stream=Stream(cell.seed, net.steps))
        right = np.argmax(outputs, axis=1) == shared.test_labels
        accuracy = int((right & np.isfinite(outputs).all(axis=1)).sum()) / len(right)
    return Outcome(accuracy, history.steps, history.diverged_at, history.observed)


def _rounded_to_nearest(fmt: QFormat) -> QFormat:
    """Return the format that inputs enter, once, before training."""
    return QFormat(fmt.bits, fmt.frac, "half_even", fmt.overflow)


# What cells share -------------------------------------------------------------------------

# Of "float", whose parts read no format.
NO_FORMAT = QFormat(WORD, 0)

# Networks are made with weights that are replaced at once; a state of its own takes long to seed.
_unused = np.random.RandomState(0)

# Weights, and biases where there are any, an array a layer.
Tensors = tuple[Sequence[Array], Sequence[Array] | None]


class _Start(NamedTuple):
    """What the cells of a seed start from.

    `drawn` are the initial values as drawn, integers in raw units, and `floats` those of "float".
    `x` and `y` are the training samples in the order of the one epoch; where there are more,
    `state` is the state of the random numbers that gives the order of each.
    """

    drawn: Tensors
    floats: Tensors
    x: Array
    y: Array
    state: dict[str, Any] | None

    def in_units_of(self, fmt: QFormat) -> Tensors:
        """Return the real values of `drawn`, where those are raw integers of `fmt`."""
        weights, biases = self.drawn
        unit = 2.0**-fmt.frac
        return [unit * w for w in weights], biases and [unit * b for b in biases]


class _Shared:
    """What the cells of a task share; threads may ask for it at a time."""

    def __init__(self, task: Task, samples: Samples) -> None:
        train, test = task.split(samples)
        as_given = len(test) == 0 and task.order != "sorted"  # then nothing is copied
        self._task = task
        self._x = samples.x if as_given else samples.x[train]
        self._y = np.eye(len(samples.classes))[samples.labels[train]]
        self.test_x, self.test_labels = samples.x[test], samples.labels[test]
        self.sizes = [samples.x.shape[1], *task.hidden, len(samples.classes)]
        self.options: dict[str, Any] = {
            "activation": task.activation,
            "bias": task.bias,
            "loss": task.loss,
        }
        self._starts = _Latest[_Start]()
        self._raw = _Latest[tuple[Array, Array]]()

    def start(self, seed: int) -> _Start:
        """Return what the cells of a seed start from."""
        return self._starts.get(seed, lambda: self._drawn(seed))

    def raw(self, fmt: QFormat, seed: int) -> tuple[Array, Array]:
        """Return the inputs of training and test as raw integers."""
        to = _rounded_to_nearest(fmt)
        x = self.start(seed).x
        return self._raw.get((fmt, seed), lambda: (quantize(x, to), quantize(self.test_x, to)))

    def _drawn(self, seed: int) -> _Start:
        """Draw initial values, then the order of the samples."""
        state = np.random.RandomState(seed)
        if self._task.order == "published":
            state.permutation(PUBLISHED_SAMPLES)
        before = state.get_state(legacy=False)

        def values(init: Initialisation) -> Tensors:
            """Return what a network without formats draws."""
            state.set_state(before)
            net = MLP(self.sizes, NO_FORMAT, parts=FLOAT, init=init, seed=state, **self.options)
            return net.master_weights, net.master_biases or None

        init = self._task.init
        floats = values(init if init.unit == "real" else PUBLISHED_FLOATS)
        drawn = values(init)
        if self._task.order != "shuffled":
            return _Start(drawn, floats, self._x, self._y, None)
        if self._task.epochs > 1:
            return _Start(drawn, floats, self._x, self._y, state.get_state(legacy=False))
        # Rows that stand in the order in which they are read are read faster.
        order = state.permutation(len(self._x))
        return _Start(drawn, floats, self._x[order], self._y[order], None)


class _Latest(Generic[Value]):
    """The last two values made, by key: as many as cells that run side by side ask for."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Value] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, made by the first thread that asks."""
        with self._lock:
            if key not in self._values:
                if len(self._values) == 2:
                    del self._values[next(iter(self._values))]
                self._values[key] = make()
            return self._values[key]


_of_samples: WeakKeyDictionary[Samples, _Latest[_Shared]] = WeakKeyDictionary()
_looking = threading.Lock()


def _shared(task: Task, samples: Samples) -> _Shared:
    """Return what the cells of a task share."""
    with _looking:
        latest = _of_samples.setdefault(samples, _Latest())
    return latest.get(task, lambda: _Shared(task, samples))


def _resumed(state: dict[str, Any]) -> np.random.RandomState:
    """Return random numbers that go on from `state`."""
    resumed = np.random.RandomState(0)
    resumed.set_state(state)
    return resumed
