"""A history that is damaged is put aside, so that a fresh one can be begun; nothing is deleted."""

from __future__ import annotations

import time
from pathlib import Path

import apsw

from ringbus.errors import HistoryError

_MAGIC = b"SQLite format 3\0"


def is_damaged(database: Path, error: Exception) -> bool:
    """Whether the error says that no SQLite can use the file, which is or was a history.

    A file of another kind that a setting names by mistake is left alone.
    """
    cause = error.__cause__
    if not isinstance(error, HistoryError):
        return False
    if isinstance(cause, apsw.NotADBError):
        return database.suffix == ".sqlite" or _head(database) == _MAGIC
    return isinstance(cause, apsw.CorruptError)


def put_aside(database: Path) -> Path:
    """Rename the file and its log; the new name, `<database>.damaged-<UTC time>`."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    number, aside = 1, database.with_name(f"{database.name}.damaged-{stamp}")
    while aside.exists():
        number += 1
        aside = database.with_name(f"{database.name}.damaged-{stamp}-{number}")
    for suffix in ("-wal", "-shm", ""):
        part = database.with_name(database.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC))
    except OSError:
        return b""
