"""Print one SHA-256 over the results of every kind of call; builds that agree print the same.

Run as ``python digest.py BACKEND``.
"""

import hashlib
import itertools
import sys

import numpy as np

import intmlp
from intmlp import LayerFormats, Parts, QFormat, _backend
from intmlp.qformat import OVERFLOWS, ROUNDINGS

BITS = (2, 3, 8, 16, 24, 31, 32, 33, 48, 63, 64)


def integers(state, bits, shape):
    """Return values of `bits` bits, one in four of them at an end, next to it, or zero."""
    high = 2 ** (int(bits) - 1) - 1
    low = -high - 1
    values = state.randint(low, high, shape, dtype=np.int64)
    ends = np.array([low, low + 1, -1, 0, 1, high - 1, high], np.int64)
    return np.where(state.random_sample(shape) < 0.25, ends[state.randint(0, 7, shape)], values)


def single_calls(state):
    """Yield results of quantize, dequantize, requantize and matmul in every format."""
    for bits, rounding, overflow in itertools.product(BITS, ROUNDINGS[:5], OVERFLOWS):
        frac = state.randint(0, 64)
        fmt = QFormat(bits, frac, rounding, overflow)
        s = integers(state, 64, 200)
        for frac_in in (0, frac - 1, frac, frac + 1, frac + 31, frac + 63, frac + 64, 300, -300):
            yield intmlp.requantize(s, frac_in, fmt)
        reals = np.ldexp(state.standard_cauchy(100), state.randint(-80, 80, 100))
        yield intmlp.quantize(reals, fmt)
        yield intmlp.dequantize(intmlp.quantize(reals, fmt), fmt)
        m, k, n = state.randint(0, 60, 3)
        a, b = integers(state, state.choice(BITS), (m, k)), integers(state, bits, (k, n))
        bias = integers(state, bits, n)
        yield intmlp.matmul(a, b, frac + 20, fmt, bias=bias, bias_frac=frac)
        yield intmlp.matmul(b.T, a.T, 126, fmt)


def trainings(state):
    """Yield the weights and reports of small trainings over parts, updates and formats."""
    for parts, update in itertools.product(
        itertools.product(("fixed", "float"), repeat=3), ("fused", "two_step")
    ):
        for _ in range(3):
            formats = [
                LayerFormats(
                    *(
                        QFormat(
                            int(state.choice(BITS)),
                            int(state.randint(2, 20)),
                            ROUNDINGS[state.randint(5)],
                            OVERFLOWS[state.randint(2)],
                        )
                        for _ in range(4)
                    )
                )
                for _ in range(2)
            ]
            net = intmlp.MLP(
                [9, 6, 4],
                formats,
                activation=[intmlp.leaky_relu(2), intmlp.relu(0.5)],
                update=update,
                parts=Parts(*parts),
                seed=state,
            )
            x, y = state.uniform(-1, 1, (2, 30, 9))
            for batch_size in (1, 8):
                history = net.train(
                    x, y[:, :4], 3, batch_size=batch_size, seed=state, observe=True,
                    overflow="ignore",
                )  # fmt: skip
                yield history.right
                yield history.loss
                yield np.frombuffer(repr(history.observed).encode(), np.uint8)
            yield net.forward(x)
            yield from net.master_weights if parts[2] == "float" else net.weights


def random_calls(state):
    """Yield results of stochastic rounding: of single calls, and of trainings online and not."""
    for bits in BITS:
        fmt = QFormat(bits, state.randint(0, 64), "stochastic", random_bits=state.randint(1, 33))
        stream = intmlp.Stream(state.randint(0, 2**31), *state.randint(0, 99, 2))
        reals = np.ldexp(state.standard_cauchy(600), state.randint(-80, 80, 600))
        yield intmlp.quantize(reals, fmt, stream=stream)
        s = integers(state, 64, 600)
        for k in (1, 20, 32, 33, 63, 64, 80):
            yield intmlp.requantize(s, fmt.frac + k, fmt, stream=stream)
        a, b = integers(state, bits, (9, 30)), integers(state, state.choice(BITS), (30, 50))
        yield intmlp.matmul(a, b, fmt.frac + 12, fmt, stream=stream)
    for parts in itertools.product(("fixed", "float"), repeat=3):
        fmt = QFormat(24, state.randint(4, 20), "stochastic")
        net = intmlp.MLP(
            [12, 7, 5], fmt, activation=intmlp.leaky_relu(2), parts=Parts(*parts), seed=state
        )
        x, y = state.uniform(-1, 1, (2, 30, 12))
        for batch_size in (1, 8):
            net.train(x, y[:, :5], 3, batch_size=batch_size, seed=state)
            yield from net.master_weights if parts[2] == "float" else net.weights
        yield net.forward(x, stream=intmlp.Stream(1))


def main(backend):
    """Print the digest of `backend`."""
    _backend.use(backend)
    digest = hashlib.sha256()
    state = np.random.RandomState(2026)
    for result in itertools.chain(single_calls(state), trainings(state), random_calls(state)):
        if result.dtype.kind == "f":
            result = np.where(np.isnan(result), np.nan, result)  # one NaN, whatever its bits
        digest.update(np.ascontiguousarray(result).astype(result.dtype.newbyteorder("<")).tobytes())
    print(digest.hexdigest())


if __name__ == "__main__":
    main(sys.argv[1])
