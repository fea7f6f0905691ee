"""Do one call of every hot path, for test_instruction_counts.py to count.

Run as ``python hot_paths.py BACKEND``: prints, call by call, the name of the path and how many
of its operations the call does.
"""

import itertools
import sys

import numpy as np

from intmlp import MLP, LayerFormats, Parts, QFormat, _backend


def calls():
    """Yield the name, the unit and number of operations, and the call of each path."""
    state = np.random.RandomState(0)
    core, fmt = _backend.active(), QFormat(16, 8)

    m, k, n = 32, 256, 96
    a, b = (state.randint(-99, 100, shape).astype(np.int32) for shape in ((m, k), (n, k)))
    for kernel in core.matmul_kernels():
        arguments = (a, b.T, None, 0, 16, fmt, kernel)
        yield f"{kernel} multiply-add", m * k * n, lambda: core.matmul(*arguments)  # noqa: B023

    for dtype in (np.int32, np.int64):
        s = state.randint(-(2**20), 2**20, 10_000).astype(dtype)
        yield f"requantize {s.dtype}", s.size, lambda: core.requantize(s, 16, fmt)  # noqa: B023

    formats = LayerFormats(QFormat(16, 10), QFormat(16, 12), QFormat(16, 12), QFormat(16, 12))
    x = state.randint(0, 2**11, (256, 784)).astype(np.int32)
    x[state.random_sample(x.shape) < 0.8] = 0  # as pixels are
    y = (state.randint(0, 10, 256)[:, None] == np.arange(10)).astype(np.int32) << 10
    order = np.arange(len(x))
    for name, sizes, batch in (("mini-batch", [784, 100, 50, 10], 64), ("online", [784, 10], 1)):
        net = MLP(sizes, formats)._net
        steps = len(x) // batch
        arguments = (x, y, order, batch, 0, steps, 8, 0, None, None)
        yield f"{name} step", steps, lambda: net.train(*arguments)  # noqa: B023

    x, y = x * 2.0**-10, y * 2.0**-10
    for kinds in itertools.product(("fixed", "float"), repeat=3):
        if "float" in kinds:
            net = MLP([784, 10], formats, parts=Parts(*kinds))._net
            arguments = (x, y, order, 1, 0, len(x), 8, 0, None, None)
            yield f"{'-'.join(kinds)} step", len(x), lambda: net.train(*arguments)  # noqa: B023


if __name__ == "__main__":
    _backend.use(sys.argv[1])
    for name, count, call in calls():
        print(count, name, flush=True)
        _backend.active().set_threads(1)  # what is counted begins here
        call()
