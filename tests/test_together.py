"""Every feature of a network beside every other: networks drawn from all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_mlp import ALL_PARTS, activations, batch, check_all, check_training, plain_formats
from test_observe import in_order

import intmlp
from intmlp import MLP, Accumulator, LayerFormats
from support import OVERFLOWS, examples, twin_network

pytestmark = pytest.mark.usefixtures("backend")

tabled = st.sampled_from([intmlp.sigmoid(), intmlp.tanh()])


@st.composite
def anything(draw):
    """Draw a network of any formats, functions, loss, parts, accumulator and optimiser."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=2, max_size=4))
    formats = [
        LayerFormats(*(draw(plain_formats()) for _ in range(4)), draw(st.none() | plain_formats()))
        for _ in sizes[1:]
    ]
    functions = []
    for layer in formats:
        fmt = layer.activation
        short = fmt.bits <= 16 and fmt.rounding != "stochastic"
        functions.append(draw(activations | tabled if short else activations))
    losses = ["sse", "half_sse"]
    if formats[-1].activation.bits <= 16 and draw(st.booleans()):
        functions[-1], losses = intmlp.linear(), ["cross_entropy"]
    bits = st.integers(4, 20) | st.integers(2, 64)
    return MLP(
        sizes,
        formats,
        input_format=draw(plain_formats()),
        activation=functions,
        bias=draw(st.booleans()),
        loss=draw(st.sampled_from(losses)),
        update=draw(st.sampled_from(["fused", "two_step"])),
        average=draw(st.booleans()),
        accumulator=draw(st.none() | st.builds(Accumulator, bits, st.sampled_from(OVERFLOWS))),
        momentum_shift=draw(st.none() | st.integers(1, 6)),
        decay_shift=draw(st.none() | st.integers(0, 12)),
        parts=draw(st.sampled_from(ALL_PARTS)),
        init=intmlp.uniform(-2, 2),
        seed=draw(st.integers(0, 2**32 - 1)),
        rounding_seed=draw(st.integers(0, 2**64 - 1)),
    )


@given(anything(), st.data())
@examples(150)
def test_steps(net, data):
    check_all(data.draw, net, data.draw(st.sampled_from([1, 2, 4])), st.integers(-2, 12))


@given(anything(), st.data())
@examples(60)
def test_training(net, data):
    """Epochs of batches, and of single samples, which may go the online way."""
    batch_size = data.draw(st.sampled_from([1, 1, 2, 4]))
    x, y = batch(data.draw, net, 9)
    batches = in_order(len(x), batch_size, 1)
    lr_shift = data.draw(st.integers(0, 12))
    model = twin_network(net)
    check_training(net, model, x, y, lr_shift, batches, batch_size=batch_size, shuffle=False)
    assert net.steps == model.step_number
