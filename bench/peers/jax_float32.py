"""JAX in float32: one compiled `lax.scan` over the batches of an epoch."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def loss(parameters, x, y):
    for w, b in parameters[:-1]:
        x = jax.nn.relu(x @ w.T + b)
    w, b = parameters[-1]
    return ((x @ w.T + b - y) ** 2).sum() / 2


def step(lr, parameters, batch):
    gradients = jax.grad(loss)(parameters, *batch)
    return jax.tree.map(lambda p, g: p - lr * g, parameters, gradients), None


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def scan(lr, parameters, batches):
    return jax.lax.scan(partial(step, lr), parameters, batches)[0]


class Trainer:
    """A ReLU network with a linear last layer, trained by mini-batches."""

    def __init__(self, weights, biases, lr_shift, batch_size):
        self.pairs = [
            (jnp.array(w, jnp.float32), jnp.array(b, jnp.float32))
            for w, b in zip(weights, biases, strict=True)
        ]
        self.lr = 2.0**-lr_shift
        self.batch_size = batch_size

    def data(self, x, y):
        """Return the whole batches, and what is left of them as one shorter batch."""
        whole = len(x) - len(x) % self.batch_size
        parts = [
            jnp.array(part[:whole].reshape(-1, self.batch_size, part.shape[1]), jnp.float32)
            for part in (x, y)
        ]
        rest = [jnp.array(part[None, whole:], jnp.float32) for part in (x, y)]
        return [parts, rest] if whole < len(x) else [parts]

    def epoch(self, data):
        for batches in data:
            self.pairs = scan(self.lr, self.pairs, batches)
        jax.block_until_ready(self.pairs)

    def parameters(self):
        return [np.asarray(pair[i]) for i in (0, 1) for pair in self.pairs]
