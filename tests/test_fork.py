"""Handles in a forked child: refused, left behind without harm, and opened anew."""

from __future__ import annotations

import threading

import pytest
from helpers import Child, all_free

import ringbus
from ringbus import Ring, RingClosed, RingForked


def test_forked_child_is_refused_everything(ring: Ring) -> None:
    """Every use of an inherited handle is `RingForked`; the parent goes on undisturbed."""
    ring.emit(b"x")
    fresh = Ring.open(ring.name)
    subscriber, gate = ring.subscribe(), ring.subscribe(gate="g")

    def use_inherited(child: Child) -> None:
        uses = (
            lambda: ring.emit(b"x"),
            lambda: ring.emit_many([b"x"]),
            lambda: fresh.emit(b"x"),
            lambda: ring.tail,
            ring.stats,
            ring.subscribe,
            ring.is_linked,
            lambda: ring.has_gate("g"),
            lambda: ring.change_flags(set=1),
            ring.database,
            lambda: subscriber.read(timeout=0),
            lambda: subscriber.wait(0),
            lambda: next(subscriber),
            lambda: subscriber.cursor,
            lambda: gate.advance(0),
        )
        for use in uses:
            with pytest.raises(RingForked, match="belongs to the parent process"):
                use()
        for handle in (ring, fresh, subscriber, gate):
            handle.close()
        child.say(len(uses))

    with Child(use_inherited) as child:
        assert int(child.said()) > 10
        child.finish()
    assert ring.has_gate("g")
    ring.emit(b"y")
    fresh.emit(b"z")
    assert [record.payload for record in subscriber.read(timeout=0)] == [b"y", b"z"]
    gate.advance(3)
    for handle in (fresh, subscriber, gate):
        handle.close()
    ring.close()
    with Ring.open(ring.name) as again:
        assert all_free(again)
        assert again.stats().gates == []


def test_handles_of_a_removed_ring_say_whose_they_are(ring: Ring) -> None:
    """In a child that they are the parent's, after close() that they are closed."""
    fresh = Ring.open(ring.name)
    ring.emit(b"x")

    def use_inherited(_: Child) -> None:
        for use in (ring.subscribe, fresh.subscribe, lambda: fresh.emit(b"x")):
            with pytest.raises(RingForked):
                use()

    ringbus.unlink(ring.name)
    with Child(use_inherited) as child:
        child.finish()
    fresh.close()
    for use in (fresh.subscribe, lambda: fresh.emit(b"x")):
        with pytest.raises(RingClosed):
            use()


def test_forked_child_opens_the_ring_anew(ring: Ring) -> None:
    """Its own handles work."""
    ring.emit(b"parent")

    def open_anew(_: Child) -> None:
        with Ring.open(ring.name) as mine:
            mine.emit(b"child")

    with ring.subscribe() as subscriber, Child(open_anew) as child:
        child.finish()
        assert [record.payload for record in subscriber.read(timeout=0)] == [b"child"]


def test_inherited_handles_are_dropped_without_harm(ring_name: str) -> None:
    """Collecting them in the child frees nothing of the parent's."""

    def collect(_: Child) -> None:
        handles.clear()

    handles = [Ring.create(ring_name, size=64 << 10)]
    handles[0].emit(b"x")
    handles.append(handles[0].subscribe(gate="g"))
    with Child(collect) as child:
        child.finish()
    assert handles[0].has_gate("g")
    assert handles[0].emit(b"y") == 1
    for handle in handles:
        handle.close()


def test_fork_while_a_thread_opens_the_emitter(ring: Ring) -> None:
    """The lock around that stays locked in the child, which must not wait for it."""

    def use(_: Child) -> None:
        with pytest.raises(RingForked):
            ring.emit(b"x")
        ring.close()

    with ring._opening, Child(use) as child:
        child.finish()


def test_fork_beside_emitting_threads(ring: Ring) -> None:
    """A child born while a thread of its parent is inside the handle does not hang on it."""
    stop = threading.Event()

    def emit() -> None:
        while not stop.is_set():
            ring.emit_many([bytes(300)] * 50)

    def use(_: Child) -> None:
        with pytest.raises(RingForked):
            ring.emit(b"x")
        ring.close()

    threads = [threading.Thread(target=emit) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            with Child(use) as child:
                child.finish()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
