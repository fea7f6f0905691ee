"""Threads, forks and signals at random moments: numbers are those of work done alone.

How often each is tried grows with INTMLP_TEST_EFFORT; trust/concurrency.py adds up the properties
that tests record.
"""

import copy
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

import intmlp
from intmlp import MLP, Parts, QFormat, selftest
from support import BACKENDS, EFFORT

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and kills by signal")
TIMES = max(1, round(EFFORT))
THREADS = 6


@pytest.fixture(autouse=True)
def keep_number():
    """Leave the number of threads as it was, and let threads change places often."""
    before, interval = intmlp.get_num_threads(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
    intmlp.set_num_threads(before)


def together(*functions):
    """Call functions at the same time, each in a thread; return what they return."""
    ready = threading.Barrier(len(functions))

    def call(function):
        ready.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return list(pool.map(call, functions))


@contextmanager
def running(function):
    """Call a function again and again in a thread, while the body runs."""
    stop, failed = threading.Event(), []

    def work():
        try:
            while not stop.is_set():
                function()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


# --- Threads ----------------------------------------------------------------------------------


def test_networks_of_every_kind_train_at_the_same_time(backend, record_property):
    """Each thread trains all of them, in an order of its own."""
    groups = ("optimisers", "losses", "stochastic rounding", "counts")
    questions = [question for group in groups for question in selftest.questions(group)]
    questions = questions[:: 4 if backend == "python" else 1]
    alone = [selftest.digest(selftest.answer(question)) for question in questions]

    def train(seed):
        order = list(range(len(questions)))
        random.Random(seed).shuffle(order)
        for place in order:
            assert selftest.digest(selftest.answer(questions[place])) == alone[place]

    seeds = range(THREADS * TIMES)
    together(*(lambda seed=seed: train(seed) for seed in seeds))
    record_property("networks", len(seeds) * len(questions))


def test_single_calls_at_the_same_time(backend, record_property):
    """Products of all sizes, which take and give back the scratch of earlier ones."""
    state = np.random.RandomState(5)
    fmt = QFormat(32, 3, "half_even", "wrap")
    calls = []
    for _ in range(12):
        m, k, n = state.randint(1, 70, 3)
        bits = int(state.choice([8, 16, 24, 31]))
        a, b = (state.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), s) for s in ((m, k), (k, n)))
        calls.append((a, b, 5, fmt))
    alone = [intmlp.matmul(*call).tobytes() for call in calls]
    each = 20 if backend == "python" else 300

    def multiply(seed):
        order = random.Random(seed)
        for _ in range(each):
            place = order.randrange(len(calls))
            assert intmlp.matmul(*calls[place]).tobytes() == alone[place]

    seeds = range(THREADS * TIMES)
    together(*(lambda seed=seed: multiply(seed) for seed in seeds))
    record_property("products", len(seeds) * each)


@pytest.mark.parametrize("parts", [Parts(), Parts(update="float"), Parts("float", "float")])
def test_one_network_is_read_by_many_threads(backend, parts, record_property):
    """The packed weights that it keeps follow the inputs, and those change their range."""
    net = MLP([30, 20, 10], QFormat(24, 12), parts=parts, seed=3)
    state = np.random.RandomState(0)
    inputs = [np.ldexp(state.uniform(-1, 1, (n, 30)), e) for n in (1, 5, 40) for e in (-8, 0, 9)]
    targets = [state.uniform(-1, 1, (len(x), 10)) for x in inputs]

    def asked(place):
        gradient = net.gradient(inputs[place], targets[place])
        arrays = (net.forward(inputs[place]), *gradient.weights, *gradient.biases)
        return [array.tobytes() for array in arrays]

    alone = [asked(place) for place in range(len(inputs))]
    each = 5 if backend == "python" else 40

    def ask(seed):
        order = random.Random(seed)
        for _ in range(each):
            place = order.randrange(len(inputs))
            assert asked(place) == alone[place]

    seeds = range(THREADS * TIMES)
    together(*(lambda seed=seed: ask(seed) for seed in seeds))
    record_property("outputs and gradients", len(seeds) * each)


def one_sample(parts=Parts(), n=1):  # noqa: B008
    """Return a network and samples that are all the same: only the number of steps tells."""
    fmt = QFormat(24, 16, "stochastic")
    net = MLP([3, 8, 2], fmt, parts=parts, momentum_shift=3, seed=1, rounding_seed=7)
    return net, np.array([[0.5, -0.25, 1.0]] * n), np.array([[0.5, -1.0]] * n)


def after(steps):
    """Return such a network after some steps of one sample."""
    net, x, y = one_sample(n=steps)
    if steps:
        net.train(x, y, 4, shuffle=False, report=False, overflow="ignore")
    return net


