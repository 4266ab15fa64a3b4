"""The design that ringbus replaced: each emit is an INSERT, and readers ask for newer rows.

Table and settings are those of `insert_per_emit.py`. A reader that found nothing sleeps for a
while; what it then finds is up to so much late, and what it asks for is processor time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from benchmarks.baselines.insert_per_emit import emitter, open_database
from benchmarks.processes import PATIENCE
from benchmarks.storing import disk
from benchmarks.transports import Emitter, Peer, Read, Shape, Transport

POLL_SECONDS = 0.01
SELECT = "SELECT id, payload_json FROM events WHERE id > ? ORDER BY id LIMIT 256"


@dataclass(frozen=True)
class TableTransport:
    path: Path

    def open_emitter(self, number: int) -> Emitter:
        insert = emitter(_connect(self.path))
        return Emitter(lambda payload: insert(payload.decode()))

    def open_reader(self, number: int) -> Read:
        db, at = _connect(self.path), 0

        def read() -> list[bytes]:
            nonlocal at
            deadline = time.monotonic() + PATIENCE
            while not (rows := db.execute(SELECT, (at,)).fetchall()):
                if time.monotonic() > deadline:
                    return []
                time.sleep(POLL_SECONDS)
            found = [(int(str(row_id)), str(payload)) for row_id, payload in rows]
            at = found[-1][0]
            return [payload.encode() for _, payload in found]

        return read


def _connect(path: Path) -> apsw.Connection:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(int(PATIENCE * 1000))
    return db


@contextmanager
def _open(_: Shape) -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(dir=disk(), prefix="ringbus-bench-") as folder:
        path = Path(folder, "events.sqlite")
        open_database(path).close()
        yield TableTransport(path)


PEERS = (Peer("INSERT and poll", _open, 8_000, can_emit_alone=True),)
