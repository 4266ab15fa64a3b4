"""What the kernel has for messages: Unix datagrams, and POSIX message queues.

Both are bounded, and both make the emitter wait when they are full. Each reader has its own.
"""

from __future__ import annotations

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import posix_ipc

from benchmarks.baselines.multiprocessing_ends import to_all
from benchmarks.processes import PATIENCE
from benchmarks.transports import Emit, Emitter, Peer, Read, Shape, Transport

QUEUE_MESSAGES = 10  # what the kernel allows everybody, /proc/sys/fs/mqueue/msg_max
QUEUE_BYTES = 8192  # of a message: /proc/sys/fs/mqueue/msgsize_max


@dataclass(frozen=True)
class DatagramTransport:
    folder: str
    readers: int

    def _path(self, number: int) -> str:
        return os.path.join(self.folder, f"reader-{number}")  # noqa: PTH118

    def open_emitter(self, number: int) -> Emitter:
        return Emitter(to_all([self._connect(reader) for reader in range(self.readers)]))

    def _connect(self, reader: int) -> Emit:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.connect(self._path(reader))
        return end.send

    def open_reader(self, number: int) -> Read:
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        end.bind(self._path(number))
        timeout = int(PATIENCE).to_bytes(8, "little") + bytes(8)  # a struct timeval
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)

        def read() -> list[bytes]:
            try:
                return [end.recv(1 << 20)]
            except BlockingIOError:
                return []

        return read


@contextmanager
def open_datagram(shape: Shape) -> Iterator[Transport]:
    with tempfile.TemporaryDirectory(prefix="ringbus-bench-") as folder:
        yield DatagramTransport(folder, shape.readers)


@dataclass(frozen=True)
class QueueTransport:
    name: str
    readers: int

    def open_emitter(self, number: int) -> Emitter:
        queues = [posix_ipc.MessageQueue(f"{self.name}-{n}") for n in range(self.readers)]
        return Emitter(to_all([queue.send for queue in queues]))

    def open_reader(self, number: int) -> Read:
        queue = posix_ipc.MessageQueue(f"{self.name}-{number}")

        def read() -> list[bytes]:
            try:
                message, _ = queue.receive(PATIENCE)
            except posix_ipc.BusyError:
                return []
            return [message]

        return read


@contextmanager
def open_message_queue(shape: Shape) -> Iterator[Transport]:
    name = f"/bench-{uuid.uuid4().hex[:12]}"
    made = []
    try:
        for number in range(shape.readers):
            queue = posix_ipc.MessageQueue(
                f"{name}-{number}",
                posix_ipc.O_CREX,
                max_messages=QUEUE_MESSAGES,
                max_message_size=QUEUE_BYTES,
            )
            made.append(queue)
        yield QueueTransport(name, shape.readers)
    finally:
        for queue in made:
            queue.close()
            queue.unlink()


def lack_queues() -> str:
    """Some containers have none."""
    return "" if Path("/proc/sys/fs/mqueue").exists() else "no POSIX message queues in this kernel"


PEERS = (
    Peer("Unix datagram", open_datagram, rate=200_000),
    Peer(
        "POSIX message queue",
        open_message_queue,
        rate=200_000,
        most_bytes=QUEUE_BYTES,
        lack=lack_queues,
    ),
)
