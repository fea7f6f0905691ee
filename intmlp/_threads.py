"""How many threads a call may use; no result depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from . import _backend
from ._check import integer


def set_num_threads(n: int) -> None:
    """Set how many threads a call may use, in this process.

    Parameters
    ----------
    n : int
        1..1024. It may exceed the number of cores.

    Raises
    ------
    TypeError
        Where `n` is not an integer.
    ValueError
        Where `n` lies outside its range.

    Notes
    -----
    Without it the number is that of the environment variable ``INTMLP_NUM_THREADS``, read at
    the first use, or else that of the cores which this process may use. No result depends on
    it. Matrix products large enough to be worth it are shared out, where the platform has POSIX
    threads; the Python fallback, and Windows, keep the number and compute with one.

    Examples
    --------
    >>> import intmlp
    >>> before = intmlp.get_num_threads()
    >>> intmlp.set_num_threads(2)
    >>> intmlp.get_num_threads()
    2
    >>> intmlp.set_num_threads(before)
    """
    _backend.set_threads(integer("n", n, 1, _backend.MOST_THREADS))


def get_num_threads() -> int:
    """Return how many threads a call may use.

    Returns
    -------
    int
        1..1024. See `set_num_threads`.

    Examples
    --------
    >>> import intmlp
    >>> intmlp.get_num_threads() >= 1
    True
    """
    return int(_backend.active().threads())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let calls from this thread use one thread: for work whose pieces run side by side."""
    backend = _backend.active()
    backend.limit_threads(1)
    try:
        yield
    finally:
        backend.limit_threads(0)
