"""Arrays in any layout, byte order and dtype: what is computed depends on their values alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_matmul import want_matmul
from test_mlp import check_training
from test_observe import in_order
from test_together import anything

import intmlp
import reference
from intmlp import QFormat
from support import FLAVOURS, assert_same, examples, formats, raw_array, seeds, twin, twin_network

pytestmark = pytest.mark.usefixtures("backend")

INTEGERS = "bBhHiIqQ"


@st.composite
def laid_out(draw, values, any_dtype=False):
    """Draw an array equal to `values`: with gaps, turned, backwards, unaligned, read-only, ..."""
    if any_dtype and values.size:
        low, high = int(values.min()), int(values.max())
        held = [
            code for code in INTEGERS if np.iinfo(code).min <= low and high <= np.iinfo(code).max
        ]
        values = values.astype(draw(st.sampled_from(held)))
    dtype = values.dtype.newbyteorder(draw(st.sampled_from("=<>")))
    axes = draw(st.permutations(range(values.ndim)))
    gaps = [draw(st.integers(1, 3)) for _ in axes]
    turned = [draw(st.sampled_from([1, -1])) for _ in axes]
    repeated = [  # one of the entries of a dimension stands for all, where they are equal
        bool(values.size and (values == values.take([0], axis)).all() and draw(st.booleans()))
        for axis in range(values.ndim)
    ]
    shape = [
        1 if once else gap * size
        for gap, size, once in zip(gaps, values.shape, repeated, strict=True)
    ]
    count = int(np.prod(shape, dtype=int))
    raised = draw(st.integers(0, dtype.itemsize - 1))
    memory = np.full(count * dtype.itemsize + raised, 0x55, np.uint8)[raised:].view(dtype)
    held = memory.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
    steps = [
        slice(None) if once else slice(None, None, gap * way)
        for gap, way, once in zip(gaps, turned, repeated, strict=True)
    ]
    view = held[(..., *steps)]
    view[...] = values[tuple(slice(1) if once else slice(None) for once in repeated)]
    view = np.broadcast_to(view, values.shape) if any(repeated) else view
    if draw(st.booleans()):
        view.flags.writeable = False
    assert np.array_equal(view, values)
    return view


shapes = st.lists(st.sampled_from([0, 1, 1, 2, 3, 5, 8, 17]), max_size=3).map(tuple)
flavours = st.sampled_from(FLAVOURS)


@given(shapes, formats(), formats(), seeds, flavours, st.data())
def test_arrays(shape, source, fmt, state, flavour, data):
    raw = raw_array(state, source, shape, flavour)
    frac_in = data.draw(st.integers(-80, 140))
    want = [reference.requantize(v, frac_in, twin(fmt)) for v in raw.ravel().tolist()]
    given = data.draw(laid_out(raw, any_dtype=True))
    assert_same(intmlp.requantize(given, frac_in, fmt), want, fmt.dtype)
    real = [reference.dequantize(v, twin(source)) for v in raw.ravel().tolist()]
    given = data.draw(laid_out(raw, any_dtype=True))
    assert_same(intmlp.dequantize(given, source), real, np.float64)
    kind = data.draw(st.sampled_from([np.float32, np.float64]))
    values = np.array(real).reshape(shape).astype(kind)
    want = [reference.quantize(v, twin(fmt)) for v in values.ravel().tolist()]
    assert_same(intmlp.quantize(data.draw(laid_out(values)), fmt), want, fmt.dtype)


@given(
    st.tuples(*[st.sampled_from([0, 1, 2, 3, 7, 16, 18, 33])] * 3),
    st.tuples(formats(), formats(), formats()),
    seeds,
    st.tuples(flavours, flavours, flavours),
    st.data(),
)
def test_products(sizes, chosen, state, how, data):
    m, k, n = sizes
    left, right, fmt = chosen
    a, b = raw_array(state, left, (m, k), how[0]), raw_array(state, right, (k, n), how[1])
    frac_in, bias, bias_frac, more = left.frac + right.frac, None, None, {}
    if data.draw(st.booleans()):
        bias = raw_array(state, QFormat(64, 0), (n,), how[2])
        bias_frac = frac_in - data.draw(st.integers(0, 126))
        more = {"bias": data.draw(laid_out(bias, any_dtype=True)), "bias_frac": bias_frac}
    want = want_matmul(a, b, frac_in, fmt, bias, bias_frac)
    a, b = (data.draw(laid_out(x, any_dtype=True)) for x in (a, b))
    assert_same(intmlp.matmul(a, b, frac_in, fmt, **more), want, fmt.dtype)


@given(anything(), seeds, st.data())
@examples(50)
def test_trainings(net, state, data):
    """Inputs and targets, real or raw; and a batch of one may go the online way."""
    described = net.network
    samples = []
    for fmt, width in (
        (described.input, described.layers[0].n_in),
        (described.layers[-1].formats.activation, described.layers[-1].n_out),
    ):
        rows = raw_array(state, fmt, (7, width), data.draw(flavours))
        if data.draw(st.booleans()):
            rows = (state.standard_normal(rows.shape) * 2).astype(
                data.draw(st.sampled_from([np.float32, np.float64]))
            )
        samples.append(rows)
    x, y = (data.draw(laid_out(rows)) for rows in samples)
    batch_size = data.draw(st.sampled_from([1, 4]))
    model = twin_network(net)
    lr_shift = data.draw(st.integers(0, 12))
    batches = in_order(7, batch_size, 1)
    check_training(net, model, x, y, lr_shift, batches, batch_size=batch_size, shuffle=False)
