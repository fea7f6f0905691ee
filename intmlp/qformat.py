"""Fixed-point formats: what integers there are, and how a value becomes one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ._check import choice, integer

Rounding = Literal["floor", "toward_zero", "half_up", "half_away", "half_even"]
Overflow = Literal["saturate", "wrap"]

# The position of a name is its code in the compiled core (`im_rounding`, `im_overflow`).
ROUNDINGS = ("floor", "toward_zero", "half_up", "half_away", "half_even")
OVERFLOWS = ("saturate", "wrap")


@dataclass(frozen=True)
class QFormat:
    """A signed fixed-point format: ``raw`` stands for ``raw * 2**-frac``.

    Parameters
    ----------
    bits : int
        Total width with the sign bit, 2..64.
    frac : int
        Fraction width, 0..63. It may exceed ``bits - 1``.
    rounding : {"floor", "toward_zero", "half_up", "half_away", "half_even"}
        How a value between two raw integers enters the format.
    overflow : {"saturate", "wrap"}
        What a value outside the range becomes: the nearest end, or its low ``bits`` bits.

    Raises
    ------
    TypeError
        Where ``bits`` or ``frac`` is not an integer.
    ValueError
        Where a field lies outside its range, or names an unknown rule.

    Notes
    -----
    Source: docs/numerics.md, section 1.

    Examples
    --------
    >>> from intmlp import QFormat
    >>> q = QFormat(8, 4)
    >>> q
    QFormat(bits=8, frac=4, rounding='half_even', overflow='saturate')
    >>> q.raw_min, q.raw_max, q.dtype
    (-128, 127, dtype('int32'))
    """

    bits: int
    frac: int
    rounding: Rounding = "half_even"
    overflow: Overflow = "saturate"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", integer("bits", self.bits, 2, 64))
        object.__setattr__(self, "frac", integer("frac", self.frac, 0, 63))
        if self.rounding == "stochastic":
            raise ValueError(
                "rounding 'stochastic' is not computed by this release; "
                f"allowed: {', '.join(ROUNDINGS)}"
            )
        choice("rounding", self.rounding, ROUNDINGS)
        choice("overflow", self.overflow, OVERFLOWS)

    @property
    def raw_min(self) -> int:
        """Smallest raw integer, ``-2**(bits - 1)``."""
        return -(1 << (self.bits - 1))

    @property
    def raw_max(self) -> int:
        """Largest raw integer, ``2**(bits - 1) - 1``."""
        return (1 << (self.bits - 1)) - 1

    @property
    def dtype(self) -> np.dtype:
        """Dtype of raw arrays: ``int32`` for ``bits <= 32``, else ``int64``."""
        return np.dtype(np.int32 if self.bits <= 32 else np.int64)
