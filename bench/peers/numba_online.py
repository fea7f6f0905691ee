"""The published loop compiled by numba, which skips rows whose delta is zero; and in float64."""

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


@numba.njit(nogil=True)
def train_float(w, x, y, rate):
    """Train in float64, from the weights `w`, in place; return which steps were right."""
    outputs, inputs = w.shape
    right = np.zeros(len(x))
    a = np.zeros(outputs)
    for i in range(len(x)):
        for o in range(outputs):
            z = 0.0
            for k in range(inputs):
                z += w[o, k] * x[i, k]
            a[o] = max(z, 0.0)
        right[i] = np.argmax(a) == np.argmax(y[i])
        for o in range(outputs):
            step = (y[i, o] - a[o]) * rate
            if a[o] > 0 and step != 0:
                for k in range(inputs):
                    w[o, k] += step * x[i, k]
    return right
