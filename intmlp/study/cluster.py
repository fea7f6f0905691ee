"""The cells of a study on a Dask cluster; needs the extra ``distributed``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, NamedTuple

from .. import _backend
from .._version import __version__, arithmetic_version
from .grid import Cell
from .task import Outcome, Task
from .training import train_cell

if TYPE_CHECKING:
    from distributed import Client, Future

    from ..io.samples import Samples

# Seconds to wait for a scheduler and its first worker, and for a new one where all were lost.
CONNECT = 5.0
PATIENCE = 60.0

# Cells travel in batches that take about this long, and each thread has one more waiting, so that
# what Dask does for a task is small beside it.
BATCH_SECONDS = 0.25
LARGEST_BATCH = 256
BATCHES_PER_THREAD = 2

# How often in a row all workers may be lost before a cell ends: it may be the cells that kill them.
MOST_LOSSES = 3

# Seconds after which the threads of the cluster are counted again: workers come and go.
RECOUNT = 1.0


def run_on_cluster(
    address: str, task: Task, samples: Samples, cells: Iterable[Cell], why: bool = False
) -> Generator[tuple[Cell, Outcome], None, None]:
    """Train cells on the workers of a Dask cluster and yield each as it ends.

    Parameters
    ----------
    address : str
        Of the scheduler, as ``tcp://HOST:PORT``.
    task : Task
    samples : Samples
        Are sent once, to every worker.
    cells : iterable of Cell
        Those that share a fraction width should follow each other: a worker keeps the inputs
        that it has quantized.
    why : bool
        Whether to observe what rounding and overflow do.

    Yields
    ------
    Cell, Outcome
        In the order in which they end. What a worker had not ended when it was lost, another
        trains.

    Raises
    ------
    OSError
        Where no scheduler answers, or the connection to it is lost.
    RuntimeError
        Where there is no worker; where one has another intmlp, none, or not its compiled core; or
        where training fails there, or ends the process of one worker after the other.

    Notes
    -----
    Each worker trains with the backend that serves there, each cell in one thread; no number
    depends on either.
    """
    left = deque(cells)
    if not left:
        return
    with _connected(address) as client:
        _wait_for_workers(client, address, CONNECT)
        _check_workers(client)
        try:
            yield from _trained(client, address, task, samples, left, why)
        except OSError as error:
            raise OSError(
                f"the connection to the Dask scheduler at {address} was lost: {error}"
            ) from error


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Yield a client of the scheduler at `address`; its thread ends with the body."""
    from distributed import Client

    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what it would say of a lost worker or scheduler, we say
    try:
        # A client that finds no scheduler leaves a thread behind: one is made where there is one.
        with ThreadPoolExecutor(1) as thread:  # the caller's may run a loop, as notebooks do
            thread.submit(asyncio.run, _find_scheduler(address)).result()
        with Client(address, timeout=CONNECT, set_as_default=False) as client:
            yield client
    finally:
        log.setLevel(level)


async def _find_scheduler(address: str) -> None:
    """Raise where no scheduler answers at `address`."""
    from distributed import rpc

    try:
        async with rpc(address) as server:
            found = await asyncio.wait_for(server.identity(), CONNECT)
        if found["type"] != "Scheduler":
            raise OSError(f"it is a {found['type'].lower()} that does")
    except Exception as error:  # another server can lead to any
        late = isinstance(error, asyncio.TimeoutError)
        reason = f"nothing within {CONNECT:g} seconds" if late else str(error) or repr(error)
        raise OSError(
            f"no Dask scheduler answers at {address!r} (as tcp://HOST:PORT): {reason}"
        ) from error


def _wait_for_workers(client: Client, address: str, seconds: float) -> None:
    from distributed import TimeoutError

    try:
        client.wait_for_workers(1, timeout=seconds)
    except TimeoutError as error:
        raise RuntimeError(
            f"the Dask scheduler at {address} has had no worker for {seconds:g} seconds"
        ) from error


