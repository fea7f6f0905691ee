"""``intmlp selftest``: whether this machine gives the numbers that are defined."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

from .. import _backend
from .arguments import Commands, command
from .info import show


def add(commands: Commands) -> None:
    """Add the command."""
    selftest = command(
        commands, "selftest", "Compare the numbers of every backend with those that are defined."
    )
    selftest.set_defaults(command=_selftest)


def _selftest(options: argparse.Namespace) -> int:
    """Print what agrees, by group and backend, and what does not."""
    from .. import selftest

    started = perf_counter()
    show()
    backends = _backend.available()
    width = max(map(len, selftest.GROUPS))
    print(
        f"\n{'group':{width}} {'calls':>5}  {'  '.join(f'{name:8}' for name in backends)}".rstrip()
    )
    rows = []
    for row in selftest.check():
        words = "  ".join(f"{'agrees' if one.agrees else 'DIFFERS':8}" for one in row)
        print(f"{row[0].group:{width}} {row[0].questions:5}  {words}".rstrip(), flush=True)
        rows += row
    wrong = [one for one in rows if not one.agrees]
    for one in wrong:
        print(
            f"intmlp: {one.group} on {one.backend}: wanted {one.wanted}, found {one.found}",
            file=sys.stderr,
        )
    print(
        f"{len(rows) - len(wrong)} of {len(rows)} digests agree on {', '.join(backends)}, "
        f"in {perf_counter() - started:.1f} s"
    )
    return 1 if wrong else 0
