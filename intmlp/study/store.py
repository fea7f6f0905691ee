"""Finished cells on disk: an SQLite file that takes each as it ends, and forgets none.

A row is keyed by the hash of everything that its numbers follow from: the task, the digest of
the samples, the versions of the package and of its arithmetic; and by its cell. So one file
serves many studies. In WAL mode a commit outlives the process however that ends, without a flush
of the disk for each, and several processes may write at a time.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import TYPE_CHECKING

from .._version import __version__, arithmetic_version
from ..nn import Observation
from .grid import Cell
from .task import Outcome, Task

if TYPE_CHECKING:
    from ..io.samples import Samples

# How long a write waits for another process, in seconds.
PATIENCE = 60.0

# "IMLP": what says that an SQLite file is a store.
APPLICATION = 0x494D4C50

# `fraction` is -1 where the variant has none: a key of SQLite takes no NULL for equal to another.
SCHEMA = """
CREATE TABLE written_by (version TEXT, arithmetic_version INTEGER);
CREATE TABLE studies (study TEXT PRIMARY KEY, configuration TEXT) WITHOUT ROWID;
CREATE TABLE cells (
    study TEXT, variant TEXT, fraction INTEGER, lr_shift INTEGER, seed INTEGER,
    accuracy REAL NOT NULL, steps INTEGER NOT NULL, diverged_at INTEGER, observed TEXT,
    PRIMARY KEY (study, variant, fraction, lr_shift, seed)
) WITHOUT ROWID;
"""


def configuration(task: Task, samples: Samples) -> str:
    """Return all that the numbers of a study's cells follow from, as JSON.

    Parameters
    ----------
    task : Task
    samples : Samples

    Returns
    -------
    str
    """
    return json.dumps(
        {
            "version": __version__,
            "arithmetic_version": arithmetic_version,
            "samples": samples.digest,
            "task": asdict(task),
        },
        sort_keys=True,
    )


class Store:
    """The cells of one study in an SQLite file; a context manager.

    Parameters
    ----------
    path : Path
        The file, in an existing folder; it is made where there is none.
    task : Task
    samples : Samples

    Raises
    ------
    OSError
        Where the file is damaged, is no store, comes from another version, or cannot be written.
        It is left as it is.
    """

    def __init__(self, path: Path, task: Task, samples: Samples) -> None:
        self.path = path
        text = configuration(task, samples)
        self._study = hashlib.sha256(text.encode()).hexdigest()
        with self._clear_errors():
            # Without an isolation level each statement is a transaction of its own.
            self._database = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
            try:
                self._open()
                self._database.execute(
                    "INSERT OR IGNORE INTO studies VALUES (?, ?)", (self._study, text)
                )
            except BaseException:
                self._database.close()
                raise

    def _open(self) -> None:
        """Make the tables of a new file; raise where an old one does not serve."""
        run = self._database.execute
        [[damage]] = run("PRAGMA quick_check(1)")
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        run("BEGIN IMMEDIATE")  # of several processes one makes the tables
        [[application]] = run("PRAGMA application_id")
        [[tables]] = run("SELECT count(*) FROM sqlite_master")
        if application == 0 and tables == 0:
            for statement in SCHEMA.split(";"):
                run(statement)
            run("INSERT INTO written_by VALUES (?, ?)", (__version__, arithmetic_version))
            run(f"PRAGMA application_id = {APPLICATION}")
        elif application != APPLICATION:
            raise OSError(f"{self.path} is an SQLite file, but no store of cells")
        [written_by] = run("SELECT version, arithmetic_version FROM written_by")
        run("COMMIT")
        if written_by != (__version__, arithmetic_version):
            raise OSError(
                "the store {} is from intmlp {} (arithmetic {}), and this is {} (arithmetic {}): "
                "name another folder, or move it away".format(
                    self.path, *written_by, __version__, arithmetic_version
                )
            )
        self._keep_a_log()
        run("PRAGMA synchronous = NORMAL")

    def _keep_a_log(self) -> None:
        """Set the WAL mode, for which SQLite itself does not wait while others use a new file."""
        give_up = monotonic() + PATIENCE
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or monotonic() > give_up:
                    raise
                sleep(0.01)

    def load(self, why: bool = False) -> dict[Cell, Outcome]:
        """Return all finished cells of the study.

        Parameters
        ----------
        why : bool
            Whether those count alone that were observed; else what was observed is left out.

        Returns
        -------
        dict of Cell to Outcome
        """
        with self._clear_errors():
            rows = self._database.execute(
                "SELECT variant, fraction, lr_shift, seed, accuracy, steps, diverged_at, "
                "CASE WHEN ?1 THEN observed END FROM cells "
                "WHERE study = ?2 AND (observed IS NOT NULL OR NOT ?1)",
                (why, self._study),
            )
            return {
                Cell(variant, None if fraction < 0 else fraction, *others): Outcome(
                    *outcome, observed and tuple(Observation(*row) for row in json.loads(observed))
                )
                for variant, fraction, *others, accuracy, steps, diverged_at, observed in rows
                for outcome in [(accuracy, steps, diverged_at)]
            }

    def save(self, cell: Cell, outcome: Outcome) -> None:
        """Store a finished cell, at once; what was observed of it before is kept.

        Parameters
        ----------
        cell : Cell
        outcome : Outcome
        """
        *numbers, observed = outcome
        rows = observed and json.dumps([astuple(row) for row in observed])
        with self._clear_errors():
            self._database.execute(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (study, variant, fraction, lr_shift, seed) DO UPDATE "
                "SET observed = excluded.observed WHERE excluded.observed IS NOT NULL",
                (self._study, *_key(cell), *numbers, rows),
            )

    def forget(self, cells: Iterable[Cell]) -> None:
        """Delete finished cells of the study.

        Parameters
        ----------
        cells : iterable of Cell
        """
        with self._clear_errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "DELETE FROM cells WHERE (study, variant, fraction, lr_shift, seed) "
                "= (?, ?, ?, ?, ?)",
                ((self._study, *_key(cell)) for cell in cells),
            )

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Raise an error of SQLite as one that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:  # a full disk, a folder that takes no files
            raise OSError(
                f"the store {self.path} cannot be used: {error}; what it holds is kept"
            ) from error
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"the store {self.path} is damaged ({' '.join(str(error).split())}): "
                "name another folder, or move it away"
            ) from error


def _key(cell: Cell) -> tuple[str, int, int, int]:
    return (cell.variant, -1 if cell.fraction is None else cell.fraction, cell.lr_shift, cell.seed)
