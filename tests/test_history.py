"""The history: what is stored, in which order it comes back, and what it says is missing."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import ringbus
from ringbus.errors import HistoryError
from ringbus.events import Envelope, Event, Gap, Note, Stream, TurnEnd, TurnStart, encode
from ringbus.history import History, lines_folder
from ringbus.settings import Retention

A, B, C = "a" * 16, "b" * 16, "c" * 16
ORIGINAL = "0" * 16
T0 = 1_763_790_000_123_456_789
SECOND = 10**9
DAY = 86_400 * SECOND
EVERYTHING = Retention(rows=10**9, days=10**4, bytes=10**12)

Open = Callable[..., History]
Row = tuple[int, int, int, bytes]


def note(seq: int, text: str | None = None, ts_ns: int | None = None) -> Row:
    """A row of a note; by itself one a second, its text its seq."""
    kind, payload = encode(Note(str(seq) if text is None else text))
    return seq, T0 + seq * SECOND if ts_ns is None else ts_ns, kind, payload


def notes(first: int, end: int) -> list[Row]:
    return [note(seq) for seq in range(first, end)]


def places(items: list[Envelope | Gap] | list[Envelope]) -> list[tuple[str, int]]:
    return [(item.epoch, item.seq) for item in items if isinstance(item, Envelope)]


def fill(history: History, epoch: str, count: int) -> None:
    history.begin_epoch(epoch)
    history.append(epoch, notes(0, count), count)


def sql(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What another SQLite program gets. Not `sqlite3`: that is a second copy of the library."""
    connection = apsw.Connection(str(path))
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent-7.sqlite"


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens histories of agent-7 in `path` and closes them at the end."""
    histories: list[History] = []

    def open_history(agent: str = "agent-7", **options: bool) -> History:
        histories.append(History.open(path, agent, **options))
        return histories[-1]

    yield open_history
    for history in histories:
        history.close()


@pytest.fixture
def writer(opened: Open) -> History:
    return opened(write=True)


# --- what a row is ------------------------------------------------------------------------


def test_the_original_query_finds_events_in_emit_order(writer: History, path: Path) -> None:
    """`SELECT id, ts, kind, payload_json FROM events` works as in the original schema."""
    events: list[Event] = [
        TurnStart("operator", "fix", 2),
        Stream(b"[1]"),
        Note("n"),
        TurnEnd(True),
    ]
    rows = [(seq, T0, *encode(event)) for seq, event in enumerate(events)]
    writer.begin_epoch(A)
    writer.append(A, rows, 4)
    found = sql(path, "SELECT id, ts, kind, payload_json FROM events ORDER BY id")
    kinds = ["turn_start", "stream", "note", "turn_end"]
    assert found == [
        (1 + seq, T0 // SECOND, kind, encode(event)[1].decode())
        for seq, (kind, event) in enumerate(zip(kinds, events, strict=True))
    ]


def test_id_is_the_base_of_the_epoch_plus_seq(writer: History, path: Path) -> None:
    """An id is known before its row is stored, in the second epoch as in the first."""
    fill(writer, A, 3)
    writer.begin_epoch(B)
    writer.append(B, [note(5)], 6)
    bases: dict[object, int] = dict(sql(path, "SELECT epoch, base FROM epochs"))
    assert sql(path, "SELECT max(id) FROM events") == [(bases[B] + 5,)]
    assert bases[B] > bases[A] + 2


@pytest.mark.parametrize(
    ("ts_ns", "ts", "stored"),
    [
        (T0, 1_763_790_000, T0),
        (999_999_999, 0, 999_999_999),
        (-1, 0, -1),
        (-5 * SECOND, 0, -5 * SECOND),
        ((1 << 64) - 7, 0, -7),
    ],
)
def test_ts_is_whole_seconds_and_the_exact_time_is_kept(
    writer: History, path: Path, ts_ns: int, ts: int, stored: int
) -> None:
    """`ts` is 0 before 1970; `ts_ns` is exact, also where a clock came as an unsigned number."""
    writer.begin_epoch(A)
    writer.append(A, [note(0, ts_ns=ts_ns)], 1)
    assert sql(path, "SELECT ts, ts_ns FROM events") == [(ts, stored)]
    assert [envelope.ts_ns for envelope in writer.page()] == [stored]


@pytest.mark.parametrize(
    "line",
    [
        b'{"kind":"mine","a":1}',
        b"null",
        b"1234567890123456789012345678901234567890",
        b'"\\u0000 and \\ud800 alone"',
        b'{ "spaces" :\t[ 1.0e0 ]\r\n}',
        '"\u00e9\u2028\U0001f600"'.encode(),
        b'"' + b"x" * 300_000 + b'"',
        b"[" * 1000 + b"]" * 1000,
    ],
    ids=["own kind", "null", "40 digits", "escapes", "white space", "UTF-8", "long", "deep"],
)
def test_payload_bytes_survive_exactly(writer: History, path: Path, line: bytes) -> None:
    """The stored text is the record's payload, byte for byte."""
    payload = b'{"kind":"stream","data":' + line + b"}"
    writer.begin_epoch(A)
    writer.append(A, [(0, T0, 2, payload)], 1)
    assert [envelope.payload for envelope in writer.page()] == [payload]
    assert sql(path, "SELECT typeof(payload_json), CAST(payload_json AS BLOB) FROM events") == [
        ("text", payload)
    ]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (0, b"bare bytes"),
        (9, b"{}"),
        (2, b"bare bytes"),
        (4, b'{"kind":"stream","data":1}'),
        (2, b'{"kind":"stream","data":"\xff"}'),
    ],
    ids=["no event", "unknown kind", "no JSON", "another kind", "not UTF-8"],
)
def test_a_record_that_is_no_event_is_stored_as_a_note(
    writer: History, path: Path, kind: int, payload: bytes
) -> None:
    """Its bytes are kept in base64, and the rest of the batch is stored."""
    writer.begin_epoch(A)
    writer.append(A, [note(0), (1, T0, kind, payload), note(2)], 3)
    event = writer.page()[1].event
    assert isinstance(event, Note)
    assert event.encoding == "base64"
    assert sql(path, "SELECT kind FROM events") == [("note",)] * 3


