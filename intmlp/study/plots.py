"""Figures of studies: accuracy over fraction width and learning rate, and why widths fail.

Each plot function draws one variant, or one comparison, on an `Axes` that is given. The functions
that end in ``_figure`` lay these out for all variants and return a `Figure`, which needs no
display: save it with `save`. All that shows accuracy shares one colour scale, from 0 to 1, and
colours (viridis, and the palette of Okabe and Ito) that colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..io.files import atomic
from .answer import PARTS, REFERENCE, Answer

if TYPE_CHECKING:
    import pandas as pd
    from mpl_toolkits.mplot3d import Axes3D

LABELS = {
    "fixed": "All fixed",
    **{f"float-{part}": f"{name.capitalize()} in float" for part, name in PARTS.items()},
    REFERENCE: "All float",
    **{f"fixed-{part}": f"Only {name} fixed" for part, name in PARTS.items()},
}
CURVES = {
    "One part in float": ["fixed", *(f"float-{part}" for part in PARTS)],
    "One part fixed": [f"fixed-{part}" for part in PARTS],
}
FRACTION_LABEL = "Fraction width (bits)"
NO_WIDTH = "No width"
LR_LABEL = "Learning rate shift s (rate $2^{-s}$)"
ACCURACY_LABEL = "Accuracy"
COLOURS = {"forward": "#0072B2", "backward": "#D55E00", "update": "#009E73"}
MARKERS = {"forward": "o", "backward": "s", "update": "^"}
ACCURACY_COLOURS = "viridis"
CAUSE_COLOURS = "magma"
ACCURACIES = Normalize(0, 1)


def _share(values: NDArray[np.float64]) -> Normalize:
    return Normalize(0, 1)


def _up_to_the_largest(values: NDArray[np.float64]) -> Normalize:
    return Normalize(0, np.nanmax(values, initial=0) or 1)


def _ratio(values: NDArray[np.float64]) -> Normalize:
    return LogNorm(1e-3, 1e3, clip=True)


@dataclass(frozen=True)
class Cause:
    """A quantity that explains why a width fails.

    Attributes
    ----------
    title : str
    unit : str
        What its colour bar says.
    tensors : str
        The tensors whose rows of a causes table count, one letter each.
    value : callable
        Of the summed columns (`widest_bits`: the largest) of those rows, by name; `step` and
        `error` are the magnitudes of all steps after the shift, and of their rounding errors.
    scale : callable
        The colour scale for a matrix of its values.
    """

    title: str
    unit: str
    tensors: str
    value: Callable[[pd.DataFrame], pd.Series]
    scale: Callable[[NDArray[np.float64]], Normalize] = _share


CAUSES = {
    "lost": Cause(
        "Steps that round to nothing",
        "Share of all steps that are not 0",
        "Wb",
        lambda sums: sums["lost_steps"] / (sums["entries"] - sums["exact_zeros"]),
    ),
    "artefact": Cause(
        "Steps that rounding made up",
        "Share of all steps that are not 0",
        "Wb",
        lambda sums: sums["artefact_steps"] / (sums["entries"] - sums["exact_zeros"]),
    ),
    "error": Cause(
        "Rounding error of the steps",
        "Mean error / mean step",
        "Wb",
        lambda sums: sums["error"] / sums["step"],
        _ratio,
    ),
    "overflow": Cause(
        "Values outside their format",
        "Share of all values",
        "ZEDWb",
        lambda sums: sums["overflows"] / sums["entries"],
        _up_to_the_largest,
    ),
    "widest": Cause(
        "Widest value",
        "Bits, with the sign",
        "ZEDWb",
        lambda sums: sums["widest_bits"],
        _up_to_the_largest,
    ),
    "dead": Cause(
        "Dead ReLU units",
        "Share of all units",
        "Z",
        lambda sums: sums["dead_units"] / sums["units"],
    ),
}


# One variant, on axes that are given ------------------------------------------------------


def heat_map(ax: Axes, table: pd.DataFrame, variant: str, lowest: int | None = None) -> None:
    """Draw the accuracies of a variant as colours over fraction width and learning rate.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        A result table. What is drawn is the mean over its seeds.
    variant : str
        All float is a strip of one column, each rate at its own place.
    lowest : int, optional
        The lowest width that serves: a line is drawn before it.

    Notes
    -----
    The ticks are the widths and shifts themselves. A cross marks the cells that diverged, for
    one seed or more.
    """
    rows = table[table["variant"] == variant]
    _cells(ax, _matrix(rows, "accuracy"), ACCURACIES, ACCURACY_COLOURS)
    diverged = rows[rows["diverged_at"].notna()]
    columns = diverged["fraction"].fillna(0).astype(int)
    ax.plot(columns, diverged["lr_shift"], "x", color="white", markersize=2.5, mew=0.6)
    if lowest is not None:
        ax.axvline(lowest - 0.5, color="white", linewidth=2.4)
        ax.axvline(lowest - 0.5, color="black", linewidth=1, linestyle=(0, (3, 2)))
    if variant == REFERENCE:
        ax.set(xlabel=NO_WIDTH, xticks=[], box_aspect=8, anchor="W")
    ax.set_title(LABELS[variant], loc="left")


def surface(ax: Axes3D, table: pd.DataFrame, variant: str) -> None:
    """Draw the accuracies of a variant as a surface over fraction width and learning rate.

    Parameters
    ----------
    ax : Axes3D
        Made with ``projection="3d"``.
    table : DataFrame
        A result table. What is drawn is the mean over its seeds.
    variant : str
        All float, which has no width, is a ribbon.
    """
    lr_shifts, fractions, accuracies = _matrix(table[table["variant"] == variant], "accuracy")
    drawn: Sequence[float] = fractions
    if len(fractions) == 1:  # a ribbon
        drawn, accuracies = [fractions[0] - 0.5, fractions[0] + 0.5], accuracies[:, [0, 0]]
        ax.set_ylim(fractions[0] - 4, fractions[0] + 4)
    ax.plot_surface(
        *np.meshgrid(lr_shifts, drawn, indexing="ij"),
        accuracies,
        rcount=len(lr_shifts),
        ccount=len(drawn),
        cmap=ACCURACY_COLOURS,
        norm=ACCURACIES,
        linewidth=0.2,
        edgecolor="#00000060",
        rasterized=True,
    )
    ax.set(
        xlabel=LR_LABEL,
        ylabel=FRACTION_LABEL,
        zlabel=ACCURACY_LABEL,
        xticks=_some(lr_shifts, 6),
        yticks=_some(fractions, 6),
        zlim=(0, 1),
    )
    if variant == REFERENCE:
        ax.set(ylabel=NO_WIDTH, yticks=[])
    ax.set_title(LABELS[variant], loc="left")
    ax.tick_params(labelsize=7, pad=-1)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.label.set_size(8)
        axis.labelpad = -2
        axis.set_pane_color("none")
    ax.view_init(elev=28, azim=-128)
    ax.set_box_aspect(None, zoom=0.87)


def curves(ax: Axes, answer: Answer, variants: Sequence[str]) -> None:
    """Draw the best accuracy over fraction width of some variants, with all float as a line.

    Parameters
    ----------
    ax : Axes
    answer : Answer
        Of `intmlp.study.answer.find`.
    variants : sequence of str
        Those that `answer` lacks are left out. A colour and a marker stand for a part: it is the
        one that differs from the other two.

    Notes
    -----
    Lines are means over seeds, bands reach from the worst to the best seed. A larger marker shows
    the lowest width that serves, the shaded strip what is within the tolerance of all float.
    """
    ink = ax.xaxis.label.get_color()
    target = answer.reference.mean - answer.tolerance
    ax.axhspan(target, answer.reference.mean, color=ink, alpha=0.12, linewidth=0)
    ax.axhline(answer.reference.mean, color=ink, linewidth=1, linestyle=(0, (5, 3)))
    for variant in variants:
        need = answer.variants.get(variant)
        if need is None:
            continue
        part = variant.partition("-")[2]
        colour, marker = COLOURS.get(part, ink), MARKERS.get(part, "D")
        widths = [point.fraction for point in need.curve]
        ax.fill_between(
            widths,
            [min(point.accuracies) for point in need.curve],
            [max(point.accuracies) for point in need.curve],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        ax.plot(
            widths,
            [point.mean for point in need.curve],
            color=colour,
            marker=marker,
            markersize=3,
            linewidth=1.4,
            label=LABELS[variant],
        )
        for point in need.curve:
            if point.fraction == need.lowest:
                ax.plot(
                    point.fraction,
                    point.mean,
                    marker=marker,
                    markersize=8,
                    color=colour,
                    fillstyle="none",
                    markeredgewidth=1.6,
                )
    ax.set(
        xlabel=FRACTION_LABEL,
        ylabel="Best accuracy over learning rates",
        xticks=answer.fractions,
        ylim=(0, 1.02),
    )
    ax.plot([], [], color=ink, linewidth=1, linestyle=(0, (5, 3)), label=LABELS[REFERENCE])
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.legend(frameon=False, loc="lower right")


def rates(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the accuracy of all float over the learning rate, each rate at its own place.

    Parameters
    ----------
    ax : Axes
    table : DataFrame
        A result table. The line is the mean over seeds, the band reaches from the worst to the
        best of them.
    """
    rows = table[table["variant"] == REFERENCE]
    by_rate = rows.groupby("lr_shift")["accuracy"].agg(["min", "mean", "max"]).astype(float)
    ink = ax.xaxis.label.get_color()
    ax.fill_between(by_rate.index, by_rate["min"], by_rate["max"], color=ink, alpha=0.2, lw=0)
    ax.plot(by_rate.index, by_rate["mean"], color=ink, marker="D", markersize=3)
    ax.set(
        xlabel=LR_LABEL,
        ylabel=ACCURACY_LABEL,
        xticks=by_rate.index,
        ylim=(0, 1.02),
    )
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.set_title(LABELS[REFERENCE], loc="left")


