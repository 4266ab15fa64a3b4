"""The Bus of an agent: emit, subscribe, read back, open and close, and forks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from storing import (
    SMALL,
    emit_notes,
    numbers,
    put,
    serving,
    texts,
)
from turns import Agent

from ringbus._native import Record
from ringbus.agents import agents
from ringbus.bus import Bus
from ringbus.errors import (
    EventError,
    IncompatibleRing,
    RecordTooLarge,
    RingClosed,
    RingUnlinked,
)
from ringbus.events import Note, Stream, TurnEnd, TurnStart
from ringbus.ring import Ring, unlink
from ringbus.ring.subscriber import Subscriber

DELTA = b'{"type":"stream_event","event":{"type":"content_block_delta"}}'


def in_child(act: Callable[[], object]) -> None:
    """Runs it in a forked child; fails unless it returns there."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0


# --- emitting -----------------------------------------------------------------------------


def test_emit_returns_dense_seqs(bus: Bus) -> None:
    """From 0 on in a new ring."""
    assert [bus.emit(Note("a")), bus.emit(TurnEnd(ok=True))] == [0, 1]


def test_history_holds_what_was_just_emitted(agent: Agent, bus: Bus) -> None:
    """You read your own writes, stored or not."""
    with serving(agent):
        for number in range(200):
            bus.emit(Note(str(number)))
            assert texts(bus.history(limit=1)) == [str(number)]


def test_history_comes_oldest_first_and_ends_at_its_limit(agent: Agent, bus: Bus) -> None:
    """The newest so many, across what is stored and what only the ring has."""
    emit_notes(bus, 100)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 5, first=100)
    assert numbers(bus.history(limit=8)) == list(range(97, 105))
    assert numbers(bus.history(limit=3)) == [102, 103, 104]
    assert numbers(bus.history()) == list(range(105))


def test_history_before_a_position_goes_back(agent: Agent, bus: Bus) -> None:
    """Pages meet without a hole or a double, wherever they lie."""
    emit_notes(bus, 50)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 10, first=50)
    pages: list[int] = []
    page = bus.history(limit=7)
    while page:
        pages = numbers(page) + pages
        page = bus.history(limit=7, before=(page[0].epoch, page[0].seq))
    assert pages == list(range(60))


def test_history_of_an_earlier_ring_comes_before_that_of_the_next(agent: Agent, bus: Bus) -> None:
    """A new ring is a new epoch of the same history."""
    with serving(agent) as running:
        emit_notes(bus, 5)
        unlink(agent.name)
        running.join()
    with agent.bus() as second:
        emit_notes(second, 5, first=5)
        assert numbers(second.history()) == list(range(10))
        assert numbers(second.history(limit=7)) == list(range(3, 10))
        assert numbers(second.history(limit=7, before=(bus.epoch, 4))) == list(range(4))


def test_history_of_a_busy_ring_without_a_database_has_its_newest(bus: Bus) -> None:
    """Several rings full are emitted: what is left of them is there to the last."""
    emit_notes(bus, 5000)
    assert numbers(bus.history())[-5:] == list(range(4995, 5000))


