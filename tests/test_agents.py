"""Agents of this machine: which there are, where their history is, and how they are removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from storing import SMALL, emit_notes, numbers, put, serving, store, stored, texts
from turns import Agent, fresh_agent, is_alive, ringbus, wait_until

from ringbus import removal
from ringbus.agents import agent_rings, agents, database_of, is_agent_ring
from ringbus.bus import Bus
from ringbus.errors import HistoryError, IncompatibleRing, RingNotFound, RingUnlinked
from ringbus.events import Note
from ringbus.follow import Follow
from ringbus.history import History, lines_folder
from ringbus.persister.writer_lock import WriterLock
from ringbus.removal import collect, remove_agent
from ringbus.ring import Ring, list_rings

# --- which there are ----------------------------------------------------------------------


def test_agents_are_those_with_a_ring_and_those_with_a_history(agent: Agent, bus: Bus) -> None:
    """Each once, whatever else lies in the folder."""
    with fresh_agent(agent.state) as old:
        with old.bus() as old_bus:
            old_bus.emit(Note("x"))
            remove_agent(old.name, old.state, purge=False)
        store(agent, bus)
        (agent.state / "not an agent.sqlite").touch()
        (agent.state / "notes.txt").touch()
        found = agents(agent.state)
        assert {agent.name, old.name} <= set(found)
        assert "not an agent" not in found
        assert sorted(set(found)) == found


def test_bare_ring_is_no_agents(agent: Agent) -> None:
    """Until a Bus or a persister opens it."""
    with Ring.create(agent.name, size=SMALL):
        assert not is_agent_ring(agent.name)
        assert agent.name not in agent_rings()
        agent.bus().close()
        assert is_agent_ring(agent.name)
        assert agent.name in agent_rings()


def test_file_that_is_no_ring_is_no_agents_ring(agent: Agent) -> None:
    """It is passed over where all are listed, and refused where it is named."""
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    path.write_bytes(b"noise" * 20_000)
    try:
        assert agent.name not in agent_rings()
        with pytest.raises(IncompatibleRing):
            is_agent_ring(agent.name)
    finally:
        path.unlink()


def test_agents_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Only the rings count."""
    assert agents(tmp_path / "nowhere") == agent_rings()


def test_database_is_the_one_that_its_ring_names(agent: Agent, tmp_path: Path) -> None:
    """Else the one of the state folder."""
    other = tmp_path / "other"
    assert database_of(agent.name, other) == other / f"{agent.name}.sqlite"
    with agent.bus() as bus:
        store(agent, bus)
        assert database_of(agent.name, other) == agent.database
        agent.database.rename(agent.database.with_name("elsewhere"))
        assert database_of(agent.name, other) == other / f"{agent.name}.sqlite"


# --- removing -----------------------------------------------------------------------------


def test_remove_stores_the_rest_and_keeps_the_history(agent: Agent, bus: Bus) -> None:
    """Whoever still emits is told."""
    emit_notes(bus, 100)
    remove_agent(agent.name, agent.state, purge=False)
    assert agent.name not in list_rings()
    assert numbers(stored(agent)) == list(range(100))
    with pytest.raises(RingUnlinked):
        bus.emit(Note("late"))


def test_remove_leaves_the_storing_to_a_living_persister(agent: Agent, bus: Bus) -> None:
    """When it returns all of it is stored, and the epoch ended cleanly."""
    with serving(agent):
        emit_notes(bus, 100)
        remove_agent(agent.name, agent.state, purge=False)
        assert not WriterLock(agent.database).is_held()
    assert numbers(stored(agent)) == list(range(100))
    with History.open(agent.database, agent.name) as history:
        assert history.is_clean(bus.epoch)


def test_removed_while_nobody_is_attached_ends_the_epoch_cleanly(agent: Agent) -> None:
    """The next ring follows without a gap."""
    with agent.bus() as bus:
        emit_notes(bus, 3)
    remove_agent(agent.name, agent.state, purge=False)
    with History.open(agent.database, agent.name) as history:
        assert history.is_clean(bus.epoch)


def test_removed_while_somebody_is_attached_does_not(agent: Agent, bus: Bus) -> None:
    """Its last events may have come after the last look."""
    emit_notes(bus, 3)
    remove_agent(agent.name, agent.state, purge=False)
    with History.open(agent.database, agent.name) as history:
        assert not history.is_clean(bus.epoch)


@pytest.mark.parametrize("is_served", [True, False], ids=["served", "not served"])
def test_purge_removes_ring_and_history(agent: Agent, is_served: bool) -> None:
    """With the files of long lines, lock and log; nothing of it comes back."""
    with agent.bus() as bus:
        emit_notes(bus, 10)
        store(agent, bus)
        folder = lines_folder(agent.database)
        folder.mkdir()
        (folder / "line").write_bytes(b"long")
        if is_served:
            with serving(agent):
                remove_agent(agent.name, agent.state, purge=True)
        else:
            remove_agent(agent.name, agent.state, purge=True)
    assert agent.name not in list_rings()
    assert list(agent.state.iterdir()) == []


