"""Published fixed-point networks, trained again with all three parts in fixed point.

docs/gallery.md says what was published, how, and what these trainings reach.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._threads import one_thread
from ..io.datasets import DIGITS, Dataset
from ..io.files import atomic
from ..nn import MLP, LayerFormats, Parts, linear, relu, uniform
from ..nn.initialisation import Initialisation
from ..nn.network import Loss
from ..ops import quantize
from ..qformat import QFormat, Rounding
from ..stream import Stream
from .side_by_side import side_by_side

Array = NDArray[Any]

# A data set: training and test images.
Data = tuple[Dataset, Dataset]


@dataclass(frozen=True)
class Recipe:
    """How one network trains: relu layers, the last one linear, gradients averaged.

    Attributes
    ----------
    sizes : tuple of int
        Width of the input and of every layer.
    input : QFormat
        Format of the grey values, which are scaled to 0..1.
    layers : tuple of LayerFormats
        One a layer.
    schedule : tuple of (epochs, lr_shift)
        The learning rate is ``2**-lr_shift`` for so many epochs, and so on.
    loss, momentum_shift, decay_shift, init, parts
        As of `intmlp.MLP`.
    batch_size : int
        A power of two.
    """

    sizes: tuple[int, ...]
    input: QFormat
    layers: tuple[LayerFormats, ...]
    schedule: tuple[tuple[int, int], ...]
    loss: Loss = "cross_entropy"
    momentum_shift: int | None = None
    decay_shift: int | None = None
    batch_size: int = 128
    init: Initialisation = field(default_factory=uniform)
    parts: Parts = field(default_factory=Parts)

    @property
    def epochs(self) -> int:
        """How many epochs the schedule has."""
        return sum(epochs for epochs, _ in self.schedule)

    def lr_shifts(self, epochs: int) -> list[int]:
        """Return the shift of each epoch, the schedule stretched or shrunk to `epochs`.

        Examples
        --------
        >>> recipe = STUDIES["pocketnn"][0].recipe
        >>> recipe.schedule
        ((12, 4), (8, 5), (5, 6), (5, 7))
        >>> recipe.lr_shifts(6)
        [4, 4, 4, 5, 6, 7]
        """
        whole = [shift for count, shift in self.schedule for _ in range(count)]
        return [whole[i * len(whole) // epochs] for i in range(epochs)]

    def network(self, seed: int, state: np.random.RandomState) -> MLP:
        """Return the network before training.

        Parameters
        ----------
        seed : int
            Of stochastic rounding.
        state : RandomState
            Initial values are drawn from it.
        """
        return MLP(
            self.sizes,
            self.layers,
            input_format=self.input,
            activation=[relu()] * (len(self.layers) - 1) + [linear()],
            loss=self.loss,
            average=True,
            momentum_shift=self.momentum_shift,
            decay_shift=self.decay_shift,
            parts=self.parts,
            init=self.init,
            seed=state,
            rounding_seed=seed,
        )

    def inputs(self, images: NDArray[np.uint8]) -> Array:
        """Return images as the network reads them: raw, or float32 for a float forward pass."""
        greys = (np.arange(256) / 255).astype(np.float32)
        return (greys if self.parts.forward == "float" else quantize(greys, self.input))[images]


@dataclass(frozen=True)
class Entry:
    """A row of a study: a network, its arithmetic, and what was published about it.

    Attributes
    ----------
    data : str
        A key of `DATA`.
    arithmetic : str
        What the row is called.
    recipe : Recipe
    published : mapping of str to float
        Accuracy in percent, by who published it.
    """

    data: str
    arithmetic: str
    recipe: Recipe
    published: Mapping[str, float]

    @property
    def network(self) -> str:
        """The sizes of the network, as in 784-100-50-10."""
        return "-".join(map(str, self.recipe.sizes))

    @property
    def is_float(self) -> bool:
        """Whether this is the float64 run beside the others."""
        return not self.recipe.parts.any_fixed


class Training(NamedTuple):
    """What became of one training.

    Attributes
    ----------
    entry : int
        Which entry of those trained.
    seed : int
    right, tested : int
        How many test images, of how many, are right after the last epoch.
    seconds : float
        For the epochs alone.
    """

    entry: int
    seed: int
    right: int
    tested: int
    seconds: float


def run(
    entries: Sequence[Entry],
    data: Mapping[str, Data],
    seeds: Iterable[int],
    epochs: int | None = None,
    jobs: int = -1,
) -> Iterator[Training]:
    """Train each entry with each seed, and yield each training as it ends.

    Parameters
    ----------
    entries : sequence of Entry
    data : mapping of str to (Dataset, Dataset)
        Training and test images of every data set that the entries name.
    seeds : iterable of int
        0..2**32 - 1: a seed makes initial values, sample orders and stochastic rounding.
    epochs : int, optional
        Default: those of each recipe.
    jobs : int
        How many train at a time, each on one thread; -1 for as many as there are cores.

    Yields
    ------
    Training
        The accuracy is that after the last epoch, on all test images: nothing is chosen by it.
    """
    yield from side_by_side(_train, _calls(entries, data, list(seeds), epochs), jobs)


def write_csv(entries: Sequence[Entry], trainings: Iterable[Training], path: Path) -> None:
    """Write trainings as CSV, a row each; the same bytes for the same trainings.

    Parameters
    ----------
    entries : sequence of Entry
    trainings : iterable of Training
    path : Path
        The file; it is replaced as a whole.
    """
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("network", "data", "arithmetic", "seed", "right", "tested"))
        for training in sorted(trainings):
            entry = entries[training.entry]
            row = (entry.network, entry.data, entry.arithmetic)
            writer.writerow((*row, training.seed, training.right, training.tested))


def _calls(
    entries: Sequence[Entry], data: Mapping[str, Data], seeds: list[int], epochs: int | None
) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of the calls; entries with equal inputs that follow share them."""
    key: tuple[object, ...] = ()
    for i, entry in enumerate(entries):
        recipe, (training, test) = entry.recipe, data[entry.data]
        if key != (entry.data, recipe.input, recipe.parts.forward):
            key = (entry.data, recipe.input, recipe.parts.forward)
            x, x_test = recipe.inputs(training.images), recipe.inputs(test.images)
        for seed in seeds:
            yield i, recipe, x, training.labels, x_test, test.labels, seed, epochs or recipe.epochs


