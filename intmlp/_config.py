"""What serves here: version, backend, processor, libraries."""

from __future__ import annotations

import os
import platform
import sys

import numpy as np

from . import _backend
from ._version import __version__, arithmetic_version


def show_config() -> dict[str, str]:
    """Return what this installation is and which backend serves it.

    Returns
    -------
    dict of str to str
        ``version``, ``arithmetic_version``, ``backend`` (the one that serves), ``backends``
        (all that could), ``threads`` (how many a call may use), ``build`` (compiler of the
        core), ``cpu``, ``platform``, ``python``, ``numpy`` and ``path``.

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
        "threads": str(_backend.active().threads()),
        "build": " ".join(_backend.active().build_info().values()),
        "cpu": _processor(),
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "path": os.path.dirname(__file__),
    }


def _processor() -> str:
    """Return the processor's name as the operating system gives it."""
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as cpuinfo:
            for line in cpuinfo:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
