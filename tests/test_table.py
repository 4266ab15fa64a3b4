"""Rings and batches as tables of SQLite: in this process, in the shell, and by `ringbus sql`."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from missing import go_without
from storing import emit_notes, serving
from turns import Agent, ringbus

from ringbus import _core
from ringbus.bus import Bus
from ringbus.events import Note, Stream, TurnEnd, encode
from ringbus.history import History, table
from ringbus.ring import Ring
from ringbus.ring.batch import Batch

EVENTS = (Note("one"), Stream(b'{"a":1}'), TurnEnd(ok=True), Note("dürr"))


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """A database in memory that has the tables."""
    with closing(apsw.Connection(":memory:")) as db:
        assert table.load(db)
        yield db


def put(ring: Ring, events: Sequence[Note | Stream | TurnEnd] = EVENTS) -> list[bytes]:
    """Emits events; their payloads."""
    payloads = []
    for event in events:
        kind, payload = encode(event)
        ring.emit(payload, kind)
        payloads.append(payload)
    return payloads


def test_ring_is_a_table_of_what_it_holds(ring: Ring, db: apsw.Connection) -> None:
    """Each record a row; text as text, other bytes as they are, the time in seconds and ns."""
    payloads = put(ring)
    ring.emit(b"\xff\0", 7, True)
    rows = db.execute("SELECT * FROM ringbus(?)", (ring.name,)).fetchall()
    records = ring.subscribe("oldest").read()
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4]
    assert [row[2] for row in rows] == ["note", "stream", "turn_end", "note", None]
    assert [row[3] for row in rows] == [*(payload.decode() for payload in payloads), b"\xff\0"]
    assert [row[4] for row in rows] == [record.ts_ns for record in records]
    assert [row[1] for row in rows] == [record.ts_ns // 10**9 for record in records]
    assert [row[5:] for row in rows] == [
        (int(record.transient), record.emitter) for record in records
    ]


def test_table_ends_at_the_tail_of_the_moment(ring: Ring, db: apsw.Connection) -> None:
    """Emitting into the ring that is being read does not make the statement endless."""
    put(ring)
    rows = 0
    for _ in db.execute("SELECT seq FROM ringbus(?)", (ring.name,)):
        rows += 1
        put(ring)
    assert rows == len(EVENTS)


def test_overtaken_scan_tells_the_loss_as_a_row(ring: Ring, db: apsw.Connection) -> None:
    """No silent hole: a row of kind `gap` stands where records were lost."""
    for number in range(1100):  # more than are copied at once
        ring.emit(b"%d" % number)
    rows = []
    for row in db.execute("SELECT seq, kind, payload_json FROM ringbus(?)", (ring.name,)):
        rows.append(row)
        if len(rows) == 1:
            first = row[0]
            end = ring.tail
            for number in range(3000):
                ring.emit(b"later %d" % number)
    gaps = [(seq, json.loads(text)) for seq, kind, text in rows if kind == "gap"]
    numbers = [seq for seq, kind, _ in rows if kind != "gap"]
    ((seq, gap),) = gaps
    assert (gap["from"], gap["missed"]) == (seq, gap["to"] - gap["from"] + 1)
    assert numbers == list(range(first, gap["from"]))
    assert gap["to"] + 1 >= end


def test_batch_is_a_table_without_transient_records(ring: Ring, db: apsw.Connection) -> None:
    """What a persister stores: the batch as it was filled."""
    payloads = put(ring)
    ring.emit(payloads[0], 3, True)
    batch = Batch()
    assert ring.subscribe("oldest").fill(batch)
    put(ring)
    rows = db.execute("SELECT seq, payload_json FROM ringbus_batch(?)", (batch.address,)).fetchall()
    assert rows == [(number, payload.decode()) for number, payload in enumerate(payloads)]
    assert (len(batch), batch.foreign, batch.next_seq) == (5, 0, 5)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (0, b'{"kind":"note","text":"no kind code"}'),
        (5, b'{"kind":"note","text":"no such kind"}'),
        (2, b'{"kind":"note","text":"another kind"}'),
        (3, b'{"kind":"note","text":"no end"'),
        (3, b'{"kind":"note",'),
        (3, b""),
        (3, b'{"kind":"note","text":"\xff"}'),
        (3, b'{"kind":"note","text":"\xc0\x80"}'),
        (3, b'{"kind":"note","text":"\xed\xa0\x80"}'),
        (3, b'{"kind":"note","text":"\xf4\x90\x80\x80"}'),
        (3, b'{"kind":"note","text":"1234567\xe2\x82"}'),
    ],
)
def test_what_is_no_event_is_counted_as_foreign(
    agent: Agent, bus: Bus, kind: int, payload: bytes
) -> None:
    """By the same look as Python's; it is stored as a note all the same."""
    with Ring.open(agent.name) as ring:
        ring.emit(payload, kind)
        batch = Batch()
        assert ring.subscribe("oldest").fill(batch)
    assert batch.foreign == 1
    with serving(agent):
        assert bus.wait_stored(60)
    with History.open(agent.database, agent.name) as history:
        (stored,) = history.page()
    assert isinstance(stored.event, Note)
    assert stored.event.reason == "not an event"