def _train(
    i: int,
    recipe: Recipe,
    x: Array,
    labels: NDArray[np.uint8],
    x_test: Array,
    labels_test: NDArray[np.uint8],
    seed: int,
    epochs: int,
) -> Training:
    """Train one network and test it. Trainings run side by side: one thread each."""
    with one_thread():
        state = np.random.RandomState(seed)
        net = recipe.network(seed, state)
        start = perf_counter()
        net.train(
            x,
            np.eye(DIGITS)[labels],
            recipe.lr_shifts(epochs),
            epochs=epochs,
            batch_size=recipe.batch_size,
            seed=state,
            report=False,
            overflow="ignore",
        )
        seconds = perf_counter() - start
        outputs = net.forward(x_test, stream=Stream(seed, net.steps))
        right = int(np.count_nonzero(outputs.argmax(axis=1) == labels_test))
        return Training(i, seed, right, len(labels_test), seconds)


# --- The networks -----------------------------------------------------------------------------

# What each data set is called, and its name on OpenML.
DATA = {"MNIST": "mnist_784", "Fashion-MNIST": "Fashion-MNIST"}


def _layers(
    activation: tuple[int, Sequence[int]],
    weight: tuple[int, Sequence[int]],
    delta: tuple[int, Sequence[int]],
    velocity: tuple[int, Sequence[int]],
) -> tuple[LayerFormats, ...]:
    """Return formats from the bits of each tensor and its fraction bits in each layer.

    Activations round to nearest; what is small beside the last place is rounded stochastically.
    """

    def formats(given: tuple[int, Sequence[int]], rounding: Rounding) -> list[QFormat]:
        bits, fractions = given
        return [QFormat(bits, fraction, rounding) for fraction in fractions]

    rows = zip(
        formats(activation, "half_even"),
        formats(weight, "stochastic"),
        formats(delta, "stochastic"),
        formats(velocity, "stochastic"),
        strict=True,
    )
    return tuple(LayerFormats(a, w, d, v) for a, w, d, v in rows)


def _in_float(entry: Entry, published: Mapping[str, float]) -> Entry:
    """Return the run of the same recipe with all parts in float64."""
    parts = Parts(forward="float", backward="float", update="float")
    recipe = replace(entry.recipe, parts=parts)
    return Entry(entry.data, "float64", recipe, published)


def _small(data: str, sizes: tuple[int, ...], published: Mapping[str, float]) -> list[Entry]:
    """Return the rows of PocketNN's networks: 16 bits, 16 and 8, 8 bits, float64."""
    hidden = len(sizes) - 2

    def fractions(first: int, further: int, last: int) -> list[int]:
        return [first, *[further] * (hidden - 1), last]

    wide = dict(
        weight=(16, fractions(15, 14, 14)),
        velocity=(16, fractions(16, 16, 15)),
    )
    narrow = dict(activation=(8, fractions(4, 4, 3)), delta=(8, fractions(7, 7, 7)))
    arithmetic = {
        "16 bits": _layers(
            activation=(16, fractions(11, 11, 10)), delta=(16, fractions(14, 14, 15)), **wide
        ),
        "8 bits, weights 16": _layers(**narrow, **wide),
        "8 bits": _layers(
            **narrow, weight=(8, fractions(9, 8, 7)), velocity=(8, fractions(11, 10, 9))
        ),
    }
    integers = {who: figure for who, figure in published.items() if who != "float"}
    rows = [
        Entry(
            data,
            name,
            Recipe(
                sizes,
                QFormat(16, 15) if name == "16 bits" else QFormat(8, 7),
                layers,
                schedule=((12, 4), (8, 5), (5, 6), (5, 7)),
                momentum_shift=3,
                decay_shift=8,
            ),
            integers,
        )
        for name, layers in arithmetic.items()
    ]
    return [*rows, _in_float(rows[0], {"float": published["float"]})]


