"""Cells on a Dask cluster: a real scheduler and real workers, as processes of this machine."""

import re
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from distributed import Client

from dask_processes import Cluster
from intmlp.io.samples import samples_of
from intmlp.study import VARIANTS, Grid, Task, cluster, run
from intmlp.study.cluster import run_on_cluster
from support import PURE

GRID = Grid(fractions=[2, 6, 9], lr_shifts=[0, 3], seeds=[0, 1])
CELLS = list(GRID)
TASK = Task(hidden=(3,), window=21)


@pytest.fixture(scope="module")
def samples():
    state = np.random.RandomState(0)
    return samples_of(state.random_sample((30, 4)), state.randint(3, size=30))


@pytest.fixture(scope="module")
def local(samples):
    return run(TASK, samples, GRID, jobs=1).cells


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A scheduler with two workers; a test may kill any, and the next one has two again."""
    with Cluster(tmp_path_factory.mktemp("two")) as processes:
        yield processes


@pytest.fixture
def workers(two):
    if len(two.workers) < 2:
        two.add(2 - len(two.workers))
    return two


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A scheduler without workers."""
    with Cluster(tmp_path_factory.mktemp("bare")) as processes:
        yield processes


@pytest.fixture(autouse=True)
def tidy():
    """No thread of a client outlives its run."""
    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before]
    assert [name for name in left if not name.startswith("Dask-Offload")] == []  # Dask's own pool


def collected(outcomes):
    """Return outcomes as a dict; each cell must come once."""
    pairs = list(outcomes)
    assert max(Counter(cell for cell, _ in pairs).values()) == 1
    return dict(pairs)


def test_equal_to_local_ones(workers, samples, local):
    assert {cell.variant for cell in CELLS} == set(VARIANTS)
    assert collected(run_on_cluster(workers.address, TASK, samples, CELLS)) == local


def test_what_was_observed(workers, samples):
    grid = Grid(["fixed", "float-backward"], fractions=[6], lr_shifts=[2], seeds=[0])
    outcomes = collected(run_on_cluster(workers.address, TASK, samples, grid, why=True))
    assert outcomes == run(TASK, samples, grid, jobs=1, why=True).cells
    assert all(outcome.observed for outcome in outcomes.values())


def test_through_run(workers, samples, local):
    assert run(TASK, samples, GRID, dask=workers.address).cells == local


def test_a_worker_is_killed(workers, samples, local, monkeypatch):
    monkeypatch.setattr(cluster, "LARGEST_BATCH", 4)
    victim = next(iter(workers.workers))
    lost = []

    def kill():
        with Client(workers.address, set_as_default=False) as client:
            lost.extend(client.processing()[victim])
            lost.extend(client.has_what()[victim])
        workers.kill(victim)

    timer = threading.Timer(0.5, kill)
    got = []
    for number, outcome in enumerate(run_on_cluster(workers.address, TASK, samples, CELLS)):
        got.append(outcome)
        if number == 3:
            workers.workers[victim].send_signal(signal.SIGSTOP)  # what it has by now, it keeps
            timer.start()
    timer.join()
    assert any("_train_batch" in str(key) for key in lost)
    assert len(workers.workers) == 1
    assert collected(got) == local


def test_all_workers_are_killed(workers, samples, local):
    got = []
    for number, outcome in enumerate(run_on_cluster(workers.address, TASK, samples, CELLS)):
        got.append(outcome)
        if number == 3:
            for address in list(workers.workers):
                workers.kill(address)
            workers.add()
    assert collected(got) == local


def test_the_samples_are_sent_once(workers, samples, monkeypatch):
    sent = []
    scatter = Client.scatter
    monkeypatch.setattr(Client, "scatter", lambda *a, **k: sent.append(a) or scatter(*a, **k))
    collected(run_on_cluster(workers.address, TASK, samples, CELLS))
    assert len(sent) == 1


def test_tasks_are_bounded(workers, samples, monkeypatch):
    """Dask's own work is paid for a batch; and what a lost worker loses stays small."""
    batches = []
    submit = Client.submit

    def counting(client, function, *arguments, **options):
        batches.append(arguments[-1])
        return submit(client, function, *arguments, **options)

    monkeypatch.setattr(Client, "submit", counting)
    with closing(run_on_cluster(workers.address, TASK, samples, CELLS)) as outcomes:
        next(outcomes)
        assert [len(batch) for batch in batches] == [1] * 4  # two for each thread at first
        list(outcomes)
    assert sum(map(len, batches)) == len(CELLS)
    assert len(batches) < len(CELLS) / 2
    assert max(map(len, batches)) <= cluster.LARGEST_BATCH


def test_nothing_to_do(samples):
    assert list(run_on_cluster("tcp://127.0.0.1:9", TASK, samples, [])) == []


# --- The end of a run before its time ---------------------------------------------------------


def assert_no_client(address):
    """Assert that the scheduler has, or is about to have, no client but the one that asks."""
    with Client(address, set_as_default=False) as client:
        for _ in range(100):
            names = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.clients))
            left = set(names) - {"fire-and-forget", client.id}
            if not left:
                break
            time.sleep(0.05)
    assert not left


def test_a_run_that_is_left(workers, samples):
    outcomes = run_on_cluster(workers.address, TASK, samples, CELLS)
    next(outcomes)
    outcomes.close()
    assert_no_client(workers.address)


