"""What Python itself has for sending records to another process: `Queue` and `Pipe`.

One queue or pipe for each reader: a record that is read is gone for the others, so an emitter puts
it into all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Lock
from queue import Empty

from benchmarks.processes import CONTEXT, PATIENCE
from benchmarks.transports import Emit, Emitter, Peer, Read, Shape, Transport


def to_all(emits: list[Emit]) -> Emit:
    """One emit that does all of them."""
    if len(emits) == 1:
        return emits[0]

    def emit(payload: bytes) -> None:
        for each in emits:
            each(payload)

    return emit


def one_each(shape: Shape) -> range:
    """The numbers of the readers; of one that never comes where there are none."""
    return range(max(1, shape.readers))


def forget_unread(queues: Sequence[Queue[bytes]], is_read: bool) -> None:
    """Lets a process end though nobody took what it put; else it would wait for that."""
    if not is_read:
        for queue in queues:
            queue.cancel_join_thread()


@dataclass(frozen=True)
class QueueTransport:
    """Unbounded, as it is by default: it never makes the emitter wait."""

    queues: list[Queue[bytes]]
    is_read: bool

    def open_emitter(self, number: int) -> Emitter:
        forget_unread(self.queues, self.is_read)
        return Emitter(to_all([queue.put for queue in self.queues]))

    def open_reader(self, number: int) -> Read:
        queue = self.queues[number]

        def read() -> list[bytes]:
            try:
                return [queue.get(timeout=PATIENCE)]
            except Empty:
                return []

        return read


@contextmanager
def open_queue(shape: Shape) -> Iterator[Transport]:
    queues: list[Queue[bytes]] = [CONTEXT.Queue() for _ in one_each(shape)]
    yield QueueTransport(queues, shape.readers > 0)
    for queue in queues:
        queue.close()


@dataclass(frozen=True)
class PipeTransport:
    """Writes of several emitters would mix, so they take a lock, as `SimpleQueue` does."""

    pipes: list[tuple[Connection, Connection]]
    lock: Lock | None

    def open_emitter(self, number: int) -> Emitter:
        send = to_all([sender.send_bytes for _, sender in self.pipes])
        return Emitter(send if self.lock is None else _locked(send, self.lock))

    def open_reader(self, number: int) -> Read:
        receiver, _ = self.pipes[number]
        return lambda: [receiver.recv_bytes()] if receiver.poll(PATIENCE) else []


def _locked(send: Emit, lock: Lock) -> Callable[[bytes], None]:
    def emit(payload: bytes) -> None:
        with lock:
            send(payload)

    return emit


@contextmanager
def open_pipe(shape: Shape) -> Iterator[Transport]:
    pipes = [CONTEXT.Pipe(duplex=False) for _ in range(shape.readers)]
    yield PipeTransport(pipes, CONTEXT.Lock() if shape.emitters > 1 else None)
    for pipe in pipes:
        for end in pipe:
            end.close()


PEERS = (
    Peer("multiprocessing.Queue", open_queue, rate=90_000, can_emit_alone=True),
    Peer("multiprocessing.Pipe", open_pipe, rate=150_000),
)
