"""Fixed point by hand in NumPy float64: integers as doubles, `rint` and `clip`.

Exact where every sum stays below 2**53; no rounding but half to even.
"""

import numpy as np


def enter(s, shift, bits):
    """Round `s * 2**-shift` half to even and saturate, in place."""
    s *= 2.0**-shift
    np.rint(s, out=s)
    return np.clip(s, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1, out=s)


def product(a, b, shift, bits):
    """Return a function that multiplies and rounds, given raw integers."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return lambda: enter(a @ b, shift, bits)


def quantize(v, frac, bits):
    """Return a function that quantizes floats."""
    return lambda: enter(v.copy(), -frac, bits)


class Trainer:
    """A ReLU network with a linear last layer, trained by mini-batches on half the sse.

    One format of `bits` and `frac` for every tensor; weights, biases and data are raw.
    """

    def __init__(self, weights, biases, lr_shift, batch_size, bits, frac):
        self.w = [w.astype(np.float64) for w in weights]
        self.b = [b.astype(np.float64) for b in biases]
        self.lr_shift, self.batch_size = lr_shift, batch_size
        self.bits, self.frac = bits, frac

    def data(self, x, y):
        return x.astype(np.float64), y.astype(np.float64)

    def epoch(self, data):
        x, y = data
        for start in range(0, len(x), self.batch_size):
            self.step(x[start : start + self.batch_size], y[start : start + self.batch_size])

    def step(self, x, y):
        bits, frac = self.bits, self.frac
        activations = [x]
        for i, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            z = activations[-1] @ w.T
            z += b * 2.0**frac
            enter(z, frac, bits)
            activations.append(z if i == len(self.w) - 1 else np.maximum(z, 0, out=z))
        d = enter(activations[-1] - y, 0, bits)
        for i in reversed(range(len(self.w))):
            a, w, b = activations[i], self.w[i], self.b[i]
            gradient, bias_gradient = d.T @ a, d.sum(axis=0)
            if i > 0:
                d = enter(d @ w, frac, bits)
                d *= a > 0
            self.update(w, gradient, frac + self.lr_shift)
            self.update(b, bias_gradient, self.lr_shift)

    def update(self, w, gradient, shift):
        """Subtract the rounded step; half to even is symmetric, so its sign does not matter."""
        gradient *= 2.0**-shift
        w -= np.rint(gradient, out=gradient)
        np.clip(w, -(2.0 ** (self.bits - 1)), 2.0 ** (self.bits - 1) - 1, out=w)

    def parameters(self):
        return self.w + self.b
