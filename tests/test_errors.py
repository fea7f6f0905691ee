"""Bad input: every error names the argument, and nothing is changed by a refused call."""

import numpy as np
import pytest

import intmlp
from intmlp import MLP, LayerFormats, Parts, QFormat
from support import tensors

pytestmark = pytest.mark.usefixtures("backend")

FMT = QFormat(8, 4)
INTS, REALS = [[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]

TOO_LARGE = [np.array([2**63], np.uint64), [2**63], [-(2**63) - 1], [2**100, 0]]
NOT_INTEGERS = [[1.0], np.array([1.0], np.float32), [True], ["1"], [None], [1j], [1, 2.5]]


# quantize, dequantize, requantize


@pytest.mark.parametrize("v", [[1], 1, [True], np.array([1], np.uint8), ["1.0"], [1j], [None]])
def test_quantize_takes_floats_alone(v):
    with pytest.raises(TypeError, match=r"v must be float32 or float64, got "):
        intmlp.quantize(v, FMT)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
def test_quantize_takes_no_other_float(dtype):
    with pytest.raises(TypeError, match="v must be float32 or float64, got float"):
        intmlp.quantize(np.array([1], dtype), FMT)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantize_takes_finite_values(bad, dtype):
    for shape, at in (((), ()), ((3,), 1), ((9000,), 8999), ((2, 5000), (1, 4999))):
        v = np.zeros(shape, dtype)
        v[at] = bad
        with pytest.raises(ValueError, match=f"v must hold finite values, got {bad}"):
            intmlp.quantize(v, FMT)


@pytest.mark.parametrize("call", ["dequantize", "requantize", "matmul_a", "matmul_b", "bias"])
@pytest.mark.parametrize("bad", NOT_INTEGERS, ids=repr)
def test_raw_values_are_integers(call, bad):
    name, function = RAW_CALLS[call]
    with pytest.raises(TypeError, match=f"{name} must be of an integer dtype"):
        function(bad)


@pytest.mark.parametrize("call", ["dequantize", "requantize", "matmul_a", "matmul_b", "bias"])
@pytest.mark.parametrize("bad", TOO_LARGE, ids=repr)
def test_raw_values_fit_int64(call, bad):
    name, function = RAW_CALLS[call]
    with pytest.raises(ValueError, match=f"{name} must hold values in "):
        function(bad)


RAW_CALLS = {
    "dequantize": ("raw", lambda v: intmlp.dequantize(v, FMT)),
    "requantize": ("s", lambda v: intmlp.requantize(v, 4, FMT)),
    "matmul_a": ("a", lambda v: intmlp.matmul([v], [[1]] * len(v), 4, FMT)),
    "matmul_b": ("b", lambda v: intmlp.matmul([[1]], [v], 4, FMT)),
    "bias": ("bias", lambda v: intmlp.matmul([[1]], [[1] * len(v)], 4, FMT, bias=v, bias_frac=4)),
}


@pytest.mark.parametrize("bad", [128, -129, 2**62])
def test_dequantize_takes_values_of_the_format(bad):
    with pytest.raises(ValueError, match=rf"raw must hold raw values in -128..127 .*, got {bad}"):
        intmlp.dequantize([0, bad, 1], FMT)


def test_the_ends_of_a_format_are_in_it():
    assert intmlp.dequantize([-128, 127], FMT).tolist() == [-8.0, 7.9375]


@pytest.mark.parametrize("fmt", [None, 8, (8, 4), "Q3.4"])
def test_fmt_is_a_format(fmt):
    for call in (
        lambda: intmlp.quantize([1.0], fmt),
        lambda: intmlp.dequantize([1], fmt),
        lambda: intmlp.requantize([1], 4, fmt),
        lambda: intmlp.matmul(INTS, INTS, 4, fmt),
    ):
        with pytest.raises(TypeError, match="fmt must be a QFormat"):
            call()


@pytest.mark.parametrize("large", [4097, 2**31, 2**63, 10**30])
def test_shifts_have_no_limit(large):
    """One that moves all bits away, to either side, gives what any larger one does."""
    ends = [0, FMT.raw_max, FMT.raw_min]
    assert intmlp.requantize([0, 5, -5], large, FMT).tolist() == [0, 0, 0]
    assert intmlp.requantize([0, 5, -5], -large, FMT).tolist() == ends
    assert intmlp.matmul([[1]], [[0, 5, -5]], -large, FMT).tolist() == [ends]
    for shift in (large, -large):
        net, limited = (MLP([2, 2], FMT, seed=1) for _ in range(2))
        net.step(REALS, REALS, shift)
        limited.step(REALS, REALS, 4096 if shift > 0 else -4096)
        assert tensors(net) == tensors(limited)


@pytest.mark.parametrize("rows", [1, 2, 4096, 4097])
def test_every_row_must_be_finite(rows):
    net = MLP([2, 2], FMT, parts=Parts("float", "float", "float"))
    x = np.zeros((rows, 2))
    x[-1, 1] = np.nan
    with pytest.raises(ValueError, match="x must hold finite values, got nan"):
        net.forward(x)


@pytest.mark.parametrize("bad", [4.0, "4", None])
def test_frac_in_is_an_integer(bad):
    with pytest.raises(TypeError, match="frac_in must be an integer"):
        intmlp.requantize([1], bad, FMT)
    with pytest.raises(TypeError, match="frac_in must be an integer"):
        intmlp.matmul(INTS, INTS, bad, FMT)


def test_streams():
    at_random = QFormat(8, 4, "stochastic")
    for call in (
        lambda fmt, stream: intmlp.quantize([1.0], fmt, stream=stream),
        lambda fmt, stream: intmlp.quantize(np.ones(3), fmt, stream=stream),
        lambda fmt, stream: intmlp.requantize([1], 4, fmt, stream=stream),
        lambda fmt, stream: intmlp.requantize(np.arange(3), 4, fmt, stream=stream),
        lambda fmt, stream: intmlp.matmul(INTS, INTS, 4, fmt, stream=stream),
        lambda fmt, stream: intmlp.matmul(np.eye(2, dtype=int), INTS, 4, fmt, stream=stream),
    ):
        for fmt in (FMT, at_random):
            with pytest.raises(TypeError, match="stream must be a Stream, got int 1"):
                call(fmt, 1)
            call(fmt, intmlp.Stream(0))
        call(FMT, None)
        with pytest.raises(ValueError, match=r"stream=intmlp\.Stream\(seed\): .* rounded into QF"):
            call(at_random, None)


@pytest.mark.parametrize(("field", "bits"), [("seed", 64), ("step", 32), ("tensor", 32)])
def test_fields_of_a_stream(field, bits):
    fields = {"seed": 1, field: np.uint64(2**bits - 1)}
    assert type(getattr(intmlp.Stream(**fields), field)) is int
    for wrong in (-1, 2**bits):
        with pytest.raises(
            ValueError, match=rf"{field} must be in 0\.\.{2**bits - 1}, got {wrong}"
        ):
            intmlp.Stream(**{"seed": 1, field: wrong})
    with pytest.raises(TypeError, match=f"{field} must be an integer"):
        intmlp.Stream(**{"seed": 1, field: 1.0})


# matmul


@pytest.mark.parametrize("bad", [1, [1, 2], [[[1, 2], [3, 4]]]])
def test_matmul_takes_two_dimensions(bad):
    with pytest.raises(ValueError, match="a must have 2 dimensions, got "):
        intmlp.matmul(bad, INTS, 4, FMT)
    with pytest.raises(ValueError, match="b must have 2 dimensions, got "):
        intmlp.matmul(INTS, bad, 4, FMT)


@pytest.mark.parametrize("shape", [(1, 2), (3, 2), (0, 2)])
def test_matmul_shapes_fit(shape):
    with pytest.raises(ValueError, match=r"a and b must fit as \(m, k\) and \(k, n\)"):
        intmlp.matmul(INTS, np.zeros(shape, int), 4, FMT)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 2), (2, 1)])
