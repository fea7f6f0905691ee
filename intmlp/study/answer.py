"""The answer of a bottleneck study: how few bits each variant needs, and which part needs them.

Definitions
-----------
Every step is taken on the cells that all variants share, so that none is judged where another
was not: the fraction widths common to all (all float has none), the learning rates and the seeds
common to all.

*Best accuracy* of a variant at a width, for a seed: the largest over the learning rates, since
whoever builds hardware may choose the rate; a network that diverged counts 0, and what smoothing
carried beyond 0 or 1 counts as these. A maximum over noise is optimistic, but equally so for every
variant, as all have the same rates to choose from.

*Target* of a seed: the best accuracy of all float for the same seed, less the tolerance. Equal
seeds mean equal samples in an equal order and equal initial weights, so that differences are
paired, and luck that is common to both cancels.

*A width serves* where the mean over seeds of best accuracy minus target is at least 0. Both ends
count: exactly the tolerance below all float serves (and a billionth more, since decimal ties are
not ties in float64).

*Lowest width* of a variant: the narrowest width that serves. That a wider one may fail again, by
chance or because wider fractions leave fewer integer bits, is not hidden: those widths are listed
as `failing_above`. A variant without a width that serves has no lowest width; one whose lowest
width is the narrowest of the grid needs *at most* that.

*Interval over seeds*: the lowest and the highest of the lowest widths that the seeds would name
by themselves. It is the range of what was seen, not a confidence interval.

*Bottleneck*: the part of training (forward pass, backward pass or update) for which four things
hold. Its swap for float, the other two parts left fixed, lowers the lowest width of all fixed. No
other swap lowers it as far. No other part needs more bits where it alone is fixed. And by their
own lowest widths more than half of the seeds agree with the first two. Else no single part is to
blame, and `Answer.finding` says why.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..io.files import atomic

if TYPE_CHECKING:
    import pandas as pd

PARTS = {"forward": "forward pass", "backward": "backward pass", "update": "update"}
REFERENCE = "float"
SCHEMA = 1
TIE = 1e-9


@dataclass(frozen=True)
class Best:
    """The best accuracies of a variant at one width.

    Attributes
    ----------
    mean : float
        Over seeds.
    accuracies : tuple of float
        One a seed.
    lr_shifts : tuple of int
        Where each seed is best; of equal ones the fastest rate, the smallest shift.
    """

    mean: float
    accuracies: tuple[float, ...]
    lr_shifts: tuple[int, ...]


@dataclass(frozen=True)
class Point(Best):
    """The best accuracies of a variant at a width that is named.

    Attributes
    ----------
    fraction : int
    serves : bool
        Whether the mean is within the tolerance of all float.
    """

    fraction: int
    serves: bool


@dataclass(frozen=True)
class Need:
    """How many fraction bits a variant needs.

    Attributes
    ----------
    lowest : int or None
        The narrowest width that serves; None where none does.
    interval : tuple of two (int or None)
        Lowest and highest of the seeds' own lowest widths; None where a seed has none, which
        ranks above every width.
    of_seeds : tuple of (int or None)
        The lowest width of each seed by itself.
    failing_above : tuple of int
        Widths wider than the lowest that do not serve.
    curve : tuple of Point
        One a width, narrow to wide.
    """

    lowest: int | None
    interval: tuple[int | None, int | None]
    of_seeds: tuple[int | None, ...]
    failing_above: tuple[int, ...]
    curve: tuple[Point, ...]


@dataclass(frozen=True)
class Verdict:
    """Which part needs the bits.

    Attributes
    ----------
    sentence : str
        For people.
    finding : str
        For programs:

        ======================  ============================================================
        ``"bottleneck"``        one part is to blame
        ``"shared"``            several swaps lower the width equally far
        ``"no swap helps"``     no single swap lowers the width of all fixed
        ``"parts interact"``    one swap helps most, but alone another part needs more bits
        ``"seeds disagree"``    one swap helps most, but not for more than half of the seeds
        ``"narrowest serves"``  all fixed trains at the narrowest width of the grid
        ``"nothing trains"``    all float is no better than a constant output
        ``"variants missing"``  all fixed, or a variant with one part in float, was not run
        ======================  ============================================================
    bottleneck : str or None
        ``"forward"``, ``"backward"``, ``"update"``; None where no single part is to blame.
    agreeing_seeds : int or None
        For how many seeds the swap that helps most is the same; None where none helps most.
    saves : dict of str to (int or None)
        By how many bits the swap of each part for float lowers the width of all fixed; None where
        one of both has no lowest width.
    """

    sentence: str
    finding: str
    bottleneck: str | None
    agreeing_seeds: int | None
    saves: dict[str, int | None]


@dataclass(frozen=True)
class Answer:
    """What `find` found.

    Attributes
    ----------
    verdict : Verdict
    variants : dict of str to Need
        All but all float, in the order of the table.
    reference : Best
        All float.
    tolerance : float
    chance : float or None
        As given.
    fractions, lr_shifts, seeds : tuple of int
        The grid that all variants share.
    cells_left_out : int
        Cells outside of it.
    """

    verdict: Verdict
    variants: dict[str, Need]
    reference: Best
    tolerance: float
    chance: float | None
    fractions: tuple[int, ...]
    lr_shifts: tuple[int, ...]
    seeds: tuple[int, ...]
    cells_left_out: int


def find(table: pd.DataFrame, tolerance: float = 0.01, chance: float | None = None) -> Answer:
    """Return the lowest widths and the verdict of a result table, by the rules of this module.

    Parameters
    ----------
    table : DataFrame
        The columns ``variant``, ``fraction``, ``lr_shift``, ``seed``, ``accuracy`` and
        ``diverged_at`` of a result table, with all float among the variants.
    tolerance : float
        How far below all float an accuracy may be, 0..1; 0.01 is one percentage point.
    chance : float, optional
        The accuracy of the best constant output. Where all float is not further above it than
        the tolerance, the verdict is that nothing trains.

    Returns
    -------
    Answer

    Raises
    ------
    ValueError
        Where the table lacks all float or a cell of the shared grid, shares no grid, or an
        accuracy is not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> lowest = {"fixed": 6, "float-forward": 6, "float-backward": 5, "float-update": 3,
    ...           "fixed-forward": 2, "fixed-backward": 4, "fixed-update": 6}
    >>> cells = [(v, f, 8, 0, 0.9 if f >= least else 0.1, None)
    ...          for v, least in lowest.items() for f in range(1, 9)]
    >>> columns = ["variant", "fraction", "lr_shift", "seed", "accuracy", "diverged_at"]
    >>> table = pd.DataFrame([*cells, ("float", None, 8, 0, 0.9, None)], columns=columns)
    >>> answer = find(table.astype({"fraction": "Int64", "diverged_at": "Int64"}))
    >>> answer.verdict.bottleneck, answer.variants["fixed"].lowest
    ('update', 6)
    """
    if not 0 <= tolerance <= 1:
        raise ValueError(f"tolerance must be in 0..1, got {tolerance}")
    grid, shared = _shared(table)
    best = best_accuracies(shared)
    is_reference = best["variant"] == REFERENCE
    reference = _best(best[is_reference], grid["seed"])
    targets = [accuracy - tolerance for accuracy in reference.accuracies]
    needs = {
        str(variant): _need(rows, grid["seed"], targets)
        for variant, rows in best[~is_reference].groupby("variant", sort=False)
    }
    return Answer(
        verdict=_judge(needs, reference.mean, tolerance, chance),
        variants=needs,
        reference=reference,
        tolerance=float(tolerance),
        chance=chance,
        fractions=grid["fraction"],
        lr_shifts=grid["lr_shift"],
        seeds=grid["seed"],
        cells_left_out=len(table) - len(shared),
    )


def best_accuracies(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a result table that are the best over learning rates.

    Parameters
    ----------
    table : DataFrame
        As for `find`.

    Returns
    -------
    DataFrame
        Of the rows of each variant, fraction and seed the one with the highest accuracy, within
        0..1 and 0 where the network diverged; of equal ones the smallest ``lr_shift``. In the
        table's order.
    """
    converged = table["diverged_at"].isna()
    accuracy = table["accuracy"].astype(float).clip(0, 1).where(converged, 0.0)
    rows = table.assign(accuracy=accuracy)
    ranked = rows.sort_values(["accuracy", "lr_shift"], ascending=[False, True], kind="stable")
    return ranked.groupby(["variant", "fraction", "seed"], dropna=False).head(1).sort_index()


