"""Whether every backend of this machine gives the numbers that docs/numerics.md defines.

Questions are plain data, defined here once. `golden.json` holds a digest of the answers to each
group of them, computed in unbounded integers by the reference of the test suite; `check` asks
every backend, and compares. So an installation can be judged where there is nothing but itself.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import _backend
from ._threads import get_num_threads, set_num_threads
from ._version import arithmetic_version
from .nn import (
    MLP,
    Activation,
    LayerFormats,
    Parts,
    hard_sigmoid,
    hard_tanh,
    leaky_relu,
    linear,
    relu,
    sigmoid,
    tanh,
)
from .nn.network import LOSSES, UPDATES, Part
from .ops import dequantize, matmul, quantize, requantize
from .qformat import OVERFLOWS, ROUNDINGS, Accumulator, QFormat, Rounding
from .stream import Stream

# Tensors of questions are nested lists of ints, which are raw, or of floats, which are exact.
Tensor = list[Any]


# --- Questions --------------------------------------------------------------------------------


class Words(NamedTuple):
    """The first words of a stream, of which a format keeps some bits."""

    stream: Stream
    random_bits: int
    number: int


class Quantize(NamedTuple):
    """`quantize` of floats, handed over as float32 or as float64."""

    values: Tensor
    dtype: str
    fmt: QFormat
    stream: Stream


class Dequantize(NamedTuple):
    """`dequantize` of raw integers."""

    raw: Tensor
    fmt: QFormat


class Requantize(NamedTuple):
    """`requantize` of integers."""

    values: Tensor
    frac_in: int
    fmt: QFormat
    stream: Stream


class Matmul(NamedTuple):
    """`matmul`, whose result takes the rows of `a` and the columns of `b` again and again.

    It has `repeats` times as many rows and columns, and is the same for any of `threads`.
    """

    a: Tensor
    b: Tensor
    frac_in: int
    fmt: QFormat
    stream: Stream
    bias: Tensor | None = None
    bias_frac: int | None = None
    accumulator: Accumulator | None = None
    repeats: int = 1
    threads: tuple[int, ...] = (1,)


class Training(NamedTuple):
    """A network: what it predicts, its training, and all that it is then.

    Without `epochs` it is asked for its deltas alone: the gradients of the biases over one sample,
    of a network whose gradients have the formats of its deltas.
    """

    network: dict[str, Any]
    """The arguments of `MLP`."""
    weights: list[Tensor]
    biases: list[Tensor]
    x: Tensor
    y: Tensor
    batch_size: int
    epochs: tuple[int, ...]
    """The `lr_shift` of each."""
    observe: bool = False
    saved: bool = False
    """Whether it is written to a file, read again, and trained once more."""


Question = Words | Quantize | Dequantize | Requantize | Matmul | Training


class Numbers:
    """Integers that follow from a name, by SHAKE-128: the same on every machine."""

    def __init__(self, name: str) -> None:
        self._words = (
            int.from_bytes(block[at : at + 8], "little")
            for block in (
                hashlib.shake_128(f"{name} {number}".encode()).digest(1 << 13)
                for number in itertools.count()
            )
            for at in range(0, len(block), 8)
        )

    def below(self, end: int) -> int:
        """Return one of ``0 .. end - 1``."""
        return next(self._words) % end

    def choice(self, values: Sequence[Any]) -> Any:
        """Return one of `values`."""
        return values[self.below(len(values))]

    def raw(self, bits: int) -> int:
        """Return an integer of `bits` bits; one in four is an end, next to it, or near zero."""
        word = next(self._words)
        value = (word >> 64 - bits) - (1 << bits - 1)
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        ends = (low, low + 1, -1, 0, 1, high - 1, high)
        return ends[word % 7] if word % 4 == 0 else value

    def raws(self, bits: int, *shape: int) -> Tensor:
        """Return a tensor of such integers."""
        return _tensor(lambda: self.raw(bits), shape)

    def reals(self, bits: int, exponents: range, *shape: int) -> Tensor:
        """Return a tensor of floats of so many significant bits, between powers of two."""
        return _tensor(lambda: math.ldexp(self.raw(bits), self.choice(exponents) - bits), shape)

    def stream(self) -> Stream:
        """Return a stream."""
        return Stream(next(self._words), self.below(2**32), self.below(2**32))

    def format(self, bits: int, fracs: range, rules: Sequence[Rounding] = ROUNDINGS[:5]) -> QFormat:
        """Return a format of so many bits."""
        rounding = self.choice(rules)
        random_bits = 1 + self.below(32) if rounding == "stochastic" else 32
        return QFormat(bits, self.choice(fracs), rounding, self.choice(OVERFLOWS), random_bits)


def _tensor(entry: Callable[[], Any], shape: tuple[int, ...]) -> Tensor:
    """Return nested lists of a shape."""
    if len(shape) == 1:
        return [entry() for _ in range(shape[0])]
    return [_tensor(entry, shape[1:]) for _ in range(shape[0])]


# --- Groups of them ---------------------------------------------------------------------------

COUNT = 37  # elements of an array: some vectors of every instruction set, and some more
SAMPLES, BATCH = 6, 4
KINDS: tuple[Part, ...] = ("fixed", "float")
EVERY_PARTS = [Parts(*kinds) for kinds in itertools.product(KINDS, repeat=3)]
ACTIVATIONS = [
    linear(), relu(), relu(0.5), leaky_relu(2), hard_tanh(), hard_sigmoid(), sigmoid(), tanh(),
]  # fmt: skip
COUNTED = (
    "layer", "tensor", "entries", "exact_zeros", "lost_steps", "artefact_steps", "overflows",
    "widest_bits", "step_sum", "error_sum", "inactive", "dead_units",
)  # fmt: skip


def every_format(numbers: Numbers) -> Iterator[QFormat]:
    """Yield a format for each width, rounding and overflow."""
    for bits, rounding, overflow in itertools.product(range(2, 65), ROUNDINGS, OVERFLOWS):
        random_bits = 1 + numbers.below(32) if rounding == "stochastic" else 32
        yield QFormat(bits, numbers.below(64), rounding, overflow, random_bits)


def _words(numbers: Numbers) -> Iterator[Words]:
    for stream in (Stream(0), Stream(2**64 - 1, 2**32 - 1, 2**32 - 1), Stream(2**63, 1, 2)):
        yield Words(stream, 32, 200)
    for random_bits in range(1, 33):
        yield Words(numbers.stream(), random_bits, COUNT)


def _quantize(numbers: Numbers) -> Iterator[Quantize]:
    for fmt in every_format(numbers):
        dtype, bits = numbers.choice((("float32", 24), ("float64", 53)))
        near = range(-fmt.frac - 2, fmt.bits - fmt.frac + 2)
        values = numbers.reals(bits, near, COUNT - 6) + numbers.reals(bits, range(-100, 100), 6)
        yield Quantize(values, dtype, fmt, numbers.stream())


def _dequantize(numbers: Numbers) -> Iterator[Dequantize]:
    for fmt in every_format(numbers):
        yield Dequantize(numbers.raws(fmt.bits, COUNT), fmt)


def _requantize(numbers: Numbers) -> Iterator[Requantize]:
    far = (-300, -70, 62, 63, 64, 65, 70, 300)
    for fmt in every_format(numbers):
        shift = numbers.choice((*range(-8, 40), *far))
        values = numbers.raws(numbers.choice((16, 32, 64)), COUNT)
        yield Requantize(values, fmt.frac + shift, fmt, numbers.stream())


def _product(
    numbers: Numbers, fmt: QFormat, bits: Sequence[int], m: int, k: int, n: int, **more: Any
) -> Matmul:
    """Return a product of integers of so many bits, whose results are about as wide as `fmt`."""
    wide = sum(bits) + k.bit_length() - fmt.bits
    frac_in = max(0, fmt.frac + wide - numbers.below(12))
    a, b = numbers.raws(bits[0], m, k), numbers.raws(bits[1], k, n)
    return Matmul(a, b, frac_in, fmt, numbers.stream(), **more)


def _matmul(numbers: Numbers) -> Iterator[Matmul]:
    for fmt in every_format(numbers):
        bits = fmt.bits, numbers.choice((2, 8, 16, 24, 32, fmt.bits, 64))
        m, k, n = (1 + numbers.below(most) for most in (4, 20, 20))
        asked = _product(numbers, fmt, bits, m, k, n)
        if numbers.below(2):
            bias_frac = max(0, asked.frac_in - numbers.below(127))
            asked = asked._replace(bias=numbers.raws(fmt.bits, n), bias_frac=bias_frac)
        yield asked


def _kernels(numbers: Numbers) -> Iterator[Matmul]:
    """Worst cases of every kernel: long sums of the ends of integers of all widths."""
    widths = (8, 12, 16, 24, 26, 31, 32, 33, 53, 64)
    fmt = QFormat(64, 0, "floor", "wrap")
    for bits in itertools.product(widths, repeat=2):
        asked = _product(numbers, fmt, bits, 2, 67, 33)
        for frac_in in (0, max(0, sum(bits) - 58)):
            yield asked._replace(frac_in=frac_in)
        low_a, low_b = (-(1 << width - 1) for width in bits)
        for a, b in ((low_a, low_b), (low_a, ~low_b), (low_a + 1, low_b + 1)):
            yield asked._replace(a=[[a] * 300] * 2, b=[[b] * 3] * 300)
    for width in (8, 16, 24, 32):
        for low in (-(1 << width - 1), 1 - (1 << width - 1)):
            asked = Matmul([[low] * 140_000] * 2, [[low] * 2] * 140_000, 0, fmt, Stream(0))
            yield asked


def _accumulators(numbers: Numbers) -> Iterator[Matmul]:
    for bits, overflow in itertools.product(range(2, 65), OVERFLOWS):
        accumulator = Accumulator(bits, overflow)
        for width in (bits // 2 + 1, numbers.choice((8, 16, 24, 32, 64))):
            fmt = numbers.format(bits, range(8), ROUNDINGS)
            asked = _product(numbers, fmt, (width, bits), 3, 14, 18, accumulator=accumulator)
            asked = asked._replace(frac_in=fmt.frac + numbers.below(4))
            yield asked._replace(bias=numbers.raws(bits, 18), bias_frac=asked.frac_in)


def _threads(numbers: Numbers) -> Iterator[Matmul]:
    """Products that are large enough to be shared out."""
    for bits in (8, 16, 26):
        fmt = QFormat(32, 0, "half_even", "wrap")
        yield _product(numbers, fmt, (bits, bits), 4, 290, 5)._replace(
            repeats=128, threads=(1, 2, 3)
        )


def _training(
    numbers: Numbers,
    parts: Parts,
    *,
    bits: Sequence[int] = (4, 8, 12, 16, 24, 32, 33, 48, 64),
    rules: Sequence[Rounding] = ROUNDINGS[:5],
    activation: Activation | None = None,
    loss: str = "half_sse",
    **options: Any,
) -> Training:
    """Return a small training; what is not given of its network is drawn."""
    sizes = numbers.choice(([5, 19, 3], [18, 4, 2], [3, 17], [7, 6, 5, 4]))
    if activation is None:
        activation = numbers.choice((relu(), leaky_relu(3)))
    activations = [activation] * (len(sizes) - 1)
    if loss == "cross_entropy":
        activations[-1] = linear()
    formats = []
    for of_layer in activations:
        is_tabulated = of_layer.kind in ("sigmoid", "tanh")
        drawn = []
        for kind in fields(LayerFormats):
            by_table = kind.name == "activation" and (is_tabulated or loss == "cross_entropy")
            width = min(numbers.choice(bits), 16 if by_table else 64)
            fracs = range(width // 3, max(width // 3 + 1, min(width - 1, 30)))
            of_kind = ROUNDINGS[:5] if by_table and is_tabulated else rules
            drawn.append(numbers.format(width, fracs, of_kind))
        formats.append(LayerFormats(*drawn))
    network = {
        "sizes": sizes,
        "formats": formats,
        "input_format": numbers.format(numbers.choice(bits), range(2, 7), rules),
        "activation": activations,
        "bias": numbers.below(4) > 0,
        "loss": loss,
        "update": numbers.choice(UPDATES),
        "parts": parts,
        "rounding_seed": numbers.below(2**64),
        **options,
    }

    def real_or_raw(fmt: QFormat, *shape: int) -> Tensor:
        """Return real values within -1..1, or raw ones that stand for such, or any raw ones."""
        kind = numbers.choice(("real", "real", "near", "near", "any"))
        if kind == "real":
            return numbers.reals(24, range(1), *shape)
        near = max(2, min(fmt.frac + 1, fmt.bits))
        return numbers.raws(near if kind == "near" else fmt.bits, *shape)

    weights, biases = [], []
    for n_in, n_out, of_layer in zip(sizes, sizes[1:], formats, strict=False):
        weights.append(real_or_raw(of_layer.weight, n_out, n_in))
        if network["bias"]:
            biases.append(real_or_raw(of_layer.weight, n_out))
    x = real_or_raw(network["input_format"], SAMPLES, sizes[0])
    y = real_or_raw(formats[-1].activation, SAMPLES, sizes[-1])
    if loss == "cross_entropy":
        hot = [numbers.below(sizes[-1]) for _ in y]
        y = [[float(i == place) for i in range(sizes[-1])] for place in hot]
    batch_size = numbers.choice((1, BATCH))
    return Training(network, weights, biases, x, y, batch_size, (2,))


def _parts(numbers: Numbers) -> Iterator[Training]:
    for parts, update, average in itertools.product(EVERY_PARTS, UPDATES, (False, True)):
        yield _training(numbers, parts, update=update, average=average)


def _widths(numbers: Numbers) -> Iterator[Training]:
    for bits in range(2, 65):
        yield _training(numbers, Parts(), bits=(bits,))


def _deltas(numbers: Numbers) -> Iterator[Training]:
    drawn = itertools.chain(
        (
            _training(numbers, parts, loss=loss, bias=True)
            for parts, loss in itertools.product(EVERY_PARTS, LOSSES)
        ),
        (  # the widest products of derivatives and errors
            _training(numbers, parts, activation=activation, bits=(64,), bias=True)
            for parts, activation in itertools.product(EVERY_PARTS, ACTIVATIONS)
        ),
    )
    for asked in drawn:
        formats = [replace(f, gradient=f.delta) for f in asked.network["formats"]]
        network = {**asked.network, "formats": formats}
        yield asked._replace(network=network, epochs=(), x=asked.x[:1], y=asked.y[:1])


def _activations(numbers: Numbers) -> Iterator[Training]:
    for parts, activation in itertools.product(EVERY_PARTS, ACTIVATIONS):
        yield _training(numbers, parts, activation=activation)


def _losses(numbers: Numbers) -> Iterator[Training]:
    for parts, loss in itertools.product(EVERY_PARTS, LOSSES):
        yield _training(numbers, parts, loss=loss)


def _optimisers(numbers: Numbers) -> Iterator[Training]:
    for parts, (momentum, decay) in itertools.product(EVERY_PARTS, ((1, None), (None, 4), (3, 6))):
        yield _training(numbers, parts, momentum_shift=momentum, decay_shift=decay)


def _schedules(numbers: Numbers) -> Iterator[Training]:
    for parts in EVERY_PARTS:
        yield _training(numbers, parts)._replace(epochs=(5, 0, 70, -1))


def _stochastic(numbers: Numbers) -> Iterator[Training]:
    for parts, momentum in itertools.product(EVERY_PARTS, (None, 2)):
        yield _training(numbers, parts, momentum_shift=momentum, rules=ROUNDINGS[4:])


def _registers(numbers: Numbers) -> Iterator[Training]:
    for overflow, parts in itertools.product(OVERFLOWS, EVERY_PARTS):
        yield _training(numbers, parts, accumulator=Accumulator(8 + numbers.below(32), overflow))


def _counts(numbers: Numbers) -> Iterator[Training]:
    for parts in EVERY_PARTS:
        yield _training(numbers, parts)._replace(observe=True)


def _files(numbers: Numbers) -> Iterator[Training]:
    for parts in EVERY_PARTS:
        yield _training(numbers, parts, rules=ROUNDINGS, momentum_shift=2)._replace(saved=True)


def _divergence(numbers: Numbers) -> Iterator[Training]:
    for parts in EVERY_PARTS:
        asked = _training(numbers, parts)
        x = numbers.reals(24, range(1), SAMPLES, len(asked.x[0]))
        x[-1] = [math.ldexp(value, 1020) for value in x[-1]]
        yield asked._replace(x=x, batch_size=1)


GROUPS: dict[str, Callable[[Numbers], Iterator[Question]]] = {
    "random words": _words,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "requantize": _requantize,
    "matmul": _matmul,
    "kernels": _kernels,
    "accumulators": _accumulators,
    "threads": _threads,
    "parts": _parts,
    "widths": _widths,
    "deltas": _deltas,
    "activations": _activations,
    "losses": _losses,
    "optimisers": _optimisers,
    "schedules": _schedules,
    "stochastic rounding": _stochastic,
    "accumulating networks": _registers,
    "counts": _counts,
    "model files": _files,
    "divergence": _divergence,
}


def questions(group: str) -> list[Question]:
    """Return the questions of a group."""
    return list(GROUPS[group](Numbers(group)))


# --- The answers of the backend that serves ---------------------------------------------------


def answer(question: Question) -> Iterator[Any]:
    """Yield arrays, or bytes."""
    match question:
        case Words():
            yield _find_words(question)
        case Quantize(values, dtype, fmt, stream):
            yield quantize(np.array(values, dtype), fmt, stream=stream)
        case Dequantize(raw, fmt):
            yield dequantize(np.array(raw, fmt.dtype), fmt)
        case Requantize(values, frac_in, fmt, stream):
            yield requantize(np.array(values, np.int64), frac_in, fmt, stream=stream)
        case Matmul():
            yield from _multiply(question)
        case Training():
            yield from _train(question)


def _find_words(asked: Words) -> Any:
    """Return the random words of a stream: of each the largest at which rounding still goes up."""
    fmt = QFormat(64, 0, "stochastic", random_bits=asked.random_bits)
    words = np.zeros(asked.number, np.int64)
    for bit in reversed(range(32)):
        tried = words | (1 << bit)
        words = np.where(requantize(2**32 - tried, 32, fmt, stream=asked.stream), tried, words)
    return words


def _multiply(asked: Matmul) -> Iterator[Any]:
    """Yield the product by each number of threads."""
    a = np.tile(_narrow(asked.a), (asked.repeats, 1))
    b = np.tile(_narrow(asked.b), (1, asked.repeats))
    bias = None if asked.bias is None else _narrow(asked.bias)
    before = get_num_threads()
    try:
        for number in asked.threads:
            set_num_threads(number)
            yield matmul(
                a, b, asked.frac_in, asked.fmt, bias=bias, bias_frac=asked.bias_frac,
                accumulator=asked.accumulator, stream=asked.stream,
            )  # fmt: skip
    finally:
        set_num_threads(before)


def _narrow(tensor: Tensor) -> Any:
    """Return an array of the narrowest dtype that raw arrays have."""
    array = np.array(tensor, np.int64)
    is_narrow = array.min() >= -(2**31) and array.max() < 2**31
    return array.astype(np.int32) if is_narrow else array


def _train(asked: Training) -> Iterator[Any]:
    """Yield what a network says before, during and after its training."""
    net = MLP(**asked.network)
    network = net.network
    of_weights = [layer.formats.weight for layer in network.layers]
    net.set_weights(
        list(map(_array, asked.weights, of_weights)),
        list(map(_array, asked.biases, of_weights)) if network.bias else None,
    )
    x, y = _array(asked.x, network.input), _array(asked.y, network.layers[-1].formats.activation)
    if not asked.epochs:
        yield from net.gradient(x, y, stream=_next(net)).biases
        return
    yield net.forward(x, stream=_next(net))
    for again in range(1 + asked.saved):
        history = net.train(
            x, y, asked.epochs, epochs=len(asked.epochs), batch_size=asked.batch_size,
            shuffle=False, overflow="ignore", observe=asked.observe,
        )  # fmt: skip
        yield history.right
        yield history.loss
        for row in history.observed or ():
            yield ascii([getattr(row, name) for name in COUNTED]).encode()
        if asked.saved and not again:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "net.safetensors")
                net.save(path)
                yield _content(path.read_bytes())
                net = MLP.load(path)
    for name in ("weights", "biases", "master_weights", "master_biases", "velocities",
                 "bias_velocities"):  # fmt: skip
        with suppress(AttributeError):  # a network without
            yield from getattr(net, name)
    if history.diverged_at is None:
        gradient = net.gradient(x[:BATCH], y[:BATCH], stream=_next(net))
        yield from (*gradient.weights, *gradient.biases)
        yield net.forward(x, stream=_next(net))


def _next(net: MLP) -> Stream:
    """Return the random words of a network's next step."""
    return Stream(net.network.rounding_seed, net.steps)


