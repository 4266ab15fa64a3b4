"""Following over what is missing: gaps, rings that come and go, a history that cannot be used."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from storing import (
    SMALL,
    Item,
    check_contiguous,
    emit_notes,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_process,
    read_until,
    remove,
    rest,
    serving,
    take,
)
from turns import Agent, wait_until

from ringbus import follow as follow_module
from ringbus.bus import Bus
from ringbus.errors import IncompatibleRing
from ringbus.events import Gap
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.persister.writer_lock import WriterLock
from ringbus.ring import options
from ringbus.settings import Retention

# --- gaps ---------------------------------------------------------------------------------


def test_gap_of_a_stopped_persister_comes_in_place(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live readers got it all; who comes later gets the gap, then what follows."""
    monkeypatch.setitem(options.DEFAULT_LIMITS, "block", 0.05)
    with (
        agent.bus(size=SMALL) as bus,
        persister_process(agent) as process,
        bus.follow() as live,
    ):
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        found = take(live, 10)
        with paused(process.pid):
            for first in range(10, 3010, 100):
                emit_notes(bus, 100, first=first)
                found += take(live, 100)
            with bus.follow() as late:  # before anybody has told of the gap
                early = rest(late)
        assert bus.wait_stored(60)
        with bus.follow() as late:
            later = rest(late)
    assert numbers(found) == list(range(3010))
    check_contiguous(later, end=3010)
    (gap,) = gaps(later)
    assert (gap.from_, gap.reason) == (10, "lapped")
    assert early == later


def test_retention_gap_comes_in_place(agent: Agent, bus: Bus) -> None:
    """Where rows were swept away: from where to where, and how many."""
    with serving(agent):
        emit_notes(bus, 5000)
        assert bus.wait_stored(60)
    with History.open(agent.database, agent.name, write=True) as history:
        history.sweep(Retention(rows=3000), time.time_ns())
    with bus.follow() as follow:
        gap, *items = rest(follow)
    assert gap == Gap(bus.epoch, 0, 1999, 2000, "retention")
    assert numbers(items) == list(range(2000, 5000))


def test_resuming_inside_a_gap_tells_what_is_left_of_it(agent: Agent, bus: Bus) -> None:
    """What the client had seen of it is not missing."""
    with serving(agent):
        emit_notes(bus, 5000)
        assert bus.wait_stored(60)
    with History.open(agent.database, agent.name, write=True) as history:
        history.sweep(Retention(rows=3000), time.time_ns())
    with bus.follow(after=(bus.epoch, 999)) as follow:
        assert follow.read(timeout=0)[0] == Gap(bus.epoch, 1000, 1999, 1000, "retention")


def test_without_a_history_what_the_ring_lost_is_a_gap(bus: Bus) -> None:
    """Broadcast only: a reader that was lapped is told how much it missed."""
    with bus.follow() as follow:
        emit_notes(bus, 10)
        found = take(follow, 10)
        emit_notes(bus, 5000, first=10)
        found += rest(follow)
    check_contiguous(found, end=5010)
    (gap,) = gaps(found)
    assert (gap.from_, gap.reason) == (10, "lapped")


# --- rings come and go --------------------------------------------------------------------


def test_ring_and_history_that_appear_later(agent: Agent) -> None:
    """A page may be opened before its agent's first event."""
    with Follow(agent.name, database=agent.database) as follow:
        assert follow.read(timeout=0) == []
        with agent.bus() as bus:
            emit_notes(bus, 5)
            assert numbers(take(follow, 5)) == list(range(5))
            with serving(agent):
                assert bus.wait_stored(60)
            emit_notes(bus, 5, first=5)
            assert numbers(take(follow, 5)) == list(range(5, 10))


def test_history_without_a_ring_is_read(agent: Agent, bus: Bus) -> None:
    """And then whatever ring comes under the name."""
    with serving(agent) as running:
        emit_notes(bus, 10)
        remove(agent)
        running.join()
    with Follow(agent.name, database=agent.database) as follow:
        assert numbers(rest(follow)) == list(range(10))
        with agent.bus() as second:
            emit_notes(second, 3, first=10)
            assert numbers(take(follow, 3)) == [10, 11, 12]


def test_follows_across_rings_that_end_cleanly(agent: Agent) -> None:
    """A ring is removed under load and made again, twice: no gap, and each event once."""
    with (
        agent.persisted(),
        Follow(agent.name, database=agent.database) as follow,
        Follow(agent.name, database=agent.database) as late,
    ):
        found: list[Item] = []
        for number in range(3):
            with agent.bus(size=SMALL) as bus:
                wait_until(lambda: has_gate(agent.name), "the gate of the persister")
                emit_notes(bus, 2000, first=2000 * number)
                if number % 2:  # read to its end before it goes, or afterwards
                    found += read_until(follow, lambda items: len(items) >= 2000)
                remove(agent)
        found += read_until(follow, lambda items: len(found) + len(items) >= 6000)
        everything = read_until(late, lambda items: len(items) >= 6000)
    assert numbers(found) == list(range(6000))
    assert gaps(found) == []
    assert everything == found


