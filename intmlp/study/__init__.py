"""Studies of how few bits training needs; needs the extra ``study``.

`run` trains the cells of a `Grid` as a `Task` says, and gives a `Result`. The module `answer`
finds the lowest widths and the verdict in its table, `plots` draws it, `report` writes it down;
`mnist2017` has the published grid.
"""

from ..io.samples import Samples, load_samples, samples_of
from .grid import VARIANTS, Cell, Grid
from .result import Result
from .run import run
from .task import Outcome, Task
from .training import train_cell

__all__ = [
    "VARIANTS",
    "Cell",
    "Grid",
    "Outcome",
    "Result",
    "Samples",
    "Task",
    "load_samples",
    "run",
    "samples_of",
    "train_cell",
]
