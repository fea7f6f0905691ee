"""Where stochastic rounding takes its random numbers from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ._check import instance, integer
from .qformat import QFormat

# What is rounded of a layer; the position of a name is its number, as of `im_role`.
ROLES = (
    "Z",
    "A",
    "E",
    "D",
    "gW",
    "gb",
    "step_W",
    "step_b",
    "source",
    "real_W",
    "real_b",
    "V_W",
    "V_b",
)

# Updates of a network: the number of each, and of all together, has 32 bits.
MOST_STEPS = 2**32 - 1


@dataclass(frozen=True)
class Stream:
    """The random numbers of stochastic rounding: element `i` always rounds by number `i`.

    Parameters
    ----------
    seed : int
        0..2**64 - 1.
    step : int
        0..2**32 - 1. In the training of a network, the number of its updates so far.
    tensor : int
        0..2**32 - 1. Networks number their tensors themselves, and take 0 here.

    Raises
    ------
    TypeError, ValueError
        Where a field is not an integer, or lies outside its range.

    Notes
    -----
    The numbers are those of Philox4x32-10, a function of seed, step, tensor and element: they are
    the same on every machine and for any number of threads, and nothing is used up by a call.
    Source: docs/numerics.md, section 6.

    Examples
    --------
    >>> import intmlp
    >>> fmt = intmlp.QFormat(8, 0, "stochastic")
    >>> intmlp.quantize([0.25] * 12, fmt, stream=intmlp.Stream(1))
    array([1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1], dtype=int32)
    >>> intmlp.quantize([0.25] * 12, fmt, stream=intmlp.Stream(1, step=1))
    array([0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=int32)
    """

    seed: int
    step: int = 0
    tensor: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            bits = 64 if field.name == "seed" else 32
            value = integer(field.name, getattr(self, field.name), 0, 2**bits - 1)
            object.__setattr__(self, field.name, value)


def check_stream(stream: Any, what: str, fmt: QFormat) -> None:
    """Raise where `stream` is no stream, or None though `what` is rounded stochastically."""
    if stream is not None:
        instance("stream", stream, Stream)
    elif fmt.is_stochastic:
        raise ValueError(
            f"stream must be given, as stream=intmlp.Stream(seed): {what} is rounded into {fmt}, "
            "got None"
        )


def tensor_number(layer: int, role: str) -> int:
    """Return the number of a tensor of a network, for `Stream`; the inputs are of layer 0."""
    return 16 * layer + ROLES.index(role)
