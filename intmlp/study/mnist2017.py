"""Online SGD on MNIST (2017): the published grid of 240 accuracies, trained again.

Source: docs/numerics.md, section 8. One layer without biases sees each of 10,000 images once;
the grid varies the learning rate and the fraction width of a purely integer training.
"""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._check import integer
from .._threads import one_thread
from ..io.datasets import DIGITS, PIXELS, Dataset
from ..io.files import atomic
from ..nn import MLP, normal, relu
from ..qformat import QFormat
from .side_by_side import side_by_side

if TYPE_CHECKING:
    import pandas as pd

SEED = 0xDEADBEEC
TRAINING, TEST = 60_000, 10_000
STEPS = 10_000
LR_SHIFTS = range(5, 20)
FRACTIONS = range(8, 24)
CELLS = len(LR_SHIFTS) * len(FRACTIONS)
EQUAL_WITHIN = 1e-12

# The published filter: a value `i` places off the last one, up to FILTER_REACH, counts
# FILTER_CENTRE + FILTER_CURVE * i**2 (docs/numerics.md, section 8).
FILTER_REACH = 500
FILTER_CENTRE = 0.0022477559865683354
FILTER_CURVE = -1.4955149551551855e-08

# A grid: the accuracy of each cell (lr_shift, fraction).
Grid = dict[tuple[int, int], float]


def sorted_by_label(mnist: Dataset) -> Dataset:
    """Return the training images sorted by label, then the test images likewise.

    Parameters
    ----------
    mnist : Dataset
        MNIST's 60,000 training images, then its 10,000 test images.

    Returns
    -------
    Dataset
        Equal labels keep their order.

    Raises
    ------
    ValueError
        Where `mnist` has another number of samples.
    """
    if len(mnist.labels) != TRAINING + TEST:
        raise ValueError(
            f"mnist must have {TRAINING} training and {TEST} test samples, "
            f"got {len(mnist.labels)} in all"
        )
    training, test = np.split(mnist.labels, [TRAINING])
    order = np.concatenate(
        [np.argsort(training, kind="stable"), TRAINING + np.argsort(test, kind="stable")]
    )
    return Dataset(mnist.images[order], mnist.labels[order])


def stream(mnist: Dataset) -> Dataset:
    """Return the samples that the experiment consumes, in its order.

    Parameters
    ----------
    mnist : Dataset
        MNIST's 60,000 training images, then its 10,000 test images.

    Returns
    -------
    Dataset
        10,000 samples.
    """
    images, labels = sorted_by_label(mnist)
    order = np.random.RandomState(SEED).permutation(TRAINING + TEST)[:STEPS]
    return Dataset(images[order], labels[order])


