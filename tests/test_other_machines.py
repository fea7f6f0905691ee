"""The core on processors that are not here: the oracle's results, compared under emulation.

Results of the oracle are written to a file, which a C program, tests/c/vectors.c, compares with
those of each kernel of each instruction set that it was built with. It is built for this machine,
as a control, and for aarch64.
"""

import dataclasses
import itertools
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import intmlp
import reference
from intmlp import LayerFormats, Parts, QFormat, _backend
from support import (
    BACKENDS,
    EDGE_SIZES,
    EVERY_ROUNDING,
    FLAVOURS,
    OVERFLOWS,
    PURE,
    ROUNDINGS,
    raw_array,
    twin,
    twin_network,
)

CHECKOUT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "setup.py").exists() or PURE, reason="needs the source tree and a compiled core"
)

# Those of setup.py; the optimisation is each machine's own.
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-trapping-math")

BITS = (2, 8, 12, 16, 17, 24, 27, 31, 32, 33, 48, 64)
ACTIVATIONS = (
    intmlp.linear(),
    intmlp.relu(),
    intmlp.relu(derivative_at_zero=0.5),
    intmlp.leaky_relu(3),
)
# In the order of `im_activation` and of `im_loss_kind`.
ACTIVATION_KINDS = (
    *("linear", "relu", "leaky_relu", "hard_tanh", "hard_sigmoid", "sigmoid", "tanh"),
)
LOSSES = ("sse", "half_sse", "cross_entropy")


STREAM = reference.Stream(0x123456789ABCDEF, 7, 9)  # that of vectors.c

# The calls, as text


def text(*values):
    """Return integers, formats, and arrays of integers or float64, as one line of integers."""
    words = []
    for value in values:
        if isinstance(value, QFormat):
            rules = EVERY_ROUNDING.index(value.rounding), OVERFLOWS.index(value.overflow)
            words += [value.bits, value.frac, *rules, value.random_bits]
        elif isinstance(value, int | np.integer):
            words.append(int(value))
        else:
            array = np.asarray(value)
            words += (array.view(np.int64) if array.dtype == np.float64 else array).flat
    return " ".join(map(str, words))


def any_format(state, bits=BITS):
    bits = int(state.choice(bits))
    frac = int(state.randint(0, min(bits, 40)))
    rounding, overflow = EVERY_ROUNDING[state.randint(6)], OVERFLOWS[state.randint(2)]
    random_bits = state.randint(1, 33) if rounding == "stochastic" else 32
    return QFormat(bits, frac, rounding, overflow, random_bits)


def single_calls(state):
    """Yield quantize, dequantize and requantize by every rule."""
    for bits, rounding, overflow in itertools.product(BITS, EVERY_ROUNDING, OVERFLOWS):
        fmt = QFormat(bits, int(state.randint(0, 64)), rounding, overflow)
        v = np.ldexp(state.standard_cauchy(20), state.randint(-20, 20, 20) - fmt.frac // 2)
        v[:3] = 0.0, math.ldexp(1.5, -fmt.frac), math.ldexp(-2.5, -fmt.frac)
        raw = np.array(reference.quantized(v.tolist(), twin(fmt), STREAM), fmt.dtype)
        yield "quantize", text(fmt, len(v), v, raw)
        raw = raw_array(state, fmt, (20,), "extremes")
        want = np.array([reference.dequantize(r, twin(fmt)) for r in raw.tolist()])
        yield "dequantize", text(fmt, len(raw), raw, want)
        for source, step in itertools.product((32, 64), (-3, 0, 1, 30, 63, 70)):
            s = raw_array(state, QFormat(source, 0), (20,), FLAVOURS[step % 2])
            frac_in = fmt.frac + step
            want = reference.requantized(s.tolist(), frac_in, twin(fmt), STREAM)
            want = np.array(want, fmt.dtype)
            yield "requantize", text(fmt, frac_in, source == 64, len(s), s, want)


def product(a, b, frac_in, fmt, bias=None, bias_shift=0):
    (m, k), n = a.shape, b.shape[1]
    given = [] if bias is None else [bias.tolist(), frac_in - bias_shift]
    want = reference.matmul(a.tolist(), b.tolist(), frac_in, twin(fmt), *given, stream=STREAM)
    wide = [x.dtype == np.int64 for x in (a, b)]
    return "product", text(
        *(m, k, n, *wide, bias is not None, bias_shift, frac_in, fmt, a, b),
        *([] if bias is None else [bias]),
        np.array(want, fmt.dtype),
    )


def products(state):
    """Yield products around the edges of tiles, in formats of every width."""
    shapes = [shape for edge in EDGE_SIZES for shape in ((edge, 5, 6), (5, edge, 6), (5, 6, edge))]
    for shape in [*shapes, (17, 300, 13), (26, 1030, 9)]:
        m, k, n = shape
        for bits in (8, 15, 16, 24, 32, 64):
            x, y = QFormat(bits, 0), QFormat(int(state.choice([bits, 8])), 0)
            flavours = [FLAVOURS[i] for i in state.choice(6, 2, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])]
            a = raw_array(state, x, (m, k), flavours[0])
            b = raw_array(state, y, (k, n), flavours[1])
            fmt = any_format(state)
            frac_in = fmt.frac + int(state.randint(0, x.bits + y.bits))
            if state.randint(2):
                bias = raw_array(state, QFormat(bits, 0), (n,), "uniform").astype(np.int64)
                yield product(a, b, frac_in, fmt, bias, int(state.randint(0, 10)))
            else:
                yield product(a, b, frac_in, fmt)