def test_bias_fits(shape):
    with pytest.raises(ValueError, match=r"bias must have shape \(2,\), got "):
        intmlp.matmul(INTS, INTS, 4, FMT, bias=np.zeros(shape, int), bias_frac=4)


def test_bias_and_bias_frac_come_together():
    with pytest.raises(TypeError, match="bias_frac must be given with bias"):
        intmlp.matmul(INTS, INTS, 4, FMT, bias=[1, 2])
    with pytest.raises(TypeError, match="bias_frac must be None without a bias, got 4"):
        intmlp.matmul(INTS, INTS, 4, FMT, bias_frac=4)


@pytest.mark.parametrize("bias_frac", [5, -123, 10**30, -(10**30)])
def test_bias_frac_is_in_range(bias_frac):
    with pytest.raises(ValueError, match=rf"bias_frac must be in -122..4 .*, got {bias_frac}"):
        intmlp.matmul(INTS, INTS, 4, FMT, bias=[1, 2], bias_frac=bias_frac)


@pytest.mark.parametrize("bad", [4.0, "4"])
def test_bias_frac_is_an_integer(bad):
    with pytest.raises(TypeError, match="bias_frac must be an integer"):
        intmlp.matmul(INTS, INTS, 4, FMT, bias=[1, 2], bias_frac=bad)