def test_a_repeated_append_changes_nothing(writer: History, path: Path) -> None:
    """A persister that is not sure may store a batch again, whole or overlapping."""
    fill(writer, A, 250)
    before = sql(path, "SELECT * FROM events")
    writer.append(A, notes(0, 250), 250)
    writer.append(A, notes(100, 260), 260)
    after = sql(path, "SELECT * FROM events ORDER BY id")
    assert after[:250] == before
    assert len(after) == 260


def test_ids_are_never_used_again_after_the_table_was_emptied(
    writer: History, opened: Open, path: Path
) -> None:
    """Neither in the same epoch nor in the next one, whoever emptied the table."""
    fill(writer, A, 10)
    writer.close()
    sql(path, "DELETE FROM events")
    again = opened(write=True)
    assert again.begin_epoch(A) == 10
    again.append(A, [note(10)], 11)
    [(after,)] = sql(path, "SELECT id FROM events")
    sql(path, "DELETE FROM events")
    again.begin_epoch(B)
    again.append(B, [note(0)], 1)
    assert (after, *sql(path, "SELECT id FROM events")) == (11, (12,))


def test_an_index_on_ts_is_used(writer: History, path: Path) -> None:
    """Queries by time do not scan the table."""
    fill(writer, A, 10)
    plan = sql(path, "EXPLAIN QUERY PLAN SELECT id FROM events WHERE ts > 1763790000")
    assert "USING COVERING INDEX" in str(plan)


def test_next_seq_moves_without_rows(writer: History, opened: Open) -> None:
    """A stretch of transient records has no rows, yet it was dealt with."""
    assert writer.next_seq(A) is None
    writer.begin_epoch(A)
    writer.append(A, [], 500)
    assert writer.next_seq(A) == 500
    writer.append(A, [], 400)
    writer.close()
    assert opened(write=True).begin_epoch(A) == 500


def test_an_epoch_whose_ids_a_later_one_took_is_refused(writer: History) -> None:
    """Two rings served in turn must not overwrite each other's rows unseen."""
    fill(writer, A, 3)
    fill(writer, B, 3)
    with pytest.raises(HistoryError, match="remove this ring"):
        writer.append(A, [note(3)], 4)
    assert places(writer.page()) == [(A, 0), (A, 1), (A, 2), (B, 0), (B, 1), (B, 2)]


@pytest.mark.parametrize("epoch", ["A" * 16, "a" * 15, "0x" + "a" * 14, ORIGINAL])
def test_what_is_no_epoch_of_a_ring_is_refused(writer: History, epoch: str) -> None:
    """16 lower-case hex digits, other than the ones that stand for the original's rows."""
    with pytest.raises(ValueError, match="epoch"):
        writer.begin_epoch(epoch)


def test_an_epoch_must_be_begun_before_it_is_stored(writer: History) -> None:
    """Rows without a base would have no id."""
    with pytest.raises(HistoryError, match="begin_epoch"):
        writer.append(A, notes(0, 1), 1)


# --- reading ------------------------------------------------------------------------------


def test_read_goes_over_from_one_epoch_to_the_next(writer: History) -> None:
    """In the order of their bases; at the end `next` is what is not stored yet."""
    for epoch in (C, A, B):
        fill(writer, epoch, 2)
        writer.end_epoch(epoch)
    writer.append(B, [], 7)
    page = writer.read()
    assert places(page.items) == [(C, 0), (C, 1), (A, 0), (A, 1), (B, 0), (B, 1)]
    assert (page.next, page.at_end) == ((B, 7), True)
    assert places(writer.read((A, 1)).items) == [(A, 1), (B, 0), (B, 1)]
    assert writer.epochs() == [C, A, B]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_pages_of_any_size_join_without_hole_or_double(writer: History, limit: int) -> None:
    """`next` of a full page is after its last item; rows and gaps alike."""
    writer.begin_epoch(A)
    gaps = [Gap(A, 2, 3, 2, "lapped"), Gap(A, 6, 8, 3, "store-unavailable")]
    writer.append(A, [*notes(0, 2), *notes(4, 6)], 9, gaps)
    fill(writer, B, 3)
    whole = writer.read(limit=1000).items
    start, joined = None, []
    while True:
        page = writer.read(start, limit)
        assert len(page.items) <= limit
        joined += page.items
        if page.at_end:
            break
        start = page.next
    lost = Gap(A, 9, None, None, "ring-lost")
    assert [item for item in joined if isinstance(item, Gap)] == [*gaps, lost]
    assert joined == whole
    assert page.next == (B, 3)


def test_gaps_come_in_place(writer: History) -> None:
    """Each gap stands where the records it names would have stood."""
    writer.begin_epoch(A)
    gap = Gap(A, 2, 4, 3, "lapped")
    writer.append(A, [*notes(0, 2), *notes(5, 7)], 7, [gap])
    items = writer.read().items
    assert items[2] == gap
    assert places(items) == [(A, 0), (A, 1), (A, 5), (A, 6)]
    assert writer.read((A, 5)).items == items[3:]


