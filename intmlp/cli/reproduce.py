"""``intmlp reproduce``: a published study, trained again and compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from .arguments import Commands, argument, command, integer


def add(commands: Commands) -> None:
    """Add the command."""
    reproduce = command(commands, "reproduce", "Train a published study again and compare.")
    reproduce.set_defaults(command=_reproduce_mnist_2017, extra="study")
    reproduce.add_argument("study", choices=["mnist-2017"], help="the study: %(choices)s")
    source = reproduce.add_mutually_exclusive_group()
    source.add_argument(
        "--mnist",
        metavar="DIR",
        type=Path,
        help="take MNIST from its four IDX files, plain or .gz, instead of the packaged images",
    )
    source.add_argument(
        "--openml", action="store_true", help="take MNIST from OpenML through scikit-learn"
    )
    reproduce.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("mnist-2017"),
        help="folder for the grid and the figures (default: %(default)s)",
    )
    reproduce.add_argument(
        "--jobs",
        metavar="N",
        type=integer(1, 4096),
        default=-1,
        help="how many cells train at a time (default: as many as there are cores)",
    )


def _reproduce_mnist_2017(options: argparse.Namespace) -> int:
    """Train the 240 cells, write them down, and say whether they equal the published ones."""
    from rich.console import Console
    from rich.progress import track

    from ..io.datasets import fetch_mnist, load_mnist, load_stream
    from ..io.files import check_writable
    from ..study import mnist2017, plots

    if options.mnist is not None:
        with argument("--mnist"):
            samples = mnist2017.stream(load_mnist(options.mnist))
    elif options.openml:
        with argument("--openml"):
            samples = mnist2017.stream(fetch_mnist())
    else:
        samples = load_stream()
    with argument("--out"):
        check_writable(options.out)

    grid = dict(
        track(
            mnist2017.run(samples, options.jobs),
            description="Training",
            total=mnist2017.CELLS,
            console=Console(stderr=True),
        )
    )
    with argument("--out"):
        options.out.mkdir(parents=True, exist_ok=True)
        mnist2017.write_csv(grid, options.out / "grid.csv")
        table = mnist2017.table(grid)
        plots.save(plots.surface_figure(table), options.out / "surface.png")
        plots.save(plots.heat_map_figure(table), options.out / "heat_map.png")
    print(f"Wrote grid.csv, surface.png and heat_map.png into {options.out}")

    published, differing = mnist2017.published(), mnist2017.differing(grid)
    for lr_shift, fraction in differing:
        print(
            f"lr_shift {lr_shift}, fraction {fraction}: {grid[lr_shift, fraction]!r}, "
            f"published {published[lr_shift, fraction]!r}"
        )
    equal = len(published) - len(differing)
    print(f"{equal}/{len(published)} cells equal the published grid")
    return 1 if differing else 0
