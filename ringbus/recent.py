"""The newest events of an agent: what history holds, and behind it what only the ring holds yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ringbus._native import Record
from ringbus.choice import ALL, Choice
from ringbus.errors import HistoryError, Lapped, RingUnlinked
from ringbus.events import Envelope, Position, record_payload
from ringbus.history import History
from ringbus.ring import Ring

BATCH = 500
FIRST_PART = 100  # events; as many as fit come after them
PART_BYTES = 8 << 20


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


def start_of(
    history: History | None, ring: Ring | None, last: int, choice: Choice
) -> Position | None:
    """Where the newest `last` events begin; the end if there are none."""
    start = end_of(history, ring)
    for part in in_parts(history, ring, last, choice=choice):
        start = part[0].epoch, part[0].seq
    return start


def in_parts(
    history: History | None,
    ring: Ring | None,
    limit: int,
    before: Position | None = None,
    *,
    after: Position | None = None,
    choice: Choice = ALL,
) -> Iterator[list[Envelope]]:
    """What `recent()` gives, piece by piece from that end on where it begins.

    The pieces are of some MiB: lines may be so long that all of them together fill the memory.
    """
    is_onward = after is not None and before is None
    step = FIRST_PART
    while limit > 0:
        wanted = min(step, limit)
        part = recent(history, ring, wanted, before, after=after, choice=choice)
        if part:
            yield part
        if len(part) < wanted:
            return
        limit -= len(part)
        if is_onward:
            after = part[-1].epoch, part[-1].seq
        else:
            before = part[0].epoch, part[0].seq
        step = max(1, PART_BYTES * len(part) // (bytes_of(part) + 1))


def bytes_of(events: Iterable[Envelope]) -> int:
    """What their payloads take."""
    return sum(len(envelope.payload) for envelope in events)


def recent(
    history: History | None,
    ring: Ring | None,
    limit: int,
    before: Position | None = None,
    *,
    after: Position | None = None,
    choice: Choice = ALL,
) -> list[Envelope]:
    """The newest `limit` events before a position, or of all, oldest first; no transient ones.

    With `after` only what follows that position; with `after` alone the oldest of that. Both
    positions must be known to the history or the ring.
    """
    if ring is None or (before is not None and before[0] != ring.epoch):
        return _stored(history, _Part(limit, before, after, choice))
    is_onward = after is not None and before is None
    begin = after[1] + 1 if after is not None and after[0] == ring.epoch else 0
    end = ring.tail if before is None else before[1]
    found = _Found(choice, limit, is_onward)
    stored = _only_in_ring(history, ring, begin, end, found)
    if is_onward:
        rows = _stored(history, _Part(limit, None, after, choice))
        # What was stored since we read the ring is in both.
        rows = [row for row in rows if row.epoch != ring.epoch or row.seq < stored]
        return [*rows, *found.events][:limit]
    cut = (ring.epoch, min(stored, end))
    return _stored(history, _Part(limit - len(found.events), cut, after, choice)) + list(
        found.events
    )


class _Part(NamedTuple):
    """Which rows of a history."""

    limit: int
    before: Position | None
    after: Position | None
    choice: Choice


class _Found:
    """Keeps the newest of what it is given or, `is_onward`, the oldest."""

    def __init__(self, choice: Choice, limit: int, is_onward: bool) -> None:
        self.events: deque[Envelope] = deque(maxlen=None if is_onward else max(limit, 0))
        self._choice = choice
        self._limit = limit
        self._is_onward = is_onward

    @property
    def is_enough(self) -> bool:
        return self._is_onward and len(self.events) >= self._limit

    def add(self, envelope: Envelope) -> None:
        if self._choice.takes(envelope):
            self.events.append(envelope)


def _stored(history: History | None, part: _Part) -> list[Envelope]:
    if history is None or part.limit < 1:
        return []
    limit, before, after, choice = part
    # The ring's epoch is the newest: one that has no row yet comes after all rows.
    if after is not None and history.next_seq(after[0]) is None:
        return []
    if before is not None and history.next_seq(before[0]) is None:
        before = end_of(history, None)
        if before is None:
            return []
    return history.page(before, limit, after=after, kinds=choice.kinds, text=choice.text)


def _only_in_ring(history: History | None, ring: Ring, begin: int, end: int, found: _Found) -> int:
    """How far history goes in the ring's epoch; adds the events from there or `begin` to `end`."""
    while True:
        stored = _next_seq(history, ring)
        found.events.clear()
        try:
            is_whole = _read_ring(ring, max(begin, stored), end, found)
        except RingUnlinked:
            return stored
        # Overtaken by the ring: what it lost has been stored meanwhile, or is lost.
        if is_whole or _next_seq(history, ring) == stored:
            return stored


def _read_ring(ring: Ring, start: int, end: int, found: _Found) -> bool:
    """Add the events from `start` to `end`; whether the ring still held them all."""
    with ring.subscribe(start) as subscriber:
        at = subscriber.cursor
        is_whole = at == start
        # Not the cursor: that is past a loss before it is told.
        while at < end and not found.is_enough:
            try:
                records = subscriber.read(BATCH, 0)
            except Lapped as lapped:
                is_whole, at = False, lapped.next_seq
                continue
            if not records:
                break
            at = records[-1].seq + 1
            for record in records:
                if not record.transient and record.seq < end:
                    found.add(envelope_of(ring.epoch, record))
    return is_whole


def _next_seq(history: History | None, ring: Ring) -> int:
    return (history.next_seq(ring.epoch) or 0) if history is not None else 0