def test_a_gap_is_cut_where_reading_starts_inside_it(writer: History) -> None:
    """What was before, the reader has seen; how many are missing then may be unknown."""
    writer.begin_epoch(A)
    writer.append(A, [], 30, [Gap(A, 0, 9, 10, "lapped"), Gap(A, 10, 19, 4, "retention")])
    assert writer.read((A, 7)).items[0] == Gap(A, 7, 9, 3, "lapped")
    assert writer.read((A, 12)).items == [Gap(A, 12, 19, None, "retention")]


def test_a_repeated_gap_is_one_gap(writer: History) -> None:
    """A persister that is not sure may tell it again."""
    writer.begin_epoch(A)
    gap = Gap(A, 0, 4, 5, "lapped")
    writer.append(A, [], 5, [gap])
    writer.append(A, [], 5, [gap])
    assert writer.read().items == [gap]


def test_reading_ahead_of_what_is_stored_does_not_go_back(writer: History) -> None:
    """A reader of the live ring may be further than the store: its position stands."""
    fill(writer, A, 3)
    page = writer.read((A, 50))
    assert (page.items, page.next, page.at_end) == ([], (A, 50), True)
    assert writer.read((A, (1 << 64) - 1)).items == []


def test_read_of_an_unknown_epoch_is_a_key_error(writer: History) -> None:
    """Nothing of it was ever stored: the caller starts over."""
    fill(writer, A, 1)
    with pytest.raises(KeyError):
        writer.read((B, 0))
    with pytest.raises(KeyError):
        writer.page((B, 0))


def test_an_empty_history_has_nowhere_to_go_on(writer: History) -> None:
    """No epoch, no position."""
    page = writer.read()
    assert (page.items, page.next, page.at_end) == ([], None, True)
    assert writer.page() == []
    assert writer.last_ts_ns() is None


def test_page_gives_the_newest_before_a_position_in_any_epoch(writer: History) -> None:
    """Oldest first, without gaps, also across epochs."""
    fill(writer, A, 3)
    fill(writer, B, 3)
    assert places(writer.page(limit=2)) == [(B, 1), (B, 2)]
    assert places(writer.page((B, 1), limit=3)) == [(A, 1), (A, 2), (B, 0)]
    assert places(writer.page((A, 2))) == [(A, 0), (A, 1)]
    assert places(writer.page((A, 99), limit=2)) == [(A, 1), (A, 2)]
    assert places(writer.page((B, (1 << 64) - 1), limit=1)) == [(B, 2)]
    assert writer.page((A, 0)) == []


def test_reading_uses_the_primary_key_alone(writer: History) -> None:
    """No sort and no scan: as fast with a million rows as with ten."""
    fill(writer, A, 3)
    queries: list[str] = []

    def trace(_: object, query: str, __: object) -> bool:
        queries.append(query)
        return True

    writer._db.exec_trace = trace
    writer.page((A, 2))
    writer.read((A, 1))
    writer._db.exec_trace = None
    reading = [query for query in queries if "FROM events" in query]
    assert len(reading) == 2
    for query in reading:
        plan = str(writer._db.execute("EXPLAIN QUERY PLAN " + query, (1,) * query.count("?")).get)
        assert "USING INTEGER PRIMARY KEY" in plan
        assert "TEMP B-TREE" not in plan


def test_a_page_of_long_lines_ends_early(writer: History) -> None:
    """A reader's memory is bounded, whatever an agent prints."""
    line = b'{"kind":"stream","data":"' + b"x" * (5 << 20) + b'"}'
    writer.begin_epoch(A)
    writer.append(A, [(seq, T0, 2, line) for seq in range(6)], 6)
    first = writer.read(limit=100)
    assert (places(first.items), first.at_end) == ([(A, seq) for seq in range(4)], False)
    rest = writer.read(first.next, limit=100)
    assert (places(rest.items), rest.at_end) == ([(A, 4), (A, 5)], True)


@pytest.mark.parametrize(
    "bad",
    ["no JSON", "[1]", '{"kind":"other"}', '{"kind":"note"}', '{"kind":"stream","data":nul}', "{"],
)
def test_a_row_that_does_not_parse_is_skipped(writer: History, path: Path, bad: str) -> None:
    """The rest still comes, also with one item a page; the skipped row is counted."""
    fill(writer, A, 3)
    sql(path, "UPDATE events SET payload_json = ? WHERE id = 2", bad)
    assert places(writer.read().items) == [(A, 0), (A, 2)]
    assert places(writer.page(limit=2)) == [(A, 0), (A, 2)]
    assert writer.skipped == 2
    first = writer.read(limit=1)
    assert places(writer.read(first.next, limit=1).items) == [(A, 2)]


def test_a_limit_below_one_is_refused(writer: History) -> None:
    """It could never come to an end."""
    with pytest.raises(ValueError, match="limit"):
        writer.read(limit=0)
    with pytest.raises(ValueError, match="limit"):
        writer.page(limit=0)


def test_the_summary_figures_are_true(writer: History) -> None:
    """Count, newest time and size, for pages that show them."""
    fill(writer, A, 5)
    assert writer.count() == 5
    assert writer.last_ts_ns() == T0 + 4 * SECOND
    assert writer.size_bytes() % 8192 == 0
    assert writer.size_bytes() > 0


