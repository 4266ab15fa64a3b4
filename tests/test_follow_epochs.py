"""Following while rings and histories are made anew: no way back, and nothing passed over."""

from __future__ import annotations

import time

import pytest
from storing import (
    SMALL,
    Item,
    emit_notes,
    gaps,
    numbers,
    paused,
    persister_process,
    read_until,
    remove,
    rest,
    serving,
    take,
    wait_stored,
)
from turns import Agent, wait_until

from ringbus import follow as follow_module
from ringbus.bus import Bus
from ringbus.cli.watch import present
from ringbus.events import Gap
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.history.aside import put_aside
from ringbus.settings import Retention


def store_and_end(agent: Agent, count: int, first: int) -> str:
    """A ring of so many events that comes, is stored, and goes; its epoch."""
    with agent.bus(size=SMALL) as bus, serving(agent) as running:
        emit_notes(bus, count, first=first)
        remove(agent)
        running.join()
    return bus.epoch


def test_follower_does_not_go_back_to_a_ring_that_others_followed(agent: Agent) -> None:
    """It has that ring open, but what it read of history in the meantime is later."""
    store_and_end(agent, 700, first=0)
    with agent.bus(size=SMALL) as second:
        emit_notes(second, 10, first=700)
        with Follow(agent.name, database=agent.database) as follow:
            found = follow.read(timeout=0)
            assert len(found) == follow_module.BATCH
            with serving(agent) as running:
                remove(agent)
                running.join()
            with agent.bus(size=SMALL) as third:
                with serving(agent):
                    emit_notes(third, 5, first=710)
                    wait_stored(third)
                found += rest(follow)
                emit_notes(third, 2, first=715)
                found += rest(follow)
    assert numbers(found) == list(range(717))
    assert gaps(found) == []


def test_a_follower_that_only_looks_goes_over_to_the_next_ring(agent: Agent) -> None:
    """It never sleeps in the one that was removed, and need not."""
    with agent.bus(size=SMALL) as first:
        emit_notes(first, 3)
        with Follow(agent.name, database=agent.database) as follow:
            found = follow.read(timeout=0)
            remove(agent)
            with agent.bus(size=SMALL) as second:
                emit_notes(second, 2, first=3)
                wait_until(lambda: found.extend(follow.read(timeout=0)) or len(found) == 5, "all")
    assert numbers(found) == [0, 1, 2, 3, 4]
    assert gaps(found) == []


def test_rings_after_one_that_nobody_stored_are_not_passed_over(agent: Agent) -> None:
    """Of which history has one, and the ring that is there the other."""
    store_and_end(agent, 10, first=0)
    with Follow(agent.name, database=agent.database) as follow:
        found = take(follow, 10)
        with agent.bus(size=SMALL) as second:
            emit_notes(second, 10, first=10)
            found += take(follow, 10)
            remove(agent)
        store_and_end(agent, 10, first=20)
        store_and_end(agent, 10, first=30)
        with agent.bus(size=SMALL) as last:
            emit_notes(last, 10, first=40)
            found += take(follow, 30)
    assert numbers(found) == list(range(50))
    assert gaps(found) == []


def test_history_that_is_begun_anew_is_read_at_once(agent: Agent, bus: Bus) -> None:
    """The old file was put aside; what the new one holds is no gap to who was overtaken."""
    with bus.follow() as follow, serving(agent):
        emit_notes(bus, 100)
        wait_stored(bus)
        found = take(follow, 100)
        put_aside(agent.database)
        emit_notes(bus, 50, first=100)
        wait_until(agent.database.exists, "a fresh database")
        wait_stored(bus)
        emit_notes(bus, 3000, first=150)
        found += read_until(follow, lambda items: 3149 in numbers(items))
    assert numbers(found) == list(range(3150))
    assert gaps(found) == []


def test_gap_without_an_end_is_told_once(agent: Agent) -> None:
    """Where nothing follows it in history, and no ring is there; then one is."""
    lost = Gap("a" * 16, 0, None, None, "ring-lost")
    with History.open(agent.database, agent.name, write=True) as history:
        history.begin_epoch(lost.epoch)
        history.append(lost.epoch, [], 0, [lost])
    with Follow(agent.name, database=agent.database) as follow:
        found = [*follow.read(timeout=0), *follow.read(timeout=0)]
        with agent.bus(size=SMALL) as bus:
            emit_notes(bus, 3)
            found += take(follow, 3)
    assert gaps(found) == [lost]
    assert numbers(found) == [0, 1, 2]


def test_rows_that_are_swept_before_the_follower_comes_to_them_are_a_gap(
    agent: Agent, bus: Bus
) -> None:
    """From where it stands, with as many as it did not get; then it goes on, through and over."""
    with serving(agent):
        emit_notes(bus, 5000)
        wait_stored(bus)
        with (
            bus.follow() as follow,
            History.open(agent.database, agent.name, write=True) as history,
        ):
            found = follow.read(timeout=0)
            for kept in (4000, 2000):
                history.sweep(Retention(rows=kept), time.time_ns())
                found += follow.read(timeout=0)
            emit_notes(bus, 5, first=5000)
            found += rest(follow)
    assert gaps(found) == [
        Gap(bus.epoch, 500, 999, 500, "retention"),
        Gap(bus.epoch, 1499, 2999, 1501, "retention"),
    ]
    assert numbers(found) == [*range(500), *range(1000, 1499), *range(3000, 5005)]


def test_what_there_is_until_now_ends_with_the_ring(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though a persister that stands still has not ended the one before: as `export` prints it."""
    monkeypatch.setattr(follow_module, "PATIENCE", 0.5)
    with agent.bus(size=SMALL) as bus, persister_process(agent) as process:
        emit_notes(bus, 10)
        wait_stored(bus)
        with paused(process.pid):
            remove(agent)
            with agent.bus(size=SMALL) as second:
                emit_notes(second, 3, first=10)
                with Follow(agent.name, database=agent.database) as follow:
                    found: list[Item] = [item for items in present(follow) for item in items]
    assert numbers(found) == list(range(13))
    assert gaps(found) == [Gap(bus.epoch, 10, None, None, "ring-lost")]