@pytest.mark.parametrize("text", ["", "a", "é", "€uro 1234567", "\U0001f600" * 5, "\ud7ff\ue000"])
def test_any_text_is_an_event(ring: Ring, text: str) -> None:
    """UTF-8 of every length, at every place in a word."""
    for shift in range(9):
        put(ring, [Note("x" * shift + text)])
    batch = Batch()
    assert ring.subscribe("oldest").fill(batch)
    assert (len(batch), batch.foreign) == (9, 0)


def test_batch_ends_at_its_limits(ring: Ring) -> None:
    """Records or bytes, whichever comes first; the rest is for the next fill."""
    subscriber = ring.subscribe("oldest")
    for _ in range(10):
        ring.emit(b"x" * 100)
    few, small = Batch(most_records=4), Batch(most_bytes=250)
    assert subscriber.fill(few)
    assert (len(few), few.is_full) == (4, True)
    assert subscriber.fill(small)
    assert (len(small), small.is_full, small.next_seq) == (3, True, 7)
    assert subscriber.fill(few)
    assert (len(few), few.is_full) == (3, False)
    assert not subscriber.fill(few)
    assert (len(few), few.next_seq, bool(few)) == (0, 10, False)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM ringbus", "which ring"),
        ("SELECT * FROM ringbus('no-such-ring')", "No such file"),
        ("SELECT * FROM ringbus('../../etc/passwd')", "a ring's name"),
        ("SELECT * FROM ringbus(NULL)", "a ring's name"),
        ("SELECT * FROM ringbus_batch(1)", "no such batch"),
    ],
)
def test_wrong_argument_is_an_error(db: apsw.Connection, query: str, told: str) -> None:
    """That says what is meant."""
    with pytest.raises(apsw.SQLError, match=told):
        db.execute(query).fetchall()


def test_batch_that_is_gone_is_refused(ring: Ring, db: apsw.Connection) -> None:
    """An address is looked up among those that live."""
    put(ring)
    batch = Batch()
    ring.subscribe("oldest").fill(batch)
    address = batch.address
    del batch
    with pytest.raises(apsw.SQLError, match="no such batch"):
        db.execute("SELECT * FROM ringbus_batch(?)", (address,)).fetchall()


def test_damaged_ring_is_an_error(ring: Ring, db: apsw.Connection) -> None:
    """With the reason that every attacher gets."""
    with Path(f"/dev/shm/ringbus.{ring.name}").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(apsw.SQLError, match="incompatible"):
        db.execute("SELECT * FROM ringbus(?)", (ring.name,)).fetchall()


