"""What serves here: version, backend, processor, libraries."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np

from . import _backend
from ._version import __version__, arithmetic_version


def show_config() -> dict[str, str]:
    """Return what this installation is and which backend serves it.

    Returns
    -------
    dict of str to str
        ``version``, ``arithmetic_version``, ``backend`` (the one that serves), ``backends``
        (all that could), ``build`` (compiler of the core), ``cpu``, ``platform``,
        ``python``, ``numpy`` and ``path``.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.show_config()["backend"] in intmlp.show_config()["backends"].split()
    True
    """
    return {
        "version": __version__,
        "arithmetic_version": str(arithmetic_version),
        "backend": _backend.active_name(),
        "backends": " ".join(_backend.available()),
        "build": " ".join(_backend.active().build_info().values()),
        "cpu": _processor(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "path": str(Path(__file__).parent),
    }


def _processor() -> str:
    """Return the processor's name as the operating system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