# Descriptions of networks


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([], ValueError, "sizes must have at least 2 entries, got 0"),
        ([3], ValueError, "sizes must have at least 2 entries, got 1"),
        ([3, 0], ValueError, r"sizes\[1\] must be in 1..2147483647, got 0"),
        ([-3, 2], ValueError, r"sizes\[0\] must be in 1..2147483647, got -3"),
        ([3, 2**31], ValueError, r"sizes\[1\] must be in 1..2147483647, got 2147483648"),
        ([3, 2.0], TypeError, r"sizes\[1\] must be an integer"),
        ([True, 2], TypeError, r"sizes\[0\] must be an integer"),
        (["3", 2], TypeError, r"sizes\[0\] must be an integer"),
    ],
)
def test_sizes(sizes, error, message):
    with pytest.raises(error, match=message):
        MLP(sizes, FMT)


ONE = LayerFormats(FMT, FMT, FMT, FMT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"formats": None}, TypeError, "formats must be one LayerFormats or a sequence"),
        ({"formats": "QQ"}, TypeError, "formats must be one LayerFormats or a sequence"),
        ({"formats": [ONE]}, ValueError, "formats must have one entry per layer, 2, got 1"),
        ({"formats": [ONE] * 3}, ValueError, "formats must have one entry per layer, 2, got 3"),
        ({"formats": [ONE, FMT]}, TypeError, r"formats\[1\] must be a LayerFormats"),
        ({"input_format": ONE}, TypeError, "input_format must be a QFormat"),
        ({"activation": "relu"}, TypeError, "activation must be one Activation or a sequence"),
        ({"activation": intmlp.relu}, TypeError, "activation must be one Activation"),
        ({"activation": [intmlp.relu()]}, ValueError, "activation must have one entry per layer"),
        ({"activation": [intmlp.relu(), None]}, TypeError, r"activation\[1\] must be a"),
        ({"bias": 1}, TypeError, "bias must be a bool"),
        (
            {"loss": "mse"},
            ValueError,
            "loss must be one of sse, half_sse, cross_entropy; got 'mse'",
        ),
        ({"update": "adam"}, ValueError, "update must be one of fused, two_step; got 'adam'"),
        ({"average": 1}, TypeError, "average must be a bool"),
        ({"parts": "float"}, TypeError, "parts must be a Parts"),
        ({"init": "uniform"}, TypeError, "init must be a Initialisation"),
        ({"init": intmlp.uniform}, TypeError, "init must be a Initialisation"),
        ({"seed": -1}, ValueError, r"seed must be in 0..4294967295, got -1"),
        ({"seed": 2**32}, ValueError, r"seed must be in 0..4294967295, got 4294967296"),
        ({"seed": 1.0}, TypeError, "seed must be an integer"),
        ({"seed": None}, TypeError, "seed must be an integer"),
        ({"seed": np.random.default_rng(0)}, TypeError, "seed must be an integer"),
    ],
    ids=lambda v: None if " at 0x" in str(v) else str(v),  # the same names in every process
)
def test_network_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        MLP(**{"sizes": [3, 4, 2], "formats": FMT, **arguments})


@pytest.mark.parametrize("field", ["activation", "weight", "delta", "gradient"])
def test_layer_formats(field):
    with pytest.raises(TypeError, match=f"{field} must be a QFormat"):
        LayerFormats(**{"activation": FMT, "weight": FMT, "delta": FMT, "gradient": FMT, field: 8})


