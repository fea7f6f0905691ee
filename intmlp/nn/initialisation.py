"""Initial weights: drawn from a seed whose stream is frozen, in real or in raw units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .._check import choice

Unit = Literal["real", "raw"]


@dataclass(frozen=True)
class Initialisation:
    """A distribution of initial values; made by `uniform` or `normal`."""

    kind: Literal["uniform", "normal"]
    unit: Unit
    low: float | None = None
    high: float | None = None
    std: float = 0.0

    def draw(
        self, state: np.random.RandomState, shape: tuple[int, ...], n_in: int
    ) -> NDArray[np.float64]:
        """Return values of `shape` for a layer with `n_in` inputs; integers in raw units.

        Source: docs/numerics.md, section 5.
        """
        if self.kind == "normal":
            values = state.normal(0, self.std, shape)
        else:
            low = -1 / np.sqrt(n_in) if self.low is None else self.low
            high = 1 / np.sqrt(n_in) if self.high is None else self.high
            values = low + (high - low) * state.random_sample(shape)
        return np.rint(values) if self.unit == "raw" else values


def uniform(
    low: float | None = None, high: float | None = None, unit: Unit = "real"
) -> Initialisation:
    """Return the uniform distribution over ``[low, high)``.

    Parameters
    ----------
    low, high : float, optional
        The bounds; without them ``-1/sqrt(n_in)`` and ``1/sqrt(n_in)`` of each layer.
    unit : {"real", "raw"}
        ``raw``: values are rounded to integers, which are the raw weights.

    Raises
    ------
    ValueError
        Where one bound is given alone, the bounds are not finite or not in rising order,
        or raw units have no bounds.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([1, 3], intmlp.QFormat(16, 8), init=intmlp.uniform(0, 1), seed=5)
    >>> intmlp.dequantize(net.weights[0], intmlp.QFormat(16, 8)).ravel()
    array([0.22265625, 0.87109375, 0.20703125])
    """
    choice("unit", unit, ("real", "raw"))
    if (low is None) != (high is None):
        raise ValueError(f"low and high must be given together, got {low} and {high}")
    if low is None and unit == "raw":
        raise ValueError("low and high must be given in raw units, got None")
    if low is not None and high is not None and not -np.inf < low <= high < np.inf:
        raise ValueError(f"low must be at most high, both finite, got {low} and {high}")
    return Initialisation("uniform", unit, low=low, high=high)


def normal(std: float, unit: Unit = "real") -> Initialisation:
    """Return the normal distribution around zero.

    Parameters
    ----------
    std : float
        Standard deviation, finite and at least 0.
    unit : {"real", "raw"}
        ``raw``: values are rounded to integers, which are the raw weights.

    Notes
    -----
    Its values depend on the platform's ``log`` in the last bit of a double; `uniform` does not.

    Examples
    --------
    >>> import intmlp
    >>> net = intmlp.MLP([2, 1], intmlp.QFormat(16, 8), init=intmlp.normal(500, unit="raw"))
    >>> net.weights[0].shape
    (1, 2)
    """
    choice("unit", unit, ("real", "raw"))
    if not (np.isfinite(std) and std >= 0):
        raise ValueError(f"std must be finite and at least 0, got {std}")
    return Initialisation("normal", unit, std=float(std))