def cause_map(
    ax: Axes, causes: pd.DataFrame, variant: str, cause: str, norm: Normalize | None = None
) -> None:
    """Draw a cause as colours over fraction width and learning rate.

    Parameters
    ----------
    ax : Axes
    causes : DataFrame
        A causes table: a row per cell, layer and tensor, with its counts. What is drawn is the
        share over all layers, all of the cause's tensors and all seeds, or the largest of them.
    variant : str
        One that has a width.
    cause : str
        A name of `CAUSES`.
    norm : Normalize, optional
        The colour scale; that of `cause_scale` by default.
    """
    norm = norm or cause_scale(causes, variant, cause)
    _cells(ax, _cause_matrix(causes, variant, cause), norm, CAUSE_COLOURS)
    ax.set_title(CAUSES[cause].title, loc="left")


def cause_scale(causes: pd.DataFrame, variant: str, cause: str) -> Normalize:
    """Return the colour scale of a cause.

    Parameters
    ----------
    causes, variant, cause
        As for `cause_map`.

    Returns
    -------
    Normalize
        From 0 to 1 for shares, or as `Cause.scale` says.
    """
    return CAUSES[cause].scale(_cause_matrix(causes, variant, cause)[2])


def colour_bar(panels: Sequence[Axes], norm: Normalize, colours: str, label: str) -> None:
    """Draw the bar of a colour scale beside the axes that share it.

    Parameters
    ----------
    panels : sequence of Axes
        Of one figure.
    norm : Normalize
    colours : str
        Name of a colour map.
    label : str
    """
    bar = panels[0].figure.colorbar(
        ScalarMappable(norm, colours), ax=panels, label=label, pad=0.02, panchor=False
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def present(table: pd.DataFrame) -> list[str]:
    """Return the variants of a result table or a causes table in the order of figures.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    list of str
        In rows of four the columns are: none, forward pass, backward pass, update.
    """
    there = set(table["variant"])
    return [variant for variant in LABELS if variant in there]


# Whole figures ----------------------------------------------------------------------------


def heat_map_figure(table: pd.DataFrame, answer: Answer | None = None) -> Figure:
    """Return heat maps of all variants of a result table, with one colour scale.

    Parameters
    ----------
    table : DataFrame
    answer : Answer, optional
        With it lines show the lowest widths.

    Returns
    -------
    Figure
    """
    variants = present(table)
    figure, panels = _panels(len(variants), (3.6, 3.3), 4)
    for ax, variant in zip(panels, variants, strict=True):
        need = None if answer is None else answer.variants.get(variant)
        heat_map(ax, table, variant, need.lowest if need else None)
    colour_bar(panels, ACCURACIES, ACCURACY_COLOURS, ACCURACY_LABEL)
    return figure


def surface_figure(table: pd.DataFrame) -> Figure:
    """Return surfaces of all variants of a result table, with one colour scale.

    Parameters
    ----------
    table : DataFrame

    Returns
    -------
    Figure
    """
    variants = present(table)
    figure, panels = _panels(len(variants), (3.8, 3.6), 4, projection="3d")
    for ax, variant in zip(panels, variants, strict=True):
        surface(ax, table, variant)
    colour_bar(panels, ACCURACIES, ACCURACY_COLOURS, ACCURACY_LABEL)
    return figure


def curve_figure(answer: Answer) -> Figure:
    """Return the curves of the answer: one part in float on the left, one alone fixed right.

    Parameters
    ----------
    answer : Answer

    Returns
    -------
    Figure
    """
    figure, (left, right) = _panels(2, (5, 3.8), 2)
    curves(left, answer, CURVES["One part in float"])
    curves(right, answer, CURVES["One part fixed"])
    for ax, title in zip((left, right), CURVES, strict=True):
        ax.set_title(title, loc="left")
    return figure


def cause_figure(causes: pd.DataFrame, variant: str) -> Figure:
    """Return the maps of all causes for one variant.

    Parameters
    ----------
    causes : DataFrame
    variant : str
        One that has a width.

    Returns
    -------
    Figure
    """
    figure, panels = _panels(len(CAUSES), (4, 3.1), 3)
    for ax, (name, cause) in zip(panels, CAUSES.items(), strict=True):
        norm = cause_scale(causes, variant, name)
        cause_map(ax, causes, variant, name, norm)
        colour_bar([ax], norm, CAUSE_COLOURS, cause.unit)
    figure.suptitle(LABELS[variant])
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save a figure as PNG.

    Parameters
    ----------
    figure : Figure
    path : Path
        The file; it is replaced as a whole.
    """
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=200, metadata={"Software": None})


# Their pieces -----------------------------------------------------------------------------

# Shifts, widths (one, of no meaning, for all float), and a value for each pair of both.
Matrix = tuple[list[int], list[int], NDArray[np.float64]]


def _panels(
    count: int, size: tuple[float, float], columns: int, **of_axes: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many axes of a size in inches, and how many stand in a row."""
    columns = min(count, columns)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns + 0.8, size[1] * rows), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1, **of_axes) for i in range(count)]


