"""Files of other versions: killed while one is migrated, newer ones, and what still reads them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from flask.testing import FlaskClient
from helpers import Child
from rows import EVERYTHING, ORIGINAL, SECOND, sql, sweep_all
from storing import check_contiguous, emit_notes, has_gate, numbers, rest, serving, stored
from turns import Agent, ringbus, started, wait_until

from ringbus.bus import Bus
from ringbus.errors import HistoryError
from ringbus.events import Gap, Note
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.settings import Retention

COUNT = 300
START = int(time.time()) - 1000
FIRST = 21  # the original had trimmed what was before
ROWS = [
    (number, START + number, "note", f'{{"kind":"note","text":"{number}"}}')
    for number in range(FIRST, FIRST + COUNT)
]
NEWER = 99

QUERIES = [
    "SELECT id, ts, kind, payload_json FROM events ORDER BY id",
    "SELECT id, ts, kind, payload_json FROM events WHERE id > 40 ORDER BY id LIMIT 20",
    "SELECT id, ts, kind, payload_json FROM events ORDER BY id DESC LIMIT 2000",
    "SELECT kind, count(*) FROM events GROUP BY kind",
    f"SELECT max(id), min(ts) FROM events WHERE ts >= {START + 100}",
    "SELECT json_extract(payload_json, '$.text') FROM events WHERE kind = 'note' ORDER BY ts, id",
]


def original_file(path: Path) -> None:
    """As the original program leaves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, ts INTEGER NOT NULL,"
        " kind TEXT NOT NULL, payload_json TEXT NOT NULL)"
    )
    connection.execute("CREATE INDEX idx_events_ts ON events(ts)")
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", ROWS)
    connection.commit()
    connection.close()


# --- killed -------------------------------------------------------------------------------


def at_a_statement(db: apsw.Connection, count: Callable[[], bool]) -> None:
    db.exec_trace = lambda *_: count()


def in_a_statement(db: apsw.Connection, count: Callable[[], bool]) -> None:
    db.set_progress_handler(lambda: not count(), 200)  # after so many steps of SQLite's machine


@pytest.mark.parametrize("place", [at_a_statement, in_a_statement])
def test_a_migration_that_is_killed_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, place: Callable[[apsw.Connection, Callable[[], bool]], None]
) -> None:
    """At every place; rows and ids are there, and the next who opens it has them all."""
    versions: list[int] = []
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        path = tmp_path / f"{len(versions)}.sqlite"
        original_file(path)
        status = migrate_and_die(path, place, len(versions) + 1)
        versions.append(check_old_or_new(path))
        with History.open(path, "agent-7", write=True) as history:
            assert numbers(history.page()) == list(range(FIRST, FIRST + COUNT))
    assert status == 0
    assert versions == sorted(versions)
    assert versions.count(0) > 3
    assert versions[-1] == 2


def migrate_and_die(
    path: Path, place: Callable[[apsw.Connection, Callable[[], bool]], None], times: int
) -> int:
    """Opens the file in a process that kills itself where it comes to be the so-manieth time."""
    left = times

    def count() -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def migrate(_: Child) -> None:
        apsw.connection_hooks.append(lambda db: place(db, count))
        History.open(path, "agent-7", write=True).close()

    with Child(migrate) as child:
        child.status = os.waitpid(child.pid, 0)[1]
        return os.waitstatus_to_exitcode(child.status)


