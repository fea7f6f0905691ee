"""``intmlp info``: what this installation is."""

from __future__ import annotations

import argparse

from .._config import show_config
from .arguments import Commands, command


def add(commands: Commands) -> None:
    """Add the command."""
    info = command(commands, "info", "Show version, backend, processor and libraries.")
    info.set_defaults(command=_info)


def _info(options: argparse.Namespace) -> int:
    show()
    return 0


def show() -> None:
    """Print what this installation is."""
    for key, value in show_config().items():
        print(f"{key}: {value}")
