"""Calls side by side on this machine, whichever backend serves."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from joblib import Parallel, delayed

from .. import _backend

Value = TypeVar("Value")


def side_by_side(
    function: Callable[..., Value], calls: Iterable[tuple[Any, ...]], jobs: int
) -> Generator[Value, None, None]:
    """Call `function` with each tuple of arguments, and yield what it returns as it ends.

    Parameters
    ----------
    function : callable
        Its calls do not depend on each other; each should keep to one thread.
    calls : iterable of tuple
        The arguments; made as they are needed.
    jobs : int
        How many at a time; -1 for as many as there are cores.

    Yields
    ------
    object

    Notes
    -----
    The compiled core trains without the interpreter's lock, so that threads serve it; the Python
    fallback needs processes. Closing the iterator ends the calls.

    Examples
    --------
    >>> sorted(side_by_side(pow, [(2, 3), (3, 2)], jobs=1))
    [8, 9]
    """
    backend = _backend.active_name()
    parallel = Parallel(
        n_jobs=jobs,
        backend="loky" if backend == "python" else "threading",
        return_as="generator_unordered",
        batch_size=1,
    )
    results = parallel(delayed(_call)(backend, function, arguments) for arguments in calls)
    try:
        # `yield from` would close `results` itself, unguarded.
        for result in results:  # noqa: UP028
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # joblib's, that calls which end now are not used
            results.close()


def _call(backend: str, function: Callable[..., Value], arguments: tuple[Any, ...]) -> Value:
    """Call a function on a backend, which a process of its own has yet to choose."""
    if _backend.active_name() != backend:
        _backend.use(backend)
    return function(*arguments)
