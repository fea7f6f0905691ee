"""Locks that a fork finds free.

Whoever holds a lock in another thread is not there in the child of a fork, and would hold it
for ever. So a fork waits until all locks are free: the child finds whole steps, and can go on.
"""

from __future__ import annotations

import os
import threading
from typing import Any, TypeAlias
from weakref import WeakSet

Lock: TypeAlias = Any  # of threading.RLock, which is a function before Python 3.13

_making = threading.RLock()
_all: WeakSet[Lock] = WeakSet()
_held: list[Lock] = []


def new_lock() -> Lock:
    """Return a lock; it must not be held while another one of these is waited for."""
    lock = threading.RLock()
    with _making:
        _all.add(lock)
    return lock


def _hold() -> None:
    _making.acquire()
    for lock in list(_all):
        lock.acquire()
        _held.append(lock)


def _release() -> None:
    while _held:
        _held.pop().release()
    _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_release)
