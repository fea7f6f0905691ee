"""The oracle of the test suite: docs/numerics.md again, on unbounded integers and fractions.

It imports nothing from the package and has no other aim than to be read beside the contract,
section by section. Tensors are nested lists: of ints where they are raw, of floats where they are
real values. Python's floats are IEEE doubles, and its interpreter never fuses a product and a sum.
"""

import dataclasses
import functools
import itertools
import math
import operator
from fractions import Fraction
from typing import NamedTuple


def each(function, *tensors, **same):
    """Apply `function` to the elements of nested lists of one shape; `same` goes to each call."""
    if isinstance(tensors[0], list):
        return [each(function, *entries, **same) for entries in zip(*tensors, strict=True)]
    return function(*tensors, **same)


def transpose(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


def flat(matrix):
    return [entry for row in matrix for entry in row]


def elements(tensor):
    """The elements of a tensor of any shape, in C order."""
    if not isinstance(tensor, list):
        return [tensor]
    return [entry for part in tensor for entry in elements(part)]


@functools.cache
def power(k):
    """2**k, exactly, for k of either sign."""
    return Fraction(2) ** k


def double(value):
    """The float64 to which an exact value rounds, ties to even."""
    try:
        return value.numerator / value.denominator  # the quotient of ints is correctly rounded
    except OverflowError:
        return math.inf if value > 0 else -math.inf


# --- 1. Formats -----------------------------------------------------------------------------


class Format(NamedTuple):
    bits: int
    frac: int
    rounding: str = "half_even"
    overflow: str = "saturate"
    random_bits: int = 32


def round_by(rounding, value, word=0):
    """The integer that becomes of an exact value, with a random word."""
    match rounding:
        case "floor":
            return math.floor(value)
        case "toward_zero":
            return math.trunc(value)
        case "half_up":
            return math.floor(value + Fraction(1, 2))
        case "half_away":
            nearest = math.floor(abs(value) + Fraction(1, 2))
            return nearest if value > 0 else -nearest
        case "half_even":
            return round(value)
        case "stochastic":  # the discarded bits are those of the fraction
            floor = math.floor(value)
            highest = math.floor((value - floor) * 2**32)
            return floor + (highest + word >= 2**32)


def enter(integer, fmt):
    """The overflow rule."""
    low, high = -(2 ** (fmt.bits - 1)), 2 ** (fmt.bits - 1) - 1
    if fmt.overflow == "saturate":
        return max(low, min(high, integer))
    return (integer - low) % 2**fmt.bits + low


def R(value, fmt, word=0):
    """An exact value rounded to a raw integer, without any overflow handling."""
    return round_by(fmt.rounding, value * power(fmt.frac), word)


def requantize(s, frac_in, fmt, word=0):
    return enter(R(s * power(-frac_in), fmt, word), fmt)


def quantize(v, fmt, word=0):
    return enter(R(Fraction(v), fmt, word), fmt)


def dequantize(raw, fmt):
    return double(raw * power(-fmt.frac))


# --- 6. Stochastic rounding -------------------------------------------------------------------


def philox(counter, key):
    """The four words of a block: ten rounds of Philox4x32, over words of 32 bits."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c[0], 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high_1 ^ c[1] ^ k[0], low_1, high_0 ^ c[3] ^ k[1], low_0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


class Stream(NamedTuple):
    seed: int
    step: int = 0
    tensor: int = 0
    first: int = 0  # the number of the first element

    def word(self, element, random_bits):
        block, place = divmod(self.first + element, 4)
        counter = (block % 2**32, block // 2**32, self.step, self.tensor)
        word = philox(counter, (self.seed % 2**32, self.seed // 2**32))[place]
        return word - word % 2 ** (32 - random_bits)


def words(tensor, fmt, stream):
    """The random word of each element of a tensor, in a tensor like it."""
    count = itertools.count()
    if fmt.rounding != "stochastic":
        return each(lambda _: 0, tensor)
    return each(lambda _: stream.word(next(count), fmt.random_bits), tensor)


def requantized(tensor, frac_in, fmt, stream):
    """A tensor of exact sums, requantized."""
    drawn = words(tensor, fmt, stream)
    return each(lambda s, word: requantize(s, frac_in, fmt, word), tensor, drawn)


def quantized(tensor, fmt, stream):
    """A tensor of floats, quantized."""
    return each(lambda v, word: quantize(v, fmt, word), tensor, words(tensor, fmt, stream))


ROLES = (
    "Z",
    "A",
    "E",
    "D",
    "gW",
    "gb",
    "step of W",
    "step of b",
    "source",
    "W",
    "b",
    "V of W",
    "V of b",
)


# --- 2. Multiply-accumulate -----------------------------------------------------------------


class Accumulator(NamedTuple):
    bits: int
    overflow: str


def accumulate(start, terms, accumulator):
    """The sum of integers, each addition in the accumulator; exact where that is None."""
    if accumulator is None:
        return start + sum(terms)
    acc = enter(start, accumulator)
    for term in terms:
        acc = enter(acc + term, accumulator)
    return acc


def products(a, b, accumulator=None, start=None):
    """The sums of a @ b, each of which starts with its column's entry of `start`."""
    columns = transpose(b)
    start = [0] * len(columns) if start is None else start
    return [
        [
            accumulate(first, [u * v for u, v in zip(row, column, strict=True)], accumulator)
            for first, column in zip(start, columns, strict=True)
        ]
        for row in a
    ]


def matmul(a, b, frac_in, fmt, bias=None, bias_frac=None, accumulator=None, stream=None):
    start = None if bias is None else [c * 2 ** (frac_in - bias_frac) for c in bias]
    sums = products(a, b, accumulator, start)
    return requantized(sums, frac_in, fmt, stream)


# --- 3. Layers ------------------------------------------------------------------------------

EXP_BITS = 700


@functools.cache
def exp_bits(numerator, frac):
    """exp(numerator * 2**-frac) for an argument of at most 0, in units of 2**-EXP_BITS.

    By the series of exp, of an argument that is halved until it is below 2**-10, squared as often.
    Every operation errs by some units of 2**-(EXP_BITS + 60), and each squaring doubles that.
    """
    one = 1 << EXP_BITS + 60
    halvings = max(0, numerator.bit_length() - frac) + 10
    x = (numerator * one) >> (frac + halvings)
    total = term = one
    n = 1
    while term not in (0, -1):
        term = (term * x // n) >> EXP_BITS + 60
        total, n = total + term, n + 1
    for _ in range(halvings):
        total = (total * total) >> EXP_BITS + 60
    return total >> 60


def rounded_function(kind, z, frac, fmt):
    """The value at z * 2**-frac, in units of fmt, rounded; its overflow is not handled.

    The error of exp is far smaller than the distance of any of these values to what rounding
    changes at, but for the ends that they come near to: there the value is moved inside.
    """
    exp = Fraction(exp_bits(-abs(z) * (2 if kind == "tanh" else 1), frac), 2**EXP_BITS)
    tiny = power(-EXP_BITS)
    match kind:
        case "exp":
            value = exp
        case "sigmoid":
            value = 1 / (1 + exp) if z >= 0 else exp / (1 + exp)
            value = max(tiny, min(1 - tiny, value))
        case "tanh":
            value = min(1 - tiny, (1 - exp) / (1 + exp)) * (1 if z >= 0 else -1)
    return R(value, fmt)


def held(z, low, high):
    """z where it lies within low..high, else the nearer end; NaN stays."""
    return low if z < low else high if z > high else z


def float_exp(x):
    """exp of section 7."""
    if x != x:
        return x
    if x < -745:
        return 0.0
    if x > 709.75:
        return math.inf
    k = round(x * 1.4426950408889634)
    r = (x - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    p = 1 / math.factorial(13)
    for n in range(12, -1, -1):
        p = p * r + 1 / math.factorial(n)
    return p * 2.0 ** (k // 2) * 2.0 ** (k - k // 2)


def float_log(x):
    """log of section 7."""
    m, e = math.frexp(x)
    if m < 0.70710678118654752440:
        m, e = 2 * m, e - 1
    f = (m - 1) / (m + 1)
    z = f * f
    p = 1 / 23
    for n in range(21, 0, -2):
        p = p * z + 1 / n
    return e * 0.693147180369123816490 + (e * 1.90821492927058770002e-10 + (2 * f) * p)


def softmax(row, fmt):
    """For a row of raw outputs, the exact (t_i, S)."""
    t = [rounded_function("exp", a - max(row), fmt.frac, Format(64, 30, "half_even")) for a in row]
    return t, sum(t)


def float_softmax(row):
    """For a row of floats, (exp(a - a_max), their sum)."""
    exps = [float_exp(a - max(row)) for a in row]
    return exps, float_sum((e, 1.0) for e in exps)


class Activation(NamedTuple):
    kind: str
    at_zero: Fraction = Fraction(0)  # relu: the derivative at zero
    slope_shift: int = 0  # leaky_relu

    def fixed(self, z, word, fmt):
        one = 2**fmt.frac
        match self.kind:
            case "relu":
                return max(z, 0)
            case "leaky_relu" if z < 0:
                return requantize(z, fmt.frac + self.slope_shift, fmt, word)
            case "hard_tanh":
                return max(-one, min(one, z))
            case "hard_sigmoid":
                return max(0, min(one, requantize(z + 2 * one, fmt.frac + 2, fmt, word)))
            case "sigmoid" | "tanh":
                return enter(rounded_function(self.kind, z, fmt.frac, fmt), fmt)
        return z

    def float(self, z):
        match self.kind:
            case "relu":
                return z if z > 0 else 0.0
            case "leaky_relu" if not z >= 0:
                return z * 2.0**-self.slope_shift
            case "hard_tanh":
                return held(z, -1.0, 1.0)
            case "hard_sigmoid":
                return held((z + 2.0) * 0.25, 0.0, 1.0)
            case "sigmoid":
                return 1.0 / (1.0 + float_exp(-z))
            case "tanh":
                return 1.0 - 2.0 / (float_exp(2.0 * z) + 1.0)
        return z

    def derivative(self, z, a):
        """f' of real values: exact, where they are fractions, or rounded, where they are floats."""
        match self.kind:
            case "relu":
                return self.at_zero if z == 0 else Fraction(z > 0)
            case "leaky_relu" if z < 0:
                return power(-self.slope_shift)
            case "hard_tanh":
                return Fraction(-1 < z < 1)
            case "hard_sigmoid":
                return Fraction(-2 < z < 2) / 4
            case "sigmoid":
                return a * (1 - a)
            case "tanh":
                return 1 - a * a
        return Fraction(1)


class Layer(NamedTuple):
    formats: tuple  # of the activation, the weights, the delta, the gradient; the velocity
    activation: Activation

    fA = property(lambda self: self.formats[0])
    fW = property(lambda self: self.formats[1])
    fD = property(lambda self: self.formats[2])
    fG = property(lambda self: self.formats[3])
    fV = property(lambda self: self.formats[-1])  # that of the gradient where there is no other


class Parts(NamedTuple):
    forward: str = "fixed"
    backward: str = "fixed"
    update: str = "fixed"


class Diverged(Exception):
    """A value that has to be stored or quantized is not finite."""


def finite(tensor):
    def check(value):
        if not math.isfinite(value):
            raise Diverged
        return value

    return each(check, tensor)


def float_sum(terms):
    """The float sum of products of section 7."""
    s = [0.0] * 8
    for k, (u, v) in enumerate(terms):
        s[k % 8] += u * v
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))


def float_products(a, b):
    columns = transpose(b)
    return [[float_sum(zip(row, column, strict=True)) for column in columns] for row in a]


def width(integer):
    """The bits of the shortest two's complement of an integer, sign included."""
    return (integer if integer >= 0 else ~integer).bit_length() + 1


@dataclasses.dataclass
class Counts:
    entries: int = 0
    exact_zeros: int = 0
    lost_steps: int = 0
    artefact_steps: int = 0
    overflows: int = 0
    widest_bits: int = 0
    step_sum: int = 0
    error_sum: int = 0
    inactive: int = 0

    def enter(self, integer, fmt):
        """Count a rounded value on its way through the overflow rule."""
        self.overflows += enter(integer, fmt) != integer
        self.widest_bits = max(self.widest_bits, width(integer))

    def add(self, other):
        """Add the counts of another step."""
        for field in dataclasses.fields(self):
            join = max if field.name == "widest_bits" else operator.add
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            setattr(self, field.name, join(mine, theirs))


def entering(tensor, fmt, stream):
    """The counts of exact values that enter a format."""
    counts = Counts()
    for value, word in zip(elements(tensor), elements(words(tensor, fmt, stream)), strict=True):
        counts.entries += 1
        counts.enter(R(value, fmt, word), fmt)
    return counts


class Network:
    """A network; `tensors` holds [W, b] of each layer, or [W] where there are no biases.

    They are the float64 master where the update is float, else raw. `m` is the exponent of the
    nominal batch size under `average=True`, else 0. `momentum` and `decay` are the two shifts, and
    `velocities` has the shape of `tensors`. `seed` and `step_number` are those of the random words
    of the next call, `master_of` those with which a master was last quantized.
    """

    def __init__(
        self, input_format, layers, tensors, loss, update, parts, accumulator=None, momentum=None,
        decay=None, seed=0, step_number=0,
    ):  # fmt: skip
        self.input, self.layers, self.tensors = input_format, layers, tensors
        self.loss, self.update, self.parts = loss, update, parts
        self.accumulator = accumulator
        self.momentum, self.decay = momentum, decay
        zero = 0.0 if parts.update == "float" else 0
        self.velocities = each(lambda _: zero, tensors)
        self.seed, self.step_number, self.master_of = seed, step_number, (seed, step_number)
        self.formats = [input_format] + [layer.fA for layer in layers]  # of A_0 .. A_L

    def fixed(self):
        """Return the raw weights and biases that a fixed part reads."""
        if self.parts.update == "fixed":
            return self.tensors
        seed, step = self.master_of
        return [
            [
                quantized(t, layer.fW, Stream(seed, step, 16 * number + role))
                for role, t in enumerate(tensors, ROLES.index("W"))
            ]
            for number, (layer, tensors) in enumerate(
                zip(self.layers, self.tensors, strict=True), 1
            )
        ]

    def stream(self, number, role):
        """Return the random words of a tensor of a layer, 0 for the inputs."""
        return Stream(self.seed, self.step_number, 16 * number + ROLES.index(role))

    def floats(self):
        """Return the weights and biases that a float part reads: those of the forward pass."""
        if self.parts.forward == "float" and self.parts.update == "float":
            return self.tensors
        return [
            each(dequantize, tensors, fmt=layer.fW)
            for layer, tensors in zip(self.layers, self.fixed(), strict=True)
        ]

    def forward(self, x):
        """Return Z_1 .. Z_L and A_0 .. A_L."""
        if self.parts.forward == "float":
            return self.float_forward(x)
        return self.fixed_forward(as_raw(x, self.input, self.stream(0, "source")))

    def fixed_forward(self, x):
        Z, A = [], [x]
        for layer, below, (W, *b) in zip(self.layers, self.formats, self.fixed(), strict=False):
            number = len(A)
            bias = (b[0], layer.fW.frac) if b else (None, None)
            frac_in = below.frac + layer.fW.frac
            of_Z, of_A = self.stream(number, "Z"), self.stream(number, "A")
            W = transpose(W)
            Z.append(matmul(A[-1], W, frac_in, layer.fA, *bias, self.accumulator, of_Z))
            drawn = words(Z[-1], layer.fA, of_A)
            A.append(each(layer.activation.fixed, Z[-1], drawn, fmt=layer.fA))
        return Z, A

    def float_forward(self, x):
        Z, A = [], [x]  # raw inputs stay in A_0 as they are, for a fixed backward pass
        for layer, (W, *b) in zip(self.layers, self.floats(), strict=True):
            sums = float_products(as_floats(A[-1], self.input), transpose(W))
            Z.append([each(operator.add, row, b[0]) for row in sums] if b else sums)
            A.append(each(layer.activation.float, Z[-1]))
        return Z, A

    # --- 4. Loss and backward pass ----------------------------------------------------------

    def report(self, output, y):
        """Return the number of right samples and the loss of a batch."""
        fmt, half = self.formats[-1], self.loss == "half_sse"
        if self.parts.forward == "float":
            y = as_floats(y, fmt)
        else:
            y = as_raw(y, fmt, self.stream(len(self.layers), "source"))
        errors = flat(each(operator.sub, output, y))
        if self.loss == "cross_entropy":
            loss = self.cross_entropy(output, y)
        elif self.parts.forward == "float":
            loss = float_sum(zip(errors, errors, strict=True)) * (0.5 if half else 1.0)
        else:
            exact = sum(e**2 for e in errors) * power(-2 * fmt.frac)
            loss = double(exact / 2 if half else exact)
        right = sum(
            row.index(max(row)) == t.index(max(t)) for row, t in zip(output, y, strict=True)
        )
        return right, loss

    def cross_entropy(self, output, y):
        """The reported loss, a float sum of products."""
        fmt, terms = self.formats[-1], []
        for row, target in zip(output, y, strict=True):
            if self.parts.forward == "float":
                log = float_log(float_softmax(row)[1])
                below = [max(row) - a for a in row]
            else:
                target = as_floats(target, fmt)
                log = float_log(double(Fraction(softmax(row, fmt)[1], 2**30)))
                below = [dequantize(max(row) - a, fmt) for a in row]
            terms += [(t, log + b) if t else (0.0, 0.0) for t, b in zip(target, below, strict=True)]
        return float_sum(terms)

    def loss_gradient(self, output, y):
        """The gradient of the loss: floats, or exact real numbers of raw outputs and targets."""
        if self.loss == "cross_entropy":
            rows = []
            for row, target in zip(output, y, strict=True):
                if self.parts.backward == "float":
                    exps, s = float_softmax(row)
                    rows.append([e / s - t for e, t in zip(exps, target, strict=True)])
                else:
                    exps, s = softmax(row, self.formats[-1])
                    target = [t * power(-self.formats[-1].frac) for t in target]
                    rows.append([Fraction(e, s) - t for e, t in zip(exps, target, strict=True)])
            return rows
        unit = 1.0 if self.parts.backward == "float" else power(-self.formats[-1].frac)
        return each(lambda a, t: (a - t) * unit * (2 if self.loss == "sse" else 1), output, y)

    def slopes(self, i, Z, A):
        """f' of layer i: floats, or exact, of raw tensors."""
        activation, fmt = self.layers[i].activation, self.layers[i].fA
        if self.parts.backward == "fixed":
            Z, A = each(lambda z: z * power(-fmt.frac), Z), each(lambda a: a * power(-fmt.frac), A)
        return each(activation.derivative, Z, A)

    def backward(self, Z, A, y):
        """Return D_1 .. D_L, and the A_0 .. A_(L-1) that the gradient reads."""
        finite(Z), finite(A)
        Z, A, y = self.crossed(Z, A, y)
        run = self.float_backward if self.parts.backward == "float" else self.fixed_backward
        return run(Z, A, y), A[:-1]

    def crossed(self, Z, A, y):
        """Return Z, A and the targets as the backward pass reads them."""
        if self.parts.backward == "float":
            return (
                [as_floats(z, fmt) for z, fmt in zip(Z, self.formats[1:], strict=True)],
                [as_floats(a, fmt) for a, fmt in zip(A, self.formats, strict=True)],
                as_floats(y, self.formats[-1]),
            )
        return (
            [
                as_raw(z, self.formats[number], self.stream(number, "Z"))
                for number, z in enumerate(Z, 1)
            ],
            [
                as_raw(a, self.formats[number], self.stream(number, "A" if number else "source"))
                for number, a in enumerate(A)
            ],
            as_raw(y, self.formats[-1], self.stream(len(self.layers), "source")),
        )

    def fixed_backward(self, Z, A, y):
        D = [None] * len(self.layers)
        E, frac = self.loss_gradient(A[-1], y), 0
        for i, layer in reversed(list(enumerate(self.layers))):
            slopes = self.slopes(i, Z[i], A[i + 1])
            exact = each(operator.mul, slopes, E)
            D[i] = requantized(exact, frac, layer.fD, self.stream(i + 1, "D"))
            if i > 0:
                frac, fD = layer.fD.frac + layer.fW.frac, self.layers[i - 1].fD
                W, of_E = self.fixed()[i][0], self.stream(i, "E")
                E = matmul(D[i], W, frac, fD, accumulator=self.accumulator, stream=of_E)
                frac = fD.frac
        return D

    def float_backward(self, Z, A, y):
        D = [None] * len(self.layers)
        E = self.loss_gradient(A[-1], y)
        for i in reversed(range(len(self.layers))):
            slopes = self.slopes(i, Z[i], A[i + 1])
            D[i] = finite(each(lambda f, e: float(f) * e if f else 0.0, slopes, E))
            if i > 0:
                E = finite(float_products(D[i], self.floats()[i][0]))
        return D

    def sums(self, D, A, m):
        """Return [D.T @ A, sum of D] of each layer, and the widths that they are read at."""
        sums, widths = [], []
        for layer, d, a, below in zip(self.layers, D, A, self.formats, strict=False):
            d = transpose(d)
            if self.parts.backward == "fixed":
                pair = [
                    products(d, a, self.accumulator),
                    [accumulate(0, column, self.accumulator) for column in d],
                ]
            else:
                ones = [1.0] * len(a)
                by_bias = [float_sum(zip(column, ones, strict=True)) for column in d]
                pair = [float_products(d, a), by_bias]
            tensors = self.tensors[len(sums)]  # [W, b] or [W]
            sums.append(finite(pair[: len(tensors)]))
            widths.append([layer.fD.frac + below.frac + m, layer.fD.frac + m])
        return sums, widths

    def stored(self, sums, widths, m):
        """Return [gW, gb] of each layer: raw, or floats from a float backward pass."""
        if self.parts.backward == "float":
            return each(scaled, sums, exponent=-m)
        return [
            [
                requantized(s, f, layer.fG, self.stream(number, role))
                for role, s, f in zip(("gW", "gb"), *of_layer, strict=False)
            ]
            for number, (layer, *of_layer) in enumerate(
                zip(self.layers, sums, widths, strict=True), 1
            )
        ]

    def gradient(self, x, y, m=0):
        """Return [gW, gb] of each layer."""
        return self.stored(*self.sums(*self.backward(*self.forward(x), y), m), m)

    # --- 5. Update --------------------------------------------------------------------------

    def step(self, x, y, lr_shift, m=0):
        """Do one step and return (right, loss); where it raises Diverged, nothing changed."""
        Z, A = self.forward(x)
        sums, widths = self.sums(*self.backward(Z, A, y), m)
        gradient = self.stored(sums, widths, m)
        tensors, velocities = [], []
        for number, layer, *of_layer in zip(
            range(1, len(self.layers) + 1),
            self.layers,
            self.tensors,
            self.velocities,
            sums,
            gradient,
            widths,
            strict=True,
        ):
            tensors.append([])
            velocities.append([])
            for is_bias, (*parts, frac) in enumerate(zip(*of_layer, strict=False)):  # b, if any
                same = {"layer": layer, "frac": frac, "lr_shift": lr_shift, "is_bias": is_bias}
                drawn = self.words_of_step(number, is_bias, parts[0])
                pairs = each(self.updated, *parts, *drawn, **same)
                tensors[-1].append(each(lambda pair: pair[0], pairs))
                velocities[-1].append(each(lambda pair: pair[1], pairs))
        reported = self.report(A[-1], y)
        self.tensors, self.velocities = tensors, velocities
        self.step_number += 1
        self.master_of = self.seed, self.step_number
        return reported

    def words_of_step(self, number, is_bias, w):
        """Return the words of the velocities and of the steps of w, in tensors like it."""
        layer = self.layers[number - 1]
        of_v = self.stream(number, ("V of W", "V of b")[is_bias])
        of_step = self.stream(number, ("step of W", "step of b")[is_bias])
        return words(w, layer.fV, of_v), words(w, layer.fW, of_step)

    def exact_step(self, w, v, s, g, word, layer, frac, lr_shift, is_bias):
        """Return the step of w, the velocity that v becomes, and that before it entered its format.

        The gradient is the sum s that is read at frac, or g; the word is of the velocity.
        """
        decays = self.decay is not None and not is_bias
        if self.parts.backward == "fixed":
            g = s * power(-frac) if self.update == "fused" else g * power(-layer.fG.frac)
        entering = None
        if self.parts.backward == self.parts.update == "fixed":
            if self.momentum is not None:
                entering = v * power(-layer.fV.frac) * (1 - power(-self.momentum)) + g
                v = enter(R(entering, layer.fV, word), layer.fV)
                g = v * power(-layer.fV.frac)
            if decays:
                g += w * power(-layer.fW.frac - self.decay)
            return -g * power(-lr_shift), v, entering
        if self.parts.backward == "fixed":
            g = double(g)
        if self.momentum is not None:
            if self.parts.update == "fixed":
                v = dequantize(v, layer.fV)
            v = g = finite(v * (1 - 2.0**-self.momentum) + g)
            if self.parts.update == "fixed":
                entering, v = Fraction(v), quantize(v, layer.fV, word)
                g = dequantize(v, layer.fV)
        if decays:
            real = w if self.parts.update == "float" else dequantize(w, layer.fW)
            g = finite(g + real * 2.0**-self.decay)
        return finite(scaled(-g, -lr_shift)), v, entering

    def updated(self, w, v, s, g, of_velocity, word, layer, **same):
        """Return what becomes of w and of its velocity v."""
        step, v, _ = self.exact_step(w, v, s, g, of_velocity, layer, **same)
        if self.parts.update == "fixed":
            return enter(w + R(Fraction(step), layer.fW, word), layer.fW), v
        return finite(w + step), v

    # --- 9. What a training may count -------------------------------------------------------

    def observe(self, x, y, lr_shift, m=0):
        """Return what a step is to count, before it is done.

        That is {(layer, tensor): Counts}, and {layer: [whether a relu unit is idle, ...]}.
        """
        lr_shift = max(-4096, min(lr_shift, 4096))
        Z, A = self.forward(x)
        D, inputs = self.backward(Z, A, y)
        sums, widths = self.sums(D, inputs, m)
        gradients = self.stored(sums, widths, m)
        backward_float = self.parts.backward == "float"
        read_Z, read_A, read_y = self.crossed(Z, A, y)
        rows, idle = {}, {}
        for i, layer in enumerate(self.layers):
            number = i + 1
            rows[number, "Z"] = Counts(entries=len(elements(Z[i])))
            if self.parts.forward == "fixed":
                exact = self.exact_pre_activations(i, A)
                rows[number, "Z"] = entering(exact, layer.fA, self.stream(number, "Z"))
            elif not backward_float:
                exact = each(Fraction, Z[i])
                rows[number, "Z"] = entering(exact, layer.fA, self.stream(number, "Z"))
            slopes = self.slopes(i, read_Z[i], read_A[i + 1])
            if layer.activation.kind == "relu":
                rows[number, "Z"].inactive = elements(slopes).count(0)
                idle[number] = [set(unit) == {0} for unit in transpose(slopes)]
            if number < len(self.layers):
                rows[number, "E"] = Counts()
            rows[number, "D"] = Counts()
            if not backward_float:
                if number < len(self.layers):
                    exact, of_E = self.exact_errors(i, D), self.stream(number, "E")
                    rows[number, "E"] = entering(exact, layer.fD, of_E)
                    E = each(
                        lambda e, word, fD: enter(R(e, fD, word), fD) * power(-fD.frac),
                        exact,
                        words(exact, layer.fD, of_E),
                        fD=layer.fD,
                    )
                else:
                    E = self.loss_gradient(read_A[-1], read_y)
                exact = each(operator.mul, slopes, E)
                rows[number, "D"] = entering(exact, layer.fD, self.stream(number, "D"))
            for j, w in enumerate(self.tensors[i]):
                counts, of_velocity = Counts(), Counts()
                of_real = Stream(self.seed, self.step_number + 1, 16 * number + 9 + j)
                drawn = *self.words_of_step(number, j, w), words(w, layer.fW, of_real)
                same = w, self.velocities[i][j], sums[i][j], gradients[i][j], *drawn
                for values in zip(*map(elements, same), strict=True):
                    velocity = self.count_step(
                        counts, *values, layer=layer, frac=widths[i][j], lr_shift=lr_shift,
                        is_bias=j,
                    )  # fmt: skip
                    if velocity is not None:
                        of_velocity.entries += 1
                        of_velocity.enter(R(velocity, layer.fV, values[4]), layer.fV)
                rows[number, "Wb"[j]] = counts
                if self.momentum is not None:
                    rows[number, "V" + "Wb"[j]] = of_velocity
        return rows, idle

    def exact_pre_activations(self, i, A):
        """Return the sums of a fixed forward pass, as real numbers."""
        W, *b = self.fixed()[i]
        frac = self.formats[i].frac
        start = [c * 2**frac for c in b[0]] if b else None
        sums = products(A[i], transpose(W), self.accumulator, start)
        return each(lambda s: s * power(-frac - self.layers[i].fW.frac), sums)

    def exact_errors(self, i, D):
        """Return the sums that become E in a fixed backward pass, as real numbers."""
        above = self.layers[i + 1]
        unit = power(-above.fD.frac - above.fW.frac)
        sums = products(D[i + 1], self.fixed()[i + 1][0], self.accumulator)
        return each(lambda s: s * unit, sums)

    def count_step(self, counts, w, v, s, g, of_v, word, of_real, layer, lr_shift, **same):
        """Count the step of the weight w; return the velocity that enters its format."""
        counts.entries += 1
        step, _, velocity = self.exact_step(w, v, s, g, of_v, layer, lr_shift=lr_shift, **same)
        fixed = self.parts.backward == self.parts.update == "fixed"
        if fixed and self.momentum is None and self.decay is None:
            counts.step_sum += abs(s if self.update == "fused" else g)
        else:
            magnitude = math.floor(abs(Fraction(step)) * power(lr_shift + 40))
            counts.step_sum += min(magnitude, 2**62)
        counts.exact_zeros += step == 0
        if self.parts.update == "fixed":
            exact = Fraction(step) * power(layer.fW.frac)  # in units of the last place
            rounded = R(Fraction(step), layer.fW, word)
            counts.lost_steps += exact != 0 and rounded == 0
            counts.artefact_steps += abs(exact) < Fraction(1, 2) and abs(rounded) == 1
            counts.error_sum += math.floor(abs(rounded - exact) * power(62))
            counts.enter(w + rounded, layer.fW)
        elif "fixed" in self.parts:
            counts.enter(R(Fraction(finite(w + step)), layer.fW, of_real), layer.fW)
        return velocity


def scaled(value, exponent):
    """Return value * 2**exponent, rounded once; a zero keeps its sign."""
    return double(Fraction(value) * power(exponent)) if value else value


def as_raw(tensor, fmt, stream=None):
    """Ints are raw; floats are quantized."""
    is_raw = all(isinstance(v, int) for v in elements(tensor))
    return tensor if is_raw else quantized(tensor, fmt, stream)


def as_floats(tensor, fmt):
    """Floats are values; ints are raw and stand for their dequantized values."""
    return each(lambda v: dequantize(v, fmt) if isinstance(v, int) else v, tensor)
