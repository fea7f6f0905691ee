"""The rivals: training in NumPy int64, as the published study did.

A module of its own, so that the processes of a parallel run can import it.
"""

from time import perf_counter

import numpy as np
from scipy.signal import savgol_filter

from intmlp.study import mnist2017


def numpy_epoch(weights, x, y, frac, lr_shift, batch_size):
    """Train [.., relu, ..] by mini-batches in NumPy int64, floor and no saturation."""
    for start in range(0, len(x), batch_size):
        activations = [x[start : start + batch_size]]
        for w in weights:
            activations.append(np.maximum((activations[-1] @ w.T) >> frac, 0))
        d = (activations[-1] - y[start : start + batch_size]) * (activations[-1] > 0)
        deltas = [d]
        for w, a in zip(weights[:0:-1], activations[-2:0:-1], strict=True):
            deltas.insert(0, ((deltas[0] @ w) >> frac) * (a > 0))
        for w, d, a in zip(weights, deltas, activations, strict=False):
            w += -(d.T @ a) >> (frac + lr_shift)


def published_cell(x, y, fraction, lr_shift):
    """Train one cell as the notebook did; return its accuracy, seconds and active rows a step."""
    state = np.random.RandomState(mnist2017.SEED)
    state.permutation(mnist2017.TRAINING + mnist2017.TEST)
    w = np.rint(state.normal(0, 500, (10, 784))).astype(np.int64)
    x, y = x.astype(np.int64), y.astype(np.int64)
    right, active = np.zeros(len(x)), 0
    start = perf_counter()
    for i in range(len(x)):
        z = (x[i : i + 1] @ w.T) >> fraction
        a = np.maximum(z, 0)
        right[i] = a.argmax() == y[i].argmax()
        d = (y[i : i + 1] - a) * (z > 0)
        w += (d.T @ x[i : i + 1]) >> (fraction + lr_shift)
        active += np.count_nonzero(d)
    seconds = perf_counter() - start
    return savgol_filter(right, 1001, 2, mode="mirror")[-1], seconds, active / len(x)
