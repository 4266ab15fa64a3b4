"""Python code that runs in the midst of an emit, and uses the same handle.

Finalisers, callbacks and generators run where nobody expects them. Whatever they do with the handle
either works or is refused with a clear error: no deadlock, and each record is there once.
"""

from __future__ import annotations

import gc
import itertools
import resource
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import DEADLINE, Child, fill_to_the_gate, wait_until
from reentry import LONG, payloads

import ringbus
from ringbus import Ring, RingClosed, RingUnlinked, Subscriber
from ringbus.ring.stalls import Stall

# Finalisers and callbacks


class EmitsAtItsEnd:
    """In a circle, so that only the collector ends it."""

    def __init__(self, ring: Ring, what: bytes) -> None:
        self.ring, self.what, self.circle = ring, what, self

    def __del__(self) -> None:
        self.ring.emit(self.what)


def test_finalisers_emit_inside_emit_many(ring: Ring) -> None:
    """The collector runs in the midst of the generator: each record is there once."""
    count = 200

    def entries() -> Iterator[bytes]:
        for number in range(count):
            EmitsAtItsEnd(ring, b"end %d" % number)
            yield b"entry %d" % number

    before = gc.get_threshold()
    with ring.subscribe() as subscriber:
        gc.set_threshold(1)
        try:
            ring.emit_many(entries())  # the first: it opens the emitter
            ring.emit_many(entries())
        finally:
            gc.set_threshold(*before)
        gc.collect()
        found = payloads(subscriber)
    assert sorted(found) == sorted([b"entry %d" % n for n in range(count)] * 2 + ends(count) * 2)
    assert [line for line in found if line.startswith(b"entry")] == [
        b"entry %d" % n for _ in range(2) for n in range(count)
    ]


def ends(count: int) -> list[bytes]:
    return [b"end %d" % number for number in range(count)]


def test_finalisers_read_inside_read(ring: Ring) -> None:
    """The collector runs while read() makes its records: each record goes to one of the two."""
    inner: list[int] = []

    class ReadsAtItsEnd:
        def __init__(self, subscriber: Subscriber) -> None:
            self.subscriber, self.circle = subscriber, self

        def __del__(self) -> None:
            inner.extend(record.seq for record in self.subscriber.read(1, 0))

    before = gc.get_threshold()
    with ring.subscribe() as subscriber:
        ring.emit_many([b"x"] * 500)
        for _ in range(50):
            ReadsAtItsEnd(subscriber)
        gc.set_threshold(1)
        try:
            outer = [record.seq for record in subscriber.read(500, 0)]
        finally:
            gc.set_threshold(*before)
        gc.collect()
    assert outer == sorted(outer)
    assert sorted(outer + inner) == list(range(500))


def test_weak_reference_callback_emits(ring: Ring) -> None:
    """Also when the thing goes that the generator holds."""

    class Thing:
        pass

    references = []

    def entries() -> Iterator[bytes]:
        thing = Thing()
        references.append(weakref.ref(thing, lambda _: ring.emit(b"gone")))
        yield b"entry"
        del thing
        yield b"more"

    with ring.subscribe() as subscriber:
        assert ring.emit_many(entries()) == (1, 2)
        assert payloads(subscriber) == [b"gone", b"entry", b"more"]


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile])
def test_tracing_emits(ring: Ring, install: Callable[[Any], None]) -> None:
    """A tool that emits at every event of the interpreter, those of the first emit included."""
    told = 0

    def tell(*_: object) -> Any:
        nonlocal told
        told += 1
        ring.emit(b"event")
        return tell

    with ring.subscribe() as subscriber:
        install(tell)
        try:
            ring.emit(b"mine")
            ring.emit_many(iter([b"mine", b"mine"]))
        finally:
            install(None)
        found = payloads(subscriber)
    assert told > 3
    assert (found.count(b"event"), found.count(b"mine")) == (told, 3)


def test_stall_callback_emits(ring: Ring) -> None:
    """On the handle whose emit met the stall: its record comes first."""

    def tell(stall: Stall) -> None:
        mine.emit(b"%s is behind" % stall.gate.encode())

    with (
        ring.subscribe(gate="g"),
        Ring.open(ring.name, policy="block", limit=0, on_stall=tell) as mine,
    ):
        tail = fill_to_the_gate(ring)
        assert mine.emit(bytes(3000)) == tail + 1
        with ring.subscribe(tail) as subscriber:
            assert payloads(subscriber) == [b"g is behind", bytes(3000)]


def test_stall_callback_closes_the_handle(ring: Ring) -> None:
    """The emit that met the stall ends with `RingClosed` and has published nothing."""
    with (
        ring.subscribe(gate="g"),
        Ring.open(ring.name, policy="block", limit=0, on_stall=lambda _: mine.close()) as mine,
    ):
        tail = fill_to_the_gate(ring)
        with pytest.raises(RingClosed):
            mine.emit(bytes(3000))
        assert (ring.tail, ring.stats().lanes) == (tail, [])


# Generators given to emit_many()


def test_generator_emits_on_the_same_handle(ring: Ring) -> None:
    """Its records come first: nothing of the outer call is out before the generator has ended."""

    def entries() -> Iterator[bytes]:
        for number in range(3):
            assert ring.emit(b"inner %d" % number) == number
            yield b"outer %d" % number
        assert ring.emit_many(iter([b"more", b"more"])) == (3, 4)

    with ring.subscribe() as subscriber:
        assert ring.emit_many(entries()) == (5, 7)
        assert payloads(subscriber) == (
            [b"inner %d" % n for n in range(3)]
            + [b"more"] * 2
            + [b"outer %d" % n for n in range(3)]
        )


