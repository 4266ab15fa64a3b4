"""The compiled module as an extension of SQLite: rings and batches as tables (csrc/table.c)."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import apsw

from ringbus import _core
from ringbus._native import lib
from ringbus.errors import HistoryError


def load(db: apsw.Connection) -> bool:
    """Give the connection the tables `ringbus(NAME)` and `ringbus_batch(ADDRESS)`.

    False where that is not possible: the module was built without SQLite's headers, or this
    apsw loads no extensions.
    """
    if not lib.rb_has_table() or not hasattr(db, "enable_load_extension"):
        return False
    db.enable_load_extension(True)
    try:
        db.load_extension(_core.__file__, "sqlite3_extension_init")
    finally:
        db.enable_load_extension(False)
    return True


def open_both(ring: str, database: Path) -> apsw.Connection:
    """A connection on which `ring` is what the ring holds now, and `events` what is stored.

    Nothing can be changed through it. `events` is there only if the history is.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    db = apsw.Connection(":memory:", flags=flags)
    if not load(db):
        raise HistoryError(
            "SQLite cannot load the ring as a table here: this ringbus was built without "
            "SQLite's headers (on Debian: apt install libsqlite3-dev, then install it again)"
        )
    view = f"CREATE VIEW ring AS SELECT * FROM ringbus({apsw.format_sql_value(ring)})"  # noqa: S608
    db.execute(view)
    if database.exists():
        place = f"file:{urllib.parse.quote(str(database))}?mode=ro"
        db.execute("ATTACH ? AS history", (place,))
    db.pragma("query_only", True)
    return db
