"""Reading a history: stored events in the order they were emitted, gaps where they belong.

Epochs follow each other by base. All reading goes by primary key, so it costs the rows it
returns, however many others there are.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import apsw

from ringbus.choice import as_in_json
from ringbus.errors import EventError
from ringbus.events import KINDS, Envelope, Gap, Position, decode
from ringbus.history import original
from ringbus.history.schema import MAX_ID, ORIGINAL_EPOCH

_PAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the history, oldest first.

    `next` is where to go on: after the last item or, where `at_end`, the first seq that is not
    stored yet. After a gap without an end it is at `MAX_ID`, where nothing of that epoch comes any
    more. It is None if the history has no epoch.
    """

    items: list[Envelope | Gap]
    next: Position | None
    at_end: bool


class Place(NamedTuple):
    """An epoch and the ids that are its own: from `base` on, below `end`."""

    epoch: str
    base: int
    next: int
    end: int

    def id_of(self, seq: int) -> int:
        """The id of `seq`, at most `end`."""
        return min(self.base + seq, self.end)


_PLACE = """
SELECT epoch, base, next,
       (SELECT min(later.base) FROM epochs AS later WHERE later.base > epochs.base)
FROM epochs
"""


def find_place(db: apsw.Connection, epoch: str) -> Place | None:
    """The place of `epoch`, None if it was never begun here."""
    return _place(db.execute(_PLACE + "WHERE epoch = ?", (epoch,)))


def place_holding(db: apsw.Connection, row_id: int) -> Place | None:
    """The place that `row_id` lies in, None if it is below all of them."""
    return _place(db.execute(_PLACE + "WHERE base <= ? ORDER BY base DESC LIMIT 1", (row_id,)))


def _place_from(db: apsw.Connection, base: int) -> Place | None:
    return _place(db.execute(_PLACE + "WHERE base >= ? ORDER BY base LIMIT 1", (base,)))


def _place(rows: apsw.Cursor) -> Place | None:
    row = rows.fetchone()
    if row is None:
        return None
    epoch, base, following, end = row
    return Place(epoch, base, following, MAX_ID if end is None else end)


_Step: TypeAlias = tuple[Envelope | Gap | None, int]
"""A row (None: skipped) or gap, and the seq to go on at after it."""


