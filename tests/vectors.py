"""Calls and the oracle's results, as text for the program tests/c/vectors.c.

The program makes each call on every instruction set and kernel of the processor it runs on, so that
the core can be compared with the oracle where there is no Python. A call is a name, then integers
in decimal, a float as that of its bits: any byte order and any width of pointers reads the same.
"""

import dataclasses
import itertools
import math
import subprocess
from pathlib import Path

import numpy as np

import intmlp
import reference
from intmlp import Accumulator, LayerFormats, Parts, QFormat, _counts
from support import (
    EDGE_SIZES,
    EVERY_ROUNDING,
    FLAVOURS,
    OVERFLOWS,
    ROUNDINGS,
    raw_array,
    twin,
    twin_accumulator,
    twin_network,
)

CHECKOUT = Path(__file__).resolve().parents[1]

# Those of setup.py; the optimisation is each machine's own.
FLAGS = ("-std=c11", "-Wall", "-Wextra", "-ffp-contract=off", "-fno-trapping-math")

BITS = (2, 8, 12, 16, 17, 24, 27, 31, 32, 33, 48, 64)
STREAM = reference.Stream(0x123456789ABCDEF, 7, 9)  # that of vectors.c

# In the order of `im_activation`, `im_loss_kind` and `im_source_kind`.
ACTIVATION_KINDS = (
    *("linear", "relu", "leaky_relu", "hard_tanh", "hard_sigmoid", "sigmoid", "tanh"),
)
LOSSES = ("sse", "half_sse", "cross_entropy")
SOURCES = tuple(map(np.dtype, ("float32", "float64", "int32", "int64")))

# What a network of any formats may have; the tables of sigmoid and tanh take narrow ones.
ACTIVATIONS = (
    intmlp.linear(),
    intmlp.relu(),
    intmlp.relu(derivative_at_zero=0.5),
    intmlp.leaky_relu(3),
    intmlp.hard_tanh(),
    intmlp.hard_sigmoid(),
)


def text(*values):
    """Return integers, formats, and arrays of integers or floats, as one line of integers."""
    words = []
    for value in values:
        if isinstance(value, QFormat):
            rules = EVERY_ROUNDING.index(value.rounding), OVERFLOWS.index(value.overflow)
            words += [value.bits, value.frac, *rules, value.random_bits]
        elif isinstance(value, Accumulator):
            words += [value.bits, OVERFLOWS.index(value.overflow)]
        elif isinstance(value, int | np.integer):
            words.append(int(value))
        else:
            array = np.asarray(value)
            words += (array.view(f"i{array.itemsize}") if array.dtype.kind == "f" else array).flat
    return " ".join(map(str, words))


def counted(values):
    """Return an array of the number of values, and the values."""
    return np.array([len(values), *values], np.int64)


def source(array):
    """Return the kind and the entries of an array of inputs or targets."""
    return text(SOURCES.index(array.dtype), array)


def any_format(state, bits=BITS):
    bits = int(state.choice(bits))
    frac = int(state.randint(0, min(bits, 40)))
    rounding, overflow = EVERY_ROUNDING[state.randint(6)], OVERFLOWS[state.randint(2)]
    random_bits = int(state.randint(1, 33)) if rounding == "stochastic" else 32
    return QFormat(bits, frac, rounding, overflow, random_bits)


def any_accumulator(state):
    """Return one, or None, which stands for exact sums in one call of two."""
    bits = int(state.choice((8, 16, 24, 31, 32, 33, 48, 63, 64)))
    return Accumulator(bits, OVERFLOWS[state.randint(2)]) if state.randint(2) else None


def written(accumulator):
    return "0 0" if accumulator is None else text(accumulator)