# --- epochs that end ----------------------------------------------------------------------


def test_an_epoch_without_its_clean_end_leaves_a_ring_lost_gap(writer: History) -> None:
    """From the first seq that was not stored; nobody knows to where."""
    fill(writer, A, 3)
    writer.begin_epoch(B)
    lost = Gap(A, 3, None, None, "ring-lost")
    assert writer.read().items[3:] == [lost]
    assert writer.read((A, 3)).items == [lost]
    assert writer.read((A, 8)).items == [Gap(A, 8, None, None, "ring-lost")]
    assert writer.read((A, 3), limit=1).next == (B, 0)


def test_a_ring_lost_gap_is_recorded_once(writer: History, path: Path) -> None:
    """However often an epoch begins after it."""
    fill(writer, A, 3)
    for _ in range(2):
        writer.begin_epoch(B)
        writer.begin_epoch(A)
    writer.end_epoch(B)
    writer.begin_epoch(C)
    assert sql(path, "SELECT * FROM gaps") == [(A, 3, None, None, "ring-lost")]


def test_a_cleanly_ended_epoch_leaves_no_gap(writer: History) -> None:
    """Reading goes over to the next epoch without a word."""
    fill(writer, A, 3)
    assert not writer.is_clean(A)
    writer.end_epoch(A)
    assert writer.is_clean(A)
    fill(writer, B, 1)
    assert places(writer.read((A, 3)).items) == [(B, 0)]
    assert len(writer.read().items) == 4


def test_an_epoch_that_goes_on_is_no_longer_cleanly_ended(writer: History) -> None:
    """A persister came back to the ring, and then the power went."""
    fill(writer, A, 3)
    writer.end_epoch(A)
    assert writer.begin_epoch(A) == 3
    assert not writer.is_clean(A)
    writer.begin_epoch(B)
    assert writer.read().items[3:] == [Gap(A, 3, None, None, "ring-lost")]


def test_an_older_epoch_that_is_looked_at_again_stays_cleanly_ended(writer: History) -> None:
    """Nothing can be added to it any more, so nothing of it can be lost."""
    for epoch in (A, B):
        fill(writer, epoch, 3)
        writer.end_epoch(epoch)
    assert writer.begin_epoch(A) == 3
    writer.begin_epoch(C)
    assert len(writer.read().items) == 6


def test_marks_that_must_outlast_a_power_cut_are_synced(writer: History) -> None:
    """A base that is lost would be given again, a stale clean mark would hide a loss."""
    queries: list[str] = []

    def trace(_: object, query: str, __: object) -> bool:
        queries.append(query)
        return True

    writer._db.exec_trace = trace
    for mark in (writer.begin_epoch, writer.end_epoch):
        queries.clear()
        mark(A)
        synced = next(n for n, query in enumerate(queries) if "FULL" in query)
        assert synced < queries.index("COMMIT")
    writer._db.exec_trace = None
    assert writer._db.pragma("synchronous") == 1


# --- retention ----------------------------------------------------------------------------


def sweep_all(history: History, retention: Retention, now_ns: int = T0, budget: int = 100) -> int:
    total = 0
    while deleted := history.sweep(retention, now_ns, budget):
        assert deleted <= budget
        total += deleted
    return total


def test_rows_beyond_the_limit_go_and_leave_a_retention_gap(writer: History) -> None:
    """The oldest go; the gap names first and last and how many."""
    fill(writer, A, 30)
    limit = Retention(rows=10, days=10**4, bytes=10**12)
    assert sweep_all(writer, limit) == 20
    items = writer.read().items
    assert items[0] == Gap(A, 0, 19, 20, "retention")
    assert places(items) == [(A, seq) for seq in range(20, 30)]
    writer.append(A, notes(30, 35), 35)
    assert sweep_all(writer, limit) == 5
    assert writer.read().items[0] == Gap(A, 0, 24, 25, "retention")


def test_a_sweep_deletes_no_more_than_its_budget(writer: History) -> None:
    """One call is one short transaction; the caller goes on while it returns rows."""
    fill(writer, A, 30)
    limit = Retention(rows=10, days=10**4, bytes=10**12)
    assert [writer.sweep(limit, T0, 8) for _ in range(4)] == [8, 8, 4, 0]


def test_the_cost_of_a_sweep_is_that_of_the_rows_it_deletes(writer: History) -> None:
    """However many others there are: nothing in it walks over the table."""
    fill(writer, A, 20_000)
    limit = Retention(rows=19_000, days=10**4, bytes=10**12)
    writer.sweep(limit, T0, 10)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    writer._db.set_progress_handler(count, 100)
    assert writer.sweep(limit, T0, 10) == 10
    assert writer.sweep(EVERYTHING, T0, 10) == 0
    writer._db.set_progress_handler(None)
    assert steps < 50


def test_transient_stretches_do_not_count_as_rows(writer: History) -> None:
    """The limit is of rows, not of seqs; the gap counts what was deleted."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq) for seq in range(0, 300, 10)], 300)
    assert sweep_all(writer, Retention(rows=20, days=10**4, bytes=10**12)) == 10
    assert writer.read().items[0] == Gap(A, 0, 90, 10, "retention")
    assert writer.count() == 20


def test_rows_past_their_days_go(writer: History) -> None:
    """Age is that of the row, up to the first one that is young enough."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq, ts_ns=T0 + seq * DAY) for seq in range(10)], 10)
    limit = Retention(rows=10**9, days=2.5, bytes=10**12)
    assert sweep_all(writer, limit, T0 + 9 * DAY) == 7
    assert places(writer.page()) == [(A, 7), (A, 8), (A, 9)]