def test_interrupted(workers, samples):
    """Ctrl-C while cells train."""
    task = Task(epochs=200 if PURE else 20_000, window=21)
    main = threading.get_ident()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    timer = threading.Timer(1.0, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(run_on_cluster(workers.address, task, samples, CELLS * 100))
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert_no_client(workers.address)
    for address in list(workers.workers):
        workers.kill(address)  # or it would train its cell for minutes beside other tests


def test_a_cell_that_fails(workers, samples):
    cells = [CELLS[0], CELLS[0]._replace(variant="none")]
    message = r"^a Dask worker failed at Cell\(variant='none', [^)]*\): KeyError\('none'\)$"
    got = []
    with pytest.raises(RuntimeError, match=message):
        got.extend(run_on_cluster(workers.address, TASK, samples, cells))
    assert [cell for cell, _ in got] in ([], cells[:1])


# --- What does not serve ----------------------------------------------------------------------


def refused(address, samples):
    """Return why `address` is no scheduler's."""
    start = f"no Dask scheduler answers at {address!r} (as tcp://HOST:PORT): "
    with pytest.raises(OSError, match=f"^{re.escape(start)}") as caught:
        list(run_on_cluster(address, TASK, samples, CELLS))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(start)


def test_no_scheduler(samples, monkeypatch):
    assert cluster.CONNECT <= 5
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        assert refused(address, samples) == "nothing within 0.5 seconds"  # a server that is mute
    assert refused(address, samples) == "nothing within 0.5 seconds"  # no server


@pytest.mark.parametrize(
    "address, reason",
    [
        ("", "missing port number in address ''"),
        ("tcp://127.0.0.1", "missing port number in address '127.0.0.1'"),
        ("127.0.0.1:x", "invalid literal for int() with base 10: 'x'"),
        ("ftp://127.0.0.1:1", "unknown address scheme 'ftp'"),
    ],
)
def test_no_address(samples, address, reason):
    assert refused(address, samples).startswith(reason)


def test_another_server(samples):
    def serve():
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        refused(f"tcp://127.0.0.1:{server.getsockname()[1]}", samples)
        thread.join()


def test_the_address_of_a_worker(workers, samples):
    assert refused(next(iter(workers.workers)), samples) == "it is a worker that does"


def test_no_workers(bare, samples, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    message = f"^the Dask scheduler at {bare.address} has had no worker for 0.5 seconds$"
    with pytest.raises(RuntimeError, match=message):
        list(run_on_cluster(bare.address, TASK, samples, CELLS))


def test_the_last_worker_is_killed(bare, samples, monkeypatch):
    for name, value, message in (
        ("PATIENCE", 0.2, f"^the Dask scheduler at {bare.address} has had no worker for 0.2 sec"),
        ("MOST_LOSSES", 0, r"^all Dask workers were lost 1 times at Cell\(variant='fixed', "),
    ):
        [worker] = bare.add()
        got = []
        with monkeypatch.context() as patch, pytest.raises(RuntimeError, match=message):
            patch.setattr(cluster, name, value)
            for outcome in run_on_cluster(bare.address, TASK, samples, CELLS * 100):
                if not got:
                    bare.kill(worker)
                got.append(outcome)
        assert 0 < len(got) < len(CELLS) * 100


def test_a_worker_whose_intmlp_does_not_serve(bare, samples):
    [worker] = bare.add(INTMLP_BACKEND="none")
    message = f"^the Dask worker {worker} cannot load intmlp: ValueError.*INTMLP_BACKEND must be"
    with pytest.raises(RuntimeError, match=message):
        list(run_on_cluster(bare.address, TASK, samples, CELLS))
    bare.kill(worker)


@pytest.mark.skipif(PURE, reason="needs the compiled core")
def test_a_worker_without_the_core(bare, samples):
    [worker] = bare.add(INTMLP_BACKEND="python")
    message = f"^the Dask worker {worker} computes with the Python fallback, and it must have the "
    with pytest.raises(RuntimeError, match=message):
        list(run_on_cluster(bare.address, TASK, samples, CELLS))
    bare.kill(worker)


def test_a_worker_of_another_version(workers, samples, monkeypatch):
    for name, value in (("__version__", "7.8"), ("arithmetic_version", 78)):
        with monkeypatch.context() as patch:
            patch.setattr(cluster, name, value)
            message = (
                r"^the Dask worker \S+ has intmlp \S+ \(arithmetic \d+\), and it must have .*78?"
            )
            with pytest.raises(RuntimeError, match=message):
                list(run_on_cluster(workers.address, TASK, samples, CELLS))
            # One that joins later meets the same check, with its first cells.
            patch.setattr(cluster, "_check_workers", lambda client: None)
            with pytest.raises(RuntimeError, match=r"a Dask worker failed .* has intmlp"):
                list(run_on_cluster(workers.address, TASK, samples, CELLS))


def test_the_scheduler_is_killed(tmp_path, samples):
    got = []
    with Cluster(tmp_path) as processes:
        processes.add()
        message = f"^the connection to the Dask scheduler at {processes.address} was lost: "
        with pytest.raises(OSError, match=message):
            for outcome in run_on_cluster(processes.address, TASK, samples, CELLS * 100):
                got.append(outcome)
                processes.scheduler.kill()
    assert 0 < len(got) < len(CELLS) * 100