@pytest.mark.parametrize("field", ["forward", "backward", "update"])
@pytest.mark.parametrize("value", ["double", "", None, True])
def test_parts(field, value):
    with pytest.raises(ValueError, match=f"{field} must be one of fixed, float; got"):
        Parts(**{field: value})


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: intmlp.relu(0.25), ValueError, "derivative_at_zero must be one of 0, 0.5"),
        (lambda: intmlp.relu(1), ValueError, "derivative_at_zero must be one of 0, 0.5"),
        (lambda: intmlp.leaky_relu(0), ValueError, "slope_shift must be in 1..63, got 0"),
        (lambda: intmlp.leaky_relu(64), ValueError, "slope_shift must be in 1..63, got 64"),
        (lambda: intmlp.leaky_relu(0.01), TypeError, "slope_shift must be an integer"),
        (lambda: intmlp.uniform(0.5), ValueError, "low and high must be given together"),
        (lambda: intmlp.uniform(high=0.5), ValueError, "low and high must be given together"),
        (lambda: intmlp.uniform(1.0, 0.5), ValueError, "low must be at most high"),
        (lambda: intmlp.uniform(0.0, np.inf), ValueError, "both finite, got 0.0 and inf"),
        (lambda: intmlp.uniform(np.nan, 1.0), ValueError, "both finite, got nan and 1.0"),
        (lambda: intmlp.uniform(unit="raw"), ValueError, "low and high must be given in raw"),
        (lambda: intmlp.uniform(unit="int"), ValueError, "unit must be one of real, raw"),
        (lambda: intmlp.normal(-1.0), ValueError, "std must be finite and at least 0, got -1.0"),
        (lambda: intmlp.normal(np.inf), ValueError, "std must be finite and at least 0, got inf"),
        (lambda: intmlp.normal(np.nan), ValueError, "std must be finite and at least 0, got nan"),
        (lambda: intmlp.normal(1.0, unit=None), ValueError, "unit must be one of real, raw"),
    ],
)
def test_parts_of_descriptions(call, error, message):
    with pytest.raises(error, match=message):
        call()


# Inputs and targets

REAL_X, REAL_Y = np.ones((2, 3)), np.ones((2, 2))


def bad_rows(width):
    """Yield (value, error, message): what is neither real values nor raw values of FMT."""
    good = np.ones((2, width))
    yield good[0], ValueError, "must have shape"
    yield good[None], ValueError, "must have shape"
    yield np.ones((2, width + 1)), ValueError, "must have shape"
    yield 1.0, ValueError, "must have shape"
    for bad in (np.nan, np.inf, -np.inf):
        for dtype in (np.float32, np.float64):
            value = good.astype(dtype)
            value[1, width - 1] = bad
            yield value, ValueError, f"must hold finite values, got {bad}"
    for bad in (-129, 128, 2**30):
        value = good.astype(np.int32)
        value[1, 0] = bad
        yield value, ValueError, rf"must hold raw values in -128..127 .*, got {bad}"
    for dtype in (np.int64, np.int16, np.uint32, np.bool_, np.float16, np.longdouble, complex):
        yield good.astype(dtype), TypeError, r"must be float32 or float64 .* or int32"
    yield good.astype(int).tolist(), TypeError, "must be float32 or float64 .*, got int64"
    yield good.astype(str), TypeError, "must be float32 or float64"
    yield good.astype(object), TypeError, "must be float32 or float64"


def network(**arguments):
    return MLP([3, 2], FMT, seed=1, **arguments)


def refused(net, call, error, message):
    """Assert that a call is refused and changes nothing."""
    before = tensors(net)
    with pytest.raises(error, match=message):
        call()
    assert tensors(net) == before


def test_inputs():
    net = network()
    for x, error, message in bad_rows(3):
        refused(net, lambda x=x: net.forward(x), error, f"x {message}")
        refused(net, lambda x=x: net.gradient(x, REAL_Y), error, f"x {message}")
        refused(net, lambda x=x: net.step(x, REAL_Y, 3), error, f"x {message}")
        refused(net, lambda x=x: net.train(x, REAL_Y, 3), error, f"x {message}")


def test_targets():
    net = network()
    for y, error, message in bad_rows(2):
        refused(net, lambda y=y: net.gradient(REAL_X, y), error, f"y {message}")
        refused(net, lambda y=y: net.step(REAL_X, y, 3), error, f"y {message}")
        refused(net, lambda y=y: net.train(REAL_X, y, 3), error, f"y {message}")


def test_raw_values_of_a_wide_format_are_int64():
    net = MLP([3, 2], QFormat(33, 4))
    net.forward(np.ones((1, 3), np.int64))
    with pytest.raises(TypeError, match=r"x must be .* or int64 .*, got int32"):
        net.forward(np.ones((1, 3), np.int32))
    with pytest.raises(ValueError, match="x must hold raw values in"):
        net.forward(np.full((1, 3), 2**32))


def test_batches():
    net = network()
    none_x, none_y = np.ones((0, 3)), np.ones((0, 2))
    for call in (
        lambda x, y: net.gradient(x, y),
        lambda x, y: net.step(x, y, 3),
        lambda x, y: net.train(x, y, 3),
    ):
        refused(net, lambda c=call: c(none_x, none_y), ValueError, "x must have at least 1 row")
        message = "x and y must have equally many rows, got 2 and 1"
        refused(net, lambda c=call: c(REAL_X, REAL_Y[:1]), ValueError, message)