def test_a_row_from_the_future_does_not_keep_older_ones(writer: History) -> None:
    """A clock that was ahead for a moment does not stop the retention by days."""
    writer.begin_epoch(A)
    times = [T0 + 400 * DAY, T0, T0 + 9 * DAY]
    writer.append(A, [note(seq, ts_ns=ts) for seq, ts in enumerate(times)], 3)
    assert sweep_all(writer, Retention(10**9, 2.5, 10**12), T0 + 9 * DAY) == 2
    assert places(writer.page()) == [(A, 2)]


def test_a_clock_that_stepped_back_does_not_delete_young_rows(writer: History) -> None:
    """A row dated 1970 between young ones waits for its turn."""
    writer.begin_epoch(A)
    writer.append(A, [note(0), note(1, ts_ns=0), note(2)], 3)
    assert sweep_all(writer, Retention(10**9, 2.5, 10**12), T0 + DAY) == 0


def test_rows_beyond_the_bytes_go(writer: History) -> None:
    """Until what the history takes is within the limit, and not much below it."""
    writer.begin_epoch(A)
    writer.append(A, [note(seq, "x" * 1000) for seq in range(2000)], 2000)
    assert sweep_all(writer, Retention(10**9, 10**4, 1_000_000)) > 0
    assert 800_000 < writer.size_bytes() <= 1_000_000


def test_a_history_within_its_limits_is_left_alone(writer: History) -> None:
    """No rows go, no gap comes."""
    fill(writer, A, 30)
    assert writer.sweep(EVERYTHING, T0, 100) == 0
    assert len(writer.read().items) == 30


def test_each_epoch_has_its_own_retention_gap_and_epochs_stay(writer: History) -> None:
    """Even one whose rows are all gone keeps its base and its place."""
    for epoch in (A, B, C):
        fill(writer, epoch, 5)
        writer.end_epoch(epoch)
    assert sweep_all(writer, Retention(rows=3, days=10**4, bytes=10**12), budget=4) == 12
    assert writer.read().items[:3] == [
        Gap(A, 0, 4, 5, "retention"),
        Gap(B, 0, 4, 5, "retention"),
        Gap(C, 0, 1, 2, "retention"),
    ]
    assert writer.epochs() == [A, B, C]


def test_gaps_inside_a_deleted_stretch_become_part_of_its_gap(writer: History) -> None:
    """So gaps do not pile up for ever; missed stays the sum, and ring-lost stays."""
    writer.begin_epoch(A)
    gap = Gap(A, 5, 9, 5, "lapped")
    writer.append(A, [*notes(0, 5), *notes(10, 15)], 15, [gap])
    fill(writer, B, 1)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 10
    assert writer.read().items[:2] == [
        Gap(A, 0, 14, 15, "retention"),
        Gap(A, 15, None, None, "ring-lost"),
    ]


def test_rows_that_another_program_deleted_do_not_count(writer: History, path: Path) -> None:
    """A sweep counts again when somebody else has written."""
    fill(writer, A, 100)
    limit = Retention(rows=50, days=10**4, bytes=10**12)
    assert sweep_all(writer, limit) == 50
    sql(path, "DELETE FROM events WHERE id <= 90")
    writer.append(A, [note(seq) for seq in range(100, 300, 10)], 300)
    assert sweep_all(writer, limit) == 0
    assert writer.count() == 30


def long_line(seq: int, file: str) -> Row:
    return seq, T0, *encode(Note("beginning", "stdout", "long line", size=9, file=file))


def test_the_file_of_a_long_line_goes_with_its_row(writer: History, path: Path) -> None:
    """Only then, and only its own."""
    folder = lines_folder(path)
    folder.mkdir()
    files = [folder / f"{seq}.line" for seq in range(3)]
    for file in files:
        file.write_text("line")
    writer.begin_epoch(A)
    writer.append(A, [long_line(seq, str(file)) for seq, file in enumerate(files)], 3)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 2
    assert [file.exists() for file in files] == [False, False, True]


def test_no_file_elsewhere_is_ever_removed(writer: History, path: Path) -> None:
    """Whatever a note says."""
    folder = lines_folder(path)
    (folder / "deeper").mkdir(parents=True)
    outside = path.parent / "precious"
    (folder / "link").symlink_to(path.parent)
    kept = [outside, folder / "deeper" / "file"]
    for file in kept:
        file.write_text("precious")
    names = [
        str(outside),
        str(folder / ".." / "precious"),
        str(folder / "link" / "precious"),
        str(folder / "deeper" / "file"),
        "precious",
        str(folder),
        str(folder / ".."),
        str(path),
        "\0",
        "x" * 5000,
    ]
    writer.begin_epoch(A)
    writer.append(A, [long_line(seq, name) for seq, name in enumerate(names)], len(names))
    writer.append(A, [note(len(names))], len(names) + 1)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == len(names)
    assert all(file.exists() for file in (*kept, folder, path))


