"""Emitters that come and go, stop and die: blocks come back, and nobody else is slowed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from helpers import Child, all_free, check, fill, payload, read_all, seqs, wait_until

from ringbus import BackPressure, Ring, RingbusError


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
