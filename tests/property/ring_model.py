"""What a ring should be: a plain list of everything emitted in one epoch, and who stands where.

Nothing here knows how the ring works. What the contract leaves open (how much more than promised
is kept) is read off the ring and held to its bounds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import pytest

from ringbus import Record, Ring, RingUnlinked, Subscriber
from ringbus.ring.stalls import Stall
from ringbus.ring.stats import RingStats

CELL, HEADER = 64, 32
BLOCKS_FOR_AN_EMITTER = 2  # not fully used: the one it is in, and the one the floor runs through
GRACE = 5.0  # seconds that the gate of a dead reader stands
SLACK = 16  # a lapped subscriber leaves one part in so many of what is kept


class Entry(NamedTuple):
    """One record as it was handed to emit()."""

    payload: bytes
    kind: int = 0
    transient: bool = False


def content(number: int, length: int) -> bytes:
    """`length` bytes of which every eight in a row tell the number: no two records are alike."""
    return (number.to_bytes(8, "little") * (length // 8 + 1))[:length]


def room_of(payload: bytes) -> int:
    """Bytes that a record takes in the ring."""
    return -(-(HEADER + len(payload)) // CELL) * CELL


@dataclass
class Gate:
    """A cursor that emitters may not pass."""

    cursor: int
    is_held: bool = True
    left_at: float = 0.0  # on the monotonic clock, when it was left standing


class Epoch:
    """One incarnation of a ring. `witness` only looks."""

    def __init__(self, witness: Ring) -> None:
        stats = witness.stats()
        self.witness = witness
        self.size = stats.size
        self.blocks = stats.blocks
        self.block_size = stats.size // stats.blocks
        self.is_linked = True
        self.records: list[Entry] = []
        self.emitters: list[int] = []  # which handle emitted each record
        self.gates: dict[str, Gate] = {}
        self.floor = 0  # as last seen
        self.lanes: set[int] = set()  # handles that emitted and are open
        self.longest = 0  # bytes in the ring of the longest record ever tried
        self.ids: dict[int, int] = {}  # Record.emitter to handle

    @property
    def tail(self) -> int:
        return len(self.records)

    @property
    def lane_count(self) -> int:
        return self.blocks // 8

    def publish(self, handle: int, entries: Sequence[Entry]) -> None:
        self.records += entries
        self.emitters += [handle] * len(entries)

    def promised_bytes(self) -> int:
        """What is kept at the least once the ring is full.

        All blocks but a few for each emitter that is open or has a record that is kept, less one
        record: the floor may have passed the longest one when only a part of it had to go.
        """
        emitters = self.lanes | set(self.emitters[self.floor :])
        lost = BLOCKS_FOR_AN_EMITTER * len(emitters) * self.block_size
        return self.size - lost - self.longest

    def bytes_from(self, seq: int) -> int:
        return sum(room_of(entry.payload) for entry in self.records[seq:])

    def smallest_gates(self) -> list[str]:
        smallest = min(gate.cursor for gate in self.gates.values())
        return [name for name, gate in self.gates.items() if gate.cursor == smallest]

    # What the ring must say

    def check(self) -> None:
        """Tail, floor, gates and retention agree with the list."""
        assert self.witness.tail == self.tail
        floor = self.witness.floor
        assert self.floor <= floor <= self.tail, "the floor went back, or passed the tail"
        self.floor = floor
        if floor > 0:
            assert self.bytes_from(floor) >= self.promised_bytes(), "too little is kept"
        assert self.witness.is_linked() == self.is_linked
        if self.is_linked:
            stats = self.witness.stats()
            self._check_stats(stats)
            self._check_gates(stats)
        else:
            for ask in (self.witness.gates, self.witness.stats):
                with pytest.raises(RingUnlinked):  # who is alive cannot be told any more
                    ask()

    def _check_gates(self, stats: RingStats) -> None:
        standing = {gate.name: gate for gate in stats.gates}
        assert set(standing) == set(self.gates)
        for name, gate in self.gates.items():
            assert standing[name].cursor == gate.cursor, f"gate {name} moved"
            assert standing[name].alive == gate.is_held == self.witness.has_gate(name)
            assert self.floor <= gate.cursor, f"gate {name} was lapped"

    def bury(self, names: Sequence[str]) -> None:
        """Emitters that fail take out gates that nobody came back to, on slow machines only."""
        for name in names:
            gate = self.gates.pop(name)
            assert not gate.is_held, f"the living gate {name} was taken out"
            assert time.monotonic() - gate.left_at >= GRACE, f"gate {name} was taken out early"

    def take_pushes(self) -> set[str]:
        """After an emit that may push gates on: where they stand now, at the floor if pushed."""
        floor = self.witness.floor
        standing = {gate.name: gate.cursor for gate in self.witness.gates()}
        pushed = set()
        for name, gate in list(self.gates.items()):
            if name not in standing:
                assert not gate.is_held, f"the living gate {name} was taken out"
                del self.gates[name]
                pushed.add(name)
            elif standing[name] != gate.cursor:
                assert gate.cursor < standing[name] == floor, f"gate {name} was pushed too far"
                gate.cursor = floor
                pushed.add(name)
        return pushed

    def check_records(self, found: Sequence[Record], first: int) -> None:
        """They are those of the list from `first` on, dense and whole."""
        for seq, record in enumerate(found, first):
            assert record.seq == seq
            expected = self.records[seq]
            assert (record.kind, record.transient) == (expected.kind, expected.transient), seq
            assert record.payload == expected.payload, f"the payload of {seq}"
            handle = self.ids.setdefault(record.emitter, self.emitters[seq])
            assert handle == self.emitters[seq], "two emitters have the same id"

    def _check_stats(self, stats: RingStats) -> None:
        assert (stats.tail, stats.floor) == (self.tail, self.floor)
        assert stats.kept == self.tail - self.floor
        assert len(stats.lanes) == len(self.lanes)
        assert all(lane.alive for lane in stats.lanes)
        assert self.blocks - len(self.lanes) <= stats.blocks_free <= self.blocks
        assert stats.max_payload == self.size // 4

    def read_back(self, seq: int) -> None:
        """Whatever is kept of the records from `seq` on is there."""
        first = max(seq, self.witness.floor)
        with self.witness.subscribe(seq) as subscriber:
            self.check_records(subscriber.read(self.tail + 1, 0), first)
            assert subscriber.cursor == self.tail

    def fitting(self, entries: Sequence[Entry]) -> int:
        """How many stand before the first that is too long."""
        lengths = (len(entry.payload) <= self.size // 4 for entry in entries)
        return sum(accumulate(lengths, lambda so_far, fits: so_far and fits))


@dataclass
class Handle:
    """A Ring that emits."""

    number: int
    ring: Ring
    epoch: Epoch
    policy: str
    told: list[Stall]
    is_closed: bool = False

    def close(self) -> None:
        self.ring.close()
        self.is_closed = True
        self.epoch.lanes.discard(self.number)


@dataclass
class Reader:
    """A Subscriber beside what it should say."""

    subscriber: Subscriber
    epoch: Epoch
    cursor: int
    missed: int = 0
    untold: int = 0  # lost, but not told yet
    gate: str | None = None
    is_closed: bool = False
    received: int = 0
    started: int = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.cursor

    @property
    def is_lapped(self) -> bool:
        return self.cursor < self.epoch.floor

    def resume(self) -> None:
        """Goes on where the contract says after it was lapped."""
        epoch = self.epoch
        to = epoch.floor
        if self.gate is None:
            to += (epoch.tail - epoch.floor) // SLACK
        else:
            gate = epoch.gates[self.gate]
            gate.cursor = max(gate.cursor, to)
        self.untold += to - self.cursor
        self.cursor = to

    def check(self) -> None:
        if not self.is_closed:
            assert self.subscriber.cursor == self.cursor
            assert self.subscriber.lag == self.epoch.tail - self.cursor
        assert self.subscriber.missed == self.missed
        distance = self.cursor - self.started
        assert self.received + self.missed + self.untold == distance, "received and missed"

    def close(self, *, keep: bool) -> None:
        self.subscriber.close(keep=keep)
        if self.gate is not None and not self.is_closed:
            if keep:
                gate = self.epoch.gates[self.gate]
                gate.is_held, gate.left_at = False, time.monotonic()
            else:
                del self.epoch.gates[self.gate]
        self.is_closed = True