def test_history_survives_being_overtaken_while_it_reads_the_ring(
    agent: Agent, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overtaken between two records, it takes what was stored meanwhile from the database."""
    emit_notes(bus, 10)
    with serving(agent):
        assert bus.wait_stored(60)
    emit_notes(bus, 600, first=10)
    real = Ring.subscribe

    def subscribe(ring: Ring, start: int) -> Subscriber:
        monkeypatch.setattr(Ring, "subscribe", real)
        subscriber = real(ring, start)
        read = subscriber.read

        def read_and_be_overtaken(_: int, timeout: float) -> list[Record]:
            subscriber.__dict__["read"] = read
            records = read(3, timeout)
            with serving(agent):
                emit_notes(bus, 3000, first=610)
                assert bus.wait_stored(60)
            subscriber.wait(0)  # finds the loss, which the next read tells
            return records

        subscriber.__dict__["read"] = read_and_be_overtaken
        return subscriber

    monkeypatch.setattr(Ring, "subscribe", subscribe)
    assert numbers(bus.history()) == list(range(610))


def test_transient_events_are_broadcast_and_not_kept(agent: Agent, bus: Bus) -> None:
    """A subscriber gets them, marked as such; history does not."""
    with serving(agent), bus.subscribe() as live:
        bus.emit(Note("kept"))
        bus.emit(Note("passing"), transient=True)
        assert texts(bus.history()) == ["kept"]
        assert bus.wait_stored(60)
        assert texts(bus.history()) == ["kept"]
        first, second = next(live), next(live)
    assert texts([first, second]) == ["kept", "passing"]
    assert [first.transient, second.transient] == [False, True]


def test_emit_many_returns_first_and_last(bus: Bus) -> None:
    """Any iterable of events; they keep their order."""
    bus.emit(Note("before"))
    assert bus.emit_many(Note(str(number)) for number in range(10)) == (1, 10)
    assert texts(bus.history())[1:] == [str(number) for number in range(10)]


def test_emit_many_of_nothing_is_an_error(bus: Bus) -> None:
    """There is no first and no last seq of it."""
    with pytest.raises(ValueError, match=r"."):
        bus.emit_many([])


def test_event_that_cannot_be_encoded_is_not_emitted(bus: Bus) -> None:
    """Nor is any other of the same call."""
    with pytest.raises(EventError):
        bus.emit(Stream(b"{torn"))
    with pytest.raises(EventError):
        bus.emit_many([Note("fine"), Note("\ud800")])
    assert bus.history() == []


def test_json_line_is_a_stream_event_byte_for_byte(bus: Bus) -> None:
    """Numbers, key order and spaces stay as they were printed."""
    line = b'{"b": 1e400, "a" :[0.10, 12345678901234567890123456789012345678901]}'
    bus.emit_line(line)
    (envelope,) = bus.history()
    assert envelope.event == Stream(line)


@pytest.mark.parametrize("line", [b"", b"plain", b"{torn", b"\xff\xfe"])
def test_other_line_is_a_note_with_its_source(bus: Bus, line: bytes) -> None:
    """Whatever is no JSON is kept as text."""
    bus.emit_line(line, source="stderr")
    (envelope,) = bus.history()
    assert isinstance(envelope.event, Note)
    assert envelope.event.source == "stderr"


def test_partial_line_is_transient_unless_it_is_kept(bus: Bus) -> None:
    """They are the pieces of a message that comes as a whole, too."""
    bus.emit_line(DELTA)
    assert bus.history() == []
    bus.emit_line(DELTA, keep_partial=True)
    assert [envelope.event for envelope in bus.history()] == [Stream(DELTA)]


def test_whole_event_as_json(bus: Bus) -> None:
    """What another program prints as an event is emitted as one."""
    bus.emit_json(b'{"kind":"turn_start","from":"operator","body":"fix it","unread":2}')
    (envelope,) = bus.history()
    assert envelope.event == TurnStart("operator", "fix it", 2)
    with pytest.raises(EventError):
        bus.emit_json(b'{"kind":"unheard-of"}')


def test_longest_line_fits_and_a_longer_one_does_not(bus: Bus) -> None:
    """`max_line` is the length of a JSON line that fills one record."""
    bus.emit_line(b'"' + b"x" * (bus.max_line - 2) + b'"')
    with pytest.raises(RecordTooLarge):
        bus.emit_line(b'"' + b"x" * (bus.max_line - 1) + b'"')
    assert len(bus.history()) == 1


# --- subscribing --------------------------------------------------------------------------


def test_subscriber_gets_what_is_emitted_after_it(bus: Bus) -> None:
    """From the call on, not from the first read."""
    bus.emit(Note("before"))
    with bus.subscribe() as live:
        bus.emit(Note("after"))
        assert texts([next(live)]) == ["after"]
        assert live.lag == 0


def test_overtaken_subscriber_goes_on_and_counts(bus: Bus) -> None:
    """Received and missed add up."""
    with bus.subscribe() as live:
        emit_notes(bus, 5000)
        first = next(live)
        rest = [next(live) for _ in range(4999 - first.seq)]
    assert live.missed == first.seq
    assert [envelope.seq for envelope in rest] == list(range(first.seq + 1, 5000))


def test_async_subscriber_gets_the_same_objects(bus: Bus) -> None:
    """`async for` over what comes."""

    async def read() -> list[str]:
        found = []
        with bus.subscribe() as live:
            await asyncio.to_thread(emit_notes, bus, 3)
            async for envelope in live:
                found.append(envelope)
                if len(found) == 3:
                    break
        return texts(found)

    assert asyncio.run(read()) == ["0", "1", "2"]


# --- opening and closing ------------------------------------------------------------------


def test_closed_bus_refuses_and_closes_again(agent: Agent) -> None:
    """`close()` twice is fine; use after it is an error."""
    bus = agent.bus()
    bus.emit(Note("x"))
    bus.close()
    bus.close()
    with pytest.raises(RingClosed):
        bus.emit(Note("y"))
    with pytest.raises(RingClosed):
        bus.history()


def test_emitting_into_a_removed_ring_says_so(agent: Agent, bus: Bus) -> None:
    """A Bus opened anew makes the next ring, of another epoch."""
    bus.emit(Note("old"))
    unlink(agent.name)
    with pytest.raises(RingUnlinked, match=agent.name):
        bus.emit(Note("lost"))
    with agent.bus() as second:
        assert second.emit(Note("new")) == 0
        assert second.epoch != bus.epoch
        with pytest.raises(RingUnlinked):
            bus.subscribe()


def test_bus_makes_the_ring_an_agents(agent: Agent) -> None:
    """A bare ring becomes one when a Bus first opens it."""
    with Ring.create(agent.name, size=SMALL) as ring:
        put(ring, "from before")
        assert agent.name not in agents(agent.state)
        with agent.bus() as bus:
            assert agent.name in agents(agent.state)
            assert texts(bus.history()) == ["from before"]


def test_bad_agent_name_is_refused(tmp_path: Path) -> None:
    """Before anything is made."""
    with pytest.raises(ValueError, match=r"\.\./x"):
        Bus("../x", state=tmp_path, persister=None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(os.urandom(SMALL)),
        lambda path: path.write_bytes(b""),
    ],
    ids=["truncated", "random", "empty"],
)
def test_file_that_is_no_ring_is_refused(agent: Agent, damage: Callable[[Path], object]) -> None:
    """With the path and the remedy; it is left as it is."""
    agent.bus(size=SMALL).close()
    path = Path(f"/dev/shm/ringbus.{agent.name}")
    damage(path)
    before = path.read_bytes()
    with pytest.raises(IncompatibleRing, match=f"{path}.*ringbus rm"):
        agent.bus()
    assert path.read_bytes() == before
    path.unlink()


# --- forks --------------------------------------------------------------------------------


def test_forked_child_opens_the_ring_anew(bus: Bus) -> None:
    """Parent and child emit into one ring."""
    bus.emit(Note("parent"))
    in_child(lambda: bus.emit(Note("child")))
    in_child(lambda: bus.emit_many([Note("another"), Note("child")]))
    bus.emit(Note("parent again"))
    assert texts(bus.history()) == ["parent", "child", "another", "child", "parent again"]


def test_subscriber_of_the_parent_refuses_work_in_the_child(bus: Bus) -> None:
    """And is unharmed in the parent."""
    with bus.subscribe() as live:

        def read() -> None:
            with pytest.raises(RingClosed):
                next(live)

        in_child(read)
        bus.emit(Note("later"))
        assert texts([next(live)]) == ["later"]
