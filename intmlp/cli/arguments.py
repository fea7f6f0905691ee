"""What commands share: their parser, the types of their arguments, errors that name one."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeAlias


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def command(commands: Commands, name: str, description: str) -> argparse.ArgumentParser:
    """Add a command that has the options of all commands."""
    parser = commands.add_parser(name, help=description, description=description)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return an argument type: an integer in ``low..high``."""

    def parse(text: str) -> int:
        with suppress(ValueError):
            if low <= int(text) <= high:
                return int(text)
        raise argparse.ArgumentTypeError(f"must be an integer in {low}..{high}, got {text!r}")

    return parse


def span(low: int, high: int) -> Callable[[str], range]:
    """Return an argument type: ``A:B``, the integers from A to B, or A alone, in ``low..high``."""

    def parse(text: str) -> range:
        first, colon, last = text.partition(":")
        with suppress(ValueError):
            found = range(int(first), int(last if colon else first) + 1)
            if not found:
                raise argparse.ArgumentTypeError(f"must not be empty, got {text!r}")
            if low <= found[0] and found[-1] <= high:
                return found
        raise argparse.ArgumentTypeError(
            f"must be A:B, from A to B inclusive, or A, both in {low}..{high}, got {text!r}"
        )

    return parse


def percentage(high: float = math.inf) -> Callable[[str], float]:
    """Return an argument type: a finite number of at least 0 and at most `high`."""
    wanted = "of at least 0" if high == math.inf else f"in 0..{high:g}"

    def parse(text: str) -> float:
        with suppress(ValueError):
            if 0 <= float(text) <= high and math.isfinite(float(text)):
                return float(text)
        raise argparse.ArgumentTypeError(f"must be a number {wanted}, got {text!r}")

    return parse


@contextmanager
def argument(name: str) -> Iterator[None]:
    """Name the argument in the errors of the body."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"argument {name}: {error}") from error
