"""Waiting: it ends when there is something, when the time is over, when told, and at once."""

from __future__ import annotations

import threading
import time

import pytest
from helpers import Child, fill, fill_to_the_gate, is_asleep, wait_until

import ringbus
from ringbus import Ring, RingClosed, RingUnlinked

LONG = 300.0  # seconds; nothing here takes that long unless something is wrong


class Waiter(threading.Thread):
    """A thread that calls and keeps what came of it."""

    def __init__(self, call: object) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.call()
        except ringbus.RingbusError as error:
            self.result = type(error)

    def outcome(self) -> object:
        self.join(20)
        assert not self.is_alive()
        return self.result


def test_time_out_is_an_empty_list(ring: Ring) -> None:
    """Not earlier than asked for; wait() says False."""
    with ring.subscribe() as subscriber:
        start = time.monotonic()
        assert subscriber.read(timeout=0.05) == []
        assert time.monotonic() - start >= 0.05
        assert subscriber.wait(0.01) is False
        assert subscriber.wait(0) is False


def test_wait_is_true_as_long_as_something_is_there(ring: Ring) -> None:
    """It takes nothing away."""
    with ring.subscribe() as subscriber:
        ring.emit(b"x")
        assert subscriber.wait(0)
        assert subscriber.wait()
        assert len(subscriber.read(timeout=0)) == 1


def test_emit_wakes_all_sleepers_of_all_processes(ring: Ring) -> None:
    """Threads and processes asleep get the same record."""

    def read(child: Child) -> None:
        with Ring.open(ring.name) as mine, mine.subscribe() as subscriber:
            child.say("ready")
            child.say(subscriber.read(timeout=None)[0].payload.decode())

    with ring.subscribe() as subscriber, Child(read) as one, Child(read) as two:
        waiter = Waiter(lambda: subscriber.read(timeout=None)[0].payload)
        for child in (one, two):
            assert child.said() == "ready"
            wait_until(child.is_asleep)
        wait_until(lambda: is_asleep(waiter))
        ring.emit(b"news")
        assert waiter.outcome() == b"news"
        assert [one.said(), two.said()] == ["news", "news"]


def test_no_wake_up_is_lost(ring_name: str) -> None:
    """Two processes that answer each other thousands of times never wait in vain."""
    rounds = 3000

    def answer(child: Child) -> None:
        with Ring.open(ring_name) as ring, ring.subscribe() as questions:
            child.say("ready")
            for _ in range(rounds):
                while questions.read(1, LONG)[0].kind != 1:
                    pass
                ring.emit(b"", 2)

    with (
        Ring.create(ring_name, size=64 << 10) as ring,
        ring.subscribe() as answers,
        Child(answer) as child,
    ):
        child.said()
        start = time.monotonic()
        for _ in range(rounds):
            ring.emit(b"", 1)
            while answers.read(1, LONG)[0].kind != 2:
                pass
        # A lost wake-up costs half a second each.
        assert time.monotonic() - start < rounds * 0.25
        child.finish()


def test_close_ends_a_wait(ring: Ring) -> None:
    """The sleeping thread gets `RingClosed`."""
    subscriber = ring.subscribe()
    waiters = [Waiter(subscriber.read), Waiter(subscriber.wait), Waiter(lambda: next(subscriber))]
    for waiter in waiters:
        wait_until(lambda waiter=waiter: is_asleep(waiter))
    subscriber.close()
    assert [waiter.outcome() for waiter in waiters] == [RingClosed] * 3


def test_closed_subscriber_tells_of_no_loss(ring: Ring) -> None:
    """Though one was seen before: wait() and read() are `RingClosed`."""
    subscriber = ring.subscribe()
    fill(ring, 2)
    assert subscriber.wait(0)  # a loss is news
    subscriber.close()
    for use in (lambda: subscriber.wait(0), lambda: subscriber.read(timeout=0)):
        with pytest.raises(RingClosed):
            use()


def test_unlink_ends_a_wait(ring: Ring) -> None:
    """The sleeping reader gets `RingUnlinked`."""
    with ring.subscribe() as subscriber:
        waiter = Waiter(subscriber.read)
        wait_until(lambda: is_asleep(waiter))
        ringbus.unlink(ring.name)
        assert waiter.outcome() is RingUnlinked