class Reading:
    """Reads from `db`; `skipped` counts the rows passed over because they are no events."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.skipped = 0

    def read(self, start: Position | None, limit: int) -> Page:
        """Up to `limit` rows and gaps, `start` included. Raises `KeyError`: unknown epoch."""
        place = _place_from(self._db, 0) if start is None else self._known_place(start[0])
        seq = 0 if start is None else start[1]
        if place is None:
            return Page([], None, at_end=True)
        items: list[Envelope | Gap] = []
        room = _Room(limit)
        while room:
            seq, is_over = self._read_epoch(place, seq, items, room)
            if not is_over:
                return Page(items, (place.epoch, seq), at_end=False)
            later = _place_from(self._db, place.end)
            if later is None:
                return Page(items, (place.epoch, max(seq, place.next)), at_end=True)
            place, seq = later, 0
        return Page(items, (place.epoch, seq), at_end=False)

    def page(
        self,
        before: Position | None,
        limit: int,
        *,
        after: Position | None = None,
        kinds: Collection[str] = (),
        text: str | None = None,
    ) -> list[Envelope]:
        """Rows between two positions, oldest first: the oldest of them if only `after` is given,
        else the newest. `KeyError`: unknown epoch."""
        from_oldest = after is not None and before is None
        first = 0 if after is None else self._known_place(after[0]).id_of(after[1] + 1)
        end = MAX_ID if before is None else self._known_place(before[0]).id_of(before[1])
        found: list[Envelope] = []
        place: Place | None = None
        with ExitStack() as opened:
            # One query for each kind: the index gives the rows of one in order, of several not.
            queries = [
                opened.enter_context(closing(self._db.execute(*query)))
                for query in _queries(first, end, kinds, text, "" if from_oldest else " DESC")
            ]
            rows = heapq.merge(*queries, key=itemgetter(0), reverse=not from_oldest)
            for row_id, ts_ns, row_kind, payload in rows:
                if place is None or not place.base <= row_id < place.end:
                    place = place_holding(self._db, row_id)
                if len(found) == limit or place is None:
                    break
                envelope = self._envelope(place, row_id, ts_ns, row_kind, payload)
                if envelope is not None:
                    found.append(envelope)
        return found if from_oldest else found[::-1]

    def back(self, before: Position | None, ids: int, after: Position | None) -> Position | None:
        """The position so many ids before `before`, or the end; None if that is not behind `after`,
        or the beginning."""
        place = None if before is None else find_place(self._db, before[0])
        if place is None or before is None:
            end = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM events").get
        else:
            end = place.id_of(before[1])
        first = self._db.execute("SELECT coalesce(min(id), 0) FROM events").get
        if after is not None:
            first = max(first, self._known_place(after[0]).id_of(after[1] + 1))
        found = place_holding(self._db, end - ids) if end - ids > first else None
        return None if found is None else (found.epoch, end - ids - found.base)

    def gaps(self, first: Position | None, before: Position | None) -> list[Gap]:
        """Those that begin from `first` on, and before `before`, in order.

        A position of an epoch that was never begun here is behind all others.
        """
        start = 0 if first is None else self._id_of(first)
        end = MAX_ID if before is None else self._id_of(before)
        with closing(self._db.execute(_GAPS_BETWEEN, (start, end))) as rows:
            return [Gap(*row) for row in rows]

    def _id_of(self, position: Position) -> int:
        place = find_place(self._db, position[0])
        return MAX_ID if place is None else place.id_of(position[1])

    def gaps_by_reason(self) -> dict[str, tuple[int, int]]:
        """Number of gaps, and of the records they miss as far as that is known."""
        rows = self._db.execute("SELECT reason, count(*), total(missed) FROM gaps GROUP BY reason")
        return {reason: (count, int(missed)) for reason, count, missed in rows}

    def _known_place(self, epoch: str) -> Place:
        place = find_place(self._db, epoch)
        if place is None:
            raise KeyError(epoch)
        return place

    def _read_epoch(
        self, place: Place, seq: int, items: list[Envelope | Gap], room: _Room
    ) -> tuple[int, bool]:
        """Fill `items` from `seq` on; where to go on, and whether this epoch holds no more."""
        with closing(self._merged(place, seq)) as merged:
            for item, on in merged:
                if item is not None:
                    items.append(item)
                    room.take(item)
                if on == MAX_ID or not room:
                    return on, on == MAX_ID
                seq = on
        return seq, True

    def _merged(self, place: Place, seq: int) -> Generator[_Step, None, None]:
        """The rows and gaps from `seq` on, in order."""
        with (
            closing(self._gaps(place.epoch, seq)) as gaps,
            closing(self._db.execute(_ROWS_FROM, (place.id_of(seq), place.end))) as rows,
        ):
            gap = next(gaps, None)
            for row_id, ts_ns, kind, payload in rows:
                while gap is not None and place.base + gap.from_ <= row_id:
                    yield gap, _after(gap)
                    gap = next(gaps, None)
                envelope = self._envelope(place, row_id, ts_ns, kind, payload)
                yield envelope, row_id - place.base + 1
            while gap is not None:
                yield gap, _after(gap)
                gap = next(gaps, None)

    def _gaps(self, epoch: str, seq: int) -> Generator[Gap, None, None]:
        if seq >= MAX_ID:
            return  # the one without an end was told
        with closing(self._db.execute(_GAPS, (epoch, seq))) as rows:
            for row in rows:
                yield _clipped(Gap(epoch, *row), seq)

    def _envelope(
        self, place: Place, row_id: int, ts_ns: int, kind: str, payload: bytes | None
    ) -> Envelope | None:
        if place.epoch == ORIGINAL_EPOCH:
            payload = original.shown(kind, payload)
        try:
            if payload is None:
                raise EventError("no payload")
            decode(payload)
        except EventError:
            self.skipped += 1
            return None
        return Envelope(place.epoch, row_id - place.base, ts_ns, payload)


class _Room:
    """What a page still takes: items, and bytes, so that long lines do not fill the memory."""

    def __init__(self, limit: int) -> None:
        self._items = limit
        self._bytes = _PAGE_BYTES

    def take(self, item: Envelope | Gap) -> None:
        self._items -= 1
        if isinstance(item, Envelope):
            self._bytes -= len(item.payload)

    def __bool__(self) -> bool:
        return self._items > 0 and self._bytes > 0


def _after(gap: Gap) -> int:
    return MAX_ID if gap.to is None else gap.to + 1


def _clipped(gap: Gap, seq: int) -> Gap:
    """The part of `gap` from `seq` on: a reader that resumes inside has seen what was before."""
    if gap.from_ >= seq:
        return gap
    if gap.to is None or gap.missed != gap.to - gap.from_ + 1:
        return Gap(gap.epoch, seq, gap.to, None, gap.reason)
    return Gap(gap.epoch, seq, gap.to, gap.to - seq + 1, gap.reason)


def _queries(
    first: int, end: int, kinds: Collection[str], text: str | None, order: str
) -> Iterator[tuple[str, list[int | str]]]:
    """Queries and their bindings that together give the rows, each in order of id."""
    each: list[str | None] = [*sorted(kinds)] or [None]
    for kind in each:
        query, bindings = _rows_between(first, end, kind, text)
        yield query + order, bindings


def check_limit(limit: int) -> None:
    if limit < 1:
        raise ValueError(f"limit must be 1 or more, not {limit}")


def check_kinds(kinds: Collection[str]) -> None:
    """Raises `ValueError` for a kind that no event has."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}, not {kind!r}")


def _rows_between(
    first: int, end: int, kind: str | None, text: str | None
) -> tuple[str, list[int | str]]:
    """The query, in ascending order of id, and its bindings."""
    query = _ROW + "WHERE id >= ? AND id < ?"
    conditions: list[int | str] = [first, end]
    if kind is not None:
        query += " AND kind = ?"
        conditions.append(kind)
        if kind != "stream":
            query += " AND kind <> 'stream'"  # what the partial index is on
    if text is not None:
        query += r" AND payload_json LIKE ? ESCAPE '\'"
        conditions.append(f"%{_escaped(text)}%")
    return query + " ORDER BY id", conditions


def _escaped(text: str) -> str:
    """As it stands in JSON, and means itself to LIKE."""
    return re.sub(r"([\\%_])", r"\\\1", as_in_json(text))


_ROW = "SELECT id, ts_ns, kind, CAST(payload_json AS BLOB) FROM events "
_ROWS_FROM = _ROW + "WHERE id >= ? AND id < ? ORDER BY id"
_GAPS = """
SELECT "from", "to", missed, reason FROM gaps
WHERE epoch = ? AND ("to" IS NULL OR "to" >= ?) ORDER BY "from"
"""
_GAPS_BETWEEN = """
SELECT epoch, "from", "to", missed, reason FROM gaps JOIN epochs USING (epoch)
WHERE base + "from" >= ? AND base + "from" < ? ORDER BY base, "from"
"""