def _matrix(rows: pd.DataFrame, column: str) -> Matrix:
    """Return the means over seeds of a column, for the rows of one variant."""
    placed = rows.assign(fraction=rows["fraction"].fillna(0).astype(int))
    mean = placed.groupby(["lr_shift", "fraction"])[column].mean().unstack()
    return list(mean.index), list(mean.columns), mean.to_numpy(np.float64)


def _cause_matrix(causes: pd.DataFrame, variant: str, cause: str) -> Matrix:
    """Return a cause by learning rate and width, not a number where nothing was counted."""
    wanted = CAUSES[cause]
    rows = causes[(causes["variant"] == variant) & causes["tensor"].isin(list(wanted.tensors))]
    rows = rows.assign(
        step=_real(rows["step_sum"], rows["step_frac"] + rows["lr_shift"]),
        error=_real(rows["error_sum"], rows["error_frac"]),
    )
    by_cell = rows.groupby(["fraction", "lr_shift"])
    counts = by_cell.sum(numeric_only=True).astype(float)
    counts["widest_bits"] = by_cell["widest_bits"].max().astype(float)
    return _matrix(wanted.value(counts).rename("value").reset_index(), "value")


def _real(raw: pd.Series, frac: pd.Series) -> NDArray[np.float64]:
    """Return the real values of raw integers of any length, each with its own fraction width."""
    return np.ldexp(raw.astype(float), -frac.to_numpy(np.intc))