def test_a_file_that_cannot_be_removed_is_logged(
    writer: History, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row is deleted all the same."""
    folder = lines_folder(path)
    (folder / "a folder").mkdir(parents=True)
    writer.begin_epoch(A)
    writer.append(A, [long_line(0, str(folder / "a folder")), note(1)], 2)
    assert sweep_all(writer, Retention(rows=1, days=10**4, bytes=10**12)) == 1
    assert "cannot remove" in caplog.text


def test_long_lines_count_as_bytes(writer: History, path: Path) -> None:
    """They are part of what a history takes of the disk."""
    file = lines_folder(path) / "0.line"
    file.parent.mkdir()
    file.write_bytes(b"x" * 1_000_000)
    writer.begin_epoch(A)
    writer.append(A, [long_line(0, str(file)), *notes(1, 50)], 50)
    assert writer.size_bytes() > 1_000_000
    assert sweep_all(writer, Retention(10**9, 10**4, 500_000)) == 1
    assert not file.exists()


# --- the file -----------------------------------------------------------------------------


def test_a_new_file_is_made_with_its_folders(tmp_path: Path) -> None:
    """For a writer; its pages are of 8 KiB and its log is a WAL."""
    path = tmp_path / "new" / "folders" / "x.sqlite"
    with History.open(path, "x", write=True) as history:
        fill(history, A, 1)
        assert sql(path, "PRAGMA page_size") == [(8192,)]
        assert sql(path, "PRAGMA journal_mode") == [("wal",)]
        assert history._db.pragma("synchronous") == 1
        assert history._db.pragma("journal_size_limit") == 64 << 20


@pytest.mark.parametrize("options", [{}, {"write": True, "create": False}])
def test_a_missing_file_is_not_made_by_the_way(path: Path, options: dict[str, bool]) -> None:
    """A reader, or a writer that must not create it, says that it is not there."""
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: no such file"):
        History.open(path, "agent-7", **options)
    assert not path.exists()


def test_an_empty_file_has_no_history_yet(path: Path) -> None:
    """As between the first two moments of a writer."""
    path.touch()
    with pytest.raises(HistoryError, match="nothing was stored"):
        History.open(path, "agent-7")
    assert path.stat().st_size == 0


def test_a_reader_opens_a_closed_history(writer: History, opened: Open, path: Path) -> None:
    """Though the last writer has taken the log away with it."""
    fill(writer, A, 3)
    writer.close()
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name]
    assert places(opened().page()) == [(A, 0), (A, 1), (A, 2)]


def test_a_reader_cannot_write(writer: History, opened: Open) -> None:
    """Nothing that reads can harm a history."""
    fill(writer, A, 1)
    reader = opened()
    with pytest.raises(HistoryError, match="readonly"):
        reader.append(A, [note(1)], 2)
    assert reader.count() == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_file_is_a_history_error(writer: History, path: Path) -> None:
    """With path and reason."""
    fill(writer, A, 1)
    path.chmod(0)
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite"):
        History.open(path, "agent-7")
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize("write", [False, True])
def test_random_bytes_are_a_history_error(path: Path, write: bool) -> None:
    """With path and reason; the cause is kept."""
    path.write_bytes(random.Random(7).randbytes(20_000))
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: file is not a database") as raised:
        History.open(path, "agent-7", write=write)
    assert isinstance(raised.value.__cause__, apsw.Error)


def test_a_damaged_page_is_a_history_error(writer: History, opened: Open, path: Path) -> None:
    """When it is read, not when the file is opened."""
    fill(writer, A, 2000)
    writer.close()
    content = bytearray(path.read_bytes())
    content[8192:-8192] = b"\xa5" * (len(content) - 2 * 8192)
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"agent-7\.sqlite: .*malformed"):
        opened().read()


def test_the_folder_cannot_be_made(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"file/x\.sqlite"):
        History.open(tmp_path / "file" / "x.sqlite", "x", write=True)


@pytest.mark.parametrize("write", [False, True])
def test_the_history_of_another_agent_is_refused(
    writer: History, opened: Open, write: bool
) -> None:
    """Naming both."""
    fill(writer, A, 1)
    with pytest.raises(HistoryError, match="agent 'agent-7', not of 'agent-8'"):
        opened("agent-8", write=write)


@pytest.mark.parametrize("write", [False, True])
def test_a_newer_schema_is_refused_and_left_alone(
    writer: History, opened: Open, path: Path, write: bool
) -> None:
    """A later ringbus made it; this one says what to do."""
    fill(writer, A, 1)
    sql(path, "PRAGMA user_version = 99")
    with pytest.raises(HistoryError, match=r"newer ringbus \(schema 99, .* upgrade"):
        opened(write=write)
    assert sql(path, "PRAGMA user_version") == [(99,)]


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("version", [0, 1])
def test_another_programs_database_is_refused_and_left_alone(
    opened: Open, path: Path, write: bool, version: int
) -> None:
    """Not one byte of it changes, even if it has a table `events` too."""
    sql(path, "CREATE TABLE events (id INTEGER PRIMARY KEY, ts, name)")
    sql(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="another program's database"):
        opened(write=write)
    assert path.read_bytes() == before


def test_a_file_that_was_replaced_is_noticed(writer: History, path: Path) -> None:
    """What goes on into a removed file would be lost without a word."""
    fill(writer, A, 1)
    path.rename(path.with_suffix(".old"))
    with pytest.raises(HistoryError, match="removed or replaced"):
        writer.append(A, [note(1)], 2)
    path.touch()
    with pytest.raises(HistoryError, match="removed or replaced"):
        writer.read()


def test_a_log_that_was_removed_is_noticed(writer: History, opened: Open, path: Path) -> None:
    """A second copy of SQLite in the process takes it away; opened again, nothing is lost."""
    fill(writer, A, 3)
    sqlite3.connect(path).execute("SELECT * FROM events").connection.close()
    with pytest.raises(HistoryError, match="removed or replaced while in use; open it again"):
        writer.append(A, [note(3)], 4)
    writer.close()
    again = opened(write=True)
    again.append(A, notes(again.begin_epoch(A), 5), 5)
    assert places(again.page()) == [(A, seq) for seq in range(5)]


def test_use_after_close_raises_and_closing_twice_is_fine(writer: History) -> None:
    """Each public method says so."""
    writer.close()
    writer.close()
    with pytest.raises(HistoryError, match="closed"):
        writer.count()


def test_use_after_fork_raises_in_the_child(writer: History) -> None:
    """SQLite's locks are not inherited: the child opens its own."""
    fill(writer, A, 1)
    child = os.fork()
    if child == 0:
        try:
            writer.count()
        except HistoryError as error:
            writer.close()
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert writer.count() == 1


def test_a_failed_append_leaves_nothing_behind(writer: History) -> None:
    """All of a batch or none of it, and the history goes on."""
    fill(writer, A, 1)
    with pytest.raises(AttributeError):
        writer.append(A, [note(1), (2, T0, 3, None)], 3)  # type: ignore[list-item]
    assert (writer.next_seq(A), writer.count()) == (1, 1)
    writer.append(A, notes(1, 3), 3)
    assert writer.count() == 3


# --- files of the original schema ---------------------------------------------------------

ORIGINAL_ROWS = [
    (1, 1_700_000_000, "turn_start", '{"kind":"turn_start","from":"op","body":"b","unread":0}'),
    (2, 1_700_000_001, "stream", '{"kind":"stream","type":"assistant","n":1.50}'),
    (3, 1_700_000_002, "stream", "null"),
    (4, 1_700_000_003, "note", '{"kind":"note","text":"n"}'),
    (5, 1_700_000_004, "turn_end", '{"kind":"turn_end","note":null,"ok":true}'),
]


def original_file(path: Path, rows: list[tuple[int, int, str, str]], key: str = "") -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        f"CREATE TABLE events (id INTEGER PRIMARY KEY {key}, ts INTEGER NOT NULL,"
        " kind TEXT NOT NULL, payload_json TEXT NOT NULL);"
    )
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("write", [True, False])
def test_a_file_of_the_original_schema_opens_with_its_rows(
    opened: Open, path: Path, write: bool
) -> None:
    """Epoch 0000000000000000, seq = id, whoever opens it first; the stored rows stay."""
    original_file(path, ORIGINAL_ROWS)
    envelopes = opened(write=write).page()
    assert places(envelopes) == [(ORIGINAL, row[0]) for row in ORIGINAL_ROWS]
    assert [envelope.ts_ns for envelope in envelopes] == [row[1] * SECOND for row in ORIGINAL_ROWS]
    query = "SELECT id, ts, kind, payload_json FROM events ORDER BY id"
    assert sql(path, query) == ORIGINAL_ROWS


