"""Files of the original schema: they open with their rows, and migrate once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from rows import ORIGINAL, SECOND, T0, A, Open, fill, places, sql

from ringbus.errors import HistoryError
from ringbus.events import Envelope, Gap, Note, Stream, TurnEnd, TurnStart

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
