"""What every cell of a bottleneck study trains: all but its variant, width, rate and seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._check import choice, instance, integer
from ..nn import Activation, Initialisation, Observation, normal, relu, uniform
from ..nn.network import LOSSES, Loss
from ..qformat import OVERFLOWS, ROUNDINGS, Overflow, QFormat, Rounding
from .grid import Grid

if TYPE_CHECKING:
    from ..io.samples import Samples

Order = Literal["shuffled", "given", "sorted", "published"]
Accuracy = Literal["online", "test"]

ORDERS = ("shuffled", "given", "sorted", "published")
ACCURACIES = ("online", "test")
WORD = 32

# Up to these the sums of `training.smoothed` are exact in int64: 2 * 2**16 * 49_999**3 / 3 < 2**63.
LARGEST_WINDOW = 99_999
LARGEST_BATCH = 2**16


@dataclass(frozen=True)
class Task:
    """What every cell of a study trains: all that its variant, width, rate and seed leave open.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the hidden layers. Inputs and outputs are as wide as the samples need.
    activation : Activation
        Of every layer.
    bias : bool
        Whether the layers have biases.
    loss : {"half_sse", "sse"}
        Against one-hot targets.
    rounding : {"floor", "toward_zero", "half_up", "half_away", "half_even", "stochastic"}
        Of every format. Inputs alone are rounded to nearest (``half_even``), before training. The
        seed of a cell is also that of its stochastic rounding.
    overflow : {"saturate", "wrap"}
        Of every format.
    integer_bits : int, optional
        Bits left of the binary point, with the sign. Without it words are 32 bits wide and have
        ``32 - fraction`` of them, as in the published study.
    init : Initialisation
        Initial weights. In raw units their real scale shrinks with the fraction width, and the
        variant "float", which has no raw units, starts at ``normal(0.1)``: both as published.
    order : {"shuffled", "given", "sorted", "published"}
        Order of the samples: a new permutation each epoch; theirs; by label, where equal labels
        keep their order; or theirs, with initial weights that follow the published permutation
        of 70,000 samples, of which the data set "mnist-2017" holds the first 10,000.
    epochs, batch_size : int
        Passes over the training samples, and samples a step (1..65536).
    accuracy : {"online", "test"}
        The smoothed share of right answers in the last training steps, each before its update; or
        the share of right answers on samples that were held back from training.
    window : int
        Steps that the smoothed online accuracy spans, an odd number in 3..99999. A relu unit that
        was active in none of the last so many steps is observed as dead.
    held_back : float, optional
        Share of the samples that is held back for ``accuracy="test"``: always the same ones.
        Without it those that are customarily held back, or a fifth where none are.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not what it must be.

    Notes
    -----
    One ``RandomState(seed)`` gives a cell its initial weights, layer by layer, and then the
    permutation of each epoch: equal seeds mean equal initial weights and an equal order in every
    variant and at every width.

    The default initial weights come from `uniform`, whose values, unlike those of `normal`, do
    not depend on the platform's ``log``.

    Examples
    --------
    >>> Task(integer_bits=4).format(12)
    QFormat(bits=16, frac=12, rounding='floor', overflow='saturate')
    """

    hidden: tuple[int, ...] = ()
    activation: Activation = relu()  # noqa: RUF009 (immutable)
    bias: bool = False
    loss: Loss = "half_sse"
    rounding: Rounding = "floor"
    overflow: Overflow = "saturate"
    integer_bits: int | None = None
    init: Initialisation = uniform()  # noqa: RUF009 (immutable)
    order: Order = "shuffled"
    epochs: int = 1
    batch_size: int = 1
    accuracy: Accuracy = "online"
    window: int = 1001
    held_back: float | None = None

    def __post_init__(self) -> None:
        hidden = tuple(integer(f"hidden[{i}]", n, 1, 2**31 - 1) for i, n in enumerate(self.hidden))
        object.__setattr__(self, "hidden", hidden)
        instance("activation", self.activation, Activation)
        instance("bias", self.bias, bool)
        choice("loss", self.loss, LOSSES)
        choice("rounding", self.rounding, ROUNDINGS)
        choice("overflow", self.overflow, OVERFLOWS)
        if self.integer_bits is not None:
            integer("integer_bits", self.integer_bits, -61, 64)
        instance("init", self.init, Initialisation)
        choice("order", self.order, ORDERS)
        integer("epochs", self.epochs, 1, 2**31 - 1)
        integer("batch_size", self.batch_size, 1, LARGEST_BATCH)
        choice("accuracy", self.accuracy, ACCURACIES)
        if integer("window", self.window, 3, LARGEST_WINDOW) % 2 == 0:
            raise ValueError(f"window must be odd, got {self.window}")
        if self.held_back is not None and not 0 < self.held_back < 1:
            raise ValueError(f"held_back must lie between 0 and 1, got {self.held_back}")

    @classmethod
    def published(cls) -> Task:
        """Return the task of the published study: weights in raw units, and its sample order.

        Returns
        -------
        Task
        """
        return cls(init=normal(500, unit="raw"), order="published")

    def format(self, fraction: int) -> QFormat:
        """Return the format of every tensor of a cell.

        Parameters
        ----------
        fraction : int
            Fraction width.

        Returns
        -------
        QFormat

        Raises
        ------
        ValueError
            Where the whole width lies outside 2..64.
        """
        bits = WORD if self.integer_bits is None else self.integer_bits + fraction
        if not 2 <= bits <= 64:
            raise ValueError(
                f"integer_bits + fraction must be in 2..64, got {self.integer_bits} + {fraction}"
            )
        return QFormat(bits, fraction, self.rounding, self.overflow)

    def split(self, samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows that are trained on, in order, and those that are held back.

        Parameters
        ----------
        samples : Samples

        Returns
        -------
        train, test : ndarray of int64
        """
        count = len(samples.labels)
        rows, held_back = np.arange(count), 0
        if self.accuracy == "test" and self.held_back is None and samples.held_back:
            held_back = samples.held_back
        elif self.accuracy == "test":
            held_back = round(count * (self.held_back or 0.2))
            rows = np.random.RandomState(0).permutation(count)  # they may be sorted by label
        train, test = np.sort(rows[: count - held_back]), np.sort(rows[count - held_back :])
        if self.order == "sorted":
            train = train[np.argsort(samples.labels[train], kind="stable")]
        return train, test

    def check(self, samples: Samples, grid: Grid) -> None:
        """Raise where `samples` or `grid` do not serve this task.

        Parameters
        ----------
        samples : Samples
        grid : Grid

        Raises
        ------
        ValueError
            Where the samples have fewer than two classes or are too few, or a format has more
            bits than there are.
        """
        for variant in grid.variants:
            for fraction in grid.ranges(variant)[0]:
                if fraction is not None:
                    self.format(fraction)
        train, test = self.split(samples)
        present = len(np.unique(samples.labels))
        if present < 2:
            raise ValueError(f"the samples must have at least 2 classes, got {present}")
        if self.accuracy == "test" and not (len(train) and len(test)):
            raise ValueError(
                f"held_back must leave samples on both sides, got {self.held_back} "
                f"of {len(samples.labels)}"
            )
        steps = self.epochs * -(-len(train) // self.batch_size)
        if self.accuracy == "online" and steps < self.window:
            raise ValueError(
                f"window must be at most the number of training steps, {steps} ({len(train)} "
                f"samples, batch size {self.batch_size}, epochs {self.epochs}), got {self.window}"
            )


# In raw units there is no scale for a network without formats; the published one started here.
PUBLISHED_FLOATS = normal(0.1)


class Outcome(NamedTuple):
    """What the training of a cell gave.

    Attributes
    ----------
    accuracy : float
        Of the kind that the task asks for. Smoothing may carry it a little beyond 0 and 1.
    steps : int
        Number of steps done.
    diverged_at : int or None
        The step that diverged, at which training stopped. It and those that remain count as
        wrong, and so does every sample held back.
    observed : tuple of Observation, or None where nobody asked why
        What rounding and overflow did, by layer and tensor.
    """

    accuracy: float
    steps: int
    diverged_at: int | None
    observed: tuple[Observation, ...] | None = None
