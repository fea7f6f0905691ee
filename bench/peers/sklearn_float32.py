"""scikit-learn in float32: `MLPRegressor`, solver ``sgd`` without momentum."""

import numpy as np
from sklearn.neural_network import MLPRegressor


class Trainer:
    """A ReLU network with a linear last layer, trained by mini-batches."""

    def __init__(self, weights, biases, lr_shift, batch_size):
        self.net = MLPRegressor(
            hidden_layer_sizes=[len(b) for b in biases[:-1]],
            solver="sgd",
            alpha=0,
            batch_size=batch_size,
            learning_rate_init=batch_size * 2.0**-lr_shift,  # it takes the mean over a batch
            shuffle=False,
            momentum=0,
            nesterovs_momentum=False,
        )
        # A first call on one batch makes its arrays, which then take the initial values.
        shapes = (batch_size, weights[0].shape[1]), (batch_size, weights[-1].shape[0])
        self.net.partial_fit(*(np.zeros(shape, np.float32) for shape in shapes))
        for ours, theirs in ((weights, self.net.coefs_), (biases, self.net.intercepts_)):
            for value, array in zip(ours, theirs, strict=True):
                array[...] = value.T

    def data(self, x, y):
        return x.astype(np.float32), y.astype(np.float32)

    def epoch(self, data):
        self.net.partial_fit(*data)

    def parameters(self):
        return [w.T for w in self.net.coefs_] + list(self.net.intercepts_)