def write(answer: Answer, path: Path) -> None:
    """Write an answer as JSON; equal answers are equal bytes.

    Parameters
    ----------
    answer : Answer
    path : Path
        The file; it is replaced as a whole.

    Notes
    -----
    The object holds ``schema`` (1; another number where a name or a meaning changes) and the
    fields of `Answer`, with `Verdict`, `Need`, `Best` and `Point` as objects, tuples as arrays
    and None as null.
    """
    text = json.dumps({"schema": SCHEMA, **asdict(answer)}, indent=2, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="ascii", newline="\n")


# The shared grid --------------------------------------------------------------------------


def _shared(table: pd.DataFrame) -> tuple[dict[str, tuple[int, ...]], pd.DataFrame]:
    """Return the grid that all variants share, and its rows; raise where a cell is missing."""
    variants = list(table["variant"].unique())
    if REFERENCE not in variants:
        raise ValueError(f"the table must hold the variant {REFERENCE!r}, got {variants}")
    if not table["accuracy"].map(math.isfinite).all():
        raise ValueError("every accuracy of the table must be finite")

    has_width = table[table["variant"] != REFERENCE]
    grid = {
        "fraction": _common(has_width, "fraction"),
        "lr_shift": _common(table, "lr_shift"),
        "seed": _common(table, "seed"),
    }
    for axis, values in grid.items():
        if not values and (axis != "fraction" or len(has_width)):
            raise ValueError(f"the variants of the table share no {axis}")

    is_shared = table["lr_shift"].isin(grid["lr_shift"]) & table["seed"].isin(grid["seed"])
    is_shared &= table["fraction"].isin(grid["fraction"]) | (table["variant"] == REFERENCE)
    shared = table[is_shared]
    rates_and_seeds = len(grid["lr_shift"]) * len(grid["seed"])
    for variant, rows in shared.groupby("variant", sort=False):
        wanted = rates_and_seeds * (1 if variant == REFERENCE else len(grid["fraction"]))
        cells = len(rows[["fraction", "lr_shift", "seed"]].drop_duplicates())
        if not cells == len(rows) == wanted:
            raise ValueError(
                f"the variant {variant!r} must have each of the {wanted} cells of the shared "
                f"grid once, got {len(rows)} rows with {cells} cells"
            )
    return grid, shared