@pytest.mark.parametrize("emitted_before", [False, True])
def test_generator_closes_the_handle(ring: Ring, emitted_before: bool) -> None:
    """`RingClosed`, nothing is out, the lane is free."""
    with Ring.open(ring.name) as mine:
        tail = mine.emit(b"x") + 1 if emitted_before else 0

        def entries() -> Iterator[bytes]:
            yield b"a"
            mine.close()
            yield b"b"

        with pytest.raises(RingClosed):
            mine.emit_many(entries())
        assert (ring.tail, ring.stats().lanes) == (tail, [])


def test_generator_removes_the_ring(ring: Ring) -> None:
    """`RingUnlinked`, nothing is out."""

    def entries() -> Iterator[bytes]:
        yield b"a"
        ringbus.unlink(ring.name)

    with pytest.raises(RingUnlinked):
        ring.emit_many(entries())
    assert ring.tail == 0


@pytest.mark.parametrize("wrong", ["text", 5, (b"x",), (b"x", -1, False), None])
def test_generator_yields_what_is_no_entry(ring: Ring, wrong: object) -> None:
    """It is refused as it comes; nothing before it is out, and the generator is left there."""
    asked: list[int] = []

    def entries() -> Iterator[Any]:
        yield b"fine"
        yield wrong
        asked.append(1)

    with pytest.raises((TypeError, OverflowError)):
        ring.emit_many(entries())
    assert (ring.tail, asked) == (0, [])


def test_generator_fills_one_buffer_again_and_again(ring: Ring) -> None:
    """Each payload is what the buffer held when it was yielded; the buffer stays free to change."""
    buffer = bytearray()

    def entries() -> Iterator[Any]:
        for number in range(4):
            buffer[:] = b"%d" % number * (number + 1)  # another size: nobody holds it
            yield buffer if number % 2 else (buffer, number, True)

    with ring.subscribe() as subscriber:
        ring.emit_many(entries())
        assert payloads(subscriber) == [b"0", b"11", b"222", b"3333"]


def test_view_released_before_it_is_taken(ring: Ring) -> None:
    """One that is released when it is yielded is refused; afterwards it does not matter."""
    data = bytearray(b"data")

    def entries(released: bool) -> Iterator[memoryview]:
        with memoryview(data) as view:
            if not released:
                yield view
        if released:
            yield view

    assert ring.emit_many(entries(False)) == (0, 0)
    with pytest.raises(ValueError, match="released"):
        ring.emit_many(entries(True))
    assert ring.tail == 1


def test_buffer_of_an_emit_that_waits_keeps_its_size(ring: Ring) -> None:
    """Nobody can pull it away from under the emit."""
    data = bytearray(2000)
    with ring.subscribe(gate="g") as gate, Ring.open(ring.name, policy="block", limit=LONG) as mine:
        fill_to_the_gate(ring)
        tail = ring.tail
        thread = threading.Thread(target=lambda: mine.emit(data))
        thread.start()
        wait_until(lambda: is_exported(data))
        assert ring.tail == tail
        gate.advance(tail)
        thread.join(DEADLINE)
        assert ring.tail == tail + 1
        data.clear()  # it is free again


def is_exported(data: bytearray) -> bool:
    try:
        data.append(0)
    except BufferError:
        return True
    data.pop()
    return False


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(1000)


@pytest.mark.parametrize("entries", [endless, lambda: itertools.repeat(b"x")])
def test_iterable_without_an_end_can_be_interrupted(ring: Ring, entries: Any) -> None:
    """Nothing is out before its end, so nothing at all; the handle stays usable."""

    def emit(child: Child) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # should it not end
        begun = (child.say("inside") or b"first" for _ in range(1))
        with pytest.raises(KeyboardInterrupt), Ring.open(ring.name) as mine:
            mine.emit_many(itertools.chain(begun, entries()))

    with Child(emit) as child:
        assert child.said() == "inside"
        child.interrupt()
        child.finish()
    assert ring.emit(b"x") == 0


def test_iterable_without_an_end_runs_out_of_memory(ring: Ring) -> None:
    """`MemoryError`, nothing is out, and the handle stays usable."""

    def emit(_: Child) -> None:
        with Ring.open(ring.name) as mine:
            mine.emit(b"before")
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            limit = grown + (1 << 30)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            with pytest.raises(MemoryError):
                mine.emit_many(bytes(1 << 20) for _ in itertools.count())
            assert mine.emit(b"after") == 1

    with Child(emit) as child:
        child.finish()


# Threads


def test_many_threads_emit_while_one_waits_at_a_gate(ring: Ring) -> None:
    """They go on in the block that the handle owns; the one that waits is out once, afterwards."""
    with ring.subscribe(gate="g") as gate, Ring.open(ring.name, policy="block", limit=LONG) as mine:
        mine.emit(b"first")
        fill_to_the_gate(ring)
        seqs: list[int] = []
        waiting = threading.Thread(target=lambda: seqs.append(mine.emit(bytes(3000))))
        waiting.start()
        wait_until(lambda: mine.stats().tail == ring.tail and waiting.is_alive())
        tail = ring.tail
        others = [
            threading.Thread(target=lambda: seqs.append(mine.emit(b"small"))) for _ in range(8)
        ]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join(DEADLINE)
        assert sorted(seqs) == list(range(tail, tail + 8))
        assert waiting.is_alive()
        gate.advance(ring.tail)
        waiting.join(DEADLINE)
        assert seqs[-1] == tail + 8
        assert ring.tail == tail + 9