def contents(net):
    """Return a digest of all that a network is."""
    tensors = [net.velocities, net.bias_velocities]
    tensors += [net.weights, net.biases] if net.network.parts.any_fixed else []
    if net.network.parts.update == "float":
        tensors += [net.master_weights, net.master_biases]
    data = b"".join(array.tobytes() for arrays in tensors for array in arrays)
    return f"{net.steps} {hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize("parts", [Parts(), Parts("float", "float", "float")])
def test_two_threads_train_one_network(backend, parts, record_property):
    """Their steps mix, and are whole: steps that are all the same end as if done by one thread.

    A third thread reads and copies it meanwhile: it finds what it was after some whole step.
    """
    each = 60 if backend == "python" else 400
    net, x, y = one_sample(parts)
    stream = intmlp.Stream(9)
    outputs = {net.forward(x, stream=stream).tobytes()}
    history = [contents(net)]
    for _ in range(2 * each):
        net.step(x, y, 4)
        outputs.add(net.forward(x, stream=stream).tobytes())
        history.append(contents(net))
    net, x, y = one_sample(parts)

    def train():
        for _ in range(each // 20):
            net.train(x, y, 4, epochs=20, overflow="ignore")

    def read():
        assert net.forward(x, stream=stream).tobytes() in outputs
        assert contents(copy.deepcopy(net)) in history

    with running(read):
        together(train, train)
    assert contents(net) == history[-1]
    record_property("steps of one network", 2 * each)


def test_number_of_threads_changes_while_products_run(backend):
    if backend == "python":
        pytest.skip("computes with one thread")
    [question, *_] = selftest.questions("threads")
    alone = selftest.digest(selftest.answer(question._replace(threads=(1,))))
    question = question._replace(threads=(1, 4, 2, 3))

    def set_numbers():
        for number in (1, 2, 5, 3, 16):
            intmlp.set_num_threads(number)

    with running(set_numbers):
        for found in together(*[lambda: list(selftest.answer(question))] * 3):
            assert {selftest.digest([product]) for product in found} == {alone}


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python"
)
def test_nothing_here_turns_the_gil_on():
    assert not sys._is_gil_enabled()


# --- Forks ------------------------------------------------------------------------------------


def program(script, *arguments, backend, **options):
    """Start Python code in a process of its own, which prints what it finds, line by line."""
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path, "INTMLP_BACKEND": backend},
        cwd=Path(__file__).anchor,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


FORKS = """
    import multiprocessing, os, signal, sys, time, warnings
    from contextlib import nullcontext
    import intmlp
    from intmlp import selftest
    from test_concurrency import after, contents, one_sample, running

    warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads, of Python 3.12
    backend, times = intmlp.show_config()["backend"], int(sys.argv[1])
    large = selftest.questions("threads")[0]._replace(threads=(3,))
    alone = selftest.digest(selftest.answer(large))
    few = selftest.questions("optimisers")[:6]
    few_alone = [selftest.digest(selftest.answer(question)) for question in few]

    def right(net, x, y):
        again = after(net.steps)
        assert contents(again) == contents(net), "half of a step"
        net.step(x[:1], y[:1], 4)
        again.step(x[:1], y[:1], 4)
        assert contents(again) == contents(net)
        intmlp.set_num_threads(2)
        assert [selftest.digest(selftest.answer(question)) for question in few] == few_alone
        if backend != "python":
            assert selftest.digest(selftest.answer(large)) == alone
        return True

    net, x, y = one_sample(n=50)
    children = 0
    def train():
        net.train(x, y, 4, epochs=1, shuffle=False, overflow="ignore")
    def multiply():
        assert selftest.digest(selftest.answer(large)) == alone
    # The fallback multiplies by OpenBLAS, which has a fork wait as long as others multiply.
    beside = nullcontext() if backend == "python" else running(multiply)
    with running(train), beside, running(lambda: intmlp.set_num_threads(3)):
        for i in range(times):
            net, x, y = one_sample(n=50)  # a new one, or children had ever more steps to repeat
            time.sleep(0.002 * (1 + i % 7))
            child = os.fork()
            if child == 0:
                signal.alarm(60)
                status = 1
                try:
                    status = 0 if right(net, x, y) else 1
                finally:
                    os._exit(status)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
            children += 1
        net, x, y = one_sample(n=50)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.starmap_async(right, [(net, x, y)] * 4).get(60) == [True] * 4
    print(children)
"""


