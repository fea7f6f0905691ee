"""The cells of a bottleneck study: variants x fraction widths x learning rates x seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .._check import integer
from ..nn import Parts

# Every combination of parts, each named by what it swaps; rows of results stand in this order.
VARIANTS: dict[str, Parts] = {
    "fixed": Parts(),
    "float-forward": Parts(forward="float"),
    "float-backward": Parts(backward="float"),
    "float-update": Parts(update="float"),
    "fixed-forward": Parts(backward="float", update="float"),
    "fixed-backward": Parts(forward="float", update="float"),
    "fixed-update": Parts(forward="float", backward="float"),
    "float": Parts("float", "float", "float"),
}

PUBLISHED_SEED = 0xDEADBEEC


class Cell(NamedTuple):
    """One training of a study.

    Attributes
    ----------
    variant : str
        A name of `VARIANTS`.
    fraction : int or None
        Fraction width; None for "float", which has no format.
    lr_shift : int
        The learning rate is ``2**-lr_shift``.
    seed : int
        Seed of initial weights and sample order.
    """

    variant: str
    fraction: int | None
    lr_shift: int
    seed: int


@dataclass(frozen=True)
class Grid:
    """Which cells a study trains.

    Parameters
    ----------
    variants : sequence of str
        Names of `VARIANTS`.
    fractions : sequence of int
        Fraction widths, 0..63. The variant "float" has none: it is trained once a rate and seed.
    lr_shifts : sequence of int
        Learning rates ``2**-lr_shift``, -4096..4096.
    seeds : sequence of int
        0..2**32 - 1.
    own_ranges : mapping of str to (fractions, lr_shifts)
        Variants that are trained on ranges of their own instead of those above.

    Raises
    ------
    TypeError, ValueError
        Where a range is empty, names a value twice, or has one out of its limits.

    Notes
    -----
    Each sequence is sorted, the variants into the order of `VARIANTS`. Iterating yields the cells
    in the order of the result table: by variant, fraction width, learning rate, seed.

    Examples
    --------
    >>> len(Grid())
    10692
    >>> grid = Grid(variants=["float", "fixed"], fractions=[8, 9], lr_shifts=[5], seeds=[0])
    >>> for cell in grid:
    ...     print(*cell)
    fixed 8 5 0
    fixed 9 5 0
    float None 5 0
    """

    variants: Sequence[str] = tuple(VARIANTS)
    fractions: Sequence[int] = range(1, 24)
    lr_shifts: Sequence[int] = range(-2, 20)
    seeds: Sequence[int] = range(3)
    own_ranges: Mapping[str, tuple[Sequence[int], Sequence[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.variants, *self.own_ranges):
            if name not in VARIANTS:
                raise ValueError(f"variants must be among {', '.join(VARIANTS)}; got {name!r}")
        if not self.variants or len(set(self.variants)) != len(self.variants):
            raise ValueError(f"variants must be one or more, each once, got {self.variants!r}")
        ordered = tuple(name for name in VARIANTS if name in self.variants)
        object.__setattr__(self, "variants", ordered)
        object.__setattr__(self, "fractions", _fractions(self.fractions))
        object.__setattr__(self, "lr_shifts", _lr_shifts(self.lr_shifts))
        object.__setattr__(self, "seeds", _sorted("seeds", self.seeds, 0, 2**32 - 1))
        own = {
            name: (_fractions(fractions), _lr_shifts(lr_shifts))
            for name, (fractions, lr_shifts) in self.own_ranges.items()
            if name in self.variants
        }
        object.__setattr__(self, "own_ranges", own)

    @classmethod
    def published(cls, variants: Sequence[str] = tuple(VARIANTS)) -> Grid:
        """Return the ranges of the published study, with its one seed.

        Parameters
        ----------
        variants : sequence of str
            Names of `VARIANTS`.

        Returns
        -------
        Grid
            "fixed" has the fraction widths 8..23 and the learning rates 5..19; all others, which
            have parts in float, have 1..23 and -2..19.

        Examples
        --------
        >>> len(Grid.published(["fixed"])), len(Grid.published(["float-backward", "float"]))
        (240, 528)
        """
        own = {"fixed": (range(8, 24), range(5, 20))}
        return cls(variants, seeds=(PUBLISHED_SEED,), own_ranges=own)

    def ranges(self, variant: str) -> tuple[Sequence[int | None], Sequence[int]]:
        """Return the fraction widths and the learning rate shifts of a variant.

        Parameters
        ----------
        variant : str
            A name of `VARIANTS`.

        Returns
        -------
        fractions, lr_shifts : sequence
            Of "float" the one fraction width is None.
        """
        fractions, lr_shifts = self.own_ranges.get(variant, (self.fractions, self.lr_shifts))
        return (fractions if VARIANTS[variant].any_fixed else (None,)), lr_shifts

    def __iter__(self) -> Iterator[Cell]:
        for variant in self.variants:
            fractions, lr_shifts = self.ranges(variant)
            for fraction in fractions:
                for lr_shift in lr_shifts:
                    for seed in self.seeds:
                        yield Cell(variant, fraction, lr_shift, seed)

    def __len__(self) -> int:
        ranges = (self.ranges(variant) for variant in self.variants)
        return sum(len(fractions) * len(shifts) for fractions, shifts in ranges) * len(self.seeds)


def _fractions(values: Sequence[int]) -> tuple[int, ...]:
    return _sorted("fractions", values, 0, 63)


def _lr_shifts(values: Sequence[int]) -> tuple[int, ...]:
    return _sorted("lr_shifts", values, -4096, 4096)


def _sorted(name: str, values: Sequence[int], low: int, high: int) -> tuple[int, ...]:
    """Return the integers `values` of an argument, sorted; at least one, each once."""
    checked = sorted(integer(f"{name}[{i}]", value, low, high) for i, value in enumerate(values))
    if not checked:
        raise ValueError(f"{name} must have at least one value, got none")
    if len(set(checked)) != len(checked):
        raise ValueError(f"{name} must have each value once, got {checked}")
    return tuple(checked)