def test_the_shell_of_sqlite_loads_the_same_file(ring: Ring) -> None:
    """Without any Python in the process."""
    if shutil.which("sqlite3") is None:
        go_without("there is no sqlite3: install sqlite3")
    put(ring)
    run = subprocess.run(
        ["sqlite3", ":memory:", "-cmd", f".load {_core.__file__}"],
        input=f"SELECT seq, kind FROM ringbus('{ring.name}') WHERE kind = 'note';",
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "0|note\n3|note\n"


@pytest.mark.parametrize("has_table", [True, False])
def test_persister_stores_the_same_either_way(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch, has_table: bool
) -> None:
    """By the table, and by VALUES through apsw where SQLite cannot load it."""
    if not has_table:
        monkeypatch.setattr(table, "load", lambda _: False)
    payloads = [bus.emit(event) for event in EVENTS]
    bus.emit(Note("passing"), transient=True)
    emit_notes(bus, 500)
    with serving(agent):
        assert bus.wait_stored(60)
    with closing(apsw.Connection(str(agent.database))) as db:
        rows = db.execute("SELECT id, kind, payload_json, ts, ts_ns FROM events").fetchall()
    with Ring.open(agent.name) as ring:
        kept = [one for one in ring.subscribe("oldest").read(1000) if not one.transient]
    assert len(payloads) == len(EVENTS)
    assert [row[0] - rows[0][0] for row in rows] == [record.seq for record in kept]
    assert [row[2].encode() for row in rows] == [record.payload for record in kept]
    assert [row[3:] for row in rows] == [(one.ts_ns // 10**9, one.ts_ns) for one in kept]
    assert [row[1] for row in rows[:4]] == ["note", "stream", "turn_end", "note"]


@pytest.mark.parametrize("gone", ["id > 0", "id % 2 = 0", "id >= (SELECT max(id) FROM events)"])
def test_ids_go_on_whatever_rows_are_gone(agent: Agent, bus: Bus, gone: str) -> None:
    """SQLite would give an id out again whose row and all behind it were deleted."""
    with serving(agent):
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        with closing(apsw.Connection(str(agent.database))) as db:
            db.set_busy_timeout(60_000)  # the persister may be writing
            before = {row[0] for row in db.execute("SELECT id FROM events")}
            db.execute(f"DELETE FROM events WHERE {gone}")
            kept = {row[0] for row in db.execute("SELECT id FROM events")}
            emit_notes(bus, 10)
            assert bus.wait_stored(60)
            after = {row[0] for row in db.execute("SELECT id FROM events")}
    assert after - kept == {one + 10 for one in before}


# --- ringbus sql --------------------------------------------------------------------------


def test_sql_asks_the_ring_and_the_history(agent: Agent, bus: Bus) -> None:
    """Both in one query, by their names."""
    emit_notes(bus, 5)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 2)
    query = "SELECT (SELECT count(*) FROM ring) AS ring, (SELECT count(*) FROM events) AS events"
    assert (
        ringbus("sql", agent.name, query, "--state", str(agent.state)).stdout
        == b"ring\tevents\n7\t5\n"
    )
    run = ringbus("sql", agent.name, query, "--json", "--state", str(agent.state))
    assert json.loads(run.stdout) == {"ring": 7, "events": 5}


def test_sql_without_a_history_asks_the_ring(agent: Agent, bus: Bus) -> None:
    """`events` is not there then, and says so."""
    emit_notes(bus, 3)
    run = ringbus("sql", agent.name, "SELECT max(seq) FROM ring", "--state", str(agent.state))
    assert run.stdout == b"max(seq)\n2\n"
    run = ringbus("sql", agent.name, "SELECT * FROM events", "--state", str(agent.state))
    assert (run.returncode, run.stdout) == (1, b"")
    assert b"no such table: events" in run.stderr


@pytest.mark.parametrize(
    "query", ["DELETE FROM events", "CREATE TABLE t(x)", "SELEKT 1", "DROP VIEW ring"]
)
def test_sql_changes_nothing(agent: Agent, bus: Bus, query: str) -> None:
    """What would is refused in one line."""
    emit_notes(bus, 3)
    with serving(agent):
        assert bus.wait_stored(60)
    run = ringbus("sql", agent.name, query, "--state", str(agent.state))
    assert (run.returncode, run.stdout, run.stderr.count(b"\n")) == (1, b"", 1), run
    with History.open(agent.database, agent.name) as history:
        assert history.count() == 3
