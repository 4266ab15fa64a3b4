"""Retention: the oldest rows go, in slices, once a history holds more than it should.

A deleted stretch stays known: one gap `retention` per epoch says from where to where and how
many records. Gaps that were inside it have become part of it.
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import apsw

from ringbus.errors import EventError
from ringbus.events import Note, decode
from ringbus.history.reading import Place, place_holding
from ringbus.settings import Retention

_log = logging.getLogger(__name__)

_DAY_NS = 86_400 * 10**9
_ROW_BYTES = 48
"""Bytes of a row besides its payload, with its entry in the index on `ts`."""


class Slice(NamedTuple):
    """The oldest rows that are to go: up to id `last`; `files` hold lines of theirs."""

    last: int | None
    files: list[Path]


def lines_folder(database: Path) -> Path:
    """The folder for lines too long for a record, beside the database that names them."""
    return database.with_suffix(".lines")


def database_bytes(db: apsw.Connection) -> int:
    """Bytes in use; pages that deleted rows left empty are used again and do not count."""
    pages = int(db.pragma("page_count")) - int(db.pragma("freelist_count"))
    return pages * int(db.pragma("page_size"))


def lines_bytes(folder: Path) -> int:
    """Bytes of all files of lines. They may come and go meanwhile."""
    total = 0
    try:
        for path in folder.iterdir():
            total += _file_bytes(path)
    except FileNotFoundError:
        return total
    return total


def choose(
    db: apsw.Connection,
    retention: Retention,
    *,
    now_ns: int,
    budget_rows: int,
    rows: int,
    folder: Path,
) -> Slice:
    """Which of the `budget_rows` oldest of all `rows` exceed a limit."""
    rows_over = rows - retention.rows
    bytes_over = database_bytes(db) + lines_bytes(folder) - retention.bytes
    expiry_ns = now_ns - int(retention.days * _DAY_NS)
    last: int | None = None
    files: list[Path] = []
    sure = 0
    with closing(db.execute(_OLDEST, (budget_rows,))) as oldest:
        for seen, (row_id, ts_ns, size, note) in enumerate(oldest):
            file = None if note is None else _line_file(note, folder)
            if file is not None:
                files.append(file)
            if seen < rows_over or bytes_over > 0 or ts_ns < expiry_ns:
                last, sure = row_id, len(files)
                bytes_over -= size + _ROW_BYTES + (0 if file is None else _file_bytes(file))
            elif ts_ns <= now_ns:
                break
            # A row from the future tells no age; it goes when a row after it is found expired.
    return Slice(last, files[:sure])


def delete(db: apsw.Connection, last: int) -> int:
    """Delete the rows up to id `last` and record the gaps. Returns how many rows went."""
    first = db.execute("SELECT min(id) FROM events").get
    place = place_holding(db, first) or place_holding(db, last)
    while place is not None and place.base <= last:
        _record(db, place, last)
        place = place_holding(db, place.end) if place.end <= last else None
    db.execute("DELETE FROM events WHERE id <= ?", (last,))
    return db.changes()


def remove(files: list[Path]) -> None:
    """Remove the files of deleted rows. One that will not go is logged, and stays."""
    for path in files:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("cannot remove %s, whose event is deleted: %s", path, error)


def _record(db: apsw.Connection, place: Place, last: int) -> None:
    """Make what is about to be deleted of one epoch part of its gap."""
    low, high, count = db.execute(
        "SELECT min(id), max(id), count(*) FROM events WHERE id BETWEEN ? AND ?",
        (place.base, min(place.end - 1, last)),
    ).get
    if count == 0:
        return
    start, to = low - place.base, high - place.base
    known = db.execute(
        "SELECT min(\"from\") FROM gaps WHERE epoch = ? AND reason = 'retention'", (place.epoch,)
    ).get
    start = start if known is None else min(start, known)
    inside = (place.epoch, start, to)
    missed = count + db.execute(_MISSED + _INSIDE, inside).get
    db.execute(_SWALLOW + _INSIDE, inside)
    db.execute(
        "INSERT INTO gaps VALUES (?, ?, ?, ?, 'retention')", (place.epoch, start, to, missed)
    )


def _line_file(payload: bytes, folder: Path) -> Path | None:
    """The file of a note's line, if it lies in the folder for them: no other is ours to remove."""
    try:
        event = decode(payload)
    except EventError:
        return None
    if not isinstance(event, Note) or not event.file or "\0" in event.file:
        return None
    path = folder.parent / event.file
    try:
        inside = path.parent.resolve() == folder.resolve()
    except (OSError, RuntimeError):
        return None
    return path if inside and path.name not in ("", "..") else None


def _file_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:  # gone meanwhile, or a name that no file can have
        return 0


_OLDEST = """
SELECT id, ts_ns, octet_length(payload_json),
       CASE WHEN kind = 'note' AND instr(payload_json, '"file":')
            THEN CAST(payload_json AS BLOB) END
FROM events ORDER BY id LIMIT ?
"""
_SWALLOW = "DELETE FROM gaps "
_MISSED = 'SELECT coalesce(sum(coalesce(missed, "to" - "from" + 1)), 0) FROM gaps '
_INSIDE = 'WHERE epoch = ? AND "from" >= ? AND "to" <= ?'
