"""`executemany()` of rows that are in memory already, in transactions of a thousand.

The file is the persister's own: its schema, its index, its settings. What this does not do is
read a ring, and remember how far it came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw

from ringbus.history import schema

Row = tuple[int, int, str, str, int]

ROWS_A_TRANSACTION = 1000
INSERT = "INSERT INTO events(id, ts, kind, payload_json, ts_ns) VALUES (?, ?, ?, ?, ?)"


def prepare(rows: Sequence[Row]) -> Callable[[apsw.Connection], None]:
    """What inserts the rows into a history; it returns when the last transaction is committed."""

    def insert_rows(db: apsw.Connection) -> None:
        for start in range(0, len(rows), ROWS_A_TRANSACTION):
            with schema.transaction(db):
                db.executemany(INSERT, rows[start : start + ROWS_A_TRANSACTION])

    return insert_rows
