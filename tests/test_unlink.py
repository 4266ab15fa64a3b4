"""A ring that is removed under load: everybody is told, and nobody splits into a second ring."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Child, check, fill_to_the_gate, payload, wait_until

import ringbus
from ringbus import Lapped, Ring, RingUnlinked
from ringbus.ring.subscriber import Subscriber

SIZE = 64 << 10
LONG = 300.0


def file_of(name: str) -> Path:
    return Path(f"/dev/shm/ringbus.{name}")


def by_unlink(name: str) -> None:
    ringbus.unlink(name)


def by_hand(name: str) -> None:
    """As `rm` does it, or logind at a logout (RemoveIPC)."""
    file_of(name).unlink()


def and_made_anew(remove: Callable[[str], None]) -> Callable[[str], None]:
    def replace(name: str) -> None:
        remove(name)
        Ring.create(name, size=SIZE).close()

    return replace


WAYS = {
    "unlink": by_unlink,
    "rm": by_hand,
    "unlink and made anew": and_made_anew(by_unlink),
    "rm and made anew": and_made_anew(by_hand),
}


# What each process does until it is told; it says the last thing that it did.


def emit(ring: Ring, child: Child) -> None:
    number = 0
    try:
        while True:
            assert ring.emit(payload(os.getpid(), number, 300)) >= number
            number += 1
            if number == 100:
                child.say("busy")
    finally:
        assert number > 100


def emit_many(ring: Ring, child: Child) -> None:
    ring.emit(payload(1, 0, 300))
    child.say("busy")
    while True:
        ring.emit_many([payload(1, number, 300) for number in range(50)])


def emit_now_and_then(ring: Ring, child: Child) -> None:
    ring.emit(payload(1, 0, 300))
    child.say("busy")
    while True:
        time.sleep(0.01)
        ring.emit(payload(1, 0, 300))


def read_on(subscriber: Subscriber, timeout: float | None) -> None:
    at = -1
    while True:
        try:
            for record in subscriber.read(timeout=timeout):
                assert record.seq > at
                at = record.seq
                check(record.payload)
        except Lapped:
            continue


def subscribe(ring: Ring, child: Child) -> None:
    with ring.subscribe() as subscriber:
        child.say("busy")
        read_on(subscriber, None)


def poll(ring: Ring, child: Child) -> None:
    """Never sleeps in the ring, so no sleep's end tells it."""
    with ring.subscribe() as subscriber:
        child.say("busy")
        read_on(subscriber, 0)


def read_only(ring: Ring, child: Child) -> None:
    with Ring.open(ring.name, read_only=True) as mine, mine.subscribe() as subscriber:
        child.say("busy")
        read_on(subscriber, None)


def gate(ring: Ring, child: Child) -> None:
    with ring.subscribe(gate="history") as subscriber:
        child.say("busy")
        while True:
            try:
                records = subscriber.read()
            except Lapped:
                continue
            subscriber.advance(records[-1].seq + 1)


ROLES = (emit, emit_many, emit_now_and_then, subscribe, poll, read_only, gate)


@pytest.mark.parametrize("way", WAYS)
def test_everybody_is_told_when_a_busy_ring_is_removed(ring_name: str, way: str) -> None:
    """`RingUnlinked` ends each of seven processes at full speed; a new ring stays empty."""

    def work(role: Callable[[Ring, Child], None], child: Child) -> None:
        with Ring.open(ring_name) as ring:
            with pytest.raises(RingUnlinked, match=f"'{ring_name}' was removed while in use"):
                role(ring, child)
            for more in (lambda: ring.emit(b"x"), ring.subscribe):
                with pytest.raises(RingUnlinked):
                    more()

    Ring.create(ring_name, size=SIZE).close()
    children = [Child(lambda child, role=role: work(role, child)) for role in ROLES]
    try:
        for child in children:
            assert child.said() == "busy"
        WAYS[way](ring_name)
        for child in children:
            child.finish()
    finally:
        for child in children:
            child.__exit__(None, None, None)
    if "anew" in way:
        with Ring.open(ring_name) as new:
            assert (new.tail, new.gates(), new.stats().lanes) == (0, [], [])
    else:
        assert not file_of(ring_name).exists()


