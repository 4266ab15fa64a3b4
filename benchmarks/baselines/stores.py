"""What people use to keep events: SQLite by two drivers, and queues that live in it.

Each stores an event in the emitter's own process. `sqlite3` and `apsw` get the original's table and
the write-ahead log, once with a commit for each event and once with one for a thousand; the others
are as they come out of the box.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.baselines.insert_per_emit import CREATE, INSERT, emitter, open_database
from benchmarks.transports import needs

BATCH = 1000
COUNT = "SELECT (SELECT count(*) FROM events), payload_json FROM events ORDER BY id DESC LIMIT 1"


@dataclass(frozen=True)
class Store:
    """`open` gives a store for the time of a run, as a context manager of `Opened`."""

    name: str
    open: Callable[[Path], Any]
    lack: Callable[[], str] = str


@dataclass(frozen=True)
class Opened:
    """What stores an event, what ends a batch, and what is in it: how many, and the newest."""

    put: Callable[[str], object]
    end: Callable[[], object]
    holds: Callable[[], tuple[int, str]]


def _nothing() -> None:
    """Each event was committed by itself."""


@contextmanager
def _apsw(path: Path) -> Iterator[Opened]:
    with closing(open_database(path)) as db:
        yield Opened(emitter(db), _nothing, lambda: _told(db.execute(COUNT).fetchall()))


@contextmanager
def _apsw_batched(path: Path) -> Iterator[Opened]:
    with closing(open_database(path)) as db:

        def write(rows: list[tuple[int, str, str]]) -> None:
            with db:
                db.executemany(INSERT, rows)

        yield _batched(write, lambda: _told(db.execute(COUNT).fetchall()))


def _open_sqlite3(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = wal")
    db.execute(CREATE)
    return db


@contextmanager
def _sqlite3(path: Path) -> Iterator[Opened]:
    with closing(_open_sqlite3(path)) as db:

        def put(payload: str) -> None:
            db.execute(INSERT, (int(time.time()), "stream", payload))
            db.commit()

        yield Opened(put, _nothing, lambda: _told(db.execute(COUNT).fetchall()))


@contextmanager
def _sqlite3_batched(path: Path) -> Iterator[Opened]:
    with closing(_open_sqlite3(path)) as db:

        def write(rows: list[tuple[int, str, str]]) -> None:
            with db:
                db.executemany(INSERT, rows)

        yield _batched(write, lambda: _told(db.execute(COUNT).fetchall()))


def _batched(
    write: Callable[[list[tuple[int, str, str]]], None], holds: Callable[[], tuple[int, str]]
) -> Opened:
    rows: list[tuple[int, str, str]] = []

    def put(payload: str) -> None:
        rows.append((int(time.time()), "stream", payload))
        if len(rows) == BATCH:
            end()

    def end() -> None:
        write(rows)
        rows.clear()

    return Opened(put, end, holds)


def _told(rows: list[Any]) -> tuple[int, str]:
    ((count, payload),) = rows
    return int(count), str(payload)


@contextmanager
def _persist_queue(path: Path) -> Iterator[Opened]:
    persistqueue: Any = import_module("persistqueue")
    with closing(persistqueue.SQLiteQueue(str(path))) as queue:

        def holds() -> tuple[int, str]:
            items = queue.queue()
            return len(items), items[-1]["data"] if isinstance(items[-1], dict) else items[-1]

        yield Opened(queue.put, _nothing, holds)


@contextmanager
def _litequeue(path: Path) -> Iterator[Opened]:
    litequeue: Any = import_module("litequeue")
    queue = litequeue.LiteQueue(str(path))

    def holds() -> tuple[int, str]:
        count, last = queue.qsize(), None
        for _ in range(count):
            last = queue.pop()
        return count, last.data if last else ""

    yield Opened(queue.put, _nothing, holds)
    queue.close()


@contextmanager
def _diskcache(path: Path) -> Iterator[Opened]:
    diskcache: Any = import_module("diskcache")
    deque = diskcache.Deque(directory=str(path))
    yield Opened(deque.append, _nothing, lambda: (len(deque), deque[-1]))
    deque.cache.close()


ORIGINAL = Store("apsw, a commit for each", _apsw)
STORES = (
    ORIGINAL,
    Store(f"apsw, a commit for {BATCH:,}", _apsw_batched),
    Store("sqlite3, a commit for each", _sqlite3),
    Store(f"sqlite3, a commit for {BATCH:,}", _sqlite3_batched),
    Store("persist-queue", _persist_queue, needs("persistqueue")),
    Store("litequeue", _litequeue, needs("litequeue")),
    Store("diskcache", _diskcache, needs("diskcache")),
)
