"""Persisters: everything emitted is stored once, whoever dies or stops; one stores at a time."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from storing import (
    SMALL,
    Emitting,
    Serving,
    check_account,
    emit_notes,
    emit_to_the_gate,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_process,
    put,
    serving,
    stored,
    texts,
    wait_stored,
)
from turns import Agent, wait_until

from ringbus.bus import Bus
from ringbus.events import Note
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.persister import Persister
from ringbus.persister import agent as agent_module
from ringbus.persister.agent import AgentPersister, Outcome
from ringbus.ring import HISTORY_GATE, Ring, options
from ringbus.ring.batch import Batch
from ringbus.settings import Policy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Emitters that wait a tenth of a second for a gate, not five."""
    monkeypatch.setitem(options.DEFAULT_LIMITS, "block", 0.1)


# --- storing ------------------------------------------------------------------------------


def test_what_came_before_and_after_the_persister_is_stored(agent: Agent, bus: Bus) -> None:
    """It begins with the oldest record that the ring holds."""
    emit_notes(bus, 5)
    with serving(agent):
        emit_notes(bus, 5, first=5)
        wait_stored(bus)
    assert numbers(stored(agent)) == list(range(10))


def test_transient_events_are_not_stored(agent: Agent, bus: Bus) -> None:
    """They leave a hole in the seqs, and no gap."""
    with serving(agent):
        bus.emit(Note("kept"))
        bus.emit(Note("passing"), transient=True)
        bus.emit(Note("kept too"))
        wait_stored(bus)
    assert texts(stored(agent)) == ["kept", "kept too"]


def test_transients_at_the_end_move_the_place(agent: Agent, bus: Bus) -> None:
    """A successor does not look at them again."""
    with serving(agent):
        bus.emit(Note("passing"), transient=True)
        wait_stored(bus)
    with History.open(agent.database, agent.name) as history:
        assert history.next_seq(bus.epoch) == 1


def test_bytes_that_are_no_event_are_stored_as_a_note(agent: Agent, bus: Bus) -> None:
    """Whatever a bare emitter puts into an agent's ring is kept."""
    with Ring.open(agent.name) as ring, serving(agent):
        ring.emit(b"\xff\x00")
        wait_stored(bus)
    (item,) = stored(agent)
    event = item.event
    assert isinstance(event, Note)
    assert (event.text, event.encoding) == ("/wA=", "base64")


def test_what_is_there_when_it_is_stopped_is_stored(agent: Agent, bus: Bus) -> None:
    """`stop()` ends it after the last record, not before."""
    emit_notes(bus, 500)
    persister = AgentPersister(agent.name, agent.database)
    persister.stop()
    assert persister.run() is Outcome.STOPPED
    assert numbers(stored(agent)) == list(range(500))


