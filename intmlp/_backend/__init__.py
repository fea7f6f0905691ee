"""The only switch between the compiled core and the Python fallback.

A backend is a module with the functions of `_core.pyi`. Its name is ``python``, or ``c:`` with
an instruction set; ``c`` alone is the best that the build and the processor have. The
environment variable ``INTMLP_BACKEND`` forces one: a name that is unknown or not
supported here is an error. Without it the fallback serves only where the core was not built.
The choice is made at the first use, so that a command line can say in one line what is wrong.

How many threads a call may use is kept here too, for whichever backend serves: by default
``INTMLP_NUM_THREADS``, or as many as this process has cores.
"""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

from .._locks import new_lock

_CORE = f"{__name__}._core"

MOST_THREADS = 1024

# Held by who chooses a backend; whoever computes reads what was chosen last.
_choosing = new_lock()
_active: ModuleType | None = None
_name = ""
_threads: int | None = None


def active() -> ModuleType:
    """Return the backend that serves."""
    if _active is None:
        _start()
    assert _active is not None
    return _active


def active_name() -> str:
    """Return the full name of the backend that serves, as ``c:scalar``."""
    active()
    return _name


def available() -> tuple[str, ...]:
    """Return the names of all backends that can serve here, the best first."""
    core = _compiled()
    compiled = () if core is None else core.instruction_sets()
    return (*(f"c:{name}" for name in compiled), "python")


def use(name: str) -> None:
    """Make the backend `name` serve every network and call made from now on.

    Raises
    ------
    ValueError
        Where `name` is unknown, or not supported by this build or processor, or where
        ``INTMLP_NUM_THREADS`` is no number of threads.
    """
    global _active, _name, _threads
    names = available()
    built = len(names) > 1
    full = names[0] if name == "c" and built else name
    if full not in names:
        allowed = ", ".join(("c", *names) if built else names)
        hint = "" if built else " (the compiled core is not built)"
        raise ValueError(f"INTMLP_BACKEND must be one of {allowed} here{hint}, got {name!r}")
    kind, _, instruction_set = full.partition(":")
    module = importlib.import_module(_CORE if kind == "c" else f"{__name__}.fallback")
    with _choosing:
        if _threads is None:
            _threads = _default_threads()
        if kind == "c":
            module.use_instruction_set(instruction_set)
        module.set_threads(_threads)
        _name, _active = full, module  # the last, so that who finds one finds it complete


def set_threads(number: int) -> None:
    """Let calls use `number` threads from now on, ``1..MOST_THREADS``, on every backend."""
    global _threads
    with _choosing:
        active().set_threads(number)
        _threads = number


def _default_threads() -> int:
    """Return the number of the environment, or else that of the cores that may be used."""
    forced = os.environ.get("INTMLP_NUM_THREADS")
    if forced:
        if not (forced.isascii() and forced.isdigit() and 1 <= int(forced) <= MOST_THREADS):
            raise ValueError(
                f"INTMLP_NUM_THREADS must be an integer in 1..{MOST_THREADS}, got {forced!r}"
            )
        return int(forced)
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def _compiled() -> ModuleType | None:
    """Return the compiled core, or None where it was not built; other errors are raised."""
    try:
        return importlib.import_module(_CORE)
    except ModuleNotFoundError as error:
        if error.name != _CORE:
            raise
        return None


def _start() -> None:
    """Choose the backend of this process."""
    forced = os.environ.get("INTMLP_BACKEND")
    with _choosing:
        if _active is not None:  # by another thread
            return
        use(forced or available()[0])
    if not forced and _name == "python":
        warnings.warn(
            "intmlp runs on its Python fallback, since its compiled core is not built; "
            "set INTMLP_BACKEND=python to choose it without this warning",
            RuntimeWarning,
            stacklevel=4,
        )
