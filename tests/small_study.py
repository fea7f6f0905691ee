"""A study of seconds, for tests; as a program, it runs: STORE CSV, and prints how far it is."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from intmlp.io.samples import samples_of
from intmlp.study import Grid, Task, run


def few_samples(n=60, features=5, classes=3, seed=0, **options):
    """Return samples that a small network learns a little of; not in order of their labels."""
    state = np.random.RandomState(seed)
    labels = state.randint(0, classes, n)
    x = 0.5 * state.random_sample((n, features)) + 0.5 * (labels[:, None] == np.arange(features))
    return samples_of(x, labels, scale="none", **options)


SAMPLES = few_samples()
TASK = Task(hidden=(4,), bias=True, window=21)
LONG = replace(TASK, epochs=200)  # about 20 ms a cell
GRID = Grid(fractions=[4, 9], lr_shifts=[1, 3], seeds=[0, 7])

if __name__ == "__main__":
    store, csv = map(Path, sys.argv[1:])
    result = run(
        LONG,
        SAMPLES,
        GRID,
        store=store,
        jobs=2,
        progress=lambda done, total: print(done, flush=True),
    )
    result.write_csv(csv)
