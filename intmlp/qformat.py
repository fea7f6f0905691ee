"""Fixed-point formats: what integers there are, and how a value becomes one of them.

Accumulators are those of sums of products, before these enter a format.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from . import notation as notations
from ._check import choice, instance, integer

Rounding = Literal["floor", "toward_zero", "half_up", "half_away", "half_even", "stochastic"]
Overflow = Literal["saturate", "wrap"]

# The position of a name is its code in the compiled core (`im_rounding`, `im_overflow`).
ROUNDINGS: tuple[Rounding, ...] = (
    "floor",
    "toward_zero",
    "half_up",
    "half_away",
    "half_even",
    "stochastic",
)
OVERFLOWS: tuple[Overflow, ...] = ("saturate", "wrap")

MOST_RANDOM_BITS = 32


@dataclass(frozen=True)
class QFormat:
    """A signed fixed-point format: ``raw`` stands for ``raw * 2**-frac``.

    Parameters
    ----------
    bits : int
        Total width with the sign bit, 2..64.
    frac : int
        Fraction width, 0..63. It may exceed ``bits - 1``.
    rounding : {"floor", "toward_zero", "half_up", "half_away", "half_even", "stochastic"}
        How a value between two raw integers enters the format. ``stochastic`` rounds up with the
        probability of what is cut off; a `Stream` says with which random numbers.
    overflow : {"saturate", "wrap"}
        What a value outside the range becomes: the nearest end, or its low ``bits`` bits.
    random_bits : int
        Of ``stochastic`` rounding only: how many random bits decide, 1..32.

    Raises
    ------
    TypeError
        Where ``bits``, ``frac`` or ``random_bits`` is not an integer.
    ValueError
        Where a field lies outside its range, names an unknown rule, or gives ``random_bits`` to a
        rule that reads none.

    Notes
    -----
    Source: docs/numerics.md, sections 1 and 6.

    Examples
    --------
    >>> from intmlp import QFormat
    >>> q = QFormat(8, 4)
    >>> q
    QFormat(bits=8, frac=4, rounding='half_even', overflow='saturate')
    >>> q.raw_min, q.raw_max, q.dtype
    (-128, 127, dtype('int32'))
    >>> QFormat(8, 4, "stochastic")
    QFormat(bits=8, frac=4, rounding='stochastic', overflow='saturate', random_bits=32)
    """

    bits: int
    frac: int
    rounding: Rounding = "half_even"
    overflow: Overflow = "saturate"
    random_bits: int = MOST_RANDOM_BITS

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", integer("bits", self.bits, 2, 64))
        object.__setattr__(self, "frac", integer("frac", self.frac, 0, 63))
        bits = integer("random_bits", self.random_bits, 1, MOST_RANDOM_BITS)
        object.__setattr__(self, "random_bits", bits)
        choice("rounding", self.rounding, ROUNDINGS)
        choice("overflow", self.overflow, OVERFLOWS)
        if bits != MOST_RANDOM_BITS and not self.is_stochastic:
            raise ValueError(
                f"random_bits must be {MOST_RANDOM_BITS} where rounding is not 'stochastic', "
                f"got {bits} with {self.rounding!r}"
            )

    def __repr__(self) -> str:
        """Return the call that makes the format; random bits where they matter."""
        shown = [field.name for field in fields(self)]
        if not self.is_stochastic:
            shown.remove("random_bits")
        return f"QFormat({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    @property
    def is_stochastic(self) -> bool:
        """Whether values enter it by random numbers."""
        return self.rounding == "stochastic"

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

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        convention: Literal["arm", "ti"] | None = None,
        rounding: str | None = None,
        overflow: str | None = None,
    ) -> QFormat:
        """Return the format that a text of another tool names.

        Parameters
        ----------
        text : str
            ``Qm.n``, ``ap_fixed<W,I,Q,O>``, ``ac_fixed<W,I,true,Q,O>``, ``numerictype(1,w,f)`` or
            ``sfixed(high downto low)``.
        convention : {"arm", "ti"}
            For ``Qm.n`` alone, where it is due: whether ``m`` counts the sign bit (ARM) or does
            not (TI).
        rounding, overflow : str, optional
            The rules, where the text cannot state them. ``numerictype``: in the words of fimath
            (``Floor``, ``Zero``, ``Nearest``, ``Round``, ``Convergent``; ``Saturate``, ``Wrap``),
            default ``Nearest`` and ``Saturate``. ``sfixed``: in those of fixed_pkg
            (``fixed_round``, ``fixed_truncate``; ``fixed_saturate``, ``fixed_wrap``), default the
            first of each. ``Qm.n``: in those of `QFormat`, with its defaults. The C++ types
            state them, default ``TRN`` and ``WRAP``.

        Raises
        ------
        ValueError
            Where the text is none of these, is unsigned, lies outside the ranges of `QFormat`,
            lacks its convention, or asks for a rule that has no equal here.

        Notes
        -----
        Sources: see `intmlp.notation`.

        Examples
        --------
        >>> from intmlp import QFormat
        >>> QFormat.parse("ap_fixed<16,4,AP_RND_CONV,AP_SAT>")
        QFormat(bits=16, frac=12, rounding='half_even', overflow='saturate')
        >>> QFormat.parse("Q1.15", convention="arm").bits
        16
        >>> QFormat.parse("Q1.15")
        Traceback (most recent call last):
            ...
        ValueError: text 'Q1.15' needs convention='arm' (16 bits, 15 of them fraction) or \
