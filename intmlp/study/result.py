"""What a study found: its table, and the forms that it converts to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.files import atomic
from ..nn import Observation
from .grid import VARIANTS, Cell, Grid
from .task import Outcome, Task
from .training import smoothed

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..io.samples import Samples

OUTCOME = ("accuracy", "steps", "diverged_at")
COLUMNS = (
    "variant",
    "forward",
    "backward",
    "update",
    "fraction",
    "lr_shift",
    "seed",
    *OUTCOME,
)
CAUSES = (*Cell._fields, *(field.name for field in fields(Observation)), "mean_step", "mean_error")


@dataclass(frozen=True, eq=False)
class Result:
    """All cells of a study.

    Attributes
    ----------
    task : Task
    samples : Samples
    grid : Grid
    cells : mapping of Cell to Outcome
        In the order of the grid.

    Examples
    --------
    >>> from intmlp import leaky_relu
    >>> from intmlp.study import load_samples, run
    >>> grid = Grid(["fixed"], fractions=[4, 8], lr_shifts=[5], seeds=[0])
    >>> result = run(Task(activation=leaky_relu(3)), load_samples("digits"), grid)
    >>> result.to_dataframe()[["variant", "fraction", "lr_shift", "accuracy"]].round(2)
      variant  fraction  lr_shift  accuracy
    0   fixed         4         5      0.11
    1   fixed         8         5      0.93
    """

    task: Task
    samples: Samples
    grid: Grid
    cells: Mapping[Cell, Outcome]

    @property
    def chance(self) -> float:
        """The accuracy of the best constant output.

        That is the share of the most frequent class; where the order of the training samples is
        known, in the window that the online accuracy spans. On samples sorted by label it is 1.
        """
        task, labels = self.task, self.samples.labels
        train, test = task.split(self.samples)
        if task.accuracy == "test" or task.order == "shuffled":
            judged = labels[test if task.accuracy == "test" else train]
            return int(np.bincount(judged).max()) / len(judged)
        is_class = labels[train][:, None] == np.arange(len(self.samples.classes))
        steps = np.arange(0, len(train), task.batch_size)
        right = np.tile(np.add.reduceat(is_class, steps, dtype=np.int32), (task.epochs, 1))
        best = max(smoothed(r, len(train), task.batch_size, task.window) for r in right.T)
        return min(best, 1.0)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the result table, as Python values in the order of `COLUMNS`."""
        for cell, outcome in self.cells.items():
            parts = asdict(VARIANTS[cell.variant]).values()
            yield (cell.variant, *parts, *cell[1:], *outcome[:3])

    def causes(self) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of the causes table, as Python values in the order of `CAUSES`.

        Raises
        ------
        ValueError
            Where the study was not asked why.
        """
        for cell, outcome in self.cells.items():
            if outcome.observed is None:
                raise ValueError("the cells must have been observed: run the study with why=True")
            for row in outcome.observed:
                means = (None if isnan(mean) else mean for mean in (row.mean_step, row.mean_error))
                yield (*cell, *astuple(row), *means)

    def to_dataframe(self) -> pd.DataFrame:
        """Return the result table.

        Returns
        -------
        DataFrame
            With the columns `COLUMNS`, a row per cell. ``fraction`` is missing for the variant
            "float", ``diverged_at`` where a cell did not diverge.
        """
        import pandas as pd

        table = pd.DataFrame(list(self.rows()), columns=list(COLUMNS))
        return table.astype(
            {
                "fraction": "Int64",
                "lr_shift": "int64",
                "seed": "int64",
                "accuracy": "float64",
                "steps": "int64",
                "diverged_at": "Int64",
            }
        )

    def causes_to_dataframe(self) -> pd.DataFrame:
        """Return the causes table.

        Returns
        -------
        DataFrame
            With the columns `CAUSES`, a row per cell, layer and tensor; ``step_sum`` and
            ``error_sum``, which no integer of 64 bits holds, are Python integers.
        """
        import pandas as pd

        table = pd.DataFrame(list(self.causes()), columns=list(CAUSES))
        return table.astype({"fraction": "Int64", "step_sum": object, "error_sum": object})

    def to_xarray(self) -> xr.Dataset:
        """Return the result table as arrays over its axes.

        Returns
        -------
        Dataset
            ``accuracy``, ``steps`` and ``diverged_at`` over the dimensions ``variant``,
            ``fraction``, ``lr_shift`` and ``seed``; NaN where there is no such cell, and for
            ``diverged_at`` where it did not diverge. The variant "float", which depends on no
            width, has the same values at all of them.
        """
        import xarray as xr

        ranges = [self.grid.ranges(variant) for variant in self.grid.variants]
        fractions = sorted({f for fs, _ in ranges for f in fs if f is not None})
        coordinates: dict[str, Any] = {
            "variant": list(self.grid.variants),
            "fraction": fractions or list(self.grid.fractions),
            "lr_shift": sorted({shift for _, shifts in ranges for shift in shifts}),
            "seed": list(self.grid.seeds),
        }
        places = {
            name: {value: i for i, value in enumerate(values)}
            for name, values in coordinates.items()
        }
        arrays = {
            name: np.full([len(values) for values in coordinates.values()], np.nan)
            for name in OUTCOME
        }
        for cell, outcome in self.cells.items():
            fraction = places["fraction"].get(cell.fraction, slice(None))
            place = (
                places["variant"][cell.variant],
                fraction,
                places["lr_shift"][cell.lr_shift],
                places["seed"][cell.seed],
            )
            for name, value in zip(OUTCOME, outcome, strict=False):
                arrays[name][place] = np.nan if value is None else value
        return xr.Dataset(
            {name: (list(coordinates), array) for name, array in arrays.items()}, coordinates
        )

    def write_csv(self, path: Path) -> None:
        """Write the result table as CSV, a row per cell, with every digit of the accuracy.

        Parameters
        ----------
        path : Path
            The file; it is replaced as a whole.
        """
        _write_csv(path, COLUMNS, self.rows())

    def write_causes(self, path: Path) -> None:
        """Write the causes table as CSV, a row per cell, layer and tensor.

        Parameters
        ----------
        path : Path
            The file; it is replaced as a whole.
        """
        _write_csv(path, CAUSES, self.causes())

    def write_parquet(self, path: Path) -> None:
        """Write the result table as Parquet.

        Parameters
        ----------
        path : Path
            The file; it is replaced as a whole.
        """
        with atomic(path) as temporary:
            self.to_dataframe().to_parquet(temporary, engine="pyarrow", index=False)


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write a table as CSV: floats with every digit, what is missing as nothing."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
