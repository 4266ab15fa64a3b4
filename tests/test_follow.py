"""Follow: each event once and in order, from wherever it is kept, or a gap in its place."""

from __future__ import annotations

import itertools
import math
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from storing import (
    SMALL,
    Item,
    check_contiguous,
    emit_notes,
    gaps,
    locked,
    numbers,
    paused,
    persister_process,
    read_until,
    remove,
    rest,
    serving,
    store,
    stored,
    take,
    texts,
    wait_stored,
)
from turns import Agent, wait_until

from ringbus.bus import Bus
from ringbus.events import Envelope, Gap, Note, Position, Reset
from ringbus.follow import Follow
from ringbus.history import History, Page

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


@pytest.mark.parametrize("held", ["stopped", "locked out"])
def test_what_is_not_stored_yet_comes_from_the_ring(agent: Agent, held: str) -> None:
    """Published, and its persister is held: the window between ring and history."""
    with agent.bus() as bus, persister_process(agent) as process:
        emit_notes(bus, 100)
        assert bus.wait_stored(60)
        with paused(process.pid) if held == "stopped" else locked(agent.database):
            emit_notes(bus, 100, first=100)
            with bus.follow() as follow:
                assert numbers(rest(follow)) == list(range(200))
                emit_notes(bus, 5, first=200)
                assert numbers(rest(follow)) == list(range(200, 205))
        assert bus.wait_stored(60)
        assert numbers(stored(agent)) == list(range(205))


def test_what_is_stored_while_history_is_looked_into_is_no_gap(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring goes round several times between the look into history and the one into the ring."""
    real = History.read
    looks = itertools.count()

    def read_and_emit(history: History, start: Position | None, limit: int) -> Page:
        page = real(history, start, limit)
        if next(looks) == 0:
            emit_notes(bus, 3000)
            wait_stored(bus)
        return page

    monkeypatch.setattr(History, "read", read_and_emit)
    with serving(agent), bus.follow() as follow:
        found = read_until(follow, lambda items: 2999 in numbers(items))
    assert numbers(found) == list(range(3000))
    assert gaps(found) == []


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


def test_a_follower_that_rests_holds_no_history_and_finds_it_again(agent: Agent) -> None:
    """A thousand of them would each keep a database open that they do not read."""
    with agent.bus(size=SMALL) as bus, persister_process(agent):
        emit_notes(bus, 10)
        wait_stored(bus)
        with Follow(agent.name, database=agent.database) as follow:
            found = take(follow, 10)
            assert follow.read(timeout=0) == []
            before = open_files().count(str(agent.database))
            assert follow.rest() == math.inf
            assert open_files().count(str(agent.database)) == before - 1
            emit_notes(bus, 3_000, first=10)
            wait_stored(bus)
            found += take(follow, 3_000)
    assert numbers(found) == list(range(3_010))


def open_files() -> list[str]:
    """What this process has open."""
    return [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]


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