def test_original_rows_are_shown_as_our_events(opened: Open, path: Path) -> None:
    """Stream objects without the added kind; what was stored as null as a note that says so."""
    original_file(path, ORIGINAL_ROWS)
    start, stream, lost, text, end = (envelope.event for envelope in opened(write=True).page())
    assert start == TurnStart("op", "b", 0)
    assert stream == Stream(b'{"type":"assistant","n":1.50}')
    assert isinstance(lost, Note)
    assert lost.reason == "stored as null"
    assert (text, end) == (Note("n"), TurnEnd(True))


@pytest.mark.parametrize(
    ("stored", "data"),
    [
        ('{"kind":"stream"}', b"{}"),
        ('{"kind":"stream","kind":"mine","a":1}', b'{"kind":"mine","a":1}'),
        ('{"a":1,"kind":"stream","z":1.0}', b'{"a":1,"z":1.0}'),
        ('{"a":1,"kind":"mine"}', b'{"a":1,"kind":"mine"}'),
        ('{"kind":"stream","s":"\\ud800"}', b'{"s":"\\ud800"}'),
    ],
)
def test_only_the_added_kind_is_taken_out(
    opened: Open, path: Path, stored: str, data: bytes
) -> None:
    """A line that had a kind of its own keeps it."""
    original_file(path, [(1, 0, "stream", stored)])
    [envelope] = opened(write=True).page()
    assert envelope.event == Stream(data)
    assert envelope.kind == "stream"


def test_original_rows_that_are_no_events_are_skipped(opened: Open, path: Path) -> None:
    """As any other row that does not parse."""
    bad = [(6, 1, "note", "no JSON"), (7, 1, "other", '{"kind":"other"}'), (8, 1, "note", "{}")]
    original_file(path, [*ORIGINAL_ROWS, *bad])
    history = opened(write=True)
    assert len(history.page()) == 5
    assert history.skipped == 3


def test_new_epochs_follow_the_original_rows(opened: Open, path: Path) -> None:
    """Their ids go on after it, and reading goes over without a gap."""
    original_file(path, ORIGINAL_ROWS)
    history = opened(write=True)
    fill(history, A, 2)
    assert [type(item) for item in history.read().items] == [Envelope] * 7
    assert sql(path, "SELECT id FROM events WHERE ts_ns >= ? ORDER BY id", T0) == [(6,), (7,)]


def test_what_the_original_had_trimmed_is_a_gap(opened: Open, path: Path) -> None:
    """It deleted its oldest rows; the ids it gave out are not used again."""
    original_file(path, ORIGINAL_ROWS[3:], "AUTOINCREMENT")
    sql(path, "DELETE FROM events WHERE id = 5")
    history = opened(write=True)
    assert history.read().items[0] == Gap(ORIGINAL, 1, 3, 3, "retention")
    fill(history, A, 1)
    assert sql(path, "SELECT max(id) FROM events") == [(6,)]


