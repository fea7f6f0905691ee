"""The loop of the 2017 study as it was published, in NumPy int64.

A module of its own, so that the processes of a parallel run can import it.
"""

import numpy as np


def cell(w, x, y, fraction, lr_shift):
    """Train one cell of the grid from the weights `w`; return which steps were right."""
    w, x, y = w.astype(np.int64), x.astype(np.int64), y.astype(np.int64)
    right = np.zeros(len(x))
    for i in range(len(x)):
        z = (x[i : i + 1] @ w.T) >> fraction
        a = np.maximum(z, 0)
        right[i] = a.argmax() == y[i].argmax()
        d = (y[i : i + 1] - a) * (z > 0)
        w += (d.T @ x[i : i + 1]) >> (fraction + lr_shift)
    return right
