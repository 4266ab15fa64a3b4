"""A persister and its rings: removed, lost, made again, and those of all agents."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection
from pathlib import Path

import pytest
from storing import (
    SMALL,
    Emitting,
    check_account,
    check_contiguous,
    check_ids_kept,
    emit_notes,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_pid,
    persister_process,
    put,
    rows_by_id,
    serving,
    stored,
    wait_stored,
)
from turns import Agent, is_alive, ringbus, wait_until

from ringbus import persister
from ringbus.agents import agent_rings
from ringbus.bus import Bus
from ringbus.errors import IncompatibleRing, RingUnlinked
from ringbus.events import Gap
from ringbus.history import History
from ringbus.persister import Persister
from ringbus.persister.agent import Outcome
from ringbus.ring import HISTORY_GATE, Ring, unlink

# --- epochs -------------------------------------------------------------------------------


def test_removed_ring_is_stored_to_its_end(agent: Agent, bus: Bus) -> None:
    """Its epoch gets the clean-end mark, and the next one follows without a gap."""
    with serving(agent) as running:
        emit_notes(bus, 100)
        unlink(agent.name)
        running.join()
    assert running.outcome is Outcome.RING_GONE
    with History.open(agent.database, agent.name) as history:
        assert history.is_clean(bus.epoch)
    with agent.bus() as second, serving(agent):
        emit_notes(second, 10, first=100)
        wait_stored(second)
    items = stored(agent)
    assert gaps(items) == []
    assert numbers(items) == list(range(110))


def test_what_emitters_had_begun_when_the_ring_was_removed_is_stored(
    agent: Agent, bus: Bus
) -> None:
    """Every seq that an emitter got is in the history of an epoch that is marked clean."""
    with serving(agent) as running:
        with Emitting(bus) as emitting:
            emitting.wait_for(1000)
            unlink(agent.name)
            emitting.join()
        assert isinstance(emitting.error, RingUnlinked)
        running.join()
    assert len(stored(agent)) >= emitting.emitted
    check_contiguous(stored(agent))


def test_lost_ring_is_a_gap_once(agent: Agent, bus: Bus) -> None:
    """Its file went while the persister was dead: nobody knows what it still held."""
    with persister_process(agent) as process:
        emit_notes(bus, 10)
        wait_stored(bus)
        process.kill()
    emit_notes(bus, 5, first=10)
    Path(f"/dev/shm/ringbus.{agent.name}").unlink()
    for number in (100, 200):
        with agent.bus() as second, serving(agent):
            emit_notes(second, 1, first=number)
            wait_stored(second)
            epoch = second.epoch
    items = stored(agent)
    assert gaps(items) == [Gap(bus.epoch, 10, None, None, "ring-lost")]
    assert numbers(items) == [*range(10), 100, 200]
    assert epoch != bus.epoch


def test_rings_that_are_made_again_under_load(agent: Agent) -> None:
    """One persister goes on with each: every seq that an emitter got is stored."""
    emitted: dict[str, int] = {}
    before: dict[int, str] = {}
    with agent.persisted():
        for number in range(5):
            with agent.bus(size=SMALL) as bus:
                wait_until(lambda: has_gate(agent.name), "the gate of the persister")
                with Emitting(bus, first=number * 1_000_000) as emitting:
                    emitting.wait_for(3000)
                    unlink(agent.name)
                    emitting.join()
                emitted[bus.epoch] = emitting.emitted
            before |= wait_for_end(agent, bus.epoch)
    for number, (epoch, count) in enumerate(emitted.items()):
        items = [item for item in stored(agent) if item.epoch == epoch]
        assert len(items) - count in {0, 1}, "at most the one that was refused in the midst"
        assert check_account(agent, len(items), first=number * 1_000_000, epoch=epoch) == []
    check_ids_kept(before, rows_by_id(agent))


def wait_for_end(agent: Agent, epoch: str) -> dict[int, str]:
    """All of that ring is stored; what each id holds then."""

    def is_clean() -> bool:
        with History.open(agent.database, agent.name) as history:
            return history.is_clean(epoch)

    wait_until(is_clean, "the clean end")
    return rows_by_id(agent)


def test_ring_that_is_made_again_while_the_persister_stands_still(agent: Agent) -> None:
    """It stores the rest of the removed one before it goes on in the next."""
    with agent.bus(size=SMALL) as bus, persister_process(agent) as process:
        emit_notes(bus, 10)
        wait_stored(bus)
        with paused(process.pid):
            emit_notes(bus, 5, first=10)
            unlink(agent.name)
            with agent.bus(size=SMALL) as second:
                emit_notes(second, 500, first=1000)
                os.kill(process.pid, signal.SIGCONT)
                wait_until(lambda: has_gate(agent.name), "the gate of the persister")
                wait_stored(second)
    assert check_account(agent, 15, epoch=bus.epoch) == []
    assert check_account(agent, 500, first=1000, epoch=second.epoch) == []


def test_rings_that_are_made_again_while_the_persister_is_dead(agent: Agent) -> None:
    """Each that it had begun ends in one gap of unknown size; no id is used twice."""
    lost = []
    before: dict[int, str] = {}
    for number in range(4):
        with agent.bus(size=SMALL) as bus:
            with persister_process(agent) as process:
                emit_notes(bus, 10, first=1000 * number)
                wait_stored(bus)
                process.kill()
            check_ids_kept(before, rows_by_id(agent))
            before |= rows_by_id(agent)
            emit_notes(bus, 5, first=1000 * number + 10)
            lost.append(Gap(bus.epoch, 10, None, None, "ring-lost"))
            if number < 3:
                Path(f"/dev/shm/ringbus.{agent.name}").unlink()
    with serving(agent):
        wait_until(lambda: len(stored(agent)) == 4 * 10 + 5 + 3, "the last ring")
    assert gaps(stored(agent)) == lost[:3]
    assert check_account(agent, 15, first=3000, epoch=bus.epoch) == []
    assert [number for number in numbers(stored(agent)) if number < 3000] == [
        1000 * ring + number for ring in range(3) for number in range(10)
    ]
    check_ids_kept(before, rows_by_id(agent))


# --- rings --------------------------------------------------------------------------------


def test_persister_of_all_serves_agents_that_appear_later(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves bare rings alone."""
    bare = f"{agent.name}-bare"

    def ours(besides: Collection[str]) -> list[str]:
        """Other agents of this machine have persisters of their own."""
        return [name for name in agent_rings(besides) if name.startswith(agent.name)]

    monkeypatch.setattr(persister, "agent_rings", ours)
    everybody = Persister(None, agent.state)
    thread = threading.Thread(target=everybody.run)
    thread.start()
    try:
        with Ring.create(bare, size=SMALL) as ring, agent.bus() as bus:
            put(ring, "not for a history")
            wait_until(lambda: has_gate(agent.name), "the gate of the persister")
            emit_notes(bus, 3)
            wait_stored(bus)
            assert not has_gate(bare)
    finally:
        everybody.stop()
        thread.join()
        unlink(bare)
    assert numbers(stored(agent)) == [0, 1, 2]
    assert not (agent.state / f"{bare}.sqlite").exists()


def test_persister_of_a_file_that_is_no_ring_refuses(agent: Agent) -> None:
    """The command says what is wrong, and nothing is stored."""
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    path.write_bytes(os.urandom(SMALL))
    try:
        with pytest.raises(IncompatibleRing, match=agent.name):
            Persister([agent.name], agent.state).run()
        refused = ringbus("persist", *agent.place)
        assert refused.returncode == 1
        assert "cannot be used as a ring" in refused.stderr.decode()
        assert "Traceback" not in refused.stderr.decode()
    finally:
        path.unlink()


def test_gate_names_the_process_that_serves(agent: Agent, bus: Bus) -> None:
    """As `ringbus stats` shows it."""
    with persister_process(agent) as process:
        assert persister_pid(agent.name) == process.pid
        assert is_alive(process.pid)
        with Ring.open(agent.name, observer=True) as ring:
            assert [gate.name for gate in ring.gates()] == [HISTORY_GATE]