def _common(table: pd.DataFrame, column: str) -> tuple[int, ...]:
    """Return the values of a column that every variant has, in order."""
    sets = [set(values) for _, values in table.groupby("variant")[column]]
    return tuple(sorted(map(int, set.intersection(*sets)))) if sets else ()


# Lowest widths ----------------------------------------------------------------------------


def _best(rows: pd.DataFrame, seeds: Sequence[int]) -> Best:
    """Return the best accuracies of one variant at one width, in the order of the seeds."""
    rows = rows.set_index("seed").loc[list(seeds)]
    accuracies = tuple(map(float, rows["accuracy"]))
    return Best(_mean(accuracies), accuracies, tuple(map(int, rows["lr_shift"])))


def _need(rows: pd.DataFrame, seeds: Sequence[int], targets: Sequence[float]) -> Need:
    """Return the need of a variant, from its best rows and the target of each seed."""
    points = []
    serving: list[list[int]] = [[] for _ in seeds]
    for fraction, of_width in rows.groupby("fraction"):
        best = _best(of_width, seeds)
        above = [a - target for a, target in zip(best.accuracies, targets, strict=True)]
        points.append(
            Point(best.mean, best.accuracies, best.lr_shifts, int(fraction), _mean(above) >= -TIE)
        )
        for own, excess in zip(serving, above, strict=True):
            if excess >= -TIE:
                own.append(int(fraction))
    of_seeds = tuple(own[0] if own else None for own in serving)
    lowest = next((point.fraction for point in points if point.serves), None)
    return Need(
        lowest,
        (min(of_seeds, key=_rank), max(of_seeds, key=_rank)),
        of_seeds,
        tuple(p.fraction for p in points if not p.serves and p.fraction > _rank(lowest)),
        tuple(points),
    )


def _mean(values: Sequence[float]) -> float:
    """Return the mean of `values` by their exact sum, so that no machine has another."""
    return math.fsum(values) / len(values)


def _rank(lowest: int | None) -> float:
    """Return a number that orders lowest widths: where there is none, all widths are too few."""
    return math.inf if lowest is None else lowest


# The verdict ------------------------------------------------------------------------------


