"""How a follow is read: by calls, by iteration, in asyncio, and until somebody closes it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import ExitStack
from functools import partial

import pytest
from reentry import raise_signal_at
from storing import (
    Item,
    emit_notes,
    numbers,
    persister_pid,
    put,
    read_until,
    rest,
    serving,
    store,
    texts,
)
from turns import Agent, wait_until

from ringbus.bus import Bus
from ringbus.errors import RingClosed
from ringbus.events import Note
from ringbus.follow import Follow
from ringbus.ring import Ring


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
