"""The report of a bottleneck study: one HTML file that needs nothing else, on any screen."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure

from .._version import __version__, arithmetic_version
from ..io.files import atomic
from . import plots
from .answer import REFERENCE, Answer
from .task import WORD

if TYPE_CHECKING:
    import pandas as pd

    from .result import Result

# The colour of text and lines while a figure is drawn. In the page it is that of the text around
# the figure, light or dark.
INK = "#010203"
STYLE: dict[Any, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "grid.color": "#80808080",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.hashsalt": "intmlp",  # equal figures are equal bytes
    "svg.fonttype": "none",  # letters stay letters, in the fonts of the page
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
}
CELL_DPI = 200


class Frame(NamedTuple):
    """The size of a figure in inches, and the place of its axes: left, bottom, width, height."""

    size: tuple[float, float]
    axes: tuple[float, float, float, float]


CURVES = Frame((4.5, 3.3), (0.115, 0.135, 0.875, 0.785))
MAP = Frame((3.7, 3.5), (0.13, 0.12, 0.86, 0.8))
SURFACE = Frame((3.8, 3.4), (0, 0, 1, 0.94))
CAUSE = Frame((4.2, 3.5), (0.115, 0.12, 0.78, 0.8))

NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


class Panel(NamedTuple):
    """A figure of the page: its SVG, and what is said of it to those who do not see it."""

    svg: Markup
    alt: str


def write(result: Result, answer: Answer, path: Path, causes: pd.DataFrame | None = None) -> None:
    """Write the report of a study.

    Parameters
    ----------
    result : Result
    answer : Answer
        What `intmlp.study.answer.find` found in its table.
    path : Path
        The HTML file; it is replaced as a whole.
    causes : DataFrame, optional
        The causes table, where the study was asked why widths fail.
    """
    environment = Environment(
        loader=PackageLoader("intmlp.study", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    table = result.to_dataframe()
    page = environment.get_template("report.html.j2").render(
        name=result.samples.name,
        answer=answer,
        labels=plots.LABELS,
        rows=list(_rows(answer)),
        curves=list(_curve_panels(answer)),
        heat_maps=list(_heat_map_panels(table, answer)),
        surfaces=list(_surface_panels(table)),
        causes=[] if causes is None else list(_cause_panels(causes)),
        scale=_scale(),
        points=f"{100 * answer.tolerance:g}",
        configuration=_configuration(result),
        provenance={
            "intmlp": __version__,
            "Arithmetic": f"version {arithmetic_version}",
            "Samples": f"SHA-256 {result.samples.digest}",
            "Cells": f"{len(result.cells)}",
        },
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


# The table of the answer ------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the table; what has no number is sorted as the highest."""

    label: str
    lowest: int | None
    interval: tuple[int | None, int | None]
    saves: int | None
    best: float
    at: int
    failing: str
    named: bool


def _rows(answer: Answer) -> Iterator[Row]:
    """Yield the rows of the table of the answer, all fixed first."""
    fixed = answer.variants.get("fixed")
    for variant, need in answer.variants.items():
        best = max(need.curve, key=lambda point: point.mean)
        saves = None
        if fixed and fixed.lowest is not None and need.lowest is not None:
            saves = fixed.lowest - need.lowest
        yield Row(
            plots.LABELS[variant],
            need.lowest,
            need.interval,
            saves,
            best.mean,
            best.fraction,
            ", ".join(map(str, need.failing_above)),
            variant == f"float-{answer.verdict.bottleneck}",
        )


# Figures ----------------------------------------------------------------------------------


def _curve_panels(answer: Answer) -> Iterator[Panel]:
    """Yield the curves of the answer."""
    for title, variants in plots.CURVES.items():
        drawn = [variant for variant in variants if variant in answer.variants]
        if drawn:
            said = "; ".join(f"{plots.LABELS[v]} {_needs(answer, v)}" for v in drawn)
            yield _panel(
                f"{title}: best accuracy over fraction width, {_span(answer.fractions)} bits. "
                f"{said}; all float reaches {answer.reference.mean:.1%}.",
                CURVES,
                _draw_curves,
                answer,
                drawn,
                title,
            )


def _draw_curves(ax: Axes, answer: Answer, variants: Sequence[str], title: str) -> None:
    plots.curves(ax, answer, variants)
    ax.set_title(title, loc="left")


def _heat_map_panels(table: pd.DataFrame, answer: Answer) -> Iterator[Panel]:
    """Yield a heat map of each variant."""
    for variant in plots.present(table):
        best = f"{table[table['variant'] == variant]['accuracy'].max():.1%} at best"
        if variant == REFERENCE:
            lowest, said = None, f"accuracy over learning rate shift, {best}."
        else:
            lowest = answer.variants[variant].lowest
            said = (
                f"accuracy over fraction width and learning rate shift, {best}; "
                f"{_needs(answer, variant)}."
            )
        alt = f"{plots.LABELS[variant]}: {said}"
        yield _panel(alt, MAP, plots.heat_map, table, variant, lowest)


