"""``intmlp bottleneck``: which part of training needs the bits, and how few will do."""

from __future__ import annotations

import argparse
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..qformat import OVERFLOWS, ROUNDINGS
from .arguments import Commands, argument, command, integer, percentage, span

if TYPE_CHECKING:
    from ..io.samples import Samples
    from ..nn import Activation, Initialisation
    from ..study import Grid, Result, Task
    from ..study.answer import Answer

STORE = "cells.sqlite"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = command(
        commands,
        "bottleneck",
        "Swap each part of training for floating point, and find the fewest bits that train.",
    )
    parser.set_defaults(command=_bottleneck, extra="study")
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("bottleneck"),
        help="folder of the store and of all results (default: %(default)s)",
    )

    data = parser.add_argument_group("data")
    data.add_argument(
        "--dataset",
        metavar="NAME",
        default="mnist-2017",
        help="mnist-2017, digits, mnist, or a file .npz or .csv (default: %(default)s)",
    )
    data.add_argument(
        "--folder",
        metavar="DIR",
        type=Path,
        help="of mnist: holds its four IDX files (default: it comes from OpenML)",
    )
    data.add_argument(
        "--label", metavar="NAME", help="of a file: the column or array of labels, by name or place"
    )
    data.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="of a CSV file: whether its first line names the columns (default: where --label is "
        "a name, or no field of it is a number)",
    )
    data.add_argument("--features", metavar="NAME", help="of an .npz file: the array of features")
    data.add_argument(
        "--scale", choices=["minmax", "none"], help="of a file: how features are scaled"
    )

    grid = parser.add_argument_group("grid (ranges A:B are inclusive)")
    grid.add_argument(
        "--published",
        action="store_true",
        help="ranges, initial weights, sample order and seed of the published study",
    )
    grid.add_argument(
        "--variants",
        metavar="NAME",
        nargs="+",
        help="some of fixed, float-forward, float-backward, float-update, fixed-forward, "
        "fixed-backward, fixed-update, float (default: all)",
    )
    grid.add_argument(
        "--fraction", metavar="A:B", type=span(0, 63), help="fraction widths (default: 1:23)"
    )
    grid.add_argument(
        "--lr-shift",
        metavar="A:B",
        type=span(-4096, 4096),
        help="learning rates 2**-shift (default: -2:19)",
    )
    grid.add_argument(
        "--seeds", metavar="N", type=integer(1, 2**20), help="how many seeds (default: 3)"
    )

    task = parser.add_argument_group("training")
    task.add_argument(
        "--hidden",
        metavar="N",
        nargs="+",
        type=integer(1, 2**31 - 1),
        help="widths of hidden layers (default: none)",
    )
    task.add_argument(
        "--activation",
        metavar="NAME",
        type=_activation,
        help="relu, linear, or leaky_relu:K with the slope 2**-K (default: relu)",
    )
    task.add_argument("--bias", action="store_true", default=None, help="layers have biases")
    task.add_argument("--loss", choices=["half_sse", "sse"], help="default: half_sse")
    task.add_argument("--rounding", choices=ROUNDINGS, help="of every format (default: floor)")
    task.add_argument("--overflow", choices=OVERFLOWS, help="of every format (default: saturate)")
    task.add_argument(
        "--integer-bits",
        metavar="N",
        type=integer(-61, 64),
        help="bits left of the binary point, with the sign (default: words of 32 bits)",
    )
    task.add_argument(
        "--init",
        metavar="RULE",
        type=_init,
        help="initial weights: uniform (within 1/sqrt(inputs)), uniform:BOUND, normal:STD, or "
        "raw:STD in raw units (default: uniform)",
    )
    task.add_argument(
        "--order",
        choices=["shuffled", "given", "sorted"],
        help="order of the samples: shuffled, as they come, or by label (default: shuffled)",
    )
    task.add_argument("--epochs", metavar="N", type=integer(1, 2**31 - 1), help="default: 1")
    task.add_argument("--batch-size", metavar="N", type=integer(1, 2**16), help="default: 1")
    task.add_argument(
        "--accuracy",
        choices=["online", "test"],
        help="smoothed over the last training steps, or of samples that are held back "
        "(default: online)",
    )
    task.add_argument(
        "--window",
        metavar="N",
        type=integer(3, 99_999),
        help="steps that the online accuracy spans, an odd number (default: 1001)",
    )
    task.add_argument(
        "--held-back",
        metavar="PERCENT",
        type=percentage(100),
        help="share of samples held back (default: the data set's own, or 20)",
    )

    how = parser.add_argument_group("answer and run")
    how.add_argument(
        "--tolerance",
        metavar="POINTS",
        type=percentage(100),
        default=1.0,
        help="how far a width may stay below all float, in percentage points (default: 1)",
    )
    how.add_argument(
        "--why",
        action="store_true",
        help="count what rounding and overflow do in each cell, and show where widths fail of it",
    )
    how.add_argument(
        "--jobs",
        metavar="N",
        type=integer(1, 4096),
        default=-1,
        help="how many cells train at a time (default: as many as there are cores)",
    )
    how.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="train on the workers of a Dask scheduler, tcp://HOST:PORT, instead",
    )
    again = how.add_mutually_exclusive_group()
    again.add_argument("--fresh", action="store_true", help="train all cells again")
    again.add_argument(
        "--resume",
        action="store_false",
        dest="fresh",
        help="train only the cells that DIR does not hold yet (the default)",
    )
    how.add_argument("--parquet", action="store_true", help="write the table as Parquet too")