def test_average_takes_powers_of_two():
    net = network(average=True)
    x, y = np.ones((3, 3)), np.ones((3, 2))
    message = "must be a power of two with average=True, got 3"
    refused(net, lambda: net.gradient(x, y), ValueError, f"samples in x {message}")
    refused(net, lambda: net.step(x, y, 3), ValueError, f"samples in x {message}")
    refused(net, lambda: net.train(x, y, 3, batch_size=3), ValueError, f"batch_size {message}")
    net.train(x, y, 3, batch_size=2)
    net.train(x, y, 3, batch_size=4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lr_shift": 3.0}, TypeError, "lr_shift must be an integer"),
        ({"lr_shift": None}, TypeError, "lr_shift must be an integer"),
        ({"epochs": -1}, ValueError, "epochs must be in 0..2147483647, got -1"),
        ({"epochs": 1.0}, TypeError, "epochs must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be in 1..2147483647, got 0"),
        ({"batch_size": -1}, ValueError, "batch_size must be in 1..2147483647, got -1"),
        ({"batch_size": True}, TypeError, "batch_size must be an integer"),
        ({"shuffle": 1}, TypeError, "shuffle must be a bool"),
        ({"report": None}, TypeError, "report must be a bool"),
        ({"seed": -1}, ValueError, "seed must be in 0..4294967295, got -1"),
        ({"seed": "0"}, TypeError, "seed must be an integer"),
        ({"progress": 3}, TypeError, "progress must be callable"),
    ],
    ids=str,
)
def test_training_arguments(arguments, error, message):
    net = network()
    call = {"x": REAL_X, "y": REAL_Y, "lr_shift": 3, **arguments}
    refused(net, lambda: net.train(**call), error, message)


@pytest.mark.parametrize("bad", [3.0, "3", None])
def test_lr_shift_of_a_step(bad):
    net = network()
    refused(net, lambda: net.step(REAL_X, REAL_Y, bad), TypeError, "lr_shift must be an integer")


# Weights


def bad_tensors(*shape):
    """Yield (value, error, message): what is no tensor of this shape in FMT."""
    good = np.ones(shape)
    yield np.ones((*shape, 1)), ValueError, "must have shape"
    yield good[:-1], ValueError, "must have shape"
    yield good.T[:-1].T if len(shape) == 2 else good[:1], ValueError, "must have shape"
    yield np.full(shape, np.nan), ValueError, "must hold finite values, got nan"
    yield np.full(shape, np.inf, np.float32), ValueError, "must hold finite values, got inf"
    yield np.full(shape, 128, np.int32), ValueError, "must hold raw values in -128..127"
    yield np.full(shape, 1, np.int64), TypeError, "must be float32 or float64"
    yield np.full(shape, 1, np.int8), TypeError, "must be float32 or float64"


@pytest.mark.parametrize("update", ["fixed", "float"])
def test_weights(update):
    """The last tensor is refused, and the first ones are not set either."""
    net = MLP([3, 4, 2], FMT, parts=Parts(update=update), seed=1)
    weights, biases = [np.zeros((4, 3)), np.zeros((2, 4))], [np.zeros(4), np.zeros(2)]
    for bad, error, message in bad_tensors(2, 4):
        changed = [weights[0], bad]
        refused(
            net, lambda w=changed: net.set_weights(w, biases), error, rf"weights\[1\] {message}"
        )
    for bad, error, message in bad_tensors(2):
        changed = [biases[0], bad]
        refused(
            net, lambda b=changed: net.set_weights(weights, b), error, rf"biases\[1\] {message}"
        )
    for call, message in (
        (lambda: net.set_weights(weights[:1], biases), "weights must have one array per layer, 2"),
        (lambda: net.set_weights(weights * 2, biases), "weights must have one array per layer, 2"),
        (lambda: net.set_weights(weights, biases[:1]), "biases must have one array per layer, 2"),
    ):
        refused(net, call, ValueError, message)
    refused(net, lambda: net.set_weights(weights), TypeError, "biases must be given")


def test_weights_without_biases():
    net = network(bias=False)
    weights, biases = [np.zeros((2, 3))], [np.zeros(2)]
    refused(net, lambda: net.set_weights(weights, biases), TypeError, "biases must be None")
    net.set_weights(weights)


def test_weights_cannot_be_assigned():
    net = network()
    for name in ("weights", "biases"):
        with pytest.raises(AttributeError):
            setattr(net, name, ())