@posix
def test_children_of_forks_compute_while_the_parent_does(backend, record_property):
    """Other threads train a network, multiply and set the number of threads meanwhile."""
    times = (2 if backend == "python" else 5) * TIMES
    process = program(FORKS, times, backend=backend)
    assert process.communicate(timeout=300) == (f"{times}\n", None)
    assert process.returncode == 0
    record_property("forks", times)


# --- Ctrl-C -----------------------------------------------------------------------------------

INTERRUPTED = """
    import signal, sys
    import intmlp
    from test_concurrency import contents, one_sample

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in the background
    for line in sys.stdin:
        net, x, y = one_sample(n=1000)
        try:
            print("training", flush=True)
            net.train(x, y, 4, epochs=10**4, shuffle=False, report=False, overflow="ignore")
        except KeyboardInterrupt:
            print(contents(net), flush=True)
"""


@posix
def test_ctrl_c_at_random_moments_leaves_whole_steps(backend, record_property):
    moments, steps = random.Random(), []
    with program(INTERRUPTED, backend=backend, stdin=subprocess.PIPE) as process:
        for _ in range(5 * TIMES):
            process.stdin.write("once more\n")
            process.stdin.flush()
            assert process.stdout.readline() == "training\n"
            time.sleep(moments.uniform(0.02, 0.12))
            process.send_signal(signal.SIGINT)
            found = process.stdout.readline().strip()
            steps.append(int(found.split()[0]))
            assert contents(after(steps[-1])) == found
        process.stdin.close()
    assert process.returncode == 0
    assert max(steps) > 0
    record_property("interrupts", len(steps))


# --- Kills ------------------------------------------------------------------------------------


def killed(script, *arguments, times, record_property):
    """Kill a program at random moments after its first line; yield after each kill."""
    moments = random.Random()
    record_property("kills", times)
    for _ in range(times):
        with program(script, *arguments, backend=BACKENDS[0]) as process:
            assert process.stdout.readline() == "begun\n"
            time.sleep(moments.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        yield


SAVES = """
    import itertools, sys
    from intmlp import MLP, QFormat

    nets = [MLP([200, 100, 10], QFormat(16, 8), seed=seed) for seed in (0, 1)]
    for count, net in enumerate(itertools.cycle(nets)):
        net.save(sys.argv[1])
        if count == 1:
            print("begun", flush=True)
"""


@posix
def test_killed_saves_leave_a_whole_file(tmp_path, record_property):
    whole = []
    for seed in (0, 1):
        MLP([200, 100, 10], QFormat(16, 8), seed=seed).save(tmp_path / "whole")
        whole.append((tmp_path / "whole").read_bytes())
    path = tmp_path / "net.safetensors"
    for _ in killed(SAVES, path, times=3 * TIMES, record_property=record_property):
        assert path.read_bytes() in whole
        MLP.load(path)


STORES = """
    import itertools, sys
    from pathlib import Path
    from intmlp.study.store import Store
    from small_study import GRID, SAMPLES, TASK
    from test_concurrency import outcome

    with Store(Path(sys.argv[1]), TASK, SAMPLES) as store:
        for number in itertools.count():
            for cell in GRID:
                store.save(cell, outcome(cell))
            if number == 0:
                print("begun", flush=True)
            if number % 3 == 0:
                store.forget(list(GRID)[::2])
"""


def outcome(cell):
    """Return what a cell of `STORES` holds: it follows from the cell alone."""
    from intmlp.study.task import Outcome

    return Outcome(hash((cell.fraction or 0, cell.lr_shift, cell.seed)) % 1000 / 1000, 7, None)


@posix
def test_killed_writers_leave_a_whole_store(tmp_path, record_property):
    from intmlp.study.store import Store
    from small_study import GRID, SAMPLES, TASK

    path = tmp_path / "cells.sqlite"
    for _ in killed(STORES, path, times=3 * TIMES, record_property=record_property):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with Store(path, TASK, SAMPLES) as store:
            cells = store.load()
        assert all(kept == outcome(cell) for cell, kept in cells.items())
        assert set(list(GRID)[1::2]) <= set(cells) <= set(GRID)


FIGURES = """
    import sys
    from pathlib import Path
    from intmlp.study import mnist2017

    for number in range(10**9):
        mnist2017.write_csv(mnist2017.published(), Path(sys.argv[1]))
        if number == 0:
            print("begun", flush=True)
"""


@posix
def test_killed_reproductions_leave_a_whole_grid(tmp_path, record_property):
    from intmlp.study import mnist2017

    path = tmp_path / "grid.csv"
    mnist2017.write_csv(mnist2017.published(), tmp_path / "whole.csv")
    for _ in killed(FIGURES, path, times=2 * TIMES, record_property=record_property):
        assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
