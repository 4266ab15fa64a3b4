"""Queues made to be faster than Python's own: faster-fifo and quick-queue.

faster-fifo keeps its records in shared memory; it is told to copy bytes and not to pickle them.
quick-queue is Python's queue with records put in as lists, whose length it learns; what is in a
list that is not full waits, so an emitter sends it off at the end, and where latency counts it has
to for each record. One queue for each reader, as with Python's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from queue import Empty, Full
from typing import Any

from benchmarks.baselines.multiprocessing_ends import forget_unread, one_each, to_all
from benchmarks.processes import CONTEXT, PATIENCE
from benchmarks.transports import Emit, Emitter, Peer, Read, Shape, Transport, needs

FIFO_BYTES = 4 << 20  # as ringbus's ring


@dataclass(frozen=True)
class FifoTransport:
    queues: list[Any]

    def open_emitter(self, number: int) -> Emitter:
        return Emitter(to_all([_put(queue) for queue in self.queues]))

    def open_reader(self, number: int) -> Read:
        queue = self.queues[number]

        def read() -> list[bytes]:
            try:
                found: list[bytes] = queue.get_many(timeout=PATIENCE)
            except Empty:
                return []
            return found

        return read


def _put(queue: Any) -> Emit:
    """A full queue is no error here: its reader is on the way."""

    def put(payload: bytes) -> None:
        while True:
            try:
                queue.put(payload)
                return
            except Full:
                continue

    return put


def same(payload: bytes) -> bytes:
    return payload


@contextmanager
def open_fifo(shape: Shape) -> Iterator[Transport]:
    faster_fifo: Any = import_module("faster_fifo")
    queues = [faster_fifo.Queue(FIFO_BYTES, loads=bytes, dumps=same) for _ in one_each(shape)]
    yield FifoTransport(queues)
    for queue in queues:
        queue.close()


@dataclass(frozen=True)
class QuickTransport:
    queues: list[Any]
    is_read: bool
    is_prompt: bool

    def open_emitter(self, number: int) -> Emitter:
        forget_unread(self.queues, self.is_read)
        for queue in self.queues:
            queue.init()  # as it asks for, in a process that did not make it
        puts = [_prompt(queue) if self.is_prompt else queue.put for queue in self.queues]

        def finish() -> None:
            for queue in self.queues:
                queue.put_remain()

        return Emitter(to_all(puts), finish, wants_fresh=True)

    def open_reader(self, number: int) -> Read:
        queue = self.queues[number]

        def read() -> list[bytes]:
            try:
                found: list[bytes] = queue.get_bucket(timeout=PATIENCE)
            except Empty:
                return []
            return found

        return read


def _prompt(queue: Any) -> Callable[[bytes], None]:
    def put(payload: bytes) -> None:
        queue.put(payload)
        queue.put_remain()

    return put


@contextmanager
def open_quick(shape: Shape, *, is_prompt: bool = False) -> Iterator[Transport]:
    quick_queue: Any = import_module("quick_queue")
    queues = [quick_queue.QQueue(ctx=CONTEXT) for _ in one_each(shape)]
    yield QuickTransport(queues, shape.readers > 0, is_prompt)
    for queue in queues:
        queue.close()


@contextmanager
def open_prompt(shape: Shape) -> Iterator[Transport]:
    with open_quick(shape, is_prompt=True) as transport:
        yield transport


QUICK = Peer(
    "quick-queue",
    open_quick,
    700_000,
    needs("quick_queue"),
    can_emit_alone=True,
)
PROMPT = Peer("quick-queue, a list for each", open_prompt, 60_000, needs("quick_queue"))
PEERS = (
    Peer("faster-fifo", open_fifo, 300_000, needs("faster_fifo")),
    QUICK,
)
