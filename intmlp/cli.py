"""The command line: ``intmlp info``, ``intmlp reproduce``, ``intmlp gradcheck``.

Exit status: 0 where all is well, 1 where a result differs or an error is above its limit, 2
where the input or the machine does not serve, 130 after Ctrl-C. What a command needs beyond
NumPy is imported when it runs.
"""

from __future__ import annotations

import argparse
import math
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import numpy as np

from ._config import show_config
from ._version import __version__
from .qformat import QFormat


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.

    Returns
    -------
    int

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and where the arguments cannot be parsed.

    Examples
    --------
    >>> main(["gradcheck"])
    Gradient against autograd, layers 3-7-7-5, seed 0
    float64   Percentage difference: 0.00%
    (24, 12)  Percentage difference: 0.14%
    0
    """
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("intmlp: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError):
            missing = (error.name or "").partition(".")[0]
            message = (
                f"this command needs the extra {options.extra!r}: "
                f'pip install "intmlp[{options.extra}]" (there is no module {missing!r})'
            )
        else:
            message = " ".join(str(error).split()) or type(error).__name__
        print(f"intmlp: {message}", file=sys.stderr)
        return 2


# The commands -----------------------------------------------------------------------------


def _info(options: argparse.Namespace) -> int:
    """Print what this installation is."""
    for key, value in show_config().items():
        print(f"{key}: {value}")
    return 0


def _reproduce_mnist_2017(options: argparse.Namespace) -> int:
    """Train the 240 cells, write them down, and say whether they equal the published ones."""
    from rich.console import Console
    from rich.progress import track

    from .io.datasets import fetch_mnist, load_mnist, load_stream
    from .io.files import check_writable
    from .study import mnist2017, plots

    if options.mnist is not None:
        with _argument("--mnist"):
            samples = mnist2017.stream(load_mnist(options.mnist))
    elif options.openml:
        with _argument("--openml"):
            samples = mnist2017.stream(fetch_mnist())
    else:
        samples = load_stream()
    with _argument("--out"):
        check_writable(options.out)

    grid = dict(
        track(
            mnist2017.run(samples, options.jobs),
            description="Training",
            total=mnist2017.CELLS,
            console=Console(stderr=True),
        )
    )
    with _argument("--out"):
        options.out.mkdir(parents=True, exist_ok=True)
        mnist2017.write_csv(grid, options.out / "grid.csv")
        plots.save(plots.surface(grid), options.out / "surface.png")
        plots.save(plots.heat_map(grid), options.out / "heat_map.png")
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


def _gradcheck(options: argparse.Namespace) -> int:
    """Print the error of float64 and of fixed-point gradients, or its distribution."""
    from .gradcheck import gradient_error

    formats = {
        "float64": None,
        f"({options.bits}, {options.frac})": QFormat(options.bits, options.frac),
    }
    seeds = range(options.seed, options.seed + options.seeds)
    errors = {
        name: [gradient_error(options.sizes, fmt, seed) for seed in seeds]
        for name, fmt in formats.items()
    }
    layers = "-".join(map(str, options.sizes))
    if len(seeds) == 1:
        print(f"Gradient against autograd, layers {layers}, seed {options.seed}")
        for name, [error] in errors.items():
            print(f"{name:8}  Percentage difference: {error:.2%}")
    else:
        print(
            f"Gradient against autograd, layers {layers}, seeds {seeds[0]} to {seeds[-1]}\n"
            f"Percentage difference: {'median':>8} {'90% below':>12} {'largest':>12} "
            f"{'seeds below 1%':>15}"
        )
        for name, of_seeds in errors.items():
            print(
                f"{name:22} {np.median(of_seeds):8.2%} {np.quantile(of_seeds, 0.9):12.2%} "
                f"{np.max(of_seeds):12.2%} {np.mean(np.less(of_seeds, 0.01)):15.1%}"
            )
    above = [name for name in errors if not np.median(errors[name]) <= options.max_error / 100]
    for name in above:  # not a number is above every limit
        print(f"intmlp: {name} is above --max-error {options.max_error:g}%", file=sys.stderr)
    return 1 if above else 0


# Their arguments --------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="intmlp", description="Exact fixed-point neural networks: experiments and checks."
    )
    parser.add_argument("--version", action="version", version=f"intmlp {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    info = _add(commands, "info", "Show version, backend, processor and libraries.")
    info.set_defaults(command=_info)

    reproduce = _add(commands, "reproduce", "Train a published study again and compare.")
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
        type=_integer(1, 4096),
        default=-1,
        help="how many cells train at a time (default: as many as there are cores)",
    )

    gradcheck = _add(commands, "gradcheck", "Compare gradients with those of autograd.")
    gradcheck.set_defaults(command=_gradcheck, extra="study")
    gradcheck.add_argument(
        "--sizes",
        metavar="N",
        nargs="+",
        type=_integer(1, 2**31 - 1),
        default=[3, 7, 7, 5],
        help="width of the input and of every layer (default: 3 7 7 5)",
    )
    gradcheck.add_argument(
        "--bits", type=_integer(2, 64), default=24, help="total width (default: %(default)s)"
    )
    gradcheck.add_argument(
        "--frac", type=_integer(0, 63), default=12, help="fraction width (default: %(default)s)"
    )
    gradcheck.add_argument(
        "--seed",
        type=_integer(0, 2**32 - 1),
        default=0,
        help="seed of weights, biases, input and target (default: %(default)s)",
    )
    gradcheck.add_argument(
        "--seeds",
        metavar="N",
        type=_integer(1, 2**32),
        default=1,
        help="check N seeds from --seed on and show the distribution (default: %(default)s)",
    )
    gradcheck.add_argument(
        "--max-error",
        metavar="PERCENT",
        type=_percentage,
        default=1.0,
        help="largest difference, of N seeds their median, with exit status 0 "
        "(default: %(default)s)",
    )
    return parser


def _add(
    commands: argparse._SubParsersAction[_Parser], name: str, description: str
) -> argparse.ArgumentParser:
    """Add a command that has the options of all commands."""
    command = commands.add_parser(name, help=description, description=description)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return command


def _integer(low: int, high: int) -> Callable[[str], int]:
    """Return an argument type: an integer in ``low..high``."""

    def parse(text: str) -> int:
        with suppress(ValueError):
            if low <= int(text) <= high:
                return int(text)
        raise argparse.ArgumentTypeError(f"must be an integer in {low}..{high}, got {text!r}")

    return parse


def _percentage(text: str) -> float:
    """Return `text` as an argument: a finite number of at least 0."""
    with suppress(ValueError):
        if 0 <= float(text) < math.inf:
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number of at least 0, got {text!r}")


@contextmanager
def _argument(name: str) -> Iterator[None]:
    """Name the argument in the errors of the body."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"argument {name}: {error}") from error
