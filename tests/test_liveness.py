"""Death, standstill, fork, exec and closed descriptors: nobody else is harmed or slowed."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers import Child, check, fill, payload, read_all, seqs, wait_until

import ringbus
from ringbus import BackPressure, Ring, RingbusError, RingClosed, RingForked
from ringbus.errors import LimitReached


def emit_for_ever(name: str, who: int, largest: int = 1500) -> object:
    """An emitter process that says its own count of records out after each hundred."""

    def run(child: Child) -> None:
        chance = random.Random(who)
        with Ring.open(name) as ring:
            child.say("ready")
            number = 0
            while True:
                ring.emit(payload(who, number, chance.randrange(16, largest)))
                number += 1

    return run


def all_free(ring: Ring) -> bool:
    stats = ring.stats()
    return stats.blocks_free == stats.blocks


def test_brief_emitters_do_not_eat_the_pool(ring: Ring) -> None:
    """Hundreds that emit one record each share blocks: nothing is lost, every block is back."""
    for number in range(300):
        with Ring.open(ring.name) as brief:
            assert brief.emit(payload(1, number, 64)) == number
    assert all_free(ring)
    assert ring.floor == 0
    with ring.subscribe("oldest") as subscriber:
        records, _ = read_all(subscriber)
    assert [check(record.payload) for record in records] == [(1, number) for number in range(300)]


def test_brief_emitters_beside_each_other_keep_order(ring: Ring) -> None:
    """Several processes that open, emit and close all the time tear nothing and leak nothing."""

    def churn(who: int) -> object:
        def run(child: Child) -> None:
            for turn in range(150):
                with Ring.open(ring.name) as brief:
                    brief.emit(payload(who, turn, 16 + turn % 900))
            child.say("done")

        return run

    with ring.subscribe() as subscriber:
        children = [Child(churn(who)) for who in range(4)]
        for child in children:
            assert child.said() == "done"
            child.finish()
            child.__exit__(None, None, None)
        records, missed = read_all(subscriber)
    assert missed + len(records) == 600
    for who in range(4):
        mine = [check(r.payload)[1] for r in records if check(r.payload)[0] == who]
        assert mine == sorted(mine)
    assert all_free(ring)


def test_blocks_of_killed_emitters_are_recovered(ring: Ring) -> None:
    """The next emitter that opens frees what the dead held; their records stay readable."""

    def emit_one(child: Child) -> None:
        mine = Ring.open(ring.name)
        child.say(mine.emit(payload(7, 0, 200)))
        child.hear()

    with ring.subscribe() as subscriber:
        for _ in range(20):
            with Child(emit_one) as child:
                child.said()
                assert ring.stats().blocks_free == ring.stats().blocks - 1
        with Ring.open(ring.name) as other:
            other.emit(b"")
        assert all_free(ring)
        records, missed = read_all(subscriber)
    assert (seqs(records), missed) == (list(range(21)), 0)
    assert [check(record.payload) for record in records[:20]] == [(7, 0)] * 20


def test_emitters_killed_anywhere_tear_nothing(ring: Ring) -> None:
    """SIGKILL at a random instant, many times, beside a running emitter and a reader."""
    chance = random.Random(5)
    found: dict[int, list[int]] = {}
    with ring.subscribe() as subscriber, Child(emit_for_ever(ring.name, 0)) as steady:
        steady.said()
        at = 0
        for who in range(1, 60):
            with Child(emit_for_ever(ring.name, who, 5000)) as child:
                child.said()
                until = ring.tail + chance.randrange(200)
                wait_until(lambda until=until: ring.tail > until)
                child.kill()
            records, missed = read_all(subscriber)
            assert records[-1].seq + 1 - at == missed + len(records)
            at = records[-1].seq + 1
            for record in records:
                emitter, number = check(record.payload)
                found.setdefault(emitter, []).append(number)
    assert all(numbers == sorted(set(numbers)) for numbers in found.values())
    with Ring.open(ring.name) as other:
        other.emit(b"")
    assert all_free(ring)


def test_stopped_emitter_slows_nobody_and_goes_on_correctly(ring: Ring) -> None:
    """Stopped anywhere, while others go round the ring: its records are whole and in its order."""
    with Child(emit_for_ever(ring.name, 1, 16384)) as child:
        child.said()
        before = -1
        for turn in range(40):
            child.stop()
            tail = ring.tail
            emitted = fill(ring, 3)
            assert ring.tail == tail + emitted  # nobody else, and no waiting: the policy is "drop"
            with ring.subscribe() as subscriber:
                child.go_on()
                wait_until(lambda tail=ring.tail: ring.tail > tail + 50)
                records, _ = read_all(subscriber)
            numbers = [check(record.payload)[1] for record in records]
            assert numbers == sorted(set(numbers)), f"turn {turn}"
            assert numbers[0] > before
            before = numbers[-1]


def test_stopped_emitters_of_huge_records_leave_room_for_small_ones(ring: Ring) -> None:
    """However many stand still inside a quarter of the ring, small emits find blocks."""
    children = [Child(emit_huge(ring.name)) for _ in range(6)]
    try:
        for child in children:
            child.said()
        for _ in range(20):
            for child in children:
                child.stop()
            for number in range(1000):
                ring.emit(payload(0, number, 100))
            for child in children:
                child.go_on()
    finally:
        for child in children:
            child.__exit__(None, None, None)
    with Ring.open(ring.name) as other:
        other.emit(b"")
    assert all_free(ring)


def emit_huge(name: str) -> object:
    def run(child: Child) -> None:
        with Ring.open(name, policy="block", limit=300) as ring:
            child.say("ready")
            while True:
                ring.emit(bytes(ring.max_payload))

    return run


WORDS = 21_120  # offset of the block words in the file of a ring of 64 KiB
OWNED = 1 << 63


class BlockWords:
    """The words of the 64 blocks of a small ring, to make by hand what a race hardly ever does."""

    def __init__(self, ring: Ring) -> None:
        self.path = Path(f"/dev/shm/ringbus.{ring.name}")

    def load(self) -> list[int]:
        with self.path.open("rb") as file:
            file.seek(WORDS)
            return list(struct.unpack("<64Q", file.read(512)))

    def store(self, block: int, word: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(WORDS + 8 * block)
            file.write(struct.pack("<Q", word))


def test_huge_emits_leave_a_reserve_for_small_ones(ring: Ring) -> None:
    """Blocks for three small emits of each lane stay; with those in sight a huge one gives up."""
    words = BlockWords(ring)
    with Ring.open(ring.name) as holder:
        holder.emit(b"x")
        (owned,) = [word for word in words.load() if word & OWNED]
        free = [block for block, word in enumerate(words.load()) if not word & OWNED]
        for block in free[40:]:
            words.store(block, owned)
        with pytest.raises(BackPressure, match="hold the blocks") as caught:
            ring.emit(bytes(ring.max_payload))  # 17 blocks, and 24 must stay
        assert caught.value.published == 0
        assert [word for word in words.load() if not word & OWNED] == [0] * 40
        for number in range(500):
            assert ring.emit(bytes(100)) == number + 1
        ring.emit(bytes(12_000))  # 12 blocks
    with Ring.open(ring.name) as other:
        other.emit(bytes(ring.max_payload))  # the holder is gone: what it held was recovered
        ring.close()
    with Ring.open(ring.name) as again:
        assert all_free(again)


def test_emitter_taken_for_dead_emits_no_more(ring: Ring) -> None:
    """Should its block be gone all the same, it writes nothing, says so, and a new one works."""
    words = BlockWords(ring)
    ring.emit(b"x")
    for block, word in enumerate(words.load()):
        if word & OWNED:
            words.store(block, 0)
    for _ in range(2):
        with pytest.raises(RingbusError, match="taken for dead"):
            ring.emit(b"y")
    assert ring.tail == 1
    with Ring.open(ring.name) as other:
        assert other.emit(b"z") == 1


def test_one_lane_for_each_emitting_handle_and_no_more_than_there_are(ring: Ring) -> None:
    """The refusal names the limit; a lane is free again when its emitter closes."""
    lanes = 8
    handles = [Ring.open(ring.name) for _ in range(lanes)]
    for handle in handles:
        handle.emit(b"x")
    with pytest.raises(LimitReached, match=f"{lanes} at most"):
        ring.emit(b"x")
    handles.pop().close()
    assert ring.emit(b"x") == lanes
    for handle in handles:
        handle.close()
    assert [lane.alive for lane in ring.stats().lanes] == [True]


# Fork


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


# What proves life


def hold(child: Child, name: str, then: object) -> None:
    """An emitter and a gate, then whatever `then` does; says "ready" and the lines it returns."""
    ring = Ring.open(name)
    gate = ring.subscribe(gate="g")
    ring.emit(b"x")
    child.say(then() if then else "ready")
    child.hear()
    gate.close()


def signs_of_life(ring: Ring) -> list[bool]:
    """Of the emitter and of the gate."""
    return [any(lane.alive for lane in ring.stats().lanes), ring.has_gate("g")]


def is_alive(ring: Ring) -> bool:
    signs = signs_of_life(ring)
    assert signs[0] == signs[1]
    return signs[0]


def test_stopped_process_is_alive_and_killed_one_is_dead(ring: Ring) -> None:
    """At once, and without any process id."""
    with Child(lambda child: hold(child, ring.name, None)) as child:
        child.said()
        assert is_alive(ring)
        child.stop()
        assert is_alive(ring)
        child.kill()
        assert not is_alive(ring)


def sleeper(**options: object) -> int:
    return subprocess.Popen(["sleep", "300"], **options).pid


def forked_sleeper() -> int:
    pid = os.fork()
    if pid == 0:
        time.sleep(300)
    return pid


@pytest.mark.parametrize(
    "leave_behind",
    [sleeper, lambda: sleeper(close_fds=False), forked_sleeper],
    ids=["exec", "exec with all descriptors", "fork"],
)
def test_children_do_not_keep_the_dead_alive(ring: Ring, leave_behind: object) -> None:
    """Neither an exec'd nor a forked child that goes on living holds the locks."""
    with Child(lambda child: hold(child, ring.name, leave_behind)) as child:
        left = int(child.said())
        try:
            assert is_alive(ring)
            child.kill()
            assert not is_alive(ring)
        finally:
            os.kill(left, signal.SIGKILL)