def raw(samples: Dataset, fraction: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return inputs and one-hot targets as raw integers with `fraction` fraction bits.

    Parameters
    ----------
    samples : Dataset
        n samples.
    fraction : int
        Fraction width, 0..30.

    Returns
    -------
    x : ndarray of int32, shape (n, 784)
        ``rint(grey / 255 * 2**fraction)``.
    y : ndarray of int32, shape (n, 10)
        ``2**fraction`` at the label, else 0.

    Examples
    --------
    >>> from intmlp.io.datasets import load_stream
    >>> x, y = raw(load_stream(), 8)
    >>> x.min(), x.max(), y.max()
    (np.int32(0), np.int32(256), np.int32(256))
    """
    fraction = integer("fraction", fraction, 0, 30)
    greys = np.rint(np.arange(256) / 255.0 * 2.0**fraction).astype(np.int32)
    return greys[samples.images], np.eye(DIGITS, dtype=np.int32)[samples.labels] << fraction


def network(fraction: int, state: np.random.RandomState) -> MLP:
    """Return the network of one cell, before training.

    Parameters
    ----------
    fraction : int
        Fraction width of its one format.
    state : RandomState
        Its weights are drawn from it.

    Returns
    -------
    MLP
    """
    return MLP(
        [PIXELS, DIGITS],
        QFormat(32, fraction, "floor", "saturate"),
        activation=relu(),
        bias=False,
        init=normal(500, unit="raw"),
        seed=state,
    )


def initial_network(fraction: int) -> MLP:
    """Return the network of one cell as published: its weights follow the permutation's draws.

    Parameters
    ----------
    fraction : int
        Fraction width of its one format.

    Returns
    -------
    MLP
    """
    with _drawing:
        _state.set_state(_after_permutation())
        return network(fraction, _state)


def train(net: MLP, x: NDArray[np.int32], y: NDArray[np.int32], lr_shift: int) -> float:
    """Train `net` on each sample once, in order, and return the smoothed final accuracy.

    Parameters
    ----------
    net : MLP
        Is trained in place.
    x, y : ndarray of int32
        Of `raw`, at least 501 samples.
    lr_shift : int
        The learning rate is ``2**-lr_shift``.

    Returns
    -------
    float
        The last value of the 0/1 series of right outputs, each before its update, after a
        Savitzky-Golay filter.
    """
    right = net.train(x, y, lr_shift, shuffle=False, overflow="ignore").right
    assert right is not None  # a report is the default
    return _last_filtered(right)


def run(samples: Dataset, jobs: int = -1) -> Iterator[tuple[tuple[int, int], float]]:
    """Train the 240 cells and yield each as it ends.

    Parameters
    ----------
    samples : Dataset
        Of `stream` or `load_stream`.
    jobs : int
        How many cells train at a time; -1 for as many as there are cores.

    Yields
    ------
    (lr_shift, fraction), accuracy
    """
    yield from side_by_side(_cell, _cells(samples), jobs)


def published() -> Grid:
    """Return the published grid.

    Returns
    -------
    dict of (lr_shift, fraction) to accuracy

    Examples
    --------
    >>> grid = published()
    >>> len(grid), grid[10, 19]
    (240, 0.9273329702161974)
    """
    text = resources.files("intmlp").joinpath("data/mnist_grid_2017.csv").read_text("ascii")
    return {
        (int(row["lr_shift"]), int(row["fraction"])): float(row["accuracy"])
        for row in csv.DictReader(text.splitlines())
    }


def differing(grid: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    """Return the cells that are not within 1e-12 of the published ones, in the grid's order.

    Parameters
    ----------
    grid : mapping of (lr_shift, fraction) to accuracy
        All 240 cells.

    Returns
    -------
    list of (lr_shift, fraction)

    Examples
    --------
    >>> differing(published())
    []
    >>> differing({**published(), (5, 8): 0.5})
    [(5, 8)]
    """
    return [
        cell
        for cell, accuracy in published().items()
        if not abs(grid[cell] - accuracy) <= EQUAL_WITHIN
    ]


def table(grid: Mapping[tuple[int, int], float]) -> pd.DataFrame:
    """Return a grid as the result table of a study, which `intmlp.study.plots` draws.

    Parameters
    ----------
    grid : mapping of (lr_shift, fraction) to accuracy

    Returns
    -------
    DataFrame
        Of the variant "fixed"; the columns are those that plots and answers read.
    """
    import pandas as pd

    rows = [
        ("fixed", fraction, lr_shift, SEED, accuracy, None)
        for (lr_shift, fraction), accuracy in grid.items()
    ]
    columns = ["variant", "fraction", "lr_shift", "seed", "accuracy", "diverged_at"]
    return pd.DataFrame(rows, columns=columns).astype({"fraction": "Int64", "diverged_at": "Int64"})


def write_csv(grid: Mapping[tuple[int, int], float], path: Path) -> None:
    """Write a grid as CSV, a row per cell, with every digit of the accuracy.

    Parameters
    ----------
    grid : mapping of (lr_shift, fraction) to accuracy
    path : Path
        The file; it is replaced as a whole.
    """
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("lr_shift", "fraction", "accuracy"))
        writer.writerows((*cell, repr(accuracy)) for cell, accuracy in sorted(grid.items()))


# A new state is seeded by the system, which takes as long as the draws: threads share this one.
_state = np.random.RandomState(SEED)
_drawing = threading.Lock()


@cache
def _after_permutation() -> dict[str, Any]:
    """Return the state of the random numbers after the permutation of all samples."""
    state = np.random.RandomState(SEED)
    state.permutation(TRAINING + TEST)
    return state.get_state(legacy=False)


def _last_filtered(right: NDArray[np.int32]) -> float:
    """Return the last value of the series after the published filter.

    The values before the last one stand on both sides of it. Both sums are exact integers, so
    that three roundings are left, the same on every machine.
    """
    places = np.arange(FILTER_REACH, -1, -1, dtype=np.int64)
    counts = 2 * right[-len(places) :].astype(np.int64)
    counts[-1] //= 2
    return int(counts.sum()) * FILTER_CENTRE + int(counts @ places**2) * FILTER_CURVE


def _cells(samples: Dataset) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments of the 240 calls; the cells of one fraction width share their inputs."""
    for fraction in FRACTIONS:
        x, y = raw(samples, fraction)
        for lr_shift in LR_SHIFTS:
            yield x, y, fraction, lr_shift


def _cell(
    x: NDArray[np.int32], y: NDArray[np.int32], fraction: int, lr_shift: int
) -> tuple[tuple[int, int], float]:
    """Train one cell, and return it with its accuracy. Cells run side by side: one thread each."""
    with one_thread():
        return (lr_shift, fraction), train(initial_network(fraction), x, y, lr_shift)
