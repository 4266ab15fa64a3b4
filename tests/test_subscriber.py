"""Reading: where it starts, what is lost and told, how it waits its turn and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest
from helpers import Child, check, fill, payload, read_all, run_all, seqs, wait_until

import ringbus
from ringbus import Lapped, Ring, RingUnlinked, Subscriber


def test_latest_starts_at_the_call(ring: Ring) -> None:
    """What is emitted between subscribe() and the first read() is read."""
    ring.emit(b"before")
    with ring.subscribe() as subscriber:
        assert subscriber.cursor == 1
        ring.emit(b"after")
        assert [record.payload for record in subscriber.read(timeout=0)] == [b"after"]


def test_oldest_starts_at_the_floor_and_has_missed_nothing(ring: Ring) -> None:
    """What went before is not this subscriber's loss."""
    fill(ring, 2)
    with ring.subscribe("oldest") as subscriber:
        assert (subscriber.cursor, subscriber.missed) == (ring.floor, 0)
        assert ring.floor > 0
        records, missed = read_all(subscriber)
    assert (seqs(records), missed) == (list(range(ring.floor, ring.tail)), 0)


def test_start_below_the_floor_counts_what_is_gone(ring: Ring) -> None:
    """The cursor goes to the floor, `missed` tells how far that is."""
    fill(ring, 2)
    with ring.subscribe(3) as subscriber:
        assert (subscriber.cursor, subscriber.missed) == (ring.floor, ring.floor - 3)


def test_start_at_a_seq_reads_from_there(ring: Ring) -> None:
    """The record of that seq comes first."""
    ring.emit_many([b"%d" % number for number in range(10)])
    with ring.subscribe(7) as subscriber:
        assert [record.payload for record in subscriber.read(timeout=0)] == [b"7", b"8", b"9"]


def test_start_beyond_the_tail_is_the_tail(ring: Ring) -> None:
    """No cursor stands where no record can be for long."""
    ring.emit(b"x")
    with ring.subscribe(2**63) as subscriber:
        assert (subscriber.cursor, subscriber.lag, subscriber.missed) == (1, 0, 0)


@pytest.mark.parametrize("start", [-1, "newest", None, 1.5])
def test_start_of_another_form_is_refused(ring: Ring, start: object) -> None:
    """The message says what it can be."""
    with pytest.raises(ValueError, match='"latest", "oldest" or a seq'):
        ring.subscribe(start)


def test_read_returns_at_most_max_records(ring: Ring) -> None:
    """The rest stays for the next call."""
    with ring.subscribe() as subscriber:
        ring.emit_many([b"x"] * 10)
        assert seqs(subscriber.read(3, 0)) == [0, 1, 2]
        assert (subscriber.cursor, subscriber.lag) == (3, 7)
        assert seqs(subscriber.read(max_records=100, timeout=0)) == list(range(3, 10))


@pytest.mark.parametrize(("records", "timeout"), [(0, 0), (-1, 0), (1, -1), (1, float("nan"))])
def test_read_refuses_impossible_arguments(ring: Ring, records: int, timeout: float) -> None:
    """A negative time-out is a mistake, not "for ever"."""
    with ring.subscribe() as subscriber, pytest.raises(ValueError, match=r"must be"):
        subscriber.read(records, timeout)


def test_lapped_tells_the_exact_loss_once(ring: Ring) -> None:
    """`missed` leads from the cursor to `next_seq`, a sixteenth of what is kept above the floor."""
    with ring.subscribe() as subscriber:
        fill(ring, 3)
        with pytest.raises(Lapped) as caught:
            subscriber.read(timeout=0)
        floor, tail = ring.floor, ring.tail
        assert caught.value.next_seq == caught.value.missed == floor + (tail - floor) // 16
        assert subscriber.missed == caught.value.missed
        records, missed = read_all(subscriber)
        assert (seqs(records), missed) == (list(range(caught.value.next_seq, tail)), 0)