def test_emitters_that_never_pause_do_not_keep_a_persister_from_ending(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stores what was there when it was stopped, and leaves the rest to the next one."""
    real = History.append_batch
    more = iter(range(500, 1500))

    def append_and_emit(history: History, *arguments: Any) -> None:
        real(history, *arguments)
        emit_notes(bus, 1, first=next(more))

    monkeypatch.setattr(History, "append_batch", append_and_emit)
    emit_notes(bus, 500)
    persister = AgentPersister(agent.name, agent.database)
    persister.stop()
    assert persister.run() is Outcome.STOPPED
    assert next(more) == 501
    assert numbers(stored(agent)) == list(range(500))


def test_stopped_persister_leaves_its_gate_for_the_next_one(agent: Agent, bus: Bus) -> None:
    """Nothing is overwritten in between."""
    emit_notes(bus, 5)
    with serving(agent):
        pass
    with Ring.open(agent.name, observer=True) as ring:
        (gate,) = ring.gates()
        assert (gate.name, gate.alive, gate.cursor) == (HISTORY_GATE, False, 5)


def test_loss_behind_a_batch_is_told_with_it(bus: Bus) -> None:
    """What was read before it is not forgotten, and the loss is exact."""
    emit_notes(bus, 10)
    with Ring.open(bus.name, policy="drop") as ring, ring.subscribe(0, gate="slow") as gate:
        batch = Batch(most_records=3)
        assert gate.fill(batch)
        assert [row[0] for row in batch.rows()] == [0, 1, 2]
        for _ in range(2000):
            put(ring, "later")
        assert gate.fill(batch)
        assert (len(batch), batch.next_seq, batch.missed) == (0, 3, ring.floor - 3)
        assert gate.fill(batch)
        assert batch.rows()[0][0] == ring.floor


# --- dying and standing still -------------------------------------------------------------


def test_killed_and_restarted_persister_misses_nothing(agent: Agent, bus: Bus) -> None:
    """Killed under load twice; the gate stands until the next one comes."""
    with ExitStack() as stack:
        process = stack.enter_context(persister_process(agent))
        emitting = stack.enter_context(Emitting(bus, limit=20_000))
        for count in (3000, 8000):
            emitting.wait_for(count)
            process.kill()
            process = stack.enter_context(persister_process(agent))
        emitting.join()
        wait_stored(bus)
    assert check_account(agent, 20_000) == []


@pytest.mark.parametrize("policy", ["block", "drop"])
def test_ring_that_is_lapped_while_the_persister_is_dead(
    agent: Agent, impatient: None, policy: Policy
) -> None:
    """Emitters pass its gate by their policy; the next one tells exactly what the ring lost."""
    with agent.bus(size=SMALL, policy=policy) as bus:
        emitted = 0
        lost = []
        for _ in range(3):
            with persister_process(agent) as process:
                wait_stored(bus)
                emit_notes(bus, 10, first=emitted)
                wait_stored(bus)
                process.kill()
            emit_notes(bus, 4990, first=emitted + 10)
            emitted += 5000
            with Ring.open(agent.name, observer=True) as ring:
                lost.append((emitted - 4990, ring.floor - 1))
        with serving(agent):
            wait_stored(bus)
    assert [(gap.from_, gap.to) for gap in check_account(agent, emitted)] == lost
    assert {gap.reason for gap in gaps(stored(agent))} == {"lapped"}


def test_emitters_that_fail_at_the_gate_of_a_dead_persister_lose_nothing(
    agent: Agent, bus: Bus
) -> None:
    """What is refused was not published; what was published is all stored."""
    published = 0
    for _ in range(3):
        with persister_process(agent) as process:
            wait_stored(bus)
            process.kill()
        published = emit_to_the_gate(agent, published)
    with serving(agent):
        wait_stored(bus)
    assert published > 1000
    assert check_account(agent, published) == []


def test_stopped_persister_holds_emitters_up_for_their_limit_only(
    agent: Agent, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    """They push it on and say so once; what it missed becomes a gap of the exact size."""
    with agent.bus(size=SMALL) as bus, persister_process(agent) as process:
        emit_notes(bus, 10)
        wait_stored(bus)
        with paused(process.pid):
            emit_notes(bus, 4990, first=10)
        wait_stored(bus)
    (gap,) = check_account(agent, 5000)
    assert (gap.from_, gap.reason) == (10, "lapped")
    assert [record.message for record in caplog.records if "pushed on" in record.message] != []
    assert len(caplog.records) == 1
    with Follow(agent.name, database=agent.database) as follow:
        found = [item for _ in range(20) for item in follow.read(timeout=0)]
    assert found == stored(agent)


def test_persister_that_stood_still_within_the_limit_loses_nothing(agent: Agent, bus: Bus) -> None:
    """An emitter that meets its gate waits, and goes on when it moves."""
    with persister_process(agent) as process, Emitting(bus, limit=5000) as emitting:
        with paused(process.pid):
            emitting.wait_for(500)
        emitting.join()
        wait_stored(bus)
    assert check_account(agent, 5000) == []


# --- automatic ones -----------------------------------------------------------------------


def test_automatic_persister_leaves_when_nobody_is_attached(agent: Agent) -> None:
    """It stays as long as somebody is, and leaves with everything stored."""
    with agent.bus() as bus:
        running = Serving(
            AgentPersister(agent.name, agent.database, automatic=True, linger=0.0)
        ).__enter__()
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        emit_notes(bus, 10)
        wait_stored(bus)
        assert running.outcome is None
    running.join()
    assert running.outcome is Outcome.LEFT
    assert numbers(stored(agent)) == list(range(10))
    with Ring.open(agent.name, observer=True) as ring:
        assert ring.gates() == []


def test_automatic_persister_of_a_removed_ring_ends(agent: Agent) -> None:
    """Removed before it came up: it does not wait for another."""
    persister = Persister([agent.name], agent.state, automatic=True)
    assert persister.run() == {agent.name: Outcome.RING_GONE}


def test_calm_history_is_swept_to_its_end(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slice by slice without an event in between, not one slice a minute."""
    monkeypatch.setattr(agent_module, "SWEEP_ROWS", 5)
    with serving(agent):
        emit_notes(bus, 100)
        assert bus.wait_stored(60)
    monkeypatch.setenv("RINGBUS_HISTORY", "10")
    with serving(agent), History.open(agent.database, agent.name) as history:
        wait_until(lambda: history.count() == 10, "the end of the sweep")
    assert numbers(stored(agent)) == list(range(90, 100))
