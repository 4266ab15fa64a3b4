"""The soak's shared memory as Python sees it: the same bytes as tally.h lays out."""

from __future__ import annotations

import ctypes
import mmap
import random
from pathlib import Path
from types import TracebackType
from typing import Self

DESKS = 40
MEMBERS = 1 << 19
COMPLAINTS = 16
COMPLAINT_SIZE = 240
WITNESSES = 1 << 20
LENGTHS = 256
OFFSETS = 1 << 16
LARGEST = 1 << 18
NUMBER_SIZE = 8

EMITTER, NURSERY, SUBSCRIBER, GATE, PROBER, AUDITOR = range(1, 7)
ROLES = ("nobody", "emitter", "nursery", "subscriber", "gate", "prober", "auditor")
CLOSES_DESCRIPTORS, FORKS, BATCHES, PAUSES, LEAVES_UNCLOSED = 1, 2, 4, 8, 16
ALL_WORK, EMITTERS_LEAVE, ALL_LEAVE = range(3)

WORD = (1 << 64) - 1
LOW = (1 << 24) - 1

U32, U64 = ctypes.c_uint32, ctypes.c_uint64


class Desk(ctypes.Structure):
    _fields_ = (
        *((name, U32) for name in ("role", "manner", "policy", "width")),
        *((name, U32) for name in ("core", "niceness", "own_member", "pause_us")),
        ("seed", U64),
        ("pid", U32),
        ("has_ended", U32),
        ("status", ctypes.c_int32),
        ("unused", U32),
        ("doing", ctypes.c_char * 8),
        *((name, U64) for name in ("beats", "results", "checked", "agreed", "missed", "waits")),
        *((name, U64) for name in ("pool_waits", "parks", "comers", "forks", "removed")),
    )


class Member(ctypes.Structure):
    _fields_ = tuple((name, U64) for name in ("begun", "acked", "last_seq", "epoch"))


class Shared(ctypes.Structure):
    _fields_ = (
        ("size", U64),
        *((name, U32) for name in ("phase", "member_count", "complaint_count")),
        *((name, U32) for name in ("has_gate", "may_push", "is_removed", "block_size", "unused")),
        *(
            (name, U64)
            for name in ("highest", "epoch", "gate_cursor", "gate_record", "gate_noting")
        ),
        ("lengths", U32 * LENGTHS),
        ("complaints", ctypes.c_char * COMPLAINT_SIZE * COMPLAINTS),
        ("desks", Desk * DESKS),
        ("gate_seen", U64 * MEMBERS),
        ("members", Member * MEMBERS),
        ("witness", U64 * WITNESSES),
        ("bytes", ctypes.c_uint8 * (OFFSETS + LARGEST)),
    )


def mix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & WORD
    return value ^ (value >> 31)


def key_of(member: int, number: int) -> int:
    return mix((mix(member) + number) & WORD)


class Tally:
    """The file, mapped; `create()` makes it, `Tally(path)` opens one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(Shared))
        self.shared = Shared.from_buffer(self._memory)
        self._bytes = bytes(self.shared.bytes)
        self._lengths = list(self.shared.lengths)

    @classmethod
    def create(cls, path: Path, rng: random.Random, lengths: list[int]) -> Self:
        with path.open("x+b") as file:
            file.truncate(ctypes.sizeof(Shared))
            shared = Shared.from_buffer(mmap.mmap(file.fileno(), 0))
        shared.size = ctypes.sizeof(Shared)
        shared.lengths[:] = lengths
        shared.bytes[:] = rng.randbytes(OFFSETS + LARGEST)
        return cls(path)

    def payload(self, key: int, number: int) -> bytes:
        """It begins with its number if that fits in; the rest is a piece of the random bytes."""
        offset = (key >> 8) % OFFSETS
        length = self._lengths[key % LENGTHS]
        if length < NUMBER_SIZE:
            return self._bytes[offset : offset + length]
        rest = self._bytes[offset + NUMBER_SIZE : offset + length]
        return number.to_bytes(NUMBER_SIZE, "little") + rest

    def bears_out(self, epoch: int, seq: int, key: int) -> bool:
        """What bear_witness() of the C workers does."""
        entry = seq % WITNESSES
        mine = (mix((epoch + seq // WITNESSES) & WORD) & ~LOW) | (key & LOW)
        found = int(self.shared.witness[entry])
        if (found ^ mine) >> 24:
            self.shared.witness[entry] = mine
            return True
        return found == mine

    def complaints(self) -> list[str]:
        count = min(self.shared.complaint_count, COMPLAINTS)
        return [self.shared.complaints[i].value.decode() for i in range(count)]

    def emitted(self) -> int:
        """Emits acknowledged so far."""
        begin = Shared.members.offset
        words = memoryview(self._memory)[begin : begin + ctypes.sizeof(Member) * MEMBERS].cast("Q")
        return sum(words[1::4])

    def close(self) -> None:
        self.path.unlink(missing_ok=True)  # the memory goes with the last view of it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
