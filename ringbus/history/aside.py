"""A history that is damaged is put aside, so that a fresh one can be begun; nothing is deleted.

The fresh one goes on with the ids of the damaged one, as far as that can still be asked for its
epochs, and tells the events that are only there as a gap.

The log of a file that was replaced goes aside, too. SQLite cannot tell whose log it finds beside a
file: left there, its pages would come over those of the new one.
"""

from __future__ import annotations

import glob
import logging
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from ringbus.errors import HistoryError
from ringbus.history.schema import MAX_ID, ORIGINAL_EPOCH
from ringbus.history.writing import lose_unclean

_log = logging.getLogger(__name__)

_MAGIC = b"SQLite format 3\0"
_DAMAGED, _REPLACED = ".damaged-", ".replaced-"
_PARTS = ("-wal", "-shm")


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
    aside = _free_name(database, _DAMAGED)
    for suffix in (*_PARTS, ""):  # the log first: SQLite drops one that has no database
        part = _part(database, suffix)
        if part.exists():
            part.rename(_part(aside, suffix))
    return aside


def close_replaced(db: apsw.Connection, database: Path, log: tuple[int, int]) -> None:
    """Close a file that is no longer what its name leads to, and take its log away from there.

    What its log holds is put into it first, wherever it is now. `log` is the log's identity.
    """
    try:
        frames, applied = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.Error as error:
        _log.info("%s: no checkpoint of a file that was replaced: %s", database, error)
        frames, applied = 1, 0
    # Else SQLite removes what is at the log's name, and that may be the log of the new file.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.close()
    if not is_same_file(_part(database, _PARTS[0]), log):
        return
    aside = _free_name(database, _REPLACED)
    for suffix in _PARTS:
        if frames == applied:
            _part(database, suffix).unlink(missing_ok=True)
        else:
            _part(database, suffix).rename(_part(aside, suffix))


def is_same_file(path: Path, identity: tuple[int, int]) -> bool:
    """Whether the name still leads to that device and inode."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == identity


def _free_name(database: Path, label: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    number, name = 1, f"{database.name}{label}{stamp}"
    while any(_part(database.with_name(name), suffix).exists() for suffix in ("", *_PARTS)):
        number += 1
        name = f"{database.name}{label}{stamp}-{number}"
    return database.with_name(name)


def _part(database: Path, suffix: str) -> Path:
    return database.with_name(database.name + suffix)


def all_put_aside(database: Path) -> list[Path]:
    """Files that this one followed, the oldest first, and their logs."""
    found: list[Path] = []
    for label in (_DAMAGED, _REPLACED):
        found += sorted(database.parent.glob(glob.escape(database.name + label) + "*"))
    return found


def recall(db: apsw.Connection, database: Path, current: str) -> None:
    """Take over the epochs of the files put aside into a history that has none yet.

    Of `current`, the ring's, what the ring still holds can be stored again, under the same ids.
    """
    for path in all_put_aside(database):
        if not path.name.endswith(_PARTS):
            for epoch, base, following, clean in _epochs(path):
                kept = 0 if epoch == current else following
                db.execute("INSERT OR IGNORE INTO epochs VALUES (?, ?, 0, 0)", (epoch, base))
                db.execute(_RAISE, (kept, clean, epoch))
                if kept:
                    first = 1 if epoch == ORIGINAL_EPOCH else 0
                    db.execute(_ONLY_THERE, (epoch, first, kept - 1, kept - first))
    lose_unclean(db, current)


def _epochs(path: Path) -> list[tuple[Any, ...]]:
    """Those that the damaged file still tells."""
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            return db.execute(_EPOCHS, (MAX_ID,)).fetchall()
    except apsw.Error as error:
        _log.info("%s: its epochs cannot be read: %s", path, error)
        return []


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC))
    except OSError:
        return b""


_EPOCHS = """
SELECT epoch, base, next, clean FROM epochs
WHERE typeof(epoch) = 'text' AND typeof(base) = 'integer' AND typeof(next) = 'integer'
AND base >= 0 AND next BETWEEN 0 AND ? - base ORDER BY base
"""
_RAISE = "UPDATE epochs SET next = max(next, ?), clean = ? WHERE epoch = ?"
_ONLY_THERE = "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, 'store-unavailable')"
