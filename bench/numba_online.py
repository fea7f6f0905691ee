"""The rival compiled by numba: the published online loop, without the rows whose delta is zero."""

from time import perf_counter

import numpy as np
from numba import njit
from scipy.signal import savgol_filter

from intmlp.study import mnist2017


@njit(nogil=True)
def numba_online(w, x, y, fraction, shift, right):
    """Train a relu layer in place, sample by sample, in int64 with floor and no saturation.

    `shift` is that of a step. Returns the number of deltas that were not zero.
    """
    outputs, inputs = w.shape
    a, d, active = np.empty(outputs, np.int64), np.empty(outputs, np.int64), 0
    for i in range(len(x)):
        for j in range(outputs):
            z = np.int64(0)
            for k in range(inputs):
                z += np.int64(w[j, k]) * x[i, k]
            z >>= fraction
            a[j] = max(z, 0)
            d[j] = y[i, j] - a[j] if z > 0 else 0
        right[i] = a.argmax() == y[i].argmax()
        for j in range(outputs):
            if d[j] != 0:
                active += 1
                for k in range(inputs):
                    w[j, k] += (d[j] * x[i, k]) >> shift
    return active


def numba_cell(x, y, fraction, lr_shift):
    """Train one cell; return its accuracy, seconds and active rows a step."""
    state = np.random.RandomState(mnist2017.SEED)
    state.permutation(mnist2017.TRAINING + mnist2017.TEST)
    w = np.rint(state.normal(0, 500, (10, 784))).astype(x.dtype)
    right = np.zeros(len(x))
    numba_online(w, x[:0], y[:0], fraction, fraction + lr_shift, right)  # compiles
    start = perf_counter()
    active = numba_online(w, x, y, fraction, fraction + lr_shift, right)
    seconds = perf_counter() - start
    return savgol_filter(right, 1001, 2, mode="mirror")[-1], seconds, active / len(x)
