"""The number of threads: kept for those who ask for it, since everything here takes one."""

from __future__ import annotations

import threading

_number = 1
_limit = threading.local()


def set_threads(n: int) -> None:
    """Set how many threads a call may use."""
    global _number
    _number = n


def limit_threads(n: int) -> None:
    """Let calls from the calling thread use at most `n` threads; 0 ends that."""
    _limit.number = n


def threads() -> int:
    """Return how many threads a call from the calling thread may use."""
    return min(_number, getattr(_limit, "number", 0) or _number)
