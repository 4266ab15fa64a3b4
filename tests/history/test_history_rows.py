"""What a row of a history is: its id, its time, its payload, and that it is stored once."""

from __future__ import annotations

from pathlib import Path

import pytest
from rows import ORIGINAL, SECOND, T0, A, B, Open, fill, note, notes, places, sql

from ringbus.errors import HistoryError
from ringbus.events import Event, Note, Stream, TurnEnd, TurnStart, encode
from ringbus.history import History


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