def test_follows_across_rings_that_nobody_stores(agent: Agent) -> None:
    """Read to its end, a removed ring leaves no gap."""
    with Follow(agent.name, database=agent.database) as follow:
        found: list[Item] = []
        for number in range(3):
            with agent.bus(size=SMALL) as bus:
                emit_notes(bus, 10, first=10 * number)
                found += take(follow, 10)
                remove(agent)
    assert numbers(found) == list(range(30))


def test_removed_ring_that_was_not_read_to_its_end_is_a_gap(agent: Agent) -> None:
    """Nobody stored it, and nobody knows what it still held."""
    with Follow(agent.name, database=agent.database) as follow:
        with agent.bus(size=SMALL) as bus:
            emit_notes(bus, 10)
            take(follow, 10)
            emit_notes(bus, 5000, first=10)  # the subscriber of the follow is lapped
            remove(agent)
        with agent.bus(size=SMALL) as second:
            emit_notes(second, 3, first=9000)
            gap, *items = take(follow, 4)
    assert gap == Gap(bus.epoch, 10, None, None, "ring-lost")
    assert numbers(items) == [9000, 9001, 9002]


def test_lost_ring_is_a_gap_once(agent: Agent) -> None:
    """Its file vanished with its persister; who follows is told, and goes on in the next ring."""
    with agent.bus() as bus, bus.follow() as follow:
        with persister_process(agent) as process:
            emit_notes(bus, 10)
            assert bus.wait_stored(60)
            process.kill()
            process.wait()
        emit_notes(bus, 5, first=10)
        Path(f"/dev/shm/ringbus.{agent.name}").unlink()
        with agent.bus() as second, persister_process(agent):
            emit_notes(second, 3, first=100)
            assert second.wait_stored(60)
            with second.follow() as late:
                found = read_until(late, lambda items: 102 in numbers(items))
            live = read_until(follow, lambda items: 102 in numbers(items))
    assert numbers(found) == [*range(10), 100, 101, 102]
    assert gaps(found) == [Gap(bus.epoch, 10, None, None, "ring-lost")]
    assert [number for number in numbers(live) if number >= 100] == [100, 101, 102]


def test_persister_that_stands_still_over_a_removed_ring_is_not_waited_for_long(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live events of the next ring come after a while, behind a gap."""
    monkeypatch.setattr(follow_module, "PATIENCE", 0.1)
    with agent.bus() as bus, persister_process(agent) as process:
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        with paused(process.pid):
            remove(agent)
            with agent.bus() as second:
                emit_notes(second, 3, first=100)
                assert WriterLock(agent.database).is_held()
                with second.follow() as follow:
                    found = read_until(follow, lambda items: 102 in numbers(items))
    assert numbers(found) == [*range(10), 100, 101, 102]
    assert gaps(found) == [Gap(bus.epoch, 10, None, None, "ring-lost")]


def test_persister_that_still_stores_a_removed_ring_is_waited_for(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No gap is told before it is sure that there is one."""
    monkeypatch.setattr(follow_module, "PATIENCE", 60.0)
    with agent.bus() as bus, persister_process(agent) as process:
        emit_notes(bus, 10)
        assert bus.wait_stored(60)
        with paused(process.pid):
            emit_notes(bus, 5, first=10)
            remove(agent)
            with agent.bus() as second:
                emit_notes(second, 3, first=15)
            with Follow(agent.name, database=agent.database) as follow:
                found = take(follow, 10)
                assert follow.read(timeout=0.2) == []
                os.kill(process.pid, signal.SIGCONT)
                found += take(follow, 8)
    assert numbers(found) == list(range(18))


def test_file_that_is_no_ring_is_refused(agent: Agent) -> None:
    """Rather than taken for a calm one."""
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    path.write_bytes(b"x" * SMALL)
    try:
        with pytest.raises(IncompatibleRing):
            Follow(agent.name, database=agent.database)
    finally:
        path.unlink()


# --- a history that cannot be used --------------------------------------------------------


def test_history_that_cannot_be_opened_does_not_stop_live_events(
    agent: Agent, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning with its path."""
    agent.database.mkdir(parents=True)
    with bus.follow() as follow:
        emit_notes(bus, 10)
        assert numbers(take(follow, 10)) == list(range(10))
        emit_notes(bus, 10, first=10)
        assert numbers(take(follow, 10)) == list(range(10, 20))
    (warning,) = [record.message for record in caplog.records]
    assert str(agent.database) in warning
    agent.database.rmdir()


def test_history_that_was_removed_meanwhile_does_not_stop_live_events(
    agent: Agent, bus: Bus
) -> None:
    """What only it held is a gap now."""
    with serving(agent):
        emit_notes(bus, 5000)
        assert bus.wait_stored(60)
    with bus.follow() as follow:
        found = take(follow, 500)
        agent.database.rename(agent.database.with_name("aside"))
        found += read_until(follow, lambda items: 4999 in numbers(items))
    check_contiguous(found, end=5000)
    (gap,) = gaps(found)
    assert (gap.from_, gap.reason) == (500, "lapped")