def single_calls(state):
    """Yield quantize, dequantize and requantize by every rule."""
    for bits, rounding, overflow in itertools.product(BITS, EVERY_ROUNDING, OVERFLOWS):
        fmt = QFormat(bits, int(state.randint(0, 64)), rounding, overflow)
        v = np.ldexp(state.standard_cauchy(24), state.randint(-20, 20, 24) - fmt.frac // 2)
        v[12:] = np.ldexp(state.randint(-99, 99, 12), -fmt.frac - 2)  # ties, and all small
        v[:3] = 0.0, math.ldexp(1.5, -fmt.frac), math.ldexp(-2.5, -fmt.frac)
        for real in (v, v.astype(np.float32), v[12:].astype(np.float32)):
            raw = np.array(reference.quantized(real.tolist(), twin(fmt), STREAM), fmt.dtype)
            yield "quantize", text(fmt, len(real)) + f" {source(real)} {text(raw)}"
        raw = raw_array(state, fmt, (20,), "extremes")
        want = np.array([reference.dequantize(r, twin(fmt)) for r in raw.tolist()])
        yield "dequantize", text(fmt, len(raw), raw, want)
        for width, step in itertools.product((32, 64), (-3, 0, 1, 30, 63, 70)):
            s = raw_array(state, QFormat(width, 0), (20,), FLAVOURS[step % 2])
            frac_in = fmt.frac + step
            want = reference.requantized(s.tolist(), frac_in, twin(fmt), STREAM)
            want = np.array(want, fmt.dtype)
            yield "requantize", text(fmt, frac_in, width == 64, len(s), s, want)


def product(a, b, frac_in, fmt, bias=None, bias_shift=0, accumulator=None, times=1):
    """Return a product; `times` tells the program to repeat its rows and columns so often."""
    (m, k), n = a.shape, b.shape[1]
    start = None if bias is None else [c << bias_shift for c in bias.tolist()]
    sums = reference.products(a.tolist(), b.tolist(), twin_accumulator(accumulator), start)
    want = reference.requantized(sums, frac_in, twin(fmt), STREAM)
    wide = [x.dtype == np.int64 for x in (a, b)]
    return "product", " ".join(
        [
            text(times, m, k, n, *wide),
            text(0 if bias is None else 1 + (bias.dtype == np.int64), bias_shift),
            written(accumulator),
            text(frac_in, fmt, a, b, () if bias is None else bias, np.array(want, fmt.dtype)),
        ]
    )


def products(state):
    """Yield products around the edges of tiles, in formats of every width."""
    shapes = [shape for edge in EDGE_SIZES for shape in ((edge, 5, 6), (5, edge, 6), (5, 6, edge))]
    for shape in [*shapes, (1, 40, 33), (1, 7, 70), (17, 300, 13), (26, 1030, 9)]:
        m, k, n = shape
        for bits in (8, 15, 16, 24, 32, 64):
            x, y = QFormat(bits, 0), QFormat(int(state.choice([bits, 8])), 0)
            flavours = [FLAVOURS[i] for i in state.choice(6, 2, p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])]
            a = raw_array(state, x, (m, k), flavours[0])
            b = raw_array(state, y, (k, n), flavours[1])
            fmt = any_format(state)
            frac_in = fmt.frac + int(state.randint(0, x.bits + y.bits))
            bias, shift = None, 0
            if state.randint(2):
                bias = raw_array(state, QFormat(bits, 0), (n,), "uniform")
                shift = int(state.randint(0, 10))
            yield product(a, b, frac_in, fmt, bias, shift, any_accumulator(state))


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


def products_of_threads(state):
    """Yield products that are large enough to be shared out, by rows and by columns."""
    for (m, n), bits in (((5, 8), 16), ((8, 5), 40)):
        a, b = (raw_array(state, QFormat(bits, 0), s, "uniform") for s in ((m, 1300), (1300, n)))
        yield product(a, b, bits, QFormat(48, 4, "half_even"), times=32)


# Networks


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
        return counted([])
    values = (reference.rounded_function("exp", -d, fmt.frac, wide) for d in range(1 << fmt.bits))
    return counted(list(itertools.takewhile(bool, values)))


def held(described, model):
    """Return the text of each layer's W and b: raw, then float64, then velocities; what there is.

    A fixed part reads the raw ones, which a float update makes anew of the float64 ones.
    """
    parts = described.parts
    none = [[]] * len(described.layers)
    real = parts.update == "float"
    raws = model.fixed() if parts.any_fixed else none
    floats = model.tensors if real else none
    velocities = model.velocities if described.momentum_shift else none
    for layer, *of_layer in zip(described.layers, raws, floats, velocities, strict=True):
        of_weight, of_velocity = layer.formats.weight.dtype, layer.velocity.dtype
        dtypes = of_weight, np.float64, np.float64 if real else of_velocity
        yield text(
            *(
                np.array(tensor, dtype)
                for tensors, dtype in zip(of_layer, dtypes, strict=True)
                for tensor in tensors
            )
        )


