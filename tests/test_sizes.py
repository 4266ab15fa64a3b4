"""Rings of every size, payloads at every edge: what is read is what was emitted, lap after lap."""

from __future__ import annotations

import os
import shutil

import pytest
from helpers import read_all

from ringbus import RecordTooLarge, Ring

KIB, MIB = 1 << 10, 1 << 20
SIZES = [1 << power for power in range(16, 31)]
LARGE = 64 * MIB  # from here on one lap and a quarter, to be frugal; below it three
PERIOD = 65_521  # bytes after which the pattern begins anew: prime, so that no block repeats it


def block_of(size: int) -> int:
    """Bytes of a block, as csrc/README.md has them."""
    return max(KIB, min(4 * KIB, size // 512), size // 1024)


def edges(size: int) -> list[int]:
    """Lengths of payloads, the longest last."""
    block = block_of(size)
    return [0, 1, 63, 64, 65, block - 1, block, block + 1, size // 4]


class Payloads:
    """Payloads that differ from one number to the next in every byte range."""

    def __init__(self, longest: int) -> None:
        period = os.urandom(PERIOD)
        self._pattern = memoryview(period * (longest // PERIOD + 3))

    def of(self, number: int, length: int) -> memoryview:
        start = number * 7919 % PERIOD
        return self._pattern[start : start + length]


def must_have_room(size: int) -> None:
    free = shutil.disk_usage("/dev/shm").free
    if free < size * 5 // 4:
        pytest.skip(f"/dev/shm has {free} bytes free, too few for a ring of {size}")


def name_of(size: int) -> str:
    return f"{size // MIB}M" if size >= MIB else f"{size // KIB}K"


@pytest.mark.parametrize("size", SIZES, ids=name_of)
def test_payloads_of_every_edge_survive_laps(ring_name: str, size: int) -> None:
    """Each is read back at once, exact; at the end what is kept is read again, exact."""
    must_have_room(size)
    payloads, lengths = Payloads(size // 4), edges(size)
    laps = 3.0 if size < LARGE else 1.1
    emitted: list[int] = []
    with Ring.create(ring_name, size=size) as ring, ring.subscribe() as subscriber:
        assert (ring.size, ring.max_payload) == (size, size // 4)
        assert ring.stats().blocks == size // block_of(size)
        out = 0
        while out < laps * size:
            # Shifted each time, so that every length meets every place in a block.
            shift = len(emitted) // len(lengths) % len(lengths)
            for length in lengths[shift:] + lengths[:shift]:
                number = len(emitted)
                assert ring.emit(payloads.of(number, length), kind=number) == number
                emitted.append(length)
                out += length + 32
                (record,) = subscriber.read(timeout=0)
                assert (record.seq, record.kind) == (number, number)
                assert record.payload == bytes(payloads.of(number, length))
        assert ring.floor > 0
        check_kept(ring, payloads, emitted)


def check_kept(ring: Ring, payloads: Payloads, emitted: list[int]) -> None:
    with ring.subscribe("oldest") as subscriber:
        floor = subscriber.cursor
        for number in range(floor, len(emitted)):
            (record,) = subscriber.read(1, 0)
            assert record.seq == number
            assert record.payload == bytes(payloads.of(number, emitted[number]))
        assert subscriber.read(timeout=0) == []
    # Where a block of the longest record is taken, all of that record goes: a quarter of the ring.
    kept = sum((32 + length + 63) // 64 * 64 for length in emitted[floor:])
    assert kept >= ring.size * 3 // 4 - 4 * block_of(ring.size)


@pytest.mark.parametrize("size", SIZES, ids=name_of)
def test_a_byte_more_than_a_quarter_is_refused(ring_name: str, size: int) -> None:
    """Alone and within `emit_many()`; the message names both lengths, and nothing is lost."""
    must_have_room(size)
    too_long = bytes(size // 4 + 1)
    with Ring.create(ring_name, size=size) as ring:
        why = f"{size // 4 + 1} bytes .* ring '{ring_name}' can be: {size // 4} bytes"
        with pytest.raises(RecordTooLarge, match=why) as caught:
            ring.emit(too_long)
        assert caught.value.published == 0
        with pytest.raises(RecordTooLarge, match=why) as caught:
            ring.emit_many([b"one", b"two", too_long, b"three"])
        assert caught.value.published == 2
        with ring.subscribe("oldest") as subscriber:
            assert [record.payload for record in subscriber.read()] == [b"one", b"two"]


@pytest.mark.parametrize("size", [size for size in SIZES if size <= MIB], ids=name_of)
def test_slow_subscriber_of_any_size_loses_exactly_what_was_overwritten(
    ring_name: str, size: int
) -> None:
    """Read and missed add up, and what is read is exact, though records of all lengths lap it."""
    payloads, lengths = Payloads(size // 4), edges(size)
    with Ring.create(ring_name, size=size) as ring, ring.subscribe() as subscriber:
        total, read, missed = 40 * len(lengths), 0, 0
        for number in range(total):
            ring.emit(payloads.of(number, lengths[number % len(lengths)]))
            if number % 50 == 49:
                records, lost = read_all(subscriber)
                missed += lost
                read += len(records)
                for record in records:
                    length = lengths[record.seq % len(lengths)]
                    assert record.payload == bytes(payloads.of(record.seq, length))
        assert read + missed + subscriber.lag == total
        assert missed == subscriber.missed > 0