def test_emit_goes_on_when_the_gate_moves(ring: Ring) -> None:
    """An emitter asleep at a gate is woken by advance(); its record is there once."""
    with ring.subscribe(gate="g") as gate, Ring.open(ring.name, policy="block", limit=LONG) as mine:
        fill_to_the_gate(ring)
        tail = ring.tail
        waiter = Waiter(lambda: mine.emit(bytes(500)))
        wait_until(lambda: is_asleep(waiter))
        gate.advance(tail)
        assert waiter.outcome() == tail
        assert ring.tail == tail + 1


def test_other_threads_use_a_handle_while_one_waits_at_a_gate(ring: Ring) -> None:
    """The handle is free during the wait: a record that fits is out at once, close() ends it."""
    with ring.subscribe(gate="g"), Ring.open(ring.name, policy="block", limit=LONG) as mine:
        mine.emit(bytes(500))
        fill_to_the_gate(ring)
        waiter = Waiter(lambda: mine.emit(bytes(3000)))
        wait_until(lambda: is_asleep(waiter))
        tail = ring.tail
        assert mine.emit(b"small") == tail  # into the rest of the block that it owns
        assert mine.stats().tail == tail + 1
        mine.close()
        assert waiter.outcome() is RingClosed


def test_unlink_ends_the_wait_at_a_gate(ring: Ring) -> None:
    """The emitter gets `RingUnlinked` and has published nothing."""
    with ring.subscribe(gate="g"), Ring.open(ring.name, policy="block", limit=LONG) as mine:
        fill_to_the_gate(ring)
        waiter = Waiter(lambda: mine.emit(bytes(500)))
        wait_until(lambda: is_asleep(waiter))
        ringbus.unlink(ring.name)
        assert waiter.outcome() is RingUnlinked


def test_departing_gate_ends_the_wait(ring: Ring) -> None:
    """A gate that closes holds nobody any more."""
    gate = ring.subscribe(gate="g")
    with Ring.open(ring.name, policy="block", limit=LONG) as mine:
        fill_to_the_gate(ring)
        tail = ring.tail
        waiter = Waiter(lambda: mine.emit(bytes(500)))
        wait_until(lambda: is_asleep(waiter))
        gate.close()
        assert waiter.outcome() == tail


@pytest.mark.parametrize("what", ["read", "wait", "next", "emit", "emit_many"])
def test_interrupt_ends_a_wait_at_once(ring: Ring, what: str) -> None:
    """A real SIGINT raises `KeyboardInterrupt` out of every wait, and the handle stays usable."""

    def wait(child: Child) -> None:
        with (
            Ring.open(ring.name, policy="block", limit=LONG) as mine,
            mine.subscribe() as subscriber,
        ):
            calls = {
                "read": subscriber.read,
                "wait": subscriber.wait,
                "next": lambda: next(subscriber),
                "emit": lambda: mine.emit(bytes(2000)),
                "emit_many": lambda: mine.emit_many([bytes(2000)]),
            }
            child.say("ready")
            try:
                calls[what]()
            except KeyboardInterrupt:
                child.say("interrupted")
            child.hear()
            mine.emit(b"still works")
            child.say(subscriber.read(timeout=0)[-1].payload.decode())

    with ring.subscribe(gate="g") as gate:
        fill_to_the_gate(ring)
        with Child(wait) as child:
            assert child.said() == "ready"
            wait_until(child.is_asleep)
            child.interrupt()
            assert child.said() == "interrupted"
            gate.advance(ring.tail)
            child.tell("go on")
            assert child.said() == "still works"
            child.finish()


def test_sleeper_of_a_stopped_emitter_is_not_forgotten(ring: Ring) -> None:
    """Stopped anywhere in its emits, an emitter delays no reader of others' records."""

    def emit_for_ever(child: Child) -> None:
        with Ring.open(ring.name) as mine:
            child.say("ready")
            while True:
                mine.emit(b"noise")

    with Child(emit_for_ever) as child:
        child.said()
        for _ in range(30):
            child.stop()
            with ring.subscribe() as subscriber:
                waiter = Waiter(lambda subscriber=subscriber: subscriber.read()[0].payload)
                wait_until(lambda waiter=waiter: is_asleep(waiter))
                ring.emit(b"mine")
                assert waiter.outcome() == b"mine"
            child.go_on()
        fill(ring, 1)