def _large() -> list[Entry]:
    """Return the rows of NITRO-D's network of three layers of 1024 units."""
    sizes = (784, 1024, 1024, 1024, 10)
    published = {"NITRO-D": 98.28}
    recipe = Recipe(
        sizes,
        QFormat(16, 15),
        _layers(
            activation=(16, [11, 11, 11, 10]),
            weight=(16, [15, 15, 15, 14]),
            delta=(16, [14, 14, 14, 15]),
            velocity=(16, [16, 16, 16, 15]),
        ),
        schedule=((6, 4), (2, 5), (1, 6), (1, 7)),
        momentum_shift=3,
        decay_shift=9,
    )
    eight = _layers(
        activation=(8, [4, 4, 4, 3]),
        weight=(8, [9, 9, 9, 7]),
        delta=(8, [8, 8, 8, 7]),
        velocity=(8, [12, 12, 12, 9]),
    )
    return [
        Entry("MNIST", "16 bits", recipe, published),
        Entry("MNIST", "8 bits", replace(recipe, input=QFormat(8, 7), layers=eight), published),
    ]


def _gupta() -> list[Entry]:
    """Return the rows of Gupta et al.: one format of 16 bits for every tensor, two roundings."""

    def row(fraction: int, rounding: Rounding, name: str) -> Entry:
        fmt = QFormat(16, fraction, rounding)
        recipe = Recipe(
            (784, 1000, 1000, 10),
            QFormat(16, fraction),
            (LayerFormats(fmt, fmt, fmt, fmt),) * 3,
            schedule=((6, 1), (2, 2), (2, 3)),
        )
        return Entry("MNIST", f"{16 - fraction}.{fraction} {name}", recipe, {})

    roundings: dict[str, Rounding] = {"stochastic": "stochastic", "nearest": "half_even"}
    rows = [
        row(fraction, rounding, name)
        for fraction in (8, 10)
        for name, rounding in roundings.items()
    ]
    return [*rows, _in_float(rows[0], {"float": 98.6})]


def _typecnn() -> list[Entry]:
    """Return the rows of TypeCNN: formats by the bits on both sides of the point."""
    tensors = ("activation", "weight", "delta", "velocity")

    def row(
        left: int, right: int, accuracy: float, shift: int = 6, **other: tuple[int, Sequence[int]]
    ) -> Entry:
        bits = left + right
        recipe = Recipe(
            (784, 256, 64, 10),
            QFormat(bits, right),
            _layers(**{**dict.fromkeys(tensors, (bits, [right] * 3)), **other}),
            schedule=((8, shift), (6, shift + 1), (3, shift + 2), (3, shift + 3)),
            loss="half_sse",
            momentum_shift=5,
        )
        return Entry("MNIST", f"{left}.{right}", recipe, {"TypeCNN": accuracy})

    rows = [
        row(16, 16, 97.50),
        row(8, 8, 97.32),
        row(4, 12, 97.24),
        row(4, 4, 95.94, shift=7, delta=(8, [7, 7, 7]), velocity=(8, [10, 9, 8])),
    ]
    return [*rows, _in_float(rows[0], {"TypeCNN": 97.30})]


_POCKETNN = [
    *_small("MNIST", (784, 100, 50, 10), {"PocketNN": 96.98, "NITRO-D": 97.36, "float": 98.00}),
    *_small(
        "Fashion-MNIST",
        (784, 200, 100, 50, 10),
        {"PocketNN": 87.70, "NITRO-D": 88.66, "float": 89.79},
    ),
]

# The rows of each study, and where its published figures are from.
STUDIES = {
    "pocketnn": _POCKETNN,
    "nitro-d": [*_POCKETNN, *_large()],
    "gupta": _gupta(),
    "typecnn": _typecnn(),
}
SOURCES = {
    "pocketnn": "https://arxiv.org/abs/2201.02863, https://arxiv.org/abs/2407.11698",
    "nitro-d": "https://arxiv.org/abs/2407.11698, https://github.com/albertopirillo/NITRO-D",
    "gupta": "https://arxiv.org/abs/1502.02551",
    "typecnn": "https://github.com/Rekpet/TypeCNN, results/nn_experiments",
}
