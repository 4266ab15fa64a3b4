"""Signal handlers that use the very handle that they interrupt.

Between any two instructions of the interpreter, and inside every wait. What they do either works or
is refused with a clear error: no deadlock, and each record is there once.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import signal
from collections.abc import Callable, Iterator

import pytest
from helpers import DEADLINE, Child, fill_to_the_gate, wait_until
from reentry import LONG, Scene, payloads, raise_signal_at

import ringbus
from ringbus import Ring, RingClosed


@pytest.mark.parametrize(
    ("act", "handler"),
    [
        ("emit", "emit"),
        ("emit", "close"),
        ("emit_many", "emit"),
        ("close", "emit"),
        ("close", "close"),
        ("subscribe", "close"),
    ],
)
def test_signal_handler_uses_the_handle_at_any_instruction(
    ring: Ring, act: str, handler: str
) -> None:
    """The first emit, which opens the emitter, and close() take no harm from the same again."""

    def run(child: Child) -> None:
        faulthandler.dump_traceback_later(DEADLINE, exit=True)
        step, going_on = 0, True
        with ring_of_child(ring.name) as mine, mine.subscribe() as subscriber:
            while going_on:
                step += 1
                scene = Scene(ring.name)
                going_on = raise_signal_at(step, getattr(scene, act), getattr(scene, handler))
                scene.end()
                found, expected = payloads(subscriber), scene.emitted
                assert sorted(found) == sorted(expected), step
                stats = mine.stats()
                assert (stats.lanes, stats.gates, stats.blocks_free) == ([], [], stats.blocks), step
        child.say(step)

    with Child(run) as child:
        assert int(child.said(3 * DEADLINE)) > 10
        child.finish()


def ring_of_child(name: str) -> Ring:
    return Ring.open(name, observer=True)


def test_storm_of_signals_that_emit(ring_name: str) -> None:
    """A handler that emits on the handle that is being used, thousands of times: all in order."""
    mine, its = itertools.count(), itertools.count()
    handled: list[int] = []
    found: list[bytes] = []

    def numbers() -> Iterator[bytes]:
        return (b"main %d" % next(mine) for _ in range(3))

    def handle(*_: object) -> None:
        handled.append(ring.emit(b"handler %d" % next(its)))

    with Ring.create(ring_name, size=16 << 20) as ring, ring.subscribe() as subscriber:
        before = signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
        try:
            while len(handled) < 1000:
                ring.emit(b"main %d" % next(mine))
                assert ring.emit_many(numbers())[1] < ring.tail
                found += payloads(subscriber)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        found += payloads(subscriber)
        assert len(found) == ring.tail
    main = [int(line.split()[1]) for line in found if line.startswith(b"main")]
    assert main == list(range(next(mine)))
    handlers = [int(line.split()[1]) for line in found if line.startswith(b"handler")]
    assert sorted(handlers) == list(range(next(its)))  # one may interrupt the other
    assert [found[seq].startswith(b"handler") for seq in handled] == [True] * len(handled)


# A signal during a wait


class AtTheGate:
    """A child waits at a gate with a record of 2,000 bytes; SIGUSR1 runs `handler` there."""

    def __init__(self, ring: Ring, handler: Callable[[Ring], object], *, many: int = 1) -> None:
        self.ring = ring
        self.handler = handler
        self.many = many

    def __call__(self, child: Child) -> None:
        with Ring.open(self.ring.name, policy="block", limit=LONG) as mine:
            child.say(mine.emit(b"first"))  # it has a block
            child.hear()
            signal.signal(signal.SIGUSR1, lambda *_: child.say(self.act(mine)))
            try:
                mine.emit_many([bytes(2000)] * self.many)
            except BaseException as error:  # noqa: BLE001  what comes out is what is tested
                child.say(type(error).__name__)
                child.say(getattr(error, "published", "-"))
            else:
                child.say("out")
            child.hear()

    def act(self, mine: Ring) -> object:
        try:
            return self.handler(mine)
        except ringbus.RingbusError as error:
            return type(error).__name__


def signal_to(child: Child) -> None:
    """When it sleeps."""
    wait_until(child.is_asleep)
    os.kill(child.pid, signal.SIGUSR1)


def test_handler_emits_while_its_own_emit_waits(ring: Ring) -> None:
    """What fits into the block that the emitter owns is out at once; the wait goes on."""
    with (
        ring.subscribe(gate="g") as gate,
        Child(AtTheGate(ring, lambda mine: mine.emit(b"handler"))) as child,
    ):
        child.said()
        tail = fill_to_the_gate(ring)
        child.tell("go on")
        signal_to(child)
        assert int(child.said()) == tail
        assert (ring.tail, child.is_asleep()) == (tail + 1, True)
        gate.advance(ring.tail)
        assert child.said() == "out"
        assert ring.tail == tail + 2
        child.tell("end")
        child.finish()


def test_handler_that_has_to_wait_as_well(ring: Ring) -> None:
    """It waits inside the other wait; both go on when the gate moves, each record is there once."""
    with (
        ring.subscribe(gate="g") as gate,
        Child(AtTheGate(ring, lambda mine: mine.emit(b"h" * 2000))) as child,
    ):
        child.said()
        tail = fill_to_the_gate(ring)
        child.tell("go on")
        signal_to(child)
        gate.advance(tail)
        assert [child.said(), child.said()] == [str(tail), "out"]
        with ring.subscribe(tail) as subscriber:
            assert payloads(subscriber) == [b"h" * 2000, bytes(2000)]
        assert ring.tail == tail + 2
        child.tell("end")
        child.finish()


def test_handler_closes_what_waits(ring: Ring) -> None:
    """The emit ends with `RingClosed`, nothing of it is out, and the lane is free."""
    with ring.subscribe(gate="g"), Child(AtTheGate(ring, lambda mine: mine.close())) as child:
        child.said()
        tail = fill_to_the_gate(ring)
        child.tell("go on")
        signal_to(child)
        assert [child.said() for _ in range(2)] == ["None", "RingClosed"]
        assert ring.tail == tail
        assert ring.stats().lanes == []
        child.said()
        child.tell("end")
        child.finish()


def test_error_of_a_handler_ends_the_wait(ring: Ring) -> None:
    """It comes out of the emit, which has published nothing and left nothing behind."""

    def fail(_: Ring) -> object:
        raise KeyError("mine")

    with ring.subscribe(gate="g"), Child(AtTheGate(ring, fail)) as child:
        child.said()
        tail = fill_to_the_gate(ring)
        child.tell("go on")
        signal_to(child)
        assert child.said() == "KeyError"
        stats = ring.stats()
        assert (stats.tail, stats.blocks - stats.blocks_free) == (tail, 1)
        child.said()
        child.tell("end")
        child.finish()


def test_interrupt_in_the_midst_of_emit_many(ring: Ring) -> None:
    """What is out before the gate stays, whole and once; the rest is not there."""
    each = [bytes([number]) * 1000 for number in range(100)]

    def emit(child: Child) -> None:
        with Ring.open(ring.name, policy="block", limit=LONG) as mine:
            child.say("ready")
            with pytest.raises(KeyboardInterrupt):
                mine.emit_many(iter(each))
            out = mine.tail
            child.say(out)
            child.hear()
            mine.emit_many(each[out:])

    with (
        ring.subscribe(gate="g") as gate,
        ring.subscribe() as subscriber,
        Child(emit) as child,
    ):
        assert child.said() == "ready"
        wait_until(lambda: ring.tail > 50 and child.is_asleep())
        child.interrupt()
        out = int(child.said())
        assert ring.tail == out < 100
        first = payloads(subscriber)
        assert first == each[:out]
        gate.advance(out)
        child.tell("go on")
        child.finish()
        assert first + payloads(subscriber) == each


def test_handler_uses_the_subscriber_that_waits(ring: Ring) -> None:
    """It reads nothing twice: a record goes to the handler or to the read() below it."""

    def read(child: Child) -> None:
        with Ring.open(ring.name) as mine, mine.subscribe() as subscriber:
            got: list[bytes] = []

            def handle(*_: object) -> None:
                assert subscriber.read(timeout=0) == []
                mine.emit_many([b"1", b"2", b"3"])
                got.extend(record.payload for record in subscriber.read(1, 0))

            signal.signal(signal.SIGUSR1, handle)
            child.say("ready")
            rest = [record.payload for record in subscriber.read(timeout=LONG)]
            child.say((got, rest))

    with Child(read) as child:
        assert child.said() == "ready"
        signal_to(child)
        assert child.said() == str(([b"1"], [b"2", b"3"]))
        child.finish()


def test_handler_closes_the_subscriber_that_waits(ring: Ring) -> None:
    """The read() ends with `RingClosed`."""

    def read(child: Child) -> None:
        subscriber = ring_of_child(ring.name).subscribe()
        signal.signal(signal.SIGUSR1, lambda *_: subscriber.close())
        child.say("ready")
        with pytest.raises(RingClosed):
            subscriber.read(timeout=LONG)

    with Child(read) as child:
        assert child.said() == "ready"
        signal_to(child)
        child.finish()
