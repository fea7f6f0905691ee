"""The published loop compiled by numba, which skips the rows whose delta is zero."""

import numba
import numpy as np


@numba.njit(nogil=True)
def train(w, x, y, fraction, lr_shift):
    outputs, inputs = w.shape
    right = np.zeros(len(x))
    a = np.zeros(outputs, np.int64)
    for i in range(len(x)):
        for o in range(outputs):
            z = 0
            for k in range(inputs):
                z += np.int64(w[o, k]) * x[i, k]
            a[o] = max(z >> fraction, 0)
        right[i] = np.argmax(a) == np.argmax(y[i])
        for o in range(outputs):
            d = y[i, o] - a[o]
            if a[o] > 0 and d != 0:
                for k in range(inputs):
                    w[o, k] += (d * x[i, k]) >> (fraction + lr_shift)
    return right


def cell(w, x, y, fraction, lr_shift):
    """Train one cell of the grid from the weights `w`; return which steps were right."""
    return train(w.copy(), x, y, fraction, lr_shift)