convention='ti' (17 bits, 15 of them fraction)
        >>> QFormat.parse("numerictype(1,16,12)", rounding="Round").rounding
        'half_away'
        """
        instance("text", text, str)
        fields = notations.read(text, convention, rounding, overflow)
        try:
            return cls(*fields)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"text {text!r}: {error}") from None

    def to_text(self, notation: str) -> str:
        """Return how another tool writes this format; `parse` reads it.

        Parameters
        ----------
        notation : {"arm", "ti", "ap_fixed", "ac_fixed", "numerictype", "sfixed"}
            ``arm`` and ``ti`` are both conventions of ``Qm.n``. These two, ``numerictype`` and
            ``sfixed`` name the widths alone: the rules are stated elsewhere in their languages.

        Raises
        ------
        ValueError
            Where the language has no such rule or no such widths: ``stochastic`` rounding has no
            notation, fixed_pkg of VHDL has ``half_even`` and ``floor``, ``Qm.n`` has no negative
            ``m``.

        Examples
        --------
        >>> from intmlp import QFormat
        >>> fmt = QFormat(16, 12, "half_up")
        >>> fmt.to_text("ap_fixed"), fmt.to_text("arm"), fmt.to_text("ti")
        ('ap_fixed<16,4,AP_RND,AP_SAT>', 'Q4.12', 'Q3.12')
        """
        return notations.write(self.bits, self.frac, self.rounding, self.overflow, notation)


@dataclass(frozen=True)
class Accumulator:
    """A register of so many bits, in which sums of products are added up.

    It has the fraction width of the products. A sum starts with the bias, and takes the products
    in their order; each of these additions wraps or saturates. Without an accumulator sums are
    exact.

    Parameters
    ----------
    bits : int
        Total width with the sign bit, 2..64.
    overflow : {"wrap", "saturate"}
        What becomes of a sum outside ``-2**(bits - 1) .. 2**(bits - 1) - 1``: its low ``bits``
        bits, or the nearest end.

    Raises
    ------
    TypeError
        Where ``bits`` is not an integer.
    ValueError
        Where ``bits`` lies outside its range, or ``overflow`` is an unknown rule.

    Notes
    -----
    One that wraps costs about as much as none: the order of its additions cannot be seen. One that
    saturates is as fast only where the values prove that no partial sum leaves it;
    `explain_matmul` says so. Source: docs/numerics.md, section 2.

    Examples
    --------
    >>> import intmlp
    >>> from intmlp import Accumulator, QFormat
    >>> a, b = [[100, 100, -100]], [[1], [1], [1]]
    >>> intmlp.matmul(a, b, 0, QFormat(16, 0), accumulator=Accumulator(8))
    array([[100]], dtype=int32)
    >>> intmlp.matmul(a, b, 0, QFormat(16, 0), accumulator=Accumulator(8, "saturate"))
    array([[27]], dtype=int32)
    """

    bits: int
    overflow: Overflow = "wrap"

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", integer("bits", self.bits, 2, 64))
        choice("overflow", self.overflow, OVERFLOWS)