def _judge(
    needs: Mapping[str, Need], reference: float, tolerance: float, chance: float | None
) -> Verdict:
    """Return the verdict on the needs of all variants, with the mean accuracy of all float."""
    swaps = {p: needs[f"float-{p}"] for p in PARTS if f"float-{p}" in needs}
    alone = {p: needs[f"fixed-{p}"].lowest for p in PARTS if f"fixed-{p}" in needs}
    fixed = needs.get("fixed")
    saves = {p: _difference(fixed, swaps.get(p)) for p in PARTS}

    def verdict(
        finding: str, sentence: str, bottleneck: str | None = None, seeds: int | None = None
    ) -> Verdict:
        return Verdict(sentence, finding, bottleneck, seeds, saves)

    if chance is not None and reference <= chance + tolerance:
        return verdict(
            "nothing trains",
            f"Nothing can be concluded: all float reaches {reference:.1%} and a constant output "
            f"{chance:.1%}, so that no width shows whether it trains.",
        )
    if fixed is None or len(swaps) < len(PARTS):
        wanted = ["fixed", *(f"float-{p}" for p in PARTS)]
        missing = [repr(variant) for variant in wanted if variant not in needs]
        were = "was" if len(missing) == 1 else "were"
        return verdict(
            "variants missing", f"No part can be named: {_listed(missing)} {were} not run."
        )

    narrowest, widest = fixed.curve[0].fraction, fixed.curve[-1].fraction
    points = f"{100 * tolerance:g} percentage point{'s' * (tolerance != 0.01)}"
    within = f"within {points} of all float ({reference:.1%})"
    start = (
        f"all fixed comes at no width up to {_bits(widest)} {within}"
        if fixed.lowest is None
        else f"all fixed needs {_bits(fixed.lowest)} to come {within}"
    )
    each = _listed([f"{_needed(lowest, fixed)} ({PARTS[p]})" for p, lowest in alone.items()])
    if fixed.lowest == narrowest:
        return verdict(
            "narrowest serves",
            f"No part is a bottleneck on this grid: all fixed comes {within} at its narrowest "
            f"width, {_bits(narrowest)}.",
        )
    best = _least({p: need.lowest for p, need in swaps.items()}, fixed.lowest)
    if not best:
        check = f"; alone in fixed point they need {each}" if alone else ""
        return verdict(
            "no swap helps",
            f"No single part is to blame: {start}, and no swap of one part for float lowers "
            f"that{check}.",
        )
    lowered = _needed(swaps[best[0]].lowest, fixed)
    if len(best) > 1:
        return verdict(
            "shared",
            f"No single part is to blame: {start}, and {lowered} serve with the "
            f"{' as with the '.join(PARTS[p] for p in best)} in float.",
        )

    [part] = best
    name = PARTS[part]
    agreeing = sum(
        _least({p: need.of_seeds[i] for p, need in swaps.items()}, lowest) == best
        for i, lowest in enumerate(fixed.of_seeds)
    )
    seeds = f"{agreeing} of {len(fixed.of_seeds)} seeds"
    agree = "one seed" if len(fixed.of_seeds) == 1 else f"{seeds} agree"
    lowers = f"with the {name} in float {lowered} serve, fewer than with any other part in float"
    if 2 * agreeing <= len(fixed.of_seeds):
        return verdict(
            "seeds disagree",
            f"No single part is surely to blame: {start}, and {lowers}, but only {seeds} by "
            "themselves say so.",
            seeds=agreeing,
        )
    needier = [p for p in alone if part in alone and _rank(alone[p]) > _rank(alone[part])]
    if needier:
        return verdict(
            "parts interact",
            f"No single part is to blame: {start}, and {lowers}, but where one part alone is "
            f"fixed, the {_listed([PARTS[p] for p in needier])} needs more than the {name} "
            f"({each}).",
            seeds=agreeing,
        )
    check = f"; alone in fixed point they need {each}" if alone else ""
    return verdict(
        "bottleneck",
        f"The {name} is the bottleneck: {start}, but {lowers} ({agree}){check}.",
        part,
        agreeing,
    )


def _least(lowest: Mapping[str, int | None], bound: int | None) -> list[str]:
    """Return the parts with the lowest width, where that is below `bound`; else none."""
    least = min(map(_rank, lowest.values()))
    return [part for part in lowest if _rank(lowest[part]) == least < _rank(bound)]


def _difference(fixed: Need | None, swap: Need | None) -> int | None:
    """Return how many bits fewer a swap needs than all fixed."""
    if fixed is None or swap is None or fixed.lowest is None or swap.lowest is None:
        return None
    return fixed.lowest - swap.lowest


def _needed(lowest: int | None, fixed: Need) -> str:
    """Return a lowest width as words that keep to what the grid of `fixed` can show."""
    if lowest is None:
        return f"more than {fixed.curve[-1].fraction}"
    return f"{lowest} or fewer" if lowest == fixed.curve[0].fraction else str(lowest)


def _bits(count: int) -> str:
    return f"{count} fraction bit{'s' * (count != 1)}"


def _listed(words: Sequence[str]) -> str:
    """Return words as English lists them."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
