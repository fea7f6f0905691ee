"""Weights that are kept packed between calls: never stale, whatever changes."""

import numpy as np
import pytest

import intmlp
from intmlp import MLP, QFormat, _backend
from support import BACKENDS

WIDTHS = [QFormat(8, 5), QFormat(16, 12), QFormat(24, 12), QFormat(32, 20), QFormat(48, 20)]


def twins(fmt, sizes=(70, 50, 10)):
    """Return a network whose weights are kept from call to call, and a way to ask a new one."""
    net = MLP(sizes, fmt, seed=0)

    def fresh(x):
        other = MLP(sizes, fmt, seed=1)
        other.set_weights(net.weights, net.biases)
        return other.forward(x)

    return net, fresh


def by_the_fallback(fresh, x):
    """Return the outputs of a new network on the Python backend."""
    before = _backend.active_name()
    _backend.use("python")
    try:
        return fresh(x)
    finally:
        _backend.use(before)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("fmt", WIDTHS, ids=str)
def test_weights_that_change_are_packed_again(fmt):
    state = np.random.RandomState(0)
    net, fresh = twins(fmt)
    x, y = state.random_sample((40, 70)), state.random_sample((40, 10))

    def check():
        for _ in range(2):
            before = net.forward(x)
            assert np.array_equal(before, fresh(x))
        return before

    seen = [check()]
    net.set_weights([-w for w in net.weights], net.biases)
    seen.append(check())
    net.step(x, y, lr_shift=6)
    seen.append(check())
    net.train(x, y, lr_shift=6, batch_size=8)
    seen.append(check())
    net.gradient(x, y)
    net.train(x, y, lr_shift=6)  # one sample at a time
    seen.append(check())
    assert len({output.tobytes() for output in seen}) >= 3  # a stale one would be seen


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("fmt", WIDTHS, ids=str)
def test_inputs_of_any_size_find_their_kernel(fmt):
    """Small and large values, few rows and many, by turns: each batch may need another kernel."""
    state = np.random.RandomState(1)
    net, fresh = twins(fmt)
    largest = 2.0 ** (fmt.bits - 1 - fmt.frac)
    for rows in (5, 300, 2, 40):
        for scale in (2.0**-4, 2.0**12, 1.0):
            x = state.random_sample((rows, 70)) * scale
            x[-1, -1] = 2.0**20  # one value that the sample of a range does not see
            want = by_the_fallback(fresh, x)
            assert np.array_equal(net.forward(x), want)
        weights = [state.uniform(-largest, largest, w.shape) for w in net.weights]
        net.set_weights(weights, net.biases)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("fmt", WIDTHS, ids=str)
def test_sums_that_only_some_inputs_make_large(fmt):
    """The kernel of the first batch is not exact for the second, whose last row alone is large."""
    net, fresh = twins(fmt)
    net.set_weights([np.full_like(w, fmt.raw_min) for w in net.weights], net.biases)
    small, large = (np.full((300, 70), value, fmt.dtype) for value in (1, 1))
    large[-1] = fmt.raw_min
    for x in (small, large, small):
        want = by_the_fallback(fresh, x)
        assert np.array_equal(net.forward(x), want)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("bits", [16, 24, 32, 48])
def test_one_large_weight_among_small_ones(bits):
    """Packing finds what the sample of a range did not see, and another kernel is taken."""
    fmt = QFormat(bits, bits - 8)
    net, fresh = twins(fmt, (400, 300, 10))
    weights = [np.ones_like(w) for w in net.weights]
    x = np.random.RandomState(3).randint(-100, 100, (40, 400)).astype(fmt.dtype)
    for row, column in ((1, 1), (150, 201), (299, 398)):
        weights[0][row, column] = fmt.raw_min
        net.set_weights(weights, net.biases)
        want = by_the_fallback(fresh, x)
        assert np.array_equal(net.forward(x), want)


def test_another_instruction_set_packs_for_itself():
    net, _ = twins(QFormat(16, 12))
    x = np.random.RandomState(2).random_sample((40, 70))
    before = _backend.active_name()
    want = net.forward(x)
    try:
        for name in BACKENDS:
            if name.startswith("c:"):
                _backend.use(name)
                assert np.array_equal(net.forward(x), want)
    finally:
        _backend.use(before)


@pytest.mark.parametrize("bits", [8, 14, 16, 24, 28, 32])
def test_threads_share_what_is_kept(bits):
    """Parts of a product begin at panels, whatever the kernel's width."""
    state = np.random.RandomState(bits)
    fmt = QFormat(bits, bits - 1)
    net = MLP([900, 700, 10], fmt, seed=0)
    x = state.random_sample((256, 900)) - 0.5
    before = intmlp.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            intmlp.set_num_threads(threads)
            results.append(net.forward(x))
        assert all(np.array_equal(result, results[0]) for result in results)
    finally:
        intmlp.set_num_threads(before)
