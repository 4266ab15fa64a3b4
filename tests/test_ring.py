"""Emitting: what goes in comes out, whole, in order, and every refusal is told."""

from __future__ import annotations

import pickle
import random
import sys
import threading
from collections import deque
from typing import Any

import pytest
from helpers import Child, block_size, check, payload, read_all, run_all, seqs

import ringbus
from ringbus import Lapped, Record, RecordTooLarge, Ring

KIB, MIB = 1 << 10, 1 << 20


@pytest.mark.parametrize("size", [64 * KIB, MIB, 4 * MIB])
def test_payload_of_any_size_comes_back_whole(ring_name: str, size: int) -> None:
    """From nothing to a quarter of the ring, at the edges of cells and blocks, at any offset."""
    with Ring.create(ring_name, size=size) as ring, ring.subscribe() as subscriber:
        block = block_size(ring)
        lengths = [0, 1, 31, 32, 33, 63, 64, 65, block - 33, block - 32, block - 31]
        lengths += [block - 1, block, block + 1, 3 * block, size // 4 - 1, size // 4]
        for number, length in enumerate(lengths * 2):
            data = random.Random(number).randbytes(length)
            seq = ring.emit(data)
            records = subscriber.read(timeout=0)
            assert [(record.seq, record.payload) for record in records] == [(seq, data)]


@pytest.mark.parametrize("size", [64 * KIB, MIB, 4 * MIB])
def test_payload_beyond_a_quarter_of_the_ring_is_refused(ring_name: str, size: int) -> None:
    """`RecordTooLarge` names the length and the limit, nothing is published, emitting goes on."""
    with Ring.create(ring_name, size=size) as ring:
        with pytest.raises(RecordTooLarge, match=f"{size // 4 + 1} bytes.*{size // 4} bytes") as at:
            ring.emit(bytes(size // 4 + 1))
        assert at.value.published == 0
        assert (ring.tail, ring.max_payload) == (0, size // 4)
        assert ring.emit(b"") == 0


def test_seqs_are_dense_from_zero(ring: Ring) -> None:
    """Each emit returns the next number; `tail` is one past the newest."""
    assert [ring.emit(b"x") for _ in range(5)] == [0, 1, 2, 3, 4]
    assert ring.emit_many([b"a", b"b", b"c"]) == (5, 7)
    assert (ring.floor, ring.tail) == (0, 8)


def test_record_tells_kind_transience_time_and_emitter(ring: Ring) -> None:
    """What the emitter said of a record travels with it; its fields have names."""
    with ring.subscribe() as subscriber:
        ring.emit(b"plain")
        ring.emit(b"marked", 2**32 - 1, True)
        ring.emit(b"named", transient=True, kind=3)
        plain, marked, named = subscriber.read(timeout=0)
    assert (plain.kind, plain.transient) == (0, False)
    assert (marked.kind, marked.transient) == (2**32 - 1, True)
    assert (named.kind, named.transient, named.payload) == (3, True, b"named")
    assert 0 < plain.ts_ns <= marked.ts_ns <= named.ts_ns
    assert plain.emitter == marked.emitter
    assert repr(named) == (
        f"Record(seq=2, ts_ns={named.ts_ns}, payload=b'named', kind=3, transient=True, "
        f"emitter={named.emitter})"
    )


def test_record_is_a_value(ring: Ring) -> None:
    """Equal if all of it is, hashable, unchangeable; it crosses process boundaries."""
    with ring.subscribe() as subscriber:
        ring.emit(b"data", 7)
        (record,) = subscriber.read(timeout=0)
    fields: list[Any] = [record.seq, record.ts_ns, record.payload, 7, False, record.emitter]
    for copy in (pickle.loads(pickle.dumps(record)), Record(*fields)):  # noqa: S301
        assert copy == record
        assert hash(copy) == hash(record)
        assert isinstance(copy, Record)
    others = [1, 2**64 - 1, b"date", 2**32 - 1, True, 0]
    for at, other in enumerate(others):
        assert Record(*fields[:at], other, *fields[at + 1 :]) != record
    assert record != tuple(fields)
    with pytest.raises(AttributeError):
        record.seq = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields", [(-1, 0, b""), (2**64, 0, b""), (0, 0, "text"), (0, 0, b"", 2**32), (0, 0)]
)
def test_record_of_nonsense_is_refused(fields: tuple[Any, ...]) -> None:
    """What no ring can hold is no record."""
    with pytest.raises((OverflowError, TypeError)):
        Record(*fields)


def test_emit_kept_from_before_the_first_emit_is_the_builtin(ring: Ring) -> None:
    """The emitter is opened by the first call, whoever kept the method."""
    emit, emit_many = ring.emit, ring.emit_many
    assert type(emit) is type(len)
    assert [emit(b"a"), *emit_many([b"b", b"c"]), ring.emit(b"d"), emit(b"e")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", [-1, 2**32, 2**64])
def test_kind_beyond_32_bits_is_refused(ring: Ring, kind: int) -> None:
    """A kind is never cut off."""
    with pytest.raises(OverflowError):
        ring.emit(b"x", kind)
    assert ring.tail == 0


@pytest.mark.parametrize("data", [bytearray(b"abc"), memoryview(b"xabcx")[1:4], b"abc"])
def test_any_buffer_is_a_payload(ring: Ring, data: bytes | bytearray | memoryview) -> None:
    """Bytes, bytearray and views are emitted as their bytes, alone and in emit_many()."""
    with ring.subscribe() as subscriber:
        ring.emit(data)
        ring.emit_many([data, (data, 4, True)])
        records = subscriber.read(timeout=0)
    assert [record.payload for record in records] == [b"abc"] * 3
    assert (records[2].kind, records[2].transient) == (4, True)


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], 1.5])
def test_what_is_no_buffer_is_refused(ring: Ring, data: object) -> None:
    """No guessing: a str has no bytes before somebody encodes it."""
    for _ in range(2):
        with pytest.raises(TypeError):
            ring.emit(data)
        with pytest.raises(TypeError):
            ring.emit_many([b"fine", data])
    assert ring.tail == 0


def test_scattered_view_is_refused(ring: Ring) -> None:
    """A view with holes has no bytes in a row."""
    with pytest.raises(BufferError):
        ring.emit(memoryview(b"abcdef")[::2])


def test_arguments_of_emit_are_checked(ring: Ring) -> None:
    """Unknown, doubled and missing arguments are a `TypeError` from the first emit on."""
    for _ in range(2):
        for call in (
            ring.emit,
            lambda: ring.emit(b"x", 1, True, 4),
            lambda: ring.emit(b"x", colour=1),
            lambda: ring.emit(b"x", 1, kind=2),
            lambda: ring.emit(payload=b"x"),
            lambda: ring.emit(b"x", "1"),
        ):
            with pytest.raises(TypeError):
                call()
        assert ring.emit(b"x") == ring.tail - 1


def test_emit_many_takes_a_generator(ring: Ring) -> None:
    """It is run to its end before anything is published."""
    tails = []

    def entries() -> object:
        for number in range(3):
            tails.append(ring.tail)
            yield b"%d" % number

    with ring.subscribe() as subscriber:
        assert ring.emit_many(entries()) == (0, 2)
        assert [record.payload for record in subscriber.read(timeout=0)] == [b"0", b"1", b"2"]
    assert tails == [0, 0, 0]


def test_emit_many_of_nothing_is_an_error(ring: Ring) -> None:
    """There would be no first and no last seq."""
    with pytest.raises(ValueError, match="at least one"):
        ring.emit_many([])
    with pytest.raises(ValueError, match="at least one"):
        ring.emit_many(iter(()))


@pytest.mark.parametrize("entry", [(b"x",), (b"x", 1), (b"x", 1, True, 0), (b"x", "1", False)])
def test_entry_of_another_form_is_refused(ring: Ring, entry: tuple[object, ...]) -> None:
    """An entry is a payload or (payload, kind, transient); nothing of the others is published."""
    with pytest.raises(TypeError):
        ring.emit_many([b"fine", entry])
    assert ring.tail == 0


def test_error_in_emit_many_tells_how_many_are_out(ring: Ring) -> None:
    """What stands before the payload that is too long is published, and counted."""
    with pytest.raises(RecordTooLarge) as caught:
        ring.emit_many([b"a", b"b", bytes(ring.max_payload + 1), b"c"])
    assert caught.value.published == 2
    assert ring.tail == 2


def test_error_of_a_generator_goes_through(ring: Ring) -> None:
    """Nothing is published when the iterable fails."""

    def entries() -> object:
        yield b"a"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ring.emit_many(entries())
    assert ring.tail == 0


def test_long_run_agrees_with_a_deque() -> None:
    """Random emits, readers, emitters that come and go, over many laps, against a plain model."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    for round_number in range(3):
        Model(random.Random(seed + round_number)).run(8000)


class Model:
    """The ring beside what it should hold: payloads in a deque whose left end is `first`."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.name = f"model-{chance.randrange(2**48):x}"
        self.kept: deque[bytes] = deque(maxlen=4000)
        self.tail = 0

    def run(self, steps: int) -> None:
        with Ring.create(self.name, size=64 * KIB) as ring:
            try:
                subscribers = [ring.subscribe() for _ in range(3)]
                cursors = [0, 0, 0]
                emitter = ring
                for _ in range(steps):
                    action = self.chance.random()
                    if action < 0.7:
                        self.emit(emitter)
                    elif action < 0.95:
                        reader = self.chance.choice((0, 0, 0, 1, 1, 2))
                        cursors[reader] = self.read(subscribers[reader], cursors[reader])
                    else:
                        if emitter is not ring:
                            emitter.close()
                        emitter = self.chance.choice((ring, Ring.open(self.name)))
                    assert ring.tail == self.tail
                if emitter is not ring:
                    emitter.close()
                for subscriber in subscribers:
                    subscriber.close()
            finally:
                ringbus.unlink(self.name)

    def random_payload(self) -> bytes:
        length = self.chance.choice((0, 1, 31, 32, 33, 200, 991, 992, 993, 3000, 16384))
        return self.chance.randbytes(self.chance.choice((length, self.chance.randrange(500))))

    def emit(self, ring: Ring) -> None:
        entries = [self.random_payload() for _ in range(self.chance.choice((1, 1, 1, 5)))]
        if len(entries) == 1:
            assert ring.emit(entries[0]) == self.tail
        else:
            assert ring.emit_many(entries) == (self.tail, self.tail + len(entries) - 1)
        self.kept.extend(entries)
        self.tail += len(entries)

    def skip(self, loss: Lapped, cursor: int) -> int:
        assert loss.next_seq == cursor + loss.missed
        assert cursor < loss.next_seq <= self.tail
        return loss.next_seq

    def read(self, subscriber: ringbus.Subscriber, cursor: int) -> int:
        try:
            records = subscriber.read(self.chance.choice((1, 10, 256)), 0)
        except Lapped as lapped:
            return self.skip(lapped, cursor)
        first = self.tail - len(self.kept)
        for record in records:
            assert (record.seq, record.payload) == (cursor, self.kept[cursor - first])
            cursor += 1
        assert records or cursor == self.tail
        return cursor


def test_order_of_each_emitter_holds_among_four_processes(ring_name: str) -> None:
    """One total order, in which each process's records stand in the order it emitted them."""
    each = 3000

    def emitter(number: int) -> object:
        def run(_: Child) -> None:
            chance = random.Random(number)
            with Ring.open(ring_name) as ring:
                seen = [
                    ring.emit(payload(number, i, chance.randrange(16, 400))) for i in range(each)
                ]
            assert seen == sorted(set(seen))

        return run

    with Ring.create(ring_name, size=16 * MIB) as ring, ring.subscribe() as subscriber:
        run_all([emitter(number) for number in range(4)])
        records, missed = read_all(subscriber)
    assert missed == 0
    assert seqs(records) == list(range(4 * each))
    for number in range(4):
        mine = [
            check(record.payload)[1] for record in records if check(record.payload)[0] == number
        ]
        assert mine == list(range(each))
    assert len({record.emitter for record in records}) == 4


def test_huge_records_of_running_emitters_never_fail(ring_name: str) -> None:
    """Four processes with records of a quarter of the ring wait for each other's blocks."""

    def emitter(number: int) -> object:
        def run(_: Child) -> None:
            with Ring.open(ring_name) as ring:
                for i in range(1500):
                    ring.emit(payload(number, i, ring.max_payload))

        return run

    with Ring.create(ring_name, size=64 * KIB) as ring, ring.subscribe() as subscriber:
        run_all([emitter(number) for number in range(4)])
        records, missed = read_all(subscriber)
        assert ring.tail == 6000
        assert missed + len(records) == 6000
        assert all(check(record.payload) for record in records)


def test_eight_threads_share_a_handle(ring_name: str) -> None:
    """Every emit of every thread is there once, in each thread's order."""
    each, failures = 2000, []
    with Ring.create(ring_name, size=16 * MIB) as ring, ring.subscribe() as subscriber:

        def emit(number: int) -> None:
            try:
                for i in range(each // 2):
                    ring.emit(payload(number, 2 * i, 100))
                    ring.emit_many([payload(number, 2 * i + 1, 3000)])
            except BaseException as error:  # noqa: BLE001  shown below
                failures.append(error)

        threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        records, missed = read_all(subscriber)
    assert not failures
    found = [check(record.payload) for record in records]
    newest = {number: [i for who, i in found if who == number] for number in range(8)}
    # 8 * 2000 records of 1.6 KiB on average are more than the ring keeps.
    assert missed + len(records) == 8 * each
    for numbers in newest.values():
        assert numbers == list(range(each - len(numbers), each))