def test_loss_behind_records_waits_for_its_turn(ring: Ring) -> None:
    """Records in hand come first; then the loss is told, also by wait(), and counted only once."""
    ring.emit_many([b"x"] * 20)
    with ring.subscribe("oldest") as subscriber, ring.subscribe() as other:
        assert len(subscriber.read(5, 0)) == 5
        fill(ring, 2)
        lost = 0
        for _ in range(3):
            assert subscriber.wait(0)
            assert subscriber.wait(0)
            with pytest.raises(Lapped) as caught:
                subscriber.read(timeout=0)
            lost += caught.value.missed
            assert caught.value.next_seq == 5 + lost
            fill(ring, 2)
        records, missed = read_all(subscriber)
        assert 5 + lost + missed + len(records) == ring.tail
        assert subscriber.missed == lost + missed
        assert len(read_all(other)[0]) + other.missed == ring.tail - 20


def test_received_and_missed_make_emitted(ring_name: str) -> None:
    """Beside running emitters, for a subscriber that keeps up and for one that does not."""
    emitters, each = 2, 20_000

    def emitter(number: int) -> object:
        def run(_: Child) -> None:
            with Ring.open(ring_name) as ring:
                for i in range(each):
                    ring.emit(payload(number, i, 100 + i % 700))

        return run

    def reader(max_records: int, idle_turns: int) -> object:
        def run(_: Child) -> None:
            received = missed = 0
            gone_on: list[bool] = []
            with Ring.open(ring_name) as ring, ring.subscribe("oldest") as subscriber:
                while subscriber.cursor < emitters * each:
                    try:
                        records = subscriber.read(max_records, 20)
                    except Lapped as lapped:
                        missed += lapped.missed
                        gone_on.append(lapped.next_seq == received + missed)
                        continue
                    for record in records:
                        check(record.payload)
                        assert record.seq == received + missed
                        received += 1
                    for _ in range(idle_turns):
                        check(records[-1].payload)
                assert all(gone_on)
                assert received + missed == emitters * each
                assert subscriber.missed == missed

        return run

    with Ring.create(ring_name, size=64 << 10):
        readers = [reader(256, 0), reader(7, 200)]
        run_all([*readers, *(emitter(number) for number in range(emitters))])


def test_iteration_yields_each_record(ring: Ring) -> None:
    """A subscriber is its own iterator."""
    with ring.subscribe() as subscriber:
        ring.emit_many([b"a", b"b"])
        assert iter(subscriber) is subscriber
        assert [next(subscriber).payload, next(subscriber).payload] == [b"a", b"b"]


def test_iteration_and_read_take_turns(ring: Ring) -> None:
    """Iterating takes no record that it does not yield."""
    with ring.subscribe() as subscriber:
        ring.emit_many([b"x"] * 10)
        for record in subscriber:
            if record.seq == 3:
                break
        assert (subscriber.cursor, subscriber.lag) == (4, 6)
        assert seqs(subscriber.read(2, 0)) == [4, 5]
        assert next(subscriber).seq == 6


def test_iteration_goes_on_after_lapped(ring: Ring) -> None:
    """The loss comes out of the iteration; the next step yields the next record."""
    with ring.subscribe() as subscriber:
        fill(ring, 2)
        with pytest.raises(Lapped) as caught:
            next(subscriber)
        assert next(subscriber).seq == caught.value.next_seq


def test_async_iteration_yields_each_record(ring: Ring) -> None:
    """The loop stays free while it waits for more."""

    async def consume(subscriber: Subscriber) -> list[bytes]:
        payloads = []
        async for record in subscriber:
            payloads.append(record.payload)
            if len(payloads) == 2:
                asyncio.get_running_loop().call_soon(ring.emit, b"c")
            if len(payloads) == 3:
                break
        return payloads

    with ring.subscribe() as subscriber:
        ring.emit_many([b"a", b"b"])
        assert asyncio.run(consume(subscriber)) == [b"a", b"b", b"c"]