def _trained(
    client: Client, address: str, task: Task, samples: Samples, left: deque[Cell], why: bool
) -> Generator[tuple[Cell, Outcome], None, None]:
    """Keep all threads of the cluster busy with cells of `left`, and yield each as it ends."""
    from distributed import CancelledError, TimeoutError, wait

    here = _installed()
    data: Future | None = None
    running: dict[Future, list[Cell]] = {}
    size, threads, counted, losses = 1, 0, -RECOUNT, 0
    while left or running:
        if data is None:
            _wait_for_workers(client, address, PATIENCE)
            data = client.scatter(samples, broadcast=True, hash=False)
        if monotonic() - counted >= RECOUNT:
            threads, counted = sum(client.nthreads().values()), monotonic()
        while left and len(running) < BATCHES_PER_THREAD * max(threads, 1):
            batch = [left.popleft() for _ in range(min(size, len(left)))]
            future = client.submit(_train_batch, here, task, data, why, batch, pure=False)
            running[future] = batch
        # What was cancelled is an error of `wait`, and of `result` below.
        with client.as_current(), suppress(TimeoutError, CancelledError):
            wait(list(running), timeout=RECOUNT, return_when="FIRST_COMPLETED")
        if client.status != "running":
            raise OSError("it has ended, or the network has")
        failed = None
        for future in [future for future in running if future.done()]:
            batch = running[future]
            if future.status == "error":
                failed = future  # raised below, after what others have ended
                continue
            try:
                outcomes, seconds = future.result()
            except CancelledError:  # the data is lost, with the last worker that had it
                data = None
                continue
            del running[future]
            losses = 0
            size = max(1, min(LARGEST_BATCH, int(BATCH_SECONDS * len(batch) / seconds)))
            yield from zip(batch, outcomes, strict=True)
        if failed is not None:
            error = failed.exception()
            raise RuntimeError(f"a Dask worker failed {_at(running[failed])}: {error!r}") from error
        if data is None:
            lost = [cell for batch in running.values() for cell in batch]
            losses += 1
            if losses > MOST_LOSSES:
                raise RuntimeError(
                    f"all Dask workers were lost {losses} times {_at(lost)}: it may end them"
                )
            left.extendleft(reversed(lost))
            running.clear()


def _at(cells: list[Cell]) -> str:
    return f"at {cells[0]}" + (f" or one of the next {len(cells) - 1}" if len(cells) > 1 else "")


def _train_batch(
    here: _Installed, task: Task, samples: Samples, why: bool, cells: list[Cell]
) -> tuple[list[Outcome], float]:
    """Train cells on a worker; return what they gave, and the seconds that took."""
    from distributed import get_worker

    _check(here, _installed(), get_worker().address)  # it may have joined after all were checked
    start = perf_counter()
    outcomes = [train_cell(task, samples, cell, why) for cell in cells]
    return outcomes, perf_counter() - start


# What a worker must have ----------------------------------------------------------------------


class _Installed(NamedTuple):
    """What decides whether one process may train for another."""

    version: str
    arithmetic_version: int
    backend: str


def _installed() -> _Installed:
    return _Installed(__version__, arithmetic_version, _backend.active_name())


def _check_workers(client: Client) -> None:
    """Raise where one of the workers that are there cannot train for this process."""
    # By name, since a worker without intmlp could not even receive a function of it.
    configs = client.run(eval, "__import__('intmlp').show_config()", on_error="return")
    for worker, config in configs.items():
        if isinstance(config, BaseException):
            raise RuntimeError(f"the Dask worker {worker} cannot load intmlp: {config!r}")
        version = int(config["arithmetic_version"])
        _check(_installed(), _Installed(config["version"], version, config["backend"]), worker)


def _check(here: _Installed, there: _Installed, worker: str) -> None:
    if there[:2] != here[:2]:
        raise RuntimeError(
            "the Dask worker {} has intmlp {} (arithmetic {}), and it must have that of this "
            "process, {} (arithmetic {})".format(worker, *there[:2], *here[:2])
        )
    if there.backend == "python" != here.backend:
        raise RuntimeError(
            f"the Dask worker {worker} computes with the Python fallback, and it must have the "
            f"compiled core, as this process ({here.backend})"
        )
