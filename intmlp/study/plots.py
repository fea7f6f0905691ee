"""The figures of the 2017 notebook: accuracy over learning rate and fraction width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..io.files import atomic

TITLE = "MNIST accuracy depending on fraction bitwidth & learning rate"
LR_LABEL = "Learning rate (1/2^value)"
FRACTION_LABEL = "Fraction bitwidth"


def surface(grid: Mapping[tuple[int, int], float]) -> Figure:
    """Return the grid as a surface over learning rate and fraction width.

    Parameters
    ----------
    grid : mapping of (lr_shift, fraction) to accuracy
        Complete: a cell for each of its learning rates and fraction widths.

    Returns
    -------
    matplotlib.figure.Figure
        Without a display: save it with `save`.
    """
    lr_shifts, fractions, accuracies = _axes(grid)
    figure = Figure(figsize=(9, 6))
    axes = figure.add_subplot(projection="3d")
    mesh = axes.plot_surface(
        *np.meshgrid(lr_shifts, fractions, indexing="ij"),
        accuracies,
        rcount=len(lr_shifts),
        ccount=len(fractions),
        cmap="coolwarm",
        linewidth=0.3,
        edgecolor="black",
        vmin=0,
        vmax=1,
    )
    axes.set(
        title=TITLE,
        xlabel=LR_LABEL,
        ylabel=FRACTION_LABEL,
        zlabel="Accuracy",
        xticks=lr_shifts[::2],
        yticks=fractions[::3],
        zlim=(0, 1),
    )
    figure.colorbar(mesh, shrink=0.7, pad=0.1)
    return figure


def heat_map(grid: Mapping[tuple[int, int], float]) -> Figure:
    """Return the grid as a heat map whose ticks are the learning rates and fraction widths.

    Parameters
    ----------
    grid : mapping of (lr_shift, fraction) to accuracy
        Complete: a cell for each of its learning rates and fraction widths.

    Returns
    -------
    matplotlib.figure.Figure
        Without a display: save it with `save`.
    """
    lr_shifts, fractions, accuracies = _axes(grid)
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(fractions, lr_shifts, accuracies, cmap="coolwarm", vmin=0, vmax=1)
    axes.set(
        title=TITLE,
        xlabel=FRACTION_LABEL,
        ylabel=LR_LABEL,
        xticks=fractions,
        yticks=lr_shifts,
    )
    figure.colorbar(mesh, label="Accuracy")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save a figure as PNG.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : Path
        The file; it is replaced as a whole.
    """
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _axes(grid: Mapping[tuple[int, int], float]) -> tuple[list[int], list[int], np.ndarray]:
    """Return the grid's learning rates, its fraction widths, and its accuracies as a matrix."""
    lr_shifts = sorted({lr_shift for lr_shift, _ in grid})
    fractions = sorted({fraction for _, fraction in grid})
    accuracies = np.array([[grid[lr, fraction] for fraction in fractions] for lr in lr_shifts])
    return lr_shifts, fractions, accuracies
