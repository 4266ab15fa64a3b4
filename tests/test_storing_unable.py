"""Histories that cannot be written: nobody is held up, and afterwards nothing is left out."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from disks import fill_up, read_only, small_disk
from flask.testing import FlaskClient
from storing import (
    SMALL,
    Serving,
    check_account,
    emit_notes,
    gaps,
    has_gate,
    numbers,
    serving,
    stored,
    text,
    texts,
    wait_stored,
)
from turns import Agent, fresh_agent, python, wait_until

from ringbus.bus import Bus
from ringbus.events import Gap
from ringbus.history import schema
from ringbus.persister import Persister
from ringbus.persister.agent import AgentPersister, Outcome
from ringbus.ring import Ring, unlink

LOCKS = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


class Emitted:
    """Notes that tell their seq; how many so far."""

    def __init__(self, bus: Bus) -> None:
        self.count = 0
        self._bus = bus

    def emit(self, count: int) -> None:
        emit_notes(self._bus, count, first=self.count)
        self.count += count


def check_nobody_is_held_up(agent: Agent, bus: Bus, emitted: Emitted, client: FlaskClient) -> None:
    """The ring is lapped more than once; who reads and follows gets the newest at once."""
    with bus.follow(live=True) as follow, bus.subscribe() as live:
        first = emitted.count
        emitted.emit(1)
        assert text(follow.read(timeout=60)[0]) == text(next(live)) == str(first)
    emitted.emit(4000)
    newest = [str(number) for number in range(emitted.count - 3, emitted.count)]
    assert texts(bus.history(limit=3)) == newest
    page = client.get(f"/agents/{agent.name}/history?limit=3").get_json()
    assert [event["text"] for event in page["events"]] == newest


def check_goes_on_afterwards(agent: Agent, bus: Bus, emitted: Emitted) -> list[Gap]:
    """All that the ring still held is stored, and the rest is told; the gaps."""
    with Ring.open(agent.name) as ring:
        floor = ring.floor
    wait_stored(bus)  # before the next event: policy `drop` would push the gate on
    emitted.emit(10)
    wait_stored(bus)
    told = check_account(agent, emitted.count)
    assert {gap.reason for gap in told} == {"store-unavailable"}
    assert max(gap.to or 0 for gap in told) < floor, "nothing that was still there is left out"
    return told


def gates(agent: Agent) -> list[str]:
    """Those that stand, dead ones included."""
    with Ring.open(agent.name, observer=True) as ring:
        return [gate.name for gate in ring.gates()]


def check_one_warning(agent: Agent, messages: list[str], reason: str) -> None:
    """It is told once, with its reason, and once that it is over."""
    unable, able = [message for message in messages if message.startswith(agent.name)]
    assert f"cannot store: {agent.state}" in unable
    assert reason in unable
    assert able == f"{agent.name}: storing again"


# --- locked -------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program has begun to write meanwhile, and does not end."""
    program = [*python(LOCKS), str(database)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == b"locked\n"
        yield
        locker.communicate()


@pytest.mark.parametrize("policy", ["block", "drop"])
@pytest.mark.parametrize("patience", [0, pytest.param(schema.LOCK_SECONDS, marks=pytest.mark.slow)])
def test_locked_database_holds_nobody_up(
    agent: Agent,
    client: FlaskClient,
    policy: str,
    patience: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By another program, until the ring was lapped: later there is a gap of the exact size."""
    monkeypatch.setattr(schema, "LOCK_SECONDS", patience)
    with agent.bus(size=SMALL, policy=policy) as bus, serving(agent) as running:
        emitted = Emitted(bus)
        emitted.emit(10)
        wait_stored(bus)
        with locked(agent.database):
            emitted.emit(1)  # makes it try
            wait_until(lambda: not has_gate(agent.name), "the persister to give up its gate")
            check_nobody_is_held_up(agent, bus, emitted, client)
        (gap,) = check_goes_on_afterwards(agent, bus, emitted)
        assert gap.from_ == 10
        assert running.outcome is None
    messages = [record.message for record in caplog.records]
    check_one_warning(agent, messages, "database is locked")


def test_automatic_persister_does_not_leave_what_it_could_not_store(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is attached any more, the database is locked: it stays until all is stored."""
    looks: list[Ring] = []
    look = AgentPersister._is_behind

    def count(persister: AgentPersister, ring: Ring) -> bool:
        looks.append(ring)
        return look(persister, ring)

    monkeypatch.setattr(schema, "LOCK_SECONDS", 0)
    monkeypatch.setattr(AgentPersister, "_is_behind", count)
    persister = AgentPersister(agent.name, agent.database, automatic=True, linger=0.0)
    with agent.bus(size=SMALL) as bus, Serving(persister) as running:
        wait_until(lambda: has_gate(agent.name), "the gate of the persister")
        emit_notes(bus, 10)
        wait_stored(bus)
        with locked(agent.database):
            emit_notes(bus, 10, first=10)
            wait_until(lambda: not has_gate(agent.name), "the persister to give up its gate")
            bus.close()
            wait_until(lambda: len(looks) > 2, "the persister to look whether it may leave")
            assert running.outcome is None
        running.join()
    assert running.outcome is Outcome.LEFT
    assert check_account(agent, 20) == []


# --- no room ------------------------------------------------------------------------------


def test_full_disk_holds_nobody_up(
    agent: Agent, bus: Bus, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Filled while it stores; when there is room again, it goes on."""
    emitted = Emitted(bus)
    filler = agent.state / "filler"
    with small_disk(agent.state), serving(agent):
        emitted.emit(10)
        wait_stored(bus)
        fill_up(filler)
        wait_until(lambda: emit_until_no_gate(agent, emitted), "the persister to want room")
        check_nobody_is_held_up(agent, bus, emitted, client)
        filler.unlink()
        check_goes_on_afterwards(agent, bus, emitted)
    check_one_warning(agent, [record.message for record in caplog.records], "full")


def emit_until_no_gate(agent: Agent, emitted: Emitted) -> bool:
    """Small commits may find room in the log, so it needs some."""
    emitted.emit(100)
    return not has_gate(agent.name)


def test_disk_that_is_full_from_the_beginning_holds_nobody_up(
    agent: Agent, bus: Bus, client: FlaskClient
) -> None:
    """Not even the tables have room."""
    emitted = Emitted(bus)
    filler = agent.state / "filler"
    with small_disk(agent.state):
        fill_up(filler)
        with Serving(AgentPersister(agent.name, agent.database)) as running:
            wait_until(lambda: running.persister._unable, "the persister to find out")
            check_nobody_is_held_up(agent, bus, emitted, client)
            filler.unlink()
            (gap,) = check_goes_on_afterwards(agent, bus, emitted)
    assert gap.from_ == 0


@pytest.mark.parametrize("is_known", [True, False], ids=["begun", "never begun"])
def test_rings_removed_while_nothing_can_be_stored_are_told_as_lost(
    agent: Agent, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_known: bool
) -> None:
    """Two rings come and go while the disk is away; no reader passes over them unawares."""
    away = tmp_path / "away"
    lost = []
    stored_before = 10 if is_known else 0
    with agent.persisted():
        for number in range(2):
            with agent.bus(size=SMALL) as bus:
                if number == 0 and is_known:
                    emit_notes(bus, 10)
                    wait_stored(bus)
                if number == 0:
                    put_away(agent, away)
                emit_notes(bus, 5, first=100)
                wait_until(
                    lambda: caplog.text.count("cannot store") == len(lost) + 1,
                    "the persister to find out",
                )
                lost.append(Gap(bus.epoch, 0 if number else stored_before, None, None, "ring-lost"))
                unlink(agent.name)
        with agent.bus(size=SMALL) as last:
            emit_notes(last, 20, first=1000)
            bring_back(agent, away)
            wait_until(lambda: has_gate(agent.name), "the persister to go on")
            wait_stored(last)
    assert gaps(stored(agent)) == lost
    assert check_account(agent, 20, first=1000, epoch=last.epoch) == []


def put_away(agent: Agent, away: Path) -> None:
    """A file stands where the state folder should be."""
    if agent.state.exists():
        agent.state.rename(away)
    agent.state.write_text("in the way")


def bring_back(agent: Agent, away: Path) -> None:
    agent.state.unlink()
    if away.exists():
        away.rename(agent.state)


# --- not to be written --------------------------------------------------------------------


def test_read_only_database_holds_nobody_up(
    agent: Agent, bus: Bus, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    """What was stored before stays, and storing goes on once it may be written again."""
    emitted = Emitted(bus)
    with serving(agent):
        emitted.emit(10)
        wait_stored(bus)
    with contextlib.ExitStack() as forbidden:
        forbidden.enter_context(read_only(agent.database))
        with Serving(AgentPersister(agent.name, agent.database)):
            wait_until(
                lambda: gates(agent) == [], "the persister to give up what the last one left"
            )
            check_nobody_is_held_up(agent, bus, emitted, client)
            forbidden.close()
            (gap,) = check_goes_on_afterwards(agent, bus, emitted)
    assert gap.from_ == 10
    check_one_warning(agent, [record.message for record in caplog.records], "readonly")


def test_folder_that_cannot_be_made_is_tried_again(agent: Agent, bus: Bus) -> None:
    """A file stands where the state folder should be; once it is gone, all is stored."""
    agent.state.write_text("in the way")
    emitted = Emitted(bus)
    with Serving(AgentPersister(agent.name, agent.database)) as running:
        wait_until(lambda: running.persister._unable, "the persister to find out")
        emitted.emit(2500)
        agent.state.unlink()
        (gap,) = check_goes_on_afterwards(agent, bus, emitted)
    assert gap.from_ == 0


def test_one_agents_broken_history_does_not_hold_up_another(agent: Agent, tmp_path: Path) -> None:
    """Each has a thread of its own."""
    with fresh_agent(agent.state) as other, agent.bus(), other.bus() as bus:
        agent.database.mkdir(parents=True)
        persister = Persister([agent.name, other.name], agent.state)
        thread = threading.Thread(target=persister.run)
        thread.start()
        try:
            wait_until(lambda: has_gate(other.name), "the other's gate")
            emit_notes(bus, 10)
            wait_stored(bus)
        finally:
            persister.stop()
            thread.join()
        assert numbers(stored(other)) == list(range(10))
        agent.database.rmdir()