def _bottleneck(options: argparse.Namespace) -> int:
    """Train the cells that are left, and write down what they say."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ..io.files import check_writable
    from ..study import answer, run

    for needed in ("pandas", "matplotlib", "jinja2", *["pyarrow"] * options.parquet):
        import_module(needed)  # what is missing shows before the training, not after it
    task, grid = _task(options), _grid(options)
    samples = _samples(options)
    with argument("--out"):
        check_writable(options.out)
        options.out.mkdir(parents=True, exist_ok=True)

    columns = ("Training", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def show(done: int, total: int) -> None:
            if not bar.tasks:
                bar.add_task("Training", total=total)
            bar.update(bar.tasks[0].id, completed=done)

        try:
            result = run(
                task,
                samples,
                grid,
                store=options.out / STORE,
                fresh=options.fresh,
                jobs=options.jobs,
                dask=options.dask,
                why=options.why,
                progress=show,
            )
        except KeyboardInterrupt:
            done = sum(int(task.completed) for task in bar.tasks)
            raise KeyboardInterrupt(
                f": {options.out / STORE} keeps {done} of {len(grid)} cells, and the same command "
                "trains the others"
            ) from None

    found = None
    if "float" in grid.variants:
        found = answer.find(result.to_dataframe(), options.tolerance / 100, result.chance)
    with argument("--out"):
        written = _write(result, found, options)
    print(f"Wrote {', '.join(written)} into {options.out}")
    if found is None:
        print("No verdict: it needs the variant 'float', with which the others are compared.")
    else:
        print(found.verdict.sentence)
    return 0


def _write(result: Result, found: Answer | None, options: argparse.Namespace) -> list[str]:
    """Write the results into the folder, and return the names of the files."""
    from ..study import answer, plots, report

    written = []

    def into(name: str) -> Path:
        written.append(name)
        return options.out / name

    result.write_csv(into("cells.csv"))
    if options.parquet:
        result.write_parquet(into("cells.parquet"))
    causes = None
    if options.why:
        result.write_causes(into("causes.csv"))
        causes = result.causes_to_dataframe()
        for variant in plots.present(causes[causes["fraction"].notna()]):
            plots.save(plots.cause_figure(causes, variant), into(f"causes-{variant}.png"))
    table = result.to_dataframe()
    plots.save(plots.heat_map_figure(table, found), into("heat_maps.png"))
    if set(result.grid.variants) != {"float"}:
        plots.save(plots.surface_figure(table), into("surfaces.png"))
        if found is not None:
            plots.save(plots.curve_figure(found), into("curves.png"))
    if found is not None:
        answer.write(found, into("answer.json"))
        report.write(result, found, into("report.html"), causes)
    return written


# What the options say ---------------------------------------------------------------------


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the options that were given."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _task(options: argparse.Namespace) -> Task:
    """Return what each cell trains."""
    from dataclasses import replace

    from ..study import Task

    given = _given(
        options,
        "hidden",
        "activation",
        "bias",
        "loss",
        "rounding",
        "overflow",
        "integer_bits",
        "init",
        "order",
        "epochs",
        "batch_size",
        "accuracy",
        "window",
    )
    if options.held_back is not None:
        given["held_back"] = options.held_back / 100
    return replace(Task.published() if options.published else Task(), **given)


def _grid(options: argparse.Namespace) -> Grid:
    """Return which cells are trained; a range that is given holds for every variant."""
    from dataclasses import replace

    from ..study import Grid

    given = _given(options, "variants")
    if options.fraction is not None:
        given["fractions"] = options.fraction
    if options.lr_shift is not None:
        given["lr_shifts"] = options.lr_shift
    grid = Grid.published() if options.published else Grid()
    own = {
        variant: (options.fraction or fractions, options.lr_shift or lr_shifts)
        for variant, (fractions, lr_shifts) in grid.own_ranges.items()
    }
    if options.seeds is not None:
        given["seeds"] = range(grid.seeds[0], grid.seeds[0] + options.seeds)
    return replace(grid, own_ranges=own, **given)


def _samples(options: argparse.Namespace) -> Samples:
    """Return the samples that are trained on."""
    from ..io.samples import label_option, load_samples

    given = _given(options, "folder", "label", "header", "features", "scale")
    if "label" in given:
        given["label"] = label_option(given["label"])
    with argument("--dataset"):
        return load_samples(options.dataset, **given)


def _activation(text: str) -> Activation:
    """Return an activation function by its name on the command line."""
    from ..nn import leaky_relu, linear, relu

    name, _, shift = text.partition(":")
    with suppress(ValueError):
        if name == "leaky_relu":
            return leaky_relu(int(shift))
        if text in ("relu", "linear"):
            return relu() if text == "relu" else linear()
    raise argparse.ArgumentTypeError(
        f"must be relu, linear, or leaky_relu:K with K in 1..63, got {text!r}"
    )


def _init(text: str) -> Initialisation:
    """Return a rule of initial weights by its name on the command line."""
    from ..nn import normal, uniform

    name, _, scale = text.partition(":")
    with suppress(ValueError):
        if text == "uniform":
            return uniform()
        if name == "uniform":
            return uniform(-float(scale), float(scale))
        if name in ("normal", "raw"):
            return normal(float(scale), "raw" if name == "raw" else "real")
    raise argparse.ArgumentTypeError(
        f"must be uniform, uniform:BOUND, normal:STD or raw:STD, got {text!r}"
    )
