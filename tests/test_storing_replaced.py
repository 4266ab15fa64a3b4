"""Databases deleted, moved or replaced under a running persister, and databases elsewhere."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import apsw
import pytest
from storing import (
    SMALL,
    Emitting,
    check_account,
    check_ids_kept,
    emit_notes,
    has_gate,
    persister_process,
    rows_by_id,
    rows_without_log,
    serving,
    stored,
    wait_stored,
)
from turns import Agent, wait_until

from ringbus.bus import Bus
from ringbus.errors import HistoryError
from ringbus.history import History
from ringbus.persister.agent import AgentPersister, Outcome
from ringbus.ring import Ring

LAPS = 5000
"""More notes than the ring keeps."""


def files(database: Path) -> list[Path]:
    return [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]


def move(database: Path, to: Path) -> None:
    """The file with its log, as somebody who knows SQLite does."""
    to.mkdir(exist_ok=True)
    for path in files(database):
        if path.exists():
            path.rename(to / path.name)


def copy(database: Path, to: Path) -> Path:
    """By another process: whoever closes a file gives up all locks that its process has on it."""
    to.mkdir(exist_ok=True)
    for path in files(database)[:2]:
        subprocess.run(["cp", path, to], check=True)
    return to / database.name


def lose_gate(agent: Agent, bus: Bus, number: int) -> None:
    """An event that cannot be stored makes the persister notice."""
    emit_notes(bus, 1, first=number)
    wait_until(lambda: not has_gate(agent.name), "the persister to give up its gate")


# --- deleted ------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [("",), ("-wal",), ("", "-wal", "-shm")])
def test_deleted_database_is_begun_anew(agent: Agent, bus: Bus, ends: tuple[str, ...]) -> None:
    """With all that the ring still holds, which is everything."""
    with serving(agent):
        emit_notes(bus, 50)
        wait_stored(bus)
        for end in ends:
            agent.database.with_name(agent.database.name + end).unlink(missing_ok=True)
        emit_notes(bus, 50, first=50)
        wait_until(agent.database.exists, "a fresh database")
        wait_until(lambda: has_gate(agent.name), "the persister to store again")
        wait_stored(bus)
    assert check_account(agent, 100) == []


def test_what_a_deleted_database_held_and_the_ring_does_not_is_a_gap(
    agent: Agent, bus: Bus
) -> None:
    """Told in the fresh one, with its exact size."""
    with serving(agent):
        emit_notes(bus, LAPS)
        wait_stored(bus)
        with Ring.open(agent.name) as ring:
            floor = ring.floor
        for path in files(agent.database):
            path.unlink(missing_ok=True)
        emit_notes(bus, 10, first=LAPS)
        wait_until(agent.database.exists, "a fresh database")
        wait_until(lambda: has_gate(agent.name), "the persister to store again")
        wait_stored(bus)
    (gap,) = check_account(agent, LAPS + 10)
    assert (gap.from_, gap.reason) == (0, "store-unavailable")
    assert floor > 0
    assert gap.missed is not None
    assert floor <= gap.missed <= floor + 100


def test_database_deleted_again_and_again_under_load(agent: Agent) -> None:
    """Whatever was committed into a file that had no name any more is stored again, or told."""
    with agent.bus(size=4 * SMALL) as bus, serving(agent), Emitting(bus) as emitting:
        for _ in range(8):
            emitting.wait_for(emitting.emitted + 3000)
            for path in files(agent.database):
                path.unlink(missing_ok=True)
            wait_until(agent.database.exists, "a fresh database")
            wait_until(lambda: has_gate(agent.name), "the persister to store again")
        emitting.stop()
        wait_stored(bus)
        assert {gap.reason for gap in check_account(agent, emitting.emitted)} <= {
            "store-unavailable"
        }


# --- replaced -----------------------------------------------------------------------------


def test_database_that_is_moved_away_and_back_is_gone_on_with(agent: Agent, bus: Bus) -> None:
    """A folder stands in its place meanwhile: what was stored stays, what the ring lost is told."""
    aside = agent.state / "aside"
    with serving(agent):
        emit_notes(bus, 10)
        wait_stored(bus)
        before = rows_by_id(agent)
        move(agent.database, aside)
        agent.database.mkdir()
        lose_gate(agent, bus, 10)
        emit_notes(bus, LAPS, first=11)
        agent.database.rmdir()
        move(aside / agent.database.name, agent.state)
        wait_until(lambda: has_gate(agent.name), "the persister to store again")
        wait_stored(bus)
    (gap,) = check_account(agent, LAPS + 11)
    assert (gap.from_, gap.reason) == (10, "store-unavailable")
    check_ids_kept(before, rows_by_id(agent))


@pytest.mark.parametrize("laps", [False, True])
def test_older_copy_in_its_place_is_brought_up_to_date(
    agent: Agent, bus: Bus, tmp_path: Path, laps: bool
) -> None:
    """From the ring, as far as that goes back; the rest is a gap."""
    with serving(agent):
        emit_notes(bus, 100)
        wait_stored(bus)
        backup = copy(agent.database, tmp_path / "backup")
        emit_notes(bus, LAPS if laps else 200, first=100)
        wait_stored(bus)
        before = rows_by_id(agent)
        replace(agent.database, backup)
        emitted = LAPS + 100 if laps else 300
        emit_notes(bus, 10, first=emitted)
        wait_until(lambda: is_stored(agent, emitted + 10), "all to be stored again")
    told = check_account(agent, emitted + 10)
    assert [(gap.from_, gap.reason) for gap in told] == [(100, "store-unavailable")] * laps
    check_ids_kept(before, rows_by_id(agent))


def replace(database: Path, by: Path) -> None:
    """File for file, as a backup is put back."""
    for path, other in zip(files(database), files(by), strict=True):
        if other.exists():
            other.replace(path)
        else:
            path.unlink(missing_ok=True)


def is_stored(agent: Agent, end: int) -> bool:
    """Whether the file says so; it may be gone for a moment."""
    try:
        with History.open(agent.database, agent.name) as history:
            return (history.next_seq(history.epochs()[-1]) or 0) >= end
    except HistoryError:
        return False


def test_file_alone_replaced_while_it_is_read(agent: Agent, bus: Bus, tmp_path: Path) -> None:
    """A reader keeps the log of the old one from going; it is not the log of the new one.

    The persister is another process: SQLite's locks do not tell two files of one process apart.
    """
    emitted = 0
    with persister_process(agent), ExitStack() as readers:
        for count in (100, LAPS, 100):
            emit_notes(bus, count, first=emitted)
            emitted += count
            wait_stored(bus)
            if count == LAPS:
                wait_until(lambda: rows_without_log(agent.database, tmp_path) > LAPS, "it all")
                reader = readers.enter_context(History.open(agent.database, agent.name))
                assert reader.count() == emitted
            elif emitted == 100:
                wait_until(lambda: rows_without_log(agent.database, tmp_path) == 100, "it all")
                backup = copy(agent.database, tmp_path / "backup")
        backup.replace(agent.database)
        emit_notes(bus, 10, first=emitted)
        wait_until(lambda: is_stored(agent, emitted + 10), "all to be stored again")
    with closing(apsw.Connection(str(agent.database))) as db:
        assert db.pragma("integrity_check") == "ok"
    (gap,) = check_account(agent, emitted + 10)
    assert (gap.from_, gap.reason) == (100, "store-unavailable")


@pytest.mark.parametrize("whose", ["another agent's", "another program's"])
def test_database_that_is_not_ours_in_its_place_is_left_alone(
    agent: Agent, bus: Bus, tmp_path: Path, whose: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Emitters run on; when the right one is back, storing goes on in it."""
    foreign = tmp_path / "foreign"
    if whose == "another agent's":
        History.open(foreign, "somebody-else", write=True).close()
    else:
        with closing(apsw.Connection(str(foreign))) as db:
            db.execute("CREATE TABLE events (name)")
    content = foreign.read_bytes()
    aside = agent.state / "aside"
    with serving(agent):
        emit_notes(bus, 10)
        wait_stored(bus)
        move(agent.database, aside)
        foreign.rename(agent.database)
        lose_gate(agent, bus, 10)
        emit_notes(bus, LAPS, first=11)
        wait_until(lambda: len(caplog.records) > 0, "a warning")
        agent.database.rename(foreign)
        move(aside / agent.database.name, agent.state)
        wait_until(lambda: has_gate(agent.name), "the persister to store again")
        wait_stored(bus)
    assert foreign.read_bytes() == content
    (gap,) = check_account(agent, LAPS + 11)
    assert (gap.from_, gap.reason) == (10, "store-unavailable")