def _array(tensor: Tensor, fmt: QFormat) -> Any:
    """Return an array of the dtype of real or of raw values."""
    array = np.array(tensor)
    return array if array.dtype.kind == "f" else array.astype(fmt.dtype)


def _content(data: bytes) -> bytes:
    """Return what is in a file of a network, but for the version that wrote it."""
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    description = json.loads(header.pop("__metadata__")["intmlp"])
    del description["intmlp_version"], description["sha256"]
    content = [json.dumps(description, sort_keys=True).encode()]
    for name, tensor in sorted(header.items()):
        first, last = tensor["data_offsets"]
        content.append(f"{name} {tensor['dtype']} {tensor['shape']} ".encode())
        content.append(data[start + first : start + last])
    return b"".join(content)


# --- The comparison ---------------------------------------------------------------------------


class Found(NamedTuple):
    """What a backend answered to a group of questions: a digest, or the error that it raised."""

    group: str
    backend: str
    questions: int
    wanted: str
    found: str

    @property
    def agrees(self) -> bool:
        """Whether the answers are those of the reference."""
        return self.found == self.wanted


def digest(answers: Iterable[Any]) -> str:
    """Return the SHA-256 of answers: bytes, and arrays or nested lists of ints or floats.

    Of an array these are its kind, its shape, and its values as little-endian int64 or float64.

    Examples
    --------
    >>> digest([[[1, 2]], [0.5]]) == digest([np.array([[1, 2]], np.int32), np.array([0.5])])
    True
    """
    total = hashlib.sha256()
    for given in answers:
        if isinstance(given, bytes):
            total.update(b"bytes %d " % len(given) + given)
            continue
        array = np.asarray(given)
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), np.nan, array)  # one NaN, whatever its bits
        little = np.ascontiguousarray(array, "<f8" if array.dtype.kind == "f" else "<i8")
        total.update(f"{array.dtype.kind} {array.shape} ".encode() + little.tobytes())
    return total.hexdigest()


def table() -> dict[str, str]:
    """Return the digest of each group that every backend must give."""
    text = resources.files(f"{__package__}.data").joinpath("golden.json").read_text("utf-8")
    golden = json.loads(text)
    if golden["arithmetic_version"] != arithmetic_version:
        raise ValueError(
            f"golden.json is of arithmetic_version {golden['arithmetic_version']}, "
            f"the package of {arithmetic_version}: this installation is a mix of two"
        )
    return golden["sha256"]


def check() -> Iterator[list[Found]]:
    """Yield, group by group, what each backend of this machine answers."""
    wanted = table()
    before = _backend.active_name()
    try:
        for group in GROUPS:
            asked = questions(group)
            row = []
            for backend in _backend.available():
                _backend.use(backend)
                try:
                    found = digest(itertools.chain.from_iterable(map(answer, asked)))
                except Exception as error:
                    found = f"{type(error).__name__}: {error}"
                row.append(Found(group, backend, len(asked), wanted[group], found))
            yield row
    finally:
        _backend.use(before)
