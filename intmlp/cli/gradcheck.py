"""``intmlp gradcheck``: gradients against those of autograd."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from ..qformat import QFormat
from .arguments import Commands, command, integer, percentage


def add(commands: Commands) -> None:
    """Add the command."""
    gradcheck = command(commands, "gradcheck", "Compare gradients with those of autograd.")
    gradcheck.set_defaults(command=_gradcheck, extra="study")
    gradcheck.add_argument(
        "--sizes",
        metavar="N",
        nargs="+",
        type=integer(1, 2**31 - 1),
        default=[3, 7, 7, 5],
        help="width of the input and of every layer (default: 3 7 7 5)",
    )
    gradcheck.add_argument(
        "--bits", type=integer(2, 64), default=24, help="total width (default: %(default)s)"
    )
    gradcheck.add_argument(
        "--frac", type=integer(0, 63), default=12, help="fraction width (default: %(default)s)"
    )
    gradcheck.add_argument(
        "--seed",
        type=integer(0, 2**32 - 1),
        default=0,
        help="seed of weights, biases, input and target (default: %(default)s)",
    )
    gradcheck.add_argument(
        "--seeds",
        metavar="N",
        type=integer(1, 2**32),
        default=1,
        help="check N seeds from --seed on and show the distribution (default: %(default)s)",
    )
    gradcheck.add_argument(
        "--max-error",
        metavar="PERCENT",
        type=percentage(),
        default=1.0,
        help="largest difference, of N seeds their median, with exit status 0 "
        "(default: %(default)s)",
    )


def _gradcheck(options: argparse.Namespace) -> int:
    """Print the error of float64 and of fixed-point gradients, or its distribution."""
    from ..gradcheck import gradient_error

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
