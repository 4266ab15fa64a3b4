"""What the tests of the history share: rows to store, and how to look at what was stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from ringbus.events import Envelope, Gap, Note, encode
from ringbus.history import History
from ringbus.settings import Retention

A, B, C = "a" * 16, "b" * 16, "c" * 16
ORIGINAL = "0" * 16
T0 = 1_763_790_000_123_456_789
SECOND = 10**9
DAY = 86_400 * SECOND
EVERYTHING = Retention(rows=10**9, days=10**4, bytes=10**12)

Open = Callable[..., History]
Row = tuple[int, int, int, bytes]


def note(seq: int, text: str | None = None, ts_ns: int | None = None) -> Row:
    """A row of a note; by itself one a second, its text its seq."""
    kind, payload = encode(Note(str(seq) if text is None else text))
    return seq, T0 + seq * SECOND if ts_ns is None else ts_ns, kind, payload


def notes(first: int, end: int) -> list[Row]:
    return [note(seq) for seq in range(first, end)]


def places(items: list[Envelope | Gap] | list[Envelope]) -> list[tuple[str, int]]:
    return [(item.epoch, item.seq) for item in items if isinstance(item, Envelope)]


def fill(history: History, epoch: str, count: int) -> None:
    history.begin_epoch(epoch)
    history.append(epoch, notes(0, count), count)


def sql(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What another SQLite program gets. Not `sqlite3`: that is a second copy of the library."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def sweep_all(history: History, retention: Retention, now_ns: int = T0, budget: int = 100) -> int:
    total = 0
    while deleted := history.sweep(retention, now_ns, budget):
        assert deleted <= budget
        total += deleted
    return total