def products_at_limits():
    """Yield sums that reach what an accumulator holds in a block of some steps, block by block."""
    every_bit, halved = QFormat(64, 0, "floor", "wrap"), QFormat(64, 0, "floor")
    for limit, steps in itertools.product((2**31 - 1, 2**53, 2**63 - 1), (1, 2, 3, 4, 6, 34)):
        value = (math.isqrt(limit // steps) - 1) | 1  # odd: no bit of a sum may be lost
        for length, sign in itertools.product((steps, steps + 1, 3 * steps + 1), (1, -1)):
            a, b = np.full((9, length), value), np.full((length, 5), sign * value)
            if value < 2**31:
                a, b = a.astype(np.int32), b.astype(np.int32)
            yield product(a, b, 0, every_bit)
            yield product(a, b, 1, halved)


def table(layer, parts):
    """Return the size and the entries of the oracle's table of a layer's function, or 0."""
    kind, fmt = layer.activation.kind, layer.formats.activation
    if kind not in ("sigmoid", "tanh") or parts.forward == "float":
        return np.array([0])
    function = reference.Activation(kind).fixed
    return counted([function(z, 0, twin(fmt)) for z in range(fmt.raw_min, fmt.raw_max + 1)])


def exps(described):
    """Return the oracle's table of exp, where the loss takes one."""
    fmt, wide = described.layers[-1].formats.activation, reference.Format(64, 30)
    if described.loss != "cross_entropy" or not described.parts.any_pass_fixed:
        return []
    values = (reference.rounded_function("exp", -d, fmt.frac, wide) for d in range(1 << fmt.bits))
    return list(itertools.takewhile(bool, values))


def counted(values):
    """Return an array of the number of values, and the values."""
    return np.array([len(values), *values], np.int64)


def training(state, net, rows, batch_size, average_shift=0, lr_shift=4):
    """Train the oracle's twin of `net` for one epoch."""
    described, model = net.network, twin_network(net)
    parts = described.parts
    n_in, n_out = described.layers[0].n_in, described.layers[-1].n_out
    x, y = state.uniform(-1, 1, (rows, n_in)), state.uniform(-1, 1, (rows, n_out))
    order = state.permutation(rows)

    def held():
        """Return for each layer the raw W and b, then the float64 ones: what there is of them."""
        raws = model.fixed() if parts.any_fixed else [[]] * len(described.layers)
        floats = model.tensors if parts.update == "float" else [[]] * len(described.layers)
        for layer, raw, real in zip(described.layers, raws, floats, strict=True):
            raw = [np.array(tensor, layer.formats.weight.dtype) for tensor in raw]
            yield [*raw, *(np.array(tensor, np.float64) for tensor in real)]

    layers = [
        text(
            *(layer.n_in, layer.n_out),
            *(getattr(layer.formats, name) for name in ("activation", "weight", "delta")),
            layer.formats.gradient,
            ACTIVATION_KINDS.index(layer.activation.kind),
            *(layer.activation.half_at_zero, layer.activation.slope_shift),
            table(layer, parts),
            *before,
        )
        for layer, before in zip(described.layers, held(), strict=True)
    ]
    reports = []
    try:
        for first in range(0, rows, batch_size):
            at = order[first : first + batch_size]
            step = model.step(x[at].tolist(), y[at].tolist(), lr_shift, average_shift)
            reports.append(step)
    except reference.Diverged:
        pass
    return "training", " ".join(
        [
            text(described.input, len(layers)),
            text(LOSSES.index(described.loss), counted(exps(described))),
            text(described.update == "two_step"),
            text(*(getattr(parts, name) == "float" for name in ("forward", "backward", "update"))),
            text(described.bias),
            *layers,
            text(rows, batch_size, lr_shift, average_shift, x, y, order, len(reports)),
            text([right for right, _ in reports], np.array([loss for _, loss in reports])),
            *(text(*after) for after in held()),
        ]
    )


def trainings(state):
    """Yield trainings over parts, updates and formats."""
    widths = (8, 12, 16, 24, 32, 33, 64)
    kinds = ("fixed", "float")
    for *parts, update, batch_size in itertools.product(
        kinds, kinds, kinds, ("fused", "two_step"), (1, 4)
    ):
        formats = [
            LayerFormats(
                *(
                    dataclasses.replace(fmt, frac=min(fmt.frac + 2, fmt.bits - 3))
                    for fmt in (any_format(state, widths) for _ in range(4))
                )
            )
            for _ in range(2)
        ]
        net = intmlp.MLP(
            [7, 9, 5],
            formats,
            activation=[ACTIVATIONS[i] for i in state.randint(4, size=2)],
            bias=bool(state.randint(4)),
            loss=("sse", "half_sse")[state.randint(2)],
            update=update,
            parts=Parts(*parts),
            seed=state,
            rounding_seed=STREAM.seed,
        )
        net._steps[0] = STREAM.step
        yield training(state, net, 6, batch_size, average_shift=batch_size // 2)
    for parts, loss in itertools.product(itertools.product(kinds, kinds), LOSSES[1:]):
        fmt, other = (
            QFormat(10, frac, ROUNDINGS[state.randint(5)], OVERFLOWS[state.randint(2)])
            for frac in (6, 9)
        )
        net = intmlp.MLP(
            [5, 7, 6, 6, 6, 4],
            [
                *(LayerFormats(fmt, QFormat(16, 12), other, QFormat(32, 20)) for _ in "1234"),
                LayerFormats(other, QFormat(16, 12), QFormat(24, 18), fmt),
            ],
            activation=[
                *(intmlp.tanh(), intmlp.sigmoid(), intmlp.hard_tanh(), intmlp.hard_sigmoid()),
                intmlp.linear() if loss == "cross_entropy" else intmlp.sigmoid(),
            ],
            loss=loss,
            parts=Parts(*parts),
            seed=state,
        )
        yield training(state, net, 8, 4)
    for bits, rounding in itertools.product((8, 16, 24, 32), ("half_even", "stochastic")):
        fmt = QFormat(bits, bits - 4, rounding)
        net = intmlp.MLP([33, 18, 10], fmt, seed=state, rounding_seed=STREAM.seed)
        net._steps[0] = STREAM.step
        yield training(state, net, 20, 17)


@pytest.fixture(scope="module")
def calls():
    """Return the name and the text of every call."""
    state = np.random.RandomState(2026)
    return [
        *single_calls(state),
        *products(state),
        *products_at_limits(),
        *trainings(state),
    ]


# The program


def build(compiler, to, *flags):
    """Compile the core and the program that compares."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    given = (CHECKOUT / "setup.py").read_text()
    assert all(f'"{flag}"' in given for flag in FLAGS)
    sources = [*sorted((CHECKOUT / "src").glob("*/*.c")), CHECKOUT / "tests" / "c" / "vectors.c"]
    flags = [*FLAGS, "-Werror", f"-I{CHECKOUT / 'src'}", *flags]
    subprocess.run([compiler, *flags, *sources, "-lm", "-pthread", "-o", to], check=True)


def compare(program, calls, emulator=()):
    """Return the exit status, the names of the kernels that served, and all that was printed."""
    lines = "".join(f"{name} {rest}\n" for name, rest in calls)
    run = subprocess.run([*emulator, program], input=lines, capture_output=True, text=True)
    served = {}
    for line in run.stdout.splitlines()[:-1]:
        isa, kernel, count = line.split()
        assert int(count) > 0, line
        served.setdefault(isa, []).append(kernel)
    return run.returncode, served, run.stdout + run.stderr


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Return the program for this machine."""
    path = tmp_path_factory.mktemp("here") / "vectors"
    build("gcc", path, "-O0")
    return path


def test_here(program, calls):
    """The same calls on the processor at hand, as a control."""
    status, served, printed = compare(program, calls)
    assert status == 0, printed
    before = _backend.active_name()
    for backend in BACKENDS[:-1]:  # the last one is Python
        _backend.use(backend)
        assert served.pop(backend.removeprefix("c:")) == list(_backend.active().matmul_kernels())
    _backend.use(before)
    assert not served
    assert printed.endswith(f"{len(calls)} calls agree\n")


@pytest.mark.parametrize("kind", ["quantize", "dequantize", "requantize", "product", "training"])
def test_a_changed_bit_is_noticed(kind, program, calls):
    """In the last result of the last call of each kind."""
    name, rest = next(call for call in reversed(calls) if call[0] == kind)
    *words, last = rest.split()
    status, _, printed = compare(program, [(name, " ".join([*words, str(int(last) ^ 1)]))])
    assert status == 1 and "differs" in printed


def test_aarch64(calls, tmp_path):
    """Its oldest processors, under emulation."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed")
    build("aarch64-linux-gnu-gcc", tmp_path / "vectors", "-O2", "-static")
    emulator = ("qemu-aarch64", "-cpu", "cortex-a53")
    status, served, printed = compare(tmp_path / "vectors", calls, emulator)
    assert status == 0, printed
    assert served == {
        "neon": ["i16", "f64", "i32", "i128", "wide"],
        "scalar": ["f64", "i64", "i128", "wide"],
    }
    assert printed.endswith(f"{len(calls)} calls agree\n")