def test_purge_of_a_history_without_a_ring(agent: Agent, bus: Bus) -> None:
    """What `rm` left behind."""
    bus.emit(Note("x"))
    remove_agent(agent.name, agent.state, purge=False)
    with pytest.raises(RingNotFound):
        remove_agent(agent.name, agent.state, purge=False)
    remove_agent(agent.name, agent.state, purge=True)
    with pytest.raises(RingNotFound):
        remove_agent(agent.name, agent.state, purge=True)


def test_remove_takes_a_bare_ring_as_it_is(agent: Agent) -> None:
    """It does not become an agent's for that: nothing of it is stored."""
    with Ring.create(agent.name, size=SMALL) as ring:
        put(ring, "not for a history")
        remove_agent(agent.name, agent.state, purge=False)
    assert agent.name not in list_rings()
    assert not agent.state.exists()


def test_remove_of_an_agent_without_events_makes_no_history(agent: Agent, bus: Bus) -> None:
    """There is nothing to keep."""
    remove_agent(agent.name, agent.state, purge=False)
    assert not agent.state.exists()


@pytest.mark.parametrize("purge", [False, True])
def test_remove_takes_a_file_that_is_no_ring(agent: Agent, purge: bool) -> None:
    """As the error of whoever would use it advises."""
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    path.write_bytes(b"noise" * 20_000)
    remove_agent(agent.name, agent.state, purge=purge)
    assert not path.exists()


def test_remove_ends_a_started_persister(agent: Agent) -> None:
    """Its process goes with the ring."""
    with Bus(agent.name, state=agent.state) as bus:
        bus.emit(Note("x"))
        with Ring.open(agent.name, observer=True) as ring:
            (gate,) = ring.gates()
        assert ringbus("rm", agent.name, "--state", str(agent.state)).returncode == 0
    wait_until(lambda: not is_alive(gate.pid), "the end of the persister")
    assert texts(stored(agent)) == ["x"]


# --- collecting ---------------------------------------------------------------------------


@pytest.fixture
def alone(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector sees no ring but the agent's: others on this machine are at work."""
    monkeypatch.setattr(
        removal, "list_rings", lambda: [name for name in list_rings() if name == agent.name]
    )


def test_collector_takes_a_ring_that_is_stored_and_not_in_use(agent: Agent, alone: None) -> None:
    """And ends its epoch cleanly."""
    with agent.bus() as bus:
        emit_notes(bus, 10)
        store(agent, bus)
    assert collect(agent.state) == [agent.name]
    assert agent.name not in list_rings()
    with History.open(agent.database, agent.name) as history:
        assert history.is_clean(bus.epoch)


@pytest.mark.parametrize("force", [False, True])
def test_collector_leaves_a_ring_in_use(agent: Agent, bus: Bus, alone: None, force: bool) -> None:
    """Whatever it holds."""
    store(agent, bus)
    assert collect(agent.state, force=force) == []
    assert agent.name in list_rings()


@pytest.mark.parametrize("force", [False, True])
def test_collector_leaves_a_ring_that_is_followed(agent: Agent, alone: None, force: bool) -> None:
    """A reader is a user, too."""
    with agent.bus(size=SMALL) as bus:
        store(agent, bus)
    with Follow(agent.name, database=agent.database):
        assert collect(agent.state, force=force) == []


def test_collector_takes_what_is_unstored_only_by_force(agent: Agent, alone: None) -> None:
    """And stores it first."""
    with agent.bus() as bus:
        emit_notes(bus, 10)
    assert collect(agent.state) == []
    assert collect(agent.state, force=True) == [agent.name]
    assert numbers(stored(agent)) == list(range(10))


def test_collector_takes_an_empty_ring(agent: Agent, alone: None) -> None:
    """And leaves no history of it."""
    agent.bus().close()
    assert collect(agent.state) == [agent.name]
    assert not agent.state.exists()


def test_collector_takes_a_used_bare_ring_only_by_force(agent: Agent, alone: None) -> None:
    """What it holds is nowhere else."""
    with Ring.create(agent.name, size=SMALL) as ring:
        put(ring, "x")
    assert collect(agent.state) == []
    assert collect(agent.state, force=True) == [agent.name]
    assert not agent.state.exists()


@pytest.mark.parametrize("content", [b"", b"random" * 20_000], ids=["empty", "noise"])
def test_collector_takes_a_file_that_is_no_ring_only_by_force(
    agent: Agent, alone: None, content: bytes
) -> None:
    """It may be a ring of another version."""
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    path.write_bytes(content)
    assert collect(agent.state) == []
    assert path.exists()
    assert collect(agent.state, force=True) == [agent.name]
    assert not path.exists()


def test_collector_keeps_a_ring_whose_history_cannot_be_read(
    agent: Agent, alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it is stored is not known."""
    with agent.bus() as bus:
        bus.emit(Note("x"))
        store(agent, bus)

    def fail(*_: object) -> None:
        raise HistoryError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(History, "next_seq", fail)
        assert collect(agent.state) == []
    agent.database.write_bytes(b"no database at all" * 1000)
    assert collect(agent.state) == []
    assert agent.name in list_rings()
