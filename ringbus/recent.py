"""The newest events of an agent: what history holds, and behind it what only the ring holds yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

from ringbus._native import Record
from ringbus.errors import HistoryError, Lapped, RingUnlinked
from ringbus.events import Envelope, Position, record_payload
from ringbus.history import History
from ringbus.ring import Ring

BATCH = 500


def envelope_of(epoch: str, record: Record) -> Envelope:
    """The event that a record of an agent's ring is; bytes that are no event become a note."""
    payload = record_payload(record.kind, record.payload)
    return Envelope(epoch, record.seq, record.ts_ns, payload, record.transient)


def is_there(database: Path) -> bool:
    """Whether there is such a file, or may be: in a folder that this user may not look into."""
    try:
        database.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def open_history(database: Path, agent: str, warn: Callable[[str], None]) -> History | None:
    """The history to read, None while there is none or it cannot be opened."""
    try:
        return History.open(database, agent) if is_there(database) else None
    except HistoryError as error:
        warn(str(error))
        return None


def is_known(history: History | None, ring: Ring | None, position: Position) -> bool:
    """Whether there is, or was, such a record."""
    epoch, seq = position
    if ring is not None and ring.epoch == epoch:
        return seq < ring.tail
    return history is not None and history.next_seq(epoch) is not None


def end_of(history: History | None, ring: Ring | None) -> Position | None:
    """The position after the newest record; None if there never was one."""
    if ring is not None:
        return ring.epoch, ring.tail
    epoch = None if history is None else history.newest_epoch()
    if history is None or epoch is None:
        return None
    return epoch, history.next_seq(epoch) or 0


def recent(
    history: History | None, ring: Ring | None, limit: int, before: Position | None = None
) -> list[Envelope]:
    """The newest `limit` events before a position, or of all, oldest first; no transient ones."""
    if ring is None:
        return _stored(history, before, limit)
    if before is not None and before[0] != ring.epoch:
        return _stored(history, before, limit)
    end = ring.tail if before is None else before[1]
    stored, unstored = _only_in_ring(history, ring, end, limit)
    return _stored(history, (ring.epoch, min(stored, end)), limit - len(unstored)) + unstored


def _stored(history: History | None, before: Position | None, limit: int) -> list[Envelope]:
    if history is None or limit < 1:
        return []
    try:
        return history.page(before, limit)
    except KeyError:
        return history.page(None, limit)  # an epoch without a row yet is the newest


def _only_in_ring(
    history: History | None, ring: Ring, end: int, limit: int
) -> tuple[int, list[Envelope]]:
    """How far history goes in the ring's epoch, and the events from there to `end`."""
    while True:
        stored = _next_seq(history, ring)
        found: deque[Envelope] = deque(maxlen=max(limit, 0))
        try:
            is_whole = _read_ring(ring, stored, end, found)
        except RingUnlinked:
            return stored, list(found)
        # Overtaken by the ring: what it lost has been stored meanwhile, or is lost.
        if is_whole or _next_seq(history, ring) == stored:
            return stored, list(found)


def _read_ring(ring: Ring, start: int, end: int, found: deque[Envelope]) -> bool:
    """Add the events from `start` to `end`; whether the ring still held them all."""
    with ring.subscribe(start) as subscriber:
        at = subscriber.cursor
        is_whole = at == start
        # Not the cursor: that is past a loss before it is told.
        while at < end:
            try:
                records = subscriber.read(BATCH, 0)
            except Lapped as lapped:
                is_whole, at = False, lapped.next_seq
                continue
            if not records:
                break
            at = records[-1].seq + 1
            found.extend(
                envelope_of(ring.epoch, record)
                for record in records
                if not record.transient and record.seq < end
            )
    return is_whole


def _next_seq(history: History | None, ring: Ring) -> int:
    return (history.next_seq(ring.epoch) or 0) if history is not None else 0