def test_exec_ends_what_the_process_held(ring: Ring) -> None:
    """The new program knows nothing of the ring: lane and gate are free."""

    def turn_into_sleep(child: Child) -> None:
        hold_handles = Ring.open(ring.name)
        gate = hold_handles.subscribe(gate="g")
        hold_handles.emit(b"x")
        child.say("ready")
        child.hear()
        assert gate
        os.execvp("sleep", ["sleep", "300"])  # noqa: S606

    with Child(turn_into_sleep) as child:
        child.said()
        assert is_alive(ring)
        child.tell("now")
        wait_until(lambda: not any(signs_of_life(ring)))  # they go one after the other


CLOSE_ALL = """
import os, sys
import ringbus
name = sys.argv[1]
ring = ringbus.Ring.open(name)
ring.emit(b"before")
gate, reader = ring.subscribe(gate="g"), ring.subscribe()
os.closerange(3, 1000)
print("closed", flush=True)
sys.stdin.readline()
ring.emit_many([b"a"] * 3000)
assert len(ring.stats().lanes) == 1
assert reader.missed == 0 and ring.has_gate("g")
with ringbus.Ring.open(name) as other, other.subscribe() as late:
    other.emit(b"after")
    assert [record.payload for record in late.read(timeout=0)] == [b"after"]
gate.close()
ring.close()
print("fine", flush=True)
"""


def test_closing_every_descriptor_changes_nothing(ring: Ring) -> None:
    """Daemons do that: the handles go on, and others still see them alive."""
    with subprocess.Popen(
        [sys.executable, "-c", CLOSE_ALL, ring.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "closed\n"
        assert is_alive(ring)
        child.stdin.write("go on\n")
        child.stdin.flush()
        assert child.stdout.readline() == "fine\n"
        assert child.wait(20) == 0
    assert all_free(ring)


def test_handles_keep_no_descriptor_open(ring: Ring) -> None:
    """A thousand of them cost no descriptors."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with ring.subscribe(), ring.subscribe(gate="g"), Ring.open(ring.name) as other:
        other.emit(b"x")
        ring.emit(b"x")
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_attached_is_whoever_is_not_an_observer(ring_name: str) -> None:
    """Handles and subscribers count; observers and gates do not."""
    with Ring.create(ring_name, size=64 << 10) as ring:
        observer = Ring.open(ring_name, observer=True)
        gate = observer.subscribe(gate="g")
        assert observer.is_attached()
        ring.close()
        assert not observer.is_attached()
        with observer.subscribe():
            assert observer.is_attached()
        assert not observer.is_attached()
        gate.close()
        observer.close()
