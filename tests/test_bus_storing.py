"""A bus and its history: where that is, that it may be unusable, and who stores into it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import pytest
from storing import (
    SMALL,
    Serving,
    emit_notes,
    has_gate,
    numbers,
    paused,
    persister_pid,
    serving,
    stored,
    texts,
)
from turns import Agent, is_alive, wait_until

from ringbus import bus as bus_module
from ringbus.bus import Bus
from ringbus.errors import (
    HistoryError,
)
from ringbus.events import Note
from ringbus.history import History
from ringbus.persister.agent import AgentPersister
from ringbus.persister.writer_lock import lock_path
from ringbus.ring import options


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Bus that gives a persister a tenth of a second to come up."""
    monkeypatch.setattr(bus_module, "PERSISTER_PATIENCE", 0.1)


# --- where the history is -----------------------------------------------------------------


@pytest.mark.parametrize("variable", ["RINGBUS_EVENTS_DB", "HYPERHIVE_EVENTS_DB"])
def test_database_named_by_the_environment_is_used(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """Its folder is made."""
    database = tmp_path / "elsewhere" / "events.db"
    monkeypatch.setenv(variable, str(database))
    with Bus(agent.name, state=agent.state) as bus:
        assert bus.database == database
        bus.emit(Note("here"))
        assert bus.wait_stored(60)
    with History.open(database, agent.name) as history:
        assert texts(history.page()) == ["here"]
    assert not agent.database.exists()


@pytest.mark.parametrize("persister", ["auto", None])
def test_two_databases_for_one_ring_are_refused(
    agent: Agent, tmp_path: Path, persister: Literal["auto"] | None
) -> None:
    """The error names both, and the remedy."""
    other = tmp_path / "other"
    with agent.bus() as bus, serving(agent):
        bus.emit(Note("x"))
        with pytest.raises(HistoryError) as refused:
            Bus(agent.name, state=other, persister=persister)
    assert str(agent.database) in str(refused.value)
    assert str(other / f"{agent.name}.sqlite") in str(refused.value)
    assert "RINGBUS_STATE" in str(refused.value)


def test_database_of_another_bus_that_was_faster_is_noticed(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both found the ring unserved; the persister of one has it, the other is refused."""
    other = tmp_path / "other.sqlite"
    started: list[Path] = []
    with ExitStack() as stack:

        def start_the_others(_: str, database: Path) -> None:
            started.append(database)
            stack.enter_context(Serving(AgentPersister(agent.name, other)))

        monkeypatch.setattr(bus_module, "spawn_persister", start_the_others)
        monkeypatch.setattr(bus_module, "is_starting", lambda _: bool(started))
        with pytest.raises(HistoryError, match=f"{other}.*{agent.database}"):
            Bus(agent.name, state=agent.state)
    assert started == [agent.database]


def test_another_path_to_the_same_database_is_fine(agent: Agent, tmp_path: Path) -> None:
    """The file counts, not its name."""
    link = tmp_path / "link"
    with agent.bus() as bus, serving(agent):
        link.symlink_to(agent.state, target_is_directory=True)
        with Bus(agent.name, state=link) as second:
            second.emit(Note("through the link"))
            assert texts(bus.history()) == ["through the link"]


# --- a history that cannot be used --------------------------------------------------------


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def noise(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this is no database " * 500)


@pytest.mark.parametrize("spoil", [folder, noise])
def test_history_that_cannot_be_opened_is_told_once(
    agent: Agent,
    hasty: None,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
) -> None:
    """Live events go on, and `history()` gives what the ring holds."""
    spoil(agent.database)
    with Bus(agent.name, state=agent.state, size=SMALL) as bus, bus.subscribe() as live:
        emit_notes(bus, 10)
        assert numbers(bus.history()) == list(range(10))
        assert numbers(bus.history(limit=3)) == [7, 8, 9]
        assert numbers([next(live) for _ in range(10)]) == list(range(10))
    (warning,) = [record.message for record in caplog.records if record.name == "ringbus.bus"]
    assert str(agent.database) in warning
    if agent.database.is_dir():
        agent.database.rmdir()


def test_history_is_used_when_it_can_be_opened_later(agent: Agent, hasty: None) -> None:
    """The persister tries again, and stores what the ring still holds."""
    folder(agent.database)
    with Bus(agent.name, state=agent.state) as bus:
        emit_notes(bus, 10)
        agent.database.rmdir()
        assert bus.wait_stored(60)
        assert numbers(bus.history()) == list(range(10))
    assert numbers(stored(agent)) == list(range(10))


def test_folder_that_cannot_be_made_is_told_at_once(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    """No persister could be started: the Bus works without."""
    agent.state.write_text("a file is in the way")
    with Bus(agent.name, state=agent.state) as bus:
        bus.emit(Note("live"))
        assert texts(bus.history()) == ["live"]
    (warning,) = [record.message for record in caplog.records]
    assert str(agent.state) in warning
    agent.state.unlink()


# --- a persister is always there ----------------------------------------------------------


def test_persister_is_started_and_serves_every_bus(agent: Agent) -> None:
    """When the Bus is open its gate stands; the next Bus starts no other."""
    with Bus(agent.name, state=agent.state) as bus:
        assert has_gate(agent.name)
        pid = persister_pid(agent.name)
        with Bus(agent.name, state=agent.state) as second:
            second.emit(Note("stored"))
            assert second.wait_stored(60)
        assert persister_pid(agent.name) == pid
        assert texts(bus.history()) == ["stored"]
    assert texts(stored(agent)) == ["stored"]
    assert (agent.database.with_name(agent.database.name + ".log")).read_bytes() == b""


def test_persister_that_another_bus_just_started_is_waited_for(
    agent: Agent, hasty: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty at once do not start twenty."""
    started: list[Path] = []
    monkeypatch.setattr(bus_module, "spawn_persister", lambda _, database: started.append(database))
    agent.state.mkdir()
    lock_path(agent.database).touch()
    with Bus(agent.name, state=agent.state):
        assert started == []
    os.utime(lock_path(agent.database), (0, 0))
    with Bus(agent.name, state=agent.state):
        assert set(started) == {agent.database}


def test_bus_without_a_persister_starts_none(agent: Agent, bus: Bus) -> None:
    """Broadcast only: nothing is written anywhere."""
    bus.emit(Note("live"))
    assert not has_gate(agent.name)
    assert not agent.state.exists()
    assert not bus.wait_stored(0)


def test_emitter_that_meets_a_dead_persister_starts_another(agent: Agent) -> None:
    """Killed with most of a ring free: a ring later nothing is missing."""
    with Bus(agent.name, state=agent.state, size=SMALL) as bus:
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        pid = persister_pid(agent.name)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "the end of the persister")
        emit_notes(bus, 4990, first=10)
        assert bus.wait_stored(60)
        assert persister_pid(agent.name) != pid
    assert numbers(stored(agent)) == list(range(5000))


def test_pushing_a_persister_on_is_told_once(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopped, continued, stopped again: one warning for each Bus."""
    monkeypatch.setitem(options.DEFAULT_LIMITS, "block", 0.05)
    with Bus(agent.name, state=agent.state, size=SMALL) as bus:
        for _ in range(2):
            with paused(persister_pid(agent.name)):
                emit_notes(bus, 3000)
            assert bus.wait_stored(60)
    assert len([record for record in caplog.records if "pushed on" in record.message]) == 1


def test_waiting_for_storage_ends_with_its_time(agent: Agent) -> None:
    """False while the persister stands still, true once it has stored all."""
    with Bus(agent.name, state=agent.state) as bus:
        with paused(persister_pid(agent.name)):
            bus.emit(Note("later"))
            assert not bus.wait_stored(0.1)
        assert bus.wait_stored(60)
