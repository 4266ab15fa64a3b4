"""The design that ringbus replaced: each emit is an INSERT, committed by the emitter itself.

The file has the original program's table and SQLite's own settings, but for the write-ahead log.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import apsw

CREATE = """
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ts INTEGER NOT NULL,
    kind TEXT NOT NULL,
    payload_json TEXT NOT NULL
)
"""
INSERT = "INSERT INTO events(ts, kind, payload_json) VALUES (?, ?, ?)"


def open_database(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "wal")
    db.execute(CREATE)
    return db


def emitter(db: apsw.Connection) -> Callable[[str], object]:
    """What stores one event, and returns when it is committed."""
    return lambda payload: db.execute(INSERT, (int(time.time()), "stream", payload))
