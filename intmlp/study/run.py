"""Running a study: its cells side by side, each stored as it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from .grid import Cell, Grid
from .result import Result
from .side_by_side import side_by_side
from .store import Store
from .task import Outcome, Task
from .training import train_cell

if TYPE_CHECKING:
    from ..io.samples import Samples


def run(
    task: Task,
    samples: Samples,
    grid: Grid,
    *,
    store: str | PathLike[str] | None = None,
    fresh: bool = False,
    jobs: int = -1,
    dask: str | None = None,
    why: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> Result:
    """Train the cells of a grid, or what is left of them.

    Parameters
    ----------
    task : Task
    samples : Samples
    grid : Grid
    store : path-like, optional
        An SQLite file, on a local disk, that takes each cell as it ends. Cells that it holds
        already, of the same task, samples and version, are not trained again.
    fresh : bool
        Whether all cells are trained, also those that the store holds.
    jobs : int
        How many cells train at a time; -1 for as many as there are cores.
    dask : str, optional
        Address of a Dask scheduler, ``tcp://HOST:PORT``, whose workers train the cells instead.
    why : bool
        Whether to observe why widths fail; a cell that is stored without is trained again.
    progress : callable, optional
        Called as ``progress(cells done, cells in all)`` at the start and after each cell.

    Returns
    -------
    Result
        The same whatever jobs, workers, backends and interrupted runs it took.

    Raises
    ------
    ValueError
        Where samples or grid do not serve the task.
    OSError
        Where store or scheduler do not serve. What is stored is kept.
    RuntimeError
        Where the workers of the scheduler do not serve, or a cell fails on one. The same.

    Examples
    --------
    >>> from intmlp import leaky_relu
    >>> from intmlp.study import load_samples
    >>> grid = Grid(["fixed", "float"], fractions=[8], lr_shifts=[5], seeds=[0])
    >>> result = run(Task(activation=leaky_relu(3)), load_samples("digits"), grid)
    >>> [round(outcome.accuracy, 2) for outcome in result.cells.values()]
    [0.93, 0.93]
    """
    task.check(samples, grid)
    done: dict[Cell, Outcome] = {}
    with ExitStack() as stack:
        kept = None
        if store is not None:
            kept = stack.enter_context(Store(Path(store), task, samples))
            if fresh:
                kept.forget(grid)
            stored = kept.load(why)
            done = {cell: stored[cell] for cell in grid if cell in stored}
        left = [cell for cell in grid if cell not in done]
        # Cells of a seed and of a width share their inputs.
        left.sort(key=lambda cell: (cell.seed, cell.fraction or 0))
        if progress is not None:
            progress(len(done), len(grid))
        if dask is None:
            ended = side_by_side(_train, ((task, samples, cell, why) for cell in left), jobs)
        else:
            from .cluster import run_on_cluster

            ended = run_on_cluster(dask, task, samples, left, why)
        for cell, outcome in stack.enter_context(closing(ended)):
            done[cell] = outcome
            if kept is not None:
                kept.save(cell, outcome)
            if progress is not None:
                progress(len(done), len(grid))
    return Result(task, samples, grid, {cell: done[cell] for cell in grid})


def _train(task: Task, samples: Samples, cell: Cell, why: bool) -> tuple[Cell, Outcome]:
    """Train one cell, and return it with what that gave."""
    return cell, train_cell(task, samples, cell, why)
