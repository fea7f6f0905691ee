"""``intmlp reproduce``: a published study, trained again and compared."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import Commands, argument, command, integer

if TYPE_CHECKING:
    from rich.table import Table

    from ..study.gallery import Data, Entry, Training

# Networks that were published, and by whom.
GALLERY = {
    "pocketnn": "PocketNN (Song and Lin, 2022)",
    "nitro-d": "NITRO-D (Pirillo, Colombo and Roveri, 2024)",
    "gupta": "Gupta et al. (2015): stochastic rounding at 16 bits",
    "typecnn": "TypeCNN (Rek, 2018)",
}


def add(commands: Commands) -> None:
    """Add the command, and below it one for each study."""
    description = "Train a published study again and compare."
    reproduce = commands.add_parser("reproduce", help=description, description=description)
    studies = reproduce.add_subparsers(title="studies", required=True, dest="study")

    grid = command(studies, "mnist-2017", "Online SGD on MNIST (2017): the grid of 240 cells.")
    grid.set_defaults(command=_reproduce_mnist_2017, extra="study")
    source = grid.add_mutually_exclusive_group()
    _add_mnist(source, "instead of the packaged images")
    source.add_argument(
        "--openml", action="store_true", help="take MNIST from OpenML through scikit-learn"
    )
    _add_out_and_jobs(grid, "mnist-2017", "cells")

    for name, what in GALLERY.items():
        study = command(studies, name, f"{what}, with all parts in fixed point.")
        study.set_defaults(command=_reproduce_gallery, extra="study")
        _add_mnist(study, "for the networks that were trained on it")
        study.add_argument(
            "--fashion-mnist",
            metavar="DIR",
            type=Path,
            help="take Fashion-MNIST from its four IDX files, which are named as MNIST's",
        )
        study.add_argument(
            "--openml",
            action="store_true",
            help="take a data set without a folder from OpenML through scikit-learn",
        )
        study.add_argument(
            "--networks",
            metavar="SIZES",
            nargs="+",
            help="train these alone, such as 784-100-50-10 (default: all of the study)",
        )
        study.add_argument(
            "--no-float", action="store_true", help="leave out the float64 runs, the slowest ones"
        )
        study.add_argument(
            "--seeds",
            metavar="N",
            type=integer(1, 2**32),
            default=3,
            help="train with the seeds 0..N-1 (default: %(default)s)",
        )
        study.add_argument(
            "--epochs",
            metavar="N",
            type=integer(1, 2**20),
            help="stretch or shrink the schedules to N epochs (default: as they are)",
        )
        _add_out_and_jobs(study, name, "networks")


def _add_mnist(parser: argparse._ActionsContainer, what: str) -> None:
    parser.add_argument(
        "--mnist",
        metavar="DIR",
        type=Path,
        help=f"take MNIST from its four IDX files, plain or .gz, {what}",
    )


def _add_out_and_jobs(parser: argparse.ArgumentParser, out: str, what: str) -> None:
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path(out),
        help="folder for the results (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=integer(1, 4096),
        default=-1,
        help=f"how many {what} train at a time (default: as many as there are cores)",
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


def _reproduce_gallery(options: argparse.Namespace) -> int:
    """Train the networks of a study, write them down, and show them beside what was published."""
    from rich.console import Console
    from rich.progress import track

    from ..io.files import check_writable
    from ..study import gallery

    study = gallery.STUDIES[options.study]
    networks = list(dict.fromkeys(entry.network for entry in study))
    for name in options.networks or ():
        if name not in networks:
            raise ValueError(f"argument --networks: must be of {', '.join(networks)}, got {name!r}")
    wanted = [
        entry
        for entry in study
        if entry.network in (options.networks or networks)
        and not (options.no_float and entry.is_float)
    ]
    data = _data(options, wanted)
    entries = [entry for entry in wanted if entry.data in data]
    missing = sorted({entry.data for entry in wanted} - set(data))
    with argument("--out"):
        check_writable(options.out)

    progress = Console(stderr=True, quiet=not entries)
    trainings: list[Training] = []
    for training in track(
        gallery.run(entries, data, range(options.seeds), options.epochs, options.jobs),
        description="Training",
        total=len(entries) * options.seeds,
        console=progress,
    ):
        trainings.append(training)
        entry = entries[training.entry]
        progress.print(
            f"{entry.network}, {entry.data}, {entry.arithmetic}, seed {training.seed}: "
            f"{training.right} of {training.tested} right, {training.seconds:.1f} s",
            highlight=False,
        )
    if entries:
        with argument("--out"):
            options.out.mkdir(parents=True, exist_ok=True)
            gallery.write_csv(entries, trainings, options.out / "trainings.csv")
        console = Console(width=100, highlight=False)
        console.print(_table(entries, trainings))
        console.print(f"Published: {gallery.SOURCES[options.study]}; see docs/gallery.md")
        console.print(f"Wrote trainings.csv into {options.out}")
    if missing:
        folders = " and ".join(f"--{name.lower()} DIR" for name in missing)
        raise ValueError(
            f"{' and '.join(missing)} not at hand: the networks for it were not trained; give "
            f"{folders}, a folder with the four IDX files, or --openml"
        )
    return 0


def _data(options: argparse.Namespace, entries: Sequence[Entry]) -> dict[str, Data]:
    """Return the data sets of `entries` that the options say where to find."""
    from ..io.datasets import fetch_mnist, load_mnist_parts, parted
    from ..io.samples import OPENML_TEST
    from ..study import gallery

    data: dict[str, Data] = {}
    for name in dict.fromkeys(entry.data for entry in entries):
        folder = options.mnist if name == "MNIST" else options.fashion_mnist
        if folder is not None:
            with argument(f"--{name.lower()}"):
                data[name] = load_mnist_parts(folder)
        elif options.openml:
            with argument("--openml"):
                data[name] = parted(fetch_mnist(gallery.DATA[name]), OPENML_TEST)
    return data


def _table(entries: Sequence[Entry], trainings: Sequence[Training]) -> Table:
    """Return own figures beside the published ones, a row for each entry."""
    from rich import box
    from rich.table import Table

    tested = sorted({training.tested for training in trainings})
    table = Table(
        box=box.SIMPLE,
        title="Right after the last epoch, in percent of all "
        f"{' or '.join(map(str, tested))} test images",
    )
    for heading in ("network", "arithmetic", "published"):
        table.add_column(heading)
    for heading in ("mean", "lowest", "highest", "seeds", "s each"):
        table.add_column(heading, justify="right")
    for i, entry in enumerate(entries):
        own = [training for training in trainings if training.entry == i]
        accuracies = [100 * training.right / training.tested for training in own]
        first = i == 0 or entry.network != entries[i - 1].network
        table.add_row(
            f"{entry.network}\n{entry.data}" if first else "",
            entry.arithmetic,
            "\n".join(f"{who} {figure:.2f}" for who, figure in entry.published.items()),
            f"{sum(accuracies) / len(own):.2f}",
            f"{min(accuracies):.2f}",
            f"{max(accuracies):.2f}",
            str(len(own)),
            f"{sum(training.seconds for training in own) / len(own):.1f}",
        )
    return table
