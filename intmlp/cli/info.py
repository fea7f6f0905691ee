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
    """Print what this installation is."""
    for key, value in show_config().items():
        print(f"{key}: {value}")
    return 0
