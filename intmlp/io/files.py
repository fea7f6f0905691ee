"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it replaces `path` at the end.

    Where the body raises, `path` stays as it was and the temporary file is removed.

    Parameters
    ----------
    path : Path
        A file in an existing folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder, "grid.csv")) as temporary:
    ...         _ = temporary.write_text("a,b")
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['grid.csv']
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Raise where `folder` does not take files, or could not be made; nothing is left behind.

    Parameters
    ----------
    folder : Path
        It need not exist.

    Raises
    ------
    OSError
        Where it, or the nearest folder above it that exists, is no folder or takes no files.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    with tempfile.TemporaryFile(dir=nearest):
        pass
