"""Writing a history: epochs get their ids, records become rows. Its callers keep transactions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

import apsw

from ringbus.errors import HistoryError
from ringbus.events import KINDS, Gap, record_payload
from ringbus.history.reading import find_place
from ringbus.history.schema import MAX_ID, ORIGINAL_EPOCH
from ringbus.ring.batch import Batch

Row: TypeAlias = tuple[int, int, int, bytes]
"""seq, wall clock in ns since 1970, kind code, payload."""


def check_epoch(epoch: str) -> None:
    """Raise `ValueError` for what cannot be the epoch of a ring."""
    if re.fullmatch("[0-9a-f]{16}", epoch) is None:
        raise ValueError(f"not an epoch: {epoch[:100]!r}; it is 16 lower-case hex digits")
    if epoch == ORIGINAL_EPOCH:
        raise ValueError(f"epoch {epoch} is kept for the rows of the original program")


def begin(db: apsw.Connection, epoch: str) -> int:
    """Open `epoch` anew, or give it a base and the earlier unclean ones their gap. Its next."""
    place = find_place(db, epoch)
    if place is not None:
        db.execute(_REOPEN, (epoch,))
        return place.next
    lose_unclean(db, epoch)
    db.execute(_NEW_EPOCH, (epoch,))
    return 0


def lose_unclean(db: apsw.Connection, current: str) -> None:
    """Give all epochs but `current` that did not end cleanly their gap, once."""
    db.execute(_LOSE_UNCLEAN, (current,))


def store(db: apsw.Connection, epoch: str, rows: Sequence[Row]) -> int:
    """Insert what is not stored yet; how many rows that was."""
    before = db.total_changes()
    base = _base_for(db, epoch, max((row[0] + 1 for row in rows), default=0))
    whole = len(rows) - len(rows) % _GROUP
    for start in range(0, whole, _GROUP):
        bindings: list[int | str] = []
        for row in rows[start : start + _GROUP]:
            bindings += _bindings(base, *row)
        db.execute(_INSERT_GROUP, bindings)
    db.executemany(_INSERT_ONE, (_bindings(base, *row) for row in rows[whole:]))
    return db.total_changes() - before


def store_batch(db: apsw.Connection, epoch: str, batch: Batch) -> int:
    """The same for the events of a batch, which pass through no Python object."""
    before = db.total_changes()
    base = _base_for(db, epoch, batch.next_seq)
    if _is_next(db, base, batch):
        db.execute(_APPEND_BATCH, (batch.address,))
    else:
        db.execute(_INSERT_BATCH, (base, batch.address))
    return db.total_changes() - before


def _is_next(db: apsw.Connection, base: int, batch: Batch) -> bool:
    """Whether the rows get the very ids that SQLite would give out by itself."""
    first_seq = batch.next_seq - len(batch)
    return not batch.transient and bool(db.execute(_NEXT_ID).get == base + first_seq)


def advance(db: apsw.Connection, epoch: str, next_seq: int) -> None:
    """All below `next_seq` was dealt with; it never goes back."""
    db.execute("UPDATE epochs SET next = max(next, ?) WHERE epoch = ?", (next_seq, epoch))


def record_gaps(db: apsw.Connection, gaps: Sequence[Gap]) -> None:
    """Store gaps; one told again replaces what was told before."""
    db.executemany(
        "INSERT OR REPLACE INTO gaps VALUES (?, ?, ?, ?, ?)",
        ((gap.epoch, gap.from_, gap.to, gap.missed, gap.reason) for gap in gaps),
    )


def _base_for(db: apsw.Connection, epoch: str, next_seq: int) -> int:
    place = find_place(db, epoch)
    if place is None:
        raise HistoryError(f"{db.filename}: epoch {epoch} was not begun; call begin_epoch()")
    if place.base + next_seq > place.end:
        raise HistoryError(
            f"{db.filename}: a later ring has taken the ids after epoch {epoch}; "
            "remove this ring, the next one gets an epoch of its own"
        )
    return place.base


def _bindings(
    base: int, seq: int, ts_ns: int, kind_code: int, payload: bytes
) -> tuple[int, int, str, str, int]:
    if ts_ns > MAX_ID:  # a clock before 1970, as an unsigned number
        ts_ns -= 1 << 64
    stored = record_payload(kind_code, payload)
    try:
        text = stored.decode()
    except UnicodeDecodeError:
        stored = record_payload(0, payload)
        text = stored.decode()
    kind = KINDS[kind_code - 1] if stored is payload else "note"
    return base + seq, max(ts_ns, 0) // 10**9, kind, text, ts_ns


# Beyond this many rows a statement they get no cheaper.
_GROUP = 100
_INSERT = "INSERT OR IGNORE INTO events(id, ts, kind, payload_json, ts_ns) VALUES "
_INSERT_ONE = _INSERT + "(?, ?, ?, ?, ?)"
_INSERT_GROUP = _INSERT + ", ".join(["(?, ?, ?, ?, ?)"] * _GROUP)
_INSERT_BATCH = """
INSERT OR IGNORE INTO events(id, ts, kind, payload_json, ts_ns)
SELECT ? + seq, ts, kind, payload_json, ts_ns FROM ringbus_batch(?)
"""

# A tenth less work: SQLite looks for the place of every id that it is given. And it keeps no way
# back to before the statement where a failure undoes the whole transaction.
_APPEND_BATCH = """
INSERT OR ROLLBACK INTO events(ts, kind, payload_json, ts_ns)
SELECT ts, kind, payload_json, ts_ns FROM ringbus_batch(?)
"""
_NEXT_ID = "SELECT coalesce(max(id), 0) + 1 FROM events"

# The newest alone can go on: the ids after the others are taken.
_REOPEN = """
UPDATE epochs SET clean = 0 WHERE epoch = ? AND base = (SELECT max(base) FROM epochs)
"""
_LOSE_UNCLEAN = """
INSERT INTO gaps SELECT epoch, next, NULL, NULL, 'ring-lost' FROM epochs AS lost
WHERE NOT clean AND epoch <> ?
AND NOT EXISTS (SELECT 1 FROM gaps WHERE epoch = lost.epoch AND reason = 'ring-lost')
"""
_NEW_EPOCH = """
INSERT INTO epochs(epoch, base, next, clean) SELECT ?, max(
    1,
    coalesce((SELECT max(id) FROM events), 0) + 1,
    coalesce((SELECT max(base + max(next, 1)) FROM epochs), 0)
), 0, 0
"""