@dataclasses.dataclass
class Looked:
    """How a training is observed: the fields of `im_observed`."""

    every: int = 1
    before: int = 0
    stop: bool = False
    only_overflows: bool = False


def train(model, x, y, batches, first, count, lr_shift, m, look):
    """Return the text of the oracle's steps first .. first + count - 1, and of what it counted."""
    layers = range(1, len(model.layers) + 1)
    reports, totals = [], {}
    idle = {
        number: [0] * len(tensors[0]) for number, tensors in zip(layers, model.tensors, strict=True)
    }
    for step in range(first, first + count):
        rows = batches[step]
        sample = [x[i] for i in rows], [y[i] for i in rows], lr_shift, m
        observed = look and (look.before + step) % look.every == 0
        try:
            counts, units = model.observe(*sample) if observed else ({}, {})
            stops = observed and look.stop and any(row.overflows for row in counts.values())
            if not stops:
                reports.append(model.step(*sample))
        except reference.Diverged:
            break
        for key, of_step in counts.items():
            totals.setdefault(key, reference.Counts()).add(of_step)
        if stops:
            break
        for number, flags in units.items():
            idle[number] = [
                n + 1 if flag else 0 for n, flag in zip(idle[number], flags, strict=True)
            ]
    words = []
    if look:
        words = [look.every, look.before, look.stop, look.only_overflows]
        for key in itertools.product(layers, _counts.TENSORS):
            words += _counts.pack(dataclasses.asdict(totals.get(key, reference.Counts())))
        words += itertools.chain.from_iterable(idle.values())
    right, loss = [r for r, _ in reports], np.array([loss for _, loss in reports])
    return text(
        *(first, count, lr_shift, m, look is not None),
        *(word - (word >> 63 << 64) for word in words),
        *(len(reports), right, loss),
    )


def network(state, net, rows, batch_size, lr_shifts, m=0, kinds=(1, 1), look=None):
    """Return the call of a network's forward pass, its gradient, and a training.

    The training goes through its batches once, in one call of `im_train` for each of `lr_shifts`.
    `kinds` are those of inputs and targets.
    """
    described, model = net.network, twin_network(net)
    parts = described.parts
    fmts = described.input, described.layers[-1].formats.activation
    n_in, n_out = described.layers[0].n_in, described.layers[-1].n_out
    arrays = []
    for width, fmt, kind in zip((n_in, n_out), fmts, kinds, strict=True):
        values = state.uniform(-1, 1, (rows, width)).astype(np.float32)
        if kind >= 2:  # raw
            values = np.array(reference.quantized(values.tolist(), twin(fmt), STREAM))
        arrays.append(values.astype(SOURCES[kind]))
    x, y = (array.tolist() for array in arrays)
    order = state.permutation(rows)
    batches = [order[i : i + batch_size].tolist() for i in range(0, rows, batch_size)]

    layers = [
        text(
            *(layer.n_in, layer.n_out),
            *(getattr(layer.formats, name) for name in ("activation", "weight", "delta")),
            *(layer.formats.gradient, layer.velocity),
            ACTIVATION_KINDS.index(layer.activation.kind),
            *(layer.activation.half_at_zero, layer.activation.slope_shift),
            table(layer, parts),
        )
        + " "
        + before
        for layer, before in zip(described.layers, held(described, model), strict=True)
    ]
    dtype = np.float64 if parts.forward == "float" else fmts[1].dtype
    output = np.array(model.forward(x)[1][-1], dtype)
    try:
        dtypes = [
            np.float64 if parts.backward == "float" else layer.formats.gradient.dtype
            for layer in described.layers
        ]
        gradient = [
            np.array(tensor, of_layer)
            for of_layer, tensors in zip(dtypes, model.gradient(x, y, m), strict=True)
            for tensor in tensors
        ]
    except reference.Diverged:
        gradient = []
    cuts = np.linspace(0, len(batches), len(lr_shifts) + 1).astype(int).tolist()
    calls = [
        train(model, x, y, batches, first, last - first, lr_shift, m, look)
        for (first, last), lr_shift in zip(itertools.pairwise(cuts), lr_shifts, strict=True)
    ]
    decay = -1 if described.decay_shift is None else described.decay_shift
    return "network", " ".join(
        [
            text(described.input, len(layers)),
            text(LOSSES.index(described.loss), exps(described)),
            text(described.update == "two_step"),
            text(*(getattr(parts, name) == "float" for name in ("forward", "backward", "update"))),
            written(described.accumulator),
            text(described.momentum_shift or 0, decay, described.bias),
            *layers,
            text(rows, batch_size, order),
            *map(source, arrays),
            text(output, m, bool(gradient), *gradient),
            text(len(calls)),
            *calls,
            *held(described, model),
        ]
    )


