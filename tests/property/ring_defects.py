"""Rings with a defect each, to see that the state machine can fail."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ringbus import BackPressure, Lapped, Record, RecordTooLarge, Ring, Subscriber

FLOOR = 4096 + 128  # where the floor word stands in the file
COUNTER_BITS = 12


class Wrapped(Ring):
    """Lets a defect wrap the builtins of a ring and of its subscribers."""

    def __init__(self, *how: Any, **options: Any) -> None:
        super().__init__(*how, **options)
        self.__dict__.update(self.wrap(super().emit, super().emit_many))

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        return {"emit": emit, "emit_many": emit_many}

    def subscribe(self, start: Any = "latest", *, gate: str | None = None) -> Subscriber:
        subscriber = super().subscribe(start, gate=gate)
        read = subscriber.read
        subscriber.__dict__["read"] = lambda *options: self.reading(lambda: read(*options))
        return subscriber

    def reading(self, read: Callable[[], list[Record]]) -> list[Record]:
        return read()


class MissesOneLess(Wrapped):
    """A lapped subscriber is told of one record less than it lost."""

    def reading(self, read: Callable[[], list[Record]]) -> list[Record]:
        try:
            return read()
        except Lapped as lapped:
            lapped.missed -= 1
            raise


class Repeats(Wrapped):
    """A record of 64 bytes is there twice."""

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        def twice(payload: bytes, *options: Any) -> int:
            if len(payload) == 64:
                emit(payload, *options)
            return int(emit(payload, *options))

        return {"emit": twice, "emit_many": emit_many}


class GateMovesByItself(Wrapped):
    """Reading lets records go that nobody said were done with: the gate can be lapped."""

    def subscribe(self, start: Any = "latest", *, gate: str | None = None) -> Subscriber:
        subscriber = super().subscribe(start, gate=gate)
        read = subscriber.read

        def read_and_let_go(*options: Any) -> list[Record]:
            found = read(*options)
            if gate is not None and found:
                subscriber.advance(found[-1].seq + 1)
            return found

        subscriber.__dict__["read"] = read_and_let_go
        return subscriber


class TearsAtTheBlock(Wrapped):
    """The last byte of a record that runs on into another block is another one."""

    def reading(self, read: Callable[[], list[Record]]) -> list[Record]:
        return [torn(record) if len(record.payload) >= 1024 else record for record in read()]


def torn(record: Record) -> Record:
    return Record(
        record.seq,
        record.ts_ns,
        record.payload[:-1] + b"\xff",
        record.kind,
        record.transient,
        record.emitter,
    )


class ForgetsTransience(Wrapped):
    """emit_many() keeps what was marked as not to be kept."""

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        return {
            "emit": emit,
            "emit_many": lambda entries: emit_many([(*entry[:2], False) for entry in entries]),
        }


class CountsOneTooMany(Wrapped):
    """The error out of emit_many() says that one more is out."""

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        def counting(entries: Any) -> Any:
            try:
                return emit_many(entries)
            except (BackPressure, RecordTooLarge) as error:
                error.published += 1
                raise

        return {"emit": emit, "emit_many": counting}


class Reorders(Wrapped):
    """emit_many() of three publishes the last one first."""

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        def turned(entries: Any) -> Any:
            entries = list(entries)
            return emit_many(entries[::-1] if len(entries) == 3 else entries)

        return {"emit": emit, "emit_many": turned}


class SkipsTheOldest(Wrapped):
    """A subscriber from the oldest record begins at the one after it."""

    def subscribe(self, start: Any = "latest", *, gate: str | None = None) -> Subscriber:
        if start == "oldest" and self.floor > 0:
            start = self.floor + 1
        return super().subscribe(start, gate=gate)


class LosesTheLast(Wrapped):
    """Of seven records read at a time, the last one is lost."""

    def reading(self, read: Callable[[], list[Record]]) -> list[Record]:
        found = read()
        return found[:-1] if len(found) == 7 else found


class KeepsTooLittle(Wrapped):
    """Each emit_many() gives up half of what is kept."""

    def wrap(self, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> dict[str, Any]:
        def forgetful(entries: Any) -> Any:
            result = emit_many(entries)
            with Path(f"/dev/shm/ringbus.{self.name}").open("r+b") as file:
                file.seek(FLOOR)
                (word,) = struct.unpack("<Q", file.read(8))
                file.seek(FLOOR)
                file.write(
                    struct.pack("<Q", word + ((self.tail - self.floor) // 2 << COUNTER_BITS))
                )
            return result

        return {"emit": emit, "emit_many": forgetful}


class LeavesTheLaneOpen(Wrapped):
    """close() forgets the emitter."""

    def close(self) -> None:
        self._emitter = None
        super().close()


DEFECTS: list[type[Wrapped]] = [
    MissesOneLess,
    Repeats,
    GateMovesByItself,
    TearsAtTheBlock,
    ForgetsTransience,
    CountsOneTooMany,
    Reorders,
    SkipsTheOldest,
    LosesTheLast,
    KeepsTooLittle,
    LeavesTheLaneOpen,
]