# --- elsewhere ----------------------------------------------------------------------------


def test_persister_of_another_folder_serves_the_database_that_the_ring_names(
    agent: Agent, bus: Bus, tmp_path: Path
) -> None:
    """Started after the first one was killed: no second history is begun."""
    with persister_process(agent) as first:
        emit_notes(bus, 10)
        wait_stored(bus)
        first.kill()
    emit_notes(bus, 10, first=10)
    with persister_process(Agent(agent.name, tmp_path / "other")):
        emit_notes(bus, 10, first=20)
        wait_stored(bus)
    assert check_account(agent, 30) == []
    assert not list((tmp_path / "other").glob("*.sqlite"))


@pytest.mark.parametrize("laps", [False, True])
def test_ring_that_another_database_served_in_between(
    agent: Agent, bus: Bus, tmp_path: Path, laps: bool
) -> None:
    """Each file has every event once, or a gap for what the ring did not hold any more."""
    elsewhere = Agent(agent.name, tmp_path / "elsewhere")
    emitted = 0
    for place in (agent, elsewhere, agent):
        with serving(place):
            for _ in range(2):
                emit_notes(bus, 2000 if laps else 50, first=emitted)
                emitted += 2000 if laps else 50
                wait_stored(bus)
    told = check_account(agent, emitted)
    assert [gap.reason for gap in told] == ["lapped"] * laps
    assert [gap.from_ for gap in told] == [4000] * laps
    told = check_account(elsewhere, 2 * emitted // 3)
    assert [gap.reason for gap in told] == ["lapped"] * laps


def test_second_database_is_refused_while_the_first_is_served(
    agent: Agent, bus: Bus, tmp_path: Path
) -> None:
    """Under load, again and again: it ends, and takes nothing."""
    elsewhere = Agent(agent.name, tmp_path / "elsewhere")
    with serving(agent), Emitting(bus, limit=10_000) as emitting:
        for _ in range(10):
            persister = AgentPersister(agent.name, elsewhere.database)
            assert persister.run() is Outcome.TAKEN
            assert str(agent.database) in persister.rival
        emitting.join()
        wait_stored(bus)
    assert check_account(agent, 10_000) == []
    assert stored(elsewhere) == []
