"""A call of the core that runs out of memory raises MemoryError and leaves whole steps."""

import sys

import pytest

from support import BACKENDS, run_python

# Each call is made with ever more memory to spare, until it succeeds. What is 64 KiB or larger
# malloc takes from the system, which refuses it, and gives it back when it is freed.
SCRIPT = """
import copy, itertools, resource
from pathlib import Path
import numpy as np
import intmlp
from intmlp import MLP, Parts, QFormat

def with_room(call, room):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        return call()
    except MemoryError:
        return None
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

def until_it_succeeds(call, when_refused=lambda: None, more=2**17):
    for room in itertools.count(0, more):
        result = with_room(call, room)
        if result is not None:
            return result
        when_refused()

def state(net):
    lists = [value for value in net.__getstate__().values() if type(value) is list]
    return net.steps, [array.tobytes() for arrays in lists for array in arrays]

rng = np.random.RandomState(0)
fmt = QFormat(16, 10)
intmlp.set_num_threads(2)

a = rng.randint(-2000, 2000, (300, 400)).astype(np.int32)
b = rng.randint(-2000, 2000, (400, 500)).astype(np.int32)
for product in (intmlp.matmul, intmlp.explain_matmul):
    refused = []
    want = product(a, b, 20, fmt)
    got = until_it_succeeds(lambda: product(a, b, 20, fmt), lambda: refused.append(1))
    assert refused and np.all(got == want)

x, y = rng.random_sample((128, 300)), rng.random_sample((128, 10))
for parts, update, momentum in [
    (Parts(), "fused", None),
    (Parts(), "two_step", 3),
    (Parts(update="float"), "fused", 3),
    (Parts("float", "float", "float"), "fused", None),
    (Parts(backward="float"), "fused", None),
    (Parts(forward="float"), "two_step", None),
]:
    def network():
        return MLP([300, 200, 10], fmt, bias=True, seed=1, parts=parts, update=update,
                   momentum_shift=momentum)

    for size in (64, 1):
        net, states = network(), []
        for first in (0, size):
            states.append(state(net))
            net.step(x[first : first + size], y[first : first + size], 3)
        for overflow in ("ignore", "count"):
            other = network()
            until_it_succeeds(
                lambda: other.train(x[: 2 * size], y[: 2 * size], 3, batch_size=size,
                                    shuffle=False, overflow=overflow),
                lambda: states.index(state(other)),
            )
            assert state(other) == state(net)
    want = net.forward(x)
    other = copy.deepcopy(net)  # whose weights are not packed yet
    assert np.all(until_it_succeeds(lambda: other.forward(x), more=2**14) == want)
    want = net.gradient(x, y)
    got = until_it_succeeds(lambda: net.gradient(x, y))
    assert all(map(np.array_equal, got.weights + got.biases, want.weights + want.biases))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("name", BACKENDS[:-1])  # the memory of the last one is NumPy's
def test_without_memory(name):
    run = run_python(
        "INTMLP_BACKEND",
        SCRIPT,
        INTMLP_BACKEND=name,
        MALLOC_MMAP_THRESHOLD_=str(2**16),
        OPENBLAS_NUM_THREADS="1",
    )
    assert run.returncode == 0, run.stderr
