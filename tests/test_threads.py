"""How many threads a call may use: set, named by the environment, and one inside a study."""

import os
import threading
from functools import partial

import numpy as np
import pytest

import intmlp
from intmlp import QFormat, _backend
from intmlp._threads import one_thread
from intmlp.io.datasets import load_stream
from intmlp.study import mnist2017
from support import run_python

SHOW = "import intmlp; print(intmlp.get_num_threads())"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture(autouse=True)
def keep_number():
    """Leave the number of threads as it was."""
    before = intmlp.get_num_threads()
    yield
    intmlp.set_num_threads(before)


run = partial(run_python, "INTMLP_NUM_THREADS")


def test_by_default_there_are_as_many_as_cores():
    assert run(SHOW).stdout.split() == [str(CORES)]
    assert run(SHOW, INTMLP_NUM_THREADS="").stdout.split() == [str(CORES)]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_only_cores_that_the_process_may_use_count():
    one = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert run(one + SHOW).stdout.split() == ["1"]


@pytest.mark.parametrize("number", ["1", "7", "1024", "007"])
def test_the_environment_names_a_number(number):
    done = run(SHOW, INTMLP_NUM_THREADS=number)
    assert done.stdout.split() == [str(int(number))], done.stderr
    done = run("import intmlp; print(intmlp.show_config()['threads'])", INTMLP_NUM_THREADS=number)
    assert done.stdout.split() == [str(int(number))], done.stderr


@pytest.mark.parametrize("number", ["0", "1025", "-1", "two", "1.5", " 2", "1_0", "\u0662"])
def test_what_is_no_number_is_an_error_at_every_use(number):
    script = f"""
import intmlp
for call in (
    lambda: intmlp.matmul([[1]], [[1]], 4, intmlp.QFormat(8, 4)),
    lambda: intmlp.set_num_threads(1),
    lambda: intmlp.get_num_threads(),
    lambda: intmlp.MLP([1, 1], intmlp.QFormat(8, 4)),
):
    try:
        call()
    except ValueError as error:
        assert str(error) == f"INTMLP_NUM_THREADS must be an integer in 1..1024, got {number!r}"
        print("refused")
"""
    done = run(script, INTMLP_NUM_THREADS=number, PYTHONIOENCODING="utf-8")
    assert done.stdout.split() == ["refused"] * 4, done.stderr


@pytest.mark.parametrize("number", [1, 2, 1024, np.int64(3)])
def test_set(backend, number):
    intmlp.set_num_threads(number)
    assert intmlp.get_num_threads() == number
    assert type(intmlp.get_num_threads()) is int
    assert intmlp.show_config()["threads"] == str(number)


@pytest.mark.parametrize("number", [0, -1, 1025, 10**30])
def test_numbers_out_of_range(backend, number):
    before = intmlp.get_num_threads()
    with pytest.raises(ValueError, match=rf"n must be in 1..1024, got {number}"):
        intmlp.set_num_threads(number)
    assert intmlp.get_num_threads() == before


@pytest.mark.parametrize("number", [1.0, "2", None, True])
def test_what_is_not_an_integer(backend, number):
    before = intmlp.get_num_threads()
    with pytest.raises(TypeError, match=r"n must be an integer in 1..1024, got"):
        intmlp.set_num_threads(number)
    assert intmlp.get_num_threads() == before


def test_the_number_is_of_the_process(backend):
    """Other threads, and backends that serve later, have it too."""
    intmlp.set_num_threads(5)
    seen = []
    reader = threading.Thread(target=lambda: seen.append(intmlp.get_num_threads()))
    reader.start()
    reader.join()
    assert seen == [5]
    for name in _backend.available():
        _backend.use(name)
        assert intmlp.get_num_threads() == 5
    _backend.use(backend)


def test_results_do_not_depend_on_it(backend):
    state = np.random.RandomState(0)
    a, b = (state.randint(-(2**23), 2**23, shape) for shape in ((70, 300), (300, 90)))
    fmt = QFormat(24, 8)
    products = []
    for number in (1, 2, 3, 64):
        intmlp.set_num_threads(number)
        products.append(intmlp.matmul(a, b, 30, fmt))
    assert all(np.array_equal(product, products[0]) for product in products)


def seen_by_cells(monkeypatch):
    """Let cells report (threads of theirs, threads of another thread) instead of training."""

    def report(*args):
        other = []
        reader = threading.Thread(target=lambda: other.append(intmlp.get_num_threads()))
        reader.start()
        reader.join()
        return intmlp.get_num_threads(), *other

    monkeypatch.setattr(mnist2017, "train", report)
    intmlp.set_num_threads(3)


def test_a_cell_of_the_study_takes_one_thread(backend, monkeypatch):
    seen_by_cells(monkeypatch)
    assert mnist2017._cell(None, None, 8, 5) == ((5, 8), (1, 3))
    assert intmlp.get_num_threads() == 3


def test_the_limit_ends_with_an_error(backend, monkeypatch):
    intmlp.set_num_threads(3)
    with pytest.raises(ValueError, match="x must have shape"):
        mnist2017._cell(None, None, 8, 5)
    assert intmlp.get_num_threads() == 3


def test_a_limit_does_not_raise_the_number(backend):
    intmlp.set_num_threads(1)
    with one_thread():
        assert intmlp.get_num_threads() == 1


@pytest.mark.skipif(_backend.active_name() == "python", reason="its cells are processes")
def test_cells_side_by_side_take_one_thread_each(monkeypatch):
    seen_by_cells(monkeypatch)
    monkeypatch.setattr(mnist2017, "FRACTIONS", (8, 9))
    cells = dict(mnist2017.run(load_stream(), jobs=2))
    assert len(cells) == 2 * len(mnist2017.LR_SHIFTS) and set(cells.values()) == {(1, 3)}
    assert intmlp.get_num_threads() == 3
