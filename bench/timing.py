"""How a call is timed, and how long a benchmark may take."""

import os
from statistics import quantiles
from time import perf_counter

# INTMLP_BENCH_QUICK=1: few rounds and few samples, to see that everything runs.
QUICK = os.environ.get("INTMLP_BENCH_QUICK") == "1"
SECONDS = 0.1 if QUICK else 2.0  # that one benchmark may take
ROUNDS = (1, 3) if QUICK else (3, 25)  # at least, at most


def timed(function, calls=1):
    """Return the seconds of one call, the mean of `calls` in a row."""
    start = perf_counter()
    for _ in range(calls):
        function()
    return (perf_counter() - start) / calls


def warm(function, calls=1):
    """Return the seconds of one call with warm caches: a short call is made once untimed."""
    seconds = timed(function, calls)
    return seconds if seconds > 0.1 else timed(function, calls)


def spread(values):
    """Return the quartiles of `values`."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