def _cells(ax: Axes, matrix: Matrix, norm: Normalize, colours: str) -> None:
    """Draw a matrix as square cells around their widths and shifts; grey where it has no value."""
    lr_shifts, fractions, values = matrix
    ax.set_facecolor("#80808040")
    ax.pcolormesh(
        _edges(fractions), _edges(lr_shifts), values, cmap=colours, norm=norm, rasterized=True
    )
    ax.set(xlabel=FRACTION_LABEL, ylabel=LR_LABEL, xticks=fractions, yticks=lr_shifts)
    ax.tick_params(labelsize=6, length=2)
    ax.spines[:].set_visible(False)


def _edges(values: Sequence[int]) -> NDArray[np.float64]:
    """Return the borders of cells around `values`: half-way between them, and as far outside."""
    centres = np.array(values, np.float64)
    between = (centres[1:] + centres[:-1]) / 2
    first = 2 * centres[0] - between[0] if len(between) else centres[0] - 0.5
    last = 2 * centres[-1] - between[-1] if len(between) else centres[-1] + 0.5
    return np.concatenate([[first], between, [last]])


def _some(values: Sequence[int], count: int) -> Sequence[int]:
    """Return evenly spread values, about `count` of them."""
    return values[:: max(1, math.ceil(len(values) / count))]