def any_net(state, sizes, formats, **settings):
    """Return a network in the middle of a training, with an optimiser in one of two."""
    if state.randint(2):
        settings["momentum_shift"] = (None, 1, 3)[state.randint(3)]
        settings["decay_shift"] = (None, 0, 5)[state.randint(3)]
    net = intmlp.MLP(sizes, formats, seed=state, rounding_seed=STREAM.seed, **settings)
    net._steps[0] = STREAM.step
    return net


def networks(state):
    """Yield networks over parts, updates, formats, functions, losses and what is observed."""
    widths = (8, 12, 16, 24, 32, 33, 64)
    kinds = ("fixed", "float")
    looks = (None, Looked(), Looked(2, 5), Looked(1, 0, True), Looked(1, 0, False, True))
    turn = itertools.count()
    for *parts, update, batch_size in itertools.product(
        kinds, kinds, kinds, ("fused", "two_step"), (1, 4)
    ):
        formats = [
            LayerFormats(
                *(
                    dataclasses.replace(fmt, frac=min(fmt.frac + 2, fmt.bits - 3))
                    for fmt in (any_format(state, widths) for _ in range(5))
                )
            )
            for _ in range(2)
        ]
        net = any_net(
            state,
            [7, 9, 5],
            formats,
            activation=[ACTIVATIONS[i] for i in state.randint(len(ACTIVATIONS), size=2)],
            bias=bool(state.randint(4)),
            loss=("sse", "half_sse")[state.randint(2)],
            update=update,
            parts=Parts(*parts),
            accumulator=None if "float" in parts else any_accumulator(state),
        )
        dtypes = net.network.input.dtype, formats[-1].activation.dtype
        sources = [
            (0, 1, SOURCES.index(dtype))[state.randint(3)] for dtype in map(np.dtype, dtypes)
        ]
        look = looks[next(turn) % len(looks)]
        m = batch_size // 2
        yield network(state, net, 6, batch_size, (3, int(state.randint(-1, 9))), m, sources, look)
    for parts, loss in itertools.product(itertools.product(kinds, kinds), LOSSES[1:]):
        fmt, other = (
            QFormat(10, frac, ROUNDINGS[state.randint(5)], OVERFLOWS[state.randint(2)])
            for frac in (6, 9)
        )
        net = any_net(
            state,
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
        )
        yield network(state, net, 8, 4, (4, 2), look=looks[next(turn) % len(looks)])
    for bits, rounding in itertools.product((8, 16, 24, 32), ("half_even", "stochastic")):
        net = any_net(state, [33, 18, 10], QFormat(bits, bits - 4, rounding))
        yield network(state, net, 20, 17, (4,))
        yield network(state, net, 4, 1, (4, 5), look=looks[next(turn) % len(looks)])


def calls(seed):
    """Return the name and the text of every call, in numbers of the given seed."""
    state = np.random.RandomState(seed)
    return [
        *single_calls(state),
        *products(state),
        *products_at_limits(),
        *products_of_threads(state),
        *networks(state),
    ]


# The program


def build(compiler, to, *flags):
    """Compile the core and the program that compares; return the program."""
    given = (CHECKOUT / "setup.py").read_text()
    assert all(f'"{flag}"' in given for flag in FLAGS)
    sources = [*sorted((CHECKOUT / "src").glob("*/*.c")), CHECKOUT / "tests" / "c" / "vectors.c"]
    flags = [*FLAGS, "-Werror", f"-I{CHECKOUT / 'src'}", *flags]
    subprocess.run([compiler, *flags, *sources, "-lm", "-pthread", "-o", to], check=True)
    return to


def compare(program, calls, emulator=()):
    """Return the exit status, how often each kernel of each instruction set served, the print."""
    lines = "".join(f"{name} {rest}\n" for name, rest in calls)
    run = subprocess.run([*emulator, program], input=lines, capture_output=True, text=True)
    served = {}
    for line in run.stdout.splitlines()[:-1]:
        isa, kernel, count = line.split()
        served.setdefault(isa, {})[kernel] = int(count)
    return run.returncode, served, run.stdout + run.stderr
