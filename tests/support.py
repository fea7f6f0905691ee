"""What the tests share: strategies, and the way from the package's objects to the oracle's."""

import functools
import os
import pickle
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import reference
from intmlp import QFormat, _backend, cli

# A pure Python wheel is tested with INTMLP_BACKEND=python; everywhere else the core must be there.
PURE = os.environ.get("INTMLP_BACKEND") == "python"
BACKENDS = ("python",) if PURE else _backend.available()

# How many examples hypothesis tries, as a multiple: less where a build is many times slower, more
# for a search. Where it is less than one, `-m "not long"` leaves the longest tests out as well.
EFFORT = float(os.environ.get("INTMLP_TEST_EFFORT", "1"))


def examples(count):
    """Let a hypothesis test try `count` examples, times the effort."""
    return settings(max_examples=max(1, round(count * EFFORT)))


def each_backend(names=BACKENDS):
    """Let each backend serve in turn; the test that loops uses the fixture `restored`."""
    for name in names:
        _backend.use(name)
        yield name


ROUNDINGS = ("floor", "toward_zero", "half_up", "half_away", "half_even")  # without a stream
EVERY_ROUNDING = (*ROUNDINGS, "stochastic")
OVERFLOWS = ("saturate", "wrap")
INT64 = QFormat(64, 0)

# Around every block, lane and unrolling that a kernel may have.
EDGE_SIZES = (*range(1, 10), 15, 16, 17, 31, 32, 33, 63, 64, 65)


@st.composite
def formats(draw, bits=None):
    """Draw a format; widths around those of machine words are more likely."""
    edges = st.sampled_from([2, 8, 16, 17, 24, 31, 32, 33, 53, 54, 63, 64])
    bits = draw(st.one_of(edges, st.integers(2, 64)) if bits is None else bits)
    frac = draw(st.one_of(st.integers(0, bits - 1), st.integers(0, 63)))
    return QFormat(bits, frac, draw(st.sampled_from(ROUNDINGS)), draw(st.sampled_from(OVERFLOWS)))


def raws(fmt):
    """Return a strategy for the raw values of `fmt`, with its extremes more likely."""
    extremes = [fmt.raw_min, fmt.raw_min + 1, -1, 0, 1, fmt.raw_max - 1, fmt.raw_max]
    return st.one_of(st.sampled_from(extremes), st.integers(fmt.raw_min, fmt.raw_max))


FLAVOURS = ("uniform", "extremes", "small", "lowest", "highest", "alternating")
seeds = st.integers(0, 2**32 - 1).map(np.random.RandomState)


def raw_array(state, fmt, shape, flavour):
    """Return raw values of `fmt`; some flavours are the worst cases of a sum of products."""
    low, high = fmt.raw_min, fmt.raw_max
    if flavour == "uniform":
        count = int(np.prod(shape, dtype=int))
        values = np.frombuffer(state.bytes(8 * count), np.int64).reshape(shape) >> 64 - fmt.bits
    elif flavour == "extremes":
        values = np.array([low, low + 1, -1, 0, 1, high - 1, high])[state.randint(7, size=shape)]
    elif flavour == "small":
        values = state.randint(-2, 2, shape)
    elif flavour == "lowest":
        values = np.full(shape, low)
    elif flavour == "highest":
        values = np.full(shape, high)
    else:
        values = np.where(np.arange(np.prod(shape, dtype=int)) % 2, low, high).reshape(shape)
    return values.astype(fmt.dtype)


def twin(fmt):
    """Return the oracle's format."""
    return reference.Format(fmt.bits, fmt.frac, fmt.rounding, fmt.overflow, fmt.random_bits)


def twin_accumulator(accumulator):
    """Return the oracle's accumulator, or None for exact sums."""
    return accumulator and reference.Accumulator(accumulator.bits, accumulator.overflow)


def assert_same(got, want, dtype):
    """Assert that an array has the dtype and, to the last bit, the values of nested lists."""
    assert got.dtype == dtype
    want = np.array(want, dtype).reshape(got.shape)
    as_bits = f"i{want.itemsize}"
    assert got.copy().view(as_bits).tolist() == want.view(as_bits).tolist()


@functools.lru_cache(maxsize=10_000)
def oracle_answer(question):
    """Return the pickled answer of a network to a pickled question, and what it is afterwards."""
    name, network, arguments = pickle.loads(question)
    try:
        result = getattr(reference.Network, name)(network, *arguments)
    except reference.Diverged as error:
        result = error
    return pickle.dumps((result, network.__dict__))


class Twin(reference.Network):
    """The oracle's network; what one backend asked it is not computed again for the next."""

    def _ask(self, name, *arguments):
        question = pickle.dumps((name, self, arguments))
        result, after = pickle.loads(oracle_answer(question))
        self.__dict__.update(after)
        if isinstance(result, reference.Diverged):
            raise result
        return result

    def forward(self, x):
        return self._ask("forward", x)

    def gradient(self, x, y, m=0):
        return self._ask("gradient", x, y, m)

    def step(self, x, y, lr_shift, m=0):
        return self._ask("step", x, y, lr_shift, m)

    def observe(self, x, y, lr_shift, m=0):
        return self._ask("observe", x, y, lr_shift, m)


def twin_network(net):
    """Return the oracle's network, with the weights that `net` has now."""
    described = net.network
    parts = described.parts
    model = Twin(
        twin(described.input),
        twin_layers(described),
        tensors(net),
        described.loss,
        described.update,
        reference.Parts(parts.forward, parts.backward, parts.update),
        twin_accumulator(described.accumulator),
        described.momentum_shift,
        described.decay_shift,
        described.rounding_seed,
        net.steps,
    )
    if described.momentum_shift is not None:
        model.velocities = in_layers(net, net.velocities, net.bias_velocities)
    return model


def twin_layers(network):
    """Return the oracle's layers of a network's descriptor."""
    return [
        reference.Layer(
            tuple(
                twin(getattr(layer.formats, name))
                for name in ("activation", "weight", "delta", "gradient", "velocity")
                if getattr(layer.formats, name) is not None
            ),
            reference.Activation(
                layer.activation.kind,
                Fraction(layer.activation.half_at_zero, 2),
                layer.activation.slope_shift,
            ),
        )
        for layer in network.layers
    ]


def tensors(net):
    """Return [W, b] or [W] of each layer as lists: of the master where there is one."""
    master = net.network.parts.update == "float"
    weights = net.master_weights if master else net.weights
    biases = net.master_biases if master else net.biases
    return in_layers(net, weights, biases)


def in_layers(net, weights, biases):
    """Return the same of arrays for the weights, and for the biases where there are any."""
    return [
        [tensor.tolist() for tensor in layer]
        for layer in (zip(weights, biases, strict=True) if net.network.bias else zip(weights))
    ]


def run_python(variable, script, **environment):
    """Run Python code in a new process; the environment's `variable` is as given, or unset."""
    clean = {k: v for k, v in os.environ.items() if k != variable}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**clean, **environment},
        cwd=Path(__file__).parent,  # where no package lies that would be imported instead
        capture_output=True,
        text=True,
    )


def run_command(capsys, *arguments):
    """Run a command of the command line; return its exit status, its output and its errors."""
    try:
        status = cli.main(arguments)
    except SystemExit as exit_:  # argparse
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err
