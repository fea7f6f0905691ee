"""Suggested formats: the ranges against sums by hand, and what a format must hold."""

from fractions import Fraction

import numpy as np
import pytest

from intmlp import MLP, LayerFormats, Parts, QFormat, linear, relu, suggest_formats

FLOAT = Parts("float", "float", "float")
NEVER = 2000  # a rate of 2**-2000 changes no weight


def network(**options):
    options = {"activation": [relu(), linear()], "parts": FLOAT, "seed": 3} | options
    return MLP([6, 5, 3], QFormat(2, 0), **options)


def samples(n=40):
    state = np.random.RandomState(1)
    return state.uniform(-2, 2, (n, 6)), state.uniform(-1, 1, (n, 3))


def by_hand(net, x, y):
    """All values of each tensor in one pass of whole-batch gradients, without the package."""
    (w1, w2), (b1, b2) = net.master_weights, net.master_biases
    z1 = x @ w1.T + b1
    a1 = np.maximum(z1, 0)
    z2 = a1 @ w2.T + b2
    d2 = z2 - y
    e1 = d2 @ w2
    d1 = np.where(z1 > 0, e1, 0)
    return {
        (0, "input"): [x],
        (1, "activation"): [z1, a1],
        (1, "weight"): [w1, b1],
        (1, "delta"): [e1, d1],
        (1, "gradient"): [d1.T @ x, d1.sum(0)],
        (2, "activation"): [z2, z2, y],
        (2, "weight"): [w2, b2],
        (2, "delta"): [d2],
        (2, "gradient"): [d2.T @ a1, d2.sum(0)],
    }


def test_ranges_are_those_of_the_passes(backend):
    net, (x, y) = network(), samples()
    found = suggest_formats(net, x, y, NEVER, batch_size=len(x), bits=8)
    wanted = by_hand(net, x, y)
    assert [(r.layer, r.tensor) for r in found.ranges] == list(wanted)
    for r in found.ranges:
        values = np.abs(np.concatenate([v.ravel() for v in wanted[r.layer, r.tensor]]))
        some = np.sort(values[values != 0])
        assert r.largest == pytest.approx(values.max(), rel=1e-12)
        assert r.kept == r.largest
        assert some[(len(some) - 1) // 2] / 1.07 <= r.median <= some[len(some) // 2] * 1.0001
        half = 2.0 ** (-r.fmt.frac - 1)
        assert r.lost_share == pytest.approx(np.mean(some < half), abs=1e-12)


@pytest.mark.parametrize("bits", [5, 8, 16, 40])
def test_a_format_holds_its_range_and_one_more_fraction_bit_would_not(bits, backend):
    net, (x, y) = network(), samples()
    for r in suggest_formats(net, x, y, 6, bits=bits, batch_size=8, epochs=3).ranges:
        assert r.fmt.bits == bits
        assert round(Fraction(r.kept) * 2**r.fmt.frac) <= r.fmt.raw_max
        assert r.fmt.frac == 63 or round(Fraction(r.kept) * 2 ** (r.fmt.frac + 1)) > r.fmt.raw_max


def test_clip_leaves_out_that_share(backend):
    net, (x, y) = network(), samples()
    values = np.abs(x)
    for clip in (0.01, 0.1, 0.5):
        found = suggest_formats(net, x, y, NEVER, batch_size=len(x), clip=clip)
        kept = found.ranges[0].kept
        assert np.mean(values > kept) <= clip
        assert np.mean(values > kept / 1.07) > clip  # one bin less would leave out more


def test_zeros_alone_are_all_fraction():
    net = network(bias=False)
    x, y = samples()
    found = suggest_formats(net, np.zeros_like(x), y, NEVER, batch_size=len(x), bits=8)
    formats = {(r.layer, r.tensor): r.fmt for r in found.ranges}
    assert formats[0, "input"] == QFormat(8, 7) == formats[1, "gradient"]
    assert {r.largest for r in found.ranges if r.fmt == QFormat(8, 7)} >= {0.0}


def test_the_network_of_the_suggestion_trains_and_the_given_one_is_left_alone(backend):
    net, (x, y) = network(), samples()
    before = [w.copy() for w in net.master_weights]
    widths = dict.fromkeys(("activation", "weight", "delta", "gradient", "velocity"), 16)
    first = suggest_formats(net, x, y, 5, bits=widths, epochs=2)
    assert first == suggest_formats(net, x, y, 5, epochs=2)
    assert all(np.array_equal(b, w) for b, w in zip(before, net.master_weights, strict=True))
    assert all(isinstance(f, LayerFormats) for f in first.formats)
    options = {"activation": [relu(), linear()], "input_format": first.input_format, "seed": 3}
    fixed = MLP([6, 5, 3], first.formats, **options)
    history = fixed.train(x, y, 5, epochs=20, overflow="ignore")
    assert history.loss[-40:].sum() < history.loss[:40].sum()
    assert str(first).count("\n") == len(first.ranges)


def test_momentum_has_a_range_of_its_own(backend):
    net, (x, y) = network(momentum_shift=3), samples()
    found = {(r.layer, r.tensor): r for r in suggest_formats(net, x, y, 7, epochs=2).ranges}
    assert found[1, "velocity"].median > found[1, "gradient"].median
    assert suggest_formats(net, x, y, 7, epochs=2).formats[0].velocity == found[1, "velocity"].fmt
    plain = suggest_formats(network(), x, y, 7)
    assert all(r.tensor != "velocity" for r in plain.ranges)
    assert plain.formats[0].velocity is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"net": network(parts=Parts())}, ValueError, "net must have all parts float"),
        ({"net": 3}, TypeError, "net must be a MLP"),
        ({"bits": 1}, ValueError, "bits must be in 2..64, got 1"),
        ({"bits": {"weight": 8}}, ValueError, "bits must have the keys activation, weight, delta"),
        (
            {"bits": 2},
            ValueError,
            "bits must be at least 3 for input of layer 0",
        ),
        ({"clip": 0.6}, ValueError, r"clip must be in 0..0.5, got 0.6"),
        ({"clip": float("nan")}, ValueError, r"clip must be in 0..0.5, got nan"),
        ({"rounding": "up"}, ValueError, "rounding must be one of floor"),
        ({"epochs": 0}, ValueError, "epochs must be in 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be in 1"),
        ({"x": np.ones((40, 6), np.int32)}, TypeError, "x must be float32 or float64"),
        ({"y": np.ones((39, 3))}, ValueError, "x and y must have equally many rows, got 40 and 39"),
        ({"x": np.ones((40, 5))}, ValueError, r"x must have shape \(n, 6\), got \(40, 5\)"),
    ],
)
def test_errors(change, error, message):
    x, y = samples()
    with pytest.raises(error, match=message):
        suggest_formats(**{"net": network(), "x": x, "y": y, "lr_shift": 5} | change)


def test_a_run_that_diverges_is_an_error():
    x, y = samples()
    with pytest.raises(FloatingPointError, match="the float run diverges with lr_shift -600"):
        suggest_formats(network(), x, y, -600, epochs=4)
