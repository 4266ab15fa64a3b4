"""Rows that are in memory already, inserted by a loop in C: bind, step, reset (bind_step.c).

The same file, the same settings and the same transactions as `apsw_executemany`, without Python's
part of the work. What this does not do either is read a ring, and remember how far it came.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from benchmarks.baselines.apsw_executemany import ROWS_A_TRANSACTION, Row
from benchmarks.baselines.compiler import compile_library
from ringbus.history import schema

SOURCE = Path(__file__).with_suffix(".c")


class CRow(ctypes.Structure):
    """As `struct row` in bind_step.c."""

    _fields_ = (
        ("id", ctypes.c_int64),
        ("ts", ctypes.c_int64),
        ("ts_ns", ctypes.c_int64),
        ("start", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
    )


def prepare(rows: Sequence[Row]) -> Callable[[apsw.Connection], None]:
    """Lays the rows out for C and compiles the loop: both before the clock runs."""
    payloads = b"".join(row[3].encode() for row in rows)
    laid_out = (CRow * len(rows))()
    start = 0
    for number, (row_id, ts, _kind, payload, ts_ns) in enumerate(rows):
        length = len(payload.encode())
        laid_out[number] = CRow(row_id, ts, ts_ns, start, length)
        start += length
    folder = tempfile.TemporaryDirectory(prefix="ringbus-bench-")
    library = compile_library(SOURCE, Path(folder.name))

    def insert_rows(db: apsw.Connection) -> None:
        with folder:
            db.enable_load_extension(True)
            db.load_extension(str(library), "sqlite3_extension_init")
        where = (
            ctypes.addressof(laid_out),
            ctypes.cast(ctypes.c_char_p(payloads), ctypes.c_void_p).value,
        )
        for first in range(0, len(rows), ROWS_A_TRANSACTION):
            count = min(ROWS_A_TRANSACTION, len(rows) - first)
            with schema.transaction(db):
                db.execute("SELECT bind_step(?, ?, ?, ?)", (*where, first, count)).fetchall()

    return insert_rows
