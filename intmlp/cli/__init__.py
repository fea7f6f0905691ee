"""The command line; a module for each command.

Exit status: 0 where all is well, 1 where a result differs or an error is above its limit, 2
where the input or the machine does not serve, 130 after Ctrl-C. What a command needs beyond
NumPy is imported when it runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Sequence

from .._version import __version__
from . import bottleneck, gradcheck, info, reproduce, selftest
from .arguments import Parser

# In whose extra a module is that is not in that of the command.
EXTRAS = {"dask": "distributed", "distributed": "distributed"}


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
    options = _parser().parse_args(_glued(sys.argv[1:] if arguments is None else arguments))
    try:
        return options.command(options)
    except KeyboardInterrupt as interrupt:
        print(f"intmlp: interrupted{interrupt}", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        if isinstance(error, ModuleNotFoundError):
            missing = (error.name or "").partition(".")[0]
            extra = EXTRAS.get(missing, options.extra)
            message = (
                f"this command needs the extra {extra!r}: "
                f'pip install "intmlp[{extra}]" (there is no module {missing!r})'
            )
        else:
            message = " ".join(str(error).split()) or type(error).__name__
        print(f"intmlp: {message}", file=sys.stderr)
        return 2


def _glued(arguments: Sequence[str]) -> list[str]:
    """Return arguments with ranges below zero glued to their option: ``--lr-shift=-2:19``.

    Alone, ``-2:19`` looks like an option.
    """
    glued: list[str] = []
    for argument in arguments:
        if glued and re.fullmatch(r"-\d+:-?\d+", argument):
            glued[-1] += f"={argument}"
        else:
            glued.append(argument)
    return glued


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="intmlp", description="Exact fixed-point neural networks: experiments and checks."
    )
    parser.add_argument("--version", action="version", version=f"intmlp {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (info, selftest, reproduce, bottleneck, gradcheck):
        module.add(commands)
    return parser