@pytest.mark.parametrize("way", WAYS)
def test_idle_ones_are_told_too(ring_name: str, way: str) -> None:
    """Asleep for records, asleep at a gate: both end, and what waited was not published."""

    def sleep(child: Child) -> None:
        with Ring.open(ring_name) as ring, ring.subscribe() as subscriber:
            child.say("ready")
            with pytest.raises(RingUnlinked):
                subscriber.read()

    def wait_at_gate(child: Child) -> None:
        with Ring.open(ring_name, policy="block", limit=LONG) as ring:
            child.say("ready")
            with pytest.raises(RingUnlinked):
                ring.emit(bytes(500))
            child.say(ring.tail)

    with Ring.create(ring_name, size=SIZE) as ring, ring.subscribe(gate="slow"):
        tail = fill_to_the_gate(ring)
        with Child(sleep) as sleeper, Child(wait_at_gate) as waiter:
            sleeper.said()
            waiter.said()
            wait_until(sleeper.is_asleep)
            wait_until(waiter.is_asleep)
            WAYS[way](ring_name)
            assert waiter.said() == str(tail)
            sleeper.finish()
            waiter.finish()


@pytest.mark.parametrize("way", ["unlink", "rm"])
def test_what_was_acknowledged_before_the_end_is_read(ring_name: str, way: str) -> None:
    """A subscriber gets every record of the removed ring, then `RingUnlinked`."""
    with Ring.create(ring_name, size=SIZE) as ring, ring.subscribe() as subscriber:
        for number in range(50):
            ring.emit(payload(1, number, 100))
        WAYS[way](ring_name)
        read: list[int] = []
        while len(read) < 50:
            read += [check(record.payload)[1] for record in subscriber.read(7, 5)]
        with pytest.raises(RingUnlinked):
            subscriber.read(7, 5)
        assert read == list(range(50))


def test_late_record_of_a_removed_ring_is_there_for_who_reads_on(ring: Ring) -> None:
    """The emitter had looked a moment ago: it is acknowledged, and not lost."""
    with ring.subscribe() as subscriber:
        ring.emit(b"early")
        by_hand(ring.name)
        assert [record.payload for record in subscriber.read()] == [b"early"]
        with pytest.raises(RingUnlinked):
            subscriber.read()
        try:
            ring.emit(b"late")
        except RingUnlinked:
            return  # it took us a second to come here
        assert [record.payload for record in subscriber.read()] == [b"late"]
        with pytest.raises(RingUnlinked):
            subscriber.read()


def test_bus_of_a_removed_ring_says_so_and_the_next_one_makes_a_new_ring(
    ring_name: str, tmp_path: Path
) -> None:
    """Nobody goes on by itself in another ring: seqs would start anew unnoticed."""
    with ringbus.Bus(ring_name, size=SIZE, persister=None, state=tmp_path) as bus:
        bus.emit(ringbus.Note("one"))
        by_hand(ring_name)
        live = bus.subscribe
        with pytest.raises(RingUnlinked, match="open it anew"):
            live()
        with ringbus.Bus(ring_name, size=SIZE, persister=None, state=tmp_path) as again:
            assert again.epoch != bus.epoch
            assert again.emit(ringbus.Note("two")) == 0


OUTLIVED = """
import sys
from pathlib import Path
import ringbus

name, state = sys.argv[1:]
with ringbus.Bus(name, persister=None, size=64 << 10, state=state) as bus:
    live = bus.subscribe()
    bus.emit(ringbus.Note("one"))
    assert next(live).event == ringbus.Note("one")
ring = ringbus.Ring.open(name)  # left open at the end, as by a program that was not tidy
gate = ring.subscribe(gate="untidy")
trackers = [module for module in sys.modules if module.startswith("multiprocessing")]
assert trackers == [], trackers
children = Path("/proc/thread-self/children").read_text()
assert children == "", children
print(ring.epoch)
"""


def test_ring_outlives_its_maker_and_no_tracker_is_started(ring_name: str, tmp_path: Path) -> None:
    """Only unlink() removes it: multiprocessing, whose tracker would, is never even imported."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", OUTLIVED, ring_name, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    assert (run.returncode, run.stderr) == (0, "")
    with Ring.open(ring_name) as ring:
        assert (ring.epoch, ring.tail) == (run.stdout.strip(), 1)
        assert [(gate.name, gate.alive) for gate in ring.gates()] == [("untidy", False)]