def test_a_migration_is_done_once_and_makes_one_index(opened: Open, path: Path) -> None:
    """An index on ts that was there is used; opening again changes nothing."""
    original_file(path, ORIGINAL_ROWS)
    sql(path, "CREATE INDEX their_name ON events(ts)")
    opened(write=True)
    schema = sql(path, "SELECT name FROM sqlite_schema ORDER BY 1")
    opened(write=True)
    assert sql(path, "SELECT name FROM sqlite_schema ORDER BY 1") == schema
    indexes = sql(path, "SELECT name FROM pragma_index_list('events')")
    assert sorted(indexes) == [("events_kind",), ("their_name",)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(opened: Open, path: Path) -> None:
    """It is one transaction: the original program can go on with it."""
    original_file(path, ORIGINAL_ROWS)
    sql(path, "CREATE TABLE gaps (taken)")
    schema = sql(path, "SELECT sql FROM sqlite_schema")
    with pytest.raises(HistoryError, match="gaps"):
        opened(write=True)
    assert sql(path, "SELECT sql FROM sqlite_schema") == schema
    assert sql(path, "PRAGMA user_version") == [(0,)]


def test_a_reader_that_migrates_takes_the_file_for_no_agent(opened: Open, path: Path) -> None:
    """Only who writes decides whose it is."""
    original_file(path, ORIGINAL_ROWS)
    opened("somebody").close()
    opened("agent-7", write=True).close()
    with pytest.raises(HistoryError, match="agent-7"):
        opened("somebody")


# --- several at once ----------------------------------------------------------------------

PROJECT = Path(ringbus.__file__).parents[1]

WRITER = """
import sys
from ringbus.events import Note, encode
from ringbus.history import History
path, epoch, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
with History.open(path, "agent-7", write=True) as history:
    seq = history.begin_epoch(epoch)
    print("begun", flush=True)
    while True:
        rows = [(n, n, *encode(Note(str(n)))) for n in range(seq, seq + batch)]
        seq += batch
        history.append(epoch, rows, seq)
"""


def start_writer(path: Path, epoch: str, batch: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), epoch, str(batch)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "begun\n"
    return child


def kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    assert child.wait(10) == -signal.SIGKILL
    assert child.stdout is not None
    child.stdout.close()


def test_a_reader_follows_while_another_process_writes(opened: Open, path: Path) -> None:
    """Neither waits for the other, and the reader sees whole batches in order."""
    child = start_writer(path, A, 100)
    try:
        reader = opened()
        position, seen = None, 0
        deadline = time.monotonic() + 30
        while seen < 5000:
            assert time.monotonic() < deadline
            page = reader.read(position, 1000)
            assert places(page.items) == [(A, seen + n) for n in range(len(page.items))]
            seen += len(page.items)
            position = page.next
            assert not page.at_end or seen % 100 == 0
    finally:
        kill(child)


@pytest.mark.slow
def test_a_writer_killed_at_any_moment_leaves_a_whole_prefix(opened: Open, path: Path) -> None:
    """The file opens clean and holds all rows below the next one to store, in each epoch."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    moment = random.Random(seed)
    for round_ in range(8):
        epoch = f"{1 + round_ // 2:016x}"  # each epoch is killed twice
        child = start_writer(path, epoch, moment.choice((1, 7, 250)))
        threading.Event().wait(moment.uniform(0, 0.15))
        kill(child)
        reader = opened()
        following = reader.next_seq(epoch)
        assert following is not None
        last = reader.page(limit=1)
        assert not last or last[0].epoch != epoch or last[0].seq == following - 1
        reader.close()
        assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    broken = """
        SELECT epoch FROM epochs WHERE next != (
            SELECT count(*) FROM events
            WHERE id >= base AND id < base + next AND payload_json = printf(
                '{"kind":"note","text":"%d"}', id - base))
    """
    assert sql(path, broken) == []
    assert sql(path, "SELECT count(*) FROM events") == sql(path, "SELECT sum(next) FROM epochs")
    assert sql(path, "SELECT count(*) FROM gaps WHERE reason = 'ring-lost'") == [(3,)]


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """One of them makes it; the others find it made. Tried often: it is a matter of luck."""
    failures: list[HistoryError] = []

    def open_one(path: Path, start: threading.Barrier) -> None:
        start.wait()
        try:
            History.open(path, "agent-7", write=True).close()
        except HistoryError as error:
            failures.append(error)

    for attempt in range(30):
        arguments = (tmp_path / f"{attempt}.sqlite", threading.Barrier(8))
        threads = [threading.Thread(target=open_one, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert sql(arguments[0], "SELECT value FROM about") == [("agent-7",)]


def test_a_page_is_of_one_moment(writer: History, opened: Open) -> None:
    """Rows and gaps of one page fit together, whatever is swept meanwhile."""
    fill(writer, A, 100)
    reader = opened()
    swept = threading.Event()

    def sweep(_: object, query: str, __: object) -> bool:
        if "FROM events" in query and not swept.is_set():
            swept.set()
            sweep_all(writer, Retention(rows=10, days=10**4, bytes=10**12))
        return True

    reader._db.exec_trace = sweep
    assert places(reader.read().items) == [(A, seq) for seq in range(100)]
    assert swept.is_set()
    reader._db.exec_trace = None
    assert reader.read().items[0] == Gap(A, 0, 89, 90, "retention")
