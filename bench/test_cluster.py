"""What Dask adds to a study: two workers of one thread beside two threads of this process."""

import pytest

from dask_processes import Cluster
from intmlp.io.samples import load_samples
from intmlp.study import Grid, Task, run
from intmlp.study.cluster import run_on_cluster
from timing import QUICK, timed


@pytest.fixture
def address(tmp_path):
    with Cluster(tmp_path) as processes:
        processes.add(2)
        yield processes.address


def test_added_to_a_cell(benchmark, address):
    """Small cells, so that what is added shows."""
    task, samples = Task(), load_samples("digits")
    grid = Grid(fractions=range(4, 20, 8 if QUICK else 1), lr_shifts=range(4, 8))
    added = []

    def there():
        return dict(run_on_cluster(address, task, samples, grid))

    def here():
        return dict(run(task, samples, grid, jobs=2).cells)

    assert there() == here()

    def pair():
        alone = timed(here)
        added.append((timed(there) - alone) / len(grid))

    benchmark.pedantic(pair, rounds=2 if QUICK else 7)
    benchmark.extra_info.update(
        table="studies",
        work=f"what Dask adds to each of {len(grid):,} small cells, two workers of one thread",
        threads=2,
        ours=added,
        at_most=5e-3,
    )


def test_start(benchmark, address):
    """One cell: the connection, and 63 MB of samples on their way to two workers."""
    task, samples = Task(), load_samples("mnist-2017")
    cells = list(Grid(["fixed"], [12], [8], [0]))
    seconds = []

    def start():
        seconds.append(timed(lambda: list(run_on_cluster(address, task, samples, cells))))

    start()
    seconds.clear()
    benchmark.pedantic(start, rounds=2 if QUICK else 7)
    benchmark.extra_info.update(
        table="studies",
        work="one cell of MNIST on Dask: connection, samples to two workers, training",
        threads=2,
        ours=seconds,
    )