def _surface_panels(table: pd.DataFrame) -> Iterator[Panel]:
    """Yield a surface of each variant."""
    for variant in plots.present(table):
        alt = (
            f"{plots.LABELS[variant]}: accuracy as a surface over fraction width and learning rate "
            "shift; its heat map shows the same numbers."
        )
        yield _panel(alt, SURFACE, plots.surface, table, variant, projection="3d")


def _cause_panels(causes: pd.DataFrame) -> Iterator[tuple[str, list[Panel]]]:
    """Yield each variant that was asked why widths fail, with the maps of its causes."""
    for variant in plots.present(causes[causes["fraction"].notna()]):
        panels = []
        for name, cause in plots.CAUSES.items():
            norm = plots.cause_scale(causes, variant, name)
            alt = (
                f"{plots.LABELS[variant]}: {cause.title.lower()}, {cause.unit.lower()}, from "
                f"{norm.vmin:g} to {norm.vmax:g}, over fraction width and learning rate shift."
            )
            panels.append(_panel(alt, CAUSE, _draw_cause, causes, variant, name, norm))
        yield plots.LABELS[variant], panels


def _draw_cause(ax: Axes, causes: pd.DataFrame, variant: str, cause: str, norm: Normalize) -> None:
    plots.cause_map(ax, causes, variant, cause, norm)
    plots.colour_bar([ax], norm, plots.CAUSE_COLOURS, plots.CAUSES[cause].unit)


def _panel(
    alt: str,
    frame: Frame,
    draw: Callable[..., object],
    *arguments: object,
    projection: str | None = None,
) -> Panel:
    """Return what `draw` draws on new axes, in the colours of the text around it.

    Identifiers inside the SVG start with a hash of `alt`, which no other figure of the page has.
    """
    drawn = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=frame.size)
        draw(figure.add_axes(frame.axes, projection=projection), *arguments)
        figure.savefig(drawn, format="svg", dpi=CELL_DPI, metadata=NO_METADATA)
    svg = drawn.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    for part, colour in plots.COLOURS.items():
        svg = svg.replace(colour.lower(), f"var(--{part})")
    svg = re.sub(r' (width|height)="[0-9.]+pt"', "", svg, count=2)
    own = f"f{zlib.crc32(alt.encode()):08x}-"
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{own}", svg)
    svg = re.sub(r"font: (bold |)([0-9.]+px) [^;\"]*", r"font: \1\2 inherit", svg)
    return Panel(Markup(svg), alt)


def _scale() -> str:
    """Return the colour scale of all accuracies as a CSS gradient."""
    colours = matplotlib.colormaps[plots.ACCURACY_COLOURS]
    stops = ", ".join(to_hex(colours(i / 16)) for i in range(17))
    return f"linear-gradient(to right, {stops})"


# Words ------------------------------------------------------------------------------------


def _needs(answer: Answer, variant: str) -> str:
    lowest = answer.variants[variant].lowest
    return "serves at no width" if lowest is None else f"serves from {lowest} bits on"


def _span(values: Sequence[int]) -> str:
    """Return the values of an axis in words."""
    if list(values) == list(range(values[0], values[-1] + 1)) and len(values) > 2:
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def _configuration(result: Result) -> dict[str, str]:
    """Return what was run, by name."""
    grid = result.grid
    settings = {
        "Samples": f"{result.samples.name}: {len(result.samples.labels)} of "
        f"{result.samples.x.shape[1]} features, {len(result.samples.classes)} classes",
        "Fraction widths": _span(grid.fractions),
        "Learning rate shifts": _span(grid.lr_shifts),
        "Seeds": _span(grid.seeds),
    }
    for variant, (fractions, lr_shifts) in grid.own_ranges.items():
        settings[f"{plots.LABELS[variant]}, its own ranges"] = (
            f"fraction widths {_span(fractions)}, learning rate shifts {_span(lr_shifts)}"
        )
    task = asdict(result.task)
    integer_bits = task.pop("integer_bits")
    settings["Words"] = (
        f"{WORD} bits" if integer_bits is None else f"{integer_bits} integer bits and the fraction"
    )
    for name, value in task.items():
        if value is not None:
            settings[name.replace("_", " ").capitalize()] = _setting(value)
    return settings


def _setting(value: Any) -> str:
    """Return a setting of a task as text; of the fields of a group those that say something."""
    if isinstance(value, dict):
        said = [f"{v}" if k == "kind" else f"{k} {v}" for k, v in value.items() if v]
        return ", ".join(said).replace("_", " ")
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).replace("_", " ")
