"""A few integers that every installation must give; run with the name of the forced backend."""

import sys
from pathlib import Path

import numpy as np

import intmlp

assert intmlp.show_config()["backend"] == sys.argv[1], intmlp.show_config()
assert not Path(intmlp.__file__).is_relative_to(Path(__file__).parents[1]), intmlp.__file__

lowest = np.full((1, 2), -(2**63))
assert intmlp.matmul(lowest, lowest.T, 126, intmlp.QFormat(8, 0)).tolist() == [[2]]

rng = np.random.RandomState(0)
x, y = rng.random_sample((64, 8)), rng.random_sample((64, 3))
net = intmlp.MLP([8, 5, 3], intmlp.QFormat(16, 10), average=True, seed=1)
history = net.train(x, y, lr_shift=2, epochs=3, batch_size=16)
assert history.steps == 12 and history.loss[-1] < history.loss[0]
assert net.biases[1].tolist() == [-364, -79, 471], net.biases[1].tolist()