def check_old_or_new(path: Path) -> int:
    """The version of the file, which is wholly of that."""
    assert sql(path, "PRAGMA integrity_check") == [("ok",)]
    assert sql(path, QUERIES[0]) == ROWS
    [(version,)] = sql(path, "PRAGMA user_version")
    names = {name for (name,) in sql(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    columns = len(sql(path, "SELECT name FROM pragma_table_info('events')"))
    ours = {"about", "epochs", "gaps"}
    assert (names & ours, columns) == ((set(), 4) if version == 0 else (ours, 5))
    return int(version)


# --- read as before -----------------------------------------------------------------------


def test_queries_written_for_the_original_give_the_same(tmp_path: Path) -> None:
    """By any SQLite program, before and after."""
    path = tmp_path / "agent-7.sqlite"
    original_file(path)
    before = [sql(path, query) for query in QUERIES]
    History.open(path, "agent-7", write=True).close()
    assert [sql(path, query) for query in QUERIES] == before


def test_an_original_file_is_gone_on_with(agent: Agent) -> None:
    """A persister stores into it; who follows gets the old rows, the gap before, and the new."""
    original_file(agent.database)
    with agent.bus() as bus, serving(agent):
        bus.emit(Note("1000"))
        assert bus.wait_stored(60)
        with bus.follow() as follow:
            gap, *items = rest(follow)
        assert gap == Gap(ORIGINAL, 1, FIRST - 1, FIRST - 1, "retention")
        assert numbers(items) == [*range(FIRST, FIRST + COUNT), 1000]
        with bus.follow(after=(ORIGINAL, 300)) as follow:
            assert numbers(rest(follow)) == [*range(301, FIRST + COUNT), 1000]
    (*old, new) = sql(agent.database, QUERIES[0])
    assert old == ROWS
    assert new[0] > ROWS[-1][0]
    assert new[2:] == ("note", '{"kind":"note","text":"1000"}')


def test_original_rows_are_swept_as_others_are(tmp_path: Path) -> None:
    """One gap says what the original had trimmed and what went now."""
    path = tmp_path / "agent-7.sqlite"
    original_file(path)
    with History.open(path, "agent-7", write=True) as history:
        assert sweep_all(history, EVERYTHING, now_ns=START * SECOND) == 0
        assert sweep_all(history, Retention(rows=100), now_ns=START * SECOND) == COUNT - 100
        gap, *items = history.read().items
    assert gap == Gap(ORIGINAL, 1, FIRST + COUNT - 101, FIRST + COUNT - 101, "retention")
    assert numbers(items) == list(range(FIRST + COUNT - 100, FIRST + COUNT))


# --- newer --------------------------------------------------------------------------------


@pytest.fixture
def newer(agent: Agent, bus: Bus) -> bytes:
    """The agent's history is of a later ringbus; its bytes."""
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch("a" * 16)
    sql(agent.database, f"PRAGMA user_version = {NEWER}")
    bus.emit(Note("in the ring"))
    return agent.database.read_bytes()


@pytest.mark.parametrize(
    "verb",
    [["history"], ["history", "--json", "--grep", "ring"], ["tail", "--no-follow", "--from-start"]],
    ids=" ".join,
)
def test_verbs_say_that_a_history_is_newer_and_show_what_the_ring_holds(
    agent: Agent, newer: bytes, verb: list[str]
) -> None:
    """One line with file, versions and remedy; the file stays as it is."""
    run = ringbus(*verb, *agent.place)
    check_told(agent, run.stderr.decode())
    assert run.returncode == 0
    assert b"in the ring" in run.stdout
    assert agent.database.read_bytes() == newer


def check_told(agent: Agent, told: str) -> None:
    (line,) = told.splitlines()
    assert (
        f"{agent.database}: written by a newer ringbus (schema {NEWER}, this one knows 2)" in line
    )
    assert "upgrade ringbus" in line


def test_persister_of_a_newer_history_holds_nobody_up(
    agent: Agent, bus: Bus, newer: bytes, tmp_path: Path
) -> None:
    """It says so once, has no gate, and stores when the file is one that it knows."""
    told = tmp_path / "told"
    with told.open("wb") as file, started("persist", *agent.place, stderr=file):
        wait_until(lambda: told.read_bytes().endswith(b"\n"), "what it has to say")
        check_told(agent, told.read_text())
        emit_notes(bus, 3000)
        assert not has_gate(agent.name)
        assert agent.database.read_bytes() == newer
        sql(agent.database, "PRAGMA user_version = 2")
        wait_until(lambda: has_gate(agent.name), "the persister to store")
        assert bus.wait_stored(60)
    assert told.read_text().count("written by a newer") == 1
    lost, gap, *items = stored(agent)
    assert lost == Gap("a" * 16, 0, None, None, "ring-lost")
    assert isinstance(gap, Gap)
    assert gap.reason == "store-unavailable"
    check_contiguous([gap, *items], end=3001)


def test_pages_of_a_newer_history_show_what_the_ring_holds(
    agent: Agent, client: FlaskClient, newer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No error page, and a line in the log."""
    response = client.get(f"/agents/{agent.name}/history")
    assert response.status_code == 200
    assert [event["text"] for event in json.loads(response.data)["events"]] == ["in the ring"]
    check_told(agent, caplog.messages[0])
    assert client.get(f"/agents/{agent.name}").status_code == 200
    assert client.get("/").status_code == 200
    assert agent.database.read_bytes() == newer


def test_follow_and_bus_of_a_newer_history_go_on_with_the_ring(
    agent: Agent, bus: Bus, newer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """And say so once each."""
    assert [envelope.event for envelope in bus.history()] == [Note("in the ring")]
    check_told(agent, caplog.messages[0].partition(";")[0] + "; upgrade ringbus")
    with Follow(agent.name, database=agent.database) as follow:
        assert len(rest(follow)) == 1
    assert len(caplog.messages) == 2
    with pytest.raises(HistoryError, match="newer"):
        History.open(agent.database, agent.name, write=True)
    assert agent.database.read_bytes() == newer