def test_async_iteration_needs_no_thread_for_what_is_there(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread waits where there is nothing to read, and only there."""
    waits = 0
    to_thread = asyncio.to_thread

    async def counted(*call: Any) -> Any:
        nonlocal waits
        waits += 1
        asyncio.get_running_loop().call_soon(ring.emit, b"last")
        return await to_thread(*call)

    async def consume(subscriber: Subscriber) -> int:
        count = 0
        async for record in subscriber:
            count += 1
            if record.payload == b"last":
                return count
        raise AssertionError

    monkeypatch.setattr(asyncio, "to_thread", counted)
    with ring.subscribe() as subscriber:
        ring.emit_many([b"x"] * 500)
        assert asyncio.run(consume(subscriber)) == 501
    assert waits == 1


def test_cancelled_async_iteration_loses_nothing(ring: Ring) -> None:
    """A record that comes after the cancellation stays for the next reader."""

    async def cancel(subscriber: Subscriber) -> None:
        loop, started = asyncio.get_running_loop(), asyncio.Event()
        wait = subscriber.wait
        subscriber.__dict__["wait"] = lambda timeout: (
            loop.call_soon_threadsafe(started.set) and wait(timeout)
        )
        task = asyncio.ensure_future(anext(subscriber))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        ring.emit(b"kept")

    with ring.subscribe() as subscriber:
        asyncio.run(cancel(subscriber))
        assert [record.payload for record in subscriber.read(timeout=0)] == [b"kept"]


def test_threads_share_a_subscriber(ring_name: str) -> None:
    """Each record goes to one of them."""
    total = 20_000
    with Ring.create(ring_name, size=16 << 20) as ring, ring.subscribe() as subscriber:
        parts: list[list[int]] = [[] for _ in range(4)]

        def read(part: list[int]) -> None:
            while subscriber.cursor < total:
                part.extend(seqs(subscriber.read(50, 0.01)))

        threads = [threading.Thread(target=read, args=(part,)) for part in parts]
        for thread in threads:
            thread.start()
        for number in range(total):
            ring.emit(b"%d" % number)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert all(part == sorted(part) for part in parts)
    assert sorted(itertools.chain.from_iterable(parts)) == list(range(total))


@pytest.mark.parametrize("timeout", [0, 5, None])
def test_records_left_are_read_before_unlinked_is_told(ring: Ring, timeout: float | None) -> None:
    """A removed ring gives what it still holds, then `RingUnlinked`, to those that poll as well."""
    with ring.subscribe() as subscriber:
        ring.emit_many([b"a", b"b"])
        ringbus.unlink(ring.name)
        assert len(subscriber.read(1, timeout)) == 1
        assert len(subscriber.read(5, timeout)) == 1
        for _ in range(2):
            with pytest.raises(RingUnlinked, match=ring.name):
                subscriber.read(1, timeout)
        with pytest.raises(RingUnlinked):
            subscriber.wait(timeout)


def test_file_removed_by_hand_is_noticed(ring: Ring) -> None:
    """Readers asleep and emitters find out within a second, without a mark in the ring."""
    with Child(lambda child: until_unlinked(child, ring.name)) as reader:
        reader.said()
        ringbus._native.unlink(ring.name)
        assert reader.said() == "unlinked"
        reader.finish()

    def is_refused() -> bool:
        try:
            ring.emit(b"x")
        except RingUnlinked:
            return True
        return False

    wait_until(is_refused)


def until_unlinked(child: Child, name: str) -> None:
    with Ring.open(name) as ring, ring.subscribe() as subscriber:
        child.say("ready")
        try:
            subscriber.read(timeout=None)
        except RingUnlinked:
            child.say("unlinked")


def test_advance_is_for_gates(ring: Ring) -> None:
    """A plain subscriber holds nothing that could be let go."""
    with ring.subscribe() as subscriber, pytest.raises(ringbus.RingbusError, match="out of range"):
        subscriber.advance(0)
