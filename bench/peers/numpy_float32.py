"""NumPy in float32: plain SGD on half the summed squared error."""

import numpy as np

DTYPE = np.float32


class Trainer:
    """A ReLU network with a linear last layer, trained by mini-batches."""

    def __init__(self, weights, biases, lr_shift, batch_size):
        self.w = [w.astype(DTYPE) for w in weights]
        self.b = [b.astype(DTYPE) for b in biases]
        self.lr = DTYPE(2.0**-lr_shift)
        self.batch_size = batch_size

    def data(self, x, y):
        return x.astype(DTYPE), y.astype(DTYPE)

    def epoch(self, data):
        x, y = data
        for start in range(0, len(x), self.batch_size):
            self.step(x[start : start + self.batch_size], y[start : start + self.batch_size])

    def step(self, x, y):
        activations = [x]
        for w, b in zip(self.w[:-1], self.b[:-1], strict=True):
            z = activations[-1] @ w.T
            z += b
            activations.append(np.maximum(z, 0, out=z))
        d = activations[-1] @ self.w[-1].T
        d += self.b[-1]
        d -= y
        for i in reversed(range(len(self.w))):
            a = activations[i]
            gradient = d.T @ a
            bias_gradient = d.sum(axis=0)
            if i > 0:
                d = d @ self.w[i]
                d *= a > 0
            gradient *= self.lr
            self.w[i] -= gradient
            self.b[i] -= self.lr * bias_gradient

    def parameters(self):
        return self.w + self.b
