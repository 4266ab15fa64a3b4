"""A state machine that uses rings at random and compares every answer with a plain list."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from ring_model import Entry, Epoch, Gate, Handle, Reader, content, room_of

import ringbus
from ringbus import (
    BackPressure,
    Lapped,
    RecordTooLarge,
    Ring,
    RingbusError,
    RingClosed,
    RingExists,
    RingNotFound,
    RingUnlinked,
)
from ringbus.errors import GateTaken, LimitReached
from ringbus.ring.stalls import Stall

KIB = 1 << 10
MOST = 12  # open handles, and subscribers, at a time

indexes = st.integers(0, MOST - 1)
kinds = st.sampled_from([0, 1, 2**32 - 1])
policies = st.sampled_from(["drop", "fail", "block"])
gate_names = st.sampled_from(["a", "b", "c"])
ring_sizes = st.sampled_from([64 * KIB, 64 * KIB, 128 * KIB])
# In bytes and blocks and quarters of the ring.
lengths = st.sampled_from(
    [
        *((0, 0, 0), (1, 0, 0), (63, 0, 0), (64, 0, 0), (65, 0, 0)),
        *((-33, 1, 0), (-32, 1, 0), (-31, 1, 0), (-1, 1, 0), (0, 1, 0), (1, 1, 0)),
        *((0, 0, 1), (1, 0, 1)),
    ]
)


class RingMachine(RuleBasedStateMachine):
    """One name; rings come and go under it, and old handles live on."""

    ring_class: type[Ring] = Ring
    steps = 0  # of all machines of this class

    def __init__(self) -> None:
        super().__init__()
        self.name = f"machine-{uuid.uuid4().hex[:12]}"
        self.epochs: list[Epoch] = []
        self.handles: list[Handle] = []
        self.readers: list[Reader] = []
        self.number = 0  # of the next record
        self.opened = 0  # handles so far

    def teardown(self) -> None:
        for reader in self.readers:
            reader.subscriber.close()
        for handle in self.handles:
            handle.ring.close()
        for epoch in self.epochs:
            epoch.witness.close()
        Path(f"/dev/shm/ringbus.{self.name}").unlink(missing_ok=True)

    # Rings

    @property
    def linked(self) -> Epoch | None:
        return self.epochs[-1] if self.epochs and self.epochs[-1].is_linked else None

    def add_handle(self, open_it: Callable[[Callable[[Stall], None]], Ring], policy: str) -> None:
        told: list[Stall] = []
        ring = open_it(told.append)
        if self.linked is None:
            self.epochs.append(Epoch(Ring.open(self.name, observer=True)))
        epoch = self.epochs[-1]
        assert (ring.epoch, ring.size) == (epoch.witness.epoch, epoch.size)
        self.handles.append(Handle(self.opened, ring, epoch, policy, told))
        self.opened += 1

    def is_full(self) -> bool:
        return sum(not handle.is_closed for handle in self.handles) >= MOST

    @initialize(size=ring_sizes, policy=policies)
    def begin(self, size: int, policy: str) -> None:
        self.create(size, policy)

    @rule(size=ring_sizes, policy=policies)
    def create(self, size: int, policy: str) -> None:
        def create(on_stall: Callable[[Stall], None]) -> Ring:
            return self.ring_class.create(
                self.name, size=size, policy=policy, limit=0, on_stall=on_stall
            )

        if self.linked is not None:
            with pytest.raises(RingExists):
                create(lambda _: None)
        elif not self.is_full():
            self.add_handle(create, policy)

    @rule(policy=policies, or_create=st.booleans(), times=st.sampled_from([1, 1, 1, 9]))
    def open(self, policy: str, or_create: bool, times: int) -> None:
        for _ in range(times):
            self.open_one(policy, or_create)

    def open_one(self, policy: str, or_create: bool) -> None:
        def open_it(on_stall: Callable[[Stall], None]) -> Ring:
            if or_create:
                return self.ring_class.open_or_create(
                    self.name, size=64 * KIB, policy=policy, limit=0, on_stall=on_stall
                )
            return self.ring_class.open(self.name, policy=policy, limit=0, on_stall=on_stall)

        if self.linked is None and not or_create:
            with pytest.raises(RingNotFound):
                open_it(lambda _: None)
        elif not self.is_full():
            self.add_handle(open_it, policy)

    @rule(sure=st.integers(0, 3))
    def unlink(self, sure: int) -> None:
        if self.linked is None:
            with pytest.raises(RingNotFound):
                ringbus.unlink(self.name)
        elif sure == 0:
            ringbus.unlink(self.name)
            self.epochs[-1].is_linked = False

    @rule(which=indexes)
    def close_ring(self, which: int) -> None:
        if self.handles:
            handle = self.handles[which % len(self.handles)]
            for _ in range(2):
                handle.close()
            for use in (lambda: handle.ring.tail, handle.ring.subscribe, handle.ring.stats):
                with pytest.raises(RingClosed):
                    use()

    # Emitting

    def handle(self, which: int) -> Handle:
        return self.handles[-1 - which % len(self.handles)]

    def entry(
        self, epoch: Epoch, length: tuple[int, int, int], kind: int, transient: bool
    ) -> Entry:
        plus, blocks, quarters = length
        whole = plus + blocks * epoch.block_size + quarters * epoch.size // 4
        self.number += 1
        return Entry(content(self.number, whole), kind, transient)

    @rule(which=indexes, length=lengths, kind=kinds, transient=st.booleans())
    def emit(self, which: int, length: tuple[int, int, int], kind: int, transient: bool) -> None:
        handle = self.handle(which)
        entry = self.entry(handle.epoch, length, kind, transient)
        self.emit_and_check(handle, [entry], lambda: (handle.ring.emit(*entry),) * 2)

    @rule(which=indexes, each=st.lists(st.tuples(lengths, kinds, st.booleans()), max_size=6))
    def emit_many(self, which: int, each: list[tuple[tuple[int, int, int], int, bool]]) -> None:
        handle = self.handle(which)
        entries = [self.entry(handle.epoch, *one) for one in each]
        if entries:
            self.emit_and_check(handle, entries, lambda: handle.ring.emit_many(iter(entries)))
        elif not handle.is_closed and handle.number in handle.epoch.lanes:
            with pytest.raises(ValueError, match="at least one"):
                handle.ring.emit_many(entries)

    @rule(which=indexes, length=lengths, part=st.integers(1, 12))
    def fill(self, which: int, length: tuple[int, int, int], part: int) -> None:
        """Eighths of the ring at once."""
        handle = self.handle(which)
        first = self.entry(handle.epoch, length, 0, False)
        count = part * handle.epoch.size // 8 // room_of(first.payload)
        rest = [self.entry(handle.epoch, length, 0, False) for _ in range(count)]
        entries = [first, *rest]
        self.emit_and_check(handle, entries, lambda: handle.ring.emit_many(entries))

    @rule(length=lengths)
    def everybody_emits(self, length: tuple[int, int, int]) -> None:
        for which in range(len(self.handles)):
            self.emit(which, length, 0, False)

    def emit_and_check(
        self, handle: Handle, entries: Sequence[Entry], emit: Callable[[], tuple[int, int]]
    ) -> None:
        epoch = handle.epoch
        if refusal := self.refusal(handle):
            with pytest.raises(refusal):
                emit()
            return
        epoch.lanes.add(handle.number)
        fitting = epoch.fitting(entries)
        epoch.longest = max([epoch.longest, *(room_of(e.payload) for e in entries[:fitting])])
        first = epoch.tail
        handle.told.clear()
        error: BackPressure | RecordTooLarge | None = None
        result: tuple[int, int] | None = None
        try:
            result = emit()
        except (BackPressure, RecordTooLarge) as caught:
            error = caught
        published = len(entries) if error is None else error.published
        pressed = error if isinstance(error, BackPressure) else None
        assert published <= fitting if pressed else published == fitting
        assert (error is None) == (published == len(entries))
        assert error is not None or result == (first, first + published - 1)
        epoch.publish(handle.number, entries[:published])
        epoch.read_back(first)
        self.check_gates_after(handle, pressed, entries[published] if pressed else None)

    def refusal(self, handle: Handle) -> type[RingbusError] | None:
        """Why this handle emits nothing whatever it is given."""
        epoch = handle.epoch
        if handle.is_closed:
            return RingClosed
        if not epoch.is_linked:
            return RingUnlinked
        if handle.number not in epoch.lanes and len(epoch.lanes) == epoch.lane_count:
            return LimitReached
        return None

    def check_gates_after(
        self, handle: Handle, pressed: BackPressure | None, refused: Entry | None
    ) -> None:
        """Who was in the way, who was pushed, who was told."""
        epoch = handle.epoch
        if handle.policy == "fail":
            epoch.bury([stall.gate for stall in handle.told if not stall.dead])
        else:
            pushed = epoch.take_pushes()
            told = {stall.gate for stall in handle.told if not stall.dead}
            assert told <= pushed if handle.policy == "block" else not handle.told
        if pressed is not None and refused is not None:
            assert handle.policy == "fail"
            assert pressed.gate in epoch.smallest_gates()
            cursor = epoch.gates[pressed.gate].cursor
            assert pressed.lag == epoch.tail - cursor
            behind = epoch.bytes_from(cursor) + room_of(refused.payload)
            assert behind >= epoch.promised_bytes(), "the gate is not a whole ring behind"

    # Reading

    @rule(
        which=indexes,
        start=st.one_of(st.sampled_from(["latest", "oldest"]), st.integers(0, 64)),
        gate=st.one_of(st.none(), st.none(), gate_names),
    )
    def subscribe(self, which: int, start: str | int, gate: str | None) -> None:
        """A number is so many 64ths of the way to a bit beyond the tail."""
        handle = self.handle(which)
        epoch = handle.epoch
        if isinstance(start, int):
            start = start * (epoch.tail + 2) // 64
        if handle.is_closed or sum(not reader.is_closed for reader in self.readers) >= MOST:
            return
        held = gate in epoch.gates and epoch.gates[gate].is_held
        refusal = RingUnlinked if not epoch.is_linked else GateTaken if held else None
        if refusal is not None:
            with pytest.raises(refusal):
                handle.ring.subscribe(start, gate=gate)
            return
        wanted = {"latest": epoch.tail, "oldest": 0}.get(start, start)  # type: ignore[call-overload]
        cursor = max(epoch.floor, min(wanted, epoch.tail))
        missed = max(0, epoch.floor - wanted) if isinstance(start, int) else 0
        subscriber = handle.ring.subscribe(start, gate=gate)
        reader = Reader(subscriber, epoch, cursor, missed=missed, gate=gate)
        reader.started -= missed
        self.readers.append(reader)
        if gate is not None:
            epoch.gates[gate] = Gate(cursor)

    def reader(self, which: int) -> Reader | None:
        return self.readers[-1 - which % len(self.readers)] if self.readers else None

    @rule(which=indexes, most=st.sampled_from([1, 2, 7, 256, 100_000]), iterate=st.booleans())
    def read(self, which: int, most: int, iterate: bool) -> None:
        reader = self.reader(which)
        if reader is None:
            return
        subscriber, epoch = reader.subscriber, reader.epoch
        is_empty = not reader.untold and not reader.is_lapped and reader.cursor == epoch.tail
        if iterate and not is_empty:
            self.read_and_check(reader, lambda: [next(subscriber)], 1)
        else:
            self.read_and_check(reader, lambda: subscriber.read(most, 0), most)

    @rule(most=st.sampled_from([7, 100_000]))
    def everybody_reads(self, most: int) -> None:
        for which in range(len(self.readers)):
            self.read(which, most, False)

    def read_and_check(self, reader: Reader, read: Callable[[], list[object]], most: int) -> None:
        epoch = reader.epoch
        if reader.is_closed:
            with pytest.raises(RingClosed):
                read()
            return
        if reader.is_lapped:
            reader.resume()
        if reader.untold:
            with pytest.raises(Lapped) as caught:
                read()
            assert (caught.value.missed, caught.value.next_seq) == (reader.untold, reader.cursor)
            reader.missed += reader.untold
            reader.untold = 0
            return
        if reader.cursor == epoch.tail and not epoch.is_linked:
            with pytest.raises(RingUnlinked):
                read()
            return
        found = read()
        assert len(found) == min(most, epoch.tail - reader.cursor)
        epoch.check_records(found, reader.cursor)
        reader.cursor += len(found)
        reader.received += len(found)

    @rule(which=indexes)
    def wait(self, which: int) -> None:
        reader = self.reader(which)
        if reader is None:
            return
        if not reader.is_closed and reader.is_lapped:
            reader.resume()
        is_empty = not reader.untold and reader.cursor == reader.epoch.tail
        if reader.is_closed:
            with pytest.raises(RingClosed):
                reader.subscriber.wait(0)
        elif is_empty and not reader.epoch.is_linked:
            with pytest.raises(RingUnlinked):
                reader.subscriber.wait(0)
        else:
            assert reader.subscriber.wait(0) == (not is_empty)

    @rule(which=indexes, to=st.integers(0, 64), stored=st.booleans())
    def advance(self, which: int, to: int, stored: bool) -> None:
        """To what was read, or so many 64ths of the way to a bit beyond the tail."""
        reader = self.reader(which)
        if reader is None:
            return
        seq = reader.cursor if stored else to * (reader.epoch.tail + 2) // 64
        if reader.is_closed:
            with pytest.raises(RingClosed):
                reader.subscriber.advance(seq)
        elif reader.gate is None or seq > reader.epoch.tail:
            with pytest.raises(RingbusError, match="out of range"):
                reader.subscriber.advance(seq)
        else:
            reader.subscriber.advance(seq)
            gate = reader.epoch.gates[reader.gate]
            gate.cursor = max(gate.cursor, seq)

    @rule(which=indexes, keep=st.booleans())
    def close_reader(self, which: int, keep: bool) -> None:
        reader = self.reader(which)
        if reader is not None:
            for _ in range(2):
                reader.close(keep=keep)

    # Always

    @invariant()
    def agrees(self) -> None:
        type(self).steps += 1
        for epoch in self.epochs:
            epoch.check()
        for reader in self.readers:
            reader.check()
        assert (self.name in ringbus.list_rings()) == (self.linked is not None)
