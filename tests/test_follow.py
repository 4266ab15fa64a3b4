"""Follow: each event once and in order, from wherever it is kept, or a gap in its place."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from reentry import raise_signal_at
from storing import (
    SMALL,
    Item,
    check_contiguous,
    emit_notes,
    gaps,
    has_gate,
    numbers,
    paused,
    persister_pid,
    persister_process,
    put,
    read_until,
    serving,
    stored,
    take,
    texts,
)
from turns import Agent, wait_until

from ringbus import follow as follow_module
from ringbus.bus import Bus
from ringbus.errors import IncompatibleRing, RingClosed
from ringbus.events import Envelope, Gap, Note, Position, Reset
from ringbus.follow import Follow
from ringbus.history import History
from ringbus.persister.writer_lock import WriterLock
from ringbus.ring import Ring, options, unlink
from ringbus.settings import Retention


def store(agent: Agent, bus: Bus) -> None:
    """Everything emitted so far goes to the history; then the persister leaves."""
    with serving(agent):
        assert bus.wait_stored(60)


def rest(follow: Follow) -> list[Item]:
    """All that can be read without waiting."""
    items: list[Item] = []
    while more := follow.read(timeout=0):
        items += more
    return items


def remove(agent: Agent) -> None:
    unlink(agent.name)


# --- where it starts ----------------------------------------------------------------------


def test_from_the_beginning_over_to_live(agent: Agent, bus: Bus) -> None:
    """What is stored, what only the ring has, and what comes."""
    emit_notes(bus, 2000)
    store(agent, bus)
    emit_notes(bus, 10, first=2000)
    with bus.follow() as follow:
        found = rest(follow)
        emit_notes(bus, 5, first=2010)
        found += rest(follow)
    check_contiguous(found, end=2015)
    assert [gap.reason for gap in gaps(found)] == ["lapped"]  # nobody stored the first ones


def test_last_starts_at_the_newest(agent: Agent, bus: Bus) -> None:
    """So many events, stored or not, and then what comes."""
    emit_notes(bus, 50)
    store(agent, bus)
    emit_notes(bus, 5, first=50)
    with bus.follow(last=20) as follow:
        assert numbers(rest(follow)) == list(range(35, 55))
    with bus.follow(last=3) as follow:
        assert numbers(rest(follow)) == [52, 53, 54]
    with bus.follow(last=1000) as follow:
        assert numbers(rest(follow)) == list(range(55))


def test_last_of_nothing_is_refused(bus: Bus) -> None:
    """What would it mean?"""
    with pytest.raises(ValueError, match="last"):
        bus.follow(last=0)


def test_live_starts_with_what_comes(agent: Agent, bus: Bus) -> None:
    """Nothing of the past, neither from the ring nor from the history."""
    emit_notes(bus, 50)
    store(agent, bus)
    emit_notes(bus, 5, first=50)
    with bus.follow(live=True) as follow:
        assert rest(follow) == []
        emit_notes(bus, 5, first=55)
        assert numbers(rest(follow)) == list(range(55, 60))


@pytest.mark.parametrize("seq", [0, 10, 49, 52, 54], ids=lambda seq: f"after {seq}")
def test_after_a_position_goes_on_behind_it(agent: Agent, bus: Bus, seq: int) -> None:
    """Whether it is in history, in the ring, or in both."""
    emit_notes(bus, 50)
    store(agent, bus)
    emit_notes(bus, 5, first=50)
    with bus.follow(after=(bus.epoch, seq)) as follow:
        assert numbers(rest(follow)) == list(range(seq + 1, 55))


def test_after_a_position_that_only_history_has(agent: Agent, bus: Bus) -> None:
    """The ring has gone on by several rounds."""
    with serving(agent):
        emit_notes(bus, 5000)
        assert bus.wait_stored(60)
    with bus.follow(after=(bus.epoch, 100)) as follow:
        assert numbers(rest(follow)) == list(range(101, 5000))


def test_after_a_position_of_an_old_epoch_goes_over_to_the_new_one(agent: Agent, bus: Bus) -> None:
    """Without a gap where the old one ended cleanly."""
    with serving(agent) as running:
        emit_notes(bus, 50)
        remove(agent)
        running.join()
    with agent.bus() as second:
        emit_notes(second, 5, first=50)
        with second.follow(after=(bus.epoch, 40)) as follow:
            found = rest(follow)
    assert numbers(found) == list(range(41, 55))
    assert gaps(found) == []


@pytest.mark.parametrize(
    "position", [("00000000000000aa", 3), None], ids=["unknown epoch", "not emitted yet"]
)
def test_unknown_position_is_a_reset_and_a_new_start(
    agent: Agent, bus: Bus, position: Position | None
) -> None:
    """Once, and then everything."""
    emit_notes(bus, 10)
    store(agent, bus)
    epoch, seq = position or (bus.epoch, 500)
    with bus.follow(after=(epoch, seq)) as follow:
        first, *others = rest(follow)
    assert first == Reset(f"{epoch}-{seq}")
    assert numbers(others) == list(range(10))
    with bus.follow(after=(epoch, seq), last=3) as follow:
        assert numbers(rest(follow)) == [7, 8, 9]


def test_resumes_after_an_event_that_was_lost_with_its_ring(agent: Agent, bus: Bus) -> None:
    """Its epoch is known, and its end is a gap: no reset."""
    emit_notes(bus, 10)
    store(agent, bus)
    emit_notes(bus, 5, first=10)
    remove(agent)
    with agent.bus() as second:
        emit_notes(second, 1, first=100)
        with second.follow(after=(bus.epoch, 12)) as follow:
            gap, item = take(follow, 2)
    assert gap == Gap(bus.epoch, 13, None, None, "ring-lost")
    assert texts([item]) == ["100"]


# --- no hole and no double ----------------------------------------------------------------


def test_what_is_not_stored_yet_comes_from_the_ring(agent: Agent) -> None:
    """Published, and its persister stands still: the window between ring and history."""
    with agent.bus() as bus, persister_process(agent) as process:
        emit_notes(bus, 100)
        assert bus.wait_stored(60)
        with paused(process.pid):
            emit_notes(bus, 100, first=100)
            with bus.follow() as follow:
                assert numbers(rest(follow)) == list(range(200))
                emit_notes(bus, 5, first=200)
                assert numbers(rest(follow)) == list(range(200, 205))
        assert bus.wait_stored(60)
        assert numbers(stored(agent)) == list(range(205))


def test_overtaken_follower_goes_through_history_and_comes_forward(agent: Agent) -> None:
    """It reads slowly while several rings full are emitted; every event comes once, in order."""
    count = 12_000
    with agent.bus(size=SMALL) as bus, serving(agent), bus.follow(live=True) as follow:
        emitter = threading.Thread(target=emit_notes, args=(bus, count))
        emitter.start()
        found: list[Item] = []
        for turn in itertools.count():
            found += follow.read(timeout=0.05)
            if len(found) == count or turn > count:
                break
            if turn < 10:  # the first reads are slow: the ring goes round between them
                tail = follow.lag
                wait_until(
                    lambda tail=tail: follow.lag > tail + 1500 or not emitter.is_alive(), "a lap"
                )
        emitter.join()
        emit_notes(bus, 3, first=count)
        found += take(follow, 3)
    assert numbers(found) == list(range(count + 3))
    assert gaps(found) == []


def test_follower_reads_along_with_busy_emitters(agent: Agent) -> None:
    """Several that emit and several that follow, from the start and live: all agree."""
    with agent.bus(size=SMALL) as bus, serving(agent), ExitStack() as stack:
        follows = [stack.enter_context(bus.follow()) for _ in range(3)]
        found: list[list[Item]] = [[] for _ in follows]

        def read(follow: Follow, items: list[Item]) -> None:
            items += read_until(follow, lambda items: len(items) >= 9000)

        readers = [
            threading.Thread(target=read, args=pair) for pair in zip(follows, found, strict=True)
        ]
        emitters = [threading.Thread(target=emit_notes, args=(bus, 3000)) for _ in range(3)]
        for thread in readers + emitters:
            thread.start()
        for thread in readers + emitters:
            thread.join()
    for items in found:
        check_contiguous(items, end=9000)
        assert gaps(items) == []
    assert found[0] == found[1] == found[2]


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


# --- transients ---------------------------------------------------------------------------


def emit_mixed(bus: Bus, *names: str) -> None:
    """Those that begin with `t` are transient."""
    for name in names:
        bus.emit(Note(name), transient=name.startswith("t"))


def test_transients_come_as_they_happen_and_not_from_the_past(agent: Agent, bus: Bus) -> None:
    """Whether the past is in history or only in the ring."""
    emit_mixed(bus, "a", "t1")
    store(agent, bus)
    emit_mixed(bus, "b", "t2")
    with bus.follow() as follow:
        assert texts(take(follow, 2)) == ["a", "b"]
        emit_mixed(bus, "t3", "c")
        live = take(follow, 2)
    assert texts(live) == ["t3", "c"]
    assert [item.transient for item in live if isinstance(item, Envelope)] == [True, False]


def test_transients_after_a_resumed_position_come_if_the_ring_has_them(bus: Bus) -> None:
    """A short break loses none of them."""
    emit_mixed(bus, "a", "t1", "b", "t2")
    with bus.follow(after=(bus.epoch, 0)) as follow:
        assert texts(rest(follow)) == ["t1", "b", "t2"]


def test_many_old_transients_do_not_hide_what_comes(bus: Bus) -> None:
    """A batch of nothing but those that are left out is passed over."""
    emit_mixed(bus, *["t"] * 900, "a")
    with bus.follow() as follow:
        assert texts(rest(follow)) == ["a"]


# --- reading ------------------------------------------------------------------------------


def test_lag_counts_what_was_not_delivered(bus: Bus) -> None:
    """In records of the ring."""
    with bus.follow(live=True) as follow:
        assert follow.lag == 0
        emit_notes(bus, 7)
        assert follow.lag == 7
        rest(follow)
        assert follow.lag == 0


def test_iterating_yields_the_same(agent: Agent, bus: Bus) -> None:
    """`for` and `async for`."""
    emit_notes(bus, 5)
    store(agent, bus)
    emit_notes(bus, 5, first=5)

    async def read() -> list[Item]:
        found: list[Item] = []
        with bus.follow() as follow:
            async for item in follow:
                found.append(item)
                if len(found) == 10:
                    break
        return found

    with bus.follow() as follow:
        plain = list(itertools.islice(follow, 10))
    assert numbers(plain) == list(range(10))
    assert asyncio.run(read()) == plain


def test_async_follow_waits_for_what_comes(bus: Bus) -> None:
    """Without holding up the loop that emits."""

    async def read() -> list[str]:
        with bus.follow() as follow:
            task = asyncio.ensure_future(anext(follow))
            while not task.done():
                await asyncio.to_thread(bus.emit, Note("there"))
                await asyncio.wait([task], timeout=0.05)
            return texts([await task])

    assert asyncio.run(read()) == ["there"]


@pytest.mark.parametrize("emitted", [0, 3], ids=["no ring", "at the tail"])
def test_closing_ends_a_read_in_another_thread(agent: Agent, emitted: int) -> None:
    """Whatever it sleeps on."""
    with ExitStack() as stack:
        if emitted:
            emit_notes(stack.enter_context(agent.bus()), emitted)
        follow = Follow(agent.name, database=agent.database)
        rest(follow)
        ended: list[type[BaseException]] = []

        def read() -> None:
            try:
                follow.read()
            except RingClosed as error:
                ended.append(type(error))

        reader = threading.Thread(target=read)
        reader.start()
        follow.close()
        wait_until(lambda: not reader.is_alive(), "the end of the read")
        reader.join()
    assert ended == [RingClosed]
    follow.close()
    with pytest.raises(RingClosed):
        follow.read(timeout=0)


def test_signal_handler_closes_a_follow_that_reads(agent: Agent) -> None:
    """Before any instruction of the read: it ends, and everything is given back."""
    with agent.bus() as bus:
        emit_notes(bus, 3)
        step, interrupted = 1, True
        while interrupted:
            follow = Follow(agent.name, database=agent.database)
            act = partial(follow.read, timeout=0)
            interrupted = raise_signal_at(step, act, follow.close)
            follow.close()
            with pytest.raises(RingClosed):
                follow.read(timeout=0)
            step += 41
    assert step > 1000
    with Ring.open(agent.name, observer=True) as ring:
        assert not ring.is_attached()


def test_following_keeps_an_automatic_persister(agent: Agent) -> None:
    """Somebody who reads is somebody who is attached."""
    with agent.bus() as bus:
        emit_notes(bus, 3)
    with (
        Follow(agent.name, database=agent.database) as follow,
        serving(agent, automatic=True, linger=0.0) as running,
    ):
        with Ring.open(agent.name) as ring:
            put(ring, "3")
        read_until(follow, lambda items: len(items) >= 4)
        assert running.outcome is None
        assert persister_pid(agent.name)
        follow.close()
        running.join()
